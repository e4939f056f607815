//! `label`: what is stuck on a drive: whose it is, which of how many, that it is worth nothing without its key.
//!
//! Owns: what a label says and where on it. Does not own: where the facts come from (`cli`). Invariants: one layout in
//! millimetres, drawn by every form in the same way; nothing on it is secret, and nothing says what the data is.
//! Size: 99.1 by 67.7 mm, eight on a sheet of A4, a size that label sheets of several makers have. Callers: `cli`.

mod html;
mod layout;
mod pdf;
mod png;
mod svg;

pub use html::render_html;
pub use pdf::render_pdf;
pub use png::render_png;
pub use svg::render_svg;

/// Width of a label. Unit: mm.
pub const WIDTH_MM: f32 = 99.1;
/// Height of a label. Unit: mm.
pub const HEIGHT_MM: f32 = 67.7;

/// What a label says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// The job's id.
    pub job: String,
    /// The volume's id.
    pub volume: String,
    /// Its number.
    pub number: u32,
    /// How many there are, if that is known.
    pub total: Option<u32>,
    /// Size of the drive, in words.
    pub size: Option<String>,
    /// Model of the drive.
    pub model: Option<String>,
    /// Serial number of the drive.
    pub serial: Option<String>,
    /// Day it was sealed.
    pub sealed: Option<String>,
    /// The job's signing key, in hex digits, and its fingerprint.
    pub key: Option<(String, String)>,
    /// Whom to call, and where to send it back: at most four lines are printed.
    pub contact: Vec<String>,
}

/// Why a label was not drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The code in the corner cannot hold what it should.
    #[error("the QR code cannot be made")]
    Code(
        /// Why.
        #[source]
        qrcode::types::QrError,
    ),
    /// The picture cannot be encoded.
    #[error("the picture cannot be made")]
    Picture(
        /// Why.
        #[source]
        ::png::EncodingError,
    ),
}

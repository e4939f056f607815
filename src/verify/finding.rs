//! What a check finds: one finding says which file, which frames, which bytes, and which source files it costs.

use serde::Serialize;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A file the format asks for, or `SHA256SUMS` lists, is not there.
    Missing,
    /// A file is there that `SHA256SUMS` does not list.
    Unlisted,
    /// A file cannot be read.
    Unreadable,
    /// A SHA-256 differs from `SHA256SUMS`.
    Sum,
    /// `VOLUME`, `SEALED` or `SHA256SUMS` breaks the format, or they contradict each other.
    Seal,
    /// A signature is not that of the key it names, or not of the key it should be of.
    Signature,
    /// The custody log was altered.
    Custody,
    /// A key slot is no age file, or not the slot of this job and run.
    Slot,
    /// The header of a pack or of `MANIFEST` is damaged or belongs elsewhere.
    Header,
    /// Stored bytes are not those that were written.
    Frame,
    /// Frames stand in an order no writer makes.
    Order,
    /// A closed volume's file ends without its footer.
    Footer,
    /// A frame does not authenticate under the key of its place.
    Authentication,
    /// What a frame opens to breaks the format.
    Content,
    /// A commit does not vouch for the frames before it.
    Commit,
    /// An extent does not fit its frames or its checksum.
    Extent,
    /// A file's extents do not give the file.
    File,
    /// `MANIFEST` and the packs disagree.
    Manifest,
    /// Two records about one path contradict each other.
    Duplicate,
}

impl FindingKind {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unlisted => "unlisted",
            Self::Unreadable => "unreadable",
            Self::Sum => "sum",
            Self::Seal => "seal",
            Self::Signature => "signature",
            Self::Custody => "custody",
            Self::Slot => "slot",
            Self::Header => "header",
            Self::Frame => "frame",
            Self::Order => "order",
            Self::Footer => "footer",
            Self::Authentication => "authentication",
            Self::Content => "content",
            Self::Commit => "commit",
            Self::Extent => "extent",
            Self::File => "file",
            Self::Manifest => "manifest",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Consecutive things: `from` is the first, `to` the first after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The first after.
    pub to: u64,
}

/// Bytes of a source file that a finding costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The entry's id.
    pub id: u64,
    /// Its path, escaped; empty when no readable record names it.
    pub path: String,
    /// Which bytes of the file.
    pub bytes: Span,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Number of the volume in its job.
    pub volume: u32,
    /// File on the volume, relative to `packmule/`.
    pub file: String,
    /// Number of the pack, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<u32>,
    /// Indexes of the frames; empty when only bytes between frames are damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<Span>,
    /// Bytes of the file on the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Span>,
    /// One clause: what was expected, what was found.
    pub text: String,
    /// What it costs, as far as records name it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
}

impl Finding {
    /// A finding about a whole file of a volume.
    pub fn new(kind: FindingKind, volume: u32, file: impl Into<String>, text: impl Into<String>) -> Self {
        let (file, text, lost) = (file.into(), text.into(), Vec::new());
        let pack = file.strip_prefix("packs/").and_then(|name| name.strip_suffix(".pack")?.parse().ok());
        Self { kind, volume, file, pack, frames: None, bytes: None, text, lost }
    }

    /// The same finding, with its frames.
    #[must_use]
    pub fn frames(mut self, from: u32, to: u32) -> Self {
        self.frames = Some(Span { from: from.into(), to: to.into() });
        self
    }

    /// The same finding, with its bytes in the file on the volume.
    #[must_use]
    pub fn bytes(mut self, from: u64, to: u64) -> Self {
        self.bytes = Some(Span { from, to });
        self
    }
}

/// The text of an error with its causes, for a finding.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

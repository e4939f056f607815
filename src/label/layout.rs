//! Where everything stands on a label. Unit of all lengths: mm, from the top left corner.

use qrcode::{EcLevel, QrCode};

use crate::label::{Error, HEIGHT_MM, Label, WIDTH_MM};

/// Left and right margin: printers do not reach the edge, and sheets are never cut quite true.
const MARGIN: f32 = 4.5;
/// Side of the code with its quiet zone of four modules.
const CODE: f32 = 27.0;
const QUIET_MODULES: usize = 4;

/// One thing on a label.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// A line of text; `y` is its base line, `size` the height of its capital letters times 1.4.
    Text { x: f32, y: f32, size: f32, bold: bool, mono: bool, text: String },
    /// A black rectangle.
    Bar { x: f32, y: f32, width: f32, height: f32 },
}

/// Widest a text may get at that size. Helvetica's capital letters and digits are at most 0.75 of the size wide on average, the letters
/// of Courier 0.6.
fn fit(text: &str, size: f32, mono: bool, width: f32) -> f32 {
    let per_letter = if mono { 0.6 } else { 0.56 };
    let needed = text.chars().count() as f32 * per_letter * size;
    if needed > width { size * width / needed } else { size }
}

struct Pen(Vec<Mark>);

impl Pen {
    fn text(&mut self, x: f32, y: f32, size: f32, style: (bool, bool), width: f32, text: &str) {
        let (bold, mono) = style;
        // Base fonts of PDF readers have no other letters than these; a name that needs them is still on file.
        let text: String = text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
        let size = fit(&text, size, mono, width);
        self.0.push(Mark::Text { x, y, size, bold, mono, text });
    }

    fn bar(&mut self, x: f32, y: f32, width: f32, height: f32) {
        self.0.push(Mark::Bar { x, y, width, height });
    }
}

const PLAIN: (bool, bool) = (false, false);
const BOLD: (bool, bool) = (true, false);
const MONO: (bool, bool) = (false, true);
const MONO_BOLD: (bool, bool) = (true, true);

/// All marks of a label.
pub(super) fn marks(label: &Label) -> Result<Vec<Mark>, Error> {
    let mut pen = Pen(Vec::new());
    let left = MARGIN;
    let whole = WIDTH_MM - 2.0 * MARGIN;
    let beside = whole - CODE - 2.0;
    let of = label.total.map_or_else(String::new, |total| format!(" of {total}"));
    pen.text(left, 12.0, 8.0, BOLD, beside - 4.0, &format!("Volume {}{of}", label.number));
    pen.text(left, 17.5, 3.0, PLAIN, beside, "packmule job");
    pen.text(left, 21.3, 3.2, MONO, beside, &label.job);
    let drive: Vec<&str> = [&label.size, &label.model].into_iter().flatten().map(String::as_str).collect();
    let mut y = 26.3;
    for (name, value) in [
        ("Drive", Some(drive.join(", ")).filter(|text| !text.is_empty())),
        ("Serial", label.serial.clone()),
        ("Sealed", label.sealed.clone()),
    ] {
        if let Some(value) = value {
            pen.text(left, y, 3.0, PLAIN, 12.0, name);
            pen.text(left + 13.0, y, 3.0, BOLD, beside - 13.0, &value);
            y += 4.0;
        }
    }
    code(&mut pen, label)?;
    // The band: what a thief should read first.
    pen.bar(left, 37.2, whole, 0.35);
    pen.text(left, 41.4, 3.4, BOLD, whole, "ENCRYPTED: of no value without its key, which is not on it.");
    pen.text(left, 45.2, 2.8, PLAIN, whole, "Check it without a key: cd packmule && sha256sum -c SHA256SUMS");
    pen.bar(left, 47.0, whole, 0.35);
    let mut y = 50.8;
    if let Some((_, words)) = &label.key {
        pen.text(left, y, 2.8, PLAIN, 20.0, "Sealed by");
        pen.text(left + 20.0, y, 3.2, MONO_BOLD, whole - 20.0, words);
        y += 4.2;
    }
    let contact = &label.contact[..label.contact.len().min(3)];
    if let Some((first, rest)) = contact.split_first() {
        pen.text(left, y, 2.8, PLAIN, 20.0, "If found, to");
        pen.text(left + 20.0, y, 3.2, BOLD, whole - 20.0, first);
        for line in rest {
            y += 4.0;
            pen.text(left + 20.0, y, 3.2, PLAIN, whole - 20.0, line);
        }
    } else {
        pen.text(left, y, 2.8, PLAIN, whole, "If found: please return it to the sender on the parcel.");
    }
    debug_assert!(y < HEIGHT_MM - 2.0, "the last line stands on the label");
    Ok(pen.0)
}

/// What the code says: who the volume is, and which key vouches for it.
pub(super) fn code_text(label: &Label) -> String {
    let key = label.key.as_ref().map_or_else(String::new, |(key, _)| format!("?key={key}"));
    format!("packmule:{}/{}/{}{key}", label.job, label.number, label.volume)
}

/// The code in the upper right corner, a bar for each run of dark modules in a row.
fn code(pen: &mut Pen, label: &Label) -> Result<(), Error> {
    let code = QrCode::with_error_correction_level(code_text(label), EcLevel::M).map_err(Error::Code)?;
    let width = code.width();
    let module = CODE / (width + 2 * QUIET_MODULES) as f32;
    let (left, top) = (WIDTH_MM - MARGIN - CODE + QUIET_MODULES as f32 * module, 3.5 + QUIET_MODULES as f32 * module);
    let dark: Vec<bool> = code.to_colors().into_iter().map(|color| color == qrcode::Color::Dark).collect();
    for (row, modules) in dark.chunks(width).enumerate() {
        let mut at = 0;
        while at < width {
            let run = modules[at..].iter().take_while(|dark| **dark).count();
            if run > 0 {
                pen.bar(left + at as f32 * module, top + row as f32 * module, run as f32 * module, module);
            }
            at += run.max(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label {
            job: "0123456789abcdef0123456789abcdef".into(),
            volume: "fedcba9876543210fedcba9876543210".into(),
            number: 3,
            total: Some(20),
            size: Some("22 TB".into()),
            model: Some("Portable SSD with a name that goes on and on and on".into()),
            serial: Some("WX41A1234567".into()),
            sealed: Some("2026-11-24".into()),
            key: Some(("ab".repeat(32), "bahab-bahab-bahab-bahab-bahab-bahab".into())),
            contact: (1..6).map(|n| format!("line {n} of an address that is long enough to be cut down")).collect(),
        }
    }

    #[test]
    fn everything_stands_on_the_label_and_nothing_on_the_code() {
        for label in [label(), Label { number: 1, ..Label::default() }] {
            let code_left = WIDTH_MM - MARGIN - CODE;
            for mark in marks(&label).expect("drawn") {
                let (x, y, right, text) = match &mark {
                    Mark::Bar { x, y, width, height } => (*x, y + height, x + width, false),
                    Mark::Text { x, y, size, mono, text, .. } => {
                        let per_letter = if *mono { 0.6 } else { 0.56 };
                        (*x, *y, x + text.len() as f32 * size * per_letter, true)
                    }
                };
                assert!(x >= MARGIN - 0.01 && y <= HEIGHT_MM - 2.0 && right <= WIDTH_MM - MARGIN + 0.01, "{mark:?}");
                assert!(!text || y > 3.5 + CODE || right <= code_left, "{mark:?}");
            }
        }
    }

    #[test]
    fn letters_that_no_printer_has_are_told() {
        let label = Label { contact: vec!["Universit\u{e9}".into()], ..label() };
        let all = marks(&label).expect("drawn");
        assert!(all.iter().any(|mark| matches!(mark, Mark::Text { text, .. } if text == "Universit?")));
    }
}

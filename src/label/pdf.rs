//! Labels as PDF: one page of the label's size for one label, sheets of A4 with eight labels for more.
//!
//! Text is set in Helvetica and Courier, which every reader of PDF has, so that no font is carried along.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str};

use crate::label::layout::{Mark, marks};
use crate::label::{Error, HEIGHT_MM, Label, WIDTH_MM};

/// Points in a millimetre.
const POINTS: f32 = 72.0 / 25.4;
const FONTS: [(&[u8], &[u8]); 4] =
    [(b"H", b"Helvetica"), (b"HB", b"Helvetica-Bold"), (b"C", b"Courier"), (b"CB", b"Courier-Bold")];
/// A4, and how labels stand on it. Unit: mm.
const SHEET_MM: (f32, f32) = (210.0, 297.0);
const FIRST_MM: (f32, f32) = (4.65, 13.1);
const PITCH_MM: (f32, f32) = (101.6, 67.7);
const COLUMNS: usize = 2;
const PER_SHEET: usize = 8;

/// The labels as one document.
///
/// # Errors
/// When a label cannot be drawn.
pub fn render_pdf(labels: &[Label]) -> Result<Vec<u8>, Error> {
    let is_sheet = labels.len() > 1;
    let (width, height) = if is_sheet { SHEET_MM } else { (WIDTH_MM, HEIGHT_MM) };
    let mut pdf = Pdf::new();
    let (catalog, tree) = (Ref::new(1), Ref::new(2));
    let font = |index: usize| Ref::new(3 + i32::try_from(index).unwrap_or(0));
    let page_ref = |index: usize, part: i32| Ref::new(10 + 2 * i32::try_from(index).unwrap_or(0) + part);
    let sheets: Vec<&[Label]> = labels.chunks(PER_SHEET).collect();
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree)
        .kids((0..sheets.len()).map(|index| page_ref(index, 0)))
        .count(i32::try_from(sheets.len()).unwrap_or(i32::MAX));
    for (index, (_, base)) in FONTS.iter().enumerate() {
        pdf.type1_font(font(index)).base_font(Name(base));
    }
    for (index, sheet) in sheets.iter().enumerate() {
        let mut page = pdf.page(page_ref(index, 0));
        page.media_box(Rect::new(0.0, 0.0, width * POINTS, height * POINTS));
        page.parent(tree).contents(page_ref(index, 1));
        let mut resources = page.resources();
        let mut fonts = resources.fonts();
        for (index, (name, _)) in FONTS.iter().enumerate() {
            fonts.pair(Name(name), font(index));
        }
        fonts.finish();
        resources.finish();
        page.finish();
        let mut content = Content::new();
        for (place, label) in sheet.iter().enumerate() {
            let (column, row) = ((place % COLUMNS) as f32, (place / COLUMNS) as f32);
            let at = (FIRST_MM.0 + column * PITCH_MM.0, FIRST_MM.1 + row * PITCH_MM.1);
            let (left, top) = if is_sheet { at } else { (0.0, 0.0) };
            for mark in marks(label)? {
                draw(&mut content, &mark, left, height - top);
            }
        }
        pdf.stream(page_ref(index, 1), &content.finish());
    }
    Ok(pdf.finish())
}

/// `left` and `top` of the label, `top` from the bottom of the page.
fn draw(content: &mut Content, mark: &Mark, left: f32, top: f32) {
    match mark {
        Mark::Bar { x, y, width, height } => {
            content.rect((left + x) * POINTS, (top - y - height) * POINTS, width * POINTS, height * POINTS);
            content.fill_nonzero();
        }
        Mark::Text { x, y, size, bold, mono, text } => {
            let (name, _) = FONTS[usize::from(*bold) + 2 * usize::from(*mono)];
            content.begin_text();
            content.set_font(Name(name), size * POINTS);
            content.next_line((left + x) * POINTS, (top - y) * POINTS);
            content.show(Str(text.as_bytes()));
            content.end_text();
        }
    }
}

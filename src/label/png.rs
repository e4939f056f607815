//! A label as a picture, for label printers that take nothing else: black on white, 600 dots per inch.
//!
//! Letters are drawn from an 8 by 8 grid, so that no font has to be found on the machine.

use font8x8::UnicodeFonts as _;

use crate::label::layout::{Mark, marks};
use crate::label::{Error, HEIGHT_MM, Label, WIDTH_MM};

/// Dots in a millimetre: 600 dots per inch.
const DOTS: f32 = 600.0 / 25.4;
/// Rows and columns of a letter.
const GRID: usize = 8;

struct Canvas {
    width: usize,
    height: usize,
    dots: Vec<u8>,
}

impl Canvas {
    fn fill(&mut self, left: f32, top: f32, right: f32, bottom: f32) {
        let clamp = |at: f32, most: usize| (at.round().max(0.0) as usize).min(most);
        let (left, right) = (clamp(left, self.width), clamp(right, self.width));
        for row in clamp(top, self.height)..clamp(bottom, self.height) {
            self.dots[row * self.width + left..row * self.width + right].fill(0);
        }
    }
}

/// The label as a PNG that knows its size.
///
/// # Errors
/// When the code or the picture cannot be made.
pub fn render_png(label: &Label) -> Result<Vec<u8>, Error> {
    let (width, height) = ((WIDTH_MM * DOTS) as usize, (HEIGHT_MM * DOTS) as usize);
    let mut canvas = Canvas { width, height, dots: vec![255; width * height] };
    for mark in marks(label)? {
        match mark {
            Mark::Bar { x, y, width, height } => {
                canvas.fill(x * DOTS, y * DOTS, (x + width) * DOTS, (y + height) * DOTS);
            }
            Mark::Text { x, y, size, bold, mono, text } => letters(&mut canvas, x, y, size, (bold, mono), &text),
        }
    }
    let mut out = Vec::new();
    let (wide, high) = (u32::try_from(width).unwrap_or(u32::MAX), u32::try_from(height).unwrap_or(u32::MAX));
    let mut encoder = png::Encoder::new(&mut out, wide, high);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let per_metre = (DOTS * 1000.0) as u32;
    let size = png::PixelDimensions { xppu: per_metre, yppu: per_metre, unit: png::Unit::Meter };
    encoder.set_pixel_dims(Some(size));
    let mut writer = encoder.write_header().map_err(Error::Picture)?;
    writer.write_image_data(&canvas.dots).map_err(Error::Picture)?;
    writer.finish().map_err(Error::Picture)?;
    Ok(out)
}

/// Letters as wide as the layout counts them, as high as capitals of that size are.
fn letters(canvas: &mut Canvas, x: f32, y: f32, size: f32, (bold, mono): (bool, bool), text: &str) {
    let wide = size * if mono { 0.6 } else { 0.56 } * DOTS;
    let dot = (wide / GRID as f32, size * 0.8 / GRID as f32 * DOTS);
    // The grid's seventh row stands on the base line; the eighth hangs below it.
    let top = y * DOTS - 7.0 * dot.1;
    for (at, letter) in text.chars().enumerate() {
        let Some(rows) = font8x8::BASIC_FONTS.get(letter) else { continue };
        let left = x * DOTS + at as f32 * wide;
        for (row, bits) in rows.iter().enumerate() {
            for column in (0..GRID).filter(|column| bits >> column & 1 == 1) {
                let (l, t) = (left + column as f32 * dot.0, top + row as f32 * dot.1);
                let right = l + dot.0 * if bold { 1.35 } else { 1.0 };
                canvas.fill(l, t, right, t + dot.1);
            }
        }
    }
}

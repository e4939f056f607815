//! A label as SVG.

use std::fmt::Write as _;

use crate::label::layout::{Mark, marks};
use crate::label::{Error, HEIGHT_MM, Label, WIDTH_MM};

/// The label as an SVG document of its true size.
///
/// # Errors
/// When the code cannot be made.
pub fn render_svg(label: &Label) -> Result<String, Error> {
    let mut out = String::new();
    let _ = svg(&mut out, &marks(label)?); // writing to a String cannot fail
    Ok(out)
}

fn svg(out: &mut String, marks: &[Mark]) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_MM}mm\" height=\"{HEIGHT_MM}mm\" viewBox=\"0 0 {WIDTH_MM} {HEIGHT_MM}\">"
    )?;
    writeln!(out, "<rect width=\"{WIDTH_MM}\" height=\"{HEIGHT_MM}\" fill=\"white\"/>")?;
    for mark in marks {
        match mark {
            Mark::Bar { x, y, width, height } => {
                writeln!(
                    out,
                    "<rect x=\"{x:.3}\" y=\"{y:.3}\" width=\"{width:.3}\" height=\"{height:.3}\" shape-rendering=\"crispEdges\"/>"
                )?;
            }
            Mark::Text { x, y, size, bold, mono, text } => {
                let family = if *mono { "Courier New, Courier, monospace" } else { "Helvetica, Arial, sans-serif" };
                let weight = if *bold { "bold" } else { "normal" };
                writeln!(
                    out,
                    "<text x=\"{x:.2}\" y=\"{y:.2}\" font-family=\"{family}\" font-size=\"{size:.2}\" font-weight=\"{weight}\">{}</text>",
                    escape(text)
                )?;
            }
        }
    }
    writeln!(out, "</svg>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

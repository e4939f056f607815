//! Labels as a page to print: eight on a sheet of A4.

use maud::{DOCTYPE, PreEscaped, html};

use crate::label::{Error, Label, render_svg};

const STYLE: &str = "@page { size: A4; margin: 13.1mm 4.65mm 0 4.65mm } body { margin: 0 } \
                     main { display: grid; grid-template-columns: 99.1mm 99.1mm; column-gap: 2.5mm } \
                     svg { display: block; break-inside: avoid }";

/// One page, or as many as the labels need.
///
/// # Errors
/// When a label cannot be drawn.
pub fn render_html(labels: &[Label]) -> Result<String, Error> {
    let drawn = labels.iter().map(render_svg).collect::<Result<Vec<_>, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Labels" } style { (PreEscaped(STYLE)) } }
            body { main { @for label in &drawn { (PreEscaped(label)) } } }
        }
    };
    Ok(page.into_string())
}

//! The pieces every chart is made of: a frame, two axes, marks, and text that cannot break the markup.

use std::fmt::Write as _;

/// Size of the drawing, and of the space around it.
pub(super) const WIDTH: f64 = 860.0;
pub(super) const LEFT: f64 = 84.0;
pub(super) const RIGHT: f64 = 24.0;
pub(super) const TOP: f64 = 20.0;
pub(super) const BOTTOM: f64 = 52.0;

/// Styles by series number: colour by class, dash and mark by number, so that colour is never alone.
pub(super) const DASHES: [&str; 7] = ["none", "8 4", "2 3", "10 3 2 3", "5 5", "1 5", "12 6"];

/// A drawing in progress.
pub(super) struct Svg {
    body: String,
    id: &'static str,
    height: f64,
}

/// Text as markup may hold it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Svg {
    pub(super) fn new(id: &'static str, height: f64) -> Self {
        Self { body: String::new(), id, height }
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
            from.0, from.1, to.0, to.1
        );
    }

    pub(super) fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            at.0,
            at.1,
            size.0.max(0.6),
            size.1
        );
    }

    /// Text; `anchor` is start, middle or end.
    pub(super) fn text(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.0,
            at.1,
            escape(text)
        );
    }

    /// A line through points, in the style of a series.
    pub(super) fn path(&mut self, series: usize, points: &[(f64, f64)]) {
        let steps: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(i, p)| format!("{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, p.0, p.1))
            .collect();
        let dash = DASHES[series % DASHES.len()];
        let _ = writeln!(
            self.body,
            "<path class=\"curve s{}\" stroke-dasharray=\"{dash}\" d=\"{}\"/>",
            series % 7,
            steps.join(" ")
        );
    }

    /// A mark in the shape of a series: circle, square, diamond, triangle, and so on; hollow when it fails.
    pub(super) fn mark(&mut self, series: usize, at: (f64, f64), hollow: bool) {
        let (x, y) = at;
        let class = format!("mark s{}{}", series % 7, if hollow { " hollow" } else { "" });
        let shape = match series % 4 {
            0 => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7\"/>"),
            1 => format!(
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"13\" height=\"13\"/>",
                x - 6.5,
                y - 6.5
            ),
            2 => format!(
                "<path class=\"{class}\" d=\"M{x:.1} {:.1} L{:.1} {y:.1} L{x:.1} {:.1} L{:.1} {y:.1} Z\"/>",
                y - 9.0,
                x + 9.0,
                y + 9.0,
                x - 9.0
            ),
            _ => format!(
                "<path class=\"{class}\" d=\"M{x:.1} {:.1} L{:.1} {:.1} L{:.1} {:.1} Z\"/>",
                y - 8.0,
                x + 8.5,
                y + 6.5,
                x - 8.5,
                y + 6.5
            ),
        };
        let _ = writeln!(self.body, "{shape}");
    }

    /// The whole drawing with its title and description.
    pub(super) fn finish(self, title: &str, description: &str) -> String {
        let Self { body, id, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n\
             <style>{STYLE}</style>\n<defs><pattern id=\"{id}-hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"7\"/></pattern></defs>\n{body}</svg>",
            escape(title),
            escape(description)
        )
    }

    pub(super) fn hatch(&mut self, at: (f64, f64), size: (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<rect fill=\"url(#{}-hatch)\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            self.id,
            at.0,
            at.1,
            size.0.max(0.6),
            size.1
        );
    }
}

/// Colours with a contrast of at least 4.5 to 1 on their ground, light and dark.
const STYLE: &str = "\
.chart{font:13px system-ui,sans-serif;--ink:#1b1f24;--soft:#59636e;--rule:#d1d9e0;--weekend:#f1f4f7;--bad:#b3261e;\
--c0:#0b57a4;--c1:#a63a00;--c2:#1a6b34;--c3:#7a2d8f;--c4:#5c5200;--c5:#8f1d4f;--c6:#37474f;--ground:#fff}\
@media(prefers-color-scheme:dark){.chart{--ink:#e6edf3;--soft:#a5b0bb;--rule:#3d444d;--weekend:#1c2129;--bad:#ff8a80;\
--c0:#7cb8ff;--c1:#ffb07c;--c2:#7ee29a;--c3:#d8a6ea;--c4:#e3d26f;--c5:#ff9cc2;--c6:#b0bec5;--ground:#0d1117}}\
.chart text{fill:var(--ink)}.chart .soft{fill:var(--soft)}.chart .bold{font-weight:600}.chart .axis{stroke:var(--soft)}\
.chart .grid{stroke:var(--rule)}.chart .limit{stroke:var(--bad);stroke-width:2;stroke-dasharray:6 4}.chart .limit-text{fill:var(--bad)}\
.chart .weekend{fill:var(--weekend)}.chart .curve{fill:none;stroke-width:2.5}.chart .mark{stroke-width:2.5}\
.chart .whisker{stroke-width:2}.chart .hatch{stroke:var(--ground);stroke-width:2.5}.chart .outline{fill:none;stroke:var(--ink);stroke-width:2}\
.chart .s0{stroke:var(--c0);fill:var(--c0)}.chart .s1{stroke:var(--c1);fill:var(--c1)}.chart .s2{stroke:var(--c2);fill:var(--c2)}\
.chart .s3{stroke:var(--c3);fill:var(--c3)}.chart .s4{stroke:var(--c4);fill:var(--c4)}.chart .s5{stroke:var(--c5);fill:var(--c5)}\
.chart .s6{stroke:var(--c6);fill:var(--c6)}.chart .curve{fill:none}.chart .hollow{fill:var(--ground)}.chart .bar{stroke:none}.chart .cell{fill:var(--ground);font-weight:600}.chart .outline{fill:none;stroke:var(--ink)}";

/// A scale from values to the drawing, straight or logarithmic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    pub(super) fn linear(high: f64, from: f64, to: f64) -> Self {
        Self { low: 0.0, high: if high > 0.0 && high.is_finite() { high } else { 1.0 }, from, to, log: false }
    }

    pub(super) fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(1e-6);
        Self { low, high: high.max(low * 1.01), from, to, log: true }
    }

    /// Place of a value, kept inside.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = if self.log {
            crate::plan::math::ln(value / self.low) / crate::plan::math::ln(self.high / self.low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + (self.to - self.from) * part
    }

    /// Round values inside: about six on a straight scale, powers of ten and their threefold on a logarithmic one.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = Vec::new();
            let mut decade = 1e-6;
            while decade <= self.high {
                ticks.extend([decade, decade * 3.0].into_iter().filter(|tick| *tick >= self.low && *tick <= self.high));
                decade *= 10.0;
            }
            return ticks;
        }
        let rough = (self.high - self.low) / 6.0;
        let mut step = 1e-9;
        while step * 10.0 <= rough {
            step *= 10.0;
        }
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * step).find(|s| *s >= rough).unwrap_or(step * 10.0);
        let count = ((self.high - self.low) / step).floor() as usize;
        (0..=count).map(|i| self.low + step * i as f64).collect()
    }
}

/// Both axes with ticks, labels and grid.
pub(super) fn axes(
    svg: &mut Svg,
    x: (&Scale, &str, &dyn Fn(f64) -> String),
    y: (&Scale, &str, &dyn Fn(f64) -> String),
    height: f64,
) {
    let (floor, right) = (height - BOTTOM, WIDTH - RIGHT);
    for tick in y.0.ticks() {
        svg.line("grid", (LEFT, y.0.at(tick)), (right, y.0.at(tick)));
        svg.text("soft", (LEFT - 8.0, y.0.at(tick) + 4.0), "end", &(y.2)(tick));
    }
    for tick in x.0.ticks() {
        svg.line("grid", (x.0.at(tick), TOP), (x.0.at(tick), floor));
        svg.text("soft", (x.0.at(tick), floor + 18.0), "middle", &(x.2)(tick));
    }
    svg.line("axis", (LEFT, floor), (right, floor));
    svg.line("axis", (LEFT, TOP), (LEFT, floor));
    svg.text("bold", ((LEFT + right) / 2.0, height - 12.0), "middle", x.1);
    svg.text("bold", (LEFT - 76.0, TOP - 6.0), "start", y.1);
}

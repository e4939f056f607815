//! A snapshot as a full-screen view: the whole on top, a tile for every drive, the last messages below.
//!
//! Drawing is a function of the snapshot alone. The terminal stays as it is otherwise: Ctrl-C works as always.

use std::io::{Stderr, stderr};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Alignment, Constraint, Layout, Margin, Rect};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, LineGauge, Paragraph};
use ratatui::{Frame, Terminal, symbols};

use crate::cli::progress::snapshot::{Snapshot, VolumeSnapshot, VolumeStanding};
use crate::cli::progress::text::{duration, things, verb};
use crate::units::{Bytes, Count};

/// Least width, and height, of a tile.
const TILE: (u16, u16) = (38, 6);
/// Between a frame and what is in it.
const MARGIN: Margin = Margin { horizontal: 1, vertical: 0 };
/// Messages shown below the tiles.
const MESSAGES: u16 = 5;

/// The view, until it is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    messages: Vec<String>,
}

impl Screen {
    /// Takes the terminal over; `None` where it is not possible.
    pub(super) fn open() -> Option<Self> {
        execute!(stderr(), EnterAlternateScreen, Hide).ok()?;
        let terminal = Terminal::new(CrosstermBackend::new(stderr())).ok()?;
        Some(Self { terminal, messages: Vec::new() })
    }

    /// Adds a message; gives it back at the end with the others, for the ordinary screen.
    pub(super) fn say(&mut self, line: String) {
        self.messages.push(line);
    }

    pub(super) fn paint(&mut self, now: &Snapshot) {
        let messages = &self.messages;
        if let Err(error) = self.terminal.draw(|frame| draw(frame, now, messages)) {
            tracing::debug!(%error, "the screen was not painted");
        }
    }

    /// Gives the terminal back, and what was said meanwhile.
    pub(super) fn close(self) -> Vec<String> {
        drop(execute!(stderr(), LeaveAlternateScreen, Show));
        self.messages
    }
}

fn draw(frame: &mut Frame<'_>, now: &Snapshot, messages: &[String]) {
    let [head, tiles, foot] =
        Layout::vertical([Constraint::Length(5), Constraint::Min(TILE.1), Constraint::Length(MESSAGES + 2)])
            .areas(frame.area());
    draw_total(frame, head, now);
    draw_tiles(frame, tiles, &now.volumes);
    draw_messages(frame, foot, messages);
}

fn framed(title: String) -> Block<'static> {
    Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().dim()).title(title.bold())
}

fn draw_total(frame: &mut Frame<'_>, area: Rect, now: &Snapshot) {
    let more = if now.is_counted { "" } else { "+" };
    let block = framed(format!(" packmule {} ", now.progress));
    let [bar, figures, last] = Layout::vertical([Constraint::Length(1); 3]).areas(block.inner(area).inner(MARGIN));
    frame.render_widget(block, area);
    let done = now.read_bytes.max(now.done_bytes).min(now.found_bytes);
    draw_bar(frame, bar, done, now.found_bytes, Style::new().cyan());
    let counts = format!(
        "{} of {}{more}   {} of {}{more} {} {}",
        Bytes::new(now.done_bytes).decimal(),
        Bytes::new(now.found_bytes).decimal(),
        Count::new(now.done_entries),
        Count::new(now.found_entries),
        things(now),
        verb(now),
    );
    frame.render_widget(Paragraph::new(counts), figures);
    let left = match now.eta_s.filter(|_| now.is_counted) {
        Some(eta) => format!("   {} left", duration(eta)),
        None => String::new(),
    };
    let pace = format!("{}/s", Bytes::new(now.bytes_per_s).decimal());
    let mut line = vec![pace.bold(), Span::raw(format!("{left}   {} since the start", duration(now.elapsed_s)))];
    if let Some(bottleneck) = &now.bottleneck {
        line.push(Span::raw(format!("   {bottleneck}")).dim());
    }
    if now.problems > 0 {
        line.push(Span::raw(format!("   {} with problems", Count::new(now.problems))).bold().yellow());
    }
    frame.render_widget(Paragraph::new(Line::from(line)), last);
}

/// A bar with its percentage behind it: the figure never hides the end of the bar.
fn draw_bar(frame: &mut Frame<'_>, area: Rect, done: u64, all: u64, style: Style) {
    let ratio = if all == 0 { 0.0 } else { (done as f64 / all as f64).clamp(0.0, 1.0) };
    let [bar, figure] = Layout::horizontal([Constraint::Min(1), Constraint::Length(6)]).areas(area);
    let gauge = LineGauge::default().ratio(ratio).label("").filled_style(style).unfilled_style(Style::new().dim());
    let gauge = gauge.filled_symbol(symbols::line::THICK_HORIZONTAL).unfilled_symbol(symbols::line::HORIZONTAL);
    frame.render_widget(gauge, bar);
    frame.render_widget(Paragraph::new(format!("{:.0} %", ratio * 100.0)).alignment(Alignment::Right), figure);
}

/// Tiles from left to right, then down. Those at work come first when not all fit, and the last place says how many do not.
fn draw_tiles(frame: &mut Frame<'_>, area: Rect, volumes: &[VolumeSnapshot]) {
    let places: Vec<Rect> = places(area).collect();
    let mut shown: Vec<&VolumeSnapshot> = volumes.iter().collect();
    if shown.len() > places.len() {
        shown.sort_by_key(|volume| urgency(volume.state));
    }
    let is_cut = shown.len() > places.len();
    let room = if is_cut { places.len().saturating_sub(1) } else { places.len() };
    for (volume, place) in shown.iter().zip(places.iter().take(room)) {
        draw_tile(frame, *place, volume);
    }
    if let Some(place) = places.last().filter(|_| is_cut) {
        let more = format!("and {} more volumes", shown.len() - room);
        frame.render_widget(Paragraph::new(more).dim(), place.inner(MARGIN));
    }
}

/// What needs eyes first.
fn urgency(state: VolumeStanding) -> u8 {
    match state {
        VolumeStanding::Failed => 0,
        VolumeStanding::Writing | VolumeStanding::Reading => 1,
        VolumeStanding::Full | VolumeStanding::ReadingBack => 2,
        VolumeStanding::Sealed | VolumeStanding::Read => 3,
    }
}

/// Places for tiles: as many abreast as fit, and all of the same width.
fn places(area: Rect) -> impl Iterator<Item = Rect> {
    let across = (area.width / TILE.0).max(1);
    let (width, down) = (area.width / across, area.height / TILE.1);
    (0..down).flat_map(move |row| {
        (0..across).map(move |column| Rect::new(area.x + column * width, area.y + row * TILE.1, width, TILE.1))
    })
}

fn draw_tile(frame: &mut Frame<'_>, area: Rect, volume: &VolumeSnapshot) {
    // Colour says nothing that the word does not say too.
    let style = match volume.state {
        VolumeStanding::Failed => Style::new().red().bold(),
        VolumeStanding::Sealed | VolumeStanding::Read => Style::new().green(),
        VolumeStanding::Full | VolumeStanding::ReadingBack => Style::new().yellow(),
        VolumeStanding::Writing | VolumeStanding::Reading => Style::new().cyan(),
    };
    let block = framed(format!(" volume {} ", volume.number));
    let inner = block.inner(area).inner(MARGIN);
    frame.render_widget(block, area);
    let [path, bar, figures, state] = Layout::vertical([Constraint::Length(1); 4]).areas(inner);
    frame.render_widget(Paragraph::new(tail(&volume.path, path.width)).dim(), path);
    draw_bar(frame, bar, volume.bytes, volume.total_bytes, style);
    let heat = volume.temperature_c.map(|degrees| format!("  {degrees:.0} \u{b0}C")).unwrap_or_default();
    let line = format!(
        "{} of {}  {}/s{heat}",
        Bytes::new(volume.bytes).decimal(),
        Bytes::new(volume.total_bytes).decimal(),
        Bytes::new(volume.bytes_per_s).decimal()
    );
    frame.render_widget(Paragraph::new(line), figures);
    let word = match (&volume.error, volume.state) {
        (Some(error), state) => format!("{}: {error}", state.word()),
        (None, state) => state.word().to_owned(),
    };
    frame.render_widget(Paragraph::new(word).style(style), state);
}

/// The end of a path, which tells more than its beginning.
fn tail(path: &str, width: u16) -> String {
    let (count, width) = (path.chars().count(), usize::from(width));
    if count <= width {
        return path.to_owned();
    }
    let end: String = path.chars().skip(count - width.saturating_sub(1)).collect();
    format!("\u{2026}{end}")
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, messages: &[String]) {
    let block = framed(" what happened ".to_owned());
    let inner = block.inner(area).inner(MARGIN);
    frame.render_widget(block, area);
    let from = messages.len().saturating_sub(usize::from(inner.height));
    let lines: Vec<Line<'_>> = messages[from..].iter().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    fn shown(width: u16, height: u16, now: &Snapshot) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(frame, now, &["volume 2 is full".to_owned()])).expect("draws");
        let buffer = terminal.backend().buffer().clone();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn every_drive_has_a_tile_with_what_one_wants_to_know_of_it() {
        let mut now = crate::cli::progress::text::tests::sample();
        now.volumes[1].state = VolumeStanding::Failed;
        now.volumes[1].error = Some("Input/output error".to_owned());
        now.volumes[0].temperature_c = Some(41.0);
        now.volumes[0].path = format!("/media/{}/drive-one", "long".repeat(30));
        let text = shown(100, 24, &now);
        for word in [
            "volume 1",
            "long/drive-one ",
            "400 MB of 1 GB",
            "41 \u{b0}C",
            "volume 2",
            "FAILED: Input/output error",
            "53 %",
        ] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
        assert!(text.contains("1 h 02 min left") && text.contains("2 with problems"), "{text}");
        assert!(text.contains("volume 2 is full"), "{text}");
    }

    #[test]
    fn when_not_all_drives_fit_those_that_need_eyes_are_shown_and_the_others_are_counted() {
        let mut now = crate::cli::progress::text::tests::sample();
        let one = now.volumes.remove(1);
        now.volumes = (1..=20).map(|number| VolumeSnapshot { number, ..one.clone() }).collect();
        now.volumes[17].state = VolumeStanding::Failed;
        let text = shown(80, 24, &now);
        assert!(text.contains("volume 18") && text.contains("and 17 more volumes"), "{text}");
    }

    #[test]
    fn a_small_terminal_shows_what_fits_and_nothing_breaks() {
        let now = crate::cli::progress::text::tests::sample();
        for (width, height) in [(20, 6), (1, 1), (40, 18), (300, 80)] {
            assert_eq!(shown(width, height, &now).lines().count(), usize::from(height));
        }
    }
}

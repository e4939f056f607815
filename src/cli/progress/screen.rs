//! A snapshot as a full-screen view: the whole on top, a tile for every drive, the last messages below.
//!
//! Drawing is a function of the snapshot alone. The terminal stays as it is otherwise: Ctrl-C works as always.

use std::io::{Stderr, stderr};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Gauge, Paragraph};
use ratatui::{Frame, Terminal};

use crate::cli::progress::snapshot::{Snapshot, VolumeSnapshot, VolumeStanding};
use crate::cli::progress::text::{duration, verb};
use crate::units::{Bytes, Count};

/// Width and height of a tile.
const TILE: (u16, u16) = (38, 6);
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
        Layout::vertical([Constraint::Length(5), Constraint::Min(TILE.1), Constraint::Length(MESSAGES + 1)])
            .areas(frame.area());
    draw_total(frame, head, now);
    for (volume, area) in now.volumes.iter().zip(places(tiles)) {
        draw_tile(frame, area, volume);
    }
    let from = messages.len().saturating_sub(usize::from(MESSAGES));
    let lines: Vec<Line<'_>> = messages[from..].iter().map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(lines), foot);
}

fn draw_total(frame: &mut Frame<'_>, area: Rect, now: &Snapshot) {
    let more = if now.is_counted { "" } else { "+" };
    let title = format!(" packmule {} ", now.progress);
    let block = Block::bordered().border_type(BorderType::Rounded).title(title);
    let [bar, figures, last] = Layout::vertical([Constraint::Length(1); 3]).areas(block.inner(area));
    frame.render_widget(block, area);
    let done = now.read_bytes.max(now.done_bytes).min(now.found_bytes);
    frame.render_widget(gauge(done, now.found_bytes), bar);
    let counts = format!(
        "{} of {}{more}   {} of {}{more} entries {}",
        Bytes::new(now.done_bytes).decimal(),
        Bytes::new(now.found_bytes).decimal(),
        Count::new(now.done_entries),
        Count::new(now.found_entries),
        verb(now),
    );
    frame.render_widget(Paragraph::new(counts), figures);
    let left = match now.eta_s.filter(|_| now.is_counted) {
        Some(eta) => format!("   {} left", duration(eta)),
        None => String::new(),
    };
    let mut line = vec![Span::raw(format!(
        "{}/s   {} since the start{left}",
        Bytes::new(now.bytes_per_s).decimal(),
        duration(now.elapsed_s)
    ))];
    if now.problems > 0 {
        let text = format!("   {} with problems", Count::new(now.problems));
        line.push(Span::styled(text, Style::new().add_modifier(Modifier::BOLD)));
    }
    frame.render_widget(Paragraph::new(Line::from(line)), last);
}

fn gauge(done: u64, all: u64) -> Gauge<'static> {
    let ratio = if all == 0 { 0.0 } else { (done as f64 / all as f64).clamp(0.0, 1.0) };
    Gauge::default().ratio(ratio).label(format!("{:.0} %", ratio * 100.0)).use_unicode(true)
}

/// Tiles from left to right, then down; those that do not fit are not shown.
fn places(area: Rect) -> impl Iterator<Item = Rect> {
    let across = (area.width / TILE.0).max(1);
    let down = area.height / TILE.1;
    let width = TILE.0.min(area.width);
    (0..down).flat_map(move |row| {
        (0..across).map(move |column| Rect::new(area.x + column * TILE.0, area.y + row * TILE.1, width, TILE.1))
    })
}

fn draw_tile(frame: &mut Frame<'_>, area: Rect, volume: &VolumeSnapshot) {
    let style = match volume.state {
        VolumeStanding::Failed => Style::new().add_modifier(Modifier::REVERSED),
        VolumeStanding::Sealed => Style::new().add_modifier(Modifier::BOLD),
        _ => Style::new(),
    };
    let block = Block::bordered().border_type(BorderType::Rounded).title(format!(" volume {} ", volume.number));
    let inner = block.inner(area);
    frame.render_widget(block.style(style), area);
    let [path, bar, figures, state] = Layout::vertical([Constraint::Length(1); 4]).areas(inner);
    frame.render_widget(Paragraph::new(volume.path.as_str()), path);
    frame.render_widget(gauge(volume.bytes, volume.total_bytes), bar);
    let heat = volume.temperature_c.map(|degrees| format!("   {degrees:.0} \u{b0}C")).unwrap_or_default();
    let line = format!(
        "{} of {}   {}/s{heat}",
        Bytes::new(volume.bytes).decimal(),
        Bytes::new(volume.total_bytes).decimal(),
        Bytes::new(volume.bytes_per_s).decimal()
    );
    frame.render_widget(Paragraph::new(line), figures);
    let word = volume.error.as_deref().unwrap_or(volume.state.word());
    frame.render_widget(Paragraph::new(word), state);
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
        let text = shown(100, 24, &now);
        for word in ["volume 1", "/mnt/1", "400 MB of 1 GB", "41 \u{b0}C", "volume 2", "Input/output error", "50 %"] {
            assert!(text.contains(word), "{word}:\n{text}");
        }
        assert!(text.contains("1 h 02 min left") && text.contains("2 with problems"), "{text}");
        assert!(text.contains("volume 2 is full"), "{text}");
    }

    #[test]
    fn a_small_terminal_shows_what_fits_and_nothing_breaks() {
        let now = crate::cli::progress::text::tests::sample();
        for (width, height) in [(20, 6), (1, 1), (40, 18), (300, 80)] {
            assert_eq!(shown(width, height, &now).lines().count(), usize::from(height));
        }
    }
}

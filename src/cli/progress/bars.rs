//! A snapshot as bars on a terminal, one for the whole and one for each volume.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::progress::snapshot::{Snapshot, VolumeSnapshot, VolumeStanding};
use crate::cli::progress::text::{duration, things, verb};
use crate::units::{Bytes, Count};

/// Below so many columns only the figures are shown.
const NARROW: u16 = 70;

/// The bars.
pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    volumes: BTreeMap<u32, ProgressBar>,
    is_narrow: bool,
    is_hidden: bool,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Bars {
    /// For a terminal of so many columns.
    pub(super) fn new(columns: u16) -> Self {
        let is_narrow = columns < NARROW;
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0));
        total.set_style(style(if is_narrow {
            "{percent:>3}% {msg}"
        } else {
            "{spinner} {percent:>3}% {wide_bar} {msg}"
        }));
        Self { all, total, volumes: BTreeMap::new(), is_narrow, is_hidden: false }
    }

    /// Prints a line above the bars.
    #[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
    pub(super) fn say(&self, line: &str) {
        if self.is_hidden {
            eprintln!("{line}");
        } else {
            drop(self.all.println(line));
        }
    }

    /// Takes the bars away until the next picture.
    pub(super) fn hide(&mut self) {
        if !std::mem::replace(&mut self.is_hidden, true) {
            drop(self.all.clear());
        }
    }

    pub(super) fn clear(&self) {
        self.volumes.values().for_each(ProgressBar::finish_and_clear);
        self.total.finish_and_clear();
    }

    pub(super) fn paint(&mut self, now: &Snapshot) {
        self.is_hidden = false;
        // What is read but not committed moves the bar; the figure beside it is what is committed.
        self.total.set_length(now.found_bytes.max(1));
        self.total.set_position(now.read_bytes.max(now.done_bytes).min(now.found_bytes));
        self.total.set_message(total(now, self.is_narrow));
        self.total.tick();
        for volume in &now.volumes {
            let (all, is_narrow) = (&self.all, self.is_narrow);
            let bar = self.volumes.entry(volume.number).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(0));
                bar.set_style(style(if is_narrow {
                    "  {prefix} {percent:>3}% {msg}"
                } else {
                    "  {prefix} {percent:>3}% {wide_bar} {msg}"
                }));
                bar.set_prefix(format!("volume {:<3}", volume.number));
                bar
            });
            bar.set_length(volume.total_bytes.max(1));
            bar.set_position(volume.bytes.min(volume.total_bytes));
            bar.set_message(of_volume(volume));
        }
    }
}

fn total(now: &Snapshot, is_narrow: bool) -> String {
    let more = if now.is_counted { "" } else { "+" };
    let pace = format!("{}/s", Bytes::new(now.bytes_per_s).decimal());
    let left = match now.eta_s.filter(|_| now.is_counted) {
        Some(eta) => format!(", {} left", duration(eta)),
        None => String::new(),
    };
    if is_narrow {
        return format!("{pace}{left}");
    }
    let (done, found) = (Count::new(now.done_entries), Count::new(now.found_entries));
    let entries = format!("{done} of {found}{more} {} {}", things(now), verb(now));
    let waits = now.bottleneck.as_ref().map(|bottleneck| format!(", {bottleneck}")).unwrap_or_default();
    format!(
        "{} of {}{more}, {entries}, {pace}{left}{waits}",
        Bytes::new(now.done_bytes).decimal(),
        Bytes::new(now.found_bytes).decimal()
    )
}

fn of_volume(volume: &VolumeSnapshot) -> String {
    match volume.state {
        VolumeStanding::Writing | VolumeStanding::Reading | VolumeStanding::ReadingBack => {
            let (bytes, total) = (Bytes::new(volume.bytes).decimal(), Bytes::new(volume.total_bytes).decimal());
            let pace = Bytes::new(volume.bytes_per_s).decimal();
            format!("{bytes} of {total}, {pace}/s, {}", volume.state.word())
        }
        state => state.word().to_owned(),
    }
}

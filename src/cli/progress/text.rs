//! A snapshot as one line for people, as one line of JSON, and as Prometheus metrics.

use std::fmt::Write as _;

use crate::cli::progress::snapshot::Snapshot;
use crate::units::{Bytes, Count};

/// One line: how much, how fast, how long yet.
pub(super) fn line(now: &Snapshot) -> String {
    let (done, more) = (verb(now), if now.is_counted { "" } else { "+" });
    let mut line = format!(
        "{done} {} of {}{more} {}, {} of {}{more}",
        Count::new(now.done_entries),
        Count::new(now.found_entries),
        things(now),
        Bytes::new(now.done_bytes).decimal(),
        Bytes::new(now.found_bytes).decimal(),
    );
    let _ = write!(line, ", {}/s", Bytes::new(now.bytes_per_s).decimal()); // writing to a String cannot fail
    if let Some(eta) = now.eta_s.filter(|_| now.is_counted) {
        let _ = write!(line, ", {} left", duration(eta));
    }
    if let Some(bottleneck) = &now.bottleneck {
        let _ = write!(line, ", {bottleneck}");
    }
    if now.problems > 0 {
        let _ = write!(line, ", {} with problems", Count::new(now.problems));
    }
    line
}

/// What the figure "done" means.
pub(super) fn verb(now: &Snapshot) -> &'static str {
    match now.progress {
        "stage" => "staged",
        "verify" => "checked",
        "extract" => "written",
        _ => "proved",
    }
}

/// What is counted.
pub(super) fn things(now: &Snapshot) -> &'static str {
    match now.progress {
        "verify" => "packs",
        "extract" => "files",
        _ => "entries",
    }
}

/// `3 d 04 h`, `2 h 05 min`, `3 min 20 s`, `9 s`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {:02} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes:02} min"),
        (days, hours, _) => format!("{days} d {hours:02} h"),
    }
}

/// One line of JSON.
pub(super) fn json(now: &Snapshot) -> String {
    serde_json::to_string(now).unwrap_or_default()
}

/// A text file for the textfile collector of Prometheus' node exporter. `exit` is there at the end only.
pub(super) fn metrics(now: &Snapshot, exit: Option<u8>) -> String {
    let mut out = String::new();
    let verb = now.progress;
    let mut put = |name: &str, kind: &str, help: &str, labels: &str, value: String| {
        let full = format!("packmule_{verb}_{name}");
        if !out.contains(&format!("# TYPE {full} ")) {
            let _ = writeln!(out, "# HELP {full} {help}\n# TYPE {full} {kind}");
        }
        let _ = writeln!(out, "{full}{labels} {value}");
    };
    put("found_entries", "gauge", "Entries known so far.", "", now.found_entries.to_string());
    put("found_bytes", "gauge", "Content known so far.", "", now.found_bytes.to_string());
    put("counted", "gauge", "1 when everything is known.", "", u8::from(now.is_counted).to_string());
    put("done_entries_total", "counter", "Entries that are done.", "", now.done_entries.to_string());
    put("done_bytes_total", "counter", "Content that is done.", "", now.done_bytes.to_string());
    put("read_bytes_total", "counter", "Bytes read.", "", now.read_bytes.to_string());
    put("problems_total", "counter", "Entries with problems.", "", now.problems.to_string());
    put("elapsed_seconds", "gauge", "Since the run began.", "", now.elapsed_s.to_string());
    for volume in &now.volumes {
        let labels = format!("{{volume=\"{}\"}}", volume.number);
        put("volume_bytes", "gauge", "Bytes written or read.", &labels, volume.bytes.to_string());
    }
    for volume in &now.volumes {
        let labels = format!("{{volume=\"{}\"}}", volume.number);
        put("volume_size_bytes", "gauge", "Bytes to write or read.", &labels, volume.total_bytes.to_string());
    }
    for volume in &now.volumes {
        let labels = format!("{{volume=\"{}\",state=\"{}\"}}", volume.number, volume.state.word());
        put("volume_state", "gauge", "1 for the state a volume is in.", &labels, "1".to_owned());
    }
    if let Some(exit) = exit {
        put("exit_code", "gauge", "How the last run ended.", "", exit.to_string());
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::progress::snapshot::{VolumeSnapshot, VolumeStanding};

    pub(in crate::cli::progress) fn sample() -> Snapshot {
        let volume = |number, state| VolumeSnapshot {
            number,
            path: format!("/mnt/{number}"),
            state,
            bytes: 400_000_000,
            total_bytes: 1_000_000_000,
            bytes_per_s: 12_500_000,
            temperature_c: None,
            error: None,
        };
        Snapshot {
            progress: "stage",
            elapsed_s: 61,
            found_entries: 2_000,
            found_bytes: 3_000_000_000,
            is_counted: true,
            done_entries: 1_000,
            done_bytes: 1_500_000_000,
            read_bytes: 1_600_000_000,
            problems: 2,
            bytes_per_s: 25_000_000,
            entries_per_s: 16.0,
            eta_s: Some(3_725),
            bottleneck: None,
            volumes: vec![volume(1, VolumeStanding::Writing), volume(2, VolumeStanding::Sealed)],
        }
    }

    #[test]
    fn a_line_has_what_one_wants_to_know() {
        assert_eq!(
            line(&sample()),
            "staged 1,000 of 2,000 entries, 1.5 GB of 3 GB, 25 MB/s, 1 h 02 min left, 2 with problems"
        );
        let counting = Snapshot { is_counted: false, problems: 0, ..sample() };
        assert_eq!(line(&counting), "staged 1,000 of 2,000+ entries, 1.5 GB of 3 GB+, 25 MB/s");
    }

    #[test]
    fn each_command_counts_what_it_deals_with() {
        let of = |progress| line(&Snapshot { progress, problems: 0, ..sample() });
        assert!(of("verify").starts_with("checked 1,000 of 2,000 packs, "), "{}", of("verify"));
        assert!(of("extract").starts_with("written 1,000 of 2,000 files, "), "{}", of("extract"));
        assert!(of("send").starts_with("proved 1,000 of 2,000 entries, "), "{}", of("send"));
    }

    #[test]
    fn every_metric_is_declared_once_and_has_its_lines_together() {
        let text = metrics(&sample(), Some(0));
        let mut declared = std::collections::BTreeSet::new();
        let mut last = String::new();
        for text_line in text.lines() {
            if let Some(name) = text_line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
                assert!(declared.insert(name.to_owned()), "{name} twice");
                last = name.to_owned();
            } else if !text_line.starts_with('#') {
                assert!(text_line.starts_with(&last), "{text_line} is not under {last}");
                assert!(text_line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok()), "{text_line}");
            }
        }
        assert!(declared.contains("packmule_stage_exit_code"));
    }

    #[test]
    fn durations_read_well() {
        let shown: Vec<String> = [9, 200, 7_500, 273_600].into_iter().map(duration).collect();
        assert_eq!(shown, ["9 s", "3 min 20 s", "2 h 05 min", "3 d 04 h"]);
    }

    #[test]
    fn a_line_of_json_is_one_line_and_keeps_its_names() {
        let text = json(&sample());
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(!text.contains('\n'));
        let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
        names.sort_unstable();
        let documented = include_str!("../../../docs/progress.md");
        assert!(names.iter().all(|name| documented.contains(&format!("| `{name}` |"))), "{names:?}");
        assert_eq!(value["volumes"][1]["state"], "sealed");
    }
}

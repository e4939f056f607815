//! What a scan found or a job has done, as the file that `plan` reads: every figure marked as measured.

use std::path::Path;

use crate::cli::{Exit, Failure};
use crate::format::record::EntryType;
use crate::job::{Job, ObjectState, State};
use crate::plan::dataset::{Dataset, DatasetFile, HistogramBucket, Mark, Marked};
use crate::scan::{Hazard, Samples, Summary};
use crate::sys::{Access, Fs};
use crate::units::{Bytes, BytesPerSecond, Count, Share};

fn measured<T>(value: T) -> Option<Marked<T>> {
    Some(Marked { value, mark: Mark::Measured })
}

/// The hazard's name as it is in JSON.
fn word(hazard: Hazard) -> String {
    serde_json::to_value(hazard).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The dataset file of a scan. What was not measured is absent, never zero.
pub(super) fn of_scan(name: &str, summary: &Summary, samples: &Samples, walk_seconds: f64) -> DatasetFile {
    let names = summary.files + summary.dirs + summary.symlinks + summary.specials;
    let closed = summary.hazards.get(&Hazard::Unreadable).map_or(0, |finding| finding.count);
    let problems = summary.problem_count() + closed;
    let dataset = Dataset {
        name: Some(name.to_owned()),
        bytes: measured(Bytes::new(summary.bytes)),
        files: measured(Count::new(summary.files)),
        directories: measured(Count::new(summary.dirs)),
        largest_file: measured(Bytes::new(summary.largest_bytes)),
        compressed_ratio: samples
            .compressibility
            .ratio()
            .and_then(|ratio| measured(Share::new((1.0 / ratio).clamp(0.0, 1.0)))),
        unreadable: measured(Count::new(problems)),
        hazards: summary.hazards.iter().map(|(hazard, finding)| (word(*hazard), finding.count)).collect(),
        histogram: summary
            .sizes
            .used()
            .map(|bucket| HistogramBucket {
                up_to: Bytes::new(bucket.max_bytes),
                files: Count::new(bucket.files),
                bytes: Bytes::new(bucket.bytes),
            })
            .collect(),
    };
    let mut file = DatasetFile { dataset, ..DatasetFile::default() };
    if samples.rate_seconds > 0.0 && samples.rate_bytes > 0 {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = samples.rate_bytes as f64 / samples.rate_seconds;
        file.site.source_read = measured(BytesPerSecond::new(rate));
    }
    if walk_seconds > 0.0 && names > 1000 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate of names, at least 0"
        )]
        let rate = (names as f64 / walk_seconds) as u64;
        file.site.scan_rate = measured(Count::new(rate.max(1)));
    }
    file
}

/// Puts what a job has done into a dataset file: its size, what has arrived, what waits on drives, and how fast a drive
/// was filled from its beginning to its seal, read-back included.
pub(super) fn add_actuals(file: &mut DatasetFile, dir: &Path) -> Result<(), Failure> {
    let job = Job::open_read_only(dir).map_err(super::status::failure)?;
    let ledger = job.ledger().map_err(super::status::failure)?;
    let files = |keep: fn(State) -> bool| {
        let states = State::ALL.into_iter().filter(|state| keep(*state));
        states.map(|state| ledger.state_and_type(state, EntryType::File)).sum::<crate::job::Count>()
    };
    let present = files(|state| !state.is_deleted());
    let objects = job.object_ledger().map_err(super::status::failure)?;
    let arrived = objects
        .iter()
        .filter(|(state, _)| matches!(state, ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack));
    let arrived: crate::job::Count = arrived.map(|(_, count)| *count).sum();
    file.dataset.bytes = measured(Bytes::new(present.bytes));
    file.dataset.files = measured(Count::new(present.entries));
    file.actual.landed = Some(Bytes::new(arrived.bytes.min(present.bytes)));
    // Directories and links have objects, too, so the number of files is that of the bytes when all have arrived.
    file.actual.landed_files = (arrived.bytes >= present.bytes).then(|| Count::new(present.entries));
    let staged = files(|state| state.is_staged() && !state.is_deleted()).bytes;
    file.actual.staged = Some(Bytes::new(staged.saturating_sub(arrived.bytes)));
    if file.dataset.name.is_none() {
        file.dataset.name = Some(format!("job {}", job.id()));
    }
    let rates = job.volumes().map_err(super::status::failure)?.into_iter().filter_map(|row| {
        let sealing = row.sealing?;
        let seconds = (sealing.at.as_second() - row.volume.created.as_second()).max(0);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = (seconds > 0).then(|| sealing.file_bytes as f64 / seconds as f64);
        rate
    });
    // The slowest volume decides how a set of them is filled.
    if let Some(rate) = rates.min_by(f64::total_cmp) {
        file.site.volume_write = measured(BytesPerSecond::new(rate));
    }
    Ok(())
}

/// Writes a text file whole: beside its place, synced, then renamed over it.
pub(super) fn write(fs: &dyn Fs, path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::of(
            Exit::Failed,
            format!("cannot write {}", path.display()),
            Some("is there room, and may you write there?".to_owned()),
            error,
        )
    };
    let part = path.with_extension("part");
    match fs.remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = fs.create_new(&part, Access::Buffered).map_err(failed)?;
    file.write_all_at(text.as_bytes(), 0).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    fs.rename_replace(&part, path).map_err(failed)
}

//! How much is to be moved and how it changes: sizes, counts, the histogram, change rates.
//!
//! Owns: their defaults and checks. Called by `inputs`.

use crate::plan::dataset::{Dataset, DatasetFile, HistogramBucket, Mark};
use crate::plan::delta::Change;
use crate::plan::files::Bucket;
use crate::plan::inputs::{Error, Resolver, question};
use crate::plan::request::Request;
use crate::units::{Bytes, Count, Share};

pub(super) struct Sizes {
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) largest: u64,
    pub(super) buckets: Vec<Bucket>,
    pub(super) compressed: f64,
    pub(super) staged: f64,
    pub(super) warnings: Vec<String>,
}

pub(super) fn sizes(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Result<Sizes, Error> {
    let data = &file.dataset;
    let Some(size) = r.pick("size", request.size, data.bytes) else {
        return Err(question(
            "how much is to be moved? give --size 400TB, or a dataset file that `packmule scan SOURCE -o DATASET.toml` writes",
        ));
    };
    let landed = file.actual.landed.unwrap_or(Bytes::ZERO);
    let landed_files = file.actual.landed_files.unwrap_or(Count::new(0));
    if landed > Bytes::ZERO || landed_files.get() > 0 {
        r.note("arrived already", format!("{landed} in {landed_files} files"), Mark::Measured);
    }
    let bytes = size.saturating_sub(landed).get();
    let files = match r.pick("files", request.files, data.files) {
        Some(files) => files.get(),
        None => {
            // One file for each 100 MB: few enough that bytes decide, which is said.
            let files = (size.get() / 100_000_000).max(1);
            r.note("files", format!("{} (100 MB each)", Count::new(files)), Mark::Assumed);
            files
        }
    };
    let left = files_left(size.get(), bytes, files, landed_files.get());
    if bytes == 0 && left == 0 {
        return Err(question("there is nothing to move: the dataset has no bytes and no files left"));
    }
    let mean = bytes / left.max(1);
    let largest = r.pick("largest file", request.largest_file, data.largest_file).map_or(mean, Bytes::get);
    if largest > size.get() {
        return Err(question(format!(
            "the largest file ({}) is larger than the dataset ({})",
            Bytes::new(largest),
            size
        )));
    }
    let (buckets, warnings) = buckets(data, (size.get(), files), (bytes, left));
    let (files, largest) = (left, largest.min(bytes));
    let compressed =
        r.pick("compressed ratio", None, data.compressed_ratio).map_or(1.0, |ratio: Share| ratio.get().max(0.01));
    let staged = file.actual.staged.unwrap_or(Bytes::ZERO);
    if staged > Bytes::ZERO {
        r.note("on drives already", staged.to_string(), Mark::Measured);
    }
    let staged = (staged.get() as f64 / bytes.max(1) as f64).min(1.0);
    Ok(Sizes { bytes, files, largest, buckets, compressed, staged, warnings })
}

/// Files still to be moved: all but those that have arrived; where their number is not known, the same part as of bytes.
fn files_left(size: u64, bytes: u64, files: u64, landed_files: u64) -> u64 {
    if landed_files > 0 || bytes == size {
        return files.saturating_sub(landed_files);
    }
    (files as f64 * (bytes as f64 / size.max(1) as f64)).ceil() as u64
}

/// The histogram, thinned evenly to what is `left` (bytes, files); one mean size where there is none that fits `all`.
fn buckets(data: &Dataset, all: (u64, u64), left: (u64, u64)) -> (Vec<Bucket>, Vec<String>) {
    let one = vec![Bucket { files: left.1.max(1), bytes: left.0 }];
    let sum = |of: fn(&HistogramBucket) -> u64| data.histogram.iter().map(of).fold(0, u64::saturating_add);
    if data.histogram.is_empty() {
        return (one, Vec::new());
    }
    if (sum(|b| b.bytes.get()), sum(|b| b.files.get())) != all {
        let text = "the size histogram does not add up to the size and count given, so one mean size is used";
        return (one, vec![text.to_owned()]);
    }
    let part = |n: u64, left: u64, all: u64| {
        if left == all { n } else { (n as f64 * (left as f64 / all.max(1) as f64)).round() as u64 }
    };
    let thin = |b: &HistogramBucket| Bucket {
        files: part(b.files.get(), left.1, all.1),
        bytes: part(b.bytes.get(), left.0, all.0),
    };
    (data.histogram.iter().map(thin).collect(), Vec::new())
}

pub(super) fn change(r: &mut Resolver<'_>, request: &Request, file: &DatasetFile) -> Change {
    let rewritten =
        r.pick("rewritten per day", request.change_per_day, file.change.rewritten_per_day).unwrap_or_default();
    let growth = r.pick("added per day", request.growth_per_day, file.change.growth_per_day).unwrap_or_default();
    let working_set =
        r.pick("working set", None, file.change.working_set).map_or(f64::INFINITY, |w: Bytes| w.get() as f64);
    let amplification =
        r.pick("bytes resent per byte changed", None, file.change.amplification).unwrap_or(1.0).max(1.0);
    Change { rewrite_per_day: rewritten.get() as f64 * amplification, growth_per_day: growth.get() as f64, working_set }
}

//! `packmule probe`: measured rates for `plan`, so that it need not guess.
//!
//! Reads real files of the source, past the page cache as far as the kernel allows, writes and syncs a file on each volume,
//! and sends large and small objects to a bucket, each for a bounded time; what was written is removed again.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::s3::{ServerArgs, destination};
use crate::cli::{Exit, Failure};
use crate::ingest::remote::Target;
use crate::ingest::{Sent, measure_line};
use crate::plan::dataset::{DatasetFile, Marked};
use crate::plan::files::{Sample, calibrate};
use crate::scan::{self, EntryKind, Root, WalkOptions};
use crate::sys::aligned::AlignedBuf;
use crate::sys::source::SourceFile;
use crate::sys::{Access, Clock, World};
use crate::units::{Bytes, BytesPerSecond, Count, Days, Span};

/// Arguments of `packmule probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of which files are read
    #[arg(long, value_name = "DIR", required_unless_present_any = ["volume", "to"])]
    source: Option<PathBuf>,
    /// Volume onto which a file is written, synced and removed again; may be repeated
    #[arg(long, value_name = "DIR")]
    volume: Vec<PathBuf>,
    /// Bucket to which objects are sent and removed again, as s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Connections to the bucket at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    #[command(flatten)]
    server: ServerArgs,
    /// How long each is measured, such as 10s
    #[arg(long, value_name = "TIME", default_value = "10s")]
    time: Span,
    /// Files read at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    readers: u32,
    /// Dataset file to put the rates into; made when it does not exist
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Bytes read or written at a time.
const BLOCK_BYTES: usize = 8 << 20;
/// Files looked at: enough for any rate to settle.
const FILES_MAX: usize = 20_000;
/// Most that is written to a volume.
const WRITE_BYTES_MAX: u64 = 16 << 30;
/// Name of the file written to a volume.
const PROBE_NAME: &str = "packmule-probe.tmp";

/// Bytes and the time they took.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Measured {
    bytes: Bytes,
    seconds: f64,
    rate: BytesPerSecond,
}

#[derive(Debug, serde::Serialize)]
struct Report {
    source_read: Option<Measured>,
    volume_write: Vec<(String, Measured)>,
    upload: Option<Upload>,
}

/// The line to a bucket.
#[derive(Debug, Clone, serde::Serialize)]
struct Upload {
    to: String,
    connections: u32,
    round_trip_ms: f64,
    large_objects: Measured,
    small_objects: Measured,
    small_objects_per_s: f64,
    /// Fixed time of one object and connection; absent when the two phases do not tell it from the bytes.
    file_cost_ms: Option<f64>,
}

/// Measures and prints.
///
/// # Errors
/// When a source holds no readable bytes, a volume cannot be written, or the dataset file is none.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let time = Duration::from_secs(args.time.secs().clamp(1, 3600));
    let source_read = args.source.as_deref().map(|dir| read_rate(&world, dir, time, args.readers)).transpose()?;
    let mut volume_write = Vec::new();
    for dir in &args.volume {
        volume_write.push((dir.display().to_string(), write_rate(&world, dir, time)?));
    }
    let upload = args.to.as_deref().map(|to| upload(&world, args, to, time)).transpose()?;
    let report = Report { source_read, volume_write, upload };
    if let Some(path) = &args.output {
        store(&world, path, &report)?;
    }
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { text(&report) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let line = |what: &str, m: &Measured| format!("{what}: {} ({} in {:.1} s)\n", m.rate, m.bytes.decimal(), m.seconds);
    let source = report.source_read.iter().map(|m| line("source read", m));
    let volumes = report.volume_write.iter().map(|(name, m)| line(&format!("volume {name} write"), m));
    let upload = report.upload.iter().map(|u| {
        let cost = u.file_cost_ms.map_or_else(
            || "the cost of one file cannot be told from its bytes".to_owned(),
            |ms| format!("{ms:.1} ms per object and connection"),
        );
        format!(
            "{}round trip: {:.1} ms\nsmall objects: {:.0} a second on {} connections ({cost})\n",
            line(&format!("upload to {}", u.to), &u.large_objects),
            u.round_trip_ms,
            u.small_objects_per_s,
            u.connections
        )
    });
    source.chain(volumes).chain(upload).collect()
}

/// Measures the line to a bucket.
fn upload(world: &World, args: &Args, to: &str, time: Duration) -> Result<Upload, Failure> {
    let (bucket, prefix) = destination(to)?;
    let target = Target { connections_max: args.connections as usize, ..args.server.target(bucket) };
    let line = measure_line(target, &prefix, args.connections, time, world).map_err(|error| {
        let hint = error.hint().map(ToOwned::to_owned);
        Failure::of(Exit::Remote, format!("the line to {to} cannot be measured"), hint, error)
    })?;
    let sample = |sent: &Sent| Sample {
        files: Count::new(sent.objects),
        bytes: Bytes::new(sent.bytes),
        elapsed: Days::from_secs(sent.elapsed.as_secs_f64()),
    };
    let fit = calibrate(&[sample(&line.small), sample(&line.large)], Count::new(u64::from(line.connections)));
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    let small_objects_per_s = line.small.objects as f64 / line.small.elapsed.as_secs_f64().max(1e-6);
    Ok(Upload {
        to: to.to_owned(),
        connections: line.connections,
        round_trip_ms: line.round_trip.as_secs_f64() * 1e3,
        large_objects: measured(line.large.bytes, line.large.elapsed),
        small_objects: measured(line.small.bytes, line.small.elapsed),
        small_objects_per_s,
        file_cost_ms: fit.map(|fit| fit.per_file.secs() * 1e3),
    })
}

fn measured(bytes: u64, elapsed: Duration) -> Measured {
    let seconds = elapsed.as_secs_f64().max(1e-6);
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    let rate = BytesPerSecond::new(bytes as f64 / seconds);
    Measured { bytes: Bytes::new(bytes), seconds, rate }
}

/// Regular files of the source that hold anything, in the order of the walk.
fn some_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let roots = Root::resolve_all(std::slice::from_ref(&dir.to_path_buf()))
        .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "give a directory that exists"))?;
    let mut files = Vec::new();
    scan::walk(&roots, &WalkOptions::default(), |batch| {
        let wanted = batch.entries.iter().filter(|e| e.kind == EntryKind::File && e.identity.size > 0);
        for entry in wanted {
            if let Some(root) = roots.get(batch.root) {
                files.push(root.open_path(&scan::join(&batch.dir, &entry.name)));
            }
        }
        if files.len() >= FILES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    Ok(files)
}

/// Reads files with several readers until the time is up or all are read.
fn read_rate(world: &World, dir: &Path, time: Duration, readers: u32) -> Result<Measured, Failure> {
    let files = some_files(dir)?;
    let clock = &*world.clock;
    let start = clock.monotonic();
    let end = start + time;
    let readers = usize::try_from(readers).unwrap_or(1);
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|first| {
                let mine = files.iter().skip(first).step_by(readers);
                scope.spawn(move || mine.map(|path| read_file(path, clock, end)).sum::<u64>())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    if bytes == 0 {
        let hint = "give a directory with files that you may read";
        return Err(Failure::new(Exit::Failed, format!("nothing could be read below {}", dir.display()), hint));
    }
    Ok(measured(bytes, clock.monotonic().saturating_sub(start)))
}

/// Bytes read of one file before the end of the time; what cannot be read counts nothing.
fn read_file(path: &Path, clock: &dyn Clock, end: Duration) -> u64 {
    if clock.monotonic() >= end {
        return 0;
    }
    let Ok(file) = SourceFile::open(path) else { return 0 };
    // WHY: a file read a minute ago would be measured at the speed of memory. Where that fails the rate is too good.
    let _ = file.drop_cache();
    let mut buf = vec![0; BLOCK_BYTES];
    let mut done = 0;
    while clock.monotonic() < end {
        match file.read_full_at(&mut buf, done) {
            Ok(len) if len > 0 => done += len as u64,
            _ => break,
        }
    }
    done
}

/// Writes random bytes to a volume until the time is up, with a sync at the end that counts.
fn write_rate(world: &World, dir: &Path, time: Duration) -> Result<Measured, Failure> {
    let path = dir.join(PROBE_NAME);
    let failed = |error: std::io::Error| {
        let hint = "is it mounted, with room, and may you write there? A leftover packmule-probe.tmp may be removed"
            .to_owned();
        Failure::of(Exit::Volume, format!("cannot measure {}", dir.display()), Some(hint), error)
    };
    let room = world.fs.space(dir).map_err(failed)?.free_bytes / 2;
    let file = world.fs.create_new(&path, Access::Direct).map_err(failed)?;
    let mut random = vec![0; BLOCK_BYTES];
    world.random.fill(&mut random);
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    block.push(&random);
    let start = world.clock.monotonic();
    let mut done = 0;
    let mut write = || -> std::io::Result<()> {
        while world.clock.monotonic().saturating_sub(start) < time && done < WRITE_BYTES_MAX.min(room) {
            file.write_all_at(&block, done)?;
            done += BLOCK_BYTES as u64;
        }
        file.sync_data()
    };
    let written = write();
    let elapsed = world.clock.monotonic().saturating_sub(start);
    drop(file);
    world.fs.remove_file(&path).map_err(failed)?;
    written.map_err(failed)?;
    Ok(measured(done, elapsed))
}

/// Puts the rates into a dataset file, beside what is there.
fn store(world: &World, path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut file = match world.fs.stat(path) {
        Ok(_) => super::plan::dataset(world, path)?,
        Err(_) => DatasetFile::default(),
    };
    if let Some(read) = report.source_read {
        file.site.source_read = Some(Marked::measured(read.rate));
    }
    // The slowest volume decides how a set of them is filled.
    let slowest = report.volume_write.iter().map(|(_, m)| m.rate).min_by(|a, b| a.get().total_cmp(&b.get()));
    if let Some(rate) = slowest {
        file.site.volume_write = Some(Marked::measured(rate));
    }
    if let Some(upload) = &report.upload {
        let rounded = |ms: f64| (ms * 1e3).round() / 1e3;
        file.link.upload_rate = Some(Marked::measured(upload.large_objects.rate));
        file.link.rtt_ms = Some(Marked::measured(rounded(upload.round_trip_ms)));
        file.site.file_cost_ms = upload.file_cost_ms.map(|ms| Marked::measured(rounded(ms))).or(file.site.file_cost_ms);
    }
    super::dataset::write(&*world.fs, path, &file.to_toml()?)?;
    Ok(())
}

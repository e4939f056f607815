//! `packmule stage`: from the source onto volumes.

mod outcome;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::events::Events;
use crate::cli::key::LazyService;
use crate::cli::progress::{Painter, ProgressArgs};
use crate::cli::{Exit, Failure, report, shelf};
use crate::crypto::UnlockCode;
use crate::report::Stage;
use crate::scan::{FileList, Root, Rule, Selection};
use crate::stage::{self, Compression, Moving, OnChange, Options};
use crate::sys::process::{StopFlag, set_niceness};
use crate::sys::secrets::{read_secret, write_secret_new};
use crate::sys::source::read_named;
use crate::sys::{OsRandom, World};
use crate::units::{Bytes, BytesPerSecond};

use outcome::{exit, json, last_line, text};
pub(super) use outcome::{ledger_json, ledger_line, packs, read_back};

/// Longest recipients file. Unit: bytes.
const RECIPIENTS_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `packmule stage`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The same command again is the resume. Volumes are recognised by what is on them, not by their path."
)]
pub struct Args {
    /// Directories or files to stage
    #[arg(required = true)]
    source: Vec<PathBuf>,
    /// Where a volume is, or is to be made; may be repeated. DIR,size=400GB uses at most so much of it
    #[arg(long = "volume", value_name = "DIR[,size=SIZE]", required = true)]
    volumes: Vec<String>,
    /// Job directory: made on the first run, the same ever after
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Who can open the volumes: an age, SSH or plugin recipient; may be repeated
    #[arg(long, value_name = "RECIPIENT", help_heading = "Keys")]
    recipient: Vec<String>,
    /// File with a recipient a line
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    recipients_file: Option<PathBuf>,
    /// File that holds a passphrase that can open the volumes
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    passphrase_file: Option<PathBuf>,
    /// File for an unlock code: written if it is not there, used if it is. Keep it away from the drives
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    unlock_code_file: Option<PathBuf>,
    /// Key of AWS KMS (id, ARN or alias) that can open the volumes too; may be repeated. The job keeps it
    #[arg(long, value_name = "KEY", help_heading = "Keys")]
    kms_key: Vec<String>,
    /// Endpoint of the key service, if it is not AWS
    #[arg(long, value_name = "URL", help_heading = "Keys")]
    kms_endpoint_url: Option<String>,
    /// Leave out what matches, in the style of gitignore; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "What")]
    exclude: Vec<String>,
    /// Take what matches although --exclude leaves it out; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "What")]
    include: Vec<String>,
    /// Take only what FILE lists: paths that end with a zero byte each, as `find -print0` writes them, absolute or relative to
    /// the source; `-` is standard input. A directory stands for all below it. For one source
    #[arg(long, value_name = "FILE", help_heading = "What")]
    files_from0: Option<PathBuf>,
    /// Take what symbolic links lead to in their place, instead of the links
    #[arg(long, help_heading = "What")]
    follow_links: bool,
    /// Read files that look unchanged (size, times, inode) and compare them with what was staged
    #[arg(long, help_heading = "What")]
    by_content: bool,
    /// What to do with a file that changes while it is read: fail, warn or accept, for all or for a PATTERN; may be repeated,
    /// the last that matches decides
    #[arg(long, value_name = "[PATTERN=]WHAT", value_parser = parse_on_change, help_heading = "What")]
    on_change: Vec<(Option<String>, OnChange)>,
    /// How often a file that changes is read before that
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "What")]
    readings: u32,
    /// Stay on the file system of each source
    #[arg(long, help_heading = "What")]
    one_file_system: bool,
    /// List fifos, sockets and devices as skipped instead of recording them
    #[arg(long, help_heading = "What")]
    skip_special: bool,
    /// Compression: auto, none, or a zstd level from -7 to 19
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = parse_compression, allow_hyphen_values = true, help_heading = "How")]
    compress: Compression,
    /// Memory for buffers
    #[arg(long, value_name = "SIZE", default_value = "512MiB", help_heading = "How")]
    memory: Bytes,
    /// Threads that compress and seal [default: all processors]
    #[arg(long, value_name = "N", help_heading = "How")]
    threads: Option<usize>,
    /// Files read at once [default: one on a spinning disk, 16 or more on a network mount, else two for each processor]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256), help_heading = "How")]
    readers: Option<usize>,
    /// Read the source no faster than this
    #[arg(long, value_name = "RATE", help_heading = "How")]
    limit_rate: Option<BytesPerSecond>,
    /// Give way to other programs: 0 is ordinary, 19 gives way most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=19), help_heading = "How")]
    nice: Option<i32>,
    /// Largest pack
    #[arg(long, value_name = "SIZE", default_value = "1GiB", help_heading = "How")]
    pack_size: Bytes,
    /// Whom to call about a drive that was found: into its README.txt and onto its label, a line each
    #[arg(long, value_name = "TEXT", help_heading = "How")]
    contact: Vec<String>,
    /// Put this program and the documents of the format onto each drive, so that it can be read anywhere
    #[arg(long, help_heading = "How")]
    self_carrying: bool,
    /// A volume that was found damaged: exactly what it lost is staged again, onto the volumes of --volume; may be repeated
    #[arg(long, value_name = "DIR", help_heading = "How")]
    repair: Vec<PathBuf>,
    /// Number of a volume that is gone for good: everything on it is staged again, onto the volumes of --volume; may be repeated
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..), help_heading = "How")]
    lost: Vec<u32>,
    /// Fill volumes one after another, in the order given; each is read back while the next is filled
    #[arg(long, help_heading = "How")]
    one_by_one: bool,
    /// Leave the volumes open at the end, for more to come
    #[arg(long, help_heading = "How")]
    no_seal: bool,
    /// Write nothing; print what would be staged, how the volumes would be filled, and which drives are missing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Splits `PATTERN=WHAT`.
fn parse_on_change(text: &str) -> Result<(Option<String>, OnChange), String> {
    let (pattern, what) = match text.rsplit_once('=') {
        Some((pattern, what)) => (Some(pattern.to_owned()), what),
        None => (None, text),
    };
    let what = match what {
        "fail" => OnChange::Fail,
        "warn" => OnChange::Warn,
        "accept" => OnChange::Accept,
        _ => return Err("give fail, warn or accept, or PATTERN= and one of them".to_owned()),
    };
    Ok((pattern, what))
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    match text {
        "auto" => Ok(Compression::Auto),
        "none" | "off" => Ok(Compression::Off),
        level => match level.parse::<i32>() {
            Ok(level) if (-7..=19).contains(&level) && level != 0 => Ok(Compression::Level(level)),
            _ => Err("give auto, none, or a level from -7 to 19 other than 0".to_owned()),
        },
    }
}

/// Stages and reports.
///
/// # Errors
/// When the run cannot go on at all; the exit code says why.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let stop = StopFlag::new();
    stop.arm()?;
    if let Some(niceness) = args.nice {
        set_niceness(niceness)?; // before any thread is started: they inherit it
    }
    let mut options = options(args, stop)?;
    if args.dry_run {
        return dry_run(args, &options);
    }
    let events = Events::new("stage", &args.job, &args.progress.events);
    let painter = Arc::new(Painter::new("stage", &args.progress, events, args.json));
    options.next_volume = if args.progress.quiet || args.json { None } else { shelf::asker(&painter) };
    let outcome = stage::stage(options, &World::real(), Arc::clone(&painter) as Arc<dyn stage::Monitor>);
    painter.finish();
    let outcome = match outcome.map_err(failure) {
        Ok(outcome) => outcome,
        Err(failure) => {
            painter.ended(failure.exit, &super::exit::chain(&failure));
            return Err(failure.into());
        }
    };
    // A run that found nothing to do leaves the report of the one that did.
    let is_news = !outcome.sealed.is_empty() || outcome.problems > 0 || !report::is_kept(&args.job, Stage::Staging);
    let kept = if outcome.is_complete && is_news { report::keep(&args.job, Stage::Staging) } else { None };
    let text = if args.json { json(&outcome, &painter)? } else { text(args, &outcome, &painter, kept.as_deref()) };
    std::io::stdout().write_all(text.as_bytes())?;
    painter.ended(exit(&outcome), &last_line(args, &outcome));
    Ok(exit(&outcome))
}

fn dry_run(args: &Args, options: &Options) -> anyhow::Result<Exit> {
    let map = stage::dry_run(options, &World::real()).map_err(failure)?;
    let text =
        if args.json { serde_json::to_string_pretty(&shelf::map_json(&map))? + "\n" } else { shelf::map_text(&map) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(if map.missing_bytes().0 > 0 { Exit::Volume } else { Exit::Done })
}

fn options(args: &Args, stop: StopFlag) -> anyhow::Result<Options> {
    let volumes = args.volumes.iter().map(|text| shelf::parse_place(text)).collect::<Result<_, _>>()?;
    let mut options = Options::new(args.source.clone(), volumes, args.job.clone());
    if !args.dry_run {
        keys(args, &mut options)?;
    }
    let exclude = args.exclude.iter().map(|pattern| Rule::Exclude(pattern.clone()));
    let include = args.include.iter().map(|pattern| Rule::Include(pattern.clone()));
    options.selection = Selection::new(&exclude.chain(include).collect::<Vec<_>>())
        .map_err(|error| Failure::of(Exit::Usage, "a pattern cannot be used", None, error))?;
    options.list = args.files_from0.as_deref().map(|path| file_list(args, path)).transpose()?.map(Arc::new);
    options.follow_links = args.follow_links;
    options.by_content = args.by_content;
    options.moving = Moving::new(&args.on_change, args.readings)
        .map_err(|error| Failure::of(Exit::Usage, "--on-change cannot be used", None, error))?;
    // WHY `as`: a rate beyond the range is no limit.
    options.read_rate_max = args.limit_rate.map(|rate| rate.get() as u64);
    options.one_file_system = args.one_file_system;
    options.special_files = !args.skip_special;
    options.compression = args.compress;
    options.memory_bytes = args.memory.get();
    options.threads = args.threads.unwrap_or(options.threads);
    options.readers = args.readers;
    options.pack_bytes_max = args.pack_size.get().clamp(80 << 20, crate::format::PACK_BYTES_MAX);
    options.one_by_one = args.one_by_one;
    options.kms_keys.clone_from(&args.kms_key);
    // A later run makes a new volume's data key too, so the service is at hand whenever it may be asked.
    options.key_service = Some(Arc::new(LazyService::new(args.kms_endpoint_url.as_deref())));
    options.contact = (!args.contact.is_empty()).then(|| args.contact.join("\n"));
    options.self_carrying = args.self_carrying;
    options.repair.clone_from(&args.repair);
    options.lost.clone_from(&args.lost);
    options.seals = !args.no_seal;
    options.stop = stop;
    Ok(options)
}

/// Who can open the volumes. An unlock code that is not there yet is written.
fn keys(args: &Args, options: &mut Options) -> anyhow::Result<()> {
    options.recipients.clone_from(&args.recipient);
    if let Some(path) = &args.recipients_file {
        let text =
            read_secret(path, RECIPIENTS_BYTES_MAX).map_err(|error| key_failure(path, "cannot be read", error))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        options.recipients.extend(lines.map(str::to_owned));
    }
    if let Some(path) = &args.passphrase_file {
        let passphrase = read_secret(path, 64 << 10).map_err(|error| key_failure(path, "cannot be read", error))?;
        options.passphrase = Some(passphrase);
    }
    if let Some(path) = &args.unlock_code_file {
        if let Some(volume) = args_volumes(options).find(|volume| is_below(path, volume)) {
            let message = format!("the unlock code would be on the drive it opens ({})", volume.display());
            return Err(Failure::new(Exit::Usage, message, "name a file elsewhere, and send it by another way").into());
        }
        options.unlock_code = Some(unlock_code(path)?);
    }
    Ok(())
}

/// The list of what to take, for one source that is a directory.
fn file_list(args: &Args, path: &Path) -> Result<FileList, Failure> {
    let [source] = args.source.as_slice() else {
        return Err(Failure::new(
            Exit::Usage,
            "--files-from0 is for one source",
            "run the command once for each source",
        ));
    };
    let failed = |error: std::io::Error| {
        Failure::of(Exit::Failed, format!("the list {} cannot be read", path.display()), None, error)
    };
    let bytes = read_named(path).map_err(failed)?;
    let root = Root::resolve(source).map_err(|error| failure(error.into()))?;
    FileList::parse(&bytes, root.path()).map_err(|error| {
        let hint = error.hint().to_owned();
        Failure::of(Exit::Usage, "the list cannot be used", Some(hint), error)
    })
}

fn args_volumes(options: &Options) -> impl Iterator<Item = &Path> {
    options.volumes.iter().map(|place| place.path.as_path())
}

/// Whether a file is, or would be, below that directory, however the two are written.
fn is_below(file: &Path, dir: &Path) -> bool {
    let dir_of_file = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (crate::sys::secrets::resolved(dir_of_file), crate::sys::secrets::resolved(dir)) {
        (Ok(file), Ok(dir)) => file.starts_with(dir),
        _ => file.starts_with(dir),
    }
}

/// The code in the file; a new one, written with mode 0600, if there is no file yet.
pub(super) fn unlock_code(path: &Path) -> Result<UnlockCode, Failure> {
    match read_secret(path, 64 << 10) {
        Ok(text) => UnlockCode::parse(&String::from_utf8_lossy(&text))
            .map_err(|error| key_failure(path, "holds no unlock code", error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let code = UnlockCode::fresh(&OsRandom);
            write_secret_new(path, format!("{}\n", *code.reveal()).as_bytes())
                .map_err(|error| key_failure(path, "cannot be written", error))?;
            let place = crate::sys::secrets::resolved(path).unwrap_or_else(|_| path.to_owned());
            super::exit::warn(&format!(
                "a new unlock code is in {}: whoever has it can open the volumes; send it by another way than the drives, and keep a copy",
                place.display()
            ));
            Ok(code)
        }
        Err(error) => Err(key_failure(path, "cannot be read", error)),
    }
}

fn key_failure(path: &Path, what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::of(Exit::Key, format!("key file {} {what}", path.display()), None, error)
}

/// Exit code and hint of an error that ended the run.
pub(super) fn failure(error: stage::Error) -> Failure {
    use crate::volume::Error as VolumeError;
    let exit = match &error {
        stage::Error::UnknownVolume { .. }
        | stage::Error::NoRecipient
        | stage::Error::Memory { .. }
        | stage::Error::OtherSources { .. } => Exit::Usage,
        stage::Error::Crypto(_) => Exit::Key,
        stage::Error::UnusableVolume { .. } => Exit::Volume,
        stage::Error::Volume(error) => match error {
            VolumeError::OtherJob { .. } | VolumeError::NotAVolume { .. } => Exit::Volume,
            VolumeError::LostCommit { .. }
            | VolumeError::ReadBack { .. }
            | VolumeError::NewerThanJob { .. }
            | VolumeError::Format { .. } => Exit::Integrity,
            error if error.is_full() || is_missing(error) => Exit::Volume,
            _ => Exit::Failed,
        },
        _ => Exit::Failed,
    };
    let hint = match &error {
        stage::Error::Volume(error) if is_missing(error) => {
            Some("is the drive mounted there? A directory that stands for a drive is made first: mkdir DIR".to_owned())
        }
        error => error.hint(),
    };
    Failure::of(exit, "nothing more was staged", hint, error)
}

/// Whether the place of a volume is not there at all.
fn is_missing(error: &crate::volume::Error) -> bool {
    matches!(error, crate::volume::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

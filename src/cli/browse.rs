//! `packmule ls`, `cat`, `diff` and `mount`: looking into volumes with a key.

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::browse::{
    self, Difference, Index, JobSide, Opened, Other, Reader, Seen, Sides, SourceSide, Told, VolumesSide, compare,
};
use crate::cli::key::{KeyArgs, volume_failure};
use crate::cli::s3::{self, ServerArgs};
use crate::cli::{Exit, Failure};
use crate::format::hex;
use crate::format::path::{escape, unescape};
use crate::format::record::{Entry, EntryType};
use crate::ingest::remote::Target;
use crate::ingest::{self, InBucket, Vouched, bucket_contents};
use crate::job::Job;
use crate::scan::{Rule, Selection};
use crate::sys::World;
#[cfg(feature = "mount")]
use crate::sys::process::StopFlag;
use crate::units::{Bytes, Count};

/// Symbolic and hard links followed before `cat` gives up.
const LINKS_MAX: usize = 40;

/// Arguments of `packmule ls`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Volumes of one job, in any order
    #[arg(required = true, value_name = "VOLUME")]
    volume: Vec<PathBuf>,
    /// Only paths that match, in the style of gitignore; may be repeated
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Vec<String>,
    /// Show the SHA-256 of every file in front of its path
    #[arg(long)]
    digests: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArgs,
}

/// Arguments of `packmule cat`.
#[derive(Debug, clap::Args)]
pub struct CatArgs {
    /// Volumes of one job, in any order
    #[arg(required = true, value_name = "VOLUME")]
    volume: Vec<PathBuf>,
    /// Path of the file, as ls shows it
    #[arg(long, value_name = "PATH", required = true)]
    path: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Arguments of `packmule diff`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("other").required(true).args(["source", "with_job", "with_volume", "with_bucket"])))]
pub struct DiffArgs {
    /// Volumes of one job, in any order
    #[arg(required = true, value_name = "VOLUME")]
    volume: Vec<PathBuf>,
    /// Compare with this directory as it is now
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Compare with what another job knows
    #[arg(long, value_name = "DIR")]
    with_job: Option<PathBuf>,
    /// Compare with other volumes, opened with the same key; may be repeated
    #[arg(long, value_name = "VOLUME")]
    with_volume: Vec<PathBuf>,
    /// Compare with what is in a bucket, as s3://BUCKET/PREFIX, by key and length
    #[arg(long, value_name = "URL")]
    with_bucket: Option<String>,
    /// Compare content, not only length and time: with --source read every file and take its SHA-256, with --with-bucket ask
    /// for the checksum that the server keeps of each object
    #[arg(long, conflicts_with_all = ["with_job", "with_volume"])]
    content: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `packmule mount`.
#[cfg(feature = "mount")]
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// Volumes of one job, in any order
    #[arg(required = true, value_name = "VOLUME")]
    volume: Vec<PathBuf>,
    /// Empty directory to show their content in, read-only; it has to be there
    #[arg(long, value_name = "DIR")]
    at: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

/// Lists what holds on the volumes.
///
/// # Errors
/// When a volume or key is missing or damaged, or standard output is closed.
pub fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let rules: Vec<Rule> = args.pattern.iter().cloned().map(Rule::Exclude).collect();
    let selection =
        Selection::new(&rules).map_err(|error| Failure::new(Exit::Usage, error.to_string(), error.hint()))?;
    let volumes = open(&args.key, &args.volume)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    browse::list(&volumes, |entry| {
        let is_dir = entry.entry_type == EntryType::Directory;
        if !rules.is_empty() && !selection.covers(&entry.path, is_dir) {
            return Ok(());
        }
        let line = if args.json { json_line(entry) } else { line(entry, args.digests) };
        writeln!(out, "{line}").map_err(browse::Error::Output)
    })
    .map_err(failure)?;
    out.flush()?;
    Ok(Exit::Done)
}

fn open(key: &KeyArgs, paths: &[PathBuf]) -> Result<Opened, Failure> {
    let volumes = key.open_volumes(&World::real(), paths)?;
    if let Some((first, rest)) = volumes.split_first() {
        let expected = first.0.header().job;
        if let Some((other, _)) = rest.iter().find(|(volume, _)| volume.header().job != expected) {
            let (path, found) = (other.root().to_owned(), other.header().job);
            return Err(volume_failure(&path, crate::volume::Error::OtherJob { path: path.clone(), expected, found }));
        }
    }
    Ok(Arc::new(volumes))
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { escape(path) }
}

fn moment(entry: &Entry) -> String {
    let time = jiff::Timestamp::new(entry.mtime_s, 0);
    time.map_or_else(|_| entry.mtime_s.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn line(entry: &Entry, digests: bool) -> String {
    let letter = browse::type_letter(entry.entry_type);
    let size = match entry.entry_type {
        EntryType::File => Bytes::new(entry.size).decimal(),
        _ => String::new(),
    };
    let digest = match (digests, entry.entry_type) {
        (true, EntryType::File) => format!("  {}", hex(&entry.sha256)),
        (true, _) => format!("  {:64}", ""),
        _ => String::new(),
    };
    let target = match entry.entry_type {
        EntryType::Symlink => format!(" -> {}", escape(&entry.target)),
        EntryType::HardLink => format!(" = {}", escape(&entry.target)),
        _ => String::new(),
    };
    let mode = permissions(entry.mode);
    format!("{letter}{mode}  {size:>10}  {}{digest}  {}{target}", moment(entry), shown(&entry.path))
}

/// `rwxr-x---`, as `ls -l` writes it.
fn permissions(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    letters.map(|(at, letter)| if mode & (0o400 >> at) != 0 { letter } else { '-' }).collect()
}

fn json_line(entry: &Entry) -> String {
    let is_file = entry.entry_type == EntryType::File;
    let mut object = serde_json::json!({
        "path": escape(&entry.path),
        "type": entry.entry_type.word(),
        "mode": format!("{:04o}", entry.mode),
        "uid": entry.uid,
        "gid": entry.gid,
        "modified": moment(entry),
    });
    if is_file {
        object["bytes"] = entry.size.into();
        object["sha256"] = hex(&entry.sha256).into();
        object["crc64nvme"] = entry.crc64.to_string().into();
    }
    if !entry.target.is_empty() {
        object["target"] = escape(&entry.target).into();
    }
    object.to_string()
}

/// Writes one file's content to standard output.
///
/// # Errors
/// When it is not there or no file, when bytes are missing or damaged, or standard output is closed.
pub fn cat(args: &CatArgs) -> anyhow::Result<Exit> {
    let volumes = open(&args.key, &args.volume)?;
    let path = unescape(&args.path).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{:?} is not a path as ls shows it", args.path), "write \\\\ for a backslash")
    })?;
    let entry = follow(&volumes, &path)?;
    let mut reader = Reader::new(volumes);
    let places = reader.places(&entry).map_err(failure)?;
    let mut out = std::io::stdout().lock();
    reader.read_all(&entry, &places, |bytes| out.write_all(bytes)).map_err(failure)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// The file at a path, through links inside the volumes.
fn follow(volumes: &Opened, path: &[u8]) -> Result<Entry, Failure> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some(entry) = browse::find(volumes, &path).map_err(failure)? else {
            let hint = "see what there is: packmule ls VOLUME...; a file may be on a volume that was not given";
            return Err(Failure::new(Exit::Usage, format!("there is no {} on these volumes", shown(&path)), hint));
        };
        match entry.entry_type {
            EntryType::File => return Ok(entry),
            EntryType::HardLink => path.clone_from(&entry.target),
            EntryType::Symlink => path = beside(&entry.path, &entry.target),
            other => {
                let message = format!("{} is a {}", shown(&path), other.word());
                return Err(Failure::new(Exit::Usage, message, "give the path of a file"));
            }
        }
    }
    Err(Failure::new(Exit::Usage, format!("{} is a loop of links", shown(&path)), "give the path of a file"))
}

/// Where a symbolic link leads, seen from the top.
fn beside(link: &[u8], target: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = link.split(|byte| *byte == b'/').collect();
    names.pop();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join(&b'/')
}

/// Compares volumes with another place. Exit code 3 when something differs.
///
/// # Errors
/// When a side cannot be read, or standard output is closed.
pub fn diff(args: &DiffArgs) -> anyhow::Result<Exit> {
    let bucket = args.with_bucket.as_deref().map(s3::destination).transpose()?;
    let index = Index::of(&open(&args.key, &args.volume)?).map_err(failure)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut take = |path: &[u8], difference: &Difference| {
        let line = if args.json { difference_json(path, difference) } else { difference_line(path, difference) };
        writeln!(out, "{line}").map_err(browse::Error::Output)
    };
    let sides = match (&args.source, &args.with_job, bucket) {
        (Some(dir), ..) => {
            let side = SourceSide { dir: dir.clone(), reads_content: args.content };
            compare(&index, &side, &mut take)
        }
        (None, Some(dir), _) => {
            let job = Job::open_read_only(dir).map_err(super::status::failure)?;
            compare(&index, &JobSide(&job), &mut take)
        }
        (None, None, Some((bucket, prefix))) => {
            let target = args.server.target(bucket);
            compare(&index, &BucketSide { target, prefix, asks: args.content }, &mut take)
        }
        (None, None, None) => {
            let side = VolumesSide(open(&args.key, &args.with_volume)?);
            compare(&index, &side, &mut take)
        }
    };
    let sides = sides.map_err(failure)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&sides)?)?;
    } else {
        let (how, same) = (how_compared(args, &sides), Count::new(sides.same));
        writeln!(out, "{same} the same{how}, {} different", Count::new(sides.different))?;
    }
    out.flush()?;
    Ok(if sides.different > 0 { Exit::Problems } else { Exit::Done })
}

/// How well what is the same is known to be the same.
fn how_compared(args: &DiffArgs, sides: &Sides) -> String {
    if args.source.is_some() && !args.content {
        return " (files by length and time; --content reads them)".to_owned();
    }
    if args.with_bucket.is_some() && !args.content {
        return " (by key and length; --content asks the server for checksums)".to_owned();
    }
    let by_length = sides.same - sides.same_content - sides.same_crc64 - sides.same_noted;
    let ways = [
        (sides.same_content, "by SHA-256"),
        (sides.same_crc64, "by the CRC-64/NVME the server keeps"),
        (sides.same_noted, "by the SHA-256 its sender noted, which the server did not compare"),
        (if args.with_bucket.is_some() { by_length } else { 0 }, "by length only: the server tells no more"),
    ];
    let told = ways.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, way)| format!("{} {way}", Count::new(count))).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// A bucket, without the job that filled it.
struct BucketSide {
    target: Target,
    prefix: String,
    /// Whether the server is asked about each object.
    asks: bool,
}

impl Other for BucketSide {
    fn each(&self, take: &mut dyn FnMut(Seen) -> Result<(), browse::Error>) -> Result<(), browse::Error> {
        let mut outcome = Ok(());
        let read = bucket_contents(self.target.clone(), &self.prefix, self.asks, |object| {
            outcome = take(seen(object));
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome?;
        read.map_err(|error| browse::Error::Elsewhere(Box::new(error)))
    }
}

fn seen(object: InBucket) -> Seen {
    let entry_type = object.type_bits.and_then(|bits| {
        Some(match bits {
            0o100_000 => EntryType::File,
            0o040_000 => EntryType::Directory,
            0o120_000 => EntryType::Symlink,
            0o010_000 => EntryType::Fifo,
            0o140_000 => EntryType::Socket,
            0o020_000 => EntryType::CharDevice,
            0o060_000 => EntryType::BlockDevice,
            _ => return None,
        })
    });
    let content = match object.content {
        Vouched::Nobody => Told::Nothing,
        Vouched::ServerSha256(digest) => Told::Sha256(digest),
        Vouched::ServerCrc64(crc) => Told::Crc64(crc.to_be_bytes()),
        Vouched::NotedSha256(digest) => Told::Noted(digest),
    };
    Seen { path: object.path, entry_type, size: Some(object.bytes), mtime: None, content, target: None }
}

#[cfg(feature = "mount")]
/// Shows volumes as a read-only file system until Ctrl-C, or until somebody unmounts it.
///
/// # Errors
/// When a volume or key is missing, or the system does not let us mount.
pub fn mount(args: &MountArgs) -> anyhow::Result<Exit> {
    let stop = StopFlag::new();
    stop.arm()?;
    check_empty(&args.at)?;
    let mounted = browse::mount(open(&args.key, &args.volume)?, &args.at).map_err(failure)?;
    writeln!(std::io::stdout(), "mounted read-only at {}; Ctrl-C, or umount, ends it", args.at.display())?;
    while !stop.is_set() && !mounted.is_over() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    mounted.unmount().map_err(|error| {
        let hint = "close what is open below it, and umount it by hand";
        Failure::of(Exit::Failed, format!("cannot unmount {}", args.at.display()), Some(hint.to_owned()), error)
    })?;
    Ok(Exit::Done)
}

/// What is in the directory would be hidden as long as the mount is there.
#[cfg(feature = "mount")]
fn check_empty(dir: &Path) -> Result<(), Failure> {
    let (hint, shown) = ("name an empty directory; a new one: mkdir DIR", dir.display());
    let names = World::real().fs.list(dir).map_err(|error| {
        Failure::of(Exit::Usage, format!("nothing can be shown at {shown}"), Some(hint.to_owned()), error)
    })?;
    match names.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Usage, format!("{shown} is not empty: what is in it would be hidden"), hint)),
    }
}

fn difference_line(path: &[u8], difference: &Difference) -> String {
    let path = shown(path);
    match difference {
        Difference::OnVolumesOnly => format!("on the volumes only  {path}"),
        Difference::ThereOnly => format!("not on the volumes   {path}"),
        Difference::Type => format!("another type         {path}"),
        Difference::Size(here, there) => {
            format!("another length       {path}: {} on the volumes, {there} there", Bytes::new(*here).exact())
        }
        Difference::Content => format!("another content      {path}"),
        Difference::Time => format!("another time         {path}"),
        Difference::Target => format!("another link target  {path}"),
    }
}

fn difference_json(path: &[u8], difference: &Difference) -> String {
    let mut object = serde_json::to_value(difference).unwrap_or_default();
    object["path"] = escape(path).into();
    object.to_string()
}

/// What to do about it, and the exit code.
fn failure(error: browse::Error) -> Failure {
    match error {
        browse::Error::Volume(error) => volume_failure(Path::new(""), error),
        browse::Error::NotHere { .. } => {
            let hint = "give all volumes of the job; verify says which are missing: packmule verify VOLUME...";
            Failure::new(Exit::Volume, error.to_string(), hint)
        }
        browse::Error::Digest { .. } => {
            Failure::new(Exit::Integrity, error.to_string(), "see what is lost: packmule verify VOLUME...")
        }
        browse::Error::Source(error) => {
            let hint = error.hint().to_owned();
            Failure::of(Exit::Failed, "the source cannot be compared", Some(hint), error)
        }
        browse::Error::Mount { .. } => {
            let hint =
                "it takes /dev/fuse, and fusermount3 unless you are root; packmule ls, cat and extract do without";
            Failure::of(Exit::Failed, "the volumes cannot be mounted", Some(hint.to_owned()), error)
        }
        browse::Error::Job(error) => super::status::failure(error),
        browse::Error::Elsewhere(error) => match error.downcast::<ingest::Error>() {
            Ok(error) => s3::failure(*error),
            Err(error) => Failure {
                exit: Exit::Failed,
                message: "the other side cannot be read".to_owned(),
                hint: None,
                source: Some(error),
            },
        },
        error => Failure::of(Exit::Failed, "it cannot be shown", None, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside_the_volumes_only() {
        assert_eq!(beside(b"a/b/link", b"../c/./d"), b"a/c/d");
        assert_eq!(beside(b"link", b"../../etc/passwd"), b"etc/passwd");
        assert_eq!(beside(b"a/link", b"b"), b"a/b");
    }

    #[test]
    fn permissions_read_like_those_of_ls() {
        assert_eq!(permissions(0o754), "rwxr-xr--");
        assert_eq!(permissions(0), "---------");
    }
}

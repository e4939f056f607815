//! All volumes of one call: keys, volumes side by side, files joined over all of them, the report.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::crypto::{self, Identities};
use crate::digest::sha256;
use crate::format::path::escape;
use crate::format::record::Record;
use crate::format::{JobId, RunId, parse_sums};
use crate::monitor::Monitor;
use crate::sys::lock::lock;
use crate::sys::{Access, World};
use crate::verify::elsewhere;
use crate::verify::finding::{Finding, FindingKind, chain};
use crate::verify::join::Join;
use crate::verify::memory::Memory;
use crate::verify::report::Report;
use crate::verify::volume::{Context, Outcome, check};
use crate::volume::{self, Keyring, VOLUME, Volume, pack_name};

/// Paths of incomplete files listed; further ones are only counted.
const NOT_HERE_LISTED_MAX: usize = 1000;

/// How to check.
pub struct Options {
    /// What opens the slots; `None`: check without a key.
    pub identities: Option<Identities>,
    /// Compare the SHA-256 of packs also where their frames were authenticated with a key.
    pub all_sums: bool,
    /// Memory for frames on their way, over all volumes. Unit: bytes.
    pub memory_bytes: u64,
    /// The key that must have signed the seals: hex digits, or the words of its fingerprint.
    pub signed_by: Option<String>,
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A volume cannot be opened.
    #[error("volume {} cannot be checked", path.display())]
    Volume {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<volume::Error>,
    },
    /// None of the keys opens a slot.
    #[error("the key opens no slot of volume {}", path.display())]
    Key {
        /// The volume.
        path: PathBuf,
    },
    /// The same volume was given twice.
    #[error("{} and {} are the same volume", first.display(), second.display())]
    Twice {
        /// Where it is.
        first: PathBuf,
        /// Where it is, too.
        second: PathBuf,
    },
    /// With a key, the volumes of one call belong to one job.
    #[error("volume {} belongs to job {found}, the others to {expected}", path.display())]
    OtherJob {
        /// The volume.
        path: PathBuf,
        /// Job of the first volume.
        expected: JobId,
        /// Job of this one.
        found: JobId,
    },
}

fn failed(path: &Path, source: volume::Error) -> Error {
    Error::Volume { path: path.to_owned(), source: Box::new(source) }
}

/// Checks volumes. A volume whose header is damaged is a finding; one that is not there is an error.
/// Must not be called on a thread of rayon's pool: it waits for that pool.
///
/// # Errors
/// When a volume cannot be opened, none of the keys fits, or volumes are given that cannot be checked together.
pub fn verify(world: &World, dirs: &[PathBuf], options: &Options, monitor: &dyn Monitor) -> Result<Report, Error> {
    let mut report = Report { keyed: options.identities.is_some(), ..Report::default() };
    let volumes = open_volumes(world, dirs, options, &mut report)?;
    let keyring = match &options.identities {
        Some(identities) => Some(open_slots(&volumes, identities, &mut report)?),
        None => None,
    };
    let join = Mutex::default();
    let (all_sums, signed_by) = (options.all_sums, options.signed_by.as_deref());
    let share = options.memory_bytes / (volumes.len() as u64).max(1);
    let outcomes: Vec<Result<Outcome, Error>> = std::thread::scope(|scope| {
        let spawn = |volume| {
            let (join, keyring) = (&join, keyring.as_ref());
            scope.spawn(move || {
                let pack_sums = keyring.is_none() || all_sums;
                let context = Context { keyring, pack_sums, signed_by, join, memory: Memory::new(share), monitor };
                check(volume, &context).map_err(|source| failed(volume.root(), source))
            })
        };
        let threads: Vec<_> = volumes.iter().map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for outcome in outcomes {
        take(&mut report, outcome?);
    }
    let mut join = lock(&join);
    let keyring = keyring.filter(|_| report.keys_missing.is_empty());
    if let Some(keyring) = &keyring {
        compare_repeated(&volumes, keyring, &mut join);
    }
    finish(&mut report, &mut join);
    if let Some(keyring) = &keyring {
        elsewhere::spare(&volumes, keyring, &mut report.findings);
    }
    Ok(report)
}

fn open_volumes(world: &World, dirs: &[PathBuf], options: &Options, report: &mut Report) -> Result<Vec<Volume>, Error> {
    let mut volumes: Vec<Volume> = Vec::new();
    for dir in dirs {
        match Volume::open(std::sync::Arc::clone(&world.fs), dir) {
            Ok(volume) => volumes.push(volume),
            Err(source @ volume::Error::Format { .. } | source @ volume::Error::Limit { .. }) => {
                let text = format!("{}: {}", dir.display(), chain(&source));
                report.find(Finding::new(FindingKind::Seal, 0, VOLUME, text));
            }
            Err(source) => return Err(failed(dir, source)),
        }
    }
    for (at, volume) in volumes.iter().enumerate() {
        let header = volume.header();
        if let Some(first) = volumes[..at].iter().find(|first| first.header().volume == header.volume) {
            return Err(Error::Twice { first: first.root().to_owned(), second: volume.root().to_owned() });
        }
        let expected = volumes[0].header().job;
        if options.identities.is_some() && header.job != expected {
            return Err(Error::OtherJob { path: volume.root().to_owned(), expected, found: header.job });
        }
    }
    Ok(volumes)
}

/// Opens every slot of every volume. A damaged slot is a finding, and the run's slot on another volume serves as well.
fn open_slots(volumes: &[Volume], identities: &Identities, report: &mut Report) -> Result<Keyring, Error> {
    let mut keyring = Keyring::default();
    let (mut opened, mut damaged, mut refused): (BTreeSet<RunId>, bool, Option<&Path>) = (BTreeSet::new(), false, None);
    for volume in volumes {
        let number = volume.header().number;
        let slots = volume.slots().map_err(|source| failed(volume.root(), source))?;
        for run in slots {
            let Ok(bytes) = volume.read_slot(run) else {
                damaged = true; // reported with the slots
                continue;
            };
            match crypto::open_slot(&bytes, volume.header().job, run, identities) {
                Ok(key) => {
                    opened.insert(run);
                    keyring.add(key);
                }
                // One flipped bit in a slot looks like a slot for somebody else, but not to SHA256SUMS.
                Err(crypto::Error::NoMatchingIdentity) if is_altered(volume, run, &bytes) => damaged = true,
                Err(crypto::Error::NoMatchingIdentity) => refused = Some(volume.root()),
                Err(error) => {
                    damaged = true;
                    report.find(Finding::new(FindingKind::Slot, number, format!("slots/{run}.age"), chain(&error)));
                }
            }
        }
    }
    match refused {
        Some(path) if opened.is_empty() && !damaged => Err(Error::Key { path: path.to_owned() }),
        _ => Ok(keyring),
    }
}

/// Whether a sealed volume's own list says that the slot is not what was written.
fn is_altered(volume: &Volume, run: RunId, slot: &[u8]) -> bool {
    let name = format!("slots/{run}.age");
    let sums = volume.read_sums().ok().and_then(|bytes| parse_sums(&bytes).ok()).unwrap_or_default();
    sums.iter().any(|line| line.path == name && line.sha256 != sha256(slot))
}

fn take(report: &mut Report, outcome: Outcome) {
    report.volumes.push(outcome.facts);
    report.notes.extend(outcome.notes);
    report.problems += outcome.problems;
    report.keys_missing.extend(outcome.keys_missing);
    for finding in outcome.findings {
        report.find(finding);
    }
}

/// Entries of one id in several places: equal generations must be equal records. Rare, so the packs' records are read a
/// second time for it.
fn compare_repeated(volumes: &[Volume], keyring: &Keyring, join: &mut Join) {
    if join.repeated.is_empty() {
        return;
    }
    let mut first: HashMap<(u64, u32), [u8; 32]> = HashMap::new();
    for volume in volumes {
        let number = volume.header().number;
        for pack in volume.packs().unwrap_or_default() {
            let opened = volume.open_pack(pack, Access::Buffered).and_then(|file| file.index(keyring));
            let Ok(index) = opened else { continue }; // damage is reported already
            for record in &index.records {
                let Record::Entry(entry) = record else { continue };
                let mut bytes = Vec::new();
                if !join.repeated.contains(&entry.id) || record.encode(&mut bytes).is_err() {
                    continue;
                }
                let digest = sha256(&bytes);
                if *first.entry((entry.id, entry.generation)).or_insert(digest) != digest {
                    let (id, generation, path) = (entry.id, entry.generation, escape(&entry.path));
                    let text = format!("{path}: another record of entry {id}, generation {generation}, differs");
                    let file = format!("packs/{}", pack_name(pack));
                    join.findings.push(Finding::new(FindingKind::Duplicate, number, file, text));
                }
            }
        }
    }
}

fn finish(report: &mut Report, join: &mut Join) {
    let lost: BTreeSet<u64> = report.lost().map(|lost| lost.id).collect();
    for finding in std::mem::take(&mut join.findings) {
        report.find(finding);
    }
    (report.files_whole, report.files_bytes, report.others) = (join.files_whole, join.files_bytes, join.others);
    for (id, path) in join.left_over() {
        if lost.contains(&id) {
            continue;
        }
        report.not_here += 1;
        if report.not_here_paths.len() < NOT_HERE_LISTED_MAX {
            report.not_here_paths.push(escape(&path));
        }
    }
    if join.seen_overflow {
        report.notes.push("too many repeated or scattered entry ids to compare them all".to_owned());
    }
    report.findings.sort_by_cached_key(|finding| {
        (finding.volume, finding.file.clone(), finding.bytes.map(|bytes| bytes.from), finding.kind)
    });
}

//! A whole job on a file system in memory, its database included, for cutting the power anywhere.
//!
//! The source and the place to extract to are real; drives and job directory are in memory, and count every operation in
//! one order. The engine's threads run as they do for a user, so which operation comes when differs from run to run: a
//! failure therefore prints the last operations before the cut. Keys, salts and clocks are given.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use packmule::crypto::{Identities, new_identity};
use packmule::digest::sha256;
use packmule::extract::extract;
use packmule::format::record::Problem;
use packmule::format::{FooterKeys, FrameHeader, FrameKind, PackHeader};
use packmule::job::{Job, SIGNING_KEY, State};
use packmule::monitor::Silent;
use packmule::recover::{self, Given};
use packmule::stage::{self, Bottleneck, Monitor, Options, Outcome, Place, VolumeEvent, stage};
use packmule::sys::clock::Clock;
use packmule::sys::mem::{CrashKeep, MemFs};
use packmule::sys::random::SeededRandom;
use packmule::sys::{Fs, World};
use packmule::verify::verify;
use packmule::volume::{Keyring, Volume};

use crate::{extract_kit, mirror_vfs, tree};

/// A clock that goes on by itself, so that commits fall due after a few frames and not after ten real seconds.
#[derive(Debug, Default)]
struct Hasty(AtomicU64);

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Adds up what a run tells its user.
#[derive(Default)]
pub struct Told {
    staged: AtomicU64,
    sealed: AtomicU64,
}

impl Monitor for Told {
    fn found(&self, _: u64, _: u64) {}
    fn walked(&self) {}
    fn read(&self, _: u64) {}
    fn written(&self, _: u32, _: u64) {}
    fn staged(&self, entries: u64, _: u64) {
        self.staged.fetch_add(entries, Ordering::Relaxed);
    }
    fn problem(&self, _: &Problem) {}
    fn bottleneck(&self, _: Bottleneck) {}
    fn message(&self, _: &str) {}
    fn volume(&self, _: u32, event: &VolumeEvent) {
        if matches!(event, VolumeEvent::Sealed(_)) {
            self.sealed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Every key and nonce that ever sealed anything, and what.
#[derive(Default)]
pub struct Nonces(HashMap<(Vec<u8>, u32), [u8; 32]>);

impl Nonces {
    /// Notes every whole frame on the drives.
    pub fn note(&mut self, files: &BTreeMap<PathBuf, Vec<u8>>, context: &str) {
        for (path, bytes) in files {
            let Ok(header) = PackHeader::decode(bytes.get(..4096).unwrap_or_default()) else { continue };
            let mut at = 4096;
            while at + 32 <= bytes.len() {
                let found = FrameHeader::decode(&bytes[at..at + 32], 16 << 20);
                let Ok(frame) = found else {
                    at = (at / 64 + 1) * 64;
                    continue;
                };
                let end = at + 32 + frame.body_bytes as usize;
                let Some(body) = bytes.get(at + 32..end).filter(|body| frame.check(body).is_ok()) else {
                    at += 64;
                    continue;
                };
                let key = match frame.kind {
                    FrameKind::Footer => FooterKeys::split(body).unwrap().0.encode(),
                    _ => [&header.run.0[..], &header.salt].concat(),
                };
                let sealed = sha256(body);
                let first = *self.0.entry((key, frame.index)).or_insert(sealed);
                assert_eq!(first, sealed, "{context}: {} frame {}: one nonce, two texts", path.display(), frame.index);
                at = end.next_multiple_of(64);
            }
        }
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// What is swept.
pub struct Scene {
    dir: tempfile::TempDir,
    secret: String,
    recipient: String,
    pub nonces: Mutex<Nonces>,
}

pub const DRIVES: [&str; 3] = ["/drive-1", "/drive-2", "/drive-3"];

impl Scene {
    /// A source with small files, one of several frames, a sparse one of several extents, links, an empty file, directories.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let person = new_identity(&SeededRandom::new(1)).unwrap();
        let source = dir.path().join("source");
        std::fs::create_dir_all(source.join("deep/er")).unwrap();
        for number in 0..9_u64 {
            let bytes = usize::try_from(number * number * 700 + 1).unwrap();
            std::fs::write(source.join(format!("deep/file {number}")), tree::noise(number, bytes)).unwrap();
        }
        std::fs::write(source.join("deep/er/large"), tree::noise(100, 300_000)).unwrap();
        std::fs::write(source.join("empty"), b"").unwrap();
        std::os::unix::fs::symlink("deep/er/large", source.join("link")).unwrap();
        std::fs::hard_link(source.join("deep/file 3"), source.join("second name")).unwrap();
        let sparse = std::fs::File::create(source.join("sparse")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        for at in [100_000, 500_000, 900_000] {
            std::os::unix::fs::FileExt::write_all_at(&sparse, &tree::noise(at, 30_000), at).unwrap();
        }
        Self { dir, secret: person.secret.to_string(), recipient: person.recipient, nonces: Mutex::default() }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub fn job(&self) -> PathBuf {
        self.dir.path().join("home/job")
    }

    /// Empty drives and an empty home.
    pub fn empty(&self) -> MemFs {
        let fs = MemFs::new();
        fs.set_capacity(1 << 32);
        for drive in DRIVES {
            fs.make_dirs(Path::new(drive)).unwrap();
        }
        fs.make_dirs(self.job().parent().unwrap()).unwrap();
        fs
    }

    /// Makes that file system the one the job directory is on.
    pub fn load(&self, fs: &MemFs) {
        let job = self.job();
        mirror_vfs::forget(&job);
        let key = std::fs::read(job.join(SIGNING_KEY));
        let _ = std::fs::remove_dir_all(&job);
        if fs.stat(&job).is_ok() {
            std::fs::create_dir_all(&job).unwrap();
            // A secret, written past the file system of volumes, and durable before anything is signed with it.
            if let Ok(key) = key {
                packmule::sys::secrets::write_secret_new(&job.join(SIGNING_KEY), &key).unwrap();
            }
            for item in fs.list(&job).unwrap().into_iter().filter(|item| !item.is_dir) {
                let path = job.join(item.name);
                std::fs::write(&path, fs.contents(&path).unwrap()).unwrap();
            }
        }
        mirror_vfs::mirror(&job, Arc::new(fs.clone()));
    }

    pub fn identities(&self) -> Identities {
        let mut identities = Identities::none();
        identities.add_text(&self.secret).unwrap();
        identities
    }

    pub fn world(fs: &MemFs, seed: u64) -> World {
        let fs: Arc<dyn Fs> = Arc::new(fs.clone());
        World { fs, clock: Arc::new(Hasty::default()), random: Arc::new(SeededRandom::new(seed)) }
    }

    pub fn options(&self, drives: &[&str]) -> Options {
        let places = drives.iter().map(|drive| Place { path: drive.into(), limit_bytes: None }).collect();
        let mut options = Options::new(vec![self.source()], places, self.job());
        options.recipients = vec![self.recipient.clone()];
        options.memory_bytes = 64 << 20;
        options.threads = 1;
        options.pack_bytes_max = 400 << 10;
        options.frame_bytes = 64 << 10;
        options
    }

    /// Stages; seed must differ from run to run, as the operating system's randomness does.
    pub fn stage(&self, fs: &MemFs, seed: u64, drives: &[&str], told: &Arc<Told>) -> Result<Outcome, stage::Error> {
        let monitor: Arc<dyn Monitor> = Arc::clone(told) as _;
        stage(self.options(drives), &Self::world(fs, seed), monitor)
    }

    /// Rebuilds the job from those drives.
    pub fn recover(&self, fs: &MemFs, seed: u64, drives: &[&str]) -> Result<recover::Outcome, recover::Error> {
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let mut keyring = Keyring::default();
        let mut given = Vec::new();
        for drive in drives {
            let volume = Volume::open(Arc::clone(&shared), Path::new(drive))?;
            keyring.merge(Keyring::open(&volume, &self.identities())?);
            given.push(Given { volume, dir: drive.into() });
        }
        let options = recover::Options { job: self.job(), recipients: vec![self.recipient.clone()], afresh: false };
        recover::recover(&given, &keyring, &options, &Self::world(fs, seed), &Silent)
    }

    /// Files of the drives, whatever is durable of them.
    pub fn drive_files(fs: &MemFs) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for drive in DRIVES {
            for below in ["packmule", "packmule/packs", "packmule/slots"] {
                let dir = Path::new(drive).join(below);
                for item in fs.list(&dir).unwrap_or_default().into_iter().filter(|item| !item.is_dir) {
                    let path = dir.join(item.name);
                    let bytes = fs.contents(&path).unwrap();
                    files.insert(path, bytes);
                }
            }
        }
        files
    }

    /// What must hold of what a cut of power left, before anything is mended: it opens, shows nothing that was not
    /// committed, and lacks nothing that a user was told of.
    pub fn check_image(&self, image: &MemFs, told: &Told, context: &str) {
        let copy = image.crash(CrashKeep::All);
        self.load(&copy);
        let staged = told.staged.load(Ordering::Relaxed);
        match Job::open_read_only(&self.job()) {
            Ok(job) => {
                let ledger = job.ledger().unwrap();
                assert_eq!(job.recount().unwrap(), ledger, "{context}");
                let known = ledger.staged().entries;
                assert!(known >= staged, "{context}: {staged} entries were told as staged, {known} are");
                let sealed = job.volumes().unwrap().iter().filter(|row| row.sealing.is_some()).count() as u64;
                assert!(sealed >= told.sealed.load(Ordering::Relaxed), "{context}: a seal that was told is on record");
            }
            Err(error) => assert_eq!(staged, 0, "{context}: {error}"),
        }
        let shared: Arc<dyn Fs> = Arc::new(copy.clone());
        for drive in DRIVES {
            let Ok(volume) = Volume::open(Arc::clone(&shared), Path::new(drive)) else { continue };
            if volume.slots().unwrap().is_empty() {
                assert!(volume.packs().unwrap().is_empty(), "{context}: a pack before its key");
                continue;
            }
            let report = self.verify(&copy, &[drive]);
            assert!(report.is_clean(), "{context}: {:#?}", report.findings);
        }
    }

    pub fn verify(&self, fs: &MemFs, drives: &[&str]) -> packmule::verify::Report {
        let identities = Some(self.identities());
        let options = packmule::verify::Options { identities, all_sums: true, memory_bytes: 64 << 20, signed_by: None };
        let drives: Vec<PathBuf> = drives.iter().map(PathBuf::from).collect();
        verify(&Self::world(fs, 0), &drives, &options, &Silent).unwrap()
    }

    /// What must hold once the same command has gone on to its end.
    pub fn check_end(&self, fs: &MemFs, outcome: &Outcome, drives: &[&str], context: &str) {
        assert!(outcome.is_complete && outcome.failed.is_empty(), "{context}: {outcome:#?}");
        let job = Job::open_read_only(&self.job()).unwrap();
        let ledger = job.ledger().unwrap();
        assert_eq!(job.recount().unwrap(), ledger, "{context}");
        assert_eq!(ledger.present(), ledger.state(State::Staged), "{context}: {ledger:#?}");
        drop(job);
        let report = self.verify(fs, drives);
        assert!(report.is_clean() && report.not_here == 0, "{context}: {report:#?}");
        self.assert_comes_back(fs, drives, context);
    }

    /// The drives give back the source as it is.
    pub fn assert_comes_back(&self, fs: &MemFs, drives: &[&str], context: &str) {
        let problems = self.comes_back(fs, drives, context);
        assert!(problems.is_empty(), "{context}: {problems:#?}");
    }

    /// The same, where a drive is damaged and says so; no file may be missing for it.
    pub fn assert_comes_back_from_damaged(&self, fs: &MemFs, drives: &[&str], context: &str) {
        let problems = self.comes_back(fs, drives, context);
        assert!(problems.iter().all(|problem| problem.path.is_none()), "{context}: {problems:#?}");
    }

    fn comes_back(&self, fs: &MemFs, drives: &[&str], context: &str) -> Vec<packmule::extract::Problem> {
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let open = |drive: &&str| {
            let volume = Volume::open(Arc::clone(&shared), Path::new(drive)).unwrap();
            let keyring = Keyring::open(&volume, &self.identities()).unwrap();
            (volume, keyring)
        };
        let volumes: Vec<_> = drives.iter().map(open).collect();
        let back = self.dir.path().join("back");
        let _ = std::fs::remove_dir_all(&back);
        let mut options = extract_kit::options();
        options.owner = true;
        let outcome = extract(&volumes, &back, &options, &Silent).unwrap();
        let (expected, found) = (tree::describe(&self.source()), tree::describe(&back));
        assert_eq!(expected, found, "{context}: {:#?}", outcome.problems);
        outcome.problems
    }
}

/// Every file of a drive that is sealed before is the same after.
pub fn assert_sealed_stays(before: &MemFs, after: &MemFs, context: &str) {
    let (before, after) = (Scene::drive_files(before), Scene::drive_files(after));
    for drive in DRIVES {
        if !before.contains_key(&Path::new(drive).join("packmule/SEALED")) {
            continue;
        }
        // The custody log is the one file that goes on growing.
        for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with(drive) && !path.ends_with("CUSTODY")) {
            assert_eq!(after.get(path), Some(bytes), "{context}: {} changed after the seal", path.display());
        }
    }
}

/// The four ways in which a cut of power leaves what was not synced.
pub fn ways(seed: u64) -> [CrashKeep; 4] {
    [CrashKeep::All, CrashKeep::Synced, CrashKeep::Random(seed), CrashKeep::TornLast]
}

/// Whether the whole sweep was asked for, and otherwise which share of its points is taken.
pub fn step(points_wanted: u64, operations: u64) -> u64 {
    if std::env::var("PACKMULE_SWEEP").is_ok_and(|value| value == "full") {
        1
    } else {
        (operations / points_wanted).max(1)
    }
}

/// What is cut: on that file system, telling that user, drawing its randomness from that seed.
pub type Act<'a> = dyn Fn(&MemFs, &Arc<Told>, u64) -> Result<(), String> + 'a;
/// What must hold of what is left: the file system, what was told, a fresh seed, and a context for messages.
pub type Check<'a> = dyn Fn(&MemFs, &Told, u64, &str) + 'a;

/// Cuts the power at operations of `act` on copies of `base`; `check` gets what is left, what was told, and a context. Gives
/// how many cuts that were.
pub fn sweep(scene: &Scene, base: &MemFs, points_wanted: u64, act: &Act<'_>, check: &Check<'_>) -> u64 {
    let undisturbed = base.crash(CrashKeep::All);
    scene.load(&undisturbed);
    act(&undisturbed, &Arc::default(), 100).unwrap();
    let operations = undisturbed.operation_count();
    let is_full = step(points_wanted, operations) == 1;
    let (mut at, mut cuts) = (0, 0);
    while at < operations {
        let fs = base.crash(CrashKeep::All);
        scene.load(&fs);
        fs.cut_power_at(at);
        let told = Arc::default();
        // Each cut is a world of its own, so its run draws keys and salts of its own.
        let outcome = act(&fs, &told, 1000 + at * 10);
        if fs.operation_count() < at {
            // Threads: this run needed fewer operations than the first. Then it got to its end, and that is no cut.
            assert_eq!(outcome, Ok(()), "it ended before operation {at} of {operations}");
            break;
        }
        let everything = fs.crash(CrashKeep::All);
        let list = fs.operations();
        let last: Vec<String> =
            list.iter().rev().take(6).map(|op| format!("{:?} {}", op.kind, op.path.display())).collect();
        scene.nonces.lock().unwrap().note(&Scene::drive_files(&everything), &format!("cut at {at}"));
        let all = ways(at);
        let chosen = if is_full { &all[..] } else { &all[usize::try_from(cuts).unwrap() % 4..][..1] };
        for keep in chosen {
            let image = fs.crash(*keep);
            let context = format!("power cut at operation {at} of {operations}, {keep:?}, after {last:?}");
            check(&image, &told, 1001 + at * 10 + cuts % 4 * 2, &context);
            cuts += 1;
        }
        at += step(points_wanted, operations);
    }
    cuts
}

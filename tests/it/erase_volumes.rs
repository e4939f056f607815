//! Erasing: nothing without proof, keys first, every byte sampled, the same command continues.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use packmule::erase::{self, Error, Options, Outcome, Proof};
use packmule::format::{JobId, VolumeHeader, VolumeId};
use packmule::job::{Job, ObjectState, VolumeState};
use packmule::report::{Stage, write_reports};
use packmule::sys::fault::{Fault, FaultFs, FaultRule};
use packmule::sys::fs::OpKind;
use packmule::sys::{self, RealFs};

use crate::job_support::{World, facts, now, small};
use crate::report_forms::{seal, send};

const EIO: i32 = 5;
const SLOT: &str = "slots/03030303030303030303030303030303.age";

/// A job whose only volume is a real directory with files of the right names.
pub(crate) struct Staged {
    pub(crate) world: World,
    pub(crate) volume: PathBuf,
}

pub(crate) fn staged() -> Staged {
    let mut world = World::new(1);
    let volume = world.dir.path().join("drive");
    let at = volume.clone();
    let job = world.job();
    job.batch(|batch| {
        batch.set_volume_path(1, &at)?;
        batch.add(1, b"f", &facts(packmule::format::record::EntryType::File, 5))
    })
    .unwrap();
    let work = job.pending(0, 10).unwrap();
    world.commit(1, &small(&work[0], 0));
    world.close_packs();
    seal(&mut world, 1);
    fill(&volume);
    Staged { world, volume }
}

fn fill(volume: &Path) {
    let root = volume.join("packmule");
    for dir in ["slots", "packs"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let header = VolumeHeader {
        may_ignore: 0,
        job: JobId([7; 16]),
        volume: VolumeId([1; 16]),
        number: 1,
        created_ns: 0,
        job_salt: [8; 32],
        job_public_key: [0; 32],
    };
    std::fs::write(root.join("VOLUME"), header.encode()).unwrap();
    std::fs::write(root.join(SLOT), b"wrapped key").unwrap();
    for number in 1..=2 {
        let name = format!("packs/{number:08}.pack");
        std::fs::write(root.join(name), vec![0xC5; (2 << 20) + 4096 * number]).unwrap();
    }
    for name in ["README.txt", "MANIFEST", "SHA256SUMS", "SEALED"] {
        std::fs::write(root.join(name), name).unwrap();
    }
}

fn files(volume: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(volume).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = walk.filter(|item| item.file_type().is_file());
    files.map(|item| item.path().strip_prefix(volume.join("packmule")).unwrap().to_str().unwrap().to_owned()).collect()
}

fn proof() -> Proof {
    let sha256 = [9; 32];
    Proof { sha256, job: JobId([7; 16]).to_string(), is_complete: true, has_problems: false, volumes: vec![(1, 0)] }
}

fn run(
    job: &mut Job,
    fs: Arc<dyn sys::Fs>,
    dir: &Path,
    proof: Option<&Proof>,
    options: &Options,
) -> Result<Outcome, Error> {
    let world = sys::World { fs, ..sys::World::real() };
    erase::erase(job, &world, dir, proof, options, &mut ())
}

#[test]
fn without_proof_nothing_is_touched() {
    let mut staged = staged();
    let before = files(&staged.volume);
    let options = Options::default();
    let mut refused = |proof: Option<&Proof>, options: &Options| {
        let result = run(staged.world.job(), Arc::new(RealFs), &staged.volume, proof, options);
        assert_eq!(files(&staged.volume), before);
        result.unwrap_err()
    };
    assert!(matches!(refused(None, &options), Error::NoReport { volume: 1 }));
    let is_complete = false;
    assert!(matches!(refused(Some(&Proof { is_complete, ..proof() }), &options), Error::NotComplete { .. }));
    let other = Proof { job: "other".into(), ..proof() };
    assert!(matches!(refused(Some(&other), &options), Error::NotCovered { .. }));
    assert!(matches!(refused(Some(&Proof { volumes: vec![(2, 0)], ..proof() }), &options), Error::NotCovered { .. }));
    assert!(matches!(refused(Some(&Proof { volumes: vec![(1, 3)], ..proof() }), &options), Error::NotArrived { .. }));
    // The report says yes, and the job knows better: nothing was ever sent.
    assert!(matches!(refused(Some(&proof()), &options), Error::NotArrived { entries: 1, .. }));
    let typed = Options { abandon: vec![2], ..Options::default() };
    assert!(matches!(refused(Some(&proof()), &typed), Error::OtherNumber { volume: 1, .. }));
    send(&mut staged.world, ObjectState::Confirmed);
    let problems = Proof { has_problems: true, ..proof() };
    let result = run(staged.world.job(), Arc::new(RealFs), &staged.volume, Some(&problems), &options);
    assert!(matches!(result, Err(Error::Problems { .. })));
    let accepting = Options { accept_problems: true, dry_run: true, ..Options::default() };
    let result = run(staged.world.job(), Arc::new(RealFs), &staged.volume, Some(&problems), &accepting);
    assert!(matches!(result, Ok(Outcome::WouldErase(1, inventory)) if inventory.files == 8));
    assert_eq!(files(&staged.volume), before, "a dry run touches nothing");
}

#[test]
fn a_volume_of_another_job_is_not_touched() {
    let mut staged = staged();
    let other = staged.world.dir.path().join("other");
    fill(&other);
    let path = other.join("packmule/VOLUME");
    let mut header = VolumeHeader::decode(&std::fs::read(&path).unwrap()).unwrap();
    header.job = JobId([5; 16]);
    std::fs::write(&path, header.encode()).unwrap();
    let options = Options { abandon: vec![1], ..Options::default() };
    let result = run(staged.world.job(), Arc::new(RealFs), &other, None, &options);
    assert!(matches!(result, Err(Error::OtherJob { .. })));
    assert_eq!(files(&other).len(), 8);
    assert!(matches!(
        run(staged.world.job(), Arc::new(RealFs), Path::new("/nowhere"), None, &options),
        Err(Error::Volume(_))
    ));
}

#[test]
fn an_abandoned_volume_says_so_in_its_certificate() {
    let mut staged = staged();
    let options = Options { abandon: vec![1], free_space: false, ..Options::default() };
    let outcome = run(staged.world.job(), Arc::new(RealFs), &staged.volume, None, &options).unwrap();
    let Outcome::Erased(certificate, path) = outcome else { panic!("{outcome:?}") };
    assert!(files(&staged.volume).is_empty());
    assert_eq!((certificate.slots, certificate.files, &certificate.completion_report_sha256), (1, 8, &None));
    assert!(certificate.sampled_bytes > 0);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("WITHOUT PROOF OF ARRIVAL") && text.contains("8 files"), "{text}");
    let job = staged.world.job();
    assert_eq!(job.volumes().unwrap()[0].state, VolumeState::Erased);
    let kinds: Vec<String> = job.events().unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["erase-begun", "erased"]);
    let again = run(staged.world.job(), Arc::new(RealFs), &staged.volume, None, &options).unwrap();
    assert!(matches!(again, Outcome::AlreadyErased(1, _)));
    // The certificate in all its forms; the signature holds, and no edit of the document does.
    let report = staged.world.dir.path().join("job/report");
    let page = std::fs::read_to_string(report.join("erased-volume-1.html")).unwrap();
    assert!(page.contains("without proof that its content had arrived") && page.contains(&certificate.signed_by));
    let drives = std::fs::read_to_string(report.join("erased-drives.html")).unwrap();
    assert!(drives.contains("1 drives") && drives.contains("abandoned"), "{drives}");
    let document = std::fs::read(report.join("erased-volume-1.json")).unwrap();
    assert_eq!(erase::check_certificate(&document), Some(*certificate));
    for at in 0..document.len() {
        let mut edited = document.clone();
        edited[at] = if edited[at] == b'1' { b'2' } else { b'1' };
        assert_eq!(erase::check_certificate(&edited), None, "byte {at}");
    }
}

#[test]
fn keys_go_first_and_the_same_command_continues_after_any_failure() {
    for kind in [OpKind::OpenWrite, OpKind::Write, OpKind::SyncData, OpKind::Read, OpKind::RemoveFile, OpKind::SyncDir]
    {
        for number in 1..=8 {
            let mut staged = staged();
            let fs = FaultFs::new(Arc::new(RealFs));
            fs.add(FaultRule::new(kind, Fault::Errno(EIO)).path("drive/packmule").nth(number));
            let options = Options { abandon: vec![1], ..Options::default() };
            let failed = run(staged.world.job(), Arc::new(fs.clone()), &staged.volume, None, &options);
            assert!(failed.is_err(), "{kind:?} {number}");
            fs.assert_all_exercised();
            let left = files(&staged.volume);
            let packs = left.iter().filter(|name| name.starts_with("packs/")).count();
            assert!(packs == 2 || !left.contains(&SLOT.to_owned()), "{kind:?} {number}: keys go first: {left:?}");
            assert!(left.is_empty() || left.contains(&"VOLUME".to_owned()), "{kind:?} {number}: VOLUME goes last");
            assert_ne!(staged.world.job().volumes().unwrap()[0].state, VolumeState::Erased);
            staged.world.reopen();
            let outcome = run(staged.world.job(), Arc::new(RealFs), &staged.volume, None, &options).unwrap();
            let Outcome::Erased(certificate, _) = outcome else { panic!("{outcome:?}") };
            assert_eq!((certificate.files, certificate.slots), (8, 1), "what was there when it began");
            assert!(files(&staged.volume).is_empty());
        }
    }
}

#[test]
fn a_drive_that_only_pretends_to_write_is_found_out() {
    let mut staged = staged();
    let fs = FaultFs::new(Arc::new(RealFs));
    fs.add(FaultRule::new(OpKind::Write, Fault::LoseWrite).path("00000002.pack").forever());
    let options = Options { abandon: vec![1], ..Options::default() };
    let result = run(staged.world.job(), Arc::new(fs), &staged.volume, None, &options);
    assert!(matches!(result, Err(Error::ReadBack { offset: 0, .. })), "{result:?}");
    assert!(files(&staged.volume).contains(&"packs/00000002.pack".to_owned()), "what was not destroyed is not hidden");
}

#[test]
fn the_command_erases_what_the_completion_report_covers() {
    let mut staged = staged();
    let dir = staged.world.dir.path().join("job");
    let command = |staged: &Staged, more: &[&str]| {
        let mut command = Command::cargo_bin("packmule").unwrap();
        command.arg("erase").arg(&staged.volume).arg("--job").arg(&dir).args(more).assert()
    };
    staged.world.job = None;
    let refused = command(&staged, &[]).code(1);
    let stderr = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("no completion report") && stderr.contains("--abandon"), "{stderr}");
    command(&staged, &["--abandon", "9"]).code(2);
    staged.world.reopen();
    send(&mut staged.world, ObjectState::Confirmed);
    write_reports(staged.world.job(), &RealFs, Stage::Completion, now()).unwrap();
    staged.world.job = None;
    let dry = command(&staged, &["--dry-run"]).success();
    assert!(dry.get_output().stdout.starts_with(b"would erase volume 1: 1 key slots, 8 files"));
    let done = command(&staged, &["--json"]).success();
    let document: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
    assert_eq!(document["erased"], 1);
    assert_eq!(document["certificate"]["completion_report_sha256"].as_str().unwrap().len(), 64);
    assert!(files(&staged.volume).is_empty());
    let again = command(&staged, &[]).success();
    assert!(again.get_output().stdout.starts_with(b"volume 1 was erased at "));
}

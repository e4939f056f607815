//! The crash sweep: power goes at operations of whole jobs, database and drives alike, and the same command goes on.
//!
//! The ordinary run takes a spread of operations, each left in one of the four ways; `PACKMULE_SWEEP=full` takes every
//! operation in all four. tests/torture/run does that.

use std::path::Path;
use std::sync::Arc;

use packmule::erase;
use packmule::ingest::{self, Medium};
use packmule::job::{Job, VolumeState};
use packmule::s3d::{FaultPlan, Quirks};
use packmule::sys::Fs;
use packmule::sys::mem::{CrashKeep, MemFs};
use packmule::volume::{Keyring, Volume};

use crate::s3_lab::{Lab, target};
use crate::sweep_kit::{DRIVES, Scene, assert_sealed_stays, sweep};
use crate::tree;

/// Points of an ordinary run.
const POINTS: u64 = 14;

fn text(error: impl std::error::Error) -> String {
    let below = std::iter::successors(error.source(), |cause| cause.source());
    below.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Stages what is there now and follows each cut to the end.
fn sweep_stage(scene: &Scene, base: &MemFs, now: &[&str], all: &[&str]) -> u64 {
    let before = tree::describe(&scene.source());
    let cuts = sweep(
        scene,
        base,
        POINTS,
        &|fs, told, seed| scene.stage(fs, seed, now, told).map(drop).map_err(text),
        &|image, told, next, context| {
            scene.check_image(image, told, context);
            let after = image.crash(CrashKeep::All);
            scene.load(&after);
            let outcome = scene.stage(&after, next, now, &Arc::default());
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {}", text(error)));
            scene.nonces.lock().unwrap().note(&Scene::drive_files(&after), context);
            assert_sealed_stays(image, &after, context);
            scene.check_end(&after, &outcome, all, context);
        },
    );
    assert_eq!(tree::describe(&scene.source()), before, "the source is never written");
    eprintln!("{cuts} cuts, {} keys with nonces, each for one text", scene.nonces.lock().unwrap().count());
    cuts
}

/// An undisturbed staging.
fn staged(scene: &Scene, drives: &[&str], seed: u64) -> MemFs {
    let fs = scene.empty();
    scene.load(&fs);
    let outcome = scene.stage(&fs, seed, drives, &Arc::default()).unwrap();
    scene.check_end(&fs, &outcome, drives, "undisturbed");
    fs
}

#[test]
fn staging_onto_one_drive_survives_a_cut_at_any_operation() {
    let scene = Scene::new();
    assert!(sweep_stage(&scene, &scene.empty(), &DRIVES[..1], &DRIVES[..1]) >= POINTS / 2);
}

#[test]
fn staging_onto_two_drives_survives_a_cut_at_any_operation() {
    let scene = Scene::new();
    assert!(sweep_stage(&scene, &scene.empty(), &DRIVES[..2], &DRIVES[..2]) >= POINTS / 2);
}

#[test]
fn a_resume_survives_a_cut_at_any_of_its_operations() {
    let scene = Scene::new();
    let fs = scene.empty();
    scene.load(&fs);
    let operations = {
        let whole = scene.empty();
        scene.load(&whole);
        scene.stage(&whole, 3, &DRIVES[..2], &Arc::default()).unwrap();
        whole.operation_count()
    };
    scene.load(&fs);
    fs.cut_power_at(operations / 2);
    assert!(scene.stage(&fs, 4, &DRIVES[..2], &Arc::default()).is_err());
    let base = fs.crash(CrashKeep::Synced);
    assert!(sweep_stage(&scene, &base, &DRIVES[..2], &DRIVES[..2]) >= POINTS / 2);
}

#[test]
fn a_second_trip_survives_a_cut_at_any_operation() {
    let scene = Scene::new();
    let base = staged(&scene, &DRIVES[..2], 3);
    std::fs::write(scene.source().join("deep/file 5"), tree::noise(77, 40_000)).unwrap();
    std::fs::write(scene.source().join("new"), tree::noise(78, 200_000)).unwrap();
    std::fs::remove_file(scene.source().join("deep/file 7")).unwrap();
    assert!(sweep_stage(&scene, &base, &DRIVES[2..], &DRIVES) >= POINTS / 2);
}

/// A cut during `recover`, then `recover` again, then `stage`.
fn sweep_recover(scene: &Scene, base: &MemFs, drives: &[&str]) -> u64 {
    sweep(
        scene,
        base,
        POINTS,
        &|fs, _, seed| scene.recover(fs, seed, drives).map(drop).map_err(text),
        &|image, _, next, context| {
            let after = image.crash(CrashKeep::All);
            scene.load(&after);
            let outcome = scene.recover(&after, next, drives);
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {}", text(error)));
            assert!(outcome.volumes.iter().all(|told| told.damage.is_empty()), "{context}: {outcome:#?}");
            let outcome = scene.stage(&after, next + 1, drives, &Arc::default());
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {}", text(error)));
            scene.nonces.lock().unwrap().note(&Scene::drive_files(&after), context);
            scene.check_end(&after, &outcome, drives, context);
        },
    )
}

/// A copy of the drives, with another job directory or none.
fn with_job_of(scene: &Scene, drives: &MemFs, job: Option<&MemFs>) -> MemFs {
    let fs = scene.empty();
    for (path, bytes) in Scene::drive_files(drives) {
        fs.make_dirs(path.parent().unwrap()).unwrap();
        fs.put_file(&path, &bytes).unwrap();
    }
    for drive in DRIVES.iter().filter(|drive| drives.stat(&Path::new(drive).join("packmule")).is_ok()) {
        for below in ["packs", "slots"] {
            fs.make_dirs(&Path::new(drive).join("packmule").join(below)).unwrap();
        }
    }
    if let Some(job) = job {
        fs.make_dirs(&scene.job()).unwrap();
        for item in job.list(&scene.job()).unwrap() {
            let path = scene.job().join(item.name);
            fs.put_file(&path, &job.contents(&path).unwrap()).unwrap();
        }
    }
    fs
}

#[test]
fn recovering_a_lost_database_survives_a_cut_at_any_operation() {
    let scene = Scene::new();
    let base = with_job_of(&scene, &staged(&scene, &DRIVES[..2], 3), None);
    let cuts = sweep_recover(&scene, &base, &DRIVES[..2]);
    eprintln!("{cuts} cuts");
    assert!(cuts >= POINTS / 2);
}

#[test]
fn whatever_a_cut_left_a_lost_an_older_or_a_newer_database_ends_in_the_same_truth() {
    let scene = Scene::new();
    let drives = &DRIVES[..2];
    let images = std::cell::RefCell::new(Vec::<MemFs>::new());
    sweep(
        &scene,
        &scene.empty(),
        POINTS,
        &|fs, told, seed| scene.stage(fs, seed, drives, told).map(drop).map_err(text),
        &|image, _, _, _| {
            let all_there = drives.iter().all(|drive| image.stat(&Path::new(drive).join("packmule/VOLUME")).is_ok());
            let has_keys = drives.iter().all(|drive| {
                image
                    .list(&Path::new(drive).join("packmule/slots"))
                    .is_ok_and(|slots| slots.iter().any(|slot| slot.name.to_string_lossy().ends_with(".age")))
            });
            if all_there && has_keys {
                images.borrow_mut().push(image.crash(CrashKeep::All));
            }
        },
    );
    let images = images.into_inner();
    eprintln!("{} states of the drives", images.len());
    assert!(images.len() >= 4, "{}", images.len());
    let last = images.len() - 1;
    for (at, image) in images.iter().enumerate() {
        // Lost; and, when it is of the same job, one from before and one from after what the drives hold.
        let mut bases = vec![with_job_of(&scene, image, None)];
        for other in [&images[at / 2], &images[last]] {
            if job_id(&scene, other) == job_id(&scene, image) && is_same_run(other, image) {
                bases.push(with_job_of(&scene, image, Some(other)));
            }
        }
        for (which, base) in bases.iter().enumerate() {
            let context = format!("image {at}, database {which}");
            scene.load(base);
            let outcome = scene.recover(base, 5000, drives);
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {}", text(error)));
            assert!(outcome.volumes.iter().all(|told| told.damage.is_empty()), "{context}: {outcome:#?}");
            let outcome = scene.stage(base, 6000 + at as u64 * 10 + which as u64, drives, &Arc::default());
            let outcome = outcome.unwrap_or_else(|error| panic!("{context}: {}", text(error)));
            scene.check_end(base, &outcome, drives, &context);
        }
    }
}

fn job_id(scene: &Scene, image: &MemFs) -> Option<packmule::format::JobId> {
    scene.load(&image.crash(CrashKeep::All));
    Job::open_read_only(&scene.job()).ok().map(|job| job.id())
}

/// Whether two images come from runs that gave the same entries the same numbers: all do, but a walk in another order may not.
fn is_same_run(one: &MemFs, other: &MemFs) -> bool {
    let header = |image: &MemFs| image.contents(Path::new("/drive-1/packmule/VOLUME")).ok();
    header(one) == header(other)
}

#[test]
fn erasing_survives_a_cut_at_any_operation_and_never_says_so_too_early() {
    let scene = Scene::new();
    let drive = DRIVES[0];
    let base = staged(&scene, &[drive], 3);
    let options = erase::Options { abandon: vec![1], ..erase::Options::default() };
    let act = |fs: &MemFs, seed: u64| -> Result<erase::Outcome, String> {
        let mut job = Job::open(&scene.job()).map_err(text)?;
        let world = Scene::world(fs, seed);
        erase::erase(&mut job, &world, Path::new(drive), None, &options, &mut ()).map_err(text)
    };
    let cuts = sweep(&scene, &base, POINTS, &|fs, _, seed| act(fs, seed).map(drop), &|image, _, next, context| {
        let after = image.crash(CrashKeep::All);
        scene.load(&after);
        let is_erased = |context: &str| {
            let job = Job::open_read_only(&scene.job()).unwrap_or_else(|error| panic!("{context}: {error}"));
            job.volumes().unwrap()[0].state == VolumeState::Erased
        };
        if is_erased(context) {
            assert!(Scene::drive_files(&after).is_empty(), "{context}: said to be erased and is not");
        }
        scene.load(&after);
        act(&after, next).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(Scene::drive_files(&after).is_empty(), "{context}");
        assert!(is_erased(context), "{context}");
    });
    eprintln!("{cuts} cuts");
    assert!(cuts >= POINTS / 2);
}

#[test]
fn ingesting_survives_a_cut_at_any_operation_of_its_database() {
    let scene = Scene::new();
    let base = staged(&scene, &DRIVES[..2], 3);
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let endpoint = lab.server.as_ref().unwrap().endpoint();
    let ingest_into = |fs: &MemFs, prefix: &str| -> Result<packmule::ingest::Outcome, String> {
        let mut job = Job::open(&scene.job()).map_err(text)?;
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let media: Vec<Medium> = DRIVES[..2]
            .iter()
            .map(|drive| {
                let volume = Volume::open(Arc::clone(&shared), Path::new(drive)).unwrap();
                let keyring = Keyring::open(&volume, &scene.identities()).unwrap();
                Medium { volume, keyring }
            })
            .collect();
        let options = ingest::Options { prefix: prefix.to_owned(), ..ingest::Options::default() };
        ingest::ingest(&mut job, &media, target(&endpoint), &options, &Scene::world(fs, 9), &ingest::Silent)
            .map_err(text)
    };
    // Each cut sends under a prefix of its own; what a cut run sent stays on the server, as it would.
    let prefix = |seed: u64| format!("cut-{}/", seed / 10);
    let objects = |prefix: &str| lab.keys().iter().filter(|key| key.starts_with(prefix)).count();
    let cuts = sweep(
        &scene,
        &base,
        POINTS,
        &|fs, _, seed| {
            // Reading the drives after the cut is no operation; only the job can be cut.
            let outcome = ingest_into(fs, &prefix(seed))?;
            if outcome.left == 0 { Ok(()) } else { Err(format!("{} left", outcome.left)) }
        },
        &|image, _, next, context| {
            let after = image.crash(CrashKeep::All);
            scene.load(&after);
            let prefix = prefix(next);
            let outcome = ingest_into(&after, &prefix).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!((outcome.left, outcome.tally.failed), (0, 0), "{context}: {outcome:#?}");
            let again = ingest_into(&after, &prefix).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(again.tally.sent, 0, "{context}: nothing is sent twice once it is proved");
            assert_eq!(objects(&prefix), objects("cut-10/"), "{context}: as many as undisturbed");
        },
    );
    eprintln!("{cuts} cuts");
    assert!(cuts >= POINTS / 2 && objects("cut-10/") > 10);
}

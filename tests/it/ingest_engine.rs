//! From volumes to objects, whole: what arrives, what a resume does, what damage and absent volumes cost.

use std::time::Duration;

use packmule::digest::crc64;
use packmule::ingest::remote::probe::read_back;
use packmule::ingest::remote::retry::Patience;
use packmule::ingest::remote::{Head, Method, ObjectStore, Put, Target};
use packmule::ingest::{Error, Options, Outcome, Replace, Silent, ingest};
use packmule::job::{Evidence, ObjectState};
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};
use packmule::sys::World;

use crate::ingest_kit::{Dataset, What, flip, hex_sha256, noise};
use crate::s3_lab::{Garage, Lab, runtime, target};

const MIB: usize = 1 << 20;

pub(crate) fn options() -> Options {
    let pause = Duration::from_millis(5);
    let patience = Patience { attempts_max: 4, pause_first: pause, pause_max: pause };
    Options { prefix: "data/".to_owned(), patience, memory_bytes: 48 << 20, requests_max: 8, ..Options::default() }
}

pub(crate) fn run(dataset: &Dataset, target: Target, options: &Options) -> Result<Outcome, Error> {
    ingest(&mut dataset.job(), &dataset.media(), target, options, &World::real(), &Silent)
}

fn small() -> Dataset {
    Dataset::new(
        2,
        &[
            (b"dir", What::Directory),
            (b"dir/a", What::File(noise(1, 1000))),
            (b"dir/empty", What::File(Vec::new())),
            (b"dir/link", What::Symlink("../somewhere")),
            (b"new\nline \xff", What::File(noise(2, 70_000))),
            (b"dir/second name", What::HardLink(3, b"dir/a")),
            (b"sparse", What::Sparse(noise(3, 5000), 100_000)),
            (b"hole", What::Sparse(Vec::new(), 4096)),
            (b"", What::Directory),
        ],
    )
}

pub(crate) fn large() -> Dataset {
    Dataset::new(
        2,
        &[
            (b"small", What::File(noise(1, 3000))),
            (b"big", What::File(noise(2, 35 * MIB + 7))),
            (b"big twin", What::HardLink(3, b"big")),
            (b"other", What::Sparse(noise(4, 9 * MIB), 20 << 20)),
        ],
    )
}

fn head(lab: &Lab, key: &str) -> Head {
    lab.run(lab.store.head(key)).unwrap().unwrap_or_else(|| panic!("no object {key:?}"))
}

pub(crate) fn assert_content(lab: &Lab, key: &str, content: &[u8]) {
    assert!(lab.run(read_back(&lab.store, key, content.len() as u64, crc64(content))).unwrap(), "{key:?}");
    assert_eq!(head(lab, key).metadata["packmule-sha256"], hex_sha256(content), "{key:?}");
}

pub(crate) fn endpoint(lab: &Lab) -> Target {
    target(&lab.server.as_ref().unwrap().endpoint())
}

#[test]
fn every_kind_of_entry_becomes_the_object_it_should_be() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = small();
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((outcome.tally.sent, outcome.tally.failed, outcome.left), (9, 0, 0), "{outcome:?}");
    assert_eq!(outcome.endpoint.method, Method::FullObjectCrc64);
    assert_content(&lab, "data/dir/a", &noise(1, 1000));
    assert_content(&lab, "data/dir/second name", &noise(1, 1000));
    assert_content(&lab, "data/new%0Aline %FF", &noise(2, 70_000));
    assert_content(&lab, "data/dir/empty", b"");
    assert_content(&lab, "data/dir/link", b"../somewhere");
    assert_content(&lab, "data/sparse", &[noise(3, 5000), vec![0; 100_000]].concat());
    assert_content(&lab, "data/hole", &[0; 4096]);
    let file = head(&lab, "data/dir/a").metadata;
    assert_eq!((&*file["file-permissions"], &*file["file-owner"], &*file["file-group"]), ("0100644", "1000", "100"));
    assert_eq!(file["file-mtime"], "1700000000123456789ns");
    assert_eq!(head(&lab, "data/dir/").metadata["file-permissions"], "0040644");
    assert_eq!(head(&lab, "data/").metadata["file-permissions"], "0040644", "the top of the dataset");
    assert_eq!(head(&lab, "data/dir/link").metadata["file-permissions"], "0120644");
    let job = dataset.job();
    let object = job.object(3).unwrap().unwrap();
    assert_eq!((object.state, object.crc64), (ObjectState::Confirmed, Some(crc64(&noise(1, 1000)))));
    let grade = Evidence::of(job.entry(3).unwrap().unwrap().state, true, Some(object.state));
    assert_eq!(grade, Evidence::Confirmed);
}

#[test]
fn the_same_call_again_sends_nothing() {
    let faults = FaultPlan::default();
    let lab = Lab::new(faults.clone(), Quirks::default());
    let dataset = small();
    run(&dataset, endpoint(&lab), &options()).unwrap();
    // Any further write would fail, and be seen.
    faults.after(Operation::PutObject, 0, u32::MAX, Fault::InternalError);
    let again = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((again.tally.sent, again.tally.present, again.tally.failed, again.left), (0, 0, 0, 0));
}

#[test]
fn without_a_prefix_the_top_of_the_dataset_needs_no_object() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let outcome = run(&small(), endpoint(&lab), &Options { prefix: String::new(), ..options() }).unwrap();
    assert_eq!((outcome.tally.sent, outcome.tally.failed, outcome.left), (8, 0, 0), "{outcome:?}");
    assert_content(&lab, "dir/a", &noise(1, 1000));
}

#[test]
fn large_files_from_two_volumes_complete_one_upload_each() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = large();
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left, outcome.findings.len()), (0, 0, 0), "{outcome:?}");
    assert_eq!(outcome.tally.parts, 5 + 5 + 4);
    let big = noise(2, 35 * MIB + 7);
    assert_content(&lab, "data/big", &big);
    assert_content(&lab, "data/big twin", &big);
    assert_content(&lab, "data/other", &[noise(4, 9 * MIB), vec![0; 20 << 20]].concat());
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
}

#[test]
fn volumes_may_come_one_at_a_time_and_the_missing_one_is_named() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = large();
    let one = |number: u32| {
        let media = [dataset.medium(number)];
        ingest(&mut dataset.job(), &media, endpoint(&lab), &options(), &World::real(), &Silent).unwrap()
    };
    let first = one(1);
    assert!(first.left > 0);
    assert_eq!(first.volumes_needed, [2]);
    assert_eq!(first.tally.failed, 0);
    assert!(first.tally.parts > 0);
    let second = one(2);
    assert_eq!(second.left, 0);
    assert_eq!(first.tally.parts + second.tally.parts, 5 + 5 + 4, "no part is sent twice");
    assert_content(&lab, "data/big", &noise(2, 35 * MIB + 7));
    assert_content(&lab, "data/big twin", &noise(2, 35 * MIB + 7));
}

#[test]
fn faults_on_the_way_change_nothing_in_the_end() {
    let faults = FaultPlan::default();
    faults
        .on_key(Operation::PutObject, "data/small", 1, Fault::FlipBit)
        .on_key(Operation::PutObject, "data/small", 1, Fault::DropAfter)
        .on_key(Operation::UploadPart, "data/big", 2, Fault::FlipBit)
        .on_key(Operation::UploadPart, "data/big", 1, Fault::SlowDown)
        .on_key(Operation::UploadPart, "data/big", 1, Fault::DropAfter)
        .on_key(Operation::CompleteUpload, "data/other", 1, Fault::ErrorInside200)
        .on_key(Operation::CompleteUpload, "data/other", 1, Fault::DropAfter)
        .on_key(Operation::CreateUpload, "data/big", 1, Fault::InternalError);
    let lab = Lab::new(faults.clone(), Quirks::default());
    let dataset = large();
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert!(faults.all_exercised());
    assert_content(&lab, "data/big", &noise(2, 35 * MIB + 7));
    assert_content(&lab, "data/small", &noise(1, 3000));
    assert_content(&lab, "data/other", &[noise(4, 9 * MIB), vec![0; 20 << 20]].concat());
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
}

#[test]
fn uploads_of_one_volume_are_begun_beside_each_other_not_one_after_another() {
    let faults = FaultPlan::default();
    // Nobody gets an upload before four have asked for one: one after another, they would wait for ever.
    faults.after(Operation::CreateUpload, 2, 4, Fault::Together(4));
    let lab = Lab::new(faults.clone(), Quirks::default());
    let paths: Vec<_> = (1..=4).map(|n| (vec![b'a' + n], What::File(noise(u64::from(n), 9 * MIB)))).collect();
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    let dataset = Dataset::new(1, &paths);
    // Room for a body of each.
    let options = Options { memory_bytes: 128 << 20, ..options() };
    let outcome = run(&dataset, endpoint(&lab), &options).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert!(faults.all_exercised());
    for (path, _) in &paths {
        let key = format!("data/{}", String::from_utf8_lossy(path));
        assert_content(&lab, &key, &noise(u64::from(path[0] - b'a'), 9 * MIB));
    }
}

#[test]
fn an_upload_that_was_begun_while_the_run_ended_is_on_record_and_nothing_is_left_to_be_paid_for() {
    let faults = FaultPlan::default();
    faults.on_key(Operation::CreateUpload, "data/a", 1, Fault::Late(1500)).on_key_after(
        Operation::UploadPart,
        "data/b",
        0,
        Fault::Refuse(400, "ExpiredToken"),
    );
    let lab = Lab::new(faults, Quirks::default());
    // One volume, so that the upload that is answered late is begun before the one that ends the run.
    let dataset = Dataset::new(1, &[(b"a", What::File(noise(1, 9 * MIB))), (b"b", What::File(noise(2, 9 * MIB)))]);
    // Room for all of them, so that the one that ends the run need not wait for the other.
    let ended = run(&dataset, endpoint(&lab), &Options { memory_bytes: 512 << 20, ..options() });
    assert!(matches!(ended, Err(Error::Remote { .. })), "{ended:?}");
    let begun = lab.run(lab.store.open_uploads("data/a")).unwrap();
    assert_eq!(begun.len(), 1, "the server had begun it");
    let lab = lab.restarted(FaultPlan::default());
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
}

#[test]
fn a_server_that_compares_nothing_and_stores_other_bytes_is_found_out_by_reading_back() {
    let faults = FaultPlan::default();
    faults.on_key(Operation::PutObject, "data/small", 1, Fault::FlipBit);
    let quirks = Quirks { ignore_checksums: true, ignore_content_md5: true, ..Quirks::default() };
    let lab = Lab::new(faults.clone(), quirks);
    let dataset = large();
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert!(faults.all_exercised());
    assert_eq!((outcome.tally.failed, outcome.left), (1, 1), "{outcome:?}");
    let failure = &outcome.tally.failures[0];
    assert_eq!(failure.key, "data/small");
    assert!(failure.reason.contains("read back and differs"), "{failure:?}");
    let again = run(&dataset, endpoint(&lab), &Options { replace: Replace::IfChanged, ..options() }).unwrap();
    assert_eq!((again.tally.failed, again.left), (0, 0), "{again:?}");
    assert_content(&lab, "data/small", &noise(1, 3000));
}

#[test]
fn another_object_under_a_key_is_left_alone_unless_told_otherwise() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = large();
    for key in ["data/small", "data/big"] {
        let theirs = Put {
            key: key.to_owned(),
            body: "theirs".into(),
            claim: None,
            metadata: packmule::ingest::remote::Metadata::new(),
            overwrite: false,
        };
        lab.run(lab.store.put(theirs)).unwrap();
    }
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (2, 2), "{outcome:?}");
    let mut keys: Vec<_> = outcome.tally.failures.iter().map(|failure| failure.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["data/big", "data/small"]);
    assert_eq!(lab.run(lab.store.get("data/big", 0, 6)).unwrap(), "theirs");
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), [], "no upload is left to be paid for");
    let outcome = run(&dataset, endpoint(&lab), &Options { replace: Replace::Always, ..options() }).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert_content(&lab, "data/small", &noise(1, 3000));
    assert_content(&lab, "data/big", &noise(2, 35 * MIB + 7));
}

#[test]
fn one_flipped_bit_costs_the_objects_that_need_it_and_names_them() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = small();
    // Entry 3 ("dir/a", id 3) lies in volume 2 by its number; its frame is the first of the pack.
    let packs = dataset.volume_dir(2).join("packmule/packs");
    let pack = std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    flip(&pack, 4096 + 200);
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!(outcome.findings.len(), 1, "{outcome:?}");
    let finding = &outcome.findings[0];
    assert_eq!((finding.volume, finding.pack, finding.frame), (2, 1, Some(0)));
    assert_eq!(finding.keys, ["data/dir/a", "data/dir/second name"]);
    assert_eq!(outcome.left, 2, "the file and its second name");
    assert_eq!(lab.run(lab.store.head("data/dir/a")).unwrap(), None);
    assert_content(&lab, "data/new%0Aline %FF", &noise(2, 70_000));
}

#[test]
fn a_server_that_compares_nothing_is_read_back() {
    let quirks =
        Quirks { ignore_checksums: true, ignore_content_md5: true, ignore_conditions: true, ..Quirks::default() };
    let lab = Lab::new(FaultPlan::default(), quirks);
    let dataset = large();
    let outcome = run(&dataset, endpoint(&lab), &options()).unwrap();
    assert_eq!(outcome.endpoint.method, Method::ReadBack);
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert_eq!(dataset.job().object(3).unwrap().unwrap().state, ObjectState::ReadBack);
    assert_content(&lab, "data/big", &noise(2, 35 * MIB + 7));
}

#[test]
fn a_run_that_cannot_go_on_says_why_and_a_job_keeps_its_destination() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = small();
    let absent = Target { bucket: "absent".to_owned(), ..endpoint(&lab) };
    let error = run(&dataset, absent, &options()).unwrap_err();
    assert!(matches!(error, Error::Remote { .. }) && error.hint().is_some(), "{error:?}");
    let error = run(&dataset, endpoint(&lab), &options()).unwrap_err();
    assert!(matches!(error, Error::OtherDestination { .. }), "{error:?}");
}

#[test]
fn garage_gets_the_whole_job() {
    let Some(garage) = Garage::start() else { return };
    let dataset = large();
    let outcome = run(&dataset, garage.target(), &options()).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    assert_eq!(outcome.endpoint.method, Method::FullObjectCrc64);
    let runtime = runtime();
    let store = runtime.block_on(packmule::ingest::remote::connect(garage.target()));
    for (key, content) in [("data/big", noise(2, 35 * MIB + 7)), ("data/small", noise(1, 3000))] {
        assert!(runtime.block_on(read_back(&store, key, content.len() as u64, crc64(&content))).unwrap(), "{key}");
    }
    let again = run(&dataset, garage.target(), &options()).unwrap();
    assert_eq!((again.tally.sent, again.tally.parts), (0, 0));
}

//! `--bundle`: small files in ordinary archives, found again by an index, and as well proved as the others.

use std::process::{Command, Stdio};

use packmule::digest::crc64;
use packmule::ingest::remote::{ObjectStore, Target};
use packmule::ingest::{By, Options, Silent, ingest, reconcile, survey};
use packmule::job::ObjectState;
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};
use packmule::sys::{RealFs, World};

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{Lab, target};

fn options() -> Options {
    Options { prefix: "data/".to_owned(), bundle_bytes: Some(1 << 20), ..Options::default() }
}

fn here(lab: &Lab) -> Target {
    target(&lab.server.as_ref().unwrap().endpoint())
}

/// Path and content.
type File = (Vec<u8>, Vec<u8>);

fn dataset() -> (Dataset, Vec<File>) {
    let mut files: Vec<File> =
        (0..300).map(|n| (format!("a/d{}/f{n:03}", n / 100).into_bytes(), noise(n, 9000))).collect();
    files.push((b"a/new\nline \xff".to_vec(), noise(900, 100)));
    files.push((format!("a/{}/{}", "l".repeat(150), "m".repeat(150)).into_bytes(), noise(901, 100)));
    let mut paths: Vec<(&[u8], What)> =
        files.iter().map(|(path, content)| (path.as_slice(), What::File(content.clone()))).collect();
    paths.push((b"large", What::File(noise(902, 9 << 20))));
    paths.push((b"a/d0", What::Directory));
    paths.push((b"a/link", What::Symlink("large")));
    (Dataset::new(2, &paths), files)
}

#[test]
fn any_tar_reads_a_bundle_and_a_range_of_it_is_the_file() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let (dataset, files) = dataset();
    let ahead = survey(&dataset.job(), &options(), 0, &RealFs).unwrap();
    assert_eq!(ahead.bundled.0, 302);
    assert!(ahead.requests_bundled < 20 && ahead.requests > 300, "{ahead:?}");
    let outcome =
        ingest(&mut dataset.job(), &dataset.media(), here(&lab), &options(), &World::real(), &Silent).unwrap();
    assert_eq!((outcome.tally.sent, outcome.tally.failed, outcome.left), (305, 0, 0), "{outcome:?}");
    let keys = lab.keys();
    let bundles: Vec<&String> = keys.iter().filter(|key| key.ends_with(".tar")).collect();
    assert_eq!(bundles.len() as u64, outcome.tally.bundles);
    assert_eq!(keys.len(), 3 + 2 * bundles.len(), "{keys:?}");
    let mut found = std::collections::BTreeMap::new();
    let mut listed = 0;
    for key in bundles {
        assert!(key.starts_with("data/a/"), "in the directory its members share: {key}");
        let head = lab.run(lab.store.head(key)).unwrap().unwrap();
        let archive = lab.run(lab.store.get(key, 0, head.bytes)).unwrap();
        let path = dataset.dir.path().join("bundle.tar");
        std::fs::write(&path, &archive).unwrap();
        let tar = Command::new("tar").arg("--list").arg("--file").arg(&path).stdin(Stdio::null()).output().unwrap();
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        listed += String::from_utf8_lossy(&tar.stdout).lines().count();
        let index = format!("{key}.jsonl");
        let head = lab.run(lab.store.head(&index)).unwrap().unwrap();
        let index = lab.run(lab.store.get(&index, 0, head.bytes)).unwrap();
        for line in std::str::from_utf8(&index).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| line[name].as_u64().unwrap();
            let range = lab.run(lab.store.get(key, number("offset"), number("bytes"))).unwrap();
            assert_eq!(line["crc64nvme"], crc64(&range).to_string());
            found.insert(line["key"].as_str().unwrap().to_owned(), range);
        }
    }
    assert_eq!((listed, found.len()), (302, 302));
    for (path, content) in &files {
        let key = packmule::ingest::remote::key::key_of("data/", path).unwrap();
        assert_eq!(found[&key], content, "{key}");
    }
    let object = dataset.job().object(2).unwrap().unwrap();
    assert_eq!(object.state, ObjectState::Confirmed);
    assert!(object.key.unwrap().ends_with(b".tar"), "the report says where it is");
    for by in [By::List, By::Head] {
        let found = reconcile(&dataset.job(), here(&lab), &by, &RealFs).unwrap();
        assert!(found.is_clean(), "{by:?} {found:?}");
    }
}

#[test]
fn what_a_dead_run_left_is_met_by_the_next_one() {
    let faults = FaultPlan::default();
    // The first bundles go through, then the server refuses for longer than anybody waits.
    faults.after(Operation::PutObject, 6, 100_000, Fault::InternalError);
    let lab = Lab::new(faults, Quirks::default());
    let (dataset, _) = dataset();
    let pause = std::time::Duration::from_millis(1);
    let patience = packmule::ingest::remote::retry::Patience { attempts_max: 2, pause_first: pause, pause_max: pause };
    let pinned = Options { patience, requests_max: 1, ..options() };
    let _ = ingest(&mut dataset.job(), &dataset.media(), here(&lab), &pinned, &World::real(), &Silent);
    drop(lab.server);
    let healed =
        packmule::s3d::Server::start(lab.dir.path(), &crate::s3_lab::credentials(), packmule::s3d::Options::default())
            .unwrap();
    let again = target(&healed.endpoint());
    let outcome =
        ingest(&mut dataset.job(), &dataset.media(), again.clone(), &options(), &World::real(), &Silent).unwrap();
    assert_eq!((outcome.tally.failed, outcome.left), (0, 0), "{outcome:?}");
    let found = reconcile(&dataset.job(), again, &By::Head, &RealFs).unwrap();
    assert!(found.is_clean() && found.missing.count == 0, "{found:?}");
}

//! Volumes written by every released version stay readable for ever. manifests/formats/volume.md section 8.
//!
//! A release that touches a format adds a directory here, written by that release. `PACKMULE_WRITE_FIXTURE=NAME` writes
//! the present one; an existing directory is never written again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::crypto::Identities;
use packmule::monitor::Silent;
use packmule::sys::{RealFs, World};
use packmule::verify::{Options, Report, verify};

use crate::verify_kit::write_scene;

/// A fixture: its directory and what is in it.
struct Fixture {
    name: &'static str,
    volumes: &'static [&'static str],
    files: u64,
    others: u64,
    problems: u64,
}

const FIXTURES: [Fixture; 1] =
    [Fixture { name: "format-1", volumes: &["one", "two"], files: 6, others: 3, problems: 1 }];

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The identity that opens a fixture. It protects nothing.
pub fn identities(name: &str) -> Identities {
    let mut identities = Identities::none();
    identities.add_file(&std::fs::read(fixtures().join(name).join("TEST-IDENTITY.txt")).unwrap()).unwrap();
    identities
}

fn check(fixture: &Fixture, keyed: bool) -> Report {
    let dirs: Vec<PathBuf> = fixture.volumes.iter().map(|volume| fixtures().join(fixture.name).join(volume)).collect();
    let identities = keyed.then(|| identities(fixture.name));
    let options = Options { identities, all_sums: true, memory_bytes: 64 << 20, signed_by: None };
    verify(&World::real(), &dirs, &options, &Silent).unwrap()
}

#[test]
fn every_fixture_is_listed() {
    let found: BTreeMap<String, ()> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|item| (item.unwrap().file_name().into_string().unwrap(), ()))
        .filter(|(name, ())| name.starts_with("format-"))
        .collect();
    let listed: BTreeMap<String, ()> = FIXTURES.iter().map(|fixture| (fixture.name.to_owned(), ())).collect();
    assert_eq!(found, listed);
}

#[test]
fn volumes_of_every_released_version_stay_readable() {
    for fixture in &FIXTURES {
        let keyless = check(fixture, false);
        assert!(keyless.is_clean() && keyless.volumes.iter().all(|volume| volume.sealed), "{:#?}", keyless.findings);
        let keyed = check(fixture, true);
        assert!(keyed.is_clean() && keyed.keys_missing.is_empty(), "{:#?}", keyed.findings);
        let counts = (keyed.files_whole, keyed.others, keyed.problems, keyed.not_here);
        assert_eq!(counts, (fixture.files, fixture.others, fixture.problems, 0), "{}", fixture.name);
    }
}

#[test]
fn a_fixture_is_written_when_it_is_asked_for() {
    let Some(name) = std::env::var_os("PACKMULE_WRITE_FIXTURE") else { return };
    let dir = fixtures().join(name);
    std::fs::create_dir(&dir).unwrap();
    let (kit, _) =
        write_scene(Arc::new(RealFs), &dir.join("one"), &dir.join("two"), |dir| std::fs::create_dir(dir).unwrap());
    let text = format!("# A test identity. It protects nothing but this fixture.\n{}\n", kit.secret);
    std::fs::write(dir.join("TEST-IDENTITY.txt"), text).unwrap();
}

//! The proof of transfer: it holds without any secret, no edit of it does, and one entry is shown without the others.

use std::collections::BTreeSet;

use assert_cmd::Command;
use packmule::crypto::fingerprint;
use packmule::job::ObjectState;
use packmule::report::{Checked, ProofEntry, ProofError, check_proof, pick, write_proof};

use crate::job_support::now;
use crate::report_forms::{send, staged};

fn whole() -> (crate::job_support::World, String) {
    let mut world = staged(true);
    send(&mut world, ObjectState::Confirmed);
    let mut out = Vec::new();
    let count = write_proof(world.job(), now(), &mut out).unwrap();
    assert_eq!(count, 5);
    (world, String::from_utf8(out).unwrap())
}

/// A path as the proof has it.
fn odd() -> String {
    packmule::format::path::escape(b"d/new\nline")
}

fn read(text: &str) -> Result<(Checked, Vec<ProofEntry>), ProofError> {
    let mut entries = Vec::new();
    let checked = check_proof(text.as_bytes(), |entry| entries.push(entry.clone()))?;
    Ok((checked, entries))
}

fn picked(text: &str, paths: &[&str]) -> Result<String, ProofError> {
    let paths: BTreeSet<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let mut out = Vec::new();
    pick(|| Ok(text.as_bytes()), &paths, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_proof_of_the_whole_job_holds_without_any_secret() {
    let (mut world, text) = whole();
    let (checked, entries) = read(&text).unwrap();
    assert_eq!((checked.count, checked.shown, entries.len()), (5, 5, 5));
    assert_eq!(Some(checked.key), world.job().public_key());
    let file = entries.iter().find(|entry| entry.path == odd()).unwrap();
    assert_eq!(
        (file.evidence.as_str(), file.bytes.as_str(), file.volumes.as_str()),
        ("confirmed by the server", "10", "1")
    );
    assert_eq!((file.sha256.len(), file.crc64nvme.len(), file.server_crc64nvme.len()), (64, 16, 16));
    let confirmed = checked.grades.iter().find(|grade| grade.evidence == "confirmed by the server").unwrap();
    assert_eq!((confirmed.entries, confirmed.bytes), (4, 100));
    assert_eq!(checked.volumes[0].sums_sha256, "ab".repeat(32));
    let mut again = Vec::new();
    write_proof(world.job(), now(), &mut again).unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), text, "the same facts give the same document");
}

#[test]
fn a_proof_that_was_edited_anywhere_does_not_hold() {
    let (_world, text) = whole();
    let one = picked(&text, &["link"]).unwrap();
    for proof in [&text, &one] {
        let mut survived = Vec::new();
        for at in 0..proof.len() {
            let mut bytes = proof.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            if check_proof(bytes.as_slice(), |_| {}).is_ok() {
                survived.push(String::from_utf8_lossy(&proof.as_bytes()[at.saturating_sub(20)..at + 1]).into_owned());
            }
        }
        assert!(survived.is_empty(), "{survived:?}");
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let entry = lines.iter().position(|line| line.contains("\"index\":1,")).unwrap();
    let mut without = lines.clone();
    without.remove(entry);
    assert!(read(&without.concat()).is_err(), "an entry left out");
    let mut swapped = lines.clone();
    swapped.swap(entry, entry + 1);
    assert!(read(&swapped.concat()).is_err(), "entries exchanged");
    assert!(read(&text.replacen("{\n", "{\n\"note\": 1,\n", 1)).is_err(), "a member that no proof has");
    assert!(read(&text.replace("\"count\": 5", "\"count\": 5,\n\"count\": 5")).is_err(), "a member twice");
    assert!(read(&text.replace("\"packmule-proof\": 1", "\"packmule-proof\": 2")).is_err());
    assert!(read("{}").is_err() && read("").is_err() && read("[]").is_err());
}

#[test]
fn one_entry_is_proved_without_the_others() {
    let (_world, text) = whole();
    let one = picked(&text, &["link"]).unwrap();
    let (checked, entries) = read(&one).unwrap();
    assert_eq!((checked.count, checked.shown, entries.len()), (5, 1, 1));
    assert_eq!(entries[0].path, "link");
    let (_, all) = read(&text).unwrap();
    for other in all.iter().filter(|entry| entry.path != "link") {
        let path = format!("\"path\":{}", serde_json::to_string(&other.path).unwrap());
        assert!(text.contains(&path) && !one.contains(&path), "{path}");
        assert!(other.sha256.is_empty() || !one.contains(&other.sha256));
    }
    let salts: BTreeSet<&str> = text.split("\"salt\":\"").skip(1).map(|rest| &rest[..32]).collect();
    assert_eq!(salts.len(), 5, "each entry has a salt of its own");
    assert_eq!(salts.iter().filter(|salt| one.contains(**salt)).count(), 1);
    let two = picked(&text, &["link", &odd()]).unwrap();
    assert_eq!(read(&two).unwrap().1.len(), 2);
    assert!(matches!(picked(&text, &["nothing"]), Err(ProofError::NoEntry(_))));
    assert!(picked(&one, &["link"]).is_err(), "a proof of some entries has not what another needs");
    // A path that leads to the root, but of another place.
    let moved = one.replace("\"index\":4", "\"index\":3");
    assert!(moved != one && read(&moved).is_err(), "{one}");
}

#[test]
fn the_commands_prove_and_check() {
    let (mut world, _) = whole();
    let words = fingerprint(&world.job().public_key().unwrap());
    world.job = None;
    let at = |name: &str| world.dir.path().join(name);
    let packmule = |arguments: &[&str]| {
        let mut command = Command::cargo_bin("packmule").unwrap();
        command.current_dir(world.dir.path()).args(arguments);
        command.assert()
    };
    packmule(&["prove", "--job", "job", "-o", "proof.json"]).code(0);
    let out = packmule(&["check-proof", "proof.json", "--signed-by", &words]).code(0);
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert!(out.contains("the proof holds: all 5 entries") && out.contains(&words), "{out}");
    packmule(&["prove", "--from", "proof.json", "--entry", "link", "-o", "one.json"]).code(0);
    let out = packmule(&["check-proof", "one.json"]).code(0);
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert!(out.contains("1 of 5 entries shown") && out.contains("link (symlink, 0 bytes): confirmed"), "{out}");
    packmule(&["check-proof", "proof.json", "--signed-by", "babab-babab-babab-babab-babab-babab"]).code(4);
    let edited = std::fs::read_to_string(at("proof.json")).unwrap().replace("confirmed", "konfirmed");
    std::fs::write(at("proof.json"), edited).unwrap();
    packmule(&["check-proof", "proof.json"]).code(4);
    packmule(&["prove", "--from", "one.json", "--entry", "none", "-o", "x.json"]).code(4);
    assert!(!at("x.json").exists(), "nothing is left of a proof that was not made");
    packmule(&["check-proof", "missing.json"]).code(2);
}

//! Who vouches for a volume: the signed seal and the custody log, and what a forger would have to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::crypto::{Purpose, SigningKey, fingerprint};
use packmule::format::{SealSignature, Sealed, heads_digest, parse_sums, render_custody, sums_root};
use packmule::monitor::Silent;
use packmule::sys::mem::MemFs;
use packmule::sys::random::SeededRandom;
use packmule::sys::{Fs, World};
use packmule::verify::{FindingKind, Options, Report, verify};
use packmule::volume::{Volume, read_custody, write_custody};

use crate::verify_kit::{ONE, check, filled, tiny_scene};
use crate::volume_kit::Kit;

fn volume(fs: &MemFs) -> Volume {
    Volume::open(Arc::new(fs.clone()), Path::new(ONE)).unwrap()
}

fn check_signer(fs: &MemFs, signed_by: Option<&str>) -> Report {
    let world = World { fs: Arc::new(fs.clone()), ..World::real() };
    let signed_by = signed_by.map(str::to_owned);
    let options = Options { identities: None, all_sums: false, memory_bytes: 64 << 20, signed_by };
    verify(&world, &[PathBuf::from(ONE)], &options, &Silent).unwrap()
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

/// The key of the tiny scene's kit.
fn signer() -> SigningKey {
    SigningKey::fresh(&SeededRandom::new(1043))
}

fn put(fs: &MemFs, name: &str, bytes: &[u8]) {
    let path = Path::new(ONE).join("packmule").join(name);
    let _ = fs.remove_file(&path);
    fs.put_file(&path, bytes).unwrap();
}

/// Writes `SEALED` anew with another seal.
fn reseal(fs: &MemFs, edit: impl FnOnce(&mut Sealed)) {
    let path = Path::new(ONE).join("packmule/SEALED");
    let mut sealed = Sealed::decode(&fs.contents(&path).unwrap()).unwrap();
    edit(&mut sealed);
    put(fs, "SEALED", sealed.encode().as_bytes());
}

#[test]
fn whoever_checks_a_volume_is_told_whose_signature_it_bears() {
    let fs = filled(&tiny_scene().files);
    let words = fingerprint(&signer().public());
    let report = check_signer(&fs, None);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.volumes[0].signed_by.as_ref().unwrap().fingerprint, words);
    assert_eq!(report.volumes[0].custody.len(), 2);
    assert!(report.volumes[0].custody.iter().all(|entry| entry.signed_by == words));
    assert!(check_signer(&fs, Some(&words)).is_clean());
    assert!(check_signer(&fs, Some(&words.to_uppercase().replace('-', " "))).is_clean());
    let wrong = check_signer(&fs, Some("babab-babab-babab-babab-babab-babab"));
    assert_eq!(kinds(&wrong), [FindingKind::Signature]);
}

#[test]
fn a_volume_made_again_by_somebody_else_is_found_out() {
    let words = fingerprint(&signer().public());
    let other = SigningKey::fresh(&SeededRandom::new(7));
    // Every file is as the format wants it; only the key is another one.
    let fs = filled(&tiny_scene().files);
    reseal(&fs, |sealed| {
        let signed = sealed.signature.clone().unwrap();
        let signature = other.sign(Purpose::Seal, &sealed.signed_bytes(&signed.merkle_root, &signed.custody));
        sealed.signature = Some(SealSignature { key: other.public(), signature, ..signed });
    });
    let report = check_signer(&fs, None);
    assert_eq!(report.volumes[0].signed_by.as_ref().unwrap().fingerprint, fingerprint(&other.public()));
    assert!(report.notes.iter().any(|note| note.contains("sealed by")), "{:?}", report.notes);
    assert_eq!(kinds(&check_signer(&fs, Some(&words))), [FindingKind::Signature]);
    // The signature is taken off.
    let fs = filled(&tiny_scene().files);
    reseal(&fs, |sealed| sealed.signature = None);
    assert!(check_signer(&fs, None).notes.iter().any(|note| note.contains("not signed")));
    assert_eq!(kinds(&check_signer(&fs, Some(&words))), [FindingKind::Signature]);
    // The signed words are altered, one by one.
    let edits: [fn(&mut Sealed); 3] = [
        |sealed| sealed.sealed_at = "2020-01-01T00:00:00Z".to_owned(),
        |sealed| sealed.read_back = packmule::format::ReadBack::Cached,
        |sealed| sealed.signature.as_mut().unwrap().signature[0] ^= 1,
    ];
    for edit in edits {
        let fs = filled(&tiny_scene().files);
        reseal(&fs, edit);
        assert_eq!(kinds(&check_signer(&fs, None)), [FindingKind::Signature]);
    }
    // A file is exchanged, and the sums are made to fit.
    let fs = filled(&tiny_scene().files);
    put(&fs, "README.txt", b"please plug this drive into your computer\n");
    let sums = fs.contents(&Path::new(ONE).join("packmule/SHA256SUMS")).unwrap();
    let mut lines = parse_sums(&sums).unwrap();
    lines[0].sha256 = packmule::digest::sha256(b"please plug this drive into your computer\n");
    let sums = packmule::format::render_sums(&lines);
    put(&fs, "SHA256SUMS", sums.as_bytes());
    reseal(&fs, |sealed| sealed.sums_sha256 = packmule::digest::sha256(sums.as_bytes()));
    assert_eq!(kinds(&check_signer(&fs, None)), [FindingKind::Signature]);
    reseal(&fs, |sealed| sealed.signature.as_mut().unwrap().merkle_root = sums_root(&lines));
    assert_eq!(kinds(&check_signer(&fs, None)), [FindingKind::Signature]);
}

#[test]
fn an_edit_of_the_custody_log_is_found() {
    let scene = tiny_scene();
    let fs = filled(&scene.files);
    let kit = Kit::new(Arc::new(fs.clone()), 43);
    let on_it = volume(&fs);
    let log = read_custody(&on_it).unwrap();
    let log = kit.log(&log, &on_it, "handed-over", "to the courier");
    let log = kit.log(&log, &on_it, "received", "seal unbroken");
    write_custody(&on_it, &log).unwrap();
    let report = check(&fs, &[ONE], Some(&scene.secret)).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.volumes[0].custody.last().unwrap().detail, "seal unbroken");
    let text = render_custody(log.iter());
    let found = |text: &str| {
        put(&fs, "CUSTODY", text.as_bytes());
        kinds(&check_signer(&fs, None))
    };
    let custody = [FindingKind::Custody];
    assert_eq!(found(&text.replace("to the courier", "to nobody")), custody, "a word");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(found(&[lines[0], lines[1], lines[3]].concat()), custody, "an entry left out");
    assert_eq!(found(lines[1]), custody, "the beginning left out");
    assert_eq!(found(&text[..text.len() - 1]), custody, "torn");
    assert_eq!(found(""), custody, "emptied");
    // A whole log of the forger's own, well signed, is not the one the seal vouches for.
    let own = SigningKey::fresh(&SeededRandom::new(8));
    let mut forged = log[..1].to_vec();
    forged[0].key = own.public();
    forged[0].detail = "nothing to see".to_owned();
    forged[0].signature = own.sign(Purpose::Custody, &forged[0].hash());
    assert_eq!(found(&render_custody(forged.iter())), custody, "another log");
    let mut unsigned = log.clone();
    unsigned[3].signature[5] ^= 1;
    assert_eq!(found(&render_custody(unsigned.iter())), custody, "a signature that does not fit");
    assert!(found(&text).is_empty());
    // What the file system cannot undo, the program does not do either.
    assert!(write_custody(&on_it, &log[..3]).is_err(), "an entry is never taken away");
    assert_ne!(heads_digest(log[..3].iter()), heads_digest(log.iter()));
}

#[test]
fn a_custody_log_that_is_too_long_is_refused_before_it_is_read() {
    let fs = filled(&tiny_scene().files);
    put(&fs, "CUSTODY", &vec![b'x'; (16 << 20) + 1]);
    assert_eq!(kinds(&check_signer(&fs, None)), [FindingKind::Custody]);
}

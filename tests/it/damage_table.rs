//! The damage table: every kind of record on a volume, damaged in every way, and what `verify` says of it, without a key
//! and with one; and which source files it says are lost.

use std::collections::BTreeSet;
use std::path::PathBuf;

use packmule::digest::crc64;
use packmule::verify::Report;
use rstest::rstest;

use crate::verify_kit::{Files, ONE, TWO, check, filled, scene};

const P1: &str = "one/packmule/packs/00000001.pack";
const P2: &str = "one/packmule/packs/00000002.pack";
const Q1: &str = "two/packmule/packs/00000001.pack";
const MANIFEST: &str = "one/packmule/MANIFEST";
const DATA: u8 = 1;
const ENTRIES: u8 = 2;
const COMMIT: u8 = 3;
const FOOTER: u8 = 4;

fn path(name: &str) -> PathBuf {
    PathBuf::from("/").join(name)
}

fn bytes<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    files.get_mut(&path(name)).unwrap()
}

/// Where frames stand: kind, first byte, first byte of the next place.
fn frames(bytes: &[u8]) -> Vec<(u8, usize, usize)> {
    let mut frames = Vec::new();
    let mut at = 4096;
    while at + 32 <= bytes.len() {
        if bytes[at..at + 8] == [0; 8] {
            at = (at / 4096 + 1) * 4096;
            continue;
        }
        let body = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
        let end = (at + 32 + usize::try_from(body).unwrap()).next_multiple_of(64);
        frames.push((bytes[at + 8], at, end));
        at = end;
    }
    frames
}

/// The n-th frame of that kind.
fn frame(bytes: &[u8], kind: u8, n: usize) -> std::ops::Range<usize> {
    let (_, from, to) = frames(bytes).into_iter().filter(|frame| frame.0 == kind).nth(n).unwrap();
    from..to
}

fn flip(files: &mut Files, name: &str, kind: u8, n: usize) {
    let bytes = bytes(files, name);
    let at = frame(bytes, kind, n).start + 40;
    bytes[at] ^= 0x10;
}

/// Bytes of the frame are removed and everything behind moves up.
fn delete(files: &mut Files, name: &str, kind: u8, n: usize) {
    let bytes = bytes(files, name);
    let range = frame(bytes, kind, n);
    bytes.drain(range);
}

/// The file ends in the middle of the frame.
fn truncate(files: &mut Files, name: &str, kind: u8, n: usize) {
    let bytes = bytes(files, name);
    let at = frame(bytes, kind, n).start + 40;
    bytes.truncate(at);
}

fn duplicate(files: &mut Files, name: &str, kind: u8, n: usize) {
    let bytes = bytes(files, name);
    let range = frame(bytes, kind, n);
    let copy = bytes[range.clone()].to_vec();
    bytes.splice(range.end..range.end, copy);
}

/// The frame changes places with the one behind it.
fn reorder(files: &mut Files, name: &str, kind: u8, n: usize) {
    let bytes = bytes(files, name);
    let range = frame(bytes, kind, n);
    let (_, from, to) = frames(bytes).into_iter().find(|(_, from, _)| *from >= range.end).unwrap();
    let joined = [&bytes[from..to], &bytes[range.end..from], &bytes[range.clone()]].concat();
    bytes.splice(range.start..to, joined);
}

/// The frame is overwritten by one of the same kind from elsewhere, with index and checksum made to fit: what only the
/// key can tell.
fn swap_in(files: &mut Files, from: &str, kind: u8, n: usize, into: &str, m: usize) {
    let donor = bytes(files, from).clone();
    let mut copy = donor[frame(&donor, kind, n)].to_vec();
    let target = bytes(files, into);
    let range = frame(target, kind, m);
    copy[12..16].copy_from_slice(&target[range.start + 12..range.start + 16]);
    let body_bytes = usize::try_from(u32::from_le_bytes(copy[16..20].try_into().unwrap())).unwrap();
    let sum = crc64(&[&copy[..24], &copy[32..32 + body_bytes]].concat());
    copy[24..32].copy_from_slice(&sum.0.to_le_bytes());
    assert_eq!(copy.len(), range.len(), "the frames of this case are of one length");
    target.splice(range, copy);
}

fn replace(files: &mut Files, from: &str, to: &str) {
    let copy = bytes(files, from).clone();
    files.insert(path(to), copy);
}

/// A pack as it was after its first commit.
fn roll_back(files: &mut Files, name: &str) {
    let bytes = bytes(files, name);
    let end = frame(bytes, COMMIT, 0).end.next_multiple_of(4096);
    bytes.truncate(end);
}

/// The header says another job, with a right checksum.
fn other_job(files: &mut Files, name: &str) {
    let bytes = bytes(files, name);
    bytes[32] ^= 1;
    let sum = crc64(&bytes[..4088]).0.to_le_bytes();
    bytes[4088..4096].copy_from_slice(&sum);
}

fn slot(files: &Files, volume: &str) -> String {
    let prefix = format!("/{volume}/packmule/slots/");
    let found = files.keys().find(|path| path.to_str().unwrap().starts_with(&prefix)).unwrap();
    found.to_str().unwrap()[1..].to_owned()
}

fn has(report: &Report, kind: &str, file: &str) -> bool {
    let (volume, name) = file.split_once("/packmule/").unwrap();
    let number = if volume == "one" { 1 } else { 2 };
    report.findings.iter().any(|f| f.kind.word() == kind && f.file == name && (f.volume == number || f.volume == 0))
}

fn lost(report: &Report) -> BTreeSet<String> {
    report.lost().map(|lost| lost.path.clone()).collect()
}

const SMALL: [&str; 3] = ["dir/-rf \u{1F40E} ", "dir/new\\x0aline \\xff", "dir/plain.txt"];

/// `damage`, the file blamed, what it is called without a key and with one ("" where nothing can be seen), what is lost.
#[rstest]
#[case::data_flip(|f: &mut Files| flip(f, P1, DATA, 0), P1, "frame", "frame", &SMALL)]
#[case::data_flip_in_big(|f: &mut Files| flip(f, P1, DATA, 2), P1, "frame", "frame", &["dir/big.bin"])]
#[case::data_delete(|f: &mut Files| delete(f, P1, DATA, 1), P1, "frame", "frame", &SMALL[..1])]
#[case::data_truncate(|f: &mut Files| truncate(f, P2, DATA, 1), P2, "footer", "footer", &["dir/big.bin", "sparse"])]
#[case::data_duplicate(|f: &mut Files| duplicate(f, P1, DATA, 0), P1, "frame", "frame", &[])]
#[case::data_reorder(|f: &mut Files| reorder(f, P1, DATA, 0), P1, "frame", "frame", &SMALL)]
#[case::data_swap_in_pack(|f: &mut Files| swap_in(f, P1, DATA, 2, P1, 3), P1, "sum", "authentication", &["dir/big.bin"])]
#[case::data_swap_packs(|f: &mut Files| swap_in(f, P2, DATA, 1, Q1, 0), Q1, "sum", "authentication", &["dir/big.bin"])]
#[case::entries_flip(|f: &mut Files| flip(f, P1, ENTRIES, 0), P1, "frame", "frame", &SMALL)]
#[case::entries_delete(|f: &mut Files| delete(f, P1, ENTRIES, 1), P1, "frame", "frame", &["dir/big.bin"])]
#[case::entries_duplicate(|f: &mut Files| duplicate(f, P1, ENTRIES, 0), P1, "frame", "frame", &[])]
#[case::commit_flip(|f: &mut Files| flip(f, P1, COMMIT, 0), P1, "frame", "frame", &[])]
#[case::commit_delete(|f: &mut Files| delete(f, P1, COMMIT, 0), P1, "frame", "frame", &[])]
#[case::commit_swap(|f: &mut Files| swap_in(f, P1, COMMIT, 1, P1, 0), P1, "sum", "authentication", &[])]
#[case::footer_flip(|f: &mut Files| flip(f, P1, FOOTER, 0), P1, "footer", "footer", &[])]
#[case::footer_truncate(|f: &mut Files| truncate(f, P1, FOOTER, 0), P1, "footer", "footer", &[])]
#[case::footer_duplicate(|f: &mut Files| duplicate(f, P1, FOOTER, 0), P1, "frame", "frame", &[])]
#[case::footer_swap(|f: &mut Files| swap_in(f, P2, FOOTER, 0, P1, 0), P1, "sum", "authentication", &[])]
#[case::header_flip(|f: &mut Files| bytes(f, P2)[110] ^= 1, P2, "header", "header", &["dir/big.bin", "sparse"])]
#[case::header_of_another_job(|f: &mut Files| other_job(f, P2), P2, "header", "header", &["dir/big.bin", "sparse"])]
#[case::pack_delete(|f: &mut Files| { f.remove(&path(P2)); }, P2, "missing", "missing", &["dir/big.bin", "sparse"])]
#[case::pack_of_another_number(|f: &mut Files| replace(f, P1, P2), P2, "header", "header", &["dir/big.bin", "sparse"])]
#[case::pack_of_another_volume(|f: &mut Files| replace(f, Q1, P2), P2, "header", "header", &["dir/big.bin", "sparse"])]
#[case::pack_rolled_back(|f: &mut Files| roll_back(f, P1), P1, "footer", "footer", &["dir/big.bin"])]
#[case::pack_added(|f: &mut Files| replace(f, P2, "one/packmule/packs/00000003.pack"), "one/packmule/packs/00000003.pack", "unlisted", "unlisted", &[])]
#[case::manifest_flip(|f: &mut Files| flip(f, MANIFEST, ENTRIES, 0), MANIFEST, "frame", "frame", &[])]
#[case::manifest_truncate(|f: &mut Files| truncate(f, MANIFEST, COMMIT, 0), MANIFEST, "footer", "footer", &[])]
#[case::manifest_delete(|f: &mut Files| { f.remove(&path(MANIFEST)); }, MANIFEST, "missing", "missing", &[])]
#[case::manifest_of_another_volume(|f: &mut Files| replace(f, "two/packmule/MANIFEST", MANIFEST), MANIFEST, "header", "header", &[])]
#[case::volume_delete_readme(|f: &mut Files| { f.remove(&path("one/packmule/README.txt")); }, "one/packmule/README.txt", "missing", "missing", &[])]
#[case::volume_header_flip(|f: &mut Files| bytes(f, "one/packmule/VOLUME")[40] ^= 1, "one/packmule/VOLUME", "seal", "seal", &[])]
#[case::sums_flip(|f: &mut Files| bytes(f, "one/packmule/SHA256SUMS")[3] ^= 1, "one/packmule/SHA256SUMS", "seal", "seal", &[])]
#[case::sums_delete(|f: &mut Files| { f.remove(&path("one/packmule/SHA256SUMS")); }, "one/packmule/SHA256SUMS", "missing", "missing", &[])]
#[case::sums_of_another_volume(|f: &mut Files| replace(f, "two/packmule/SHA256SUMS", "one/packmule/SHA256SUMS"), "one/packmule/SHA256SUMS", "seal", "seal", &[])]
#[case::sealed_flip(|f: &mut Files| bytes(f, "one/packmule/SEALED")[20] ^= 1, "one/packmule/SEALED", "seal", "seal", &[])]
#[case::sealed_of_another_volume(|f: &mut Files| replace(f, "two/packmule/SEALED", "one/packmule/SEALED"), "one/packmule/SEALED", "seal", "seal", &[])]
fn damage_is_found_blamed_and_costed(
    #[case] damage: fn(&mut Files),
    #[case] file: &str,
    #[case] keyless: &str,
    #[case] keyed: &str,
    #[case] costs: &[&str],
) {
    let scene = scene();
    let mut files = scene.files;
    damage(&mut files);
    let fs = filled(&files);
    let without = check(&fs, &[ONE, TWO], None).unwrap();
    assert!(has(&without, keyless, file), "without a key: {:#?}", without.findings);
    let with = check(&fs, &[ONE, TWO], Some(&scene.secret)).unwrap();
    assert!(has(&with, keyed, file), "with the key: {:#?}", with.findings);
    if file.ends_with("VOLUME") {
        return; // the whole volume is out of the check then, and says so
    }
    let costs: BTreeSet<String> = costs.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(lost(&with), costs, "{:#?}", with.findings);
}

#[test]
fn a_slot_that_is_cut_or_exchanged_is_found_and_the_other_volume_has_the_key() {
    let scene = scene();
    let (first, second) = (slot(&scene.files, "one"), slot(&scene.files, "two"));
    let edits: [&dyn Fn(&mut Files); 3] = [
        &|files| bytes(files, &first).truncate(50),
        &|files| {
            let last = bytes(files, &first).len() - 1;
            bytes(files, &first)[last] ^= 1;
        },
        &|files| bytes(files, &first).clear(),
    ];
    for edit in edits {
        let mut files = scene.files.clone();
        edit(&mut files);
        let fs = filled(&files);
        let without = check(&fs, &[ONE, TWO], None).unwrap();
        assert!(has(&without, "sum", &first) && !has(&without, "sum", &second), "{:#?}", without.findings);
        let with = check(&fs, &[ONE, TWO], Some(&scene.secret)).unwrap();
        assert!(has(&with, "sum", &first), "{:#?}", with.findings);
        assert_eq!(with.files_whole, scene.contents.len() as u64, "the run's slot on the other volume serves as well");
    }
}

#[test]
fn a_seal_that_is_gone_leaves_an_open_volume_that_is_still_checked() {
    let scene = scene();
    let mut files = scene.files;
    files.remove(&path("one/packmule/SEALED"));
    let report = check(&filled(&files), &[ONE], Some(&scene.secret)).unwrap();
    assert!(report.is_clean() && !report.volumes[0].sealed);
    assert!(report.notes.iter().any(|note| note.contains("open although SHA256SUMS is there")), "{:?}", report.notes);
}

#[test]
fn the_torn_tail_of_an_open_pack_is_a_note_and_damage_before_its_last_commit_a_finding() {
    let scene = scene();
    let mut files = scene.files;
    for name in ["SEALED", "SHA256SUMS", "MANIFEST"] {
        files.remove(&path("one/packmule").join(name));
    }
    let pack = bytes(&mut files, P1);
    let torn = frame(pack, COMMIT, 1).start + 20;
    pack.truncate(torn);
    for key in [None, Some(scene.secret.as_str())] {
        let report = check(&filled(&files), &[ONE], key).unwrap();
        assert!(report.is_clean(), "{:#?}", report.findings);
        assert!(report.notes.iter().any(|note| note.contains("torn tail")), "{:?}", report.notes);
    }
    flip(&mut files, P1, DATA, 0);
    let report = check(&filled(&files), &[ONE], Some(&scene.secret)).unwrap();
    assert!(has(&report, "frame", P1));
    assert_eq!(lost(&report), SMALL.iter().map(|path| (*path).to_owned()).collect());
}

#[test]
fn a_pack_that_was_only_begun_is_a_note_and_no_damage() {
    let scene = scene();
    let mut files = scene.files;
    for name in ["SEALED", "SHA256SUMS", "MANIFEST"] {
        files.remove(&path("one/packmule").join(name));
    }
    for begun in [Vec::new(), vec![0; 4096], vec![7; 100]] {
        files.insert(path("one/packmule/packs/00000003.pack"), begun);
        for key in [None, Some(scene.secret.as_str())] {
            let report = check(&filled(&files), &[ONE], key).unwrap();
            assert!(report.is_clean(), "{:#?}", report.findings);
            assert!(report.notes.iter().any(|note| note.contains("begun when its writer")), "{:?}", report.notes);
        }
    }
}

//! Every single-bit flip of a small sealed volume is found, with a key and without, and laid to the right file and frame.
//!
//! The default run flips one bit of every byte, another one from byte to byte, and samples the bytes that are zero (the
//! rest of headers, padding); `PACKMULE_ALL_BITS=1` flips every bit of every byte.

use std::path::{Path, PathBuf};

use packmule::sys::mem::MemFs;
use packmule::verify::{Finding, Report};

use crate::verify_kit::{Files, ONE, Scene, check, filled, tiny_scene};

/// Of zero bytes, one in so many is flipped in the default run: a prime, so that all bits and places come up.
const ZERO_STEP: usize = 61;
const THREADS: usize = 4;

/// The flips of a file: byte and bit.
fn flips(bytes: &[u8]) -> Vec<(usize, u8)> {
    let all = std::env::var_os("PACKMULE_ALL_BITS").is_some();
    let mut chosen = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if all {
            chosen.extend((0..8).map(|bit| (at, bit)));
        } else if *byte != 0 {
            chosen.push((at, u8::try_from(at % 8).unwrap()));
        } else if at % ZERO_STEP == 0 {
            chosen.push((at, u8::try_from(at / ZERO_STEP % 8).unwrap()));
        }
    }
    chosen
}

/// The frames of a pack, by walking it as the format says: index, first byte, first byte of what follows it.
fn frames(bytes: &[u8]) -> Vec<(u64, usize, usize)> {
    let mut frames = Vec::new();
    let mut at = 4096;
    while at + 32 <= bytes.len() {
        if bytes[at..at + 8] == [0; 8] {
            at = (at / 4096 + 1) * 4096;
            continue;
        }
        let index = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap());
        let body = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
        let end = (at + 32 + usize::try_from(body).unwrap()).next_multiple_of(64);
        frames.push((index.into(), at, end));
        at = end;
    }
    frames
}

/// Whether a finding names the place of the flip.
fn names_it(finding: &Finding, name: &str, contents: &[u8], at: usize) -> bool {
    let in_pack_form = name.starts_with("packs/") || name == "MANIFEST";
    if finding.file != name {
        return false;
    }
    if !in_pack_form {
        return true;
    }
    if at < 4096 {
        return finding.kind.word() == "header";
    }
    let Some(bytes) = finding.bytes else { return false };
    let place = at as u64;
    match frames(contents).iter().find(|(_, from, end)| (*from..*end).contains(&at)) {
        // Inside a frame and its padding: the bytes are named, and the frame (or, for its padding, the next one).
        Some((index, ..)) => {
            let frames = finding.frames.unwrap();
            (bytes.from..bytes.to).contains(&place)
                && (frames.from <= *index && *index < frames.to.max(frames.from + 1) || frames.from == index + 1)
        }
        None => (bytes.from..bytes.to).contains(&place),
    }
}

fn sweep(secret: Option<&str>, scene: &Scene, report_check: impl Fn(&Report, &str, usize) + Sync) -> u64 {
    let files: &Files = &scene.files;
    let mut count = 0;
    for (path, bytes) in files {
        let name = path.strip_prefix(Path::new(ONE).join("packmule")).unwrap().to_str().unwrap();
        let all = flips(bytes);
        // Threads of our own: `verify` waits for rayon's, so it cannot run on one of them.
        std::thread::scope(|scope| {
            for part in all.chunks(all.len().div_ceil(THREADS).max(1)) {
                let report_check = &report_check;
                scope.spawn(move || {
                    let fs = filled(files);
                    for (at, bit) in part {
                        let look = |report: &Report| {
                            let context = format!("{name}, byte {at}, bit {bit}, key {}", secret.is_some());
                            assert!(!report.is_clean(), "{context}: nothing was found");
                            let named = report.findings.iter().any(|finding| names_it(finding, name, bytes, *at));
                            assert!(named, "{context}: {:#?}", report.findings);
                            report_check(report, name, *at);
                        };
                        one_flip(&fs, path, bytes, (*at, *bit), look, secret);
                    }
                });
            }
        });
        count += all.len() as u64;
    }
    count
}

fn one_flip(
    fs: &MemFs,
    path: &Path,
    good: &[u8],
    (at, bit): (usize, u8),
    look: impl Fn(&Report),
    secret: Option<&str>,
) {
    let mut bad = good.to_vec();
    bad[at] ^= 1 << bit;
    fs.put_file(path, &bad).unwrap();
    let report = check(fs, &[ONE], secret).unwrap_or_else(|error| panic!("{}, byte {at}: {error}", path.display()));
    look(&report);
    fs.put_file(path, good).unwrap();
}

#[test]
fn every_flipped_bit_is_found_without_a_key() {
    let scene = tiny_scene();
    let count = sweep(None, &scene, |_, _, _| {});
    eprintln!("{count} single-bit flips, each found without a key");
    assert!(count > 3_000, "{count}");
}

#[test]
fn every_flipped_bit_is_found_with_the_key_and_costs_what_it_costs() {
    let scene = tiny_scene();
    let data: Vec<(u64, usize, usize)> = {
        let pack = &scene.files[&PathBuf::from("/one/packmule/packs/00000001.pack")];
        frames(pack).into_iter().filter(|(_, from, _)| pack[from + 8] == 1).collect()
    };
    assert_eq!(data.len(), 3);
    let count = sweep(Some(&scene.secret), &scene, |report, name, at| {
        if name == "packs/00000001.pack"
            && let Some((index, from, _)) = data.iter().find(|(_, from, end)| (*from..*end).contains(&at))
        {
            let pack_bytes = &scene.files[&PathBuf::from("/one/packmule/packs/00000001.pack")];
            let body = u32::from_le_bytes(pack_bytes[from + 16..from + 20].try_into().unwrap());
            let in_padding = at >= from + 32 + usize::try_from(body).unwrap();
            let lost: Vec<_> = report.lost().map(|lost| (lost.path.as_str(), lost.bytes.from, lost.bytes.to)).collect();
            let expected: Vec<(&str, u64, u64)> = match index {
                _ if in_padding => vec![],
                0 => vec![("a", 0, 90)],
                2 | 3 => vec![],
                _ => vec![("b\\xff", u64::from(index % 3 > 1) * 64, 128)],
            };
            if *index == 0 || in_padding {
                assert_eq!(lost, expected, "byte {at}");
            } else {
                assert!(lost.iter().all(|(path, ..)| *path == "b\\xff") && lost.len() == 1, "byte {at}: {lost:?}");
            }
        }
    });
    eprintln!("{count} single-bit flips, each found with the key");
    assert!(count > 3_000, "{count}");
}

//! Damage costs what it hits and nothing else: any header of any frame of a sealed volume is broken in each of its fields,
//! and everything that lay in other frames comes back; what is lost is told by name. And what was staged again on another
//! volume is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use packmule::extract::extract;
use packmule::format::record::{Content, Record};
use packmule::stage::{Silent, stage};
use packmule::sys::mem::{CrashKeep, MemFs};
use packmule::sys::{Access, Fs};
use packmule::volume::{Keyring, Volume};

use crate::sweep_kit::{DRIVES, Scene};
use crate::{extract_kit, tree};

/// A frame of a pack: where it begins, its kind, the files that need it.
struct Frame {
    pack: u32,
    at: usize,
    kind: u8,
    index: u32,
    files: BTreeSet<String>,
}

fn opened(scene: &Scene, fs: &MemFs, drive: &str) -> (Volume, Keyring) {
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let volume = Volume::open(shared, Path::new(drive)).unwrap();
    let keyring = Keyring::open(&volume, &scene.identities()).unwrap();
    (volume, keyring)
}

fn pack_path(number: u32) -> String {
    format!("{}/packmule/packs/{number:08}.pack", DRIVES[0])
}

/// Every frame of the packs of the first drive.
fn frames(scene: &Scene, fs: &MemFs) -> Vec<Frame> {
    let (volume, keyring) = opened(scene, fs, DRIVES[0]);
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    let packs = volume.packs().unwrap();
    let indexes: Vec<_> = packs
        .iter()
        .map(|number| volume.open_pack(*number, Access::Buffered).unwrap().index(&keyring).unwrap())
        .collect();
    for record in indexes.iter().flat_map(|index| &index.records) {
        if let Record::Entry(entry) = record {
            names.insert(entry.id, String::from_utf8(entry.path.clone()).unwrap());
        }
    }
    let mut frames = Vec::new();
    for (pack, index) in packs.into_iter().zip(indexes) {
        let bytes = fs.contents(Path::new(&pack_path(pack))).unwrap();
        let mut at = 4096;
        while at + 32 <= bytes.len() {
            if bytes[at..at + 8] == [0; 8] {
                at = (at / 4096 + 1) * 4096;
                continue;
            }
            let number = u32::from_le_bytes(bytes[at + 12..at + 16].try_into().unwrap());
            let body = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
            let needs = |content: &Content| match content {
                Content::Stored(pieces) => pieces.iter().any(|piece| piece.frame == number),
                Content::Hole => false,
            };
            let files = index.extents().filter(|extent| needs(&extent.content)).map(|extent| names[&extent.id].clone());
            frames.push(Frame { pack, at, kind: bytes[at + 8], index: number, files: files.collect() });
            at = (at + 32 + usize::try_from(body).unwrap()).next_multiple_of(64);
        }
    }
    frames
}

/// Name of the entry of a line of a description, without what it says of hard links.
fn name(line: &str) -> &str {
    line.split_once(": ").unwrap().0
}

#[test]
fn one_bad_frame_header_costs_what_its_frame_held_and_nothing_behind_it() {
    let scene = Scene::new();
    let whole = scene.empty();
    scene.load(&whole);
    assert!(scene.stage(&whole, 3, &DRIVES[..1], &Arc::default()).unwrap().is_complete);
    let expected = tree::describe(&scene.source());
    let frames = frames(&scene, &whole);
    assert!(frames.len() > 20, "{}", frames.len());
    let fields: [(&str, usize); 6] =
        [("mark", 3), ("kind", 8), ("index", 13), ("length", 16), ("length", 18), ("checksum", 26)];
    let is_full = std::env::var("PACKMULE_SWEEP").is_ok_and(|value| value == "full");
    let target = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for (number, frame) in frames.iter().enumerate() {
        for (which, (field, byte)) in fields.into_iter().enumerate() {
            if !is_full && !(number + which).is_multiple_of(5) {
                continue;
            }
            let context = format!("{field} of frame {} of kind {} in pack {}", frame.index, frame.kind, frame.pack);
            let fs = whole.crash(CrashKeep::All);
            let path = pack_path(frame.pack);
            let mut bytes = fs.contents(Path::new(&path)).unwrap();
            // In `kind` a flip that gives another kind that there is.
            bytes[frame.at + byte] ^=
                if field == "kind" { if frame.kind == 1 { 3 } else { frame.kind ^ 1 } } else { 0x11 };
            fs.put_file(Path::new(&path), &bytes).unwrap();
            let back = target.path().join(format!("{number}-{which}"));
            let mut options = extract_kit::options();
            options.owner = true;
            let outcome =
                extract(&[opened(&scene, &fs, DRIVES[0])], &back, &options, &packmule::monitor::Silent).unwrap();
            assert!(!outcome.problems.is_empty(), "{context}: damage is told");
            let told: BTreeSet<String> = outcome
                .problems
                .iter()
                .filter_map(|problem| problem.path.clone())
                .map(|path| String::from_utf8(path).unwrap())
                .collect();
            // A hard link to a file that is lost is lost with it.
            let mut costs = frame.files.clone();
            if costs.contains("deep/file 3") {
                costs.insert("second name".to_owned());
            }
            if costs.contains("second name") {
                costs.insert("deep/file 3".to_owned());
            }
            // A hole needs no frame but its record: the sparse file loses an extent where that was in the frame.
            if frame.kind == 2 {
                costs.insert("sparse".to_owned());
            }
            assert!(told.is_subset(&costs), "{context}: {:#?}", outcome.problems);
            assert!(frame.files.is_subset(&told), "{context}: {costs:?} lost, {:#?}", outcome.problems);
            let found: BTreeSet<String> = tree::describe(&back).into_iter().collect();
            let missing: Vec<&String> =
                expected.iter().filter(|line| !found.contains(*line) && !costs.contains(name(line))).collect();
            assert!(missing.is_empty(), "{context}: {missing:#?}, {:#?}", outcome.problems);
            std::fs::remove_dir_all(&back).unwrap();
            tried += 1;
        }
    }
    eprintln!("{tried} headers broken in {} frames, each costing what its frame held", frames.len());
}

#[test]
fn a_pack_whose_header_is_gone_costs_its_own_files_and_each_is_named() {
    let scene = Scene::new();
    let fs = scene.empty();
    scene.load(&fs);
    assert!(scene.stage(&fs, 3, &DRIVES[..1], &Arc::default()).unwrap().is_complete);
    let frames = frames(&scene, &fs);
    let costs: BTreeSet<&String> =
        frames.iter().filter(|frame| frame.pack == 1).flat_map(|frame| &frame.files).collect();
    fs.put_file(Path::new(&pack_path(1)), &vec![0; 400_000]).unwrap();
    let target = tempfile::tempdir().unwrap();
    let back = target.path().join("back");
    let outcome =
        extract(&[opened(&scene, &fs, DRIVES[0])], &back, &extract_kit::options(), &packmule::monitor::Silent).unwrap();
    let told: Vec<String> =
        outcome.problems.iter().filter_map(|p| p.path.clone()).map(|path| String::from_utf8(path).unwrap()).collect();
    assert!(costs.iter().all(|path| told.contains(path)), "{costs:?}: {told:?}");
    let found = tree::describe(&back);
    for line in tree::describe(&scene.source()) {
        let is_there = found.iter().any(|found| name(found) == name(&line));
        assert!(is_there || told.iter().any(|told| told == name(&line)), "{line}: neither there nor told: {told:?}");
    }
}

#[test]
fn what_repair_staged_on_another_volume_is_not_lost() {
    let scene = Scene::new();
    let fs = scene.empty();
    scene.load(&fs);
    assert!(scene.stage(&fs, 3, &DRIVES[..1], &Arc::default()).unwrap().is_complete);
    let hit = frames(&scene, &fs).into_iter().find(|frame| frame.files.contains("deep/er/large")).unwrap();
    let path = pack_path(hit.pack);
    let mut bytes = fs.contents(Path::new(&path)).unwrap();
    bytes[hit.at + 100] ^= 1;
    fs.put_file(Path::new(&path), &bytes).unwrap();
    let alone = scene.verify(&fs, &DRIVES[..1]);
    assert!(alone.lost().any(|lost| lost.path == "deep/er/large"), "{alone:#?}");
    let mut options = scene.options(&DRIVES[1..2]);
    options.repair = vec![DRIVES[0].into()];
    assert!(stage(options, &Scene::world(&fs, 6), Arc::new(Silent)).unwrap().is_complete);
    let both = scene.verify(&fs, &DRIVES[..2]);
    assert!(!both.is_clean(), "the first drive is damaged all the same");
    assert_eq!(both.lost().count(), 0, "and nothing is lost by it: {:#?}", both.findings);
    assert!(both.findings.iter().any(|finding| finding.text.contains("whole elsewhere")), "{:#?}", both.findings);
    assert_eq!(both.not_here, 0, "{both:#?}");
    scene.assert_comes_back_from_damaged(&fs, &DRIVES[..2], "both volumes");
}

//! Rules of the format that need a whole volume to be shown: who may write, what is refused, what contradicts what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::crypto::RunKey;
use packmule::format::record::{Content, Deleted, Entry, Record};
use packmule::format::{FRAME_HEADER_BYTES, FrameKind, Inner};
use packmule::sys::mem::MemFs;
use packmule::sys::{Access, Fs};
use packmule::verify::Report;
use packmule::volume::{
    Error, Keyring, PackWriter, RECORDS_PER_PACK_MAX, SealedFrame, Volume, pack_path, recover_packs,
};

use crate::verify_kit::{ONE, TWO, check, collect, extent, filled, noise, put_frames, scene};
use crate::volume_kit::{Kit, commit, entry, put_file};

fn kit(seed: u64) -> (Arc<MemFs>, Kit) {
    let fs = MemFs::new();
    fs.make_dirs(Path::new(ONE)).unwrap();
    let fs = Arc::new(fs);
    let kit = Kit::new(Arc::clone(&fs) as Arc<dyn Fs>, seed);
    (fs, kit)
}

/// A sealed volume of one pack with one group; the manifest as given.
fn sealed_with(
    seed: u64,
    group: impl FnOnce(&mut PackWriter) -> Vec<Record>,
    in_manifest: impl FnOnce(Vec<Record>) -> Vec<Record>,
) -> Report {
    let (fs, kit) = kit(seed);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let mut writer = kit.pack(&volume, 1, Access::Direct).unwrap();
    let records = group(&mut writer);
    drop(commit(&mut writer, records.clone()).unwrap());
    let state = kit.finish(writer).unwrap();
    let numbered = records.into_iter().map(|record| match record {
        Record::Extent(mut extent) => {
            extent.pack = u32::from(extent.content != Content::Hole);
            Record::Extent(extent)
        }
        other => other,
    });
    kit.seal(&volume, &[state], in_manifest(numbered.collect())).unwrap();
    check(&fs, &[ONE], Some(&kit.secret)).unwrap()
}

fn texts(report: &Report) -> String {
    report.findings.iter().map(|finding| format!("{}: {}\n", finding.kind.word(), finding.text)).collect()
}

#[test]
fn a_check_writes_nothing() {
    let scene = scene();
    let fs = filled(&scene.files);
    let before = fs.operation_count();
    check(&fs, &[ONE, TWO], None).unwrap();
    check(&fs, &[ONE, TWO], Some(&scene.secret)).unwrap();
    assert_eq!(fs.operation_count(), before);
    assert_eq!(collect(&fs, &[ONE, TWO]), scene.files);
}

#[test]
fn a_medium_that_gives_back_other_bytes_is_never_sealed() {
    let (fs, kit) = kit(1);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let mut writer = kit.pack(&volume, 1, Access::Direct).unwrap();
    let records = put_file(&mut writer, 1, b"a", &noise(1, 500)).unwrap();
    drop(commit(&mut writer, records.clone()).unwrap());
    let state = kit.finish(writer).unwrap();
    let path = pack_path(volume.root(), 1);
    let mut bytes = fs.contents(&path).unwrap();
    bytes[4200] ^= 1;
    fs.put_file(&path, &bytes).unwrap();
    let error = kit.seal(&volume, &[state], records).unwrap_err();
    assert!(matches!(error, Error::ReadBack { .. }), "{error}");
    assert!(!volume.is_sealed().unwrap());
}

#[test]
fn more_slots_than_a_volume_may_have_are_refused() {
    let (fs, kit) = kit(2);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    for n in 0..65_536_u32 {
        fs.put_file(&volume.root().join(format!("slots/{n:032x}.age")), b"").unwrap();
    }
    assert!(matches!(volume.slots(), Err(Error::Limit { limit: 65_536, .. })));
}

#[test]
fn a_seal_or_slot_longer_than_64_kib_is_refused_before_it_is_read() {
    let (fs, kit) = kit(3);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let run = kit.run.run();
    fs.put_file(&volume.slot_path(run), &vec![b'a'; (64 << 10) + 1]).unwrap();
    fs.put_file(&volume.root().join("SEALED"), &vec![b'a'; (64 << 10) + 1]).unwrap();
    assert!(matches!(volume.read_slot(run), Err(Error::Limit { limit: 65_536, .. })));
    assert!(matches!(volume.sealed(), Err(Error::Limit { limit: 65_536, .. })));
}

#[test]
fn a_frame_that_decompresses_to_more_than_it_says_is_stopped() {
    let report = sealed_with(
        4,
        |writer| {
            let key = Arc::clone(writer.sealing());
            let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
            let mut bytes = vec![0; FRAME_HEADER_BYTES];
            bytes.extend_from_slice(&Inner { zstd: true, plain_bytes: 100 }.encode());
            bytes.extend_from_slice(&bomb);
            let header = key.seal(key.ticket().unwrap(), FrameKind::Data, &mut bytes).unwrap();
            let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: 100, record_count: 0 };
            assert!(writer.push(frame).unwrap().is_none());
            Vec::new()
        },
        |records| records,
    );
    assert!(texts(&report).contains("content: frame 0 does not decompress"), "{}", texts(&report));
}

#[test]
fn extents_with_a_gap_or_an_overlap_are_reported_and_the_file_is_not_whole() {
    for (second_at, what) in [(192, "a gap"), (64, "an overlap")] {
        let report = sealed_with(
            5,
            |writer| {
                let whole = noise(6, 320);
                let first = put_frames(writer, &whole[..128], 128);
                let second = put_frames(writer, &whole[second_at..], 256);
                vec![
                    Record::Extent(extent(1, &whole, 0, 128, Content::Stored(first))),
                    Record::Extent(extent(1, &whole, second_at, 320 - second_at, Content::Stored(second))),
                    Record::Entry(Entry { extent_count: 2, ..entry(1, b"torn", &whole) }),
                ]
            },
            |records| records,
        );
        assert!(texts(&report).contains(&format!("file: torn: {what}")), "{}", texts(&report));
        assert_eq!(report.files_whole, 0);
    }
}

#[test]
fn a_file_whose_digest_is_not_that_of_its_extents_is_reported() {
    let report = sealed_with(
        7,
        |writer| {
            let body = noise(8, 100);
            let pieces = put_frames(writer, &body, 100);
            let mut said = entry(1, b"other", &body);
            said.sha256[0] ^= 1;
            let made = extent(1, &body, 0, 100, Content::Stored(pieces));
            let made = packmule::format::record::Extent { states: None, ..made };
            vec![Record::Extent(made), Record::Entry(said)]
        },
        |records| records,
    );
    assert!(texts(&report).contains("file: other: its SHA-256"), "{}", texts(&report));
}

#[test]
fn an_extent_that_points_outside_its_frames_or_lies_about_its_bytes_is_reported() {
    type Edit = fn(&mut packmule::format::record::Extent);
    let edits: [(Edit, &str); 3] = [
        (
            |e| e.content = Content::Stored(vec![packmule::format::record::Piece { frame: 0, at: 50, bytes: 100 }]),
            "lies outside frame 0",
        ),
        (
            |e| e.content = Content::Stored(vec![packmule::format::record::Piece { frame: 7, at: 0, bytes: 100 }]),
            "frame 7 is no data frame of its pack",
        ),
        (|e| e.crc64.0 ^= 1, "its CRC-64 is"),
    ];
    for (edit, text) in edits {
        let report = sealed_with(
            9,
            |writer| {
                let body = noise(10, 100);
                let pieces = put_frames(writer, &body, 100);
                let mut made = extent(1, &body, 0, 100, Content::Stored(pieces));
                made.states = None;
                edit(&mut made);
                vec![Record::Extent(made), Record::Entry(entry(1, b"a", &body))]
            },
            |records| records,
        );
        assert!(texts(&report).contains(text), "{text}: {}", texts(&report));
        assert_eq!(report.files_whole, 0);
    }
}

#[test]
fn a_manifest_that_disagrees_with_the_packs_is_reported() {
    let group = |writer: &mut PackWriter| put_file(writer, 1, b"a", &noise(11, 100)).unwrap();
    let lacks = sealed_with(12, group, |records| records[..1].to_vec());
    assert!(texts(&lacks).contains("manifest: it lacks the entry of a, in pack 1"), "{}", texts(&lacks));
    let more = sealed_with(12, group, |mut records| {
        records.push(Record::Entry(entry(2, b"ghost", b"")));
        records
    });
    assert!(texts(&more).contains("manifest: it holds the entry of ghost, which no pack has"), "{}", texts(&more));
    let clean = sealed_with(12, group, |records| records);
    assert!(clean.is_clean(), "{}", texts(&clean));
}

#[test]
fn two_different_entries_of_one_generation_are_reported() {
    let report = sealed_with(
        13,
        |writer| {
            let mut records = put_file(writer, 1, b"a", &noise(14, 100)).unwrap();
            let Record::Entry(mut twin) = records[1].clone() else { unreachable!() };
            twin.mode = 0o600;
            records.push(Record::Entry(twin));
            records
        },
        |records| records,
    );
    assert!(
        texts(&report).contains("duplicate: a: another record of entry 1, generation 1, differs"),
        "{}",
        texts(&report)
    );
}

#[test]
fn a_pack_with_more_records_than_allowed_is_refused() {
    let (_, kit) = kit(15);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let mut writer = kit.pack(&volume, 1, Access::Buffered).unwrap();
    let records: Vec<Record> = (1..=RECORDS_PER_PACK_MAX + 1)
        .map(|id| Record::Deleted(Deleted { id, generation: 1, path: b"x".to_vec() }))
        .collect();
    drop(commit(&mut writer, records).unwrap());
    kit.finish(writer).unwrap();
    let keyring = Keyring::open(&volume, &kit.identities()).unwrap();
    let error = volume.open_pack(1, Access::Buffered).unwrap().index(&keyring).unwrap_err();
    assert!(matches!(error, Error::Limit { what: "number of records", .. }), "{error}");
}

/// A pack with three commits; gives its states after the first and the last.
fn three_commits(kit: &Kit, volume: &Volume) -> Vec<packmule::volume::PackState> {
    let mut writer = kit.pack(volume, 1, Access::Direct).unwrap();
    let mut states = Vec::new();
    for id in 1..=3 {
        let records = put_file(&mut writer, id, format!("f{id}").as_bytes(), &noise(id, 300)).unwrap();
        states.push(commit(&mut writer, records).unwrap().state);
    }
    states
}

#[test]
fn a_database_older_than_the_volume_is_refused_and_nothing_is_cut() {
    let (fs, kit) = kit(16);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let states = three_commits(&kit, &volume);
    let before = collect(&fs, &[ONE]);
    let run = RunKey::fresh(&kit.random);
    let error = recover_packs(&volume, &states[..1], &run, &kit.random).unwrap_err();
    assert!(matches!(error, Error::NewerThanJob { .. }), "{error}");
    assert_eq!(collect(&fs, &[ONE]), before);
}

#[test]
fn a_medium_that_lost_what_was_committed_is_reported_and_nothing_is_written() {
    let (fs, kit) = kit(17);
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let states = three_commits(&kit, &volume);
    let path: PathBuf = pack_path(volume.root(), 1);
    let bytes = fs.contents(&path).unwrap();
    let last = states.last().unwrap();
    fs.put_file(&path, &bytes[..usize::try_from(last.committed_bytes).unwrap() - 4096]).unwrap();
    let before = collect(&fs, &[ONE]);
    let run = RunKey::fresh(&kit.random);
    let error = recover_packs(&volume, &states[2..], &run, &kit.random).unwrap_err();
    assert!(matches!(error, Error::LostCommit { .. }), "{error}");
    assert_eq!(collect(&fs, &[ONE]), before);
}

#[test]
fn a_sector_that_cannot_be_read_costs_its_frames_and_not_the_pack() {
    use packmule::sys::World;
    use packmule::sys::fault::{Fault, FaultFs, FaultRule};
    use packmule::sys::fs::OpKind;
    use packmule::verify::{FindingKind, Options, verify};
    const EIO: i32 = 5;
    let scene = scene();
    let faulty = FaultFs::new(Arc::new(filled(&scene.files)));
    // Reads of the pack: its header, one large read that fails, then block by block, of which the second fails.
    let broken = || FaultRule::new(OpKind::Read, Fault::Errno(EIO)).path("one/packmule/packs/00000001.pack");
    faulty.add(broken().nth(2));
    faulty.add(broken().nth(4));
    let world = World { fs: Arc::new(faulty.clone()), ..World::real() };
    let identities = Some(crate::verify_kit::identities(&scene.secret));
    let options = Options { identities, all_sums: false, memory_bytes: 64 << 20, signed_by: None };
    let report =
        verify(&world, &[PathBuf::from(ONE), PathBuf::from(TWO)], &options, &packmule::monitor::Silent).unwrap();
    faulty.assert_all_exercised();
    let unreadable = report.findings.iter().find(|finding| finding.kind == FindingKind::Unreadable).unwrap();
    assert_eq!(unreadable.bytes.map(|bytes| (bytes.from, bytes.to)), Some((4096, 8192)));
    assert!(report.lost().all(|lost| lost.path != "dir/big.bin"), "the second group is whole: {:#?}", report.findings);
    assert!(report.lost().any(|lost| lost.path == "dir/plain.txt"));
}

/// A pack in which a file begins before a commit and ends after it, as any large file does.
fn over_a_commit(kit: &Kit) {
    let volume = kit.volume(Path::new(ONE), 1).unwrap();
    let mut writer = kit.pack(&volume, 1, Access::Direct).unwrap();
    let long = noise(5, 40_000);
    let mut pieces = put_frames(&mut writer, &long[..20_000], 4096);
    let small = put_file(&mut writer, 1, b"small", &noise(6, 300)).unwrap();
    drop(commit(&mut writer, small).unwrap());
    pieces.extend(put_frames(&mut writer, &long[20_000..], 4096));
    let whole = extent(2, &long, 0, long.len(), Content::Stored(pieces));
    drop(commit(&mut writer, vec![Record::Extent(whole), Record::Entry(entry(2, b"long", &long))]).unwrap());
    kit.finish(writer).unwrap();
}

#[test]
fn a_file_that_goes_over_a_commit_is_read_once_where_memory_allows_and_again_where_not() {
    use packmule::sys::World;
    use packmule::sys::fault::{Fault, FaultFs, FaultRule};
    use packmule::sys::fs::OpKind;
    use packmule::verify::{Options, verify};
    let (fs, kit) = kit(18);
    over_a_commit(&kit);
    let checked = |memory_bytes| {
        let faulty = FaultFs::new(Arc::clone(&fs) as Arc<dyn Fs>);
        // Opening the pack a second time takes no time at all, and is noticed.
        let again =
            FaultRule::new(OpKind::OpenRead, Fault::Delay(std::time::Duration::ZERO)).path("00000001.pack").nth(2);
        faulty.add(again);
        let world = World { fs: Arc::new(faulty.clone()), ..World::real() };
        let identities = Some(crate::verify_kit::identities(&kit.secret));
        let options = Options { identities, all_sums: false, memory_bytes, signed_by: None };
        let report = verify(&world, &[PathBuf::from(ONE)], &options, &packmule::monitor::Silent).unwrap();
        assert_eq!((report.findings.len(), report.files_whole), (0, 2), "{}", texts(&report));
        faulty.unexercised().is_empty()
    };
    assert!(!checked(64 << 20), "the pack was opened again though there was room for its frames");
    assert!(checked(40_000), "without room for what was opened it must be read again, or it was not checked");
    assert!(checked(1000), "without room for any frame all are read again");
}

//! The corpora of the fuzz targets, replayed on the ordinary toolchain: an input that once broke something never does again.
//!
//! `PACKMULE_WRITE_CORPUS=1` writes the seeds anew.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

use packmule::digest::Crc64;
use packmule::format::record::{Content, Piece, Problem, ProblemCode, Record};
use packmule::format::{
    Commit, CustodyEntry, Footer, FooterReason, FrameHeader, FrameKind, Inner, JobId, PackHeader, PackKind, ReadBack,
    RunId, SealSignature, Sealed, SlotRecipient, SlotText, SumLine, VolumeHeader, VolumeId, render_custody,
    render_sums,
};

use crate::verify_kit::{begin, extent, noise, other};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

#[test]
fn every_input_of_every_corpus_gives_a_value_or_an_error() {
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for item in std::fs::read_dir(corpus(name)).unwrap() {
            target(&std::fs::read(item.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

#[test]
fn every_seed_with_any_bit_flipped_or_cut_anywhere_gives_a_value_or_an_error() {
    for (name, target) in targets::TARGETS {
        for item in std::fs::read_dir(corpus(name)).unwrap() {
            let good = std::fs::read(item.unwrap().path()).unwrap();
            // Those that work on whole files take a thousand times as long for each input.
            let step = if ["pack", "catalogue", "job_file", "envelope"].contains(&name) { 499 } else { 1 };
            for bit in (0..good.len().min(600) * 8).step_by(step) {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                target(&bad);
            }
            for end in (0..good.len().min(600)).step_by(step) {
                target(&good[..end]);
            }
        }
    }
}

/// A plain mutating fuzzer, for machines without libFuzzer: `PACKMULE_FUZZ_SECONDS=600 cargo test --test it -- corpus`
/// gives each target so many seconds of inputs made from its corpus, and says how many those were.
#[test]
fn mutated_inputs_give_a_value_or_an_error_for_as_long_as_asked() {
    let seconds = std::env::var("PACKMULE_FUZZ_SECONDS").ok().and_then(|text| text.parse::<f64>().ok());
    let only = std::env::var("PACKMULE_FUZZ_TARGET").ok();
    let time = std::time::Duration::from_secs_f64(seconds.unwrap_or(0.05));
    for (name, target) in targets::TARGETS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
    {
        let seeds: Vec<Vec<u8>> =
            std::fs::read_dir(corpus(name)).unwrap().map(|item| std::fs::read(item.unwrap().path()).unwrap()).collect();
        let mut random = Random(std::process::id().into());
        let (start, mut count) = (std::time::Instant::now(), 0_u64);
        while start.elapsed() < time {
            let input = random.mutated(&seeds);
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{name} panics on {}", input.escape_ascii());
            count += 1;
        }
        eprintln!("{name}: {count} inputs in {:?}", start.elapsed());
    }
}

/// A small generator of numbers (splitmix64), enough to choose mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap()
    }

    /// One of the seeds with a few changes: bits, bytes, extreme numbers, cuts, repeats, pieces of another.
    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(6) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => {
                    let value = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 32, 0xFFFF_FFFF][self.below(6)].to_le_bytes();
                    let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at.min(bytes.len()));
                    bytes[at..at + width].copy_from_slice(&value[..width]);
                }
                3 => bytes.truncate(at),
                4 => {
                    let end = at + self.below(bytes.len() - at.min(bytes.len()) + 1);
                    let piece = bytes[at.min(bytes.len())..end.min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => bytes.push(u8::try_from(self.below(256)).unwrap()),
            }
        }
        bytes.truncate(4096);
        bytes
    }
}

#[test]
fn the_seeds_are_written_when_they_are_asked_for() {
    if std::env::var_os("PACKMULE_WRITE_CORPUS").is_none() {
        return;
    }
    for (target, name, bytes) in seeds() {
        std::fs::create_dir_all(corpus(target)).unwrap();
        std::fs::write(corpus(target).join(name), bytes).unwrap();
    }
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut seeds = headers();
    let mut frame = vec![0; 32];
    frame.extend_from_slice(&[7; 100]);
    FrameHeader::write(FrameKind::Data, 3, &mut frame).unwrap();
    seeds.push(("frame", "data", frame));
    seeds.push(("frame", "stored", [&Inner { zstd: false, plain_bytes: 3 }.encode()[..], b"abc"].concat()));
    let commit = Commit {
        first_index: 1,
        frame_count: 2,
        at: 4096,
        data_plain_bytes: 4,
        record_count: 5,
        number: 1,
        chain: [7; 32],
    };
    seeds.push(("commit", "commit", commit.encode()));
    let footer = Footer {
        frame_count: 3,
        commit_count: 1,
        at: 8192,
        data_plain_bytes: 4,
        record_count: 5,
        chain: [6; 32],
        reason: FooterReason::Complete,
    };
    seeds.push(("commit", "footer", footer.encode()));
    seeds.push(("record", "all", records()));
    let slot = SlotText {
        job: JobId([0x11; 16]),
        run: RunId([0x22; 16]),
        key: zeroize::Zeroizing::new([0x33; 32]),
        recipients: vec![SlotRecipient::of("age1x")],
    };
    seeds.push(("slot", "slot", slot.encode().as_bytes().to_vec()));
    let lines = ["README.txt", "VOLUME", "packs/00000001.pack", "MANIFEST"];
    let lines: Vec<SumLine> = lines.iter().map(|path| SumLine { sha256: [9; 32], path: (*path).to_owned() }).collect();
    seeds.push(("seal", "sums", render_sums(&lines).into_bytes()));
    let sealed = Sealed {
        job: JobId([1; 16]),
        volume: VolumeId([2; 16]),
        number: 1,
        packs: 1,
        bytes: 99,
        sealed_at: "2026-11-23T00:00:00Z".to_owned(),
        read_back: ReadBack::Direct,
        sums_sha256: [3; 32],
        signature: Some(SealSignature { merkle_root: [4; 32], custody: [5; 32], key: [6; 32], signature: [7; 64] }),
    };
    seeds.push(("seal", "sealed", sealed.encode().into_bytes()));
    seeds.push(("unlock_code", "code", b"PACKM-0VES0-N0RD1-NARYD-R1VQK".to_vec()));
    seeds.push(("unlock_code", "typed", b"packm oveso nordi naryd rivqk\n".to_vec()));
    let chunk = |kind: u8, plain: &[u8]| {
        let length = u16::try_from(plain.len()).unwrap().to_le_bytes();
        [&[kind], &length[..], plain].concat()
    };
    let pack = [chunk(0, &[2; 200]), chunk(1, &records()), chunk(4, b""), chunk(1, &records()), chunk(4, b"")].concat();
    seeds.push(("pack", "two-commits", pack));
    seeds.push(("dataset", "empty", b"schema = 1\n".to_vec()));
    let written = packmule::plan::dataset::DatasetFile::default().to_toml().unwrap();
    seeds.push(("dataset", "default", written.into_bytes()));
    let assumption = "[[assumption]]\nid = \"file-cost\"\nfigure = { value = \"0.05\", unit = \"s\" }\n";
    seeds.push(("catalogue", "assumption", assumption.as_bytes().to_vec()));
    seeds.push((
        "job_file",
        "made",
        b"job = \"/data/job\"\n[stage]\nvolume = [\"/mnt/a\", \"/mnt/b\"]\nthreads = 4\n".to_vec(),
    ));
    seeds.push(("job_file", "wrong", b"volume = { a = 1979-05-27 }\n[erase]\nyes = true\n".to_vec()));
    let person = packmule::crypto::new_identity(&packmule::sys::random::SeededRandom::new(7)).unwrap();
    let run = packmule::crypto::RunKey::fresh(&packmule::sys::random::SeededRandom::new(8));
    let recipients = packmule::crypto::Recipients::parse([person.recipient.as_str()]).unwrap();
    let sealed = packmule::crypto::seal_slot(JobId([0x11; 16]), &run, &recipients).unwrap();
    seeds.push(("envelope", "x25519", sealed));
    let first = CustodyEntry {
        job: JobId([1; 16]),
        volume: 1,
        at_ns: 1_800_000_000_000_000_000,
        kind: "handed-over".to_owned(),
        by: "lab".to_owned(),
        detail: "to the courier".to_owned(),
        before: Vec::new(),
        key: [2; 32],
        signature: [3; 64],
    };
    let second = CustodyEntry { before: vec![first.hash()], kind: "received".to_owned(), ..first.clone() };
    seeds.push(("custody", "two", render_custody([first, second].iter()).into_bytes()));
    seeds.push(("path", "hostile", b"dir/new\nline \xff\\ \xe2\x80\xae".to_vec()));
    seeds.push(("path", "outside", b"../../etc/passwd".to_vec()));
    seeds
}

fn headers() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let volume = VolumeHeader {
        may_ignore: 0,
        job: JobId([1; 16]),
        volume: VolumeId([2; 16]),
        number: 3,
        created_ns: 4,
        job_salt: [5; 32],
        job_public_key: [6; 32],
    };
    let pack = PackHeader {
        kind: PackKind::Pack,
        may_ignore: 0,
        job: JobId([1; 16]),
        volume: VolumeId([2; 16]),
        volume_number: 3,
        number: 4,
        run: RunId([5; 16]),
        frame_plain_bytes_max: 65536,
        created_ns: 6,
        salt: [7; 32],
        key_commitment: [8; 32],
    };
    vec![("header", "volume", volume.encode()), ("header", "pack", pack.encode())]
}

fn records() -> Vec<u8> {
    use packmule::format::record::{EntryType, PackRecord, Summary};
    let whole = noise(1, 128);
    let piece = Piece { frame: 1, at: 0, bytes: 128 };
    let pack = PackRecord {
        number: 1,
        frame_count: 2,
        file_bytes: 3,
        crc64: Crc64(4),
        commit_count: 5,
        reason: FooterReason::Cut,
        run: RunId([6; 16]),
    };
    let problem = Problem { id: 0, code: ProblemCode::Vanished, errno: 2, path: b"gone".to_vec(), text: "gone".into() };
    let records = [
        other(1, b"dir", EntryType::Directory, b"", 0),
        other(2, b"dir/link", EntryType::Symlink, b"target", 0),
        Record::Entry(crate::volume_kit::entry(3, b"file", &whole)),
        begin(3, b"file", 128),
        Record::Extent(extent(3, &whole, 0, 128, Content::Stored(vec![piece]))),
        Record::Problem(problem),
        Record::Pack(pack),
        Record::Summary(Summary { entries: 3, extents: 1, problems: 1, content_bytes: 128, packs: 1, pack_bytes: 3 }),
    ];
    let mut bytes = Vec::new();
    for record in &records {
        record.encode(&mut bytes).unwrap();
    }
    bytes
}

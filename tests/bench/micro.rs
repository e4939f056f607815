//! Micro benchmarks of the parts that a staged byte and a staged file pass: `cargo bench --locked --bench micro`.
//!
//! Not run by `cargo test`. Whole runs beside other tools: `tests/bench/run`.
#![allow(missing_docs, reason = "a benchmark is documented by its name")]
#![allow(clippy::unwrap_used, dead_code, reason = "the kits are those of the tests")]

use std::fmt::Write as _;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use packmule::crypto::OpeningKey;
use packmule::digest::{Crc64, Sha256Stream, combine, crc64, sha256};
use packmule::format::record::{EntryType, Record, Records};
use packmule::format::{FRAME_HEADER_BYTES, FrameKind, Inner};
use packmule::job::{Error, Facts};
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::plan::{Inputs, Request, plan};
use packmule::scan::{Root, WalkOptions, walk};
use packmule::sys::{Access, RealFs};
use packmule::units::{Bytes, BytesPerSecond, Count};

#[path = "../it/job_support.rs"]
mod job_support;
#[path = "../it/volume_kit.rs"]
mod volume_kit;

const MIB: usize = 1 << 20;

fn main() {
    divan::main();
}

fn noise(length: usize) -> Vec<u8> {
    (0..).flat_map(|block: u64| sha256(&block.to_le_bytes())).take(length).collect()
}

fn text(length: usize) -> Vec<u8> {
    let line = |number: u64| format!("{number:08}\tsample {}\tvalue {}\n", number % 97, number * number % 1009);
    (0..).map(line).flat_map(String::into_bytes).take(length).collect()
}

#[divan::bench_group(sample_count = 20)]
mod digest {
    use super::*;

    #[divan::bench]
    fn sha256_of_a_frame(bencher: Bencher<'_, '_>) {
        let bytes = noise(MIB);
        bencher.counter(BytesCount::new(MIB)).bench(|| sha256(divan::black_box(&bytes)));
    }

    #[divan::bench]
    fn crc64_of_a_frame(bencher: Bencher<'_, '_>) {
        let bytes = noise(MIB);
        bencher.counter(BytesCount::new(MIB)).bench(|| crc64(divan::black_box(&bytes)));
    }

    #[divan::bench(args = [MIB as u64, MIB as u64 - 13])]
    fn crc64_combined(bencher: Bencher<'_, '_>, length: u64) {
        bencher.bench(|| combine(divan::black_box(Crc64(7)), Crc64(9), length));
    }
}

/// Digest, checksum, compression and encryption of one frame, as a worker does them.
#[divan::bench(args = ["noise", "text"], sample_count = 50)]
fn chain(bencher: Bencher<'_, '_>, kind: &str) {
    let plain = if kind == "noise" { noise(MIB) } else { text(MIB) };
    let dir = tempfile::tempdir().unwrap();
    let kit = volume_kit::Kit::new(Arc::new(RealFs), 1);
    let volume = kit.volume(dir.path(), 1).unwrap();
    let writer = kit.pack(&volume, 1, Access::Buffered).unwrap();
    let key = Arc::clone(writer.sealing());
    let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
    bencher.counter(BytesCount::new(MIB)).bench_local(|| {
        let digests = (sha256(&plain), crc64(&plain));
        let packed = zstd.compress(&plain).unwrap();
        let (is_zstd, payload) = if packed.len() < plain.len() { (true, &packed) } else { (false, &plain) };
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend_from_slice(&Inner { zstd: is_zstd, plain_bytes: u32::try_from(MIB).unwrap() }.encode());
        frame.extend_from_slice(payload);
        (digests, key.seal(key.ticket().unwrap(), FrameKind::Data, &mut frame).unwrap())
    });
}

/// Bytes of the file that passes the bare chain. Unit: bytes.
const BARE: usize = 256 * MIB;

/// What staging incompressible bytes cannot do without, on one thread and in memory (`TMPDIR` may name a tmpfs): read, SHA-256,
/// CRC-64, AES-256-GCM, write.
#[divan::bench(sample_count = 7, sample_size = 1)]
fn bare_chain(bencher: Bencher<'_, '_>) {
    use std::os::unix::fs::FileExt as _;
    let dir = tempfile::tempdir().unwrap();
    let kit = volume_kit::Kit::new(Arc::new(RealFs), 1);
    let volume = kit.volume(dir.path(), 1).unwrap();
    let key = Arc::clone(kit.pack(&volume, 1, Access::Buffered).unwrap().sealing());
    std::fs::write(dir.path().join("source"), noise(BARE)).unwrap();
    let source = std::fs::File::open(dir.path().join("source")).unwrap();
    let mut frame = vec![0; FRAME_HEADER_BYTES + 8 + MIB];
    bencher.counter(BytesCount::new(BARE)).bench_local(|| {
        let target = std::fs::File::create(dir.path().join("target")).unwrap();
        let mut digest = Sha256Stream::new();
        for at in (0..BARE).step_by(MIB) {
            frame.resize(FRAME_HEADER_BYTES + 8 + MIB, 0);
            let plain = &mut frame[FRAME_HEADER_BYTES + 8..];
            source.read_exact_at(plain, at as u64).unwrap();
            digest.update(plain);
            divan::black_box(crc64(plain));
            key.seal(key.ticket().unwrap(), FrameKind::Data, &mut frame).unwrap(); // its checksum among it
            target.write_all_at(&frame, at as u64).unwrap();
        }
        digest.finish()
    });
}

/// What a check cannot do without, of one frame: decryption, decompression and the SHA-256 of every file in it.
#[divan::bench(args = ["one file", "120 files", "text, one file", "text, 120 files"], threads = [1, 2], sample_count = 400)]
fn bare_check(bencher: Bencher<'_, '_>, kind: &str) {
    let dir = tempfile::tempdir().unwrap();
    let kit = volume_kit::Kit::new(Arc::new(RealFs), 1);
    let volume = kit.volume(dir.path(), 1).unwrap();
    let sealing = Arc::clone(kit.pack(&volume, 1, Access::Buffered).unwrap().sealing());
    let opening = OpeningKey::from_header(&kit.run, sealing.header()).unwrap();
    let is_text = kind.starts_with("text");
    let files = if kind.ends_with("120 files") { 120 } else { 1 };
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    if is_text {
        frame.extend_from_slice(&zstd::bulk::compress(&text(MIB), 1).unwrap());
    } else {
        frame.extend_from_slice(&noise(MIB));
    }
    let header = sealing.seal(sealing.ticket().unwrap(), FrameKind::Data, &mut frame).unwrap();
    let body = frame.split_off(FRAME_HEADER_BYTES);
    bencher.counter(BytesCount::new(MIB)).with_inputs(|| body.clone()).bench_refs(|body| {
        opening.open(&header, body).unwrap();
        let unpacked = is_text.then(|| zstd::bulk::decompress(body, MIB).unwrap());
        for file in unpacked.as_ref().unwrap_or(body).chunks(MIB.div_ceil(files)) {
            divan::black_box(sha256(file));
        }
    });
}

/// The walk over 10,000 files in 100 directories, warm.
#[divan::bench(args = [1, 2, 4], sample_count = 10)]
fn walk_of_10_000_files(bencher: Bencher<'_, '_>, threads: usize) {
    let dir = tempfile::tempdir().unwrap();
    for folder in 0..100 {
        let folder = dir.path().join(folder.to_string());
        std::fs::create_dir(&folder).unwrap();
        (0..100).for_each(|file| std::fs::write(folder.join(file.to_string()), b"").unwrap());
    }
    let roots = [Root::resolve(dir.path()).unwrap()];
    let options = WalkOptions { threads, ..WalkOptions::default() };
    bencher.counter(ItemsCount::new(10_100_usize)).bench_local(|| {
        let mut count = 0;
        walk(&roots, &options, |batch| {
            count += batch.entries.len();
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(count, 10_100);
    });
}

/// Files of one directory become known to the job.
fn inventory(world: &mut job_support::World, files: u64) {
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let file = |number: u64| Facts { ..job_support::facts(EntryType::File, 3000 + number) };
    job.batch(|batch| {
        for number in 0..files {
            batch.add(top, format!("file-{number:06}").as_bytes(), &file(number))?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
}

const FILES: u64 = 4096;

/// 4,096 files in the inventory, and in one commit.
#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod job {
    use super::*;

    #[divan::bench]
    fn inventory_of_4096_files(bencher: Bencher<'_, '_>) {
        let world = || job_support::World::new(1);
        bencher.counter(ItemsCount::new(FILES)).with_inputs(world).bench_local_refs(|world| inventory(world, FILES));
    }

    #[divan::bench]
    fn commit_of_4096_files(bencher: Bencher<'_, '_>) {
        let world = || {
            let mut world = job_support::World::new(1);
            inventory(&mut world, FILES);
            let work = world.job().pending(0, usize::try_from(FILES).unwrap()).unwrap();
            let records: Vec<Record> =
                work.iter().enumerate().flat_map(|(at, work)| job_support::small(work, at as u32 / 100)).collect();
            (world, records)
        };
        bencher
            .counter(ItemsCount::new(FILES))
            .with_inputs(world)
            .bench_local_refs(|(world, records)| world.commit(1, records));
    }
}

/// Records of 4,096 small files to bytes and back.
#[divan::bench_group(sample_count = 20)]
mod manifest {
    use super::*;

    fn records() -> Vec<Record> {
        let entry = |id: u64| Record::Entry(volume_kit::entry(id, format!("dir/file-{id:06}").as_bytes(), b"content"));
        (1..=FILES).map(entry).collect()
    }

    #[divan::bench]
    fn encode(bencher: Bencher<'_, '_>) {
        let records = records();
        bencher.counter(ItemsCount::new(FILES)).bench(|| {
            let mut bytes = Vec::new();
            records.iter().for_each(|record| record.encode(&mut bytes).unwrap());
            bytes
        });
    }

    #[divan::bench]
    fn decode(bencher: Bencher<'_, '_>) {
        let mut bytes = Vec::new();
        records().iter().for_each(|record| record.encode(&mut bytes).unwrap());
        bencher.counter(ItemsCount::new(FILES)).bench(|| Records::new(&bytes).map(Result::unwrap).count());
    }
}

/// Six device options that differ in rate, as a user's catalogue file.
fn six_options() -> String {
    let mut text = String::new();
    let figure = |name: &str, value: &str, unit: &str| {
        format!("figures.{name} = {{ value = \"{value}\", unit = \"{unit}\", region = \"any\", as_of = 2026-01-01 }}\n")
    };
    for number in 1..=6_u32 {
        let _ = write!(
            text,
            "[[option]]\nid = \"device-{number}\"\nname = \"Device {number}\"\nfamily = \"device-{number}\"\nkind = \"shipped-device\"\nprovider = \"partner\"\ntiers = [{{ upto_tb = \"100\", fee = {{ value = \"1000\", unit = \"USD/job\", region = \"any\", as_of = 2026-01-01 }} }}]\n"
        );
        text += &figure("capacity", "100", "TB");
        text += &figure("fill_rate", &(200 + 100 * number).to_string(), "MB/s");
        text += &figure("transit", "2", "business-days");
        text += &figure("ingest_rate", "1000", "MB/s");
        text += &figure("quota", "4", "devices");
        text += &figure("included_days", "15", "days");
        text += &figure("extra_day", "100", "USD/day");
    }
    text
}

/// A whole plan of six options, each of 24 devices, in 4,096 draws, on one thread.
#[divan::bench(sample_count = 5)]
fn plan_of_six_options(bencher: Bencher<'_, '_>) {
    let catalogue = Catalogue::with_user_file(Some(("six.toml", &six_options()))).unwrap();
    let request = Request {
        size: Some(Bytes::new(24 * 95_000_000_000_000)),
        source_read: Some(BytesPerSecond::new(3e9)),
        stations: Some(Count::new(2)),
        forbid: ["network", "own-drives"].map(str::to_owned).to_vec(),
        draws: Some(4096),
        ..Request::default()
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let day = jiff::civil::date(2026, 3, 2);
    bencher
        .with_inputs(|| Inputs::resolve(&request, &DatasetFile::default(), &catalogue, day).unwrap())
        .bench_local_values(|inputs| {
            let report = one.install(|| plan(&catalogue, inputs)).unwrap();
            assert_eq!(report.options.iter().map(|option| option.devices).collect::<Vec<_>>(), [24; 6]);
            report
        });
}

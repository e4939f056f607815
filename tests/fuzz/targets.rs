//! What the fuzz targets call: one function for each parser that reads bytes somebody else wrote. Whatever the bytes are,
//! a parser gives a value or an error; and what it gave, encoded again, gives the same value.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use packmule::crypto::{Identities, RunKey, SealingKey, UnlockCode, new_identity, open_slot, stanzas};
use packmule::format::record::Records;
use packmule::format::{
    Commit, Footer, FooterKeys, FrameHeader, FrameKind, Inner, JobId, PackHeader, PackKind, RunId, Sealed, SlotText,
    VolumeHeader, VolumeId, chain_next, chain_start, parse_custody, parse_sums, path, render_custody, render_sums,
};
use packmule::plan::catalogue::Catalogue;
use packmule::plan::dataset::DatasetFile;
use packmule::sys::mem::MemFs;
use packmule::sys::random::SeededRandom;
use packmule::sys::{Access, Fs};
use packmule::volume::{Keyring, Volume};

/// A target: its name, which is also that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 14] = [
    ("header", header),
    ("frame", frame),
    ("commit", commit),
    ("record", record),
    ("slot", slot),
    ("seal", seal),
    ("unlock_code", unlock_code),
    ("path", path_escape),
    ("pack", pack),
    ("dataset", dataset),
    ("catalogue", catalogue),
    ("job_file", job_file),
    ("envelope", envelope),
    ("custody", custody),
];

/// `VOLUME` and pack headers.
pub fn header(data: &[u8]) {
    if let Ok(header) = VolumeHeader::decode(data) {
        assert_eq!(header.encode(), data);
    }
    if let Ok(header) = PackHeader::decode(data) {
        assert_eq!(header.encode(), data);
    }
}

/// Frame headers and the prefix inside frames.
pub fn frame(data: &[u8]) {
    if let Ok(header) = FrameHeader::decode(data, 1 << 20) {
        let _ = header.check(data.get(32..).unwrap_or_default());
        assert!(header.end(u64::MAX) >= header.end(0));
    }
    if let Ok((inner, payload)) = Inner::split(data, 1 << 20) {
        assert_eq!([&inner.encode()[..], payload].concat(), data);
    }
}

/// Opened commits and footers.
pub fn commit(data: &[u8]) {
    if let Ok(commit) = Commit::decode(data) {
        assert_eq!(commit.encode(), data);
    }
    if let Ok(footer) = Footer::decode(data) {
        assert_eq!(footer.encode(), data);
    }
    if let Ok((keys, rest)) = FooterKeys::split(data) {
        assert_eq!([&keys.encode()[..], rest].concat(), data);
    }
}

/// Opened entries frames.
pub fn record(data: &[u8]) {
    for record in Records::new(data).flatten() {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).expect("what was read can be written");
        assert_eq!(Records::new(&bytes).next(), Some(Ok(record)));
    }
}

/// Opened key slots.
pub fn slot(data: &[u8]) {
    let (job, run) = (JobId([0x11; 16]), RunId([0x22; 16]));
    if let Ok(slot) = SlotText::decode(data, job, run) {
        assert_eq!(slot.encode().as_bytes(), data);
    }
}

/// `SEALED` and `SHA256SUMS`.
pub fn seal(data: &[u8]) {
    let _ = Sealed::decode(data);
    if let Ok(lines) = parse_sums(data) {
        assert_eq!(render_sums(&lines).as_bytes(), data);
    }
}

/// Unlock codes as people type them.
pub fn unlock_code(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(code) = UnlockCode::parse(&text) {
        assert!(UnlockCode::parse(&code.reveal()).expect("its own text") == code);
    }
}

/// Paths: checked, shown, read back.
pub fn path_escape(data: &[u8]) {
    let _ = path::check(data, true);
    assert_eq!(path::unescape(&path::escape(data)).as_deref(), Some(data));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = path::unescape(text);
    }
}

/// Dataset files, as `scan` and `probe` write them and people edit them.
pub fn dataset(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(file) = DatasetFile::parse(&text)
        && let Ok(written) = file.to_toml()
    {
        assert!(DatasetFile::parse(&written).is_ok(), "what was written is read");
    }
}

/// Catalogue files, laid over the one that is built in.
pub fn catalogue(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Catalogue::with_user_file(Some(("theirs", &text)));
}

/// The settings of a job, which people edit.
pub fn job_file(data: &[u8]) {
    let _ = packmule::cli::check_job_file(&String::from_utf8_lossy(data));
}

/// Key slots as they lie on a volume: age files around the run's key.
pub fn envelope(data: &[u8]) {
    static SECRET: LazyLock<String> =
        LazyLock::new(|| new_identity(&SeededRandom::new(7)).expect("a key").secret.to_string());
    let _ = stanzas(data);
    let mut identities = Identities::none();
    identities.add_text(&SECRET).expect("its own text");
    let _ = open_slot(data, JobId([0x11; 16]), RunId([0x22; 16]), &identities);
}

/// Custody logs.
pub fn custody(data: &[u8]) {
    if let Ok(entries) = parse_custody(data, JobId([1; 16]), 1) {
        let text = render_custody(entries.iter());
        assert_eq!(parse_custody(text.as_bytes(), JobId([1; 16]), 1), Ok(entries));
    }
}

/// Whole packs and manifests of somebody who has the key and bad intentions: the input is cut into frames, each a kind, a
/// length and its plain bytes, which are sealed and summed as they should be. So it is what frames say that is tried, not
/// only their checksums.
pub fn pack(data: &[u8]) {
    let random = SeededRandom::new(1);
    let run = RunKey::fresh(&random);
    let (job, volume) = (JobId([1; 16]), VolumeId([2; 16]));
    for kind in [PackKind::Pack, PackKind::Manifest] {
        let is_pack = kind == PackKind::Pack;
        let header = PackHeader {
            kind,
            may_ignore: 0,
            job,
            volume,
            volume_number: 1,
            number: u32::from(is_pack),
            run: run.run(),
            frame_plain_bytes_max: 65536,
            created_ns: 0,
            salt: [0; 32],
            key_commitment: [0; 32],
        };
        let bytes = framed(&SealingKey::fresh(&run, header, &random), data);
        let fs = MemFs::new();
        for dir in ["/v/packmule/packs", "/v/packmule/slots"] {
            fs.make_dirs(Path::new(dir)).expect("a fresh file system");
        }
        let own = VolumeHeader {
            may_ignore: 0,
            job,
            volume,
            number: 1,
            created_ns: 0,
            job_salt: [3; 32],
            job_public_key: [0; 32],
        };
        let name = if is_pack { "packs/00000001.pack" } else { "MANIFEST" };
        for (name, bytes) in [("VOLUME", own.encode()), (name, bytes)] {
            fs.put_file(&Path::new("/v/packmule").join(name), &bytes).expect("a fresh file system");
        }
        let opened = Volume::open(Arc::new(fs) as Arc<dyn Fs>, Path::new("/v")).expect("a header made here");
        let mut keyring = Keyring::default();
        keyring.add(RunKey::fresh(&SeededRandom::new(1)));
        if is_pack {
            if let Ok(found) = opened.open_pack(1, Access::Buffered).and_then(|pack| pack.index(&keyring)) {
                let _ = found.last_named_frame();
                if let Ok(rebuilt) = opened.rebuild_pack(1, &keyring) {
                    assert!(rebuilt.state.commits >= found.commits);
                }
            }
        } else if let Ok(manifest) = packmule::volume::ManifestReader::open(&opened, &keyring) {
            let _ = manifest.read::<packmule::volume::Error>(|_| Ok(()));
        }
    }
}

/// A file in pack form from chunks of `data`.
fn framed(key: &SealingKey, data: &[u8]) -> Vec<u8> {
    let mut bytes = key.header().encode();
    let mut chain = chain_start(&bytes);
    let (mut checksums, mut first_index, mut number, mut records) = (Vec::new(), 0, 0, 0);
    let mut rest = data;
    while let [kind, low, high, after @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (chunk, next) = after.split_at(length);
        rest = next;
        let is_raw = *kind >= 0x80;
        let kind = match kind % 8 {
            0 => FrameKind::Data,
            1..=3 => FrameKind::Entries,
            4..=6 => FrameKind::Commit,
            _ => FrameKind::Footer,
        };
        let align = if kind == FrameKind::Commit { 4096 } else { 64 };
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        let ticket = key.ticket().expect("few frames");
        let index = ticket.index();
        let mut plain = chunk.to_vec();
        match kind {
            FrameKind::Entries | FrameKind::Data if !is_raw => {
                let plain_bytes = u32::try_from(chunk.len()).expect("at most 64 KiB");
                plain = [&Inner { zstd: false, plain_bytes }.encode()[..], chunk].concat();
                if kind == FrameKind::Entries {
                    records += u32::try_from(Records::new(chunk).take_while(Result::is_ok).count()).expect("few");
                }
            }
            FrameKind::Commit if chunk.is_empty() => {
                number += 1;
                let commit = Commit {
                    first_index,
                    frame_count: index - first_index,
                    at: bytes.len() as u64,
                    data_plain_bytes: 0,
                    record_count: records,
                    number,
                    chain: chain_next(&chain, &checksums),
                };
                plain = commit.encode();
                (chain, first_index, records) = (commit.chain, index + 1, 0);
                checksums.clear();
            }
            _ => {}
        }
        let mut frame = [&[0; 32][..], &plain].concat();
        let header = key.seal(ticket, kind, &mut frame).expect("a small frame");
        if kind != FrameKind::Commit {
            checksums.push(header.crc64);
        }
        bytes.extend_from_slice(&frame);
        if kind == FrameKind::Commit {
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
        }
    }
    bytes
}

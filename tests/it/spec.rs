//! The format documents against the code: every MUST names a test that exists, field tables cover the bytes the code
//! writes, and the worked examples are real. So neither can drift from the other.
//!
//! `PACKMULE_BLESS=1` writes the examples anew from the fixture; look at the difference before you keep it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::crypto::{UnlockCode, fingerprint, identity_from_passphrase, identity_from_unlock_code};
use packmule::digest::Crc64;
use packmule::format::record::{Entry, EntryState, EntryType, Record};
use packmule::format::{
    Commit, Footer, FooterReason, FrameHeader, FrameKind, JobId, PackHeader, PackKind, RunId, VolumeHeader, VolumeId,
};
use packmule::sys::{Access, RealFs};
use packmule::volume::{Keyring, Step, Volume, open_plain};

use crate::old_formats;

const DOCUMENTS: [(&str, char); 6] = [
    ("volume.md", 'V'),
    ("pack.md", 'P'),
    ("manifest.md", 'M'),
    ("key-slots.md", 'K'),
    ("custody.md", 'C'),
    ("proof.md", 'T'),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join("manifests/formats").join(name)).unwrap()
}

/// Marks like `[P3]` of that letter in a text.
fn marks(text: &str, letter: char) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split('[').skip(1) {
        let Some((mark, _)) = part.split_once(']') else { continue };
        if mark
            .strip_prefix(letter)
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        {
            found.insert(mark.to_owned());
        }
    }
    found
}

/// Splits a document before its last section, the annex.
fn split(text: &str) -> (&str, &str) {
    let at = text.rfind("Every MUST and its test").expect("each document ends with its annex");
    text.split_at(at)
}

#[test]
fn every_must_carries_a_mark() {
    for (name, letter) in DOCUMENTS {
        let text = document(name);
        let (body, _) = split(&text);
        for paragraph in body.split("\n\n").filter(|paragraph| paragraph.contains("MUST")) {
            assert!(!marks(paragraph, letter).is_empty(), "{name}: a MUST without a mark:\n{paragraph}");
        }
    }
}

#[test]
fn every_mark_names_tests_that_exist() {
    for (name, letter) in DOCUMENTS {
        let text = document(name);
        let (body, annex) = split(&text);
        let mut listed = BTreeSet::new();
        for line in annex.lines().filter(|line| line.starts_with(&format!("| {letter}"))) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            assert!(listed.insert(cells[1].to_owned()), "{name}: {} twice", cells[1]);
            let tests: Vec<&str> = cells[2].split(", ").collect();
            assert!(!tests.is_empty() && !tests[0].is_empty(), "{name}: {line}");
            for test in tests {
                let (file, function) = test.trim_matches('`').split_once("::").expect("FILE::FUNCTION");
                let source =
                    std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
                assert!(source.contains(&format!("fn {function}(")), "{name}: {file} has no test {function}");
            }
        }
        assert_eq!(listed, marks(body, letter), "{name}: marks in the text and in the annex");
    }
}

/// Rows of the table whose head carries that mark: offset, size, name.
fn table(name: &str, mark: &str) -> Vec<(usize, usize, String)> {
    let text = document(name);
    let head = text.lines().position(|line| line.starts_with("| offset") && line.contains(mark)).unwrap();
    let rows = text.lines().skip(head + 2).take_while(|line| line.starts_with('|'));
    let mut found = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (Ok(offset), Ok(size)) = (cells[1].parse(), cells[2].parse()) else { continue };
        found.push((offset, size, cells[3].to_owned()));
    }
    found
}

/// Rows lie end to end from `start` to the end of `bytes`; named fields hold what the sample holds, zero fields zeros.
fn compare(document: &str, mark: &str, start: usize, bytes: &[u8], fields: &[(&str, &[u8])]) {
    let fields: BTreeMap<&str, &[u8]> = fields.iter().copied().collect();
    let mut at = start;
    let mut seen = BTreeSet::new();
    for (offset, size, name) in table(document, mark) {
        assert_eq!(offset, at, "{document} {mark}: {name} does not follow the field before it");
        let found = &bytes[offset..offset + size];
        if name == "zero" {
            assert!(found.iter().all(|byte| *byte == 0), "{document} {mark}: zero at {offset}");
        } else {
            let expected =
                fields.get(name.as_str()).unwrap_or_else(|| panic!("{document} {mark}: no sample for {name}"));
            assert_eq!(found, *expected, "{document} {mark}: {name} at {offset}");
            seen.insert(name);
        }
        at = offset + size;
    }
    assert_eq!(at, bytes.len(), "{document} {mark}: the table covers the record");
    assert_eq!(seen.len(), fields.len(), "{document} {mark}: fields of the code and of the table");
}

#[test]
fn the_field_tables_are_the_bytes_the_code_writes() {
    let volume = VolumeHeader {
        may_ignore: 0x1122,
        job: JobId([1; 16]),
        volume: VolumeId([2; 16]),
        number: 3,
        created_ns: 4,
        job_salt: [5; 32],
        job_public_key: [6; 32],
    };
    let bytes = volume.encode();
    let one = 1_u16.to_le_bytes();
    compare(
        "volume.md",
        "[V3]",
        0,
        &bytes,
        &[
            ("magic", b"\x89PMV\r\n\x1a\n"),
            ("format_version", &one),
            ("header_bytes", &512_u32.to_le_bytes()),
            ("must_understand", &[0; 8]),
            ("may_ignore", &0x1122_u64.to_le_bytes()),
            ("job_id", &[1; 16]),
            ("volume_id", &[2; 16]),
            ("volume_number", &3_u32.to_le_bytes()),
            ("created_ns", &4_u64.to_le_bytes()),
            ("job_salt", &[5; 32]),
            ("job_public_key", &[6; 32]),
            ("crc64", &bytes[504..]),
        ],
    );
    let pack = PackHeader {
        kind: PackKind::Pack,
        may_ignore: 0x33,
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
    let bytes = pack.encode();
    compare(
        "pack.md",
        "[P1]",
        0,
        &bytes,
        &[
            ("magic", b"\x89PMP\r\n\x1a\n"),
            ("format_version", &one),
            ("kind", &one),
            ("header_bytes", &4096_u32.to_le_bytes()),
            ("must_understand", &[0; 8]),
            ("may_ignore", &0x33_u64.to_le_bytes()),
            ("job_id", &[1; 16]),
            ("volume_id", &[2; 16]),
            ("volume_number", &3_u32.to_le_bytes()),
            ("pack_number", &4_u32.to_le_bytes()),
            ("run_id", &[5; 16]),
            ("frame_plain_bytes_max", &65536_u32.to_le_bytes()),
            ("created_ns", &6_u64.to_le_bytes()),
            ("salt", &[7; 32]),
            ("key_commitment", &[8; 32]),
            ("crc64", &bytes[4088..]),
        ],
    );
    let mut frame = vec![0; 32];
    frame.extend_from_slice(b"a body");
    FrameHeader::write(FrameKind::Entries, 9, &mut frame).unwrap();
    compare(
        "pack.md",
        "[P2]",
        0,
        &frame[..32],
        &[
            ("mark", b"\xf5PMF\r\n\x1a\n"),
            ("kind", &[2]),
            ("index", &9_u32.to_le_bytes()),
            ("body_bytes", &6_u32.to_le_bytes()),
            ("crc64", &frame[24..32]),
        ],
    );
}

#[test]
fn the_tables_of_commit_footer_and_entry_are_the_bytes_the_code_writes() {
    let commit = Commit {
        first_index: 1,
        frame_count: 2,
        at: 3,
        data_plain_bytes: 4,
        record_count: 5,
        number: 6,
        chain: [7; 32],
    };
    compare(
        "pack.md",
        "[P8]",
        0,
        &commit.encode(),
        &[
            ("first_index", &1_u32.to_le_bytes()),
            ("frame_count", &2_u32.to_le_bytes()),
            ("at", &3_u64.to_le_bytes()),
            ("data_plain_bytes", &4_u64.to_le_bytes()),
            ("record_count", &5_u32.to_le_bytes()),
            ("commit_number", &6_u32.to_le_bytes()),
            ("chain", &[7; 32]),
        ],
    );
    let footer = Footer {
        frame_count: 1,
        commit_count: 2,
        at: 3,
        data_plain_bytes: 4,
        record_count: 5,
        chain: [6; 32],
        reason: FooterReason::Cut,
    };
    compare(
        "pack.md",
        "[P9]",
        0,
        &footer.encode(),
        &[
            ("frame_count", &1_u32.to_le_bytes()),
            ("commit_count", &2_u32.to_le_bytes()),
            ("at", &3_u64.to_le_bytes()),
            ("data_plain_bytes", &4_u64.to_le_bytes()),
            ("record_count", &5_u64.to_le_bytes()),
            ("chain", &[6; 32]),
            ("reason", &[2]),
        ],
    );
    let entry = Entry {
        id: 1,
        generation: 2,
        entry_type: EntryType::File,
        state: EntryState::Changed,
        mode: 0o755,
        uid: 3,
        gid: 4,
        mtime_s: -5,
        mtime_ns: 6,
        size: 7,
        extent_count: 8,
        rdev: (0, 0),
        crc64: Crc64(9),
        sha256: [10; 32],
        link_id: 0,
        path: b"p".to_vec(),
        target: Vec::new(),
        user: b"us".to_vec(),
        group: b"gro".to_vec(),
        attributes: Vec::new(),
    };
    let mut bytes = Vec::new();
    Record::Entry(entry).encode(&mut bytes).unwrap();
    assert_eq!(&bytes[132..], b"pusgro");
    compare(
        "manifest.md",
        "[M3]",
        8,
        &bytes[..132],
        &[
            ("id", &1_u64.to_le_bytes()),
            ("generation", &2_u32.to_le_bytes()),
            ("type", &[1]),
            ("state", &[1]),
            ("mode", &0o755_u32.to_le_bytes()),
            ("uid", &3_u32.to_le_bytes()),
            ("gid", &4_u32.to_le_bytes()),
            ("mtime_ns", &6_u32.to_le_bytes()),
            ("mtime_s", &(-5_i64).to_le_bytes()),
            ("size", &7_u64.to_le_bytes()),
            ("extent_count", &8_u32.to_le_bytes()),
            ("rdev_major", &[0; 4]),
            ("rdev_minor", &[0; 4]),
            ("crc64", &9_u64.to_le_bytes()),
            ("sha256", &[10; 32]),
            ("link_id", &[0; 8]),
            ("path_bytes", &1_u16.to_le_bytes()),
            ("target_bytes", &[0; 2]),
            ("user_bytes", &2_u16.to_le_bytes()),
            ("group_bytes", &3_u16.to_le_bytes()),
            ("attribute_bytes", &[0; 4]),
        ],
    );
}

/// What an example block should hold. Its first line says which: `FILE OFFSET LENGTH`, `opened FRAME of FILE`, or
/// a derivation.
fn example(what: &str) -> String {
    let words: Vec<&str> = what.split_whitespace().collect();
    let fixture = old_formats::fixtures().join("format-1");
    match words.as_slice() {
        ["bytes", offset, "to", end, "of", file] => {
            let bytes = std::fs::read(fixture.join(file)).unwrap();
            dump(&bytes[offset.parse().unwrap()..end.parse().unwrap()])
        }
        ["opened", "frame", index, "of", "pack", number, "of", volume] => {
            dump(&opened(&fixture.join(volume), number.parse().unwrap(), index.parse().unwrap()))
        }
        ["unlock-code", code, "salt", salt] => {
            let code = UnlockCode::parse(code).unwrap();
            format!("{}\n", *identity_from_unlock_code(&code, &salt_of(salt)).unwrap().secret)
        }
        ["passphrase", passphrase, "salt", salt] => {
            let passphrase = passphrase.replace('_', " ");
            format!("{}\n", *identity_from_passphrase(passphrase.as_bytes(), &salt_of(salt)).unwrap().secret)
        }
        ["fingerprint", key] => format!("{}\n", fingerprint(&salt_of(key))),
        _ => panic!("unknown example: {what}"),
    }
}

fn salt_of(byte: &str) -> [u8; 32] {
    [u8::from_str_radix(byte, 16).unwrap(); 32]
}

fn dump(bytes: &[u8]) -> String {
    bytes.chunks(16).fold(String::new(), |mut text, line| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{}", hex.join(" ")).unwrap();
        text
    })
}

fn opened(dir: &Path, number: u32, index: u32) -> Vec<u8> {
    let volume = Volume::open(Arc::new(RealFs), dir).unwrap();
    let keyring = Keyring::open(&volume, &old_formats::identities("format-1")).unwrap();
    let pack = volume.open_pack(number, Access::Buffered).unwrap();
    let key = pack.opening_key(&keyring).unwrap();
    let mut walk = pack.walk();
    while let Some(step) = walk.advance().unwrap() {
        if let Step::Frame { header, body, .. } = step
            && header.index == index
        {
            return open_plain(&key, &header, body.to_vec(), 1 << 20, dir).unwrap().to_vec();
        }
    }
    panic!("no frame {index}")
}

#[test]
fn the_worked_examples_are_real_bytes_of_the_fixture() {
    let mut examples = 0;
    for (name, _) in DOCUMENTS {
        let path: PathBuf = root().join("manifests/formats").join(name);
        let text = document(name);
        let mut fresh = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("```example ") {
            let (what, body) = after.split_once('\n').unwrap();
            let (found, tail) = body.split_once("```\n").unwrap();
            let expected = example(what);
            if std::env::var_os("PACKMULE_BLESS").is_none() {
                assert_eq!(found, expected, "{name}: {what}");
            }
            write!(fresh, "{before}```example {what}\n{expected}```\n").unwrap();
            rest = tail;
            examples += 1;
        }
        fresh.push_str(rest);
        if std::env::var_os("PACKMULE_BLESS").is_some() && fresh != text {
            std::fs::write(&path, fresh).unwrap();
        }
    }
    assert!(examples >= 6, "{examples} examples");
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let mut named = 0;
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.contains(".rs")) {
        let (file, function) = name.split_once("::").unwrap_or((name, ""));
        let places = [root().join("tests/it").join(file), root().join("src").join(file)];
        let source = places.iter().find_map(|place| std::fs::read_to_string(place).ok());
        let source = source.unwrap_or_else(|| panic!("{name}: no such file"));
        assert!(source.contains(&format!("fn {function}")), "{name}: no such test");
        named += 1;
    }
    assert!(named >= 20, "{named} tests are named");
}

//! What the fuzz targets call: one function for each parser that reads bytes somebody else wrote. Whatever the bytes are,
//! a parser gives a value or an error; and what it gave, encoded again, gives the same value.

use packmule::crypto::UnlockCode;
use packmule::format::record::Records;
use packmule::format::{
    Commit, Footer, FooterKeys, FrameHeader, Inner, JobId, PackHeader, RunId, Sealed, SlotText, VolumeHeader,
    parse_sums, path, render_sums,
};

/// A target: its name, which is also that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("header", header),
    ("frame", frame),
    ("commit", commit),
    ("record", record),
    ("slot", slot),
    ("seal", seal),
    ("unlock_code", unlock_code),
    ("path", path_escape),
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

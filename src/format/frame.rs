//! Frames: header, inner prefix, commit and footer bodies. manifests/formats/pack.md sections 3 and 5.

use crate::digest::{Crc64, combine, crc64, crc64_of_both, sha256};
use crate::format::cursor::{Reader, Writer};
use crate::format::pack::{BLOCK_BYTES, ENTRIES_PLAIN_BYTES_MAX};
use crate::format::{Error, RunId};

const RECORD: &str = "frame";

/// First bytes of every frame; never valid UTF-8.
pub const MARK: [u8; 8] = [0xF5, b'P', b'M', b'F', 0x0D, 0x0A, 0x1A, 0x0A];
/// Length of a frame header. Unit: bytes.
pub const FRAME_HEADER_BYTES: usize = 32;
/// Frames begin at multiples of this. Unit: bytes.
pub const FRAME_ALIGN: u64 = 64;
/// Length of the AES-GCM tag. Unit: bytes.
pub const TAG_BYTES: usize = 16;
/// Length of the prefix inside data and entries frames. Unit: bytes.
pub const INNER_BYTES: usize = 8;
const COMMIT_PLAIN_BYTES: usize = 64;
const FOOTER_PLAIN_BYTES: usize = 72;
const FOOTER_KEYS_BYTES: usize = 80;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    /// Plain bytes of files.
    Data,
    /// Records.
    Entries,
    /// Makes everything before it durable and visible.
    Commit,
    /// Ends the file.
    Footer,
}

impl FrameKind {
    fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Entries => 2,
            Self::Commit => 3,
            Self::Footer => 4,
        }
    }
}

/// Largest body of a frame of that kind. Unit: bytes.
pub fn body_bytes_max(kind: FrameKind, frame_plain_bytes_max: u32) -> u32 {
    const AROUND: u32 = (INNER_BYTES + TAG_BYTES) as u32;
    match kind {
        FrameKind::Data => frame_plain_bytes_max.saturating_add(AROUND),
        FrameKind::Entries => ENTRIES_PLAIN_BYTES_MAX + AROUND,
        FrameKind::Commit => (COMMIT_PLAIN_BYTES + TAG_BYTES) as u32,
        FrameKind::Footer => (FOOTER_KEYS_BYTES + FOOTER_PLAIN_BYTES + TAG_BYTES) as u32,
    }
}

/// Bytes a frame with that body takes before padding.
pub fn stored_len(body_bytes: u32) -> u64 {
    FRAME_HEADER_BYTES as u64 + u64::from(body_bytes)
}

/// `len` rounded up to the next place where a frame may begin. Saturates near 2^64.
pub fn padded_len(len: u64) -> u64 {
    len.checked_next_multiple_of(FRAME_ALIGN).unwrap_or(u64::MAX - (FRAME_ALIGN - 1))
}

/// The plain part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame holds.
    pub kind: FrameKind,
    /// 0 for the first frame of the file.
    pub index: u32,
    /// Length of the body. Unit: bytes.
    pub body_bytes: u32,
    /// CRC-64 of the first 24 bytes and the body.
    pub crc64: Crc64,
}

impl FrameHeader {
    /// Bytes 8 to 23, which the seal of the body binds.
    pub fn bound_bytes(kind: FrameKind, index: u32, body_bytes: u32) -> [u8; 16] {
        let mut bytes = Vec::with_capacity(16);
        Writer(&mut bytes).u8(kind.code()).zero(3).u32(index).u32(body_bytes).zero(4);
        *bytes.as_array().expect("the fields take 16 bytes")
    }

    /// Writes mark, fields and CRC-64 over the first 32 bytes of `frame`, whose body is already in place.
    ///
    /// # Errors
    /// When the frame is shorter than its header or its body longer than the field.
    pub fn write(kind: FrameKind, index: u32, frame: &mut [u8]) -> Result<Self, Error> {
        let available = frame.len() as u64;
        let Some((head, body)) = frame.split_at_mut_checked(FRAME_HEADER_BYTES) else {
            return Err(Error::Truncated { record: RECORD, needed: FRAME_HEADER_BYTES as u64, available });
        };
        let body_bytes = super::cursor::narrow(RECORD, "body_bytes", body.len(), u64::from(u32::MAX))?;
        head[..8].copy_from_slice(&MARK);
        head[8..24].copy_from_slice(&Self::bound_bytes(kind, index, body_bytes));
        let crc = crc64_of_both(&head[..24], body);
        head[24..].copy_from_slice(&crc.0.to_le_bytes());
        Ok(Self { kind, index, body_bytes, crc64: crc })
    }

    /// Reads the first 32 bytes of a frame. `frame_plain_bytes_max` is the pack header's; the body limit of the
    /// kind is checked here, before anybody takes memory for the body.
    ///
    /// # Errors
    /// For every reason of pack.md section 3 that does not need the body.
    pub fn decode(bytes: &[u8], frame_plain_bytes_max: u32) -> Result<Self, Error> {
        let mut r = Reader::new(RECORD, bytes);
        let mark: [u8; 8] = r.array()?;
        if mark != MARK {
            return Err(Error::field(RECORD, "mark", super::ids::hex(&MARK), super::ids::hex(&mark)));
        }
        let kind = match r.u8()? {
            1 => FrameKind::Data,
            2 => FrameKind::Entries,
            3 => FrameKind::Commit,
            4 => FrameKind::Footer,
            other => return Err(Error::field(RECORD, "kind", "1 to 4", other)),
        };
        r.zero(3)?;
        let (index, body_bytes) = (r.u32()?, r.u32()?);
        r.zero(4)?;
        let crc = Crc64(r.u64()?);
        let limit = body_bytes_max(kind, frame_plain_bytes_max);
        let least = match kind {
            FrameKind::Data | FrameKind::Entries => (INNER_BYTES + TAG_BYTES) as u32 + 1,
            FrameKind::Commit | FrameKind::Footer => limit,
        };
        if !(least..=limit).contains(&body_bytes) {
            return Err(Error::field(RECORD, "body_bytes", format!("{least} to {limit}"), body_bytes));
        }
        Ok(Self { kind, index, body_bytes, crc64: crc })
    }

    /// Whether the stored bytes are those that were written. Returns the CRC-64 of the body alone.
    ///
    /// # Errors
    /// When the CRC-64 differs.
    pub fn check(&self, body: &[u8]) -> Result<Crc64, Error> {
        let body_crc64 = crc64(body);
        let expected = combine(crc64(&self.checked_bytes()), body_crc64, body.len() as u64);
        if expected == self.crc64 && body.len() as u64 == u64::from(self.body_bytes) {
            return Ok(body_crc64);
        }
        Err(Error::Checksum { record: RECORD, expected: expected.0, found: self.crc64.0 })
    }

    /// CRC-64 of the whole frame as it is stored, its own checksum among it, from that of its body.
    pub fn stored_crc64(&self, body_crc64: Crc64) -> Crc64 {
        let mut head = self.checked_bytes();
        head.extend_from_slice(&self.crc64.0.to_le_bytes());
        combine(crc64(&head), body_crc64, self.body_bytes.into())
    }

    /// The first 24 bytes.
    fn checked_bytes(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(FRAME_HEADER_BYTES);
        Writer(&mut head).bytes(&MARK).bytes(&Self::bound_bytes(self.kind, self.index, self.body_bytes));
        head
    }

    /// Offset of the first byte after the body, given the offset of the frame.
    pub fn end(&self, offset: u64) -> u64 {
        offset.saturating_add(stored_len(self.body_bytes))
    }
}

/// Prefix inside data and entries frames: how the payload is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// Whether the payload is a zstd frame.
    pub zstd: bool,
    /// Plain bytes it stands for.
    pub plain_bytes: u32,
}

impl Inner {
    /// The 8 bytes before the payload.
    pub fn encode(self) -> [u8; INNER_BYTES] {
        let mut bytes = Vec::with_capacity(INNER_BYTES);
        Writer(&mut bytes).u8(u8::from(self.zstd)).zero(3).u32(self.plain_bytes);
        *bytes.as_array().expect("the fields take 8 bytes")
    }

    /// Splits opened plaintext into prefix and payload. `plain_bytes_max` is the limit of the frame's kind.
    ///
    /// # Errors
    /// For every reason of pack.md section 5.1, before anything is decompressed.
    pub fn split(plain: &[u8], plain_bytes_max: u32) -> Result<(Self, &[u8]), Error> {
        const RECORD: &str = "frame content";
        let mut r = Reader::new(RECORD, plain);
        let zstd = match r.u8()? {
            0 => false,
            1 => true,
            other => return Err(Error::field(RECORD, "codec", "0 or 1", other)),
        };
        r.zero(3)?;
        let plain_bytes = r.u32()?;
        if plain_bytes == 0 || plain_bytes > plain_bytes_max {
            return Err(Error::field(RECORD, "plain_bytes", format!("1 to {plain_bytes_max}"), plain_bytes));
        }
        let payload = &plain[INNER_BYTES..];
        if !zstd && payload.len() as u64 != u64::from(plain_bytes) {
            return Err(Error::field(RECORD, "plain_bytes", payload.len(), plain_bytes));
        }
        Ok((Self { zstd, plain_bytes }, payload))
    }
}

/// What a commit vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// First frame of this group.
    pub first_index: u32,
    /// Frames in the group, the commit not among them.
    pub frame_count: u32,
    /// Offset of the commit frame in the file.
    pub at: u64,
    /// Plain bytes of the group's data frames.
    pub data_plain_bytes: u64,
    /// Records in the group's entries frames.
    pub record_count: u32,
    /// 1 for the first commit of the file.
    pub number: u32,
    /// Running SHA-256 over header and frame checksums.
    pub chain: [u8; 32],
}

impl Commit {
    /// The 64 plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMIT_PLAIN_BYTES + TAG_BYTES);
        let mut w = Writer(&mut bytes);
        w.u32(self.first_index).u32(self.frame_count).u64(self.at).u64(self.data_plain_bytes);
        w.u32(self.record_count).u32(self.number).bytes(&self.chain);
        bytes
    }

    /// Reads opened plain bytes.
    ///
    /// # Errors
    /// When they are not 64.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new("commit", bytes);
        let commit = Self {
            first_index: r.u32()?,
            frame_count: r.u32()?,
            at: r.u64()?,
            data_plain_bytes: r.u64()?,
            record_count: r.u32()?,
            number: r.u32()?,
            chain: r.array()?,
        };
        r.finish()?;
        Ok(commit)
    }

    /// Whether this commit says what a reader of the file has seen.
    ///
    /// # Errors
    /// Names the first field that differs.
    pub fn check(&self, seen: &Self) -> Result<(), Error> {
        let r = Reader::new("commit", &[]);
        r.expect("first_index", seen.first_index, self.first_index)?;
        r.expect("frame_count", seen.frame_count, self.frame_count)?;
        r.expect("at", seen.at, self.at)?;
        r.expect("data_plain_bytes", seen.data_plain_bytes, self.data_plain_bytes)?;
        r.expect("record_count", seen.record_count, self.record_count)?;
        r.expect("commit_number", seen.number, self.number)?;
        r.expect("chain", super::ids::hex(&seen.chain), super::ids::hex(&self.chain))
    }
}

/// Chain before the first group: SHA-256 of the header.
pub fn chain_start(header: &[u8]) -> [u8; 32] {
    sha256(header)
}

/// Chain after a group whose frames have those checksums, in order.
pub fn chain_next(chain: &[u8; 32], frame_checksums: &[Crc64]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(32 + frame_checksums.len() * 8);
    bytes.extend_from_slice(chain);
    for crc in frame_checksums {
        bytes.extend_from_slice(&crc.0.to_le_bytes());
    }
    sha256(&bytes)
}

/// Why a pack ends where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FooterReason {
    /// The writer closed it.
    Complete,
    /// A later run cut it back to its last commit after a crash.
    Cut,
}

/// Which key seals the footer: never the pack's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FooterKeys {
    /// Run that closed the file.
    pub run: RunId,
    /// Fresh random bytes.
    pub salt: [u8; 32],
    /// Proof that a key is the right one.
    pub key_commitment: [u8; 32],
}

impl FooterKeys {
    /// The 80 plain bytes at the front of a footer's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_KEYS_BYTES);
        Writer(&mut bytes).bytes(&self.run.0).bytes(&self.salt).bytes(&self.key_commitment);
        bytes
    }

    /// Splits a footer's body into this and the sealed rest.
    ///
    /// # Errors
    /// When the body is too short.
    pub fn split(body: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut r = Reader::new("footer", body);
        let keys = Self { run: RunId(r.array()?), salt: r.array()?, key_commitment: r.array()? };
        Ok((keys, &body[FOOTER_KEYS_BYTES..]))
    }
}

/// What a footer vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Frames before the footer, commits among them.
    pub frame_count: u32,
    /// Commits in the file.
    pub commit_count: u32,
    /// Offset of the footer frame.
    pub at: u64,
    /// Plain bytes of all data frames.
    pub data_plain_bytes: u64,
    /// Records of all entries frames.
    pub record_count: u64,
    /// Chain after the last commit.
    pub chain: [u8; 32],
    /// Complete, or cut after a crash.
    pub reason: FooterReason,
}

impl Footer {
    /// The 72 plain bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_PLAIN_BYTES + TAG_BYTES);
        let mut w = Writer(&mut bytes);
        w.u32(self.frame_count).u32(self.commit_count).u64(self.at).u64(self.data_plain_bytes);
        w.u64(self.record_count).bytes(&self.chain);
        w.u8(match self.reason {
            FooterReason::Complete => 1,
            FooterReason::Cut => 2,
        });
        w.zero(7);
        bytes
    }

    /// Reads opened plain bytes.
    ///
    /// # Errors
    /// When they are not 72, the reason is unknown, or reserved bytes are set.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new("footer", bytes);
        let (frame_count, commit_count, at) = (r.u32()?, r.u32()?, r.u64()?);
        let (data_plain_bytes, record_count, chain) = (r.u64()?, r.u64()?, r.array()?);
        let reason = match r.u8()? {
            1 => FooterReason::Complete,
            2 => FooterReason::Cut,
            other => return Err(Error::field("footer", "reason", "1 or 2", other)),
        };
        r.zero(7)?;
        r.finish()?;
        Ok(Self { frame_count, commit_count, at, data_plain_bytes, record_count, chain, reason })
    }

    /// Whether this footer says what a reader of the file has seen; the reason is the writer's own to say.
    ///
    /// # Errors
    /// Names the first field that differs.
    pub fn check(&self, seen: &Self) -> Result<(), Error> {
        let r = Reader::new("footer", &[]);
        r.expect("frame_count", seen.frame_count, self.frame_count)?;
        r.expect("commit_count", seen.commit_count, self.commit_count)?;
        r.expect("at", seen.at, self.at)?;
        r.expect("data_plain_bytes", seen.data_plain_bytes, self.data_plain_bytes)?;
        r.expect("record_count", seen.record_count, self.record_count)?;
        r.expect("chain", super::ids::hex(&seen.chain), super::ids::hex(&self.chain))
    }
}

// A body of the largest frame and its header stay far from the limits of the fields that hold them.
const _: () = assert!(super::pack::FRAME_PLAIN_BYTES_MAX < u32::MAX - 4096);
const _: () =
    assert!(super::pack::PACK_BYTES_MAX.is_multiple_of(BLOCK_BYTES) && BLOCK_BYTES.is_multiple_of(FRAME_ALIGN));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_single_bit_flip_of_a_frame_is_noticed_without_a_key() {
        let mut frame = vec![7_u8; FRAME_HEADER_BYTES + 100];
        FrameHeader::write(FrameKind::Data, 3, &mut frame).expect("fits");
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (head, body) = bad.split_at(FRAME_HEADER_BYTES);
            let noticed = match FrameHeader::decode(head, 1 << 20) {
                Err(_) => true,
                Ok(header) => header.check(body).is_err(),
            };
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn a_body_longer_than_its_kind_allows_is_refused_before_memory_is_taken() {
        for (kind, body) in [(FrameKind::Data, 4096 + 25), (FrameKind::Commit, 81), (FrameKind::Footer, 167)] {
            let mut frame = vec![0_u8; FRAME_HEADER_BYTES + body];
            FrameHeader::write(kind, 0, &mut frame).expect("fits");
            let result = FrameHeader::decode(&frame[..32], 4096);
            assert!(matches!(result, Err(Error::Field { field: "body_bytes", .. })), "{kind:?}");
        }
    }

    #[test]
    fn content_prefixes_that_promise_too_much_or_nothing_are_refused() {
        let prefix = |zstd, plain_bytes| [Inner { zstd, plain_bytes }.encode().as_slice(), &[0; 10]].concat();
        assert!(Inner::split(&prefix(true, 0), 4096).is_err());
        assert!(Inner::split(&prefix(true, 4097), 4096).is_err());
        assert!(Inner::split(&prefix(false, 11), 4096).is_err());
        assert_eq!(Inner::split(&prefix(false, 10), 4096).map(|(inner, _)| inner.plain_bytes), Ok(10));
        let mut odd = prefix(true, 10);
        odd[2] = 1;
        assert!(Inner::split(&odd, 4096).is_err());
    }

    proptest! {
        #[test]
        fn commits_and_footers_survive_the_round_trip(a in any::<[u32; 4]>(), b in any::<[u64; 3]>(), chain in any::<[u8; 32]>(), cut in any::<bool>()) {
            let commit = Commit { first_index: a[0], frame_count: a[1], at: b[0], data_plain_bytes: b[1], record_count: a[2], number: a[3], chain };
            prop_assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
            let reason = if cut { FooterReason::Cut } else { FooterReason::Complete };
            let footer = Footer { frame_count: a[0], commit_count: a[1], at: b[0], data_plain_bytes: b[1], record_count: b[2], chain, reason };
            prop_assert_eq!(Footer::decode(&footer.encode()), Ok(footer));
        }

        #[test]
        fn any_bytes_as_a_frame_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = FrameHeader::decode(&bytes, 1 << 20);
            let _ = Inner::split(&bytes, 1 << 20);
            let _ = FooterKeys::split(&bytes);
            let _ = Footer::decode(&bytes);
            let _ = Commit::decode(&bytes);
        }
    }
}

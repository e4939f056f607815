//! `SEALED` and `SHA256SUMS`: the two text files of a volume. manifests/formats/volume.md sections 4 and 5.

use crate::digest::{Sha256, crc64, merkle_root};
use crate::format::ids::{hex, parse_hex};
use crate::format::{Error, JobId, VolumeId};

const SEALED: &str = "SEALED";
const SUMS: &str = "SHA256SUMS";

/// How the bytes behind the sums were read back from the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// By direct I/O, past the page cache.
    Direct,
    /// After the page cache of the file was dropped.
    DroppedCache,
    /// Neither was possible; a warning was shown.
    Cached,
}

impl ReadBack {
    /// The word in `SEALED`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DroppedCache => "dropped-cache",
            Self::Cached => "cached",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Direct, Self::DroppedCache, Self::Cached].into_iter().find(|way| way.word() == word)
    }

    /// The weaker of two ways: what may be said of both together.
    pub fn weaker(self, other: Self) -> Self {
        let rank = |way| match way {
            Self::Direct => 2,
            Self::DroppedCache => 1,
            Self::Cached => 0,
        };
        if rank(self) <= rank(other) { self } else { other }
    }
}

/// The contents of `SEALED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Job of the volume.
    pub job: JobId,
    /// The volume.
    pub volume: VolumeId,
    /// Its number in the job.
    pub number: u32,
    /// Packs on it.
    pub packs: u64,
    /// Sum of the lengths of all listed files.
    pub bytes: u64,
    /// RFC 3339, UTC, whole seconds.
    pub sealed_at: String,
    /// How the read-back was done.
    pub read_back: ReadBack,
    /// SHA-256 of `SHA256SUMS`.
    pub sums_sha256: Sha256,
    /// What the job's key vouches for; `None`: the seal is not signed.
    pub signature: Option<SealSignature>,
}

/// The signed part of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSignature {
    /// Root of the Merkle tree over the lines of `SHA256SUMS`, those of slots left out.
    pub merkle_root: Sha256,
    /// Digest of the custody log as it was when the volume was sealed.
    pub custody: Sha256,
    /// Ed25519 key that signed.
    pub key: [u8; 32],
    /// The signature over [`Sealed::signed_bytes`].
    pub signature: [u8; 64],
}

impl Sealed {
    /// The bytes a signature over this seal covers. Not among them are `bytes` and `sums-sha256`: both change when key
    /// slots are replaced, and both follow from the files.
    pub fn signed_bytes(&self, merkle_root: &Sha256, custody: &Sha256) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(192);
        bytes.extend_from_slice(&self.job.0);
        bytes.extend_from_slice(&self.volume.0);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.packs.to_le_bytes());
        for text in [self.sealed_at.as_str(), self.read_back.word()] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(merkle_root);
        bytes.extend_from_slice(custody);
        bytes
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let mut body = format!(
            "packmule-sealed: 1\njob: {}\nvolume: {}\nnumber: {}\npacks: {}\nbytes: {}\nsealed: {}\nread-back: {}\nsums-sha256: {}\n",
            self.job,
            self.volume,
            self.number,
            self.packs,
            self.bytes,
            self.sealed_at,
            self.read_back.word(),
            hex(&self.sums_sha256),
        );
        if let Some(signed) = &self.signature {
            body += &format!(
                "merkle-root: {}\ncustody: {}\njob-key: {}\nsignature: {}\n",
                hex(&signed.merkle_root),
                hex(&signed.custody),
                hex(&signed.key),
                hex(&signed.signature),
            );
        }
        format!("{body}crc64: {}\n", crc64(body.as_bytes()))
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// For every reason of volume.md section 5 that needs no other file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::field(SEALED, "text", "ASCII", "other bytes"))?;
        let at = text.rfind("crc64: ").ok_or_else(|| Error::field(SEALED, "crc64", "a last line", "none"))?;
        let (body, last) = text.split_at(at);
        let expected = crc64(body.as_bytes()).0;
        let found = last
            .strip_prefix("crc64: ")
            .and_then(|rest| rest.strip_suffix('\n'))
            .and_then(parse_hex::<8>)
            .map(u64::from_be_bytes)
            .ok_or_else(|| Error::field(SEALED, "crc64", "16 lower-case hex digits", last.escape_debug()))?;
        if expected != found {
            return Err(Error::Checksum { record: SEALED, expected, found });
        }
        let mut lines = Lines(body.split_inclusive('\n').peekable());
        let version = lines.value("packmule-sealed")?;
        if version != "1" {
            return Err(Error::field(SEALED, "packmule-sealed", 1, version));
        }
        let sealed = Self {
            job: JobId::parse(lines.value("job")?)?,
            volume: VolumeId::parse(lines.value("volume")?)?,
            number: decimal("number", lines.value("number")?)?,
            packs: decimal("packs", lines.value("packs")?)?,
            bytes: decimal("bytes", lines.value("bytes")?)?,
            sealed_at: lines.value("sealed")?.to_owned(),
            read_back: {
                let word = lines.value("read-back")?;
                ReadBack::parse(word)
                    .ok_or_else(|| Error::field(SEALED, "read-back", "direct, dropped-cache or cached", word))?
            },
            sums_sha256: lines.hex("sums-sha256")?,
            signature: if lines.0.peek().is_some_and(|line| line.starts_with("merkle-root: ")) {
                Some(SealSignature {
                    merkle_root: lines.hex("merkle-root")?,
                    custody: lines.hex("custody")?,
                    key: lines.hex("job-key")?,
                    signature: lines.hex("signature")?,
                })
            } else {
                None
            },
        };
        match lines.0.find(|line| !line.starts_with("x-")) {
            None => Ok(sealed),
            Some(line) => Err(Error::field(SEALED, "line", "x- or crc64", line.escape_debug())),
        }
    }
}

/// The lines of `SEALED`, in their order.
struct Lines<'a>(std::iter::Peekable<std::str::SplitInclusive<'a, char>>);

impl<'a> Lines<'a> {
    fn value(&mut self, name: &'static str) -> Result<&'a str, Error> {
        let line = self.0.next().unwrap_or_default();
        line.strip_suffix('\n')
            .and_then(|line| line.strip_prefix(name))
            .and_then(|line| line.strip_prefix(": "))
            .ok_or_else(|| Error::field(SEALED, name, "a line of that name here", line.escape_debug()))
    }

    fn hex<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], Error> {
        let digits = self.value(name)?;
        parse_hex(digits).ok_or_else(|| Error::field(SEALED, name, format!("{} hex digits", 2 * N), digits))
    }
}

fn decimal<T: std::str::FromStr + ToString>(field: &'static str, text: &str) -> Result<T, Error> {
    text.parse::<T>()
        .ok()
        .filter(|value| value.to_string() == text)
        .ok_or_else(|| Error::field(SEALED, field, "a decimal number", text.escape_debug()))
}

/// One line of `SHA256SUMS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumLine {
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// Path relative to `packmule/`.
    pub path: String,
}

/// Root of the Merkle tree over those lines, those of key slots left out: slots may be replaced, all else is for ever.
pub fn sums_root(lines: &[SumLine]) -> Sha256 {
    let kept = lines.iter().filter(|line| !line.path.starts_with("slots/"));
    let leaves: Vec<String> = kept.map(|line| format!("{}  {}", hex(&line.sha256), line.path)).collect();
    merkle_root(leaves.iter().map(String::as_bytes))
}

/// The text of `SHA256SUMS`, in the order given.
pub fn render_sums(lines: &[SumLine]) -> String {
    lines.iter().map(|line| format!("{}  {}\n", hex(&line.sha256), line.path)).collect()
}

/// Reads `SHA256SUMS`. Paths are only ever names this format defines, so anything else is refused.
///
/// # Errors
/// When a line is not in `sha256sum`'s format, names a file no volume has, or repeats one.
pub fn parse_sums(bytes: &[u8]) -> Result<Vec<SumLine>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::field(SUMS, "text", "ASCII", "other bytes"))?;
    let mut lines = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for line in text.split_inclusive('\n') {
        let wrong = || Error::field(SUMS, "line", "64 hex digits, two spaces, a known path", line.escape_debug());
        let (digits, path) = line.strip_suffix('\n').and_then(|line| line.split_once("  ")).ok_or_else(wrong)?;
        let sha256 = parse_hex(digits).ok_or_else(wrong)?;
        if !is_volume_file(path) || !seen.insert(path) {
            return Err(wrong());
        }
        lines.push(SumLine { sha256, path: path.to_owned() });
    }
    Ok(lines)
}

/// Whether that relative path is one `SHA256SUMS` may name.
fn is_volume_file(path: &str) -> bool {
    let slot = |name: &str| {
        name.strip_suffix(".age")
            .or_else(|| name.strip_suffix(".kms"))
            .is_some_and(|run| parse_hex::<16>(run).is_some())
    };
    let pack = |name: &str| {
        name.strip_suffix(".pack").is_some_and(|number| number.len() == 8 && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let reader = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.bytes().all(is_plain)
    };
    matches!(path, "README.txt" | "VOLUME" | "MANIFEST")
        || path.strip_prefix("slots/").is_some_and(slot)
        || path.strip_prefix("packs/").is_some_and(pack)
        || path.strip_prefix("reader/").is_some_and(reader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Sealed {
        Sealed {
            job: JobId([1; 16]),
            volume: VolumeId([2; 16]),
            number: 1,
            packs: 3,
            bytes: 4096,
            sealed_at: "2026-11-23T00:00:00Z".into(),
            read_back: ReadBack::Direct,
            sums_sha256: [9; 32],
            signature: None,
        }
    }

    fn signed() -> Sealed {
        let signature = SealSignature { merkle_root: [4; 32], custody: [5; 32], key: [6; 32], signature: [7; 64] };
        Sealed { signature: Some(signature), ..sample() }
    }

    #[test]
    fn every_single_bit_flip_of_sealed_is_refused() {
        for seal in [sample(), signed()] {
            let good = seal.encode().into_bytes();
            assert_eq!(Sealed::decode(&good), Ok(seal));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Sealed::decode(&bad).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn repeated_missing_and_reordered_lines_are_refused_and_x_lines_skipped() {
        let text = signed().encode();
        let body: Vec<&str> = text.lines().filter(|line| !line.starts_with("crc64")).collect();
        let with = |lines: Vec<&str>| {
            let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
            Sealed::decode(format!("{body}crc64: {}\n", crc64(body.as_bytes())).as_bytes())
        };
        assert!(with(body.clone()).is_ok());
        assert!(with([body.clone(), vec!["x-signature: later"]].concat()).is_ok());
        assert!(with([body.clone(), vec!["odd: later"]].concat()).is_err());
        assert!(with(body[..9].to_vec()).is_ok(), "a seal that is not signed");
        for at in 0..body.len() {
            let mut missing = body.clone();
            missing.remove(at);
            assert!(with(missing).is_err(), "without line {at}");
            let mut twice = body.clone();
            twice.insert(at, body[at]);
            assert!(with(twice).is_err(), "line {at} twice");
            if at > 0 {
                let mut swapped = body.clone();
                swapped.swap(at - 1, at);
                assert!(with(swapped).is_err(), "line {at} moved");
            }
        }
    }

    #[test]
    fn the_root_covers_every_file_but_slots() {
        let line = |byte, path: &str| SumLine { sha256: [byte; 32], path: path.to_owned() };
        let slot = format!("slots/{}.age", "0f".repeat(16));
        let lines = [line(1, "VOLUME"), line(2, &slot), line(3, "packs/00000001.pack"), line(4, "MANIFEST")];
        let root = sums_root(&lines);
        for at in 0..lines.len() {
            let mut other = lines.clone();
            other[at].sha256[31] ^= 1;
            assert_eq!(sums_root(&other) == root, at == 1, "{}", lines[at].path);
        }
        assert_ne!(sums_root(&lines[..3]), root);
    }

    #[test]
    fn sums_name_only_files_a_volume_has() {
        let line = |path: &str| format!("{}  {path}\n", "ab".repeat(32));
        for path in [
            "README.txt",
            "VOLUME",
            "MANIFEST",
            "packs/00000001.pack",
            "reader/volume.md",
            &format!("slots/{}.age", "0f".repeat(16)),
        ] {
            assert!(parse_sums(line(path).as_bytes()).is_ok(), "{path}");
        }
        for path in [
            "../x",
            "reader/../x",
            "reader/.x",
            "/etc/passwd",
            "packs/1.pack",
            "packs/../VOLUME",
            "SEALED",
            "SHA256SUMS",
            "",
        ] {
            assert!(parse_sums(line(path).as_bytes()).is_err(), "{path}");
        }
        assert!(parse_sums([line("VOLUME"), line("VOLUME")].concat().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_gives_sums_or_an_error(text in ".*") {
            let _ = parse_sums(text.as_bytes());
            let _ = Sealed::decode(text.as_bytes());
        }
    }
}

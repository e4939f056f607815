//! The custody log of a volume or a job, as entries and as text. manifests/formats/custody.md.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Sha256, sha256};
use crate::format::ids::{hex, parse_hex};
use crate::format::{Error, JobId};

const RECORD: &str = "CUSTODY";
/// Longest value of one text field. Unit: bytes. Source: custody.md section 4.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Most entries in one log. Source: custody.md section 4.
const ENTRIES_MAX: usize = 10_000;

/// Something that happened to a job or to one of its volumes, said by whoever signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodyEntry {
    /// The job.
    pub job: JobId,
    /// The volume it happened to; 0: to the job.
    pub volume: u32,
    /// When, nanoseconds since 1970.
    pub at_ns: i64,
    /// What, in one word: `created`, `sealed`, `handed-over`, ...
    pub kind: String,
    /// Who says so, in their own words.
    pub by: String,
    /// Details.
    pub detail: String,
    /// Hashes of the entries this one follows: all that nothing followed yet.
    pub before: Vec<Sha256>,
    /// Ed25519 key that signs it.
    pub key: [u8; 32],
    /// Signature over [`CustodyEntry::hash`].
    pub signature: [u8; 64],
}

impl CustodyEntry {
    /// Hash of everything in the entry but the signature. Lengths go first, so that no two entries have the same bytes.
    pub fn hash(&self) -> Sha256 {
        let mut bytes = b"packmule/1 custody".to_vec();
        bytes.extend_from_slice(&self.job.0);
        bytes.extend_from_slice(&self.volume.to_le_bytes());
        bytes.extend_from_slice(&self.at_ns.to_le_bytes());
        bytes.extend_from_slice(&(self.before.len() as u64).to_le_bytes());
        self.before.iter().for_each(|hash| bytes.extend_from_slice(hash));
        for text in [&self.kind, &self.by, &self.detail] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.key);
        sha256(&bytes)
    }
}

/// Hashes of the entries that no other entry follows, in ascending order.
pub fn heads<'a>(entries: impl Iterator<Item = &'a CustodyEntry> + Clone) -> Vec<Sha256> {
    let followed: HashSet<Sha256> = entries.clone().flat_map(|entry| entry.before.iter().copied()).collect();
    let mut heads: Vec<Sha256> = entries.map(CustodyEntry::hash).filter(|hash| !followed.contains(hash)).collect();
    heads.sort_unstable();
    heads
}

/// One digest for a whole log: the SHA-256 of its heads. All zero for a log without entries.
pub fn heads_digest<'a>(entries: impl Iterator<Item = &'a CustodyEntry> + Clone) -> Sha256 {
    match heads(entries) {
        none if none.is_empty() => [0; 32],
        heads => sha256(&heads.concat()),
    }
}

/// Whether the log with that digest is the beginning of this one.
pub fn begins_with(entries: &[CustodyEntry], digest: &Sha256) -> bool {
    let mut heads = BTreeSet::new();
    let mut is_beginning = *digest == [0; 32];
    for entry in entries {
        entry.before.iter().for_each(|hash| {
            heads.remove(hash);
        });
        heads.insert(entry.hash());
        let all: Vec<u8> = heads.iter().flatten().copied().collect();
        is_beginning |= sha256(&all) == *digest;
    }
    is_beginning
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    kind: String,
    by: String,
    detail: String,
    before: Vec<String>,
    key: String,
    hash: String,
    signature: String,
}

/// The text of a log: one JSON object a line.
pub fn render_custody<'a>(entries: impl Iterator<Item = &'a CustodyEntry>) -> String {
    let mut text = String::new();
    for entry in entries {
        let at = Timestamp::from_nanosecond(entry.at_ns.into()).unwrap_or_default();
        let line = Line {
            at: at.to_string(),
            kind: entry.kind.clone(),
            by: entry.by.clone(),
            detail: entry.detail.clone(),
            before: entry.before.iter().map(|hash| hex(hash)).collect(),
            key: hex(&entry.key),
            hash: hex(&entry.hash()),
            signature: hex(&entry.signature),
        };
        text.push_str(&serde_json::to_string(&line).unwrap_or_default());
        text.push('\n');
    }
    text
}

/// Reads the log of a volume (0: of the job), and checks everything that needs no signature: every hash is that of its
/// entry, every entry follows earlier ones, and only the first follows none.
///
/// # Errors
/// Names the line.
pub fn parse_custody(bytes: &[u8], job: JobId, volume: u32) -> Result<Vec<CustodyEntry>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::field(RECORD, "text", "UTF-8", "other bytes"))?;
    let mut entries: Vec<CustodyEntry> = Vec::new();
    let mut seen = HashSet::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let number = at + 1;
        let wrong = |field: &'static str, what: &str| {
            Error::field(RECORD, field, what, format!("something else in line {number}"))
        };
        if entries.len() >= ENTRIES_MAX {
            return Err(wrong("lines", "at most 10,000 lines"));
        }
        let line = line.strip_suffix('\n').ok_or_else(|| wrong("line", "a line feed at the end"))?;
        let line: Line = serde_json::from_str(line).map_err(|_| wrong("line", "an entry of the log"))?;
        let entry = decode(line, job, volume, &wrong)?;
        let follows = entry.before.iter().all(|hash| seen.contains(hash));
        let sorted = entry.before.is_sorted_by(|a, b| a < b);
        if !follows || !sorted || entry.before.is_empty() != entries.is_empty() || !seen.insert(entry.hash()) {
            return Err(wrong("before", "the entries it follows, all of them above it"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn decode(
    line: Line,
    job: JobId,
    volume: u32,
    wrong: &dyn Fn(&'static str, &str) -> Error,
) -> Result<CustodyEntry, Error> {
    let at: Timestamp = line.at.parse().map_err(|_| wrong("at", "a time in RFC 3339"))?;
    let at_ns = i64::try_from(at.as_nanosecond()).map_err(|_| wrong("at", "a time up to the year 2262"))?;
    if [&line.kind, &line.by, &line.detail].iter().any(|text| text.len() > TEXT_BYTES_MAX) || line.kind.is_empty() {
        return Err(wrong("kind, by, detail", "at most 16 KiB each, and a kind"));
    }
    let before: Option<Vec<Sha256>> = line.before.iter().map(|digits| parse_hex(digits)).collect();
    let entry = CustodyEntry {
        job,
        volume,
        at_ns,
        kind: line.kind,
        by: line.by,
        detail: line.detail,
        before: before.ok_or_else(|| wrong("before", "hashes"))?,
        key: parse_hex(&line.key).ok_or_else(|| wrong("key", "64 hex digits"))?,
        signature: parse_hex(&line.signature).ok_or_else(|| wrong("signature", "128 hex digits"))?,
    };
    // The time is rendered from the number, so a second spelling of the same moment is an edit too.
    if line.hash != hex(&entry.hash()) || at.to_string() != line.at {
        return Err(wrong("hash", "the hash of the entry"));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: JobId = JobId([1; 16]);

    fn log(count: usize) -> Vec<CustodyEntry> {
        let mut entries = Vec::new();
        for n in 0..count {
            let before = heads(entries.iter());
            let entry = CustodyEntry {
                job: JOB,
                volume: 3,
                at_ns: 1_800_000_000_000_000_000 + n as i64,
                kind: "handed-over".into(),
                by: "J. Doe, \"ACME\"\n".into(),
                detail: format!("{n}"),
                before,
                key: [7; 32],
                signature: [9; 64],
            };
            entries.push(entry);
        }
        entries
    }

    #[test]
    fn a_log_survives_the_round_trip_and_every_flipped_bit_is_noticed() {
        let entries = log(3);
        let text = render_custody(entries.iter());
        assert_eq!(parse_custody(text.as_bytes(), JOB, 3).expect("its own text"), entries);
        assert!(parse_custody(text.as_bytes(), JobId([2; 16]), 3).is_err(), "a log of another job");
        assert!(parse_custody(text.as_bytes(), JOB, 4).is_err(), "a log of another volume");
        let signatures: Vec<(usize, usize)> =
            text.match_indices("\"signature\":\"").map(|(at, m)| (at + m.len(), 128)).collect();
        for bit in 0..text.len() * 8 {
            let mut bad = text.clone().into_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            let in_signature = signatures.iter().any(|(at, len)| (*at..at + len).contains(&(bit / 8)));
            let parsed = parse_custody(&bad, JOB, 3);
            // What a signature says is checked by whoever has the arithmetic; here it only has to differ.
            assert!(parsed.is_err() || (in_signature && parsed != Ok(entries.clone())), "bit {bit}");
        }
    }

    #[test]
    fn entries_cannot_be_left_out_moved_or_repeated() {
        let text = render_custody(log(4).iter());
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for at in 0..3 {
            let mut without = lines.clone();
            without.remove(at);
            assert!(parse_custody(without.concat().as_bytes(), JOB, 3).is_err(), "without {at}");
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            assert!(parse_custody(swapped.concat().as_bytes(), JOB, 3).is_err(), "swapped {at}");
        }
        assert!(parse_custody([text.as_str(), lines[3]].concat().as_bytes(), JOB, 3).is_err(), "twice");
        // The last line alone can be cut off; the digest of the heads tells it.
        let cut = parse_custody(lines[..3].concat().as_bytes(), JOB, 3).expect("a shorter log");
        assert_ne!(heads_digest(cut.iter()), heads_digest(log(4).iter()));
        assert!(begins_with(&log(4), &heads_digest(cut.iter())) && !begins_with(&cut, &heads_digest(log(4).iter())));
        assert!(begins_with(&cut, &heads_digest([].iter())));
    }

    #[test]
    fn an_entry_after_two_branches_follows_both() {
        let mut entries = log(2);
        let mut other = entries[1].clone();
        other.detail = "said elsewhere".into();
        entries.push(other);
        assert_eq!(heads(entries.iter()).len(), 2);
        let joined = CustodyEntry { before: heads(entries.iter()), detail: "both".into(), ..entries[0].clone() };
        entries.push(joined.clone());
        assert_eq!(heads(entries.iter()), [joined.hash()]);
        let text = render_custody(entries.iter());
        assert_eq!(parse_custody(text.as_bytes(), JOB, 3).expect("a log with a branch").len(), 4);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_log_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_custody(&bytes, JOB, 3);
        }
    }
}

//! Plaintext of a key slot. manifests/formats/key-slots.md section 2.

use zeroize::Zeroizing;

use crate::format::ids::{hex, parse_hex};
use crate::format::{Error, JobId, RunId};

const RECORD: &str = "key slot";

/// Longest slot file a reader takes into memory. Unit: bytes.
pub const SLOT_BYTES_MAX: u64 = 64 << 10;

/// What a slot says: which run of which job has which key. Has no `Debug`, and wipes the key when dropped.
pub struct SlotText {
    /// Job the key belongs to.
    pub job: JobId,
    /// Run the key belongs to.
    pub run: RunId,
    /// The run key.
    pub key: Zeroizing<[u8; 32]>,
}

impl SlotText {
    /// The text that is encrypted into the slot.
    pub fn encode(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(hex(&*self.key));
        Zeroizing::new(format!("packmule-run-key 1\njob {}\nrun {}\nkey {}\n", self.job, self.run, *key))
    }

    /// Reads a slot's plaintext, which must be of that job and run.
    ///
    /// # Errors
    /// For anything but the exact text; the message never quotes the key.
    pub fn decode(bytes: &[u8], job: JobId, run: RunId) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::field(RECORD, "text", "ASCII", "other bytes"))?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [first, job_line, run_line, key_line, ""] = lines.as_slice() else {
            return Err(Error::field(RECORD, "lines", 4, lines.len().saturating_sub(1)));
        };
        let check = |field, expected: String, found: &str| {
            if found == expected { Ok(()) } else { Err(Error::field(RECORD, field, expected, found.escape_debug())) }
        };
        check("version", "packmule-run-key 1".into(), first)?;
        check("job", format!("job {job}"), job_line)?;
        check("run", format!("run {run}"), run_line)?;
        let key = key_line
            .strip_prefix("key ")
            .and_then(parse_hex::<32>)
            .ok_or_else(|| Error::field(RECORD, "key", "64 lower-case hex digits", "something else"))?;
        Ok(Self { job, run, key: Zeroizing::new(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([1; 16]);
    const RUN: RunId = RunId([2; 16]);

    #[test]
    fn a_slot_survives_the_round_trip_and_is_bound_to_job_and_run() {
        let slot = SlotText { job: JOB, run: RUN, key: Zeroizing::new([3; 32]) };
        let text = slot.encode();
        let read = SlotText::decode(text.as_bytes(), JOB, RUN).expect("its own text");
        assert_eq!(*read.key, [3; 32]);
        assert!(SlotText::decode(text.as_bytes(), JobId([9; 16]), RUN).is_err());
        assert!(SlotText::decode(text.as_bytes(), JOB, RunId([9; 16])).is_err());
    }

    #[test]
    fn any_other_text_is_refused_and_the_key_never_quoted() {
        let slot = SlotText { job: JOB, run: RUN, key: Zeroizing::new([0xab; 32]) };
        let good = slot.encode();
        for bad in [
            good.trim_end().to_owned(),
            format!("{}\n", *good),
            good.replace("key ab", "key AB"),
            good.replace('1', "2"),
        ] {
            let error = SlotText::decode(bad.as_bytes(), JOB, RUN).err().expect("refused").to_string();
            assert!(!error.to_lowercase().contains("abab"), "{error}");
        }
    }
}

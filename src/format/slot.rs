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
    /// Whom the slot is for, so that whoever opens it can wrap it for others.
    pub recipients: Vec<SlotRecipient>,
}

/// Somebody or something a slot is wrapped for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRecipient {
    /// What it is, one word: `age`, `ssh`, `plugin`, `passphrase`, `unlock-code`, `kms`.
    pub kind: String,
    /// The public half, as age reads it.
    pub text: String,
}

impl SlotRecipient {
    /// A recipient given as text: its kind is seen from how it begins.
    pub fn of(text: &str) -> Self {
        let kind = match text {
            text if text.starts_with("ssh-") => "ssh",
            text if text.starts_with("age1") && text.len() == 62 => "age",
            _ => "plugin",
        };
        Self { kind: kind.to_owned(), text: text.to_owned() }
    }

    /// The recipient a data key of a key service stands for.
    pub fn of_kms(text: String) -> Self {
        Self { kind: "kms".to_owned(), text }
    }

    /// Whether it is one of those.
    pub fn is_kms(&self) -> bool {
        self.kind == "kms"
    }
}

/// Most recipients a slot may name. Source: key-slots.md section 2.
const RECIPIENTS_MAX: usize = 256;

impl SlotText {
    /// The text that is encrypted into the slot.
    pub fn encode(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(hex(&*self.key));
        // WHY reserved: growing would leave copies of the key behind.
        let room = 256 + self.recipients.iter().map(|one| one.kind.len() + one.text.len() + 8).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str("packmule-run-key 1\njob ");
        text.push_str(&self.job.to_string());
        text.push_str("\nrun ");
        text.push_str(&self.run.to_string());
        text.push_str("\nkey ");
        text.push_str(&key);
        text.push('\n');
        for recipient in &self.recipients {
            for part in ["for ", &recipient.kind, " ", &recipient.text, "\n"] {
                text.push_str(part);
            }
        }
        text
    }

    /// Reads a slot's plaintext, which must be of that job and run.
    ///
    /// # Errors
    /// For anything but the exact text; the message never quotes the key.
    pub fn decode(bytes: &[u8], job: JobId, run: RunId) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::field(RECORD, "text", "ASCII", "other bytes"))?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [first, job_line, run_line, key_line, others @ .., ""] = lines.as_slice() else {
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
        let key = Zeroizing::new(key);
        if others.len() > RECIPIENTS_MAX {
            return Err(Error::field(RECORD, "for", format!("at most {RECIPIENTS_MAX} lines"), others.len()));
        }
        let recipients = others.iter().map(|line| recipient(line)).collect::<Result<_, _>>()?;
        Ok(Self { job, run, key, recipients })
    }
}

fn recipient(line: &str) -> Result<SlotRecipient, Error> {
    let parts = line.strip_prefix("for ").and_then(|rest| rest.split_once(' '));
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    match parts {
        Some((kind, text)) if is_word(kind) && is_plain(text) => {
            Ok(SlotRecipient { kind: kind.to_owned(), text: text.to_owned() })
        }
        _ => Err(Error::field(RECORD, "for", "a kind and a recipient", "something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([1; 16]);
    const RUN: RunId = RunId([2; 16]);

    #[test]
    fn a_slot_survives_the_round_trip_and_is_bound_to_job_and_run() {
        let recipients = vec![SlotRecipient::of("ssh-ed25519 AAAA me@here"), SlotRecipient::of("age1x1y")];
        let slot = SlotText { job: JOB, run: RUN, key: Zeroizing::new([3; 32]), recipients };
        let text = slot.encode();
        let read = SlotText::decode(text.as_bytes(), JOB, RUN).expect("its own text");
        assert_eq!(*read.key, [3; 32]);
        assert_eq!(read.recipients, slot.recipients);
        assert_eq!(read.recipients[0].kind, "ssh");
        assert!(SlotText::decode(text.as_bytes(), JobId([9; 16]), RUN).is_err());
        assert!(SlotText::decode(text.as_bytes(), JOB, RunId([9; 16])).is_err());
    }

    #[test]
    fn any_other_text_is_refused_and_the_key_never_quoted() {
        let slot = SlotText { job: JOB, run: RUN, key: Zeroizing::new([0xab; 32]), recipients: Vec::new() };
        let good = slot.encode();
        for bad in [
            good.trim_end().to_owned(),
            format!("{}\n", *good),
            good.replace("key ab", "key AB"),
            good.replace('1', "2"),
            format!("{}for nobody\n", *good),
            format!("{}for age \n", *good),
            format!("{}and age age1x\n", *good),
            format!("{}for age age1\x07\n", *good),
            format!("{}{}", *good, "for age age1x\n".repeat(257)),
        ] {
            let error = SlotText::decode(bad.as_bytes(), JOB, RUN).err().expect("refused").to_string();
            assert!(!error.to_lowercase().contains("abab"), "{error}");
        }
    }
}

//! Key slots: a run key in an ordinary age file. manifests/formats/key-slots.md section 2.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use crate::crypto::{Error, Identities, Recipients, RunKey};
use crate::format::{JobId, RunId, SLOT_BYTES_MAX, SlotRecipient, SlotText};

/// A slot that was opened.
pub struct OpenedSlot {
    /// The key it holds.
    pub key: RunKey,
    /// Whom it is for; empty in slots that do not say.
    pub recipients: Vec<SlotRecipient>,
}

/// Wraps a run key for all recipients.
///
/// # Errors
/// When there is no recipient, or one of them (a plugin, say) refuses.
pub fn seal_slot(job: JobId, run: &RunKey, recipients: &Recipients) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Slot { reason };
    let encryptor = age::Encryptor::with_recipients(recipients.iter()).map_err(|error| failed(error.to_string()))?;
    let recipients = recipients.named().to_vec();
    let text = SlotText { job, run: run.run(), key: Zeroizing::new(**run.secret()), recipients }.encode();
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).map_err(|error| failed(error.to_string()))?;
    writer.write_all(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    writer.finish().map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

/// Opens a slot of that job and run.
///
/// # Errors
/// [`Error::NoMatchingIdentity`] when none of the identities fits, [`Error::Slot`] when the file is damaged,
/// [`Error::Format`] when its text is not a slot of that job and run.
pub fn open_slot(file: &[u8], job: JobId, run: RunId, identities: &Identities) -> Result<RunKey, Error> {
    unwrap_slot(file, job, run, identities).map(|slot| slot.key)
}

/// Opens a slot of that job and run, and says whom it is for.
///
/// # Errors
/// Those of [`open_slot`].
pub fn unwrap_slot(file: &[u8], job: JobId, run: RunId, identities: &Identities) -> Result<OpenedSlot, Error> {
    let failed = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys => Error::NoMatchingIdentity,
        other => Error::Slot { reason: other.to_string() },
    };
    if identities.is_empty() {
        return Err(Error::NoMatchingIdentity);
    }
    let decryptor = age::Decryptor::new_buffered(file).map_err(failed)?;
    let reader = decryptor.decrypt(identities.iter()).map_err(failed)?;
    let mut text = Zeroizing::new(Vec::with_capacity(file.len()));
    reader.take(SLOT_BYTES_MAX).read_to_end(&mut text).map_err(|error| Error::Slot { reason: error.to_string() })?;
    let slot = SlotText::decode(&text, job, run)?;
    Ok(OpenedSlot { key: RunKey::opened(slot.run, slot.key), recipients: slot.recipients })
}

/// Kinds of the stanzas of an age file, which anybody can see: `X25519`, `ssh-ed25519`, ... Grease, which is there so
/// that readers stay used to stanzas they do not know, is left out.
pub fn stanzas(file: &[u8]) -> Vec<String> {
    let header = file.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"--- "));
    let kinds =
        header.filter_map(|line| line.strip_prefix(b"-> ")).filter_map(|line| line.split(|byte| *byte == b' ').next());
    let kinds = kinds.map(|kind| String::from_utf8_lossy(kind).into_owned());
    kinds.filter(|kind| !kind.ends_with("-grease")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::new_identity;
    use crate::sys::random::SeededRandom;

    const JOB: JobId = JobId([1; 16]);

    #[test]
    fn a_slot_opens_for_each_of_its_recipients_and_nobody_else() {
        let random = SeededRandom::new(1);
        let people: Vec<_> = (0..3).map(|_| new_identity(&random).expect("makes")).collect();
        let recipients =
            Recipients::parse(people[..2].iter().map(|person| person.recipient.as_str())).expect("age recipients");
        let run = RunKey::fresh(&random);
        let file = seal_slot(JOB, &run, &recipients).expect("wraps");
        for (at, person) in people.iter().enumerate() {
            let mut identities = Identities::none();
            identities.add_text(&person.secret).expect("an identity");
            let opened = open_slot(&file, JOB, run.run(), &identities);
            assert_eq!(opened.is_ok(), at < 2);
            if let Ok(opened) = opened {
                assert_eq!(**opened.secret(), **run.secret());
                let slot = unwrap_slot(&file, JOB, run.run(), &identities).expect("opens");
                let texts: Vec<&str> = slot.recipients.iter().map(|one| one.text.as_str()).collect();
                assert_eq!(texts, [people[0].recipient.as_str(), people[1].recipient.as_str()]);
            }
        }
        assert_eq!(stanzas(&file), ["X25519", "X25519"]);
        assert!(matches!(open_slot(&file, JOB, run.run(), &Identities::none()), Err(Error::NoMatchingIdentity)));
    }

    #[test]
    fn a_slot_of_another_job_or_run_and_a_damaged_one_are_refused() {
        let random = SeededRandom::new(2);
        let person = new_identity(&random).expect("makes");
        let recipients = Recipients::parse([person.recipient.as_str()]).expect("an age recipient");
        let run = RunKey::fresh(&random);
        let file = seal_slot(JOB, &run, &recipients).expect("wraps");
        let mut identities = Identities::none();
        identities.add_text(&person.secret).expect("an identity");
        assert!(matches!(open_slot(&file, JobId([9; 16]), run.run(), &identities), Err(Error::Format(_))));
        assert!(matches!(open_slot(&file, JOB, RunId([9; 16]), &identities), Err(Error::Format(_))));
        for at in [0, file.len() / 2, file.len() - 1] {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(open_slot(&bad, JOB, run.run(), &identities).is_err(), "byte {at}");
        }
    }
}

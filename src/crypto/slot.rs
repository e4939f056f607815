//! Key slots: a run key in an ordinary age file. manifests/formats/key-slots.md section 2.

use std::io::{Read, Write};

use zeroize::Zeroizing;

use crate::crypto::{Error, Identities, Recipients, RunKey};
use crate::format::{JobId, RunId, SLOT_BYTES_MAX, SlotText};

/// Wraps a run key for all recipients.
///
/// # Errors
/// When there is no recipient, or one of them (a plugin, say) refuses.
pub fn seal_slot(job: JobId, run: &RunKey, recipients: &Recipients) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Slot { reason };
    let encryptor = age::Encryptor::with_recipients(recipients.iter()).map_err(|error| failed(error.to_string()))?;
    let text = SlotText { job, run: run.run(), key: run.secret().clone() }.encode();
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
    let failed = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys => Error::NoMatchingIdentity,
        other => Error::Slot { reason: other.to_string() },
    };
    if identities.is_empty() {
        return Err(Error::NoMatchingIdentity);
    }
    let decryptor = age::Decryptor::new_buffered(file).map_err(failed)?;
    let reader = decryptor.decrypt(identities.iter()).map_err(failed)?;
    let mut text = Zeroizing::new(Vec::with_capacity(256));
    reader.take(SLOT_BYTES_MAX).read_to_end(&mut text).map_err(|error| Error::Slot { reason: error.to_string() })?;
    let slot = SlotText::decode(&text, job, run)?;
    Ok(RunKey::opened(slot.run, slot.key))
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
            }
        }
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

//! Whom a run's key is wrapped for: the job's recipients, and on each volume a data key of the key service.

use std::sync::Arc;

use crate::crypto::{KeyService, Recipients, RunKey, SlotRecipient, seal_envelope, seal_slot};
use crate::job::Job;
use crate::stage::Error;
use crate::volume::{Volume, add_envelope, envelope_name, envelope_names};

/// Whom slots are wrapped for.
pub(super) struct Wrap {
    recipients: Vec<SlotRecipient>,
    kms_keys: Vec<String>,
    service: Option<Arc<dyn KeyService>>,
    /// The slot that all volumes get, when no key service is used: plugins are asked once.
    common: Option<Vec<u8>>,
}

impl Wrap {
    /// The people of the job.
    ///
    /// # Errors
    /// When there is nobody, or a recipient is not usable.
    pub(super) fn of(job: &Job, run: &RunKey, service: Option<Arc<dyn KeyService>>) -> Result<Self, Error> {
        let (recipients, kms_keys) = (job.slot_recipients()?, job.kms_keys()?);
        if recipients.is_empty() && kms_keys.is_empty() {
            return Err(Error::NoRecipient);
        }
        let usable = Recipients::of(&recipients)?;
        let common = if kms_keys.is_empty() { Some(seal_slot(job.id(), run, &usable)?) } else { None };
        Ok(Self { recipients, kms_keys, service, common })
    }

    /// The run's slot on that volume. The envelopes it needs are durable on the volume when this returns.
    pub(super) fn slot(&self, job: &mut Job, run: &RunKey, volume: &Volume) -> Result<Vec<u8>, Error> {
        if let Some(slot) = &self.common {
            return Ok(slot.clone());
        }
        let mut recipients = self.recipients.clone();
        for key in &self.kms_keys {
            recipients.push(self.kms_recipient(job, volume, key)?);
        }
        Ok(seal_slot(job.id(), run, &Recipients::of(&recipients)?)?)
    }

    /// The recipient a key of the service stands for on that volume. What the volume's own envelope says is not asked:
    /// it was out of our hands.
    fn kms_recipient(&self, job: &mut Job, volume: &Volume, key: &str) -> Result<SlotRecipient, Error> {
        let header = volume.header();
        let setting = format!("kms.recipient.{}.{key}", header.volume);
        if let Some(text) = job.setting(&setting)?
            && envelope_names(volume)?.contains(&envelope_name(&text))
        {
            return Ok(SlotRecipient::of_kms(text));
        }
        let service = self.service.as_ref().ok_or(Error::NoKeyService)?;
        let (recipient, envelope) = seal_envelope(&**service, key, job.id(), header.volume)?;
        add_envelope(volume, &recipient.text, &envelope)?;
        job.batch_durable(|tx| tx.set_setting(&setting, &recipient.text))?;
        Ok(recipient)
    }
}

//! Keys wrapped by a key service: an X25519 identity whose secret is a data key of the service.
//! manifests/formats/key-slots.md section 3.
//!
//! The service makes the data key and gives it twice: plain, of which only the public half is kept, and wrapped, which
//! stands in an envelope on the volume. So slots stay ordinary age files, a resume needs no service, and each opening of a
//! volume is one call that the service can refuse and log, under a context that names job and volume.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::identity::{IdentityText, from_seed};
use crate::crypto::{Error, SlotRecipient};
use crate::format::{JobId, VolumeId};

/// Version of the envelope.
const VERSION: u32 = 1;

/// A service that makes and opens data keys, such as AWS KMS.
pub trait KeyService: Send + Sync {
    /// A new data key of 32 bytes under the key of that name.
    ///
    /// # Errors
    /// What the service said.
    fn generate(&self, key: &str, context: &[(&str, String)]) -> Result<DataKey, Error>;

    /// The data key in `wrapped`, which was made under that key and context.
    ///
    /// # Errors
    /// What the service said.
    fn open(&self, key: &str, wrapped: &[u8], context: &[(&str, String)]) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// A data key as the service gives it.
pub struct DataKey {
    /// The key itself.
    pub plain: Zeroizing<Vec<u8>>,
    /// The same, as only the service can read it.
    pub wrapped: Vec<u8>,
    /// The full name of the key it is wrapped under: an alias may point elsewhere tomorrow.
    pub key: String,
}

/// The envelope as it is on the volume.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "packmule-kms")]
    version: u32,
    job: String,
    volume: String,
    key: String,
    recipient: String,
    wrapped: String,
}

/// What anybody can see of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeFacts {
    /// The key of the service, by its full name.
    pub key: String,
    /// The recipient that slots are wrapped for.
    pub recipient: String,
}

/// What an envelope says of itself. Nothing vouches for it.
///
/// # Errors
/// When it is none.
pub fn envelope_facts(envelope: &[u8]) -> Result<EnvelopeFacts, Error> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| wrong("is damaged"))?;
    Ok(EnvelopeFacts { key: envelope.key, recipient: envelope.recipient })
}

fn wrong(reason: &str) -> Error {
    Error::Slot { reason: format!("the envelope of the key service {reason}") }
}

fn context(job: JobId, volume: VolumeId) -> [(&'static str, String); 2] {
    [("packmule-job", job.to_string()), ("packmule-volume", volume.to_string())]
}

fn identity(data_key: &[u8]) -> Result<IdentityText, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    if data_key.len() != seed.len() {
        return Err(Error::Identity { reason: "the key service gave a key of another length".to_owned() });
    }
    seed.copy_from_slice(data_key);
    from_seed(&seed)
}

/// Has the service make a data key for a volume. Gives the recipient to wrap slots for, and the envelope.
///
/// # Errors
/// What the service said.
pub fn seal_envelope(
    service: &dyn KeyService,
    key: &str,
    job: JobId,
    volume: VolumeId,
) -> Result<(SlotRecipient, Vec<u8>), Error> {
    let made = service.generate(key, &context(job, volume))?;
    let recipient = identity(&made.plain)?.recipient;
    let envelope = Envelope {
        version: VERSION,
        job: job.to_string(),
        volume: volume.to_string(),
        key: made.key,
        recipient: recipient.clone(),
        wrapped: STANDARD.encode(made.wrapped),
    };
    let text = serde_json::to_string_pretty(&envelope).map_err(|_| wrong("cannot be written"))? + "\n";
    Ok((SlotRecipient::of_kms(recipient), text.into_bytes()))
}

/// Has the service open the envelope of a volume.
///
/// # Errors
/// When the envelope is not of that job and volume, the service refuses, or gives another key than was wrapped.
pub fn open_envelope(
    service: &dyn KeyService,
    envelope: &[u8],
    job: JobId,
    volume: VolumeId,
) -> Result<IdentityText, Error> {
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| wrong("is damaged"))?;
    if (envelope.version, &envelope.job, &envelope.volume) != (VERSION, &job.to_string(), &volume.to_string()) {
        return Err(wrong("is of another job, volume or version"));
    }
    let wrapped = STANDARD.decode(&envelope.wrapped).map_err(|_| wrong("is damaged"))?;
    let identity = identity(&service.open(&envelope.key, &wrapped, &context(job, volume))?)?;
    if identity.recipient != envelope.recipient {
        return Err(wrong("gives another key than was wrapped"));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps by exclusive or with the context, so that another context gives another key.
    struct Toy;

    fn pad(key: &str, context: &[(&str, String)]) -> Vec<u8> {
        let text: String = context.iter().map(|(name, value)| format!("{key} {name}={value};")).collect();
        crate::digest::sha256(text.as_bytes()).to_vec()
    }

    impl KeyService for Toy {
        fn generate(&self, key: &str, context: &[(&str, String)]) -> Result<DataKey, Error> {
            let wrapped = pad(key, context).iter().map(|byte| byte ^ 7).collect();
            Ok(DataKey { plain: Zeroizing::new(vec![7; 32]), wrapped, key: key.to_owned() })
        }

        fn open(&self, key: &str, wrapped: &[u8], context: &[(&str, String)]) -> Result<Zeroizing<Vec<u8>>, Error> {
            Ok(Zeroizing::new(wrapped.iter().zip(pad(key, context)).map(|(a, b)| a ^ b).collect()))
        }
    }

    #[test]
    fn an_envelope_opens_for_its_own_job_and_volume_only() {
        let (job, volume) = (JobId([1; 16]), VolumeId([2; 16]));
        let (recipient, envelope) = seal_envelope(&Toy, "alias/lab", job, volume).expect("makes");
        let opened = open_envelope(&Toy, &envelope, job, volume).expect("its own");
        assert_eq!(opened.recipient, recipient.text);
        assert!(open_envelope(&Toy, &envelope, JobId([9; 16]), volume).is_err());
        let moved = String::from_utf8(envelope.clone())
            .expect("text")
            .replace(&volume.to_string(), &VolumeId([3; 16]).to_string());
        assert!(open_envelope(&Toy, moved.as_bytes(), job, VolumeId([3; 16])).is_err(), "the context is another");
        for at in (0..envelope.len()).step_by(7) {
            let mut bad = envelope.clone();
            bad[at] = bad[at].wrapping_add(1);
            let opened = open_envelope(&Toy, &bad, job, volume);
            assert!(opened.is_err() || opened.is_ok_and(|opened| opened.recipient == recipient.text), "byte {at}");
        }
    }
}

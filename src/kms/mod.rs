//! AWS KMS as the service that wraps data keys.
//!
//! Owns: two requests and their bounds in time. Does not own: what is wrapped and where it is kept (`crypto`, `volume`).
//! Invariants: blocking to the outside, on a runtime of its own thread; a plain data key is wiped when dropped; credentials
//! come from the usual chain and are neither printed nor kept. Callers: `cli` makes it, `stage` and the commands that open
//! volumes use it through `crypto::KeyService`.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use zeroize::Zeroizing;

use crate::crypto::{DataKey, Error, KeyService};
use crate::http::{self, Trust, Way};

/// Region when neither options, environment nor profile name one.
const REGION_DEFAULT: &str = "us-east-1";
const CONNECT: Duration = Duration::from_secs(10);
/// Bound for one request with its repetitions.
const ANSWER: Duration = Duration::from_secs(60);

/// Where the service is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Endpoint of another server than AWS.
    pub endpoint_url: Option<String>,
    /// Authorities to trust beside those of the system.
    pub trust: Option<Trust>,
}

/// A client of AWS KMS.
pub struct AwsKms {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl AwsKms {
    /// Builds the client. Nothing is sent yet, except where credentials come from a service.
    ///
    /// # Errors
    /// When this process cannot have a runtime.
    pub fn connect(place: &Place) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("cannot be reached: no runtime", error))?;
        let client = runtime.block_on(client(place));
        Ok(Self { runtime, client })
    }
}

async fn client(place: &Place) -> Client {
    let way = Way { endpoint_url: place.endpoint_url.clone(), connections_max: 1, trust: place.trust.clone() };
    let http = http::client(&way);
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    let shared = loader.load().await;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build();
    let mut config = aws_sdk_kms::config::Builder::from(&shared).timeout_config(timeouts);
    if let Some(endpoint) = &place.endpoint_url {
        config = config.endpoint_url(endpoint);
    }
    if shared.region().is_none() {
        config = config.region(Region::from_static(REGION_DEFAULT));
    }
    Client::from_conf(config.build())
}

fn failed(doing: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Service { doing: doing.to_owned(), source: Box::new(error) }
}

/// The service's own words, without the layers of the SDK around them.
fn refused<E, R>(doing: &str, error: aws_sdk_kms::error::SdkError<E, R>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    Error::Service { doing: doing.to_owned(), source: error.into_source().unwrap_or_else(|error| Box::new(error)) }
}

fn map(context: &[(&str, String)]) -> HashMap<String, String> {
    context.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// The region in the full name of a key (`arn:aws:kms:REGION:...`): it is asked there, wherever this machine is.
fn region_of(key: &str) -> Option<Region> {
    let mut parts = key.split(':');
    let is_name = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
    let region = parts.next().filter(|region| is_name && !region.is_empty());
    region.map(|region| Region::new(region.to_owned()))
}

/// What a request for that key differs in from others.
fn settings(key: &str) -> aws_sdk_kms::config::Builder {
    let mut settings = aws_sdk_kms::config::Builder::new();
    settings.set_region(region_of(key));
    settings
}

fn no_key() -> Error {
    failed("answered without a key", std::io::Error::from(std::io::ErrorKind::InvalidData))
}

impl KeyService for AwsKms {
    fn generate(&self, key: &str, context: &[(&str, String)]) -> Result<DataKey, Error> {
        let request = self.client.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256);
        let request = request.set_encryption_context(Some(map(context))).customize().config_override(settings(key));
        let answer = self.runtime.block_on(request.send());
        let mut answer = answer.map_err(|error| refused(&format!("made no data key under {key}"), error))?;
        let plain = answer.plaintext.take().map(|blob| Zeroizing::new(blob.into_inner())).ok_or_else(no_key)?;
        let wrapped = answer.ciphertext_blob.take().ok_or_else(no_key)?.into_inner();
        Ok(DataKey { plain, wrapped, key: answer.key_id.take().unwrap_or_else(|| key.to_owned()) })
    }

    fn open(&self, key: &str, wrapped: &[u8], context: &[(&str, String)]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = self.client.decrypt().key_id(key).ciphertext_blob(Blob::new(wrapped));
        let request = request.set_encryption_context(Some(map(context))).customize().config_override(settings(key));
        let answer = self.runtime.block_on(request.send());
        let mut answer = answer.map_err(|error| refused(&format!("did not open the data key under {key}"), error))?;
        answer.plaintext.take().map(|blob| Zeroizing::new(blob.into_inner())).ok_or_else(no_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_asked_for_in_its_own_region() {
        let region = |key| region_of(key).map(|region| region.to_string());
        assert_eq!(region("arn:aws:kms:eu-central-1:111122223333:key/1234").as_deref(), Some("eu-central-1"));
        assert_eq!(region("arn:aws-us-gov:kms:us-gov-west-1:1:alias/lab").as_deref(), Some("us-gov-west-1"));
        for other in ["alias/lab", "1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms::1:key/1", "arn:aws:s3:x:1:y"] {
            assert_eq!(region(other), None, "{other}");
        }
    }
}

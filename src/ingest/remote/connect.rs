//! Finding the way to a bucket: endpoint, region, credentials, timeouts.
//!
//! Owns: turning options, environment and profile files into a client. Does not own: any operation. Invariants: every
//! request has a bound in time; no checksum, retry or trailer is left to the SDK's defaults; credentials are neither
//! printed nor kept here.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};

use crate::http::{self, Trust, Way};
use crate::ingest::remote::Metadata;
use crate::ingest::remote::pace::Pace;
use crate::ingest::remote::s3::S3Store;

/// Region used when neither options, environment nor profile name one and an endpoint is given.
const REGION_DEFAULT: &str = "us-east-1";

/// How long requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer is there, for a request without body.
    pub answer: Duration,
    /// Slowest acceptable pace of a body. Unit: bytes per second.
    pub bytes_per_second_min: u64,
}

impl Default for Timeouts {
    /// A minute for an answer; bodies at half a megabit per second and request or better.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(60), bytes_per_second_min: 64 << 10 }
    }
}

impl Timeouts {
    /// Bound for one request with a body of so many bytes.
    pub fn attempt(&self, body_bytes: u64) -> Duration {
        self.answer + Duration::from_secs(body_bytes / self.bytes_per_second_min.max(1))
    }
}

/// How objects are stored, beyond their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// Storage class, such as `DEEP_ARCHIVE`.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub encryption: Option<String>,
    /// KMS key for it.
    pub kms_key_id: Option<String>,
    /// Whether KMS calls are bundled per bucket.
    pub bucket_key: Option<bool>,
    /// Tags, as a query string.
    pub tagging: Option<String>,
    /// Canned ACL.
    pub acl: Option<String>,
    /// Account that must own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// Whether requests are paid by us in a bucket of others.
    pub requester_pays: bool,
    /// User metadata for every object, besides what describes the file.
    pub metadata: Metadata,
    /// Protection against deletion, in buckets that allow it.
    pub lock: Option<ObjectLock>,
    /// Whether every object gets a legal hold.
    pub legal_hold: bool,
}

/// Protection of objects against deletion and replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectLock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// Until when. Unit: seconds since 1970.
    pub until_s: i64,
}

/// Where objects go.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Bucket name.
    pub bucket: String,
    /// Endpoint of an S3-compatible server; `None` is AWS.
    pub endpoint_url: Option<String>,
    /// Region; otherwise from environment or profile.
    pub region: Option<String>,
    /// Profile in the AWS configuration files.
    pub profile: Option<String>,
    /// Access key and secret, for servers of our own; otherwise the usual chain of environment, profile and instance.
    pub credentials: Option<(String, String)>,
    /// Whether the bucket is named in the path (or in the host name); `None`: whatever the server answers to.
    pub path_style: Option<bool>,
    /// Authorities to trust beside those of the system.
    pub trust: Option<Trust>,
    /// Bounds in time.
    pub timeouts: Timeouts,
    /// Connections kept for reuse.
    pub connections_max: usize,
    /// How objects are stored.
    pub objects: ObjectOptions,
    /// Limit of bytes per second over all bodies.
    pub pace: Option<Pace>,
}

impl Target {
    /// Where requests go, for people and for what a job remembers of servers.
    pub fn endpoint(&self) -> &str {
        self.endpoint_url.as_deref().unwrap_or("AWS S3")
    }
}

/// Builds the client. Nothing is sent yet, except where credentials come from a service, and to servers other than AWS
/// that have a name: those are asked for an object that does not exist, to find out where they want the bucket.
pub async fn connect(target: Target) -> S3Store {
    let http = http::client(&Way {
        endpoint_url: target.endpoint_url.clone(),
        connections_max: target.connections_max,
        trust: target.trust.clone(),
    });
    let (path_style, is_guess) = style(&target);
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(profile) = &target.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = &target.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some((access_key, secret_key)) = &target.credentials {
        loader = loader.credentials_provider(Credentials::new(access_key, secret_key, None, None, "packmule"));
    }
    let shared = loader.load().await;
    let timeouts = TimeoutConfig::builder().connect_timeout(target.timeouts.connect).build();
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .timeout_config(timeouts)
        // Repetition is decided where the source can be read again.
        .retry_config(RetryConfig::disabled())
        // Every request is bounded as a whole, so a second watch over its pace is not needed.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(path_style);
    if let Some(endpoint) = &target.endpoint_url {
        config = config.endpoint_url(endpoint);
    }
    if shared.region().is_none() {
        config = config.region(Region::from_static(REGION_DEFAULT));
    }
    let store = S3Store::new(aws_sdk_s3::Client::from_conf(config.build()), target, path_style);
    if is_guess { in_the_style_it_answers_to(store).await } else { store }
}

/// The path is kept unless the host name works where it does not: whatever else is wrong is told by the first request.
async fn in_the_style_it_answers_to(store: S3Store) -> S3Store {
    if !matches!(store.answers().await, Ok(false)) {
        return store;
    }
    let other = store.with_path_style(false);
    if matches!(other.answers().await, Ok(true)) { other } else { store }
}

/// Which way of naming the bucket is used before anybody knows better, and whether it is a guess: AWS says it wants the
/// host name; other servers know at least one of the two, and most of them the path. An address in numbers has no room for
/// the other one.
fn style(target: &Target) -> (bool, bool) {
    match (target.path_style, &target.endpoint_url) {
        (Some(path), _) => (path, false),
        (None, None) => (false, false),
        (None, Some(url)) => (true, http::host(url).parse::<std::net::IpAddr>().is_err()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_where_the_server_wants_it() {
        let target = |url: &str, path_style| Target {
            endpoint_url: Some(url.to_owned()).filter(|url| !url.is_empty()),
            path_style,
            ..Target::default()
        };
        assert_eq!(style(&target("", None)), (false, false), "AWS");
        assert_eq!(style(&target("http://127.0.0.1:1", None)), (true, false));
        assert_eq!(style(&target("https://s3.example.org", None)), (true, true), "to be found out");
        assert_eq!(style(&target("https://s3.example.org", Some(false))), (false, false), "pinned");
    }

    #[test]
    fn a_large_body_gets_the_time_it_needs() {
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.attempt(0), Duration::from_secs(60));
        assert_eq!(timeouts.attempt(8 << 20), Duration::from_secs(60 + 128));
    }
}

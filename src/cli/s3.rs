//! What all commands that speak to S3 share: where, as whom, how objects are stored, how fast.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::cli::key::volume_failure;
use crate::cli::{Exit, Failure};
use crate::http::Trust;
use crate::ingest::remote::connect::{ObjectLock, ObjectOptions, Timeouts};
use crate::ingest::remote::pace::Pace;
use crate::ingest::remote::{Method, Target};
use crate::ingest::{self, Options, Window};
use crate::sys::World;
use crate::sys::process::StopFlag;
use crate::sys::secrets::read_secret;
use crate::units::{BitsPerSecond, Bytes, BytesPerSecond};

const TO_HINT: &str = "write it as s3://BUCKET or s3://BUCKET/PREFIX";

/// How to reach the server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Endpoint of an S3-compatible server
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    endpoint_url: Option<String>,
    /// Region [default: from environment or profile]
    #[arg(long)]
    region: Option<String>,
    /// Profile in the AWS configuration files
    #[arg(long)]
    profile: Option<String>,
    /// Put the bucket into the path (true) or the host name (false) [default: AWS: host name; others: as they answer]
    #[arg(long, value_name = "BOOL")]
    path_style: Option<bool>,
    /// Certificates to trust beside those of the system, in PEM form
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE", value_parser = certificates)]
    ca_bundle: Option<Trust>,
    /// Account that must own the bucket
    #[arg(long, value_name = "ACCOUNT")]
    expected_bucket_owner: Option<String>,
    /// Pay for requests to a bucket of others
    #[arg(long)]
    requester_pays: bool,
    /// Credentials of the embedded server, for `demo` only: never on a command line.
    #[arg(skip)]
    credentials: Option<(String, String)>,
}

/// Ways of proof by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Checksum {
    /// CRC-64/NVME of parts and whole objects
    Crc64nvme,
    /// CRC-32C of parts and whole objects
    Crc32c,
    /// SHA-256 of every part
    Sha256,
    /// MD5 of every part
    Md5,
    /// None: read everything back and compare here
    ReadBack,
}

impl From<Checksum> for Method {
    fn from(checksum: Checksum) -> Self {
        match checksum {
            Checksum::Crc64nvme => Self::FullObjectCrc64,
            Checksum::Crc32c => Self::FullObjectCrc32c,
            Checksum::Sha256 => Self::CompositeSha256,
            Checksum::Md5 => Self::ContentMd5,
            Checksum::ReadBack => Self::ReadBack,
        }
    }
}

/// How objects are stored.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Objects")]
pub struct ObjectArgs {
    /// Storage class, such as DEEP_ARCHIVE
    #[arg(long, value_name = "CLASS")]
    pub(super) storage_class: Option<String>,
    /// Server-side encryption: AES256, aws:kms or aws:kms:dsse
    #[arg(long, value_name = "KIND")]
    sse: Option<String>,
    /// KMS key for server-side encryption
    #[arg(long, value_name = "ID", requires = "sse")]
    sse_kms_key_id: Option<String>,
    /// Bundle KMS calls per bucket
    #[arg(long, value_name = "BOOL", requires = "sse")]
    bucket_key: Option<bool>,
    /// Tags, as a=1&b=2
    #[arg(long)]
    tagging: Option<String>,
    /// User metadata for every object; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
    /// Canned ACL
    #[arg(long)]
    acl: Option<String>,
    /// Protect objects against deletion: GOVERNANCE or COMPLIANCE; the bucket must allow it
    #[arg(long, value_name = "MODE", requires = "object_lock_until", value_parser = ["GOVERNANCE", "COMPLIANCE"])]
    object_lock: Option<String>,
    /// Until when objects are protected
    #[arg(long, value_name = "DATE", requires = "object_lock")]
    object_lock_until: Option<Date>,
    /// Put a legal hold on every object
    #[arg(long)]
    legal_hold: bool,
    /// Insist on a way of proof instead of the strongest the server has
    #[arg(long, value_name = "METHOD")]
    pub(super) checksum: Option<Checksum>,
    /// Ask the server again what it does, instead of what the job remembers
    #[arg(long)]
    pub(super) ask_again: bool,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let is_token = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("a name consists of a-z, 0-9, - and _".to_owned());
    }
    if !value.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err("a value consists of printable ASCII".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Longest file of certificates; that of a whole system is a quarter of a megabyte. Unit: bytes.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;

/// Reads a file of certificates. An empty name, as from a variable that was emptied, is none.
pub(super) fn certificates(path: &str) -> Result<Trust, String> {
    if path.is_empty() {
        return Ok(Trust::default());
    }
    let pem = read_secret(Path::new(path), CERTIFICATES_BYTES_MAX).map_err(|error| error.to_string())?;
    Trust::from_pem(pem.to_vec()).map_err(|error| error.to_string())
}

/// How fast, and when.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Pace")]
pub struct FlowArgs {
    /// Most requests at a time; as many as get more through are used
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(super) max_requests: usize,
    /// Memory for bodies on their way
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    memory: Bytes,
    /// Send no faster than this, as 100Mbit/s or 12MB/s
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_rate: Option<f64>,
    /// Send only in these hours of the day (local time), as 20:00-06:00
    #[arg(long, value_name = "HOURS")]
    window: Option<Window>,
    /// End of a booked slot, as 17:30 or 2026-12-01T17:30: what was begun is complete by then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) until: Option<Moment>,
    /// What the line carries, for --until, until it shows [default: what the last run saw]
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "until")]
    pub(super) expected_rate: Option<f64>,
}

/// Bits or bytes per second, in bytes.
fn rate(text: &str) -> Result<f64, String> {
    if let Ok(rate) = text.parse::<BytesPerSecond>() {
        return above_zero(rate.get());
    }
    let bits = text.parse::<BitsPerSecond>().map_err(|_| "write it as 100Mbit/s or 12MB/s".to_owned())?;
    above_zero(bits.to_bytes().get())
}

fn above_zero(rate: f64) -> Result<f64, String> {
    if rate >= 1.0 { Ok(rate) } else { Err("must be more than nothing".to_owned()) }
}

/// A time of day, or a date and time, both local.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    Clock(Time),
    Full(DateTime),
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = Time::strptime("%H:%M", text) {
        return Ok(Moment::Clock(time));
    }
    text.parse().map(Moment::Full).map_err(|_| "write it as 17:30 or 2026-12-01T17:30".to_owned())
}

impl Moment {
    /// The next such moment after `now`; `None` for one that is past or does not exist.
    pub(super) fn after(self, now: Timestamp) -> Option<Timestamp> {
        let zone = TimeZone::system();
        let here = now.to_zoned(zone.clone());
        let at = match self {
            Self::Full(at) => at,
            Self::Clock(time) if time > here.time() => here.date().to_datetime(time),
            Self::Clock(time) => here.date().tomorrow().ok()?.to_datetime(time),
        };
        let at = at.to_zoned(zone).ok()?.timestamp();
        (at > now).then_some(at)
    }
}

impl ServerArgs {
    /// Hands over the credentials of the embedded server.
    pub(super) fn use_credentials(&mut self, access_key: &str, secret_key: &str) {
        self.credentials = Some((access_key.to_owned(), secret_key.to_owned()));
    }

    /// The client to be made, for reading only.
    pub(super) fn target(&self, bucket: String) -> Target {
        Target {
            bucket,
            endpoint_url: self.endpoint_url.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            path_style: self.path_style,
            trust: self.ca_bundle.clone(),
            credentials: self.credentials.clone(),
            connections_max: 64,
            objects: ObjectOptions {
                expected_bucket_owner: self.expected_bucket_owner.clone(),
                requester_pays: self.requester_pays,
                ..ObjectOptions::default()
            },
            ..Target::default()
        }
    }
}

/// The client to be made, for sending.
pub(super) fn target(
    bucket: String,
    server: &ServerArgs,
    object: &ObjectArgs,
    flow: &FlowArgs,
    world: &World,
) -> Result<Target, Failure> {
    let base = server.target(bucket);
    let mut timeouts = Timeouts::default();
    if let Some(rate) = flow.limit_rate {
        // All requests share the rate: each may be as slow as its share, and half of that.
        let share = (rate / (2.0 * flow.max_requests.max(1) as f64)).max(1.0) as u64;
        timeouts.bytes_per_second_min = timeouts.bytes_per_second_min.min(share);
    }
    let lock = match (&object.object_lock, object.object_lock_until) {
        (Some(mode), Some(date)) => {
            let until = date.to_zoned(TimeZone::UTC).map_err(|error| {
                Failure::new(Exit::Usage, format!("--object-lock-until {date}: {error}"), "write it as 2033-01-31")
            })?;
            Some(ObjectLock { mode: mode.clone(), until_s: until.timestamp().as_second() })
        }
        _ => None,
    };
    Ok(Target {
        connections_max: flow.max_requests,
        timeouts,
        pace: flow.limit_rate.map(|rate| Pace::new(rate, Arc::clone(&world.clock))),
        objects: ObjectOptions {
            storage_class: object.storage_class.clone(),
            encryption: object.sse.clone(),
            kms_key_id: object.sse_kms_key_id.clone(),
            bucket_key: object.bucket_key,
            tagging: object.tagging.clone(),
            acl: object.acl.clone(),
            metadata: object.metadata.iter().cloned().collect::<BTreeMap<_, _>>(),
            lock,
            legal_hold: object.legal_hold,
            ..base.objects
        },
        ..base
    })
}

/// The options of a run that come from these arguments.
pub(super) fn options(
    prefix: String,
    object: &ObjectArgs,
    flow: &FlowArgs,
    stop: StopFlag,
    world: &World,
) -> Result<Options, Failure> {
    let until = match flow.until {
        None => None,
        Some(moment) => Some(moment.after(world.clock.now()).ok_or_else(|| {
            Failure::new(Exit::Usage, "--until is not in the future", "give the end of the slot, as 17:30")
        })?),
    };
    Ok(Options {
        prefix,
        requests_max: flow.max_requests,
        memory_bytes: flow.memory.get(),
        method: object.checksum.map(Into::into),
        ask_again: object.ask_again,
        window: flow.window.clone(),
        until,
        expected_rate: flow.expected_rate,
        stop,
        ..Options::default()
    })
}

/// Bucket and prefix of an s3:// URL. A prefix that is not empty ends in a slash.
pub(super) fn destination(url: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::new(Exit::Usage, format!("{url:?} is not a place in S3"), TO_HINT);
    let (bucket, prefix) =
        url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))).ok_or_else(wrong)?;
    if bucket.is_empty() {
        return Err(wrong());
    }
    let prefix = prefix.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok((bucket.to_owned(), prefix))
}

/// What ends a run before its time, for people.
pub(super) fn failure(error: ingest::Error) -> Failure {
    let hint = error.hint().map(ToOwned::to_owned);
    match error {
        ingest::Error::Stopped => Failure::new(Exit::Stopped, "stopped", "the same command resumes"),
        ingest::Error::Volume(error) => volume_failure(Path::new(""), error),
        error @ (ingest::Error::Remote { .. } | ingest::Error::Unread { .. }) => split(Exit::Remote, hint, error),
        error @ (ingest::Error::OtherDestination { .. }
        | ingest::Error::Source(crate::census::Error::OtherSources { .. })) => split(Exit::Usage, hint, error),
        error => split(Exit::Failed, hint, error),
    }
}

/// A failure that is printed with the error's own chain.
fn split(exit: Exit, hint: Option<String>, error: ingest::Error) -> Failure {
    Failure::of(exit, "the run ends early", hint, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_s3() {
        let place = |url| destination(url).ok();
        let is = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(place("s3://b"), is("b", ""));
        assert_eq!(place("s3://b/"), is("b", ""));
        assert_eq!(place("s3://b/a/c"), is("b", "a/c/"));
        assert_eq!(place("s3://b/a//"), is("b", "a/"));
        assert_eq!(place("s3:///a"), None);
        assert_eq!(place("b/a"), None);
    }

    #[test]
    fn rates_in_bits_and_bytes() {
        assert_eq!(rate("100Mbit/s"), Ok(12_500_000.0));
        assert_eq!(rate("12MB/s"), Ok(12_000_000.0));
        assert!(rate("12").is_err() && rate("0MB/s").is_err());
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a moment");
        let day = Duration::from_secs(24 * 3600);
        for text in ["00:00", "11:59", "12:00", "23:59"] {
            let at = moment(text).expect(text).after(now).expect(text);
            assert!(at > now && at <= now + day, "{text}");
        }
        assert_eq!(moment("2026-11-01T00:00").expect("a moment").after(now), None);
        assert!(moment("noon").is_err());
    }

    use std::time::Duration;

    #[test]
    fn metadata_has_names_that_travel() {
        assert_eq!(name_and_value("project=alpha 7"), Ok(("project".to_owned(), "alpha 7".to_owned())));
        assert!(
            name_and_value("Project=x").is_err() && name_and_value("x").is_err() && name_and_value("x=\u{e9}").is_err()
        );
    }
}

//! One small message to somewhere on the network: a webhook, or an SNS topic.
//!
//! Publishing to SNS is one signed request, with the SDK's credentials and signer; the whole SDK of that service would be
//! a megabyte of code for it.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::{self, Way};

/// Longest subject SNS takes. Unit: characters.
const SUBJECT_MAX: usize = 100;

/// Why somebody was not told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Not the name of a topic.
    #[error("{topic:?} is not the ARN of a topic (arn:aws:sns:REGION:ACCOUNT:NAME)")]
    Topic {
        /// As given.
        topic: String,
    },
    /// Not an address that can be posted to.
    #[error("{url:?} is not the URL of a webhook (https://HOST/PATH, or http://...)")]
    Url {
        /// As given.
        url: String,
    },
    /// There are no credentials.
    #[error("no credentials for AWS were found ({0}); AWS_PROFILE or AWS_ACCESS_KEY_ID names some")]
    Credentials(String),
    /// The request could not be signed.
    #[error("the request cannot be signed: {0}")]
    Sign(String),
    /// The request failed, or was answered with an error.
    #[error("{0}")]
    Http(#[from] Box<ureq::Error>),
    /// The thread that looks for credentials could not be started.
    #[error("cannot look for credentials")]
    Runtime(#[source] std::io::Error),
}

fn agent(patience: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(patience)).build().into()
}

/// Whether a URL is one that can be posted to, before anything is.
///
/// # Errors
/// When it is not.
pub fn check_webhook(url: &str) -> Result<(), NotifyError> {
    let parsed = url.parse::<ureq::http::Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    match parsed.as_ref().and_then(|uri| uri.scheme_str()) {
        Some("http" | "https") => Ok(()),
        _ => Err(NotifyError::Url { url: url.to_owned() }),
    }
}

/// The region in the name of an SNS topic.
///
/// # Errors
/// When it is no name of a topic.
pub fn topic_region(topic: &str) -> Result<&str, NotifyError> {
    match topic.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "sns", region, _, name] if !region.is_empty() && !name.is_empty() => Ok(region),
        _ => Err(NotifyError::Topic { topic: topic.to_owned() }),
    }
}

/// Posts a JSON document.
///
/// # Errors
/// What stood in the way, or the status if it was not a good one.
pub fn post_json(url: &str, json: &str, patience: Duration) -> Result<(), NotifyError> {
    let request = agent(patience).post(url).header("content-type", "application/json");
    request.send(json).map_err(Box::new)?;
    Ok(())
}

/// Publishes a message to an SNS topic, in the region its name says, or at `AWS_ENDPOINT_URL_SNS`.
///
/// # Errors
/// When the name is none, there are no credentials, or SNS says no.
pub fn publish_sns(
    topic: &str,
    subject: &str,
    message: &str,
    now: Timestamp,
    patience: Duration,
) -> Result<(), NotifyError> {
    let region = topic_region(topic)?;
    let named = std::env::var("AWS_ENDPOINT_URL_SNS").ok().filter(|url| !url.is_empty());
    let url = named.unwrap_or_else(|| format!("https://sns.{region}.amazonaws.com"));
    let url = format!("{}/", url.trim_end_matches('/'));
    let subject: String = subject.chars().filter(char::is_ascii).take(SUBJECT_MAX).collect();
    let field = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let body = format!(
        "Action=Publish&Version=2010-03-31&TopicArn={}&Subject={}&Message={}",
        field(topic),
        field(&subject),
        field(message)
    );
    let mut request = agent(patience).post(&url);
    let form = "application/x-www-form-urlencoded";
    for (name, value) in signature(&url, region, form, &body, now)? {
        request = request.header(name, value);
    }
    request.header("content-type", form).send(&body).map_err(Box::new)?;
    Ok(())
}

/// The headers that sign a request.
fn signature(
    url: &str,
    region: &str,
    content_type: &str,
    body: &str,
    now: Timestamp,
) -> Result<Vec<(String, String)>, NotifyError> {
    let unsigned = |error: &dyn std::error::Error| NotifyError::Sign(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NotifyError::Runtime)?;
    let http = http::client(&Way::default());
    let credentials = runtime.block_on(async {
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        let shared = loader.region(Region::new(region.to_owned())).load().await;
        let provider =
            shared.credentials_provider().ok_or_else(|| NotifyError::Credentials("no provider".to_owned()))?;
        provider.provide_credentials().await.map_err(|error| NotifyError::Credentials(error.to_string()))
    })?;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sns")
        .time(SystemTime::from(now))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsigned(&error))?
        .into();
    let headers = [("content-type", content_type)].into_iter();
    let request = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body.as_bytes()))
        .map_err(|error| unsigned(&error))?;
    let (instructions, _) = sign(request, &params).map_err(|error| unsigned(&error))?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_posted_to_is_none() {
        assert!(check_webhook("https://example.org/hook").is_ok() && check_webhook("http://127.0.0.1:1/").is_ok());
        for wrong in ["", "example.org/hook", "ftp://example.org/", "https://", "https:///hook"] {
            assert!(matches!(check_webhook(wrong), Err(NotifyError::Url { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_is_no_topic_is_told_before_anything_is_sent() {
        for wrong in ["", "topic", "arn:aws:s3:::bucket", "arn:aws:sns::1:x"] {
            let told = publish_sns(wrong, "s", "m", Timestamp::UNIX_EPOCH, Duration::from_secs(1));
            assert!(matches!(told, Err(NotifyError::Topic { .. })), "{wrong}");
        }
    }
}

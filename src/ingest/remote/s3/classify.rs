//! From the SDK's errors to ours.
//!
//! Owns: which code, status or kind of failure means what. Source of the codes: Amazon S3 API reference, "Error
//! responses", and what compatible servers were seen to answer.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::ingest::remote::RemoteError;

/// What was being done when something failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) operation: &'static str,
    pub(super) key: &'a str,
    pub(super) bucket: &'a str,
    pub(super) endpoint: &'a str,
}

impl Place<'_> {
    pub(super) fn timed_out(&self, limit: Duration) -> RemoteError {
        RemoteError::TimedOut { operation: self.operation, key: self.key.to_owned(), seconds: limit.as_secs() }
    }

    pub(super) fn odd(&self, what: &str) -> RemoteError {
        RemoteError::Odd { operation: self.operation, key: self.key.to_owned(), what: what.to_owned() }
    }

    pub(super) fn unreachable(&self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> RemoteError {
        RemoteError::Unreachable {
            endpoint: self.endpoint.to_owned(),
            operation: self.operation,
            source: source.into(),
        }
    }

    fn auth(&self, code: &str, message: &str) -> RemoteError {
        RemoteError::Auth {
            operation: self.operation,
            key: self.key.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// What an answer with this status and code means.
    fn answered(&self, status: u16, code: &str, message: &str) -> RemoteError {
        let (operation, key) = (self.operation, self.key.to_owned());
        let owned = || code.to_owned();
        match (status, code) {
            (
                _,
                "BadDigest"
                | "InvalidDigest"
                | "XAmzContentSHA256Mismatch"
                | "XAmzContentChecksumMismatch"
                | "ContentMD5Mismatch",
            ) => RemoteError::Damaged { operation, key, code: owned() },
            (_, "NoSuchBucket") => RemoteError::NoSuchBucket { bucket: self.bucket.to_owned() },
            (_, "NoSuchUpload") => RemoteError::NoSuchUpload { key },
            (412, _) | (_, "PreconditionFailed") => RemoteError::Exists { key },
            (
                _,
                "SlowDown"
                | "RequestTimeout"
                | "IncompleteBody"
                | "ConditionalRequestConflict"
                | "OperationAborted"
                | "InternalError"
                | "ThrottlingException"
                | "Throttling"
                | "RequestLimitExceeded",
            )
            | (408 | 429 | 500.., _) => RemoteError::Unavailable { operation, key, status, code: owned() },
            (401 | 403, _) | (_, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId" | "RequestTimeTooSkewed") => {
                self.auth(code, message)
            }
            _ => RemoteError::Refused { operation, key, status, code: owned(), message: message.to_owned() },
        }
    }
}

pub(super) fn sdk_error<E>(place: &Place<'_>, error: SdkError<E, HttpResponse>) -> RemoteError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    match error {
        SdkError::TimeoutError(_) => place.timed_out(Duration::ZERO),
        SdkError::ServiceError(answer) => {
            let metadata = answer.err().meta();
            let code = metadata.code().unwrap_or_default();
            place.answered(status, code, metadata.message().unwrap_or_default())
        }
        SdkError::ConstructionFailure(_) => {
            RemoteError::Request { operation: place.operation, key: place.key.to_owned(), source: Box::new(error) }
        }
        SdkError::ResponseError(_) => place.odd("the answer cannot be understood"),
        other => match credentials_failure(&other) {
            Some(message) => place.auth("CredentialsNotLoaded", &message),
            None => place.unreachable(other),
        },
    }
}

/// The SDK reports missing credentials as a failure to dispatch; only its chain of causes tells.
fn credentials_failure(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        let text = current.to_string();
        if text.contains("redentials") || text.contains("identity") {
            return Some(text);
        }
        cause = current.source();
    }
    None
}

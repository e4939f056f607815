//! What can go wrong at the other end, sorted by what to do about it.
//!
//! Owns: the error of every remote operation, its class and its hint. Does not own: translating the SDK's errors into it
//! (`s3`), nor repeating anything (`retry`).

/// What a failure calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The same request may succeed later.
    Retry,
    /// The body arrived damaged: send it again, from the source.
    Resend,
    /// The request may have been carried out: look before doing anything else.
    Unknown,
    /// Repeating it is pointless until somebody changes something.
    Permanent,
}

/// A remote operation that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No connection.
    #[error("cannot reach {endpoint} to {operation}")]
    Unreachable {
        /// Where to.
        endpoint: String,
        /// What was attempted.
        operation: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("no answer within {seconds} s to {operation} {key:?}")]
    TimedOut {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The server is too busy, or failed on its side.
    #[error("the server could not {operation} {key:?} now ({status} {code})")]
    Unavailable {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// HTTP status.
        status: u16,
        /// The server's error code.
        code: String,
    },
    /// The server compared checksums, and they differ.
    #[error("the server received other bytes than were sent for {key:?} ({code})")]
    Damaged {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// The server's error code.
        code: String,
    },
    /// Who we are, or what we may do, was not accepted.
    #[error("the server does not let us {operation} {key:?} ({code}: {message})")]
    Auth {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// The server's error code.
        code: String,
        /// The server's explanation.
        message: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket {bucket:?}")]
    NoSuchBucket {
        /// Its name.
        bucket: String,
    },
    /// The server does not know the upload (any more).
    #[error("the server does not know the upload of {key:?} any more")]
    NoSuchUpload {
        /// On what.
        key: String,
    },
    /// An object is there already, and was not to be replaced.
    #[error("{key:?} exists already")]
    Exists {
        /// Its key.
        key: String,
    },
    /// Success without the signs of success.
    #[error("the server answered {operation} {key:?} with success, but {what}")]
    Odd {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// What was missing or different.
        what: String,
    },
    /// Tags were asked for, and the server shows none.
    #[error("the server accepts tags and shows none afterwards")]
    NoTags,
    /// The way of proof that was insisted on does not work there.
    #[error("the server does not refuse false checksums of this kind: {method}")]
    Unproved {
        /// What was insisted on.
        method: String,
    },
    /// Anything else the server said no to.
    #[error("the server refused to {operation} {key:?} ({status} {code}: {message})")]
    Refused {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// HTTP status.
        status: u16,
        /// The server's error code.
        code: String,
        /// The server's explanation.
        message: String,
    },
    /// The request could not even be built.
    #[error("cannot form the request to {operation} {key:?}")]
    Request {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RemoteError {
    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } => Class::Retry,
            Self::Damaged { .. } => Class::Resend,
            Self::TimedOut { .. } | Self::Odd { .. } => Class::Unknown,
            _ => Class::Permanent,
        }
    }

    /// Advice for a person, apart from the message.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { source, .. } if speaks_of_certificate(source.as_ref()) => {
                Some("if it is a server of yours: --ca-bundle FILE names the certificate that vouches for it")
            }
            Self::Unreachable { .. } => Some("check --endpoint-url and the network; the same command resumes"),
            Self::TimedOut { .. } | Self::Unavailable { .. } | Self::Odd { .. } => Some("the same command resumes"),
            Self::Auth { code, .. } => Some(match code.as_str() {
                "RequestTimeTooSkewed" => "the clock of this machine is wrong",
                "ExpiredToken" => "renew the credentials; the same command resumes",
                "CredentialsNotLoaded" => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --profile",
                _ => "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, ...) and the bucket policy",
            }),
            Self::NoTags => Some("leave --tagging out, or allow s3:GetObjectTagging"),
            Self::Unproved { .. } => {
                Some("leave --checksum out: the strongest that works is found, and the report says which")
            }
            Self::NoSuchBucket { .. } => Some("create the bucket first, or correct --to"),
            Self::Exists { .. } => Some("--overwrite replaces objects that differ"),
            Self::Refused { status: 301 | 307, .. } => Some("the bucket is in another region: set --region"),
            Self::Refused { code, .. } if code == "AuthorizationHeaderMalformed" => Some("set --region"),
            _ => None,
        }
    }
}

/// Whether the other side was reached and not believed: only the words of the causes tell.
fn speaks_of_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.to_string().contains("certificate"))
}

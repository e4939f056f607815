//! The part of an object's description that the client chooses and the server only keeps.
//!
//! Owns: content headers, user metadata, storage class, tags, and their limits. Invariant: what was sent comes back as it
//! was. Called by the operations of this folder.

use std::collections::BTreeMap;

use s3s::dto::{Expires, Tag, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// Largest sum of the lengths of user metadata names and values. Unit: bytes. Source: S3 user guide, "Working with
/// object metadata" (2 KB).
const METADATA_BYTES_MAX: usize = 2048;
/// Most tags on one object. Source: S3 user guide, "Categorizing your storage using tags".
const TAGS_MAX: usize = 10;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) encryption: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tags: Vec<(String, String)>,
}

/// Collects the fields that `PutObject`, `CreateMultipartUpload` and `CopyObject` share.
macro_rules! attributes_of {
    ($input:expr) => {{
        if $input.sse_customer_key.is_some() || $input.object_lock_mode.is_some() {
            return Err(s3s::s3_error!(InvalidRequest, "neither customer keys nor object lock are available here"));
        }
        crate::s3d::attributes::Attributes {
            content_type: $input.content_type.clone(),
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: crate::s3d::attributes::without_transfer($input.content_encoding.as_deref()),
            content_language: $input.content_language.clone(),
            expires: crate::s3d::attributes::expires_text($input.expires.as_ref()),
            storage_class: $input.storage_class.as_ref().map(|class| class.as_str().to_owned()),
            encryption: $input.server_side_encryption.as_ref().map(|sse| sse.as_str().to_owned()),
            metadata: $input.metadata.clone().unwrap_or_default().into_iter().collect(),
            tags: crate::s3d::attributes::parse_tags($input.tagging.as_deref().unwrap_or_default())?,
        }
    }};
}

/// Gives them back in a `GetObject` or `HeadObject` answer.
macro_rules! put_attributes {
    ($attributes:expr, $into:expr) => {{
        let attributes = $attributes;
        $into.content_type = attributes.content_type.clone().or_else(|| Some("binary/octet-stream".to_owned()));
        $into.cache_control = attributes.cache_control.clone();
        $into.content_disposition = attributes.content_disposition.clone();
        $into.content_encoding = attributes.content_encoding.clone();
        $into.content_language = attributes.content_language.clone();
        $into.expires = crate::s3d::attributes::expires_value(attributes);
        // S3 leaves the header out for the default class.
        $into.storage_class = attributes.storage_class.clone().filter(|class| class != "STANDARD").map(Into::into);
        $into.server_side_encryption = attributes.encryption.clone().map(Into::into);
        $into.metadata = Some(attributes.metadata.clone().into_iter().collect());
    }};
}
pub(super) use {attributes_of, put_attributes};

impl Attributes {
    pub(super) fn check(self) -> S3Result<Self> {
        let bytes: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(s3_error!(MetadataTooLarge, "your metadata headers exceed the maximum allowed metadata size"));
        }
        check_tags(&self.tags)?;
        Ok(self)
    }
}

pub(super) fn check_tags(tags: &[(String, String)]) -> S3Result<()> {
    let fits = tags.iter().all(|(name, value)| name.chars().count() <= 128 && value.chars().count() <= 256);
    if tags.len() > TAGS_MAX || !fits {
        return Err(s3_error!(InvalidTag, "more than 10 tags, or a tag that is too long"));
    }
    Ok(())
}

/// `aws-chunked` is how a body travelled, not what it is.
pub(super) fn without_transfer(encoding: Option<&str>) -> Option<String> {
    let rest: Vec<_> = encoding?.split(',').map(str::trim).filter(|e| !e.is_empty() && *e != "aws-chunked").collect();
    (!rest.is_empty()).then(|| rest.join(","))
}

pub(super) fn expires_text(expires: Option<&Expires>) -> Option<String> {
    let mut text = Vec::new();
    expires?.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub(super) fn expires_value(attributes: &Attributes) -> Option<Expires> {
    Timestamp::parse(TimestampFormat::HttpDate, attributes.expires.as_deref()?).ok()
}

/// Parses the `x-amz-tagging` header, which has the form of a query string.
pub(super) fn parse_tags(header: &str) -> S3Result<Vec<(String, String)>> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8().map(|text| text.into_owned());
        decoded.map_err(|_| s3_error!(InvalidArgument, "the header x-amz-tagging is not valid"))
    };
    let pairs = header.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

pub(super) fn tags_to_dto(tags: &[(String, String)]) -> Vec<Tag> {
    tags.iter().map(|(name, value)| Tag { key: Some(name.clone()), value: Some(value.clone()) }).collect()
}

/// A time of the index as S3's type.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    let since_epoch = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    Timestamp::from(std::time::UNIX_EPOCH + since_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_decoded_and_limited() {
        let tags = parse_tags("a=1&b%20c=d+e&f").expect("well formed");
        let expected = [("a", "1"), ("b c", "d e"), ("f", "")];
        assert_eq!(tags, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert!(check_tags(&vec![("x".to_owned(), String::new()); 11]).is_err());
    }

    #[test]
    fn transfer_framing_is_not_an_encoding() {
        assert_eq!(without_transfer(Some("aws-chunked")), None);
        assert_eq!(without_transfer(Some("gzip, aws-chunked")), Some("gzip".to_owned()));
    }
}

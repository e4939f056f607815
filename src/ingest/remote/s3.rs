//! The client for S3 and servers that speak its protocol.
//!
//! Owns: one SDK call per operation. Does not own: repetition, pacing, the meaning of a failure beyond its class.
//! Invariants: bodies go out from memory with a precomputed checksum header and an unsigned payload, so that the same
//! bytes travel over http and https and any request can be repeated; an answer counts as success only with the signs of
//! success in it (servers answer 200 and mean failure).

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, CompletedMultipartUpload, CompletedPart, ObjectLockLegalHoldStatus,
    RequestPayer, ServerSideEncryption, StorageClass,
};
use bytes::Bytes;

use crate::ingest::remote::connect::{ObjectOptions, Target, Timeouts};
use crate::ingest::remote::pace::Pace;
use crate::ingest::remote::{
    Checksums, Claim, Complete, Head, ListedObject, ListedPart, Metadata, Method, ObjectStore, OpenUpload, Put,
    PutPart, RemoteError, SentPart, Stored,
};

mod classify;

use classify::{Place, sdk_error};

/// A key nobody uses: that it is missing is the answer hoped for.
pub(in crate::ingest) const NO_SUCH_KEY: &str = "packmule-doctor/there-is-no-such-object";

/// A bucket on S3 or a compatible server.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    endpoint: String,
    path_style: bool,
    timeouts: Timeouts,
    objects: ObjectOptions,
    pace: Option<Pace>,
}

/// Awaits a request for at most so long.
macro_rules! bounded {
    ($self:expr, $bytes:expr, $place:expr, $request:expr) => {{
        let limit: Duration = $self.timeouts.attempt($bytes);
        match tokio::time::timeout(limit, $request).await {
            Ok(answer) => answer.map_err(|error| sdk_error(&$place, error)),
            Err(_) => Err($place.timed_out(limit)),
        }
    }};
}

/// Adds the options of an object to a request that creates one.
macro_rules! with_options {
    ($request:expr, $options:expr) => {{
        let options: &ObjectOptions = $options;
        $request
            .set_storage_class(options.storage_class.as_deref().map(StorageClass::from))
            .set_server_side_encryption(options.encryption.as_deref().map(ServerSideEncryption::from))
            .set_ssekms_key_id(options.kms_key_id.clone())
            .set_bucket_key_enabled(options.bucket_key)
            .set_tagging(options.tagging.clone())
            .set_acl(options.acl.as_deref().map(Into::into))
            .set_object_lock_mode(options.lock.as_ref().map(|lock| lock.mode.as_str().into()))
            .set_object_lock_retain_until_date(options.lock.as_ref().map(|lock| DateTime::from_secs(lock.until_s)))
            .set_object_lock_legal_hold_status(options.legal_hold.then_some(ObjectLockLegalHoldStatus::On))
            .set_expected_bucket_owner(options.expected_bucket_owner.clone())
            .set_request_payer(options.requester_pays.then_some(RequestPayer::Requester))
    }};
}

/// Puts a claim into the header that carries it.
macro_rules! with_claim {
    ($request:expr, $claim:expr) => {{
        let request = $request;
        match $claim {
            Some(claim @ Claim::Crc64(_)) => request.checksum_crc64_nvme(claim.text()),
            Some(claim @ Claim::Crc32c(_)) => request.checksum_crc32_c(claim.text()),
            Some(claim @ Claim::Sha256(_)) => request.checksum_sha256(claim.text()),
            Some(claim @ Claim::Md5(_)) => request.content_md5(claim.text()),
            None => request,
        }
    }};
}

/// Reads the checksums out of an answer.
macro_rules! checksums_of {
    ($answer:expr) => {
        Checksums {
            crc64: $answer.checksum_crc64_nvme().map(ToOwned::to_owned),
            crc32c: $answer.checksum_crc32_c().map(ToOwned::to_owned),
            sha256: $answer.checksum_sha256().map(ToOwned::to_owned),
        }
    };
}

impl S3Store {
    pub(super) fn new(client: Client, target: Target, path_style: bool) -> Self {
        let endpoint = target.endpoint().to_owned();
        Self {
            client,
            bucket: target.bucket,
            endpoint,
            path_style,
            timeouts: target.timeouts,
            objects: target.objects,
            pace: target.pace,
        }
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Where requests go.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the bucket is named in the path of requests; else in the host name.
    pub fn path_style(&self) -> bool {
        self.path_style
    }

    pub(super) fn with_path_style(&self, path_style: bool) -> Self {
        let config = self.client.config().to_builder().force_path_style(path_style);
        Self { client: Client::from_conf(config.build()), path_style, ..self.clone() }
    }

    /// Whether the server knows what is asked when it is asked for an object that does not exist; an error when it
    /// does not answer at all.
    pub(super) async fn answers(&self) -> Result<bool, RemoteError> {
        match self.get(NO_SUCH_KEY, 0, 1).await {
            Ok(_) => Ok(true),
            Err(error @ (RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. })) => Err(error),
            Err(RemoteError::Refused { status, code, .. }) => Ok(status == 404 && code != "NoSuchBucket"),
            // Who may not list is not told that an object is missing; but it was understood what was asked.
            Err(RemoteError::Auth { code, .. }) => Ok(code == "AccessDenied"),
            Err(_) => Ok(false),
        }
    }

    /// One page of the objects under a prefix, and where the next one begins.
    ///
    /// # Errors
    /// The server's.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
    ) -> Result<(Vec<ListedObject>, Option<String>), RemoteError> {
        let place = self.place("list the objects under", prefix);
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let request = request.set_continuation_token(after).set_expected_bucket_owner(self.owner());
        let page = bounded!(self, 0, place, request.set_request_payer(self.payer()).send())?;
        let mut objects = Vec::new();
        for object in page.contents() {
            let key = object.key().ok_or_else(|| place.odd("gave an object no key"))?.to_owned();
            let etag = object.e_tag().unwrap_or_default().trim_matches('"').to_owned();
            objects.push(ListedObject { key, bytes: length(&place, object.size())?, etag });
        }
        let next = page.next_continuation_token().map(ToOwned::to_owned);
        Ok((objects, next.filter(|_| page.is_truncated() == Some(true))))
    }

    /// The same bucket without anything that would make an object hard to remove again: for a probe.
    pub(in crate::ingest) fn without_locks(&self) -> Self {
        let objects = ObjectOptions { lock: None, legal_hold: false, ..self.objects.clone() };
        Self { objects, ..self.clone() }
    }

    /// Whether objects get tags.
    pub fn wants_tags(&self) -> bool {
        self.objects.tagging.is_some()
    }

    /// How many tags an object has.
    ///
    /// # Errors
    /// The server's.
    pub async fn tags(&self, key: &str) -> Result<usize, RemoteError> {
        let place = self.place("read the tags of", key);
        let request = self.client.get_object_tagging().bucket(&self.bucket).key(key);
        let request = request.set_expected_bucket_owner(self.owner()).set_request_payer(self.payer());
        let answer = bounded!(self, 0, place, request.send())?;
        Ok(answer.tag_set().len())
    }

    fn place<'a>(&'a self, operation: &'static str, key: &'a str) -> Place<'a> {
        Place { operation, key, bucket: &self.bucket, endpoint: &self.endpoint }
    }

    fn owner(&self) -> Option<String> {
        self.objects.expected_bucket_owner.clone()
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.objects.requester_pays.then_some(RequestPayer::Requester)
    }

    fn body(&self, bytes: Bytes) -> ByteStream {
        match &self.pace {
            Some(pace) => pace.body(bytes),
            None => ByteStream::from(bytes),
        }
    }

    /// What describes the file, and what the user wants on every object.
    fn metadata(&self, metadata: &Metadata) -> Option<std::collections::HashMap<String, String>> {
        let common = self.objects.metadata.iter();
        Some(common.chain(metadata).map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

fn etag(place: &Place<'_>, etag: Option<&str>) -> Result<String, RemoteError> {
    let etag = etag.map(|etag| etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
    etag.ok_or_else(|| place.odd("gave no entity tag"))
}

fn stored(place: &Place<'_>, tag: Option<&str>, version: Option<&str>) -> Result<Stored, RemoteError> {
    // Buckets that keep no versions may say `null`.
    let version = version.filter(|version| !version.is_empty() && *version != "null").map(ToOwned::to_owned);
    Ok(Stored { etag: etag(place, tag)?, version })
}

/// A server that gives a checksum back must give back the one it was sent.
fn echoes(place: &Place<'_>, claim: Option<Claim>, echoed: &Checksums) -> Result<(), RemoteError> {
    let (sent, got) = match claim {
        Some(claim @ Claim::Crc64(_)) => (claim.text(), &echoed.crc64),
        Some(claim @ Claim::Crc32c(_)) => (claim.text(), &echoed.crc32c),
        Some(claim @ Claim::Sha256(_)) => (claim.text(), &echoed.sha256),
        Some(Claim::Md5(_)) | None => return Ok(()),
    };
    match got {
        Some(got) if *got != sent => Err(place.odd("gave back another checksum than it was sent")),
        _ => Ok(()),
    }
}

fn length(place: &Place<'_>, bytes: Option<i64>) -> Result<u64, RemoteError> {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| place.odd("gave no length"))
}

fn length_of(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn part_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl ObjectStore for S3Store {
    async fn put(&self, put: Put) -> Result<Stored, RemoteError> {
        let place = self.place("store", &put.key);
        let bytes = put.body.len() as u64;
        let request = self.client.put_object().bucket(&self.bucket).key(&put.key).content_length(length_of(bytes));
        let request = request.body(self.body(put.body));
        let request = with_options!(request, &self.objects)
            .set_metadata(self.metadata(&put.metadata))
            .set_if_none_match((!put.overwrite).then(|| "*".to_owned()));
        let request = with_claim!(request, put.claim).customize().disable_payload_signing();
        let answer = bounded!(self, bytes, place, request.send())?;
        echoes(&place, put.claim, &checksums_of!(answer))?;
        stored(&place, answer.e_tag(), answer.version_id())
    }

    async fn head(&self, key: &str) -> Result<Option<Head>, RemoteError> {
        let place = self.place("look at", key);
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let request = request.checksum_mode(ChecksumMode::Enabled).set_expected_bucket_owner(self.owner());
        let request = request.set_request_payer(self.payer());
        let answer = match bounded!(self, 0, place, request.send()) {
            Ok(answer) => answer,
            Err(RemoteError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Head {
            bytes: length(&place, answer.content_length())?,
            etag: etag(&place, answer.e_tag())?,
            checksums: checksums_of!(answer),
            version: answer.version_id().map(ToOwned::to_owned),
            metadata: answer.metadata().into_iter().flatten().map(|(k, v)| (k.to_lowercase(), v.clone())).collect(),
        }))
    }

    async fn get(&self, key: &str, first: u64, bytes: u64) -> Result<Bytes, RemoteError> {
        let place = self.place("read", key);
        if bytes == 0 {
            return Ok(Bytes::new());
        }
        let range = format!("bytes={first}-{}", first.saturating_add(bytes - 1));
        let request = self.client.get_object().bucket(&self.bucket).key(key).range(range);
        let request = request.set_expected_bucket_owner(self.owner()).set_request_payer(self.payer());
        let work = async {
            let answer = request.send().await.map_err(|error| sdk_error(&place, error))?;
            answer.body.collect().await.map_err(|error| place.unreachable(error))
        };
        let limit = self.timeouts.attempt(bytes);
        let body = tokio::time::timeout(limit, work).await.map_err(|_| place.timed_out(limit))??.into_bytes();
        if body.len() as u64 == bytes {
            Ok(body)
        } else {
            Err(place.odd("gave another number of bytes than was asked"))
        }
    }

    async fn delete(&self, key: &str) -> Result<(), RemoteError> {
        let place = self.place("delete", key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key).set_request_payer(self.payer());
        bounded!(self, 0, place, request.set_expected_bucket_owner(self.owner()).send()).map(|_| ())
    }

    async fn create_upload(&self, key: &str, method: Method, metadata: &Metadata) -> Result<String, RemoteError> {
        let place = self.place("begin the upload of", key);
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let request = with_options!(request, &self.objects).set_metadata(self.metadata(metadata));
        let (algorithm, kind) = algorithm(method);
        let request = request.set_checksum_algorithm(algorithm).set_checksum_type(kind);
        let answer = bounded!(self, 0, place, request.send())?;
        let upload = answer.upload_id().filter(|upload| !upload.is_empty());
        upload.map(ToOwned::to_owned).ok_or_else(|| place.odd("gave the upload no name"))
    }

    async fn put_part(&self, part: PutPart) -> Result<SentPart, RemoteError> {
        let place = self.place("store a part of", &part.key);
        let bytes = part.body.len() as u64;
        let request = self.client.upload_part().bucket(&self.bucket).key(&part.key).upload_id(&part.upload);
        let request = request.part_number(part_number(part.number)).content_length(length_of(bytes));
        let request = request.body(self.body(part.body)).set_request_payer(self.payer());
        let request = with_claim!(request, part.claim).set_expected_bucket_owner(self.owner());
        let answer = bounded!(self, bytes, place, request.customize().disable_payload_signing().send())?;
        echoes(&place, part.claim, &checksums_of!(answer))?;
        let checksum = part.claim.filter(|claim| !matches!(claim, Claim::Md5(_))).map(|claim| claim.text());
        Ok(SentPart { number: part.number, bytes, etag: etag(&place, answer.e_tag())?, checksum })
    }

    async fn list_parts(&self, key: &str, upload: &str) -> Result<Option<Vec<ListedPart>>, RemoteError> {
        let place = self.place("list the parts of", key);
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut marker = None;
        loop {
            let request = self.client.list_parts().bucket(&self.bucket).key(key).upload_id(upload);
            let request = request.set_part_number_marker(marker).set_expected_bucket_owner(self.owner());
            let request = request.set_request_payer(self.payer());
            let page = match bounded!(self, 0, place, request.send()) {
                Ok(page) => page,
                Err(RemoteError::NoSuchUpload { .. } | RemoteError::Refused { status: 404, .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            for part in page.parts() {
                let number = part.part_number().and_then(|number| u32::try_from(number).ok());
                let number = number.ok_or_else(|| place.odd("gave a part no number"))?;
                let bytes = length(&place, part.size())?;
                let etag = etag(&place, part.e_tag())?;
                parts.push(ListedPart { number, bytes, etag, checksums: checksums_of!(part) });
            }
            let last = page.next_part_number_marker().map(ToOwned::to_owned);
            if page.is_truncated() != Some(true) || last.is_none() || page.parts().is_empty() {
                break;
            }
            marker = last;
        }
        parts.sort_by_key(|part| part.number);
        Ok(Some(parts))
    }

    async fn complete(&self, complete: Complete) -> Result<Stored, RemoteError> {
        let place = self.place("complete the upload of", &complete.key);
        let parts = complete.parts.iter().map(|part| completed_part(part, complete.method)).collect();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(&complete.key);
        let request = request.upload_id(&complete.upload).multipart_upload(parts);
        let request = match complete.claim {
            Some(claim @ Claim::Crc64(_)) => request.checksum_crc64_nvme(claim.text()),
            Some(claim @ Claim::Crc32c(_)) => request.checksum_crc32_c(claim.text()),
            _ => request,
        };
        let request = request
            .set_checksum_type(algorithm(complete.method).1.filter(|_| complete.claim.is_some()))
            .set_mpu_object_size(i64::try_from(complete.bytes).ok().filter(|_| complete.claim.is_some()))
            .set_if_none_match((!complete.overwrite).then(|| "*".to_owned()))
            .set_expected_bucket_owner(self.owner())
            .set_request_payer(self.payer());
        // The server may read everything again before it answers: it gets the time of a slow transfer.
        let answer = bounded!(self, complete.bytes.min(64 << 30), place, request.send())?;
        echoes(&place, complete.claim, &checksums_of!(answer))?;
        stored(&place, answer.e_tag(), answer.version_id())
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), RemoteError> {
        let place = self.place("abort the upload of", key);
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        let request = request.set_request_payer(self.payer());
        match bounded!(self, 0, place, request.set_expected_bucket_owner(self.owner()).send()) {
            Ok(_) | Err(RemoteError::NoSuchUpload { .. } | RemoteError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, RemoteError> {
        let place = self.place("list the uploads under", prefix);
        let mut open = Vec::new();
        let (mut key_marker, mut upload_marker) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(prefix);
            let request = request.set_key_marker(key_marker).set_upload_id_marker(upload_marker);
            let page = bounded!(self, 0, place, request.set_expected_bucket_owner(self.owner()).send())?;
            for upload in page.uploads() {
                if let (Some(key), Some(name)) = (upload.key(), upload.upload_id()) {
                    let started_s = upload.initiated().map(aws_sdk_s3::primitives::DateTime::secs);
                    open.push(OpenUpload { key: key.to_owned(), upload: name.to_owned(), started_s });
                }
            }
            key_marker = page.next_key_marker().map(ToOwned::to_owned);
            upload_marker = page.next_upload_id_marker().map(ToOwned::to_owned);
            if page.is_truncated() != Some(true) || key_marker.is_none() || page.uploads().is_empty() {
                return Ok(open);
            }
        }
    }
}

fn algorithm(method: Method) -> (Option<ChecksumAlgorithm>, Option<ChecksumType>) {
    match method {
        Method::FullObjectCrc64 => (Some(ChecksumAlgorithm::Crc64Nvme), Some(ChecksumType::FullObject)),
        Method::FullObjectCrc32c => (Some(ChecksumAlgorithm::Crc32C), Some(ChecksumType::FullObject)),
        Method::CompositeSha256 => (Some(ChecksumAlgorithm::Sha256), Some(ChecksumType::Composite)),
        Method::ContentMd5 | Method::ReadBack => (None, None),
    }
}

fn completed_part(part: &SentPart, method: Method) -> CompletedPart {
    let named = CompletedPart::builder().part_number(part_number(part.number)).e_tag(format!("\"{}\"", part.etag));
    let checksum = part.checksum.clone();
    let named = match method {
        Method::FullObjectCrc64 => named.set_checksum_crc64_nvme(checksum),
        Method::FullObjectCrc32c => named.set_checksum_crc32_c(checksum),
        Method::CompositeSha256 => named.set_checksum_sha256(checksum),
        Method::ContentMd5 | Method::ReadBack => named,
    };
    named.build()
}

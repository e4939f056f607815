//! Writing, copying, tagging and deleting single objects.
//!
//! Owns: what S3 demands of a `PutObject` and its relatives. Bodies go through `body`, visibility through `store`.

use std::collections::BTreeSet;

use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::s3d::attributes::{attributes_of, check_tags, tags_to_dto, timestamp};
use crate::s3d::backend::Backend;
use crate::s3d::body::{Claims, receive};
use crate::s3d::store::{Object, ObjectRecord, Precondition};
use crate::s3d::sums::{Algorithm, Kind, Sums, put_sums, sums_of};

/// Largest single PUT. Unit: bytes. Source: S3 user guide, "Uploading objects" (5 GB, meant as 5 GiB).
const PUT_BYTES_MAX: i64 = 5 << 30;

/// Collects what a request says about its body, from its headers and its announced trailers.
macro_rules! claims_of {
    ($self:expr, $request:expr) => {{
        let headers = &$request.headers;
        let decoded = headers.get("x-amz-decoded-content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        let announced = $request.input.checksum_algorithm.as_ref().map(|a| Algorithm::parse(a.as_str())).transpose()?;
        let mut claims = crate::s3d::body::Claims {
            sums: sums_of!($request.input),
            md5: $request.input.content_md5.clone().filter(|_| !$self.quirks.ignore_content_md5),
            length: decoded.or($request.input.content_length),
            trailers: $request.trailing_headers.clone(),
            announced,
            ..Default::default()
        };
        if $self.quirks.ignore_checksums {
            claims.sums = Default::default();
            claims.trailers = None;
        }
        claims
    }};
}
pub(super) use claims_of;

/// The digest that S3 keeps for a single PUT: the one it was given, else CRC-64/NVME, which it computes itself.
fn kept(claims: &Claims, announced: Option<Algorithm>) -> Algorithm {
    claims.sums.0.keys().next().copied().or(announced).unwrap_or(Algorithm::Crc64Nvme)
}

impl Backend {
    pub(super) fn condition(&self, if_match: Option<IfMatch>, if_none_match: Option<IfNoneMatch>) -> Precondition {
        if self.quirks.ignore_conditions { Precondition::default() } else { Precondition { if_match, if_none_match } }
    }

    pub(super) fn need_object(&self, bucket: &str, key: &str, with_body: bool) -> S3Result<Object> {
        self.store.need_bucket(bucket)?;
        let found = self.store.object(bucket, key, with_body)?;
        found.ok_or_else(|| s3_error!(NoSuchKey, "the specified key does not exist"))
    }

    pub(super) async fn put(&self, request: S3Request<PutObjectInput>) -> S3Result<PutObjectOutput> {
        self.store.need_bucket(&request.input.bucket)?;
        let attributes = attributes_of!(request.input).check()?;
        let mut claims = claims_of!(self, request);
        if claims.length.is_some_and(|bytes| bytes > PUT_BYTES_MAX) {
            return Err(s3_error!(EntityTooLarge, "your proposed upload exceeds the maximum allowed size"));
        }
        if claims.sums.0.len() > 1 {
            return Err(s3_error!(InvalidRequest, "expecting a single x-amz-checksum- header"));
        }
        let algorithm = kept(&claims, claims.announced);
        claims.wanted = BTreeSet::from([algorithm]);
        claims.may_inline = true;
        let input = request.input;
        let received = receive(&self.store, input.body, claims).await?;
        let (segment, body) = received.keep()?;
        let record = ObjectRecord {
            size: segment.size,
            etag: segment.etag.clone(),
            attributes,
            sums: segment.sums.only(algorithm),
            kind: Kind::FullObject,
            multipart: false,
            segments: vec![segment],
        };
        let condition = self.condition(input.if_match, input.if_none_match);
        let put = self.store.put_object(&input.bucket, &input.key, &record, body.as_deref(), &condition);
        if let Err(error) = put {
            self.store.remove_blobs(record.segments);
            return Err(error);
        }
        let mut output = PutObjectOutput { e_tag: Some(ETag::Strong(record.etag.clone())), ..Default::default() };
        output.server_side_encryption = record.attributes.encryption.clone().map(Into::into);
        if !self.quirks.ignore_checksums {
            put_sums!(record.sums, output);
            output.checksum_type = Some(ChecksumType::from(record.kind.name().to_owned()));
        }
        Ok(output)
    }

    /// Copies by reading the source like a download and storing it like an upload.
    pub(super) async fn copy(&self, request: S3Request<CopyObjectInput>) -> S3Result<CopyObjectOutput> {
        let input = request.input;
        self.store.need_bucket(&input.bucket)?;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only BUCKET/KEY can be copied from"));
        };
        let source = self.need_object(bucket, key, true)?;
        let old = ETag::Strong(source.record.etag.clone());
        let is = |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.strong_cmp(&old));
        if input.copy_source_if_match.as_ref().is_some_and(|c| !is(c))
            || input.copy_source_if_none_match.as_ref().is_some_and(is)
        {
            return Err(s3_error!(PreconditionFailed, "at least one of the pre-conditions you specified did not hold"));
        }
        let replace = input.metadata_directive.as_ref().is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        let mut attributes = source.record.attributes.clone();
        let asked = attributes_of!(input);
        if replace {
            attributes = asked.check()?;
        } else if input.bucket == **bucket && input.key == **key {
            return Err(s3_error!(InvalidRequest, "an object cannot be copied onto itself without changing anything"));
        } else {
            attributes.storage_class = asked.storage_class;
        }
        let algorithm = match &input.checksum_algorithm {
            Some(asked) => Algorithm::parse(asked.as_str())?,
            None => source.record.sums.0.keys().next().copied().unwrap_or(Algorithm::Crc64Nvme),
        };
        let range = 0..source.record.size;
        let bytes = crate::s3d::body::send(&self.store, source.record.segments, source.body, range);
        let claims = Claims { wanted: BTreeSet::from([algorithm]), may_inline: true, ..Claims::default() };
        let (segment, body) = receive(&self.store, Some(bytes), claims).await?.keep()?;
        let record = ObjectRecord {
            size: segment.size,
            etag: segment.etag.clone(),
            attributes,
            sums: segment.sums.only(algorithm),
            kind: Kind::FullObject,
            multipart: false,
            segments: vec![segment],
        };
        self.store.put_object(&input.bucket, &input.key, &record, body.as_deref(), &Precondition::default())?;
        let written = self.need_object(&input.bucket, &input.key, false)?;
        let mut result = CopyObjectResult { e_tag: Some(ETag::Strong(record.etag)), ..Default::default() };
        result.last_modified = Some(timestamp(written.modified_ms));
        put_sums!(record.sums, result);
        Ok(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() })
    }

    pub(super) fn delete(&self, input: &DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
        self.store.need_bucket(&input.bucket)?;
        self.store.delete_object(&input.bucket, &input.key)?;
        Ok(DeleteObjectOutput::default())
    }

    pub(super) fn delete_many(&self, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
        self.store.need_bucket(&input.bucket)?;
        let quiet = input.delete.quiet.unwrap_or(false);
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in input.delete.objects {
            match self.store.delete_object(&input.bucket, &object.key) {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => errors.push(failed(object.key, &error)),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!deleted.is_empty()).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        })
    }

    pub(super) fn tags(&self, input: &GetObjectTaggingInput) -> S3Result<GetObjectTaggingOutput> {
        let object = self.need_object(&input.bucket, &input.key, false)?;
        Ok(GetObjectTaggingOutput { tag_set: tags_to_dto(&object.record.attributes.tags), ..Default::default() })
    }

    pub(super) fn set_tags(&self, bucket: &str, key: &str, tags: Vec<Tag>) -> S3Result<()> {
        let mut object = self.need_object(bucket, key, false)?;
        let pairs = tags.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        object.record.attributes.tags = pairs.collect();
        check_tags(&object.record.attributes.tags)?;
        self.store.update_record(bucket, key, &object.record)
    }
}

fn failed(key: String, error: &S3Error) -> s3s::dto::Error {
    s3s::dto::Error {
        key: Some(key),
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(ToOwned::to_owned),
        ..Default::default()
    }
}

/// Digests to give back: all that is kept, unless this server plays one that keeps none.
pub(super) fn visible(backend: &Backend, sums: &Sums) -> Sums {
    if backend.quirks.ignore_checksums { Sums::default() } else { sums.clone() }
}

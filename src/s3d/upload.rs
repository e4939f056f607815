//! Multipart uploads from creation to completion.
//!
//! Owns: what S3 demands of parts and of a completion: order, sizes, entity tags, part and whole-object checksums, object
//! size, conditions. Invariant: a completion that is refused changes nothing, and the upload can still be completed.

use std::collections::BTreeSet;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use crate::s3d::attributes::{attributes_of, timestamp};
use crate::s3d::backend::Backend;
use crate::s3d::body::{hex, receive};
use crate::s3d::fault::Quirks;
use crate::s3d::object::{claims_of, visible};
use crate::s3d::store::{ObjectRecord, Part as StoredPart, Segment, Upload, UploadRecord};
use crate::s3d::sums::{self, Algorithm, Kind, Sums, put_sums, sums_of};

/// Highest part number. Source: S3 user guide, "Amazon S3 multipart upload limits".
const PART_NUMBER_MAX: i32 = 10_000;
/// Smallest part but the last. Unit: bytes. Source: as above.
const PART_BYTES_MIN: u64 = 5 << 20;

/// The same of servers that take fewer, when a test asks for one.
const PART_NUMBER_MAX_FEW: i32 = 1_000;

fn check_number(number: i32, quirks: Quirks) -> S3Result<()> {
    let most = if quirks.few_parts { PART_NUMBER_MAX_FEW } else { PART_NUMBER_MAX };
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "part number must be an integer between 1 and {most}, inclusive"))
}

impl Backend {
    pub(super) fn create_upload(&self, input: &CreateMultipartUploadInput) -> S3Result<CreateMultipartUploadOutput> {
        self.store.need_bucket(&input.bucket)?;
        let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
        let checksum = match &input.checksum_algorithm {
            Some(name) => {
                let algorithm = Algorithm::parse(name.as_str())?;
                Some((algorithm, Kind::for_upload(algorithm, kind)?))
            }
            None if kind.is_some() => {
                return Err(s3_error!(InvalidRequest, "x-amz-checksum-type needs x-amz-checksum-algorithm"));
            }
            None => None,
        };
        let record = UploadRecord { attributes: attributes_of!(input).check()?, checksum };
        let id = self.store.new_id()?;
        self.store.create_upload(&id, &input.bucket, &input.key, &record)?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(id),
            checksum_algorithm: checksum.map(|(algorithm, _)| algorithm.name().to_owned().into()),
            checksum_type: checksum.map(|(_, kind)| kind.name().to_owned().into()),
            ..Default::default()
        })
    }

    pub(super) async fn put_part(&self, request: S3Request<UploadPartInput>) -> S3Result<UploadPartOutput> {
        self.store.need_bucket(&request.input.bucket)?;
        check_number(request.input.part_number, self.quirks)?;
        let upload = self.store.upload(&request.input.bucket, &request.input.key, &request.input.upload_id)?;
        let mut claims = claims_of!(self, request);
        let agreed = upload.record.checksum.map(|(algorithm, _)| algorithm);
        if let (Some(agreed), Some(claimed)) = (agreed, claims.sums.0.keys().next())
            && *claimed != agreed
        {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                format!("checksum type mismatch: expected {}, actual {}", agreed.name(), claimed.name()),
            ));
        }
        claims.wanted = BTreeSet::from([agreed.unwrap_or(Algorithm::Crc64Nvme)]);
        let returned: Vec<_> = claims.sums.0.keys().copied().chain(claims.announced).chain(agreed).collect();
        let received = receive(&self.store, request.input.body, claims).await?;
        let (segment, _) = received.keep()?;
        let put = self.store.put_part(&upload.id, request.input.part_number, &segment);
        if let Err(error) = put {
            self.store.remove_blobs([segment]);
            return Err(error);
        }
        let mut output = UploadPartOutput { e_tag: Some(ETag::Strong(segment.etag.clone())), ..Default::default() };
        let mut sums = visible(self, &segment.sums);
        sums.0.retain(|algorithm, _| returned.contains(algorithm));
        put_sums!(sums, output);
        Ok(output)
    }

    pub(super) fn list_parts_page(&self, input: &ListPartsInput) -> S3Result<ListPartsOutput> {
        self.store.need_bucket(&input.bucket)?;
        let upload = self.store.upload(&input.bucket, &input.key, &input.upload_id)?;
        let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let marker = input.part_number_marker.unwrap_or(0);
        let mut parts = self.store.parts(&upload.id, marker, u32::try_from(max).unwrap_or(0) + 1)?;
        let is_truncated = parts.len() > usize::try_from(max).unwrap_or(0);
        parts.truncate(usize::try_from(max).unwrap_or(0));
        let last = parts.last().map_or(marker, |part| part.number);
        let shown = parts.into_iter().map(|part| self.show_part(&upload, part));
        Ok(ListPartsOutput {
            parts: Some(shown.collect()),
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(upload.id.clone()),
            is_truncated: Some(is_truncated),
            max_parts: Some(max),
            part_number_marker: Some(marker),
            next_part_number_marker: is_truncated.then_some(last),
            checksum_algorithm: upload.record.checksum.map(|(algorithm, _)| algorithm.name().to_owned().into()),
            checksum_type: upload.record.checksum.map(|(_, kind)| kind.name().to_owned().into()),
            storage_class: Some(upload.record.attributes.storage_class.unwrap_or_else(|| "STANDARD".to_owned()).into()),
            ..Default::default()
        })
    }

    fn show_part(&self, upload: &Upload, part: StoredPart) -> Part {
        let mut shown = Part {
            part_number: Some(part.number),
            size: i64::try_from(part.segment.size).ok(),
            e_tag: Some(ETag::Strong(part.segment.etag.clone())),
            last_modified: Some(timestamp(part.modified_ms)),
            ..Default::default()
        };
        if let Some((algorithm, _)) = upload.record.checksum {
            put_sums!(visible(self, &part.segment.sums.only(algorithm)), shown);
        }
        shown
    }

    pub(super) fn abort_upload(&self, input: &AbortMultipartUploadInput) -> S3Result<AbortMultipartUploadOutput> {
        self.store.need_bucket(&input.bucket)?;
        let upload = self.store.upload(&input.bucket, &input.key, &input.upload_id)?;
        self.store.abort(&upload.id)?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        self.store.need_bucket(&input.bucket)?;
        let upload = self.store.upload(&input.bucket, &input.key, &input.upload_id)?;
        let claimed_sums = sums_of!(input);
        claimed_sums.check_form()?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let segments = self.choose(&upload, &named)?;
        let size: u64 = segments.iter().map(|segment| segment.size).sum();
        if input.mpu_object_size.is_some_and(|claimed| u64::try_from(claimed).ok() != Some(size)) {
            return Err(s3_error!(InvalidRequest, "x-amz-mp-object-size does not match what was computed"));
        }
        let (algorithm, kind) = upload.record.checksum.unwrap_or((Algorithm::Crc64Nvme, Kind::FullObject));
        if input.checksum_type.as_ref().is_some_and(|claimed| claimed.as_str() != kind.name()) {
            return Err(s3_error!(InvalidRequest, "x-amz-checksum-type is not that of the upload"));
        }
        let parts: Vec<_> = segments.iter().map(|segment| (segment.size, &segment.sums)).collect();
        let whole = sums::of_parts(algorithm, kind, &parts);
        let sums = Sums(whole.map(|value| (algorithm, value)).into_iter().collect());
        if !self.quirks.ignore_checksums && !self.quirks.ignore_full_object {
            check_whole(&sums, &claimed_sums, kind)?;
        }
        let record = ObjectRecord {
            size,
            etag: multipart_etag(&segments),
            attributes: upload.record.attributes.clone(),
            sums,
            kind,
            multipart: true,
            segments,
        };
        let condition = self.condition(input.if_match, input.if_none_match);
        self.store.complete(&input.bucket, &upload, &record, &condition)?;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(record.etag)),
            ..Default::default()
        };
        let shown = visible(self, &record.sums);
        put_sums!(shown, output);
        output.checksum_type = (!shown.0.is_empty()).then(|| kind.name().to_owned().into());
        Ok(output)
    }

    /// The named parts in order, each checked against what is stored.
    fn choose(&self, upload: &Upload, named: &[CompletedPart]) -> S3Result<Vec<Segment>> {
        if named.is_empty() {
            return Err(s3_error!(MalformedXML, "a completion must name at least one part"));
        }
        let stored = self.store.parts(&upload.id, 0, u32::MAX)?;
        let mut chosen: Vec<Segment> = Vec::with_capacity(named.len());
        let mut before = 0;
        for part in named {
            let number = part.part_number.unwrap_or(0);
            check_number(number, self.quirks)?;
            if number <= before {
                return Err(s3_error!(InvalidPartOrder, "the list of parts was not in ascending order"));
            }
            before = number;
            let invalid = || s3_error!(InvalidPart, "one or more of the specified parts could not be found");
            let found = stored.binary_search_by_key(&number, |part| part.number).map_err(|_| invalid())?;
            let segment = &stored[found].segment;
            if part.e_tag.as_ref().is_none_or(|etag| etag.value() != segment.etag) {
                return Err(invalid());
            }
            self.check_part_sums(upload, part, segment)?;
            chosen.push(segment.clone());
        }
        let all_but_last = &chosen[..chosen.len() - 1];
        if all_but_last.iter().any(|segment| segment.size < PART_BYTES_MIN) {
            return Err(s3_error!(
                EntityTooSmall,
                "your proposed upload is smaller than the minimum allowed object size"
            ));
        }
        Ok(chosen)
    }

    fn check_part_sums(&self, upload: &Upload, part: &CompletedPart, segment: &Segment) -> S3Result<()> {
        if self.quirks.ignore_checksums {
            return Ok(());
        }
        let claimed = sums_of!(part);
        if let Some((algorithm, Kind::Composite)) = upload.record.checksum
            && claimed.get(algorithm).is_none()
        {
            return Err(s3_error!(InvalidRequest, "the complete request must include the checksum for each part"));
        }
        segment.sums.check_claim(&claimed).map_err(|_| s3_error!(InvalidPart, "the checksum of a part does not match"))
    }
}

/// Compares the whole-object value. A composite one may be given with or without its `-N`.
fn check_whole(stored: &Sums, claimed: &Sums, kind: Kind) -> S3Result<()> {
    if kind == Kind::FullObject {
        return stored.check_claim(claimed);
    }
    let bare = |sums: &Sums| {
        let cut = |text: &String| text.split_once('-').map_or(text.clone(), |(digest, _)| digest.to_owned());
        Sums(sums.0.iter().map(|(algorithm, text)| (*algorithm, cut(text))).collect())
    };
    bare(stored).check_claim(&bare(claimed))
}

/// Entity tag of a multipart object: MD5 over the MD5s of its parts, and their number.
fn multipart_etag(segments: &[Segment]) -> String {
    let mut md5 = Md5::new();
    for segment in segments {
        let digits = segment.etag.as_bytes().chunks(2);
        let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Vec<u8> = digits.filter_map(byte).collect();
        md5.update(&bytes);
    }
    format!("{}-{}", hex(&md5.finalize()), segments.len())
}

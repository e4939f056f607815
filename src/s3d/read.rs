//! Reading objects: `GetObject`, `HeadObject`, `GetObjectAttributes`.
//!
//! Owns: ranges, part numbers, read conditions and checksum mode. Invariant: a checksum is only given for exactly the
//! bytes it was taken over, so a range gets none.

use std::ops::Range as Bytes;

use s3s::dto::*;
use s3s::{S3Result, s3_error};

use crate::s3d::attributes::{put_attributes, timestamp};
use crate::s3d::backend::Backend;
use crate::s3d::body::send;
use crate::s3d::object::visible;
use crate::s3d::store::{Object, ObjectRecord};
use crate::s3d::sums::put_sums;

/// The stretch a request means, and whether that makes the answer a partial one.
fn stretch(record: &ObjectRecord, range: Option<Range>, part: Option<PartNumber>) -> S3Result<(Bytes<u64>, bool)> {
    match (range, part) {
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "cannot specify both Range header and partNumber")),
        (Some(range), None) => {
            let bytes = range.check(record.size);
            Ok((bytes.map_err(|_| s3_error!(InvalidRange, "the requested range is not satisfiable"))?, true))
        }
        (None, Some(number)) => {
            let mut start = 0;
            for (index, segment) in (1..).zip(&record.segments) {
                if index == number {
                    return Ok((start..start + segment.size, record.size > 0));
                }
                start += segment.size;
            }
            Err(s3_error!(InvalidRange, "the requested partnumber is not satisfiable"))
        }
        (None, None) => Ok((0..record.size, false)),
    }
}

fn check_conditions(etag: &str, if_match: Option<&IfMatch>, if_none_match: Option<&IfNoneMatch>) -> S3Result<()> {
    let etag = ETag::Strong(etag.to_owned());
    let is = |condition: &ETagCondition| condition.as_etag().is_none_or(|wanted| wanted.weak_cmp(&etag));
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed, "at least one of the pre-conditions you specified did not hold"));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

fn content_range(record: &ObjectRecord, bytes: &Bytes<u64>, partial: bool) -> Option<String> {
    (partial && bytes.start < bytes.end).then(|| format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, record.size))
}

fn signed(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

fn count(items: usize) -> Option<i32> {
    i32::try_from(items).ok()
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

/// The fields that `GetObjectOutput` and `HeadObjectOutput` share.
macro_rules! describe {
    ($backend:expr, $object:expr, $input:expr, $bytes:expr, $partial:expr, $output:expr) => {{
        let object: &Object = $object;
        let record = &object.record;
        put_attributes!(&record.attributes, $output);
        $output.accept_ranges = Some("bytes".to_owned());
        $output.content_length = signed($bytes.end - $bytes.start);
        $output.content_range = content_range(record, &$bytes, $partial);
        $output.e_tag = Some(ETag::Strong(record.etag.clone()));
        $output.last_modified = Some(timestamp(object.modified_ms));
        if $input.part_number.is_some() && record.multipart {
            $output.parts_count = count(record.segments.len());
        }
        if wants_checksum($input.checksum_mode.as_ref()) && (!$partial || $bytes == (0..record.size)) {
            let sums = visible($backend, &record.sums);
            put_sums!(sums, $output);
            if !sums.0.is_empty() {
                $output.checksum_type = Some(ChecksumType::from(record.kind.name().to_owned()));
            }
        }
    }};
}

impl Backend {
    pub(super) fn get(&self, input: &GetObjectInput) -> S3Result<GetObjectOutput> {
        let object = self.need_object(&input.bucket, &input.key, true)?;
        check_conditions(&object.record.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (bytes, partial) = stretch(&object.record, input.range, input.part_number)?;
        let mut output = GetObjectOutput::default();
        describe!(self, &object, input, bytes, partial, output);
        output.tag_count = count(object.record.attributes.tags.len()).filter(|tags| *tags > 0);
        if let Some(asked) = &input.response_content_type {
            output.content_type = Some(asked.clone());
        }
        output.body = Some(send(&self.store, object.record.segments, object.body, bytes));
        Ok(output)
    }

    pub(super) fn head(&self, input: &HeadObjectInput) -> S3Result<HeadObjectOutput> {
        let object = self.need_object(&input.bucket, &input.key, false)?;
        check_conditions(&object.record.etag, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (bytes, partial) = stretch(&object.record, input.range, input.part_number)?;
        let mut output = HeadObjectOutput::default();
        describe!(self, &object, input, bytes, partial, output);
        Ok(output)
    }

    pub(super) fn attributes(&self, input: &GetObjectAttributesInput) -> S3Result<GetObjectAttributesOutput> {
        let object = self.need_object(&input.bucket, &input.key, false)?;
        let record = &object.record;
        // The header's list may arrive as one value.
        let asked = |name: &str| {
            input.object_attributes.iter().any(|list| list.as_str().split(',').any(|one| one.trim() == name))
        };
        let mut output =
            GetObjectAttributesOutput { last_modified: Some(timestamp(object.modified_ms)), ..Default::default() };
        if asked(ObjectAttributes::ETAG) {
            output.e_tag = Some(ETag::Strong(record.etag.clone()));
        }
        if asked(ObjectAttributes::OBJECT_SIZE) {
            output.object_size = signed(record.size);
        }
        if asked(ObjectAttributes::STORAGE_CLASS) {
            let class = record.attributes.storage_class.clone();
            output.storage_class = Some(class.unwrap_or_else(|| "STANDARD".to_owned()).into());
        }
        if asked(ObjectAttributes::CHECKSUM) {
            let mut checksum = Checksum::default();
            let sums = visible(self, &record.sums);
            put_sums!(sums, checksum);
            checksum.checksum_type = Some(ChecksumType::from(record.kind.name().to_owned()));
            output.checksum = Some(checksum).filter(|_| !sums.0.is_empty());
        }
        if asked(ObjectAttributes::OBJECT_PARTS) && record.multipart {
            output.object_parts = Some(parts_page(self, record, input));
        }
        Ok(output)
    }
}

fn parts_page(backend: &Backend, record: &ObjectRecord, input: &GetObjectAttributesInput) -> GetObjectAttributesParts {
    let max = input.max_parts.unwrap_or(1000).clamp(0, 1000);
    let marker = input.part_number_marker.unwrap_or(0).max(0);
    let rest = (1..).zip(&record.segments).filter(|(number, _)| *number > marker);
    let page: Vec<_> = rest.take(usize::try_from(max).unwrap_or(0)).collect();
    let last = page.last().map_or(marker, |(number, _)| *number);
    let parts = page.into_iter().map(|(number, segment)| {
        let mut part = ObjectPart { part_number: Some(number), size: signed(segment.size), ..Default::default() };
        let algorithm = record.sums.0.keys().next().copied();
        let sums = algorithm.map(|algorithm| visible(backend, &segment.sums.only(algorithm))).unwrap_or_default();
        put_sums!(sums, part);
        part
    });
    GetObjectAttributesParts {
        parts: Some(parts.collect()),
        is_truncated: Some(count(record.segments.len()).is_some_and(|total| last < total)),
        max_parts: Some(max),
        part_number_marker: Some(marker),
        next_part_number_marker: Some(last),
        total_parts_count: count(record.segments.len()),
    }
}

//! `ListObjectsV2`, `ListObjects` and `ListMultipartUploads`.
//!
//! Owns: prefixes, delimiters, pages and tokens. Invariants: keys come in byte order, each once over all pages, and a page
//! costs time in proportion to what it returns (a common prefix is jumped over, not walked through).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Result, s3_error};

use crate::s3d::attributes::timestamp;
use crate::s3d::backend::Backend;
use crate::s3d::body::hex;
use crate::s3d::object::visible;
use crate::s3d::store::{Object as StoredObject, Store};

/// What `encoding-type=url` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// One page of keys and common prefixes; `next` is the smallest key of the following page, if there is one.
struct Page {
    objects: Vec<StoredObject>,
    prefixes: Vec<String>,
    next: Option<Vec<u8>>,
}

fn page(store: &Store, bucket: &str, prefix: &str, delimiter: &str, from: Vec<u8>, max: usize) -> S3Result<Page> {
    let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), next: None };
    let mut from = from.max(prefix.as_bytes().to_vec());
    if max == 0 {
        return Ok(page);
    }
    'fetch: loop {
        let batch = store.objects(bucket, &from, 1000)?;
        let ended = batch.len() < 1000;
        for object in batch {
            let Some(rest) = object.key.strip_prefix(prefix) else {
                return Ok(page);
            };
            if page.objects.len() + page.prefixes.len() == max {
                page.next = Some(object.key.into_bytes());
                return Ok(page);
            }
            let shared = rest.find(delimiter).filter(|_| !delimiter.is_empty());
            if let Some(at) = shared {
                let common = &object.key[..prefix.len() + at + delimiter.len()];
                from = successor(common.as_bytes());
                page.prefixes.push(common.to_owned());
                continue 'fetch;
            }
            from = object.key.as_bytes().to_vec();
            from.push(0);
            page.objects.push(object);
        }
        if ended {
            break;
        }
    }
    Ok(page)
}

/// The smallest byte string above every string that starts with `prefix` (which is UTF-8, so no byte is 0xff).
fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

fn after(key: &str) -> Vec<u8> {
    if key.is_empty() {
        return Vec::new();
    }
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn from_token(token: &str) -> S3Result<Vec<u8>> {
    let digits = token.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token provided is incorrect"))
}

fn keys_max(asked: Option<i32>) -> S3Result<usize> {
    usize::try_from(asked.unwrap_or(1000))
        .map(|max| max.min(1000))
        .map_err(|_| s3_error!(InvalidArgument, "argument max-keys must be an integer between 0 and 2147483647"))
}

/// Names in an answer, escaped if the client asked for it (XML cannot carry every character a key may have).
struct Names(bool);

impl Names {
    fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(s3_error!(InvalidArgument, "invalid encoding method specified in request")),
        }
    }

    fn show(&self, name: &str) -> String {
        if self.0 { utf8_percent_encode(name, PLAIN).to_string() } else { name.to_owned() }
    }

    fn prefixes(&self, prefixes: &[String]) -> Option<CommonPrefixList> {
        let shown = prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.show(prefix)) });
        (!prefixes.is_empty()).then(|| shown.collect())
    }
}

fn describe(backend: &Backend, names: &Names, stored: &StoredObject) -> Object {
    let record = &stored.record;
    let sums = visible(backend, &record.sums);
    let algorithms: Vec<_> = sums.0.keys().map(|a| ChecksumAlgorithm::from_static(a.name())).collect();
    Object {
        key: Some(names.show(&stored.key)),
        size: i64::try_from(record.size).ok(),
        e_tag: Some(ETag::Strong(record.etag.clone())),
        last_modified: Some(timestamp(stored.modified_ms)),
        storage_class: Some(record.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()).into()),
        checksum_type: (!algorithms.is_empty()).then(|| record.kind.name().to_owned().into()),
        checksum_algorithm: (!algorithms.is_empty()).then_some(algorithms),
        ..Default::default()
    }
}

impl Backend {
    pub(super) fn list_v2(&self, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
        self.store.need_bucket(&input.bucket)?;
        let names = Names::of(input.encoding_type.as_ref())?;
        let max = keys_max(input.max_keys)?;
        let from = match &input.continuation_token {
            Some(token) => from_token(token)?,
            None => after(input.start_after.as_deref().unwrap_or_default()),
        };
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let page = page(&self.store, &input.bucket, &prefix, &delimiter, from, max)?;
        let contents: Vec<_> = page.objects.iter().map(|object| describe(self, &names, object)).collect();
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: i32::try_from(contents.len() + page.prefixes.len()).ok(),
            max_keys: i32::try_from(max).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|next| hex(&next)),
            continuation_token: input.continuation_token,
            common_prefixes: names.prefixes(&page.prefixes),
            contents: Some(contents),
            prefix: Some(names.show(&prefix)),
            delimiter: Some(names.show(&delimiter)).filter(|delimiter| !delimiter.is_empty()),
            start_after: input.start_after.map(|key| names.show(&key)),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }

    pub(super) fn list_v1(&self, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        self.store.need_bucket(&input.bucket)?;
        let names = Names::of(input.encoding_type.as_ref())?;
        let max = keys_max(input.max_keys)?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let marker = input.marker.unwrap_or_default();
        // A marker that is itself a common prefix was returned already, with everything below it.
        let skip_group = !delimiter.is_empty() && marker.ends_with(&delimiter);
        let from = if skip_group { successor(marker.as_bytes()) } else { after(&marker) };
        let page = page(&self.store, &input.bucket, &prefix, &delimiter, from, max)?;
        let last_key = page.objects.last().map(|object| object.key.clone());
        let last = last_key.into_iter().chain(page.prefixes.last().cloned()).max();
        let contents: Vec<_> = page.objects.iter().map(|object| describe(self, &names, object)).collect();
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            max_keys: i32::try_from(max).ok(),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.and(last).map(|key| names.show(&key)),
            common_prefixes: names.prefixes(&page.prefixes),
            contents: Some(contents),
            prefix: Some(names.show(&prefix)),
            marker: Some(names.show(&marker)),
            delimiter: Some(names.show(&delimiter)).filter(|delimiter| !delimiter.is_empty()),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }

    pub(super) fn list_uploads(&self, input: ListMultipartUploadsInput) -> S3Result<ListMultipartUploadsOutput> {
        self.store.need_bucket(&input.bucket)?;
        let names = Names::of(input.encoding_type.as_ref())?;
        let max = keys_max(input.max_uploads)?;
        let prefix = input.prefix.unwrap_or_default();
        let key_marker = input.key_marker.unwrap_or_default();
        let id_marker = input.upload_id_marker.unwrap_or_default();
        // Without an upload id, every upload of the marker's key has been seen: no id sorts above this one.
        let id_after = if key_marker.is_empty() || !id_marker.is_empty() { id_marker.clone() } else { "~".to_owned() };
        let mut found = Vec::new();
        let mut after =
            if key_marker < prefix { (prefix.clone(), String::new()) } else { (key_marker.clone(), id_after) };
        'fetch: loop {
            let batch = self.store.uploads(&input.bucket, (&after.0, &after.1), 1000)?;
            let Some(last) = batch.last() else { break };
            after = (last.key.clone(), last.id.clone());
            for upload in batch {
                if !upload.key.starts_with(&prefix) || found.len() > max {
                    break 'fetch;
                }
                found.push(upload);
            }
        }
        let is_truncated = found.len() > max;
        found.truncate(max);
        let last = found.last().map(|upload| (upload.key.clone(), upload.id.clone())).filter(|_| is_truncated);
        let shown = found.into_iter().map(|upload| MultipartUpload {
            key: Some(names.show(&upload.key)),
            upload_id: Some(upload.id),
            initiated: Some(timestamp(upload.started_ms)),
            checksum_algorithm: upload.record.checksum.map(|(algorithm, _)| algorithm.name().to_owned().into()),
            checksum_type: upload.record.checksum.map(|(_, kind)| kind.name().to_owned().into()),
            storage_class: Some(upload.record.attributes.storage_class.unwrap_or_else(|| "STANDARD".to_owned()).into()),
            ..Default::default()
        });
        Ok(ListMultipartUploadsOutput {
            uploads: Some(shown.collect()),
            bucket: Some(input.bucket),
            prefix: Some(names.show(&prefix)),
            key_marker: Some(names.show(&key_marker)),
            upload_id_marker: Some(id_marker),
            max_uploads: i32::try_from(max).ok(),
            is_truncated: Some(is_truncated),
            next_key_marker: last.as_ref().map(|(key, _)| names.show(key)),
            next_upload_id_marker: last.map(|(_, id)| id),
            encoding_type: input.encoding_type,
            ..Default::default()
        })
    }
}

//! S3 Inventory: lists of a bucket that S3 writes daily or weekly, as CSV or Parquet.
//!
//! Owns: reading them. Source of the form: Amazon S3 user guide, "Amazon S3 Inventory". Keys in CSV are URL-encoded, in
//! Parquet they are not; CSV has no header, the manifest names its columns.

use std::io::Read;
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use crate::ingest::error::Error;
use crate::ingest::reconcile::read::{ReportRead, malformed, unreadable};
use crate::ingest::reconcile::verdict::Found;
use crate::sys::Fs;

/// Largest Parquet file; it is read whole. Unit: bytes.
const PARQUET_BYTES_MAX: u64 = 4 << 30;
/// Columns of CSV when nobody names others.
const COLUMNS: &str = "Bucket, Key, Size, LastModifiedDate, ETag";

/// Hands every object of an inventory to `each`.
pub(super) fn read_inventory(
    fs: &dyn Fs,
    files: &[PathBuf],
    columns: Option<&str>,
    bucket: &str,
    mut each: impl FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    for file in files {
        if file.extension().is_some_and(|extension| extension == "json") {
            let (columns, parts) = manifest(fs, file)?;
            for part in parts {
                read_file(fs, &part, &columns, bucket, &mut each)?;
            }
        } else {
            read_file(fs, file, columns.unwrap_or(COLUMNS), bucket, &mut each)?;
        }
    }
    Ok(())
}

/// Columns and files of a manifest. The files are looked for beside it, by their names and by their paths.
fn manifest(fs: &dyn Fs, path: &Path) -> Result<(String, Vec<PathBuf>), Error> {
    let mut text = String::new();
    ReportRead::open(fs, path)?.read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    let manifest: serde_json::Value = serde_json::from_str(&text).map_err(|error| unreadable(path, error))?;
    let schema = manifest["fileSchema"].as_str().unwrap_or(COLUMNS).to_owned();
    let files = manifest["files"].as_array().ok_or_else(|| malformed(path, "it names no files"))?;
    let beside = path.parent().unwrap_or(Path::new("."));
    let mut parts = Vec::new();
    for file in files {
        let key = file["key"].as_str().ok_or_else(|| malformed(path, "a file has no key"))?;
        let name = key.rsplit('/').next().unwrap_or(key);
        let places =
            [beside.join(name), beside.join("data").join(name), beside.join("../data").join(name), beside.join(key)];
        let found = places.iter().find(|place| fs.stat(place).is_ok());
        parts.push(found.ok_or_else(|| malformed(path, format!("its file {key} is not beside it")))?.clone());
    }
    Ok((schema, parts))
}

fn read_file(
    fs: &dyn Fs,
    path: &Path,
    columns: &str,
    bucket: &str,
    each: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    if name.ends_with(".parquet") {
        return read_parquet(fs, path, bucket, each);
    }
    let file = ReportRead::open(fs, path)?;
    let reader: Box<dyn Read> =
        if name.ends_with(".gz") { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    read_csv(reader, path, columns, bucket, each)
}

fn read_csv(
    reader: Box<dyn Read>,
    path: &Path,
    columns: &str,
    bucket: &str,
    each: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_lowercase()).collect();
    let place = |name: &str| columns.iter().position(|column| column == name);
    let key_at = place("key").ok_or_else(|| malformed(path, "it has no column Key"))?;
    let (bucket_at, latest_at, marker_at) = (place("bucket"), place("islatest"), place("isdeletemarker"));
    let (size_at, etag_at) = (place("size"), place("etag"));
    let mut lines = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    for line in lines.records() {
        let line = line.map_err(|error| unreadable(path, error))?;
        let field = |at: Option<usize>| at.and_then(|at| line.get(at)).filter(|text| !text.is_empty());
        let is_other = field(bucket_at).is_some_and(|found| found != bucket);
        if is_other || field(latest_at) == Some("false") || field(marker_at) == Some("true") {
            continue;
        }
        let key = line.get(key_at).ok_or_else(|| malformed(path, "a line is too short"))?;
        each(Found {
            key: url_decoded(key),
            bytes: field(size_at).and_then(|text| text.parse().ok()),
            etag: field(etag_at).map(|etag| etag.trim_matches('"').to_owned()),
            ..Found::default()
        })?;
    }
    Ok(())
}

/// As Java's URLEncoder writes: a space is a plus sign, a plus sign is `%2B`.
fn url_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn read_parquet(
    fs: &dyn Fs,
    path: &Path,
    bucket: &str,
    each: &mut dyn FnMut(Found) -> Result<(), Error>,
) -> Result<(), Error> {
    let bytes = fs.stat(path).map_err(|error| unreadable(path, error))?.len;
    if bytes > PARQUET_BYTES_MAX {
        return Err(malformed(path, format!("{bytes} bytes are more than a Parquet file of an inventory has")));
    }
    let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    ReportRead::open(fs, path)?.read_to_end(&mut whole).map_err(|error| unreadable(path, error))?;
    let reader = SerializedFileReader::new(bytes::Bytes::from(whole)).map_err(|error| unreadable(path, error))?;
    for row in reader.get_row_iter(None).map_err(|error| unreadable(path, error))? {
        let row = row.map_err(|error| unreadable(path, error))?;
        if let Some(found) = object(&row, bucket) {
            each(found)?;
        }
    }
    Ok(())
}

fn object(row: &Row, bucket: &str) -> Option<Found> {
    let mut found = Found::default();
    let mut is_wanted = true;
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("bucket", Field::Str(text)) => is_wanted &= text == bucket,
            ("key", Field::Str(text)) => found.key.clone_from(text),
            ("size", Field::Long(bytes)) => found.bytes = u64::try_from(*bytes).ok(),
            ("e_tag" | "etag", Field::Str(text)) => found.etag = Some(text.trim_matches('"').to_owned()),
            ("is_latest", Field::Bool(latest)) => is_wanted &= *latest,
            ("is_delete_marker", Field::Bool(marker)) => is_wanted &= !marker,
            _ => {}
        }
    }
    Some(found).filter(|found| is_wanted && !found.key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_keys_are_decoded_and_other_versions_left_out() {
        let text = "\"b\",\"a+b%2Fc%2B\",\"true\",\"false\",\"12\",\"e1\"\n\
                    \"b\",\"old\",\"false\",\"false\",\"12\",\"e2\"\n\"b\",\"gone\",\"true\",\"true\",\"\",\"\"\n";
        let mut found = Vec::new();
        let columns = "Bucket, Key, IsLatest, IsDeleteMarker, Size, ETag";
        read_csv(Box::new(text.as_bytes()), Path::new("x.csv"), columns, "b", &mut |one| {
            found.push(one);
            Ok(())
        })
        .expect("good CSV");
        let wanted = Found { key: "a b/c+".into(), bytes: Some(12), etag: Some("e1".into()), ..Found::default() };
        assert_eq!(found, [wanted]);
    }
}

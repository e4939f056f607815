//! `packmule reconcile`: what is missing, different or besides is found, whichever way the bucket is known.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use packmule::digest::crc64;
use packmule::ingest::remote::{Claim, Metadata, ObjectStore, Put};
use packmule::ingest::{Options, Silent, ingest};
use packmule::s3d::{FaultPlan, Quirks};
use packmule::sys::World;

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{BUCKET, Lab, target};

/// A job of which everything has arrived.
fn arrived() -> (Lab, Dataset) {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = Dataset::new(
        1,
        &[
            (b"a", What::File(noise(1, 1000))),
            (b"b c+d", What::File(noise(2, 2000))),
            (b"big", What::File(noise(3, 9 << 20))),
            (b"dir", What::Directory),
            (b"dir/link", What::Symlink("../a")),
        ],
    );
    let options = Options { prefix: "data/".to_owned(), ..Options::default() };
    let here = target(&lab.server.as_ref().unwrap().endpoint());
    let outcome = ingest(&mut dataset.job(), &dataset.media(), here, &options, &World::real(), &Silent).unwrap();
    assert_eq!(outcome.left, 0);
    (lab, dataset)
}

fn command(lab: &Lab, dataset: &Dataset, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.arg("reconcile").args(args).arg("--job").arg(dataset.job_dir()).args(["--json", "--region", "us-east-1"]);
    command.args(["--endpoint-url", &lab.server.as_ref().unwrap().endpoint()]).stdin(Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env_remove("AWS_PROFILE");
    command.output().unwrap()
}

fn report(output: &Output, code: i32) -> serde_json::Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn counts(report: &serde_json::Value) -> [u64; 4] {
    let count = |name: &str| report[name]["count"].as_u64().unwrap();
    [report["same"].as_u64().unwrap(), count("missing"), count("different"), count("extra")]
}

fn meddle(lab: &Lab) {
    let put = |key: &str, body: Vec<u8>| {
        let put = Put { key: key.into(), body: body.into(), claim: None, metadata: Metadata::new(), overwrite: true };
        lab.run(lab.store.put(put)).unwrap();
    };
    lab.run(lab.store.delete("data/dir/link")).unwrap();
    put("data/a", noise(9, 1000)); // same length, other bytes
    put("data/besides", b"not ours".to_vec());
}

#[test]
fn a_bucket_that_is_as_it_was_sent_is_clean_and_one_that_was_meddled_with_is_not() {
    let (lab, dataset) = arrived();
    assert_eq!(counts(&report(&command(&lab, &dataset, &[]), 0)), [5, 0, 0, 0]);
    assert_eq!(counts(&report(&command(&lab, &dataset, &["--by", "head"]), 0)), [5, 0, 0, 0]);
    meddle(&lab);
    let by_list = report(&command(&lab, &dataset, &[]), 4);
    assert_eq!(counts(&by_list), [3, 1, 1, 1], "{by_list}");
    assert_eq!(by_list["missing"]["examples"][0][0], "data/dir/link");
    assert_eq!(by_list["different"]["examples"][0][0], "data/a");
    assert_eq!(by_list["extra"]["examples"][0][0], "data/besides");
    let list = std::fs::read_to_string(by_list["list"].as_str().unwrap()).unwrap();
    assert_eq!(list.lines().count(), 1 + 3, "{list}");
    // A look at each object sees the same, but not what is besides.
    let by_head = report(&command(&lab, &dataset, &["--by", "head"]), 4);
    assert_eq!((counts(&by_head), &by_head["sees_extra"]), ([3, 1, 1, 0], &false.into()));
}

#[test]
fn objects_besides_have_an_exit_code_of_their_own() {
    let (lab, dataset) = arrived();
    let put =
        Put { key: "data/besides".into(), body: "x".into(), claim: None, metadata: Metadata::new(), overwrite: true };
    lab.run(lab.store.put(put)).unwrap();
    assert_eq!(counts(&report(&command(&lab, &dataset, &[]), 3)), [5, 0, 0, 1]);
}

/// The inventory of the bucket as S3 would write it: (key, bytes, tag).
fn listing(lab: &Lab) -> Vec<(String, u64, String)> {
    lab.keys()
        .into_iter()
        .map(|key| {
            let head = lab.run(lab.store.head(&key)).unwrap().unwrap();
            (key, head.bytes, head.etag)
        })
        .collect()
}

fn encoded(key: &str) -> String {
    key.replace('%', "%25").replace('+', "%2B").replace(' ', "+")
}

fn csv_inventory(lab: &Lab, dir: &Path) -> PathBuf {
    std::fs::create_dir(dir).unwrap();
    let file = std::fs::File::create(dir.join("part.csv.gz")).unwrap();
    let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    for (key, bytes, etag) in listing(lab) {
        writeln!(out, "\"{BUCKET}\",\"{}\",\"{bytes}\",\"{etag}\"", encoded(&key)).unwrap();
    }
    out.finish().unwrap();
    let manifest = dir.join("manifest.json");
    let text = serde_json::json!({
        "sourceBucket": BUCKET, "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size, ETag",
        "files": [{ "key": "inventory/source/daily/data/part.csv.gz", "size": 1 }],
    });
    std::fs::write(&manifest, text.to_string()).unwrap();
    manifest
}

fn parquet_inventory(lab: &Lab, path: &Path) {
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
    let schema = "message m { required binary bucket (UTF8); required binary key (UTF8); optional boolean is_latest; \
                  optional int64 size; optional binary e_tag (UTF8); }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .build();
    let mut writer = parquet::file::writer::SerializedFileWriter::new(file, schema, properties.into()).unwrap();
    let rows = listing(lab);
    let texts = |text: &dyn Fn(&(String, u64, String)) -> String| -> Vec<ByteArray> {
        rows.iter().map(|row| ByteArray::from(text(row).into_bytes())).collect()
    };
    let defined = vec![1_i16; rows.len()];
    let mut group = writer.next_row_group().unwrap();
    let mut column = 0;
    while let Some(mut next) = group.next_column().unwrap() {
        match column {
            0 => drop(next.typed::<ByteArrayType>().write_batch(&texts(&|_| BUCKET.to_owned()), None, None).unwrap()),
            1 => drop(next.typed::<ByteArrayType>().write_batch(&texts(&|row| row.0.clone()), None, None).unwrap()),
            2 => drop(next.typed::<BoolType>().write_batch(&vec![true; rows.len()], Some(&defined), None).unwrap()),
            3 => {
                let sizes: Vec<i64> = rows.iter().map(|row| i64::try_from(row.1).unwrap()).collect();
                next.typed::<Int64Type>().write_batch(&sizes, Some(&defined), None).unwrap();
            }
            _ => {
                next.typed::<ByteArrayType>().write_batch(&texts(&|row| row.2.clone()), Some(&defined), None).unwrap();
            }
        }
        next.close().unwrap();
        column += 1;
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn an_inventory_tells_the_same_as_the_bucket_itself() {
    let (lab, dataset) = arrived();
    let manifest = csv_inventory(&lab, &dataset.dir.path().join("before"));
    let by_csv = |manifest: &Path, code| {
        report(&command(&lab, &dataset, &[manifest.to_str().unwrap(), "--by", "inventory"]), code)
    };
    assert_eq!(counts(&by_csv(&manifest, 0)), [5, 0, 0, 0]);
    meddle(&lab);
    assert_eq!(counts(&by_csv(&manifest, 0)), [5, 0, 0, 0], "a list says what was true when it was written");
    let manifest = csv_inventory(&lab, &dataset.dir.path().join("after"));
    assert_eq!(counts(&by_csv(&manifest, 4)), [3, 1, 1, 1]);
    let parquet = dataset.dir.path().join("inventory.parquet");
    parquet_inventory(&lab, &parquet);
    assert_eq!(counts(&by_csv(&parquet, 4)), [3, 1, 1, 1]);
    let broken = dataset.dir.path().join("broken.parquet");
    std::fs::write(&broken, b"PAR1 and then nothing").unwrap();
    let output = command(&lab, &dataset, &[broken.to_str().unwrap(), "--by", "inventory"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.parquet"));
}

#[test]
fn a_compute_checksum_report_is_compared_with_the_source() {
    let (lab, dataset) = arrived();
    let path = dataset.dir.path().join("report.csv");
    let mut text = String::new();
    let crc = |body: &[u8]| Claim::Crc64(crc64(body)).text();
    for (key, value) in [("data/a", crc(&noise(1, 1000))), ("data/big", crc(&noise(4, 9 << 20)))] {
        let told = format!(
            "{{\"\"checksum_base64\"\":\"\"{value}\"\",\"\"checksumAlgorithm\"\":\"\"CRC64NVME\"\",\"\"checksumType\"\":\"\"FULL_OBJECT\"\"}}"
        );
        text += &format!("{BUCKET},{key},,succeeded,,200,\"{told}\"\n");
    }
    text += &format!("{BUCKET},data/b+c%2Bd,,failed,InternalError,500,try again\n");
    std::fs::write(&path, text).unwrap();
    let found = report(&command(&lab, &dataset, &[path.to_str().unwrap(), "--by", "batch-report"]), 4);
    // One is what was sent, one has another checksum, one could not be read, two are not in the report.
    assert_eq!(counts(&found), [1, 2, 2, 0], "{found}");
}

#[test]
fn files_without_a_way_to_read_them_and_ways_without_files_are_usage_errors() {
    let (lab, dataset) = arrived();
    assert_eq!(command(&lab, &dataset, &["x.csv"]).status.code(), Some(2));
    assert_eq!(command(&lab, &dataset, &["--by", "inventory"]).status.code(), Some(2));
}

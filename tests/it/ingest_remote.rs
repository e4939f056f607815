//! The S3 client and the probe, against the embedded server in all its moods and against Garage.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use packmule::digest::{combine, crc64, sha256};
use packmule::ingest::remote::connect::Timeouts;
use packmule::ingest::remote::metadata::{self, Attributes};
use packmule::ingest::remote::probe::{Endpoint, probe, read_back};
use packmule::ingest::remote::retry::{Patience, persist};
use packmule::ingest::remote::upload::{Action, Completion, Inspection, UploadState, plan_parts};
use packmule::ingest::remote::{
    Class, Complete, Metadata, Method, ObjectStore, Put, PutPart, RemoteError, S3Store, Target, connect,
};
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};
use rstest::rstest;

use crate::s3_lab::{BUCKET, Garage, Lab, python_with_boto3, run_python, runtime, target};

const MIB: usize = 1 << 20;

fn put(key: &str, body: &'static [u8]) -> Put {
    let claim = Method::FullObjectCrc64.claim(body, crc64(body));
    let attributes =
        Attributes { mode: 0o100_640, uid: 1000, gid: 50, mtime_ns: 1_700_000_000_123_456_789, atime_ns: None };
    let metadata = metadata::describe(&attributes, &sha256(body));
    Put { key: key.to_owned(), body: Bytes::from_static(body), claim, metadata, overwrite: false }
}

/// Pseudo-random bytes that no two parts share.
fn contents(bytes: usize) -> Bytes {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(next).take(bytes).collect::<Vec<u8>>().into()
}

/// Drives an upload to its end, one action at a time, giving up after `actions_max`.
async fn drive(
    store: &S3Store,
    key: &str,
    body: &Bytes,
    state: &mut UploadState,
    method: Method,
    actions_max: u32,
) -> Result<bool, RemoteError> {
    let whole = crc64(body);
    for _ in 0..actions_max {
        let upload = state.upload().unwrap_or_default().to_owned();
        match state.next_action() {
            Action::Finished => return Ok(true),
            Action::Wait | Action::GiveUp(_) => return Ok(false),
            Action::Create => state.created(store.create_upload(key, method, &Metadata::new()).await?),
            Action::List => state.listed(store.list_parts(key, &upload).await?),
            Action::Send(part) => {
                let from = usize::try_from(part.offset).unwrap();
                let body = body.slice(from..from + usize::try_from(part.bytes).unwrap());
                let claim = method.claim(&body, part.crc64);
                let part = PutPart { key: key.to_owned(), upload, number: part.number, body, claim };
                state.sent(persist(quick(), 1, |_| store.put_part(part.clone())).await?);
            }
            Action::Complete(parts) => {
                let claim = method.whole(&parts, whole);
                let bytes = body.len() as u64;
                let end = Complete { key: key.to_owned(), upload, parts, method, claim, bytes, overwrite: false };
                state.completion(match store.complete(end).await {
                    Ok(_) => Completion::Done,
                    Err(RemoteError::NoSuchUpload { .. }) => Completion::Gone,
                    Err(RemoteError::Exists { .. }) => Completion::Exists,
                    Err(error) if error.class() != Class::Permanent => Completion::Unknown,
                    Err(error) => return Err(error),
                });
            }
            Action::Inspect => state.inspected(match store.head(key).await? {
                None => Inspection::Absent,
                Some(head) if head.bytes == body.len() as u64 => Inspection::Same,
                Some(_) => Inspection::Different,
            }),
        }
    }
    Ok(false)
}

fn quick() -> Patience {
    Patience { attempts_max: 4, pause_first: Duration::from_millis(5), pause_max: Duration::from_millis(20) }
}

fn plan(body: &Bytes) -> Vec<packmule::ingest::remote::upload::PartPlan> {
    let extents = body.chunks(8 * MIB).map(|extent| (extent.len() as u64, crc64(extent)));
    plan_parts(body.len() as u64, extents).unwrap()
}

#[test]
fn an_object_arrives_with_checksum_and_metadata_and_is_not_replaced() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    lab.run(lab.store.put(put("dir/a", b"contents"))).unwrap();
    let head = lab.run(lab.store.head("dir/a")).unwrap().unwrap();
    assert_eq!(head.bytes, 8);
    let claim = Method::FullObjectCrc64.claim(b"contents", crc64(b"contents")).unwrap();
    assert_eq!(head.checksums.crc64, Some(claim.text()));
    assert_eq!(head.metadata["file-permissions"], "0100640");
    assert_eq!(head.metadata["file-mtime"], "1700000000123456789ns");
    let second = lab.run(lab.store.put(put("dir/a", b"other"))).unwrap_err();
    assert!(matches!(second, RemoteError::Exists { .. }), "{second:?}");
    let read = lab.run(read_back(&lab.store, "dir/a", 8, crc64(b"contents"))).unwrap();
    assert!(read);
    lab.run(lab.store.put(Put { overwrite: true, ..put("dir/a", b"other") })).unwrap();
    assert_eq!(lab.run(lab.store.get("dir/a", 1, 3)).unwrap(), "the");
    assert_eq!(lab.run(lab.store.head("absent")).unwrap(), None);
}

#[test]
fn a_body_damaged_on_the_way_is_refused_and_sent_again_from_the_source() {
    let faults = FaultPlan::default();
    faults
        .once(Operation::PutObject, Fault::FlipBit)
        .once(Operation::PutObject, Fault::SlowDown)
        .once(Operation::PutObject, Fault::DropBefore)
        .once(Operation::PutObject, Fault::ErrorInside200);
    let lab = Lab::new(faults.clone(), Quirks::default());
    let reads = Cell::new(0);
    let patience = Patience { attempts_max: 9, ..quick() };
    let sent = lab.run(persist(patience, 7, |_| {
        reads.set(reads.get() + 1);
        lab.store.put(put("k", b"contents"))
    }));
    sent.unwrap();
    assert!(faults.all_exercised());
    assert_eq!(reads.get(), 5, "the source is read for every attempt");
    assert!(lab.run(read_back(&lab.store, "k", 8, crc64(b"contents"))).unwrap());
}

#[test]
fn a_lost_answer_is_found_out_by_looking() {
    let faults = FaultPlan::default();
    faults.once(Operation::PutObject, Fault::DropAfter);
    let lab = Lab::new(faults, Quirks::default());
    let second = lab.run(persist(quick(), 0, |_| lab.store.put(put("k", b"contents")))).unwrap_err();
    assert!(matches!(second, RemoteError::Exists { .. }), "the first attempt stored it: {second:?}");
    let claim = Method::FullObjectCrc64.claim(b"contents", crc64(b"contents")).unwrap();
    assert_eq!(lab.run(lab.store.head("k")).unwrap().unwrap().checksums.crc64, Some(claim.text()));
}

#[test]
fn a_muted_server_ends_in_a_timeout() {
    let faults = FaultPlan::default();
    faults.once(Operation::PutObject, Fault::Mute);
    let lab = Lab::new(faults, Quirks::default());
    let timeouts = Timeouts { answer: Duration::from_millis(300), ..Timeouts::default() };
    let endpoint = lab.server.as_ref().unwrap().endpoint();
    let store = lab.run(connect(Target { timeouts, ..target(&endpoint) }));
    let error = lab.run(store.put(put("k", b"contents"))).unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Unknown);
}

#[rstest]
#[case::wrong_secret(Target { credentials: Some(("key".into(), "wrong".into())), ..Target::default() }, "Auth")]
#[case::no_such_bucket(Target { bucket: "absent".into(), ..Target::default() }, "NoSuchBucket")]
#[case::nobody_listens(Target { endpoint_url: Some("http://127.0.0.1:1".into()), ..Target::default() }, "Unreachable")]
fn each_cause_has_its_own_error(#[case] change: Target, #[case] expected: &str) {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let mut target = target(&lab.server.as_ref().unwrap().endpoint());
    target.credentials = change.credentials.or(target.credentials);
    target.endpoint_url = change.endpoint_url.or(target.endpoint_url);
    if !change.bucket.is_empty() {
        target.bucket = change.bucket;
    }
    let store = lab.run(connect(target));
    let error = lab.run(store.put(put("k", b"contents"))).unwrap_err();
    assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    assert!(error.hint().is_some());
}

#[rstest]
#[case::faithful(Quirks::default(), Method::FullObjectCrc64)]
#[case::whole_object_unchecked(Quirks { ignore_full_object: true, ..Quirks::default() }, Method::CompositeSha256)]
#[case::only_md5(Quirks { ignore_checksums: true, ..Quirks::default() }, Method::ContentMd5)]
#[case::checks_nothing(
    Quirks { ignore_checksums: true, ignore_content_md5: true, ..Quirks::default() },
    Method::ReadBack
)]
fn the_probe_finds_what_the_server_really_compares(#[case] quirks: Quirks, #[case] expected: Method) {
    let lab = Lab::new(FaultPlan::default(), quirks);
    let endpoint = lab.run(probe(&lab.store, "scratch/1/", &Method::LADDER)).unwrap();
    assert_eq!(endpoint.method, expected, "{endpoint}");
    assert!(endpoint.conditional_put && endpoint.conditional_complete, "{endpoint}");
    assert_eq!(endpoint.keeps_checksum, !quirks.ignore_checksums);
    let left = lab.run(lab.store.open_uploads("")).unwrap();
    assert_eq!(left, []);
    assert_eq!(std::fs::read_dir(lab.dir.path().join("data")).unwrap().count(), 0, "nothing is left behind");
    // Whatever was found, it carries an upload.
    let body = contents(9 * MIB);
    let mut state = UploadState::new(plan(&body), None, Vec::new());
    assert!(lab.run(drive(&lab.store, "k", &body, &mut state, endpoint.method, 20)).unwrap());
    assert!(lab.run(read_back(&lab.store, "k", body.len() as u64, crc64(&body))).unwrap());
}

#[test]
fn the_probe_notices_that_conditions_are_ignored() {
    let lab = Lab::new(FaultPlan::default(), Quirks { ignore_conditions: true, ..Quirks::default() });
    let endpoint = lab.run(probe(&lab.store, "scratch/", &Method::LADDER)).unwrap();
    let expected = Endpoint {
        method: Method::FullObjectCrc64,
        conditional_put: false,
        conditional_complete: false,
        keeps_checksum: true,
        lists_checksums: true,
        parts_max: Some(10_000),
        keeps_tags: None,
        path_style: None,
    };
    assert_eq!(endpoint, expected);
}

#[test]
fn the_probe_finds_how_many_parts_a_server_takes() {
    for (few_parts, expected) in [(false, 10_000), (true, 1_000)] {
        let lab = Lab::new(FaultPlan::default(), Quirks { few_parts, ..Quirks::default() });
        let endpoint = lab.run(probe(&lab.store, "scratch/", &Method::LADDER)).unwrap();
        assert_eq!(endpoint.parts_max, Some(expected), "{endpoint}");
        assert!(endpoint.to_string().contains(&format!("parts of an object: up to {expected}")), "{endpoint}");
        assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
    }
}

#[test]
fn an_interrupted_upload_goes_on_in_another_process_without_sending_finished_parts_again() {
    let faults = FaultPlan::default();
    faults
        .once(Operation::UploadPart, Fault::FlipBit)
        .once(Operation::UploadPart, Fault::DropAfter)
        .once(Operation::CompleteUpload, Fault::ErrorInside200)
        .once(Operation::CompleteUpload, Fault::DropAfter);
    let lab = Lab::new(faults.clone(), Quirks::default());
    let body = contents(33 * MIB);
    let mut state = UploadState::new(plan(&body), None, Vec::new());
    // Create and two parts; then the process "dies" and only the upload's name survives.
    assert!(!lab.run(drive(&lab.store, "big", &body, &mut state, Method::FullObjectCrc64, 3)).unwrap());
    let name = state.upload().map(ToOwned::to_owned);
    let mut resumed = UploadState::new(plan(&body), name.clone(), Vec::new());
    assert!(!lab.run(drive(&lab.store, "big", &body, &mut resumed, Method::FullObjectCrc64, 1)).unwrap());
    assert_eq!(resumed.parts_done(), 2, "both parts count, proven by the server's list");
    assert!(lab.run(drive(&lab.store, "big", &body, &mut resumed, Method::FullObjectCrc64, 30)).unwrap());
    assert_eq!(resumed.upload(), name.as_deref(), "the same upload");
    assert!(faults.all_exercised());
    assert!(lab.run(read_back(&lab.store, "big", body.len() as u64, crc64(&body))).unwrap());
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
}

#[test]
fn a_wrong_whole_object_checksum_is_refused_by_the_server() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    refuses_wrong_whole(&lab.store, &lab.runtime);
}

fn refuses_wrong_whole(store: &S3Store, runtime: &tokio::runtime::Runtime) {
    let body = contents(9 * MIB);
    let method = Method::FullObjectCrc64;
    let (name, parts) = runtime.block_on(async {
        let name = store.create_upload("wrong", method, &Metadata::new()).await.unwrap();
        let mut parts = Vec::new();
        for part in plan(&body) {
            let from = usize::try_from(part.offset).unwrap();
            let body = body.slice(from..from + usize::try_from(part.bytes).unwrap());
            let claim = method.claim(&body, part.crc64);
            let (key, upload) = ("wrong".to_owned(), name.clone());
            parts.push(store.put_part(PutPart { key, upload, number: part.number, body, claim }).await.unwrap());
        }
        (name, parts)
    });
    let swapped = combine(crc64(&body[8 * MIB..]), crc64(&body[..8 * MIB]), 8 * MIB as u64);
    let end = |crc| Complete {
        key: "wrong".to_owned(),
        upload: name.clone(),
        parts: parts.clone(),
        method,
        claim: method.whole(&parts, crc),
        bytes: body.len() as u64,
        overwrite: false,
    };
    let error = runtime.block_on(store.complete(end(swapped))).unwrap_err();
    assert!(matches!(error, RemoteError::Damaged { .. }), "{error:?}");
    assert_eq!(runtime.block_on(store.head("wrong")).unwrap(), None);
    runtime.block_on(store.complete(end(crc64(&body)))).unwrap();
}

const READ_ALL: &str = r#"
import sys, hashlib, boto3
s = boto3.client("s3", endpoint_url=sys.argv[1])
for page in s.get_paginator("list_objects_v2").paginate(Bucket=sys.argv[2]):
    for o in page.get("Contents", []):
        digest = hashlib.sha256(s.get_object(Bucket=sys.argv[2], Key=o["Key"])["Body"].read()).hexdigest()
        print(digest, o["Key"])
"#;

#[test]
fn boto3_reads_the_same_bytes_from_the_embedded_server() {
    let Some(python) = python_with_boto3() else { return };
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let body = contents(9 * MIB);
    let mut state = UploadState::new(plan(&body), None, Vec::new());
    assert!(lab.run(drive(&lab.store, "big/\u{e9} %41", &body, &mut state, Method::FullObjectCrc64, 20)).unwrap());
    lab.run(lab.store.put(put("small", b"contents"))).unwrap();
    let read = run_python(&python, READ_ALL, &lab.server.as_ref().unwrap().endpoint(), ("key", "secret"));
    assert_eq!(read, format!("{} big/\u{e9} %41\n{} small\n", hex(&body), hex(b"contents")));
}

#[test]
fn garage_confirms_refuses_resumes_and_boto3_reads_it_back() {
    let Some(garage) = Garage::start() else { return };
    let runtime = runtime();
    let store = runtime.block_on(connect(garage.target()));
    let found = runtime.block_on(probe(&store, "scratch/", &Method::LADDER)).unwrap();
    assert_eq!(found.method, Method::FullObjectCrc64, "{found}");
    assert!(found.keeps_checksum && found.lists_checksums, "{found}");
    refuses_wrong_whole(&store, &runtime);
    runtime.block_on(store.delete("wrong")).unwrap();
    let body = contents(33 * MIB);
    let mut state = UploadState::new(plan(&body), None, Vec::new());
    assert!(!runtime.block_on(drive(&store, "big", &body, &mut state, found.method, 3)).unwrap());
    let mut resumed = UploadState::new(plan(&body), state.upload().map(ToOwned::to_owned), Vec::new());
    assert!(!runtime.block_on(drive(&store, "big", &body, &mut resumed, found.method, 1)).unwrap());
    assert_eq!(resumed.parts_done(), 2);
    assert!(runtime.block_on(drive(&store, "big", &body, &mut resumed, found.method, 30)).unwrap());
    runtime.block_on(store.put(put("small", b"contents"))).unwrap();
    if let Some(python) = python_with_boto3() {
        let read = run_python(&python, READ_ALL, &garage.endpoint, (&garage.access_key, &garage.secret_key));
        assert_eq!(read, format!("{} big\n{} small\n", hex(&body), hex(b"contents")), "bucket {BUCKET}");
    }
}

fn hex(body: &[u8]) -> String {
    sha256(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

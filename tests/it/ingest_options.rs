//! Every option of `ingest` does what it says: on the wire, in the bucket, in time.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use packmule::digest::crc64;
use packmule::ingest::remote::connect::{ObjectLock, ObjectOptions};
use packmule::ingest::remote::pace::Pace;
use packmule::ingest::remote::{Metadata, Method, ObjectStore, Put, PutPart, Target, connect};
use packmule::ingest::{NameTrouble, Options, Replace, Silent, ingest, survey};
use packmule::job::ObjectState;
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};
use packmule::scan::{Rule, Selection};
use packmule::sys::{RealFs, SystemClock, World};

use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{Lab, runtime, target};

fn options() -> Options {
    Options { prefix: "data/".to_owned(), requests_max: 8, ..Options::default() }
}

fn endpoint(lab: &Lab) -> Target {
    target(&lab.server.as_ref().unwrap().endpoint())
}

fn theirs(lab: &Lab, key: &str, body: &'static [u8]) {
    let put = Put { key: key.to_owned(), body: body.into(), claim: None, metadata: Metadata::new(), overwrite: true };
    lab.run(lab.store.put(put)).unwrap();
}

/// Takes requests, remembers their heads, answers as S3 would.
fn recorder() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(20) {
            let Ok(mut stream) = stream else { return };
            let mut bytes = Vec::new();
            let mut byte = [0];
            while !bytes.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                bytes.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&bytes).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            let _ = stream.read_exact(&mut body);
            let answer = match head.contains("?uploads") {
                true => "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
                false => "",
            };
            kept.lock().unwrap().push(head);
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-amz-version-id: v7\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
            );
        }
    });
    (endpoint, heads)
}

#[test]
fn what_is_asked_for_objects_is_in_every_request_that_makes_one() {
    let (endpoint, heads) = recorder();
    let objects = ObjectOptions {
        storage_class: Some("DEEP_ARCHIVE".to_owned()),
        encryption: Some("aws:kms".to_owned()),
        kms_key_id: Some("key-1".to_owned()),
        bucket_key: Some(true),
        tagging: Some("project=alpha".to_owned()),
        acl: Some("bucket-owner-full-control".to_owned()),
        expected_bucket_owner: Some("111122223333".to_owned()),
        requester_pays: true,
        metadata: Metadata::from([("experiment".to_owned(), "7".to_owned())]),
        lock: Some(ObjectLock { mode: "GOVERNANCE".to_owned(), until_s: 1_990_000_000 }),
        legal_hold: true,
    };
    let runtime = runtime();
    let store = runtime.block_on(connect(Target { objects, ..target(&endpoint) }));
    let body = b"body";
    let claim = Method::FullObjectCrc64.claim(body, crc64(body));
    let metadata = Metadata::from([("file-owner".to_owned(), "0".to_owned())]);
    let put = Put { key: "k".to_owned(), body: body[..].into(), claim, metadata: metadata.clone(), overwrite: false };
    let stored = runtime.block_on(store.put(put)).unwrap();
    assert_eq!((stored.etag.as_str(), stored.version.as_deref()), ("e", Some("v7")));
    let upload = runtime.block_on(store.create_upload("k", Method::FullObjectCrc64, &metadata)).unwrap();
    let part = PutPart { key: "k".to_owned(), upload, number: 1, body: body[..].into(), claim };
    runtime.block_on(store.put_part(part)).unwrap();
    let heads = heads.lock().unwrap();
    for head in &heads[..2] {
        for wanted in [
            "x-amz-storage-class: deep_archive",
            "x-amz-server-side-encryption: aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id: key-1",
            "x-amz-server-side-encryption-bucket-key-enabled: true",
            "x-amz-tagging: project=alpha",
            "x-amz-acl: bucket-owner-full-control",
            "x-amz-expected-bucket-owner: 111122223333",
            "x-amz-request-payer: requester",
            "x-amz-meta-experiment: 7",
            "x-amz-meta-file-owner: 0",
            "x-amz-object-lock-mode: governance",
            "x-amz-object-lock-retain-until-date: 2033-01-22",
            "x-amz-object-lock-legal-hold: on",
        ] {
            assert!(head.contains(wanted), "{wanted} is not in\n{head}");
        }
    }
    assert!(heads[0].contains("if-none-match: *") && heads[0].contains("x-amz-checksum-crc64nvme: "), "{}", heads[0]);
    assert!(heads[1].contains("x-amz-checksum-type: full_object"), "{}", heads[1]);
    for head in heads.iter() {
        assert!(
            head.contains("x-amz-request-payer: requester") && head.contains("x-amz-expected-bucket-owner"),
            "{head}"
        );
    }
    let body_head = &heads[2];
    assert!(body_head.contains("content-length: 4") && body_head.contains("unsigned-payload"), "{body_head}");
}

#[test]
fn with_if_changed_only_what_differs_is_replaced() {
    let faults = FaultPlan::default();
    let lab = Lab::new(faults.clone(), Quirks::default());
    let dataset = Dataset::new(
        1,
        &[
            (b"same", What::File(noise(1, 3000))),
            (b"other", What::File(noise(2, 3000))),
            (b"new", What::File(noise(3, 3000))),
            (b"big same", What::File(noise(4, 9 << 20))),
            (b"big other", What::File(noise(5, 9 << 20))),
        ],
    );
    let whole = |key: &str, body: Vec<u8>| {
        let claim = Method::FullObjectCrc64.claim(&body, crc64(&body));
        let put = Put { key: key.to_owned(), body: body.into(), claim, metadata: Metadata::new(), overwrite: true };
        lab.run(lab.store.put(put)).unwrap();
    };
    whole("data/same", noise(1, 3000));
    whole("data/big same", noise(4, 9 << 20));
    theirs(&lab, "data/other", b"theirs");
    theirs(&lab, "data/big other", b"theirs");
    let options = Options { replace: Replace::IfChanged, ..options() };
    let outcome =
        ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &options, &World::real(), &Silent).unwrap();
    assert_eq!((outcome.tally.sent, outcome.tally.present, outcome.tally.failed), (3, 2, 0), "{outcome:?}");
    for (key, seed, bytes) in [("data/other", 2, 3000), ("data/new", 3, 3000), ("data/big other", 5, 9 << 20)] {
        let content = noise(seed, bytes);
        let back = lab.run(lab.store.get(key, 0, bytes as u64)).unwrap();
        assert_eq!(back, content, "{key}");
    }
}

#[test]
fn rules_choose_what_is_sent_and_the_rest_is_counted() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = Dataset::new(
        1,
        &[
            (b"keep.bam", What::File(noise(1, 100))),
            (b"drop.tmp", What::File(noise(2, 100))),
            (b"cache", What::Directory),
            (b"cache/x", What::File(noise(3, 100))),
        ],
    );
    let rules = |rules: &[Rule]| Options { selection: Selection::new(rules).unwrap(), ..options() };
    let run = |options: &Options| {
        ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), options, &World::real(), &Silent).unwrap()
    };
    let first = run(&rules(&[Rule::Exclude("*".into()), Rule::Include("*.bam".into())]));
    assert_eq!((first.tally.sent, first.left, first.left_out), (1, 0, 3), "{first:?}");
    let second = run(&rules(&[Rule::Exclude("cache/".into())]));
    assert_eq!((second.tally.sent, second.left, second.left_out), (1, 0, 2), "{second:?}");
    let all = run(&options());
    assert_eq!((all.tally.sent, all.left, all.left_out), (2, 0, 0), "{all:?}");
}

#[test]
fn names_that_change_or_collide_are_listed_before_anything_is_sent() {
    let long = vec![b'x'; 1030];
    let dataset = Dataset::new(
        1,
        &[
            (b"", What::Directory),
            (b"plain", What::File(noise(1, 10))),
            (b"bad \xff\n", What::File(noise(2, 10))),
            (b"Readme", What::File(noise(3, 10))),
            (b"README", What::File(noise(4, 10))),
            ("caf\u{e9}".as_bytes(), What::File(noise(5, 10))),
            ("cafe\u{301}".as_bytes(), What::File(noise(6, 10))),
            (&long, What::File(noise(7, 9 << 20))),
        ],
    );
    let survey = survey(&dataset.job(), &options(), 100, &RealFs).unwrap();
    let count = |why| survey.names.get(&why).map_or(0, |names| names.count);
    assert_eq!(count(NameTrouble::Mapped), 1);
    assert_eq!(survey.names[&NameTrouble::Mapped].examples[0].1, "data/bad %FF%0A");
    assert_eq!((count(NameTrouble::Case), count(NameTrouble::Normalization)), (2, 2));
    assert_eq!(count(NameTrouble::TooLong), 1);
    assert_eq!((survey.files, survey.small), (7, 6));
    assert_eq!(survey.requests, 7 + 4, "one for each object, four for one of two parts");
    let list = std::fs::read_to_string(survey.list.unwrap()).unwrap();
    assert_eq!(list.lines().count(), 1 + 1 + 4 + 1, "{list}");
}

#[test]
fn a_limit_is_kept_by_all_requests_together() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let paths: Vec<(Vec<u8>, What)> =
        (0..8).map(|n| (format!("f{n}").into_bytes(), What::File(noise(n, 256 << 10)))).collect();
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    let dataset = Dataset::new(1, &paths);
    let pace = Pace::new(1e6, Arc::new(SystemClock::new()));
    let target = Target { pace: Some(pace), ..endpoint(&lab) };
    let begun = Instant::now();
    let outcome = ingest(&mut dataset.job(), &dataset.media(), target, &options(), &World::real(), &Silent).unwrap();
    // 2 MiB at 1 MB/s: two seconds; what a pause may save up is taken off.
    assert!(begun.elapsed() >= Duration::from_millis(1700), "{:?}", begun.elapsed());
    assert_eq!((outcome.tally.sent, outcome.left), (8, 0), "{outcome:?}");
}

#[test]
fn a_slot_ends_with_whole_objects_and_says_what_did_not_fit() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = Dataset::new(
        1,
        &[
            (b"a", What::File(noise(1, 200 << 10))),
            (b"huge", What::File(noise(2, 20 << 20))),
            (b"b", What::File(noise(3, 200 << 10))),
        ],
    );
    let world = World::real();
    let until = world.clock.now() + Duration::from_secs(20);
    // At 100 kB/s for less than 20 s the 20 MiB cannot fit; both small ones do.
    let slot = Options { until: Some(until), expected_rate: Some(1e5), ..options() };
    let outcome = ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &slot, &world, &Silent).unwrap();
    assert_eq!((outcome.tally.sent, outcome.deferred), (2, (1, 20 << 20)), "{outcome:?}");
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), [], "nothing is begun that does not fit");
    let rest = ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &options(), &world, &Silent).unwrap();
    assert_eq!((rest.tally.sent, rest.left), (1, 0), "{rest:?}");
}

#[test]
fn outside_the_allowed_hours_nothing_is_sent_and_a_stop_is_obeyed() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = Dataset::new(1, &[(b"a", What::File(noise(1, 1000)))]);
    // A window that opened an hour ago and closed a minute ago... in whatever zone this machine is.
    let now = jiff::Zoned::now();
    let text = |minutes: i64| (&now + jiff::Span::new().minutes(minutes)).strftime("%H:%M").to_string();
    let window = format!("{}-{}", text(60), text(120)).parse().unwrap();
    let options = Options { window: Some(window), ..options() };
    let stop = options.stop.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        stop.set();
    });
    let begun = Instant::now();
    let error = ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &options, &World::real(), &Silent);
    assert!(matches!(error, Err(packmule::ingest::Error::Stopped)), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(600));
    stopper.join().unwrap();
    assert_eq!(lab.run(lab.store.head("data/a")).unwrap(), None);
    let open = format!("{}-{}", text(-60), text(60)).parse().unwrap();
    let options = Options { window: Some(open), ..self::options() };
    let outcome =
        ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &options, &World::real(), &Silent).unwrap();
    assert_eq!(outcome.tally.sent, 1, "{outcome:?}");
}

#[test]
fn a_server_that_asks_to_slow_down_gets_fewer_requests_and_everything_in_the_end() {
    let faults = FaultPlan::default();
    faults.after(Operation::PutObject, 20, 15, Fault::SlowDown);
    let lab = Lab::new(faults.clone(), Quirks::default());
    let paths: Vec<(Vec<u8>, What)> =
        (0..60).map(|n| (format!("d{}/f{n}", n % 3).into_bytes(), What::File(noise(n, 5000)))).collect();
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    let dataset = Dataset::new(1, &paths);
    let outcome =
        ingest(&mut dataset.job(), &dataset.media(), endpoint(&lab), &options(), &World::real(), &Silent).unwrap();
    assert!(faults.all_exercised());
    assert_eq!((outcome.tally.sent, outcome.tally.failed, outcome.left), (60, 0, 0), "{outcome:?}");
    assert!(outcome.journal.retries >= 1 && !outcome.journal.retried.is_empty(), "{:?}", outcome.journal);
    assert_eq!(outcome.journal.bytes, 60 * 5000);
    let state = dataset.job().object(2).unwrap().unwrap().state;
    assert_eq!(state, ObjectState::Confirmed);
}

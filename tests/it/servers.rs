//! Real servers, and lines that misbehave: the whole job each time.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use packmule::digest::crc64;
use packmule::ingest::remote::connect::Timeouts;
use packmule::ingest::remote::probe::{Endpoint, read_back};
use packmule::ingest::remote::retry::Patience;
use packmule::ingest::remote::{Metadata, Method, ObjectStore, Put, Target, connect};
use packmule::ingest::{By, Options, Outcome, Silent, ingest, reconcile};
use packmule::s3d::{FaultPlan, Quirks};
use packmule::sys::{RealFs, World};
use rstest::rstest;

use crate::fault_proxy::{FaultProxy, Line};
use crate::ingest_kit::{Dataset, What, noise};
use crate::s3_lab::{BUCKET, Garage, Lab, runtime, target};

const MIB: usize = 1 << 20;

fn options() -> Options {
    let patience =
        Patience { attempts_max: 12, pause_first: Duration::from_millis(10), pause_max: Duration::from_millis(200) };
    Options { prefix: "data/".to_owned(), patience, requests_max: 6, ..Options::default() }
}

fn dataset() -> Dataset {
    let mut paths = vec![
        (b"big".to_vec(), What::File(noise(1, 18 * MIB + 1))),
        (b"big again".to_vec(), What::HardLink(2, b"big")),
        (b"dir".to_vec(), What::Directory),
        (b"dir/odd \xff name".to_vec(), What::File(noise(2, 70_000))),
        (b"dir/link".to_vec(), What::Symlink("../big")),
        (b"nothing".to_vec(), What::File(Vec::new())),
    ];
    paths.extend((0..40).map(|n| (format!("dir/f{n:02}").into_bytes(), What::File(noise(50 + n, 3000)))));
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    Dataset::new(2, &paths)
}

const OBJECTS: u64 = 6 + 40;

fn run(dataset: &Dataset, volumes: &[u32], target: &Target, options: &Options) -> Outcome {
    let media: Vec<_> = volumes.iter().map(|number| dataset.medium(*number)).collect();
    ingest(&mut dataset.job(), &media, target.clone(), options, &World::real(), &Silent).unwrap()
}

/// What a server made of the whole job.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) endpoint: Endpoint,
    pub(crate) lie: &'static str,
}

/// Interrupts, resumes, reads back, reconciles: everything a user needs of a server.
pub(crate) fn whole_job(target: &Target) -> Row {
    let dataset = dataset();
    // One drive today, the other tomorrow: the upload of the large file stays open in between.
    let first = run(&dataset, &[1], target, &options());
    assert_eq!(first.volumes_needed, [2], "{first:?}");
    let second = run(&dataset, &[2], target, &options());
    assert_eq!((second.left, second.tally.failed), (0, 0), "{second:?}");
    assert_eq!(first.tally.parts + second.tally.parts, 6, "no part is sent twice");
    assert_eq!(first.tally.sent + second.tally.sent, OBJECTS, "{first:?}\n{second:?}");
    let runtime = runtime();
    let store = runtime.block_on(connect(target.clone()));
    let big = noise(1, 18 * MIB + 1);
    for key in ["data/big", "data/big again"] {
        assert!(runtime.block_on(read_back(&store, key, big.len() as u64, crc64(&big))).unwrap(), "{key}");
    }
    for by in [By::List, By::Head] {
        let found = reconcile(&dataset.job(), target.clone(), &by, &RealFs).unwrap();
        assert!(found.is_clean() && found.extra.count == 0, "{by:?} {found:?}");
        assert_eq!(found.same + found.same_length, OBJECTS, "{by:?} {found:?}");
    }
    let body = b"a body and a lie about it";
    let claim = Method::FullObjectCrc64.claim(body, crc64(body)).map(|claim| claim.falsified());
    let lie = Put { key: "data/lie".into(), body: body[..].into(), claim, metadata: Metadata::new(), overwrite: true };
    let answer = runtime.block_on(store.put(lie));
    let is_there = runtime.block_on(store.head("data/lie")).unwrap().is_some();
    runtime.block_on(store.delete("data/lie")).unwrap();
    let lie = match (answer.is_err(), is_there) {
        (true, false) => "refused",
        (true, true) => "refused, and stored all the same",
        (false, _) => "believed",
    };
    Row { endpoint: second.endpoint, lie }
}

#[test]
fn the_embedded_server_does_the_whole_job() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let row = whole_job(&target(&lab.server.as_ref().unwrap().endpoint()));
    assert_eq!((row.endpoint.method, row.lie), (Method::FullObjectCrc64, "refused"));
}

#[test]
fn garage_does_the_whole_job() {
    let Some(garage) = Garage::start() else { return };
    let row = whole_job(&garage.target());
    assert_eq!((row.endpoint.method, row.lie), (Method::FullObjectCrc64, "refused"));
    assert!(!row.endpoint.conditional_put, "it ignores If-None-Match, and the probe sees that");
}

/// A server that knows checksums by name and compares none, in Python.
struct Moto {
    endpoint: String,
    process: Child,
}

impl Moto {
    fn start() -> Option<Self> {
        let program = std::env::var_os("PACKMULE_TEST_MOTO").unwrap_or("moto_server".into());
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            eprintln!("SKIPPED: moto_server is not on PATH (pip install 'moto[server]'); that server was NOT tested");
            return None;
        };
        let moto = Self { endpoint: format!("http://127.0.0.1:{port}"), process };
        for _ in 0..400 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("moto_server does not start");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_without_modern_checksums_does_the_whole_job_by_reading_back() {
    let Some(moto) = Moto::start() else { return };
    let client = crate::s3_lab::client_at(&moto.endpoint);
    runtime().block_on(client.create_bucket().bucket(BUCKET).send()).unwrap();
    let row = whole_job(&target(&moto.endpoint));
    assert_eq!((row.endpoint.method, row.lie), (Method::ReadBack, "believed"));
}

/// Kills the command again and again, at another moment each time (`PACKMULE_KILL_ROUNDS`); it ends in the bucket that a run
/// in peace would have filled. Gives how many kills met it alive.
fn killed_and_gone_on_with(target: &Target) -> u32 {
    let dataset = dataset();
    let (access_key, secret_key) = target.credentials.clone().unwrap();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        command.arg("ingest").arg(dataset.volume_dir(1)).arg(dataset.volume_dir(2));
        command.args(["--to", &format!("s3://{BUCKET}/data"), "--endpoint-url", target.endpoint_url.as_ref().unwrap()]);
        command.args(["--region", "us-east-1", "--max-requests", "4", "--json", "--job"]).arg(dataset.job_dir());
        command.arg("--identity").arg(dataset.identity()).stdin(Stdio::null()).env_remove("AWS_PROFILE");
        command.env("AWS_ACCESS_KEY_ID", &access_key).env("AWS_SECRET_ACCESS_KEY", &secret_key);
        command
    };
    let rounds = std::env::var("PACKMULE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6_u64);
    let mut killed = 0;
    for round in 0..rounds {
        let mut process = command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 53 % 290));
        killed += u32::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let output = command().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = reconcile(&dataset.job(), target.clone(), &By::Head, &RealFs).unwrap();
    assert!(found.is_clean() && found.same + found.same_length == OBJECTS, "{found:?}");
    let found = reconcile(&dataset.job(), target.clone(), &By::List, &RealFs).unwrap();
    assert!(found.is_clean() && found.extra.count == 0, "nothing else is in the bucket: {found:?}");
    let runtime = runtime();
    let store = runtime.block_on(connect(target.clone()));
    let big = noise(1, 18 * MIB + 1);
    for key in ["data/big", "data/big again"] {
        assert!(runtime.block_on(read_back(&store, key, big.len() as u64, crc64(&big))).unwrap(), "{key}");
    }
    let again = command().arg("--abort-orphans").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&report["objects_sent"], &report["parts_sent"]), (&0.into(), &0.into()), "nothing is sent again");
    assert_eq!(runtime.block_on(store.open_uploads("")).unwrap().len(), 0, "no upload is left open");
    killed
}

#[test]
fn killed_at_any_moment_it_goes_on_with_garage() {
    let Some(garage) = Garage::start() else { return };
    assert!(killed_and_gone_on_with(&garage.target()) > 0, "every run had ended before it was killed");
}

#[test]
fn killed_at_any_moment_it_goes_on_with_a_server_without_modern_checksums() {
    let Some(moto) = Moto::start() else { return };
    let client = crate::s3_lab::client_at(&moto.endpoint);
    runtime().block_on(client.create_bucket().bucket(BUCKET).send()).unwrap();
    assert!(killed_and_gone_on_with(&target(&moto.endpoint)) > 0, "every run had ended before it was killed");
}

/// Any other server: `PACKMULE_TEST_S3=http://host:port,access key,secret key`, with an empty bucket named `bucket`.
#[test]
#[ignore = "needs a server: PACKMULE_TEST_S3=endpoint,access,secret"]
fn another_server_does_the_whole_job() {
    let place = std::env::var("PACKMULE_TEST_S3").unwrap();
    let words: Vec<&str> = place.split(',').collect();
    let credentials = Some((words[1].to_owned(), words[2].to_owned()));
    let row = whole_job(&Target { credentials, ..target(words[0]) });
    eprintln!("{}: {}; a lie is {}", words[0], row.endpoint, row.lie);
}

#[rstest]
#[case::late(Line::Late(Duration::from_millis(15)), false)]
#[case::slow(Line::Slow(30 << 20), false)]
#[case::cut_in_a_part(Line::Cut { every: 2, after: 300_000 }, true)]
#[case::damaged(Line::Flip { every: 2, at: 200_000 }, true)]
#[case::silent(Line::Stall { every: 2, after: 300_000, pause: Duration::from_millis(400) }, true)]
fn over_a_bad_line_everything_arrives(#[case] line: Line, #[case] has_faults: bool) {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let proxy = FaultProxy::new(&lab.server.as_ref().unwrap().endpoint(), line);
    let target = Target {
        timeouts: Timeouts { answer: Duration::from_secs(20), ..Timeouts::default() },
        ..target(&proxy.endpoint())
    };
    let dataset = dataset();
    let mut outcome = run(&dataset, &[1, 2], &target, &options());
    for _ in 0..3 {
        if outcome.left == 0 {
            break;
        }
        outcome = run(&dataset, &[1, 2], &target, &options());
    }
    assert_eq!(outcome.left, 0, "{outcome:?}");
    assert_eq!(proxy.faults.load(Ordering::Relaxed) > 0, has_faults, "{line:?}");
    let big = noise(1, 18 * MIB + 1);
    for key in ["data/big", "data/big again"] {
        assert!(lab.run(read_back(&lab.store, key, big.len() as u64, crc64(&big))).unwrap(), "{key}");
    }
    assert_eq!(lab.keys().len() as u64, OBJECTS, "and nothing else");
}

//! `packmule ingest` as a user runs it: its exit codes, and what a kill at any moment leaves.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use packmule::digest::crc64;
use packmule::ingest::remote::{Head, ObjectStore, Target, connect};
use packmule::ingest::{Options, Silent, ingest};
use packmule::s3d::{FaultPlan, Quirks};
use packmule::sys::World;

use crate::ingest_kit::{Dataset, What, flip, noise};
use crate::s3_lab::{BUCKET, Lab, target};

const MIB: usize = 1 << 20;

/// A command line against a server.
struct Shell {
    endpoint: String,
    to: String,
    volumes: Vec<PathBuf>,
    identity: Option<PathBuf>,
    job: PathBuf,
}

impl Shell {
    fn new(dataset: &Dataset, lab: &Lab) -> Self {
        let endpoint = lab.server.as_ref().unwrap().endpoint();
        let volumes = (1..=dataset.volumes).map(|number| dataset.volume_dir(number)).collect();
        let to = format!("s3://{BUCKET}/data");
        Self { endpoint, to, volumes, identity: Some(dataset.identity()), job: dataset.job_dir() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        command.arg("ingest").args(&self.volumes).args(["--to", &self.to, "--endpoint-url", &self.endpoint]);
        command.args(["--region", "us-east-1", "--max-requests", "4", "--json"]).arg("--job").arg(&self.job);
        if let Some(identity) = &self.identity {
            command.arg("--identity").arg(identity);
        }
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env_remove("AWS_PROFILE").stdin(Stdio::null());
        command
    }

    fn run(&self) -> Output {
        self.command().output().unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(count: u64) -> Vec<(Vec<u8>, What)> {
    let mut paths = vec![
        (b"big".to_vec(), What::File(noise(1, 26 * MIB))),
        (b"bigger".to_vec(), What::File(noise(2, 33 * MIB + 5))),
        (b"twin".to_vec(), What::HardLink(2, b"big")),
    ];
    for index in 0..count {
        let size = usize::try_from(index * 97 % 9000).unwrap();
        paths.push((format!("small/{index:04}").into_bytes(), What::File(noise(100 + index, size))));
    }
    paths
}

fn dataset(paths: &[(Vec<u8>, What)]) -> Dataset {
    let paths: Vec<_> = paths.iter().map(|(path, what)| (path.as_slice(), what.clone())).collect();
    Dataset::new(2, &paths)
}

fn heads(lab: &Lab, paths: &[(Vec<u8>, What)]) -> Vec<Option<Head>> {
    let key = |path: &[u8]| format!("data/{}", String::from_utf8(path.to_vec()).unwrap());
    paths.iter().map(|(path, _)| lab.run(lab.store.head(&key(path))).unwrap()).collect()
}

/// Kills in a row; `PACKMULE_KILL_ROUNDS=50` for a long night.
fn rounds() -> u64 {
    std::env::var("PACKMULE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

#[test]
fn killed_at_any_moment_the_same_command_ends_in_the_identical_bucket() {
    let paths = files(300);
    let undisturbed = Lab::new(FaultPlan::default(), Quirks::default());
    let calm = dataset(&paths);
    let output = Shell::new(&calm, &undisturbed).run();
    assert_eq!(code(&output), 0, "{}", stderr(&output));

    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let struck = dataset(&paths);
    let shell = Shell::new(&struck, &lab);
    let mut killed = 0;
    for round in 0..rounds() {
        let mut process = shell.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 210));
        killed += u32::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let output = shell.run();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(killed > 0, "every process had ended before it was killed");
    for name in ["completion.json", "completion.html", "completion-success.csv", "completion-failure.csv"] {
        assert!(shell.job.join("report").join(name).exists(), "{name} is there at the end, without being asked for");
    }
    assert_eq!(heads(&lab, &paths), heads(&undisturbed, &paths));
    assert_eq!(lab.keys(), undisturbed.keys(), "nothing else is in the bucket");
    // A kill between the server's answer and the job's record of it may leave an upload, but never one with parts.
    for orphan in lab.run(lab.store.open_uploads("")).unwrap() {
        let parts = lab.run(lab.store.list_parts(&orphan.key, &orphan.upload)).unwrap();
        assert_eq!(parts, Some(Vec::new()), "{orphan:?}");
    }
    let again = shell.command().arg("--abort-orphans").output().unwrap();
    assert_eq!(lab.run(lab.store.open_uploads("")).unwrap(), []);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&report["objects_sent"], &report["parts_sent"]), (&0.into(), &0.into()), "nothing is sent again");
}

#[test]
fn each_way_to_fail_has_its_own_exit_code_and_a_hint() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = dataset(&files(3));
    let shell = || Shell::new(&dataset, &lab);
    let no_job = Shell { job: dataset.dir.path().join("none"), ..shell() };
    let no_volume = Shell { volumes: vec![dataset.dir.path().to_owned()], ..shell() };
    let no_key = Shell { identity: None, ..shell() };
    let other = Dataset::new(1, &[(b"x", What::Directory)]);
    std::fs::write(dataset.dir.path().join("wrong"), wrong_identity()).unwrap();
    let wrong_key = Shell { identity: Some(dataset.dir.path().join("wrong")), ..shell() };
    let no_bucket = Shell { to: "s3://absent/data".to_owned(), ..shell() };
    let bad_place = Shell { to: "bucket/data".to_owned(), ..shell() };
    let nobody = Shell { endpoint: "http://127.0.0.1:1".to_owned(), to: "s3://absent/data".to_owned(), ..shell() };
    drop(other);
    for (name, shell, expected) in [
        ("no job", no_job, 1),
        ("not a place", bad_place, 2),
        ("no key", no_key, 5),
        ("wrong key", wrong_key, 5),
        ("not a volume", no_volume, 6),
        ("no bucket", no_bucket, 7),
        ("nobody listens", nobody, 7),
    ] {
        let output = shell.run();
        assert_eq!(code(&output), expected, "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("hint:"), "{name}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{name}");
    }
}

fn wrong_identity() -> String {
    let random = packmule::sys::random::SeededRandom::new(4242);
    format!("{}\n", *packmule::crypto::new_identity(&random).unwrap().secret)
}

#[test]
fn damage_and_absent_volumes_have_their_own_exit_codes_and_are_named() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let dataset = dataset(&files(20));
    let one = Shell { volumes: vec![dataset.volume_dir(1)], ..Shell::new(&dataset, &lab) };
    let output = one.run();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &report["volumes_needed"]), (6, &serde_json::json!([2])), "{}", stderr(&output));
    let pack = dataset.volume_dir(2).join("packmule/packs/00000001.pack");
    flip(&pack, 4096 + 100);
    let output = Shell::new(&dataset, &lab).run();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert_eq!(report["findings"][0]["volume"], 2);
    assert!(!report["findings"][0]["keys"].as_array().unwrap().is_empty());
}

/// Every frame is what was sealed, and yet not what the source had. Only the checksum taken when the source was read tells.
#[test]
fn content_that_is_not_what_the_source_had_is_not_uploaded_although_it_authenticates() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let mut paths = files(20);
    paths.push((b"small/altered".to_vec(), What::Altered(noise(7, 3000))));
    paths.push((b"several-frames".to_vec(), What::Altered(noise(8, 200_000))));
    paths.push((b"several-parts".to_vec(), What::Altered(noise(9, 33 * MIB))));
    let dataset = dataset(&paths);
    let output = Shell::new(&dataset, &lab).run();
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let mut named: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.to_string().contains("another checksum than the source had"))
        .flat_map(|finding| finding["keys"].as_array().unwrap())
        .map(|key| key.as_str().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["data/several-frames", "data/several-parts", "data/small/altered"], "{report}");
    let keys = lab.keys();
    assert!(!keys.iter().any(|key| key.contains("altered") || key.contains("several")), "{keys:?}");
    assert!(keys.contains(&"data/big".to_owned()) && keys.contains(&"data/small/0019".to_owned()), "{keys:?}");
}

#[test]
fn another_machine_with_the_volumes_and_a_copy_of_the_job_goes_on() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let paths = files(5);
    let dataset = dataset(&paths);
    // The first machine sees one volume only and stops there.
    let options = Options { prefix: "data/".to_owned(), ..Options::default() };
    let here = target(&lab.server.as_ref().unwrap().endpoint());
    let media = [dataset.medium(1)];
    let first = ingest(&mut dataset.job(), &media, here.clone(), &options, &World::real(), &Silent).unwrap();
    assert!(first.tally.parts > 0 && first.left > 0, "{first:?}");
    let moved = dataset.dir.path().join("moved");
    std::fs::create_dir(&moved).unwrap();
    for entry in std::fs::read_dir(dataset.job_dir()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), moved.join(entry.file_name())).unwrap();
    }
    let output = Shell { job: moved, ..Shell::new(&dataset, &lab) }.run();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts = 4 + 5 + 4; // of 8 MiB: 26, 33 and again 26 MiB
    assert_eq!(report["parts_sent"].as_u64().unwrap() + first.tally.parts, parts, "no part is sent twice");
    let store = lab.run(connect(Target { bucket: BUCKET.to_owned(), ..here }));
    let head = lab.run(store.head("data/bigger")).unwrap().unwrap();
    let claim = packmule::ingest::remote::Claim::Crc64(crc64(&noise(2, 33 * MIB + 5)));
    assert_eq!(head.checksums.crc64, Some(claim.text()));
}

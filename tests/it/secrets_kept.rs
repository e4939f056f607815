//! Where secrets are not: in the memory and on the disks of the machine that staged, in any log, in core dumps.

use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use packmule::s3d::{self, Credentials, Server};

fn packmule(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    packmule(dir).args(arguments).output().unwrap()
}

fn tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("source/deep")).unwrap();
    for n in 0..50 {
        std::fs::write(dir.join(format!("source/deep/{n}.txt")), format!("content of file {n}\n").repeat(n)).unwrap();
    }
    std::fs::create_dir(dir.join("drive")).unwrap();
}

/// The run key of the drive's only slot, as the age program shows it.
fn run_key(dir: &Path, identity: &str) -> Option<String> {
    let slot = std::fs::read_dir(dir.join("drive/packmule/slots")).unwrap().next().unwrap().unwrap().path();
    let Ok(opened) = Command::new("age").current_dir(dir).args(["-d", "-i", identity]).arg(slot).output() else {
        eprintln!("skipped: the age program is not installed, so the run key is not known");
        return None;
    };
    let text = String::from_utf8(opened.stdout).unwrap();
    Some(text.lines().find_map(|line| line.strip_prefix("key ")).expect("a slot").to_owned())
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Starts a command whose last words nobody reads, so that it stands still with its work done and its memory as it is.
fn paused(command: &mut Command) -> (Child, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    // The pipe is full before the command starts.
    rustix::io::ioctl_fionbio(&filler, true).unwrap();
    while filler.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&filler, false).unwrap();
    let child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    (child, reader)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every readable and writable byte of a process, region by region.
fn memory(pid: u32, mut each: impl FnMut(&str, &[u8])) -> std::io::Result<usize> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut file = std::fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut total = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        file.seek(SeekFrom::Start(from))?;
        if file.read_exact(&mut bytes).is_ok() {
            total += bytes.len();
            each(line, &bytes);
        }
    }
    Ok(total)
}

#[test]
fn the_staging_machine_keeps_no_key_in_memory_or_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tree(dir);
    assert!(run(dir, &["keygen", "-o", "me"]).status.success());
    let identity = std::fs::read_to_string(dir.join("me")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let mut command = packmule(dir);
    command.args(["stage", "source", "--volume", "drive", "--job", "job", "--recipient", &recipient]);
    let (mut child, mut reader) = paused(&mut command);
    until("the drive is sealed", || dir.join("drive/packmule/SEALED").exists());
    // Its last durable step is to write down that the run ended; then it only waits to say so.
    let ended = || {
        let job = packmule::job::Job::open_read_only(&dir.join("job"));
        job.and_then(|job| job.runs()).is_ok_and(|runs| runs.iter().any(|run| run.ended.is_some()))
    };
    until("the run ended", ended);
    std::thread::sleep(Duration::from_millis(300)); // what is dropped on the way out of the run is dropped
    let Some(digits) = run_key(dir, "me") else { return };
    let raw = from_hex(&digits);
    let mut found = Vec::new();
    let swept = memory(child.id(), |region, bytes| {
        for (form, needle) in [("raw", raw.as_slice()), ("hex", digits.as_bytes())] {
            if holds(bytes, needle) {
                found.push(format!("{form} in {region}"));
            }
        }
    });
    let is_dumpable = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = is_dumpable.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
    let mut said = Vec::new();
    drop(command);
    reader.read_to_end(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    match swept {
        Ok(total) => assert!(total > 1 << 20, "only {total} bytes were swept"),
        Err(error) => eprintln!("skipped: this user may not read the memory of another process: {error}"),
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(core.split_whitespace().nth(4) == Some("0"), "core dumps are off: {core}");
    for place in ["job", "drive"] {
        for item in walkdir::WalkDir::new(dir.join(place)).into_iter().filter_map(Result::ok) {
            if item.file_type().is_file() {
                let bytes = std::fs::read(item.path()).unwrap();
                assert!(!holds(&bytes, &raw) && !holds(&bytes, digits.as_bytes()), "{}", item.path().display());
            }
        }
    }
    // The sweep would have seen it: the key is found where it is known to be.
    assert!(holds(&[b"..".as_slice(), &raw, b".."].concat(), &raw));
}

#[test]
fn no_log_of_any_command_says_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tree(dir);
    let passphrase = "violet-armadillo-under-the-third-bridge";
    std::fs::write(dir.join("pass"), passphrase).unwrap();
    std::fs::write(dir.join("pass-2"), "seven-quiet-herons-on-a-rusty-crane").unwrap();
    let credentials =
        Credentials { access_key: "AKIAPACKMULETEST".into(), secret_key: "s3cretOfTheServerUnderTest".into() };
    let server = Server::start(&dir.join("s3"), &credentials, s3d::Options::default()).unwrap();
    server.create_bucket("lab").unwrap();
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let mut trace = |arguments: &[&str], expected: i32| {
        let mut command = packmule(dir);
        command
            .args(arguments)
            .env("PACKMULE_LOG_FILE", dir.join("trace.log"))
            .env("PACKMULE_LOG", "trace")
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        command.env("AWS_ACCESS_KEY_ID", &credentials.access_key).env("AWS_SECRET_ACCESS_KEY", &credentials.secret_key);
        command.env("AWS_REGION", "us-east-1").env_remove("AWS_PROFILE");
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(expected), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        said.push((format!("{arguments:?}"), [out.stdout, out.stderr].concat()));
    };
    trace(&["keygen", "-o", "me"], 0);
    let identity = std::fs::read_to_string(dir.join("me")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    trace(&["keygen", "--split", "2/3", "-o", "officer"], 0);
    trace(&["scan", "source", "-o", "dataset.toml"], 0);
    let stage = ["stage", "source", "--volume", "drive", "--job", "job", "--recipient", &recipient];
    trace(&[&stage[..], &["--passphrase-file", "pass", "--unlock-code-file", "code"]].concat(), 0);
    trace(&["verify", "drive", "--unlock-code-file", "code", "--job", "job"], 0);
    trace(&["verify", "drive", "--identity", "officer.1"], 5);
    trace(&["keys", "list", "drive", "--passphrase-file", "pass"], 0);
    trace(&["keys", "add", "drive", "--to", &recipient, "--identity", "me", "--job", "job"], 0);
    trace(&["extract", "drive", "--to", "out", "--identity", "me"], 0);
    trace(&["custody", "add", "drive", "--sign-with", "my.key", "--received", "whole"], 0);
    let endpoint = server.endpoint();
    trace(
        &["ingest", "drive", "--to", "s3://lab/x", "--endpoint-url", &endpoint, "--job", "job", "--identity", "me"],
        0,
    );
    trace(&["report", "--job", "job"], 0);
    trace(&["prove", "--job", "job", "-o", "proof.json"], 0);
    trace(&["check-proof", "proof.json"], 0);
    trace(&["label", "drive", "--job", "job", "-o", "label.pdf"], 0);
    trace(&["ls", "drive", "--unlock-code-file", "code"], 0);
    trace(&["cat", "drive", "--passphrase-file", "pass", "--path", "deep/7.txt"], 0);
    trace(&["diff", "drive", "--identity", "me", "--source", "source", "--content"], 0);
    trace(&["recover", "drive", "--job", "rebuilt", "--passphrase-file", "pass"], 0);
    trace(&["prove", "--from", "proof.json", "--entry", "deep/7.txt", "-o", "one.json"], 0);
    trace(&["custody", "show", "drive"], 0);
    trace(&["status", "--job", "job"], 0);
    trace(&["reconcile", "--job", "job", "--endpoint-url", &endpoint], 0);
    trace(&["send", "source", "--to", "s3://lab/sent", "--endpoint-url", &endpoint, "--job", "sent"], 0);
    trace(&["keys", "add", "drive", "--to-unlock-code-file", "code-2", "--unlock-code-file", "code"], 0);
    trace(&["keys", "add", "drive", "--to-passphrase-file", "pass-2", "--identity", "me"], 0);
    trace(&["keys", "remove", "drive", "--who", &recipient, "--unlock-code-file", "code-2"], 0);
    let init =
        ["init", "--job", "planned", "--source", "source", "--volume", "drive-2", "--unlock-code-file", "code-3"];
    trace(&[&init[..], &["--to", "s3://lab/y"]].concat(), 0);
    trace(&["config", "--job", "planned"], 0);
    trace(&["plan", "--size", "40TB"], 0);
    trace(&["keygen", "--from-unlock-code", "code", "--volume", "drive", "-o", "from-code"], 0);
    trace(
        &["probe", "--source", "source", "--volume", "drive", "--to", "s3://lab/probe", "--endpoint-url", &endpoint],
        0,
    );
    // Officers, each with a share; and a key service.
    let officers = std::fs::read_to_string(dir.join("officer.1")).unwrap();
    let officers = officers.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let service = crate::kms_kit::start();
    std::fs::create_dir(dir.join("drive-s")).unwrap();
    let stage = ["stage", "source", "--volume", "drive-s", "--job", "shared", "--recipient", &officers];
    trace(&[&stage[..], &["--kms-key", "alias/lab", "--kms-endpoint-url", &service.url]].concat(), 0);
    trace(&["verify", "drive-s", "--share", "officer.1", "--share", "officer.3"], 0);
    trace(&["verify", "drive-s", "--kms", "--kms-endpoint-url", &service.url], 0);
    trace(&["keys", "rotate", "drive-s", "--to", &recipient, "--share", "officer.2", "--share", "officer.3"], 0);
    trace(&["verify", "drive-s", "--share", "officer.1", "--share", "officer.2"], 5);
    trace(&["verify", "drive-s", "--identity", "me"], 0);
    let key = run_key(dir, "from-code");
    trace(&["erase", "drive", "--job", "job", "--yes"], 0);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let last = |name: &str| read(name).lines().last().unwrap().to_owned();
    let mut secrets = vec![
        ("identity", last("me")),
        ("unlock code", last("code")),
        ("unlock code without hyphens", last("code").replace('-', "")),
        ("passphrase", passphrase.to_owned()),
        ("share", last("officer.1")),
        ("second share", last("officer.2")),
        ("third share", last("officer.3")),
        ("added unlock code", last("code-2")),
        ("added passphrase", read("pass-2")),
        ("identity made from the code", last("from-code")),
        ("signing key", last("my.key")),
        ("signing key of the job", last("job/signing.key")),
        ("secret of the server", credentials.secret_key.clone()),
    ];
    secrets.extend(key.into_iter().map(|key| ("run key", key)));
    let data_keys: Vec<String> = service.script.lock().unwrap().keys.values().map(|(plain, _)| plain.clone()).collect();
    assert!(!data_keys.is_empty(), "the key service made some");
    secrets.extend(data_keys.into_iter().map(|key| ("key of the key service", key)));
    for item in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if item.file_name().to_string_lossy().starts_with("trace.log") {
            said.push(("the log".to_owned(), std::fs::read(item.path()).unwrap()));
        }
    }
    let is_traced = said.iter().any(|(_, text)| holds(text, b"TRACE"));
    assert!(is_traced, "the commands did log at the lowest level");
    for (command, text) in &said {
        for (name, secret) in &secrets {
            assert!(secret.len() >= 20, "{name} is long enough to be looked for");
            assert!(!holds(text, secret.as_bytes()), "{command} said the {name}");
        }
    }
    for item in walkdir::WalkDir::new(dir.join("job")).into_iter().filter_map(Result::ok) {
        if item.file_type().is_file() && item.file_name() != "signing.key" {
            let bytes = std::fs::read(item.path()).unwrap();
            for (name, secret) in &secrets {
                assert!(!holds(&bytes, secret.as_bytes()), "{} holds the {name}", item.path().display());
            }
        }
    }
}

#[test]
fn an_unlock_code_is_made_once_kept_private_and_never_on_the_drive() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tree(dir);
    let stage = ["stage", "source", "--volume", "drive", "--job", "job", "--unlock-code-file", "code"];
    let first = run(dir, &stage);
    assert!(first.status.success());
    let code = std::fs::read_to_string(dir.join("code")).unwrap();
    let said = String::from_utf8(first.stderr).unwrap();
    let place = std::fs::canonicalize(dir.join("code")).unwrap();
    assert!(said.contains(&format!("a new unlock code is in {}", place.display())), "{said}");
    assert!(!said.contains(code.trim_end()), "where it is, not what it is");
    assert_eq!(code.trim_end().len(), 29);
    assert_eq!(std::fs::metadata(dir.join("code")).unwrap().permissions().mode() & 0o777, 0o600);
    // The same command again uses the same code: one for the job, not one for each run.
    let second = run(dir, &stage);
    assert!(second.status.success() && !String::from_utf8_lossy(&second.stderr).contains("unlock code"), "{second:?}");
    assert_eq!(std::fs::read_to_string(dir.join("code")).unwrap(), code);
    // What is said to be next can be typed: with the option that opens the volumes.
    let status = run(dir, &["status", "--job", "job"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("--unlock-code-file FILE"), "{status:?}");
    for item in walkdir::WalkDir::new(dir.join("drive")).into_iter().filter_map(Result::ok) {
        if item.file_type().is_file() {
            let bytes = std::fs::read(item.path()).unwrap();
            assert!(!holds(&bytes, code.trim_end().as_bytes()), "{}", item.path().display());
        }
    }
    // Without it the manifest says nothing; a mistyped one is noticed before any key is made of it.
    let mut typed = code.trim_end().to_owned().into_bytes();
    typed[3] = if typed[3] == b'7' { b'8' } else { b'7' };
    std::fs::write(dir.join("typed"), typed).unwrap();
    let refused = run(dir, &["verify", "drive", "--unlock-code-file", "typed"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("look at character 4 first"), "{refused:?}");
    // A code beside the drive's own files would be worth nothing: the drive is refused as its place.
    let beside: PathBuf = dir.join("second");
    std::fs::create_dir(&beside).unwrap();
    let arguments = ["stage", "source", "--volume", "second", "--job", "job2", "--unlock-code-file", "second/code.txt"];
    let refused = run(dir, &arguments);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!beside.join("code.txt").exists());
}

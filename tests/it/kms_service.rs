//! AWS KMS as one more way to open a drive, against a scripted endpoint on loopback that speaks its protocol.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::kms_kit::{KEY, start};

fn packmule(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.current_dir(dir).args(arguments).stdin(std::process::Stdio::null());
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("AWS_REGION", "us-east-1");
    command.env_remove("AWS_PROFILE").output().unwrap()
}

#[test]
fn a_key_service_opens_what_was_staged_for_it_and_is_told_what_for() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let service = start();
    std::fs::create_dir(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/a.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let kms = ["--kms-key", "alias/lab", "--kms-endpoint-url", &service.url];
    let stage = [&["stage", "source", "--volume", "drive", "--job", "job"], &kms[..]].concat();
    let out = packmule(dir, &stage);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let open = ["--kms", "--kms-endpoint-url", &service.url];
    let verify = |expected: i32| {
        let out = packmule(dir, &[&["verify", "drive"], &open[..]].concat());
        assert_eq!(out.status.code(), Some(expected), "{out:?}");
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    assert!(verify(0).contains("1 file whole"));
    let asked = service.script.lock().unwrap().asked.clone();
    let targets: Vec<&str> = asked.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(targets, ["TrentService.GenerateDataKey", "TrentService.Decrypt"]);
    let header = std::fs::read(dir.join("drive/packmule/VOLUME")).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let context = json!({ "packmule-job": hex(&header[32..48]), "packmule-volume": hex(&header[48..64]) });
    for ((_, request), key) in asked.iter().zip(["alias/lab", KEY]) {
        assert_eq!((&request["KeyId"], &request["EncryptionContext"]), (&json!(key), &context));
    }
    assert_eq!(asked[0].1["KeySpec"], "AES_256");
    // A resume asks for no second data key, and a further volume gets one of its own.
    let out = packmule(dir, &stage);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    std::fs::write(dir.join("source/b.txt"), "more").unwrap();
    std::fs::create_dir(dir.join("second")).unwrap();
    let again = ["stage", "source", "--volume", "second", "--job", "job", "--kms-endpoint-url", &service.url];
    let out = packmule(dir, &again);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(service.script.lock().unwrap().keys.len(), 2);
    let out = packmule(dir, &[&["extract", "drive", "second", "--to", "out"], &open[..]].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(std::fs::read_to_string(dir.join("out/b.txt")).unwrap(), "more");
    let shown = packmule(dir, &[&["cat", "drive", "--path", "a.txt"], &open[..]].concat());
    assert_eq!(shown.stdout, b"some content", "{shown:?}");
    // What the service refuses stays closed, and nothing else opens it.
    service.script.lock().unwrap().refuses = true;
    assert!(verify(5).contains("scripted refusal"));
    service.script.lock().unwrap().refuses = false;
    // The envelope of one volume is worth nothing on another.
    let envelope = |volume: &str| {
        let slots = std::fs::read_dir(dir.join(volume).join("packmule/slots")).unwrap();
        slots.map(|item| item.unwrap().path()).find(|path| path.extension().is_some_and(|kind| kind == "kms")).unwrap()
    };
    let moved = std::fs::read(envelope("second")).unwrap();
    std::fs::write(envelope("drive"), moved).unwrap();
    assert!(verify(5).contains("another job, volume"));
}

#[test]
fn a_volume_without_an_envelope_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/a.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let out = packmule(dir, &["stage", "source", "--volume", "drive", "--job", "job", "--unlock-code-file", "code"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let out = packmule(dir, &["verify", "drive", "--kms", "--kms-endpoint-url", "http://127.0.0.1:9"]);
    assert_eq!(out.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not wrapped for a key service"), "{out:?}");
}

#[test]
fn a_key_of_the_service_comes_and_goes_on_a_sealed_volume() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let service = start();
    std::fs::create_dir(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/a.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let code = ["--unlock-code-file", "code"];
    let out = packmule(dir, &[&["stage", "source", "--volume", "drive", "--job", "job"], &code[..]].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let at = ["--kms-endpoint-url", &service.url];
    let run = |arguments: &[&str], more: &[&str], expected: i32| {
        let out = packmule(dir, &[arguments, more].concat());
        assert_eq!(out.status.code(), Some(expected), "{arguments:?}: {out:?}");
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    let is_whole = || run(&["verify", "--keyless", "drive"], &[], 0).contains("signed by");
    let envelopes = || {
        let slots = std::fs::read_dir(dir.join("drive/packmule/slots")).unwrap();
        slots.filter(|item| item.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "kms")).count()
    };
    let add = [&["keys", "add", "drive", "--to-kms-key", "alias/lab", "--job", "job"], &code[..]].concat();
    // Refused by the service: nothing is changed.
    service.script.lock().unwrap().refuses = true;
    assert!(run(&add, &at, 5).contains("nothing was changed"));
    service.script.lock().unwrap().refuses = false;
    assert!(envelopes() == 0 && is_whole());
    run(&add, &at, 0);
    assert!(envelopes() == 1 && is_whole());
    let kms = ["--kms", at[0], at[1]];
    run(&["verify", "drive"], &kms, 0);
    assert!(run(&["keys", "list", "drive"], &[], 0).contains(KEY), "under which key, everybody sees");
    // The code goes, and the service is the last that opens it: it stays.
    run(&["keys", "remove", "drive", "--who", "unlock-code"], &kms, 0);
    run(&["verify", "drive"], &code, 5);
    assert!(run(&["keys", "remove", "drive", "--who", KEY], &kms, 2).contains("nobody would be left"));
    run(&["keys", "add", "drive", "--to-unlock-code-file", "code"], &kms, 0);
    run(&["keys", "remove", "drive", "--who", KEY, "--job", "job"], &code, 0);
    assert!(envelopes() == 0 && is_whole());
    assert!(run(&["verify", "drive"], &kms, 5).contains("not wrapped for a key service"));
    run(&["verify", "drive"], &code, 0);
    // Rotation to the service alone, then a database rebuilt with it.
    run(&["keys", "rotate", "drive", "--to-kms-key", KEY], &[&code[..], &at[..]].concat(), 0);
    run(&["verify", "drive"], &code, 5);
    run(&["recover", "drive", "--job", "rebuilt"], &kms, 0);
    // A later run of the job wraps for whom it is told to: the key was taken from it again.
    let erased = run(&["erase", "drive", "--job", "job", "--abandon", "1", "--yes"], &[], 0);
    assert!(erased.contains("2 key slots"), "the envelope counts and goes with the slots: {erased}");
}

#[test]
fn objects_arrive_from_a_volume_that_only_the_service_opens() {
    use packmule::s3d::{self, Credentials, Server};
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let service = start();
    std::fs::create_dir(dir.join("source")).unwrap();
    std::fs::write(dir.join("source/a.txt"), "some content").unwrap();
    std::fs::create_dir(dir.join("drive")).unwrap();
    let at = ["--kms-endpoint-url", &service.url];
    let out = packmule(
        dir,
        &[&["stage", "source", "--volume", "drive", "--job", "job", "--kms-key", "alias/lab"], &at[..]].concat(),
    );
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let status = packmule(dir, &["status", "--job", "job"]);
    assert!(String::from_utf8_lossy(&status.stdout).trim_end().ends_with("--kms"), "{status:?}");
    let credentials = Credentials { access_key: "key".into(), secret_key: "secret".into() };
    let server = Server::start(&dir.join("s3"), &credentials, s3d::Options::default()).unwrap();
    server.create_bucket("lab").unwrap();
    let endpoint = server.endpoint();
    let ingest = ["ingest", "drive", "--to", "s3://lab/x", "--endpoint-url", &endpoint, "--job", "job", "--kms"];
    let out = packmule(dir, &[&ingest[..], &at[..]].concat());
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

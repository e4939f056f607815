//! `packmule verify` and `packmule keygen` as a person runs them, on real directories, beside the ordinary tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use packmule::sys::RealFs;
use tempfile::TempDir;

use crate::verify_kit::write_scene;

struct OnDisk {
    dir: TempDir,
    key: PathBuf,
}

impl OnDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (kit, _) = write_scene(Arc::new(RealFs), &one, &two, |dir| std::fs::create_dir(dir).unwrap());
        let key = dir.path().join("key.txt");
        std::fs::write(&key, format!("{}\n", kit.secret)).unwrap();
        Self { dir, key }
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = packmule();
        command.arg("verify").args([self.volume("one"), self.volume("two")]).args(arguments);
        command.output().unwrap()
    }

    fn keyed(&self, more: &[&str]) -> Output {
        self.run(&[&["--identity", self.key.to_str().unwrap()], more].concat())
    }

    fn flip(&self, file: &str, at: usize) {
        let path = self.dir.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}

fn packmule() -> Command {
    Command::new(env!("CARGO_BIN_EXE_packmule"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Whether a program is installed; says aloud when a check is skipped for lack of it.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {program} is not installed, so a check against it was not made");
    }
    found
}

#[test]
fn clean_volumes_end_with_0_with_a_key_and_without() {
    let volumes = OnDisk::new();
    let keyless = volumes.run(&["--keyless"]);
    assert_eq!(keyless.status.code(), Some(0), "{}", stdout(&keyless));
    assert!(stdout(&keyless).contains("all is well"));
    let keyed = volumes.keyed(&["--sums"]);
    assert_eq!(keyed.status.code(), Some(0), "{}", stdout(&keyed));
    assert!(stdout(&keyed).contains("6 files whole"), "{}", stdout(&keyed));
}

#[test]
fn a_flipped_bit_ends_with_4_and_names_pack_frame_file_and_bytes() {
    let volumes = OnDisk::new();
    volumes.flip("one/packmule/packs/00000001.pack", 4096 + 32 + 10);
    let keyless = volumes.run(&["--keyless"]);
    assert_eq!(keyless.status.code(), Some(4));
    let text = stdout(&keyless);
    assert!(text.contains("packs/00000001.pack, frame 0, bytes 4096 to"), "{text}");
    let keyed = volumes.keyed(&[]);
    assert_eq!(keyed.status.code(), Some(4));
    let text = stdout(&keyed);
    assert!(text.contains("lost: dir/plain.txt, bytes 0 to 359"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&volumes.keyed(&["--json"]).stdout).unwrap();
    assert_eq!(json["findings"][0]["pack"], 1);
    assert_eq!(json["findings"][0]["lost"][0]["path"], "dir/plain.txt");
}

#[test]
fn missing_and_wrong_keys_end_with_5_and_missing_volumes_with_6() {
    let volumes = OnDisk::new();
    let wrong = volumes.dir.path().join("wrong.txt");
    let made = packmule().args(["keygen", "-o"]).arg(&wrong).output().unwrap();
    assert_eq!(made.status.code(), Some(0));
    let output = volumes.run(&["--identity", wrong.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--keyless"));
    let nowhere = packmule().args(["verify", "--keyless"]).arg(volumes.volume("none")).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(6), "{nowhere:?}");
}

#[test]
fn sha256sum_passes_on_a_sealed_volume() {
    if !installed("sha256sum") {
        return;
    }
    let volumes = OnDisk::new();
    let check = |volumes: &OnDisk| {
        let root = volumes.volume("one").join("packmule");
        Command::new("sha256sum").args(["-c", "--quiet", "SHA256SUMS"]).current_dir(root).output().unwrap()
    };
    let output = check(&volumes);
    assert!(output.status.success(), "{output:?}");
    volumes.flip("one/packmule/packs/00000002.pack", 5000);
    assert!(!check(&volumes).status.success());
}

#[test]
fn the_age_program_opens_a_slot_and_shows_its_text() {
    if !installed("age") {
        return;
    }
    let volumes = OnDisk::new();
    let slots = volumes.volume("one").join("packmule/slots");
    let slot = std::fs::read_dir(slots).unwrap().next().unwrap().unwrap().path();
    let output = Command::new("age").arg("-d").arg("-i").arg(&volumes.key).arg(&slot).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let run = slot.file_stem().unwrap().to_str().unwrap();
    assert_eq!(lines[..3], ["packmule-run-key 1", &format!("job {}", "07".repeat(16)), &format!("run {run}")]);
    assert!(lines[3].starts_with("key ") && lines[3].len() == 68);
    assert!(lines.len() > 4 && lines[4..].iter().all(|line| line.starts_with("for ")), "whom it is for: {lines:?}");
}

#[test]
fn keygen_writes_what_age_keygen_reads_and_never_overwrites() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id.txt");
    let keygen = |path: &Path| packmule().args(["keygen", "-o"]).arg(path).output().unwrap();
    let made = keygen(&path);
    assert_eq!(made.status.code(), Some(0));
    let said = String::from_utf8(made.stderr).unwrap();
    let recipient = said.trim().strip_prefix("Public key: ").unwrap().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("# created: 20") && lines[1] == format!("# public key: {recipient}"));
    assert!(lines[2].starts_with("AGE-SECRET-KEY-1") && lines.len() == 3);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(keygen(&path).status.code(), Some(1), "a key is never overwritten");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    if installed("age-keygen") {
        let output = Command::new("age-keygen").arg("-y").arg(&path).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), recipient);
    }
}

#[test]
fn keygen_derives_one_identity_from_an_unlock_code_for_one_job() {
    let volumes = OnDisk::new();
    let code = packmule::crypto::UnlockCode::fresh(&packmule::sys::random::SeededRandom::new(1));
    let file = volumes.dir.path().join("code.txt");
    std::fs::write(&file, code.reveal().as_bytes()).unwrap();
    let output = packmule()
        .args(["keygen", "--from-unlock-code"])
        .arg(&file)
        .arg("--volume")
        .arg(volumes.volume("one"))
        .output()
        .unwrap();
    let expected = packmule::crypto::identity_from_unlock_code(&code, &[3; 32]).unwrap();
    assert!(stdout(&output).contains(expected.secret.as_str()));
    let without = packmule().args(["keygen", "--from-unlock-code"]).arg(&file).output().unwrap();
    assert_eq!(without.status.code(), Some(2), "the salt of the job is needed");
}

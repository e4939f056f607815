//! Who can open a drive, changed without rewriting it: added, removed, rotated, with the age program beside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// A job with one sealed volume, for the identity in `me`.
    fn new(more: &[&str]) -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(desk.at("source")).unwrap();
        std::fs::write(desk.at("source/a.txt"), "some content\n").unwrap();
        std::fs::create_dir(desk.at("drive")).unwrap();
        let me = desk.keygen("me");
        let stage = ["stage", "source", "--volume", "drive", "--job", "job", "--recipient", &me];
        desk.ok(&[&stage[..], more].concat());
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
        command.current_dir(self.dir.path()).args(arguments).stdin(std::process::Stdio::null()).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.run(arguments).status.code()
    }

    /// Makes an identity and gives its public half.
    fn keygen(&self, name: &str) -> String {
        let out = self.run(&["keygen", "-o", name]);
        String::from_utf8(out.stderr).unwrap().trim().trim_start_matches("Public key: ").to_owned()
    }

    /// Whether that key opens the drive, all of it.
    fn opens(&self, key: &[&str]) -> bool {
        match self.code(&[&["verify", "drive"], key].concat()) {
            Some(0) => true,
            Some(5) => false,
            other => panic!("verify ended with {other:?}"),
        }
    }

    /// The files that may never change, whatever happens to keys.
    fn data(&self) -> Vec<Vec<u8>> {
        ["VOLUME", "MANIFEST", "README.txt", "packs/00000001.pack"]
            .map(|name| std::fs::read(self.at("drive/packmule").join(name)).unwrap())
            .to_vec()
    }
}

#[test]
fn people_come_and_go_and_the_data_stays_as_it_is() {
    let desk = Desk::new(&["--unlock-code-file", "code"]);
    let before = desk.data();
    let (me, code) = (["--identity", "me"], ["--unlock-code-file", "code"]);
    assert!(desk.opens(&me) && desk.opens(&code));
    let you = desk.keygen("you");
    let listed = desk.ok(&["keys", "list", "drive"]);
    assert!(listed.contains("X25519, X25519") && !listed.contains("age1"), "nobody without a key learns who: {listed}");
    desk.ok(&["keys", "add", "drive", "--who", &you, "--identity", "me"]);
    assert!(desk.opens(&["--identity", "you"]) && desk.opens(&me) && desk.opens(&code));
    let listed = desk.ok(&["keys", "list", "drive", "--identity", "you"]);
    assert!(listed.contains(&you) && listed.contains("unlock-code") && listed.matches("age1").count() == 3, "{listed}");
    desk.ok(&["keys", "remove", "drive", "--who", "unlock-code", "--identity", "you", "--job", "job"]);
    assert!(!desk.opens(&code) && desk.opens(&me));
    desk.ok(&["keys", "rotate", "drive", "--who-unlock-code-file", "new-code", "--identity", "me", "--job", "job"]);
    assert!(!desk.opens(&me) && !desk.opens(&["--identity", "you"]) && !desk.opens(&code));
    assert!(desk.opens(&["--unlock-code-file", "new-code"]));
    assert_eq!(desk.data(), before);
    // The seal, its signature and the sums hold all the while.
    let checked = desk.ok(&["verify", "--keyless", "drive"]);
    assert!(checked.contains("signed by") && checked.contains("all is well"), "{checked}");
    // A later run wraps for the new people, and for nobody else.
    std::fs::write(desk.at("source/b.txt"), "more\n").unwrap();
    std::fs::create_dir(desk.at("second")).unwrap();
    desk.ok(&["stage", "source", "--volume", "second", "--job", "job"]);
    let listed = desk.ok(&["keys", "list", "second", "--unlock-code-file", "new-code"]);
    assert_eq!((listed.matches("age1").count(), listed.matches("unlock-code").count()), (1, 1), "{listed}");
}

#[test]
fn the_last_recipient_stays() {
    let desk = Desk::new(&[]);
    let (before, slots) = (desk.data(), desk.ok(&["keys", "list", "drive", "--identity", "me"]));
    let me = slots.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
    let out = desk.run(&["keys", "remove", "drive", "--who", &me, "--identity", "me"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("nobody would be left"), "{out:?}");
    assert_eq!(desk.code(&["keys", "remove", "drive", "--who", "age", "--identity", "me"]), Some(2));
    assert_eq!(desk.code(&["keys", "remove", "drive", "--who", "age1nobody", "--identity", "me"]), Some(2));
    assert_eq!(desk.code(&["keys", "rotate", "drive", "--identity", "me"]), Some(2), "to nobody");
    let stranger = desk.keygen("stranger");
    assert_eq!(desk.code(&["keys", "add", "drive", "--to", &stranger, "--identity", "stranger"]), Some(5));
    assert_eq!(desk.code(&["keys", "add", "drive", "--to", "age1junk", "--identity", "me"]), Some(5));
    assert_eq!(desk.ok(&["keys", "list", "drive", "--identity", "me"]), slots);
    assert_eq!(desk.data(), before);
}

#[test]
fn an_interrupted_change_is_finished_by_the_same_command() {
    let desk = Desk::new(&[]);
    let you = desk.keygen("you");
    let root = desk.at("drive/packmule");
    let old: Vec<(PathBuf, Vec<u8>)> =
        ["SEALED", "SHA256SUMS"].map(|name| (root.join(name), std::fs::read(root.join(name)).unwrap())).to_vec();
    let add = ["keys", "add", "drive", "--who", &you, "--identity", "me"];
    // Power goes after the slots, and after the sums.
    for back in [&old[..], &old[..1]] {
        desk.ok(&add);
        back.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        assert_eq!(desk.code(&["verify", "--keyless", "drive"]), Some(4), "it is told");
        desk.ok(&add);
        assert_eq!(desk.code(&["verify", "--keyless", "drive"]), Some(0));
        assert!(desk.opens(&["--identity", "you"]) && desk.opens(&["--identity", "me"]));
    }
}

#[test]
fn any_two_of_three_officers_open_a_drive() {
    let desk = Desk::new(&[]);
    let made = desk.run(&["keygen", "--split", "2/3", "-o", "officer", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let officers = made["recipient"].as_str().unwrap();
    desk.ok(&["keys", "rotate", "drive", "--to", officers, "--identity", "me"]);
    for (a, b) in [("officer.1", "officer.2"), ("officer.3", "officer.1")] {
        assert!(desk.opens(&["--share", a, "--share", b]));
    }
    let one = desk.run(&["verify", "drive", "--share", "officer.2"]);
    assert_eq!(one.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&one.stderr).contains("1 of the 2 that are needed"), "{one:?}");
    let as_identity = desk.run(&["verify", "drive", "--identity", "officer.2"]);
    assert_eq!(as_identity.status.code(), Some(5), "{as_identity:?}");
    assert_eq!(desk.code(&["keygen", "--split", "3/2", "-o", "x"]), Some(2));
    use std::os::unix::fs::PermissionsExt;
    for n in 1..=3 {
        let path = desk.at(&format!("officer.{n}"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!desk.at("officer").exists() && !desk.at("x.1").exists());
}

fn age(desk: &Path, arguments: &[&str], input: &[u8]) -> Option<Output> {
    use std::io::Write as _;
    let mut command = Command::new("age");
    command.current_dir(desk).args(arguments).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: the age program is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn slots_go_to_the_age_program_and_come_back_from_it() {
    let desk = Desk::new(&[]);
    let slots = desk.at("drive/packmule/slots");
    let slot = std::fs::read_dir(&slots).unwrap().next().unwrap().unwrap().path();
    // There: the age program opens what packmule wrapped.
    let Some(opened) = age(desk.dir.path(), &["-d", "-i", "me", slot.to_str().unwrap()], b"") else { return };
    assert!(opened.stdout.starts_with(b"packmule-run-key 1\njob "), "{opened:?}");
    // And back: packmule opens what the age program wrapped, for an identity that age-keygen made and for an SSH key.
    let made = Command::new("age-keygen").args(["-o", "theirs"]).current_dir(desk.dir.path()).output().unwrap();
    let theirs = String::from_utf8(made.stderr).unwrap().trim().trim_start_matches("Public key: ").to_owned();
    let mut recipients = vec!["-r".to_owned(), theirs];
    let mut ssh_keygen = Command::new("ssh-keygen");
    ssh_keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", "ssh"]).current_dir(desk.dir.path());
    let has_ssh = ssh_keygen.status().is_ok_and(|status| status.success());
    if has_ssh {
        let public = std::fs::read_to_string(desk.at("ssh.pub")).unwrap();
        recipients.extend(["-r".to_owned(), public.trim().to_owned()]);
    } else {
        eprintln!("skipped: ssh-keygen is not installed, so no SSH key is tried");
    }
    let arguments: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let wrapped = age(desk.dir.path(), &arguments, &opened.stdout).unwrap();
    assert!(wrapped.status.success(), "{wrapped:?}");
    std::fs::write(&slot, &wrapped.stdout).unwrap();
    let keyed = |key: &[&str]| desk.run(&[&["keys", "list", "drive"], key].concat());
    let listed = keyed(&["--identity", "theirs"]);
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("age "), "{listed:?}");
    if has_ssh {
        assert_eq!(keyed(&["--identity", "ssh"]).status.code(), Some(0));
        // And packmule wraps for an SSH key itself.
        let public = std::fs::read_to_string(desk.at("ssh.pub")).unwrap();
        let rotated = desk.run(&["keys", "rotate", "drive", "--to", public.trim(), "--identity", "theirs"]);
        assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
        assert!(desk.opens(&["--identity", "ssh"]) && !desk.opens(&["--identity", "theirs"]));
        let opened = age(desk.dir.path(), &["-d", "-i", "ssh", slot.to_str().unwrap()], b"").unwrap();
        assert!(opened.status.success(), "{opened:?}");
    }
    assert_eq!(keyed(&["--identity", "me"]).status.code(), Some(5), "whom the age program left out");
}

/// An age plugin of a page: its keys are worth nothing, its protocol is the real one (C2SP, age-plugin).
const TOY_PLUGIN: &str = r#"#!/usr/bin/env python3
import base64, hashlib, sys

def read():
    words, body = sys.stdin.readline().split()[1:], ""
    while True:
        part = sys.stdin.readline().rstrip("\n")
        body += part
        if len(part) < 64:
            return words, base64.b64decode(body + "=" * (-len(body) % 4))

def write(*words, body=b""):
    print("->", *words)
    print(base64.b64encode(body).decode().rstrip("="), flush=True)

def phase():
    heard = []
    while not heard or heard[-1][0][0] != "done":
        heard.append(read())
    return heard

def pad(name):
    return hashlib.sha256(name.lower().rsplit("1", 1)[1][:-6].encode()).digest()

def masked(key, name):
    return bytes(a ^ b for a, b in zip(key, pad(name)))

heard = phase()
names = [words[1] for words, _ in heard if words[0] in ("add-recipient", "add-identity")]
if sys.argv[1] == "--age-plugin=recipient-v1":
    keys = [body for words, body in heard if words[0] == "wrap-file-key"]
    for name in names:
        for at, key in enumerate(keys):
            write("recipient-stanza", at, "toy", pad(name).hex()[-8:], body=masked(key, name))
            read()
else:
    for words, body in heard:
        fits = [name for name in names if words[0] == "recipient-stanza" and words[2:] == ["toy", pad(name).hex()[-8:]]]
        if fits:
            write("file-key", words[1], body=masked(body, fits[0]))
            read()
write("done")
"#;

#[test]
fn a_plugin_wraps_and_opens_slots_here_and_for_the_age_program() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new(&[]);
    std::fs::create_dir(desk.at("bin")).unwrap();
    let plugin = desk.at("bin/age-plugin-toy");
    std::fs::write(&plugin, TOY_PLUGIN).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", desk.at("bin").display(), std::env::var("PATH").unwrap_or_default());
    let name = |prefix: &str, seed: u8| {
        bech32::encode::<bech32::Bech32>(bech32::Hrp::parse(prefix).unwrap(), &[seed; 16]).unwrap()
    };
    let recipient = name("age1toy", 1);
    std::fs::write(desk.at("token"), name("age-plugin-toy-", 1).to_uppercase() + "\n").unwrap();
    std::fs::write(desk.at("other-token"), name("age-plugin-toy-", 2).to_uppercase() + "\n").unwrap();
    let with_plugin = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(desk.dir.path()).args(arguments).stdin(std::process::Stdio::null());
        command.env("PATH", &path).output()
    };
    let packmule = |arguments: &[&str]| with_plugin(env!("CARGO_BIN_EXE_packmule"), arguments).unwrap();
    // Without the plugin it is said which one is missing, and nothing is changed.
    let missing = desk.run(&["keys", "rotate", "drive", "--to", &recipient, "--identity", "me"]);
    assert_eq!(missing.status.code(), Some(5), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("age-plugin-toy"), "{missing:?}");
    assert!(desk.opens(&["--identity", "me"]));
    // As a recipient, and as an identity.
    let rotated = packmule(&["keys", "rotate", "drive", "--to", &recipient, "--identity", "me"]);
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    assert!(!desk.opens(&["--identity", "me"]));
    let opened = packmule(&["extract", "drive", "--to", "out", "--identity", "token"]);
    assert_eq!(opened.status.code(), Some(0), "{opened:?}");
    assert_eq!(std::fs::read_to_string(desk.at("out/a.txt")).unwrap(), "some content\n");
    assert_eq!(packmule(&["verify", "drive", "--identity", "other-token"]).status.code(), Some(5));
    // A whole run stages for it.
    std::fs::create_dir(desk.at("second")).unwrap();
    let stage = ["stage", "source", "--volume", "second", "--job", "job-2", "--recipient", &recipient];
    let staged = packmule(&stage);
    assert_eq!(staged.status.code(), Some(0), "{staged:?}");
    assert_eq!(packmule(&["verify", "second", "--identity", "token"]).status.code(), Some(0));
    // The age program with the same plugin: it opens what was wrapped here, and the other way about.
    let slot = std::fs::read_dir(desk.at("second/packmule/slots")).unwrap().next().unwrap().unwrap().path();
    let slot = slot.to_str().unwrap();
    let Ok(shown) = with_plugin("age", &["-d", "-i", "token", "-o", "shown", slot]) else {
        return eprintln!("skipped: the age program is not installed");
    };
    assert!(shown.status.success(), "{shown:?}");
    assert!(std::fs::read(desk.at("shown")).unwrap().starts_with(b"packmule-run-key 1\njob "));
    let wrapped = with_plugin("age", &["-r", &recipient, "-o", slot, "shown"]).unwrap();
    assert!(wrapped.status.success(), "{wrapped:?}");
    assert_eq!(packmule(&["keys", "list", "second", "--identity", "token"]).status.code(), Some(0));
}

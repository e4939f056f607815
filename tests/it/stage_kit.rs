//! A desk for staging tests: a source, drives, a job and a key in one folder, and the program to run on them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub struct Desk {
    dir: tempfile::TempDir,
    recipient: String,
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        let desk = Self { dir, recipient: String::new() };
        let made = desk.run(&["keygen", "-o", "key"]);
        assert_eq!(made.status.code(), Some(0), "{}", said(&made));
        let key = std::fs::read_to_string(desk.at("key")).unwrap();
        let recipient = key.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
        Self { recipient, ..desk }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file below the source, its folders made.
    pub fn file(&self, name: &str, content: &[u8]) {
        let path = self.at("src").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn drive(&self, name: &str) {
        std::fs::create_dir(self.at(name)).unwrap();
    }

    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_packmule")).args(args).current_dir(self.dir.path()).output().unwrap()
    }

    /// Stages `src` in the job `job`; `args` name the volumes.
    pub fn stage(&self, args: &[&str]) -> Output {
        self.run(&[&["stage", "src", "--job", "job", "--recipient", self.recipient.as_str()], args].concat())
    }

    /// Stages and expects that exit code.
    pub fn stage_to(&self, exit: i32, args: &[&str]) -> String {
        let output = self.stage(args);
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        said(&output)
    }

    /// Stages on a terminal of its own, which `script` of util-linux gives, with lines typed ahead: the exit code and what
    /// was on the screen. `None` where there is no such program.
    pub fn stage_on_a_terminal(&self, args: &str, typed: &str) -> Option<(i32, String)> {
        let program = env!("CARGO_BIN_EXE_packmule");
        let line = format!("{program} stage src --job job --recipient {} {args}", self.recipient);
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(self.dir.path());
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut terminal) = started else {
            eprintln!("SKIPPED: no program `script` that gives a terminal; what is asked there was NOT tested");
            return None;
        };
        let mut keyboard = terminal.stdin.take().unwrap();
        keyboard.write_all(typed.as_bytes()).unwrap();
        let output = terminal.wait_with_output().unwrap();
        drop(keyboard);
        Some((output.status.code().unwrap_or(-1), said(&output)))
    }

    /// What volumes hold, by name, read back into a directory of that name; they must verify too.
    pub fn restored(&self, to: &str, volumes: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let key = ["--identity", "key"];
        let verified = self.run(&[&["verify"], volumes, &key].concat());
        assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
        let output = self.run(&[&["extract"], volumes, &["--to", to], &key].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        files_below(&self.at(to))
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Files below a folder: name and content.
pub fn files_below(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(top).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
    walk.map(|entry| (name(entry.path()), std::fs::read(entry.path()).unwrap())).collect()
}

/// Bytes that nothing compresses, the same for one seed.
pub fn noise(seed: u32, length: usize) -> Vec<u8> {
    let blocks =
        (0..).flat_map(|block: u32| packmule::digest::sha256(&[seed.to_le_bytes(), block.to_le_bytes()].concat()));
    blocks.take(length).collect()
}

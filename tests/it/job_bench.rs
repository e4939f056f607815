//! A scratch directory with a source, drives and a job, for whole jobs run with the real program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Said, expect};
use crate::tree;

/// `@name` in a command line is a path below it.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn words(&self, words: &[&str]) -> Vec<OsString> {
        let expand = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => OsString::from(word),
        };
        words.iter().map(|word| expand(word)).collect()
    }

    pub fn run(&self, code: i32, words: &[&str]) -> Said {
        expect(code, self.words(words))
    }

    /// Stages onto volumes a and b.
    pub fn stage(&self, code: i32, more: &[&str]) -> Said {
        let words =
            ["stage", "@source", "--volume", "@a", "--volume", "@b", "--job", "@job", "--unlock-code-file", "@code"];
        self.run(code, &[&words, more].concat())
    }

    /// Rebuilds the job from those volumes.
    pub fn recover(&self, code: i32, volumes: &[&str], more: &[&str]) -> Said {
        self.run(code, &[&["recover"], volumes, &["--job", "@job", "--unlock-code-file", "@code"], more].concat())
    }

    /// Everything on the volumes is whole, and gives back the source.
    pub fn assert_round_trip(&self, volumes: &[&str]) {
        self.run(0, &[&["verify", "--keyless"], volumes].concat());
        self.run(0, &[&["verify", "--unlock-code-file", "@code"], volumes].concat());
        self.assert_comes_back(volumes);
    }

    /// The volumes give back the source.
    pub fn assert_comes_back(&self, volumes: &[&str]) {
        self.assert_comes_back_saying(0, volumes);
    }

    /// The volumes give back the source, although extract has something to say (4: a volume is damaged).
    pub fn assert_comes_back_saying(&self, code: i32, volumes: &[&str]) {
        let _ = fs::remove_dir_all(self.path("back"));
        self.run(code, &[&["extract"], volumes, &["--unlock-code-file", "@code", "--to", "@back"]].concat());
        tree::assert_same(&self.path("source"), &self.path("back"));
    }

    /// What `status` says of the ledger, as text that two equal jobs share.
    pub fn ledger(&self) -> String {
        self.run(0, &["status", "--job", "@job", "--check", "--json"]);
        let said = self.run(0, &["status", "--job", "@job", "--json"]);
        let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        value["ledger"].to_string()
    }

    /// A copy of a directory below the scratch directory.
    pub fn copy(&self, from: &str, to: &str) {
        copy(&self.path(from), &self.path(to));
    }

    /// Takes a directory away and puts a copy of another in its place.
    pub fn put_back(&self, copy: &str, place: &str) {
        fs::remove_dir_all(self.path(place)).unwrap();
        self.copy(copy, place);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Sum of the lengths of all files below.
pub fn used(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    files.filter_map(|item| item.metadata().ok()).filter(|facts| facts.is_file()).map(|facts| facts.len()).sum()
}

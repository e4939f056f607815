//! A place where command lines of help texts and documents run as they stand: `/data`, `/mnt/a`, `~/jobs/lab` and the
//! bucket `lab-archive` are there, in a directory of the test and on a server of the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use packmule::digest::crc64;
use packmule::ingest::remote::{Claim, Metadata, ObjectStore, Put, S3Store, Target, connect};
use packmule::s3d::{Credentials, Options, Server};

/// Bucket of all examples.
pub const BUCKET: &str = "lab-archive";
/// Absolute paths in examples, each moved below the directory of the test.
const PLACES: [&str; 6] = ["/data", "/mnt", "/restored", "/part", "/media", "/look"];

pub struct Story {
    dir: tempfile::TempDir,
    server: Server,
}

impl Story {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data/photos", "data/notes", "mnt/a", "mnt/b", "mnt/c", "home", "bin", "look", "tmp"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for n in 0..30_u8 {
            std::fs::write(dir.path().join(format!("data/notes/{n}.txt")), format!("note {n}\n").repeat(40)).unwrap();
        }
        let photo: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(dir.path().join("data/photos/one.raw"), photo).unwrap();
        std::os::unix::fs::symlink("one.raw", dir.path().join("data/photos/latest")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_packmule"), dir.path().join("bin/packmule")).unwrap();
        let credentials = Credentials { access_key: "key".to_owned(), secret_key: "secret".to_owned() };
        let server = Server::start(&dir.path().join("s3"), &credentials, Options::default()).unwrap();
        server.create_bucket(BUCKET).unwrap();
        Self { dir, server }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Does something to the bucket behind the program's back.
    fn meddle<T>(&self, work: impl AsyncFnOnce(&S3Store) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let target = Target {
            bucket: BUCKET.to_owned(),
            endpoint_url: Some(self.server.endpoint()),
            region: Some("us-east-1".to_owned()),
            credentials: Some(("key".to_owned(), "secret".to_owned())),
            ..Target::default()
        };
        runtime.block_on(async { work(&connect(target).await).await })
    }

    /// Puts an object into the bucket, over what is there.
    pub fn put(&self, key: &str, body: &[u8]) {
        let (key, claim, body) = (key.to_owned(), Some(Claim::Crc64(crc64(body))), body.to_vec().into());
        let put = Put { key, body, claim, metadata: Metadata::new(), overwrite: true };
        self.meddle(async |store| store.put(put).await).unwrap();
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) {
        self.meddle(async |store| store.delete(key).await).unwrap();
    }

    /// All keys of the bucket.
    pub fn keys(&self) -> Vec<String> {
        let (objects, _) = self.meddle(async |store| store.list("", None).await).unwrap();
        objects.into_iter().map(|object| object.key).collect()
    }

    /// Runs a line, or several, in a shell.
    pub fn run(&self, lines: &str) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        Command::new("sh")
            .args(["-e", "-c", &moved(lines, self.dir.path())])
            .current_dir(self.path("home"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a line that has to end with code 0; gives its standard output.
    pub fn succeed(&self, lines: &str) -> String {
        let output = self.run(lines);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "$ {lines}\n{out}{err}({})", output.status);
        out.into_owned()
    }
}

/// Moves absolute paths of the examples below a directory.
fn moved(line: &str, below: &Path) -> String {
    let mut text = line.to_owned();
    for place in PLACES {
        let mut from = 0;
        while let Some(at) = text[from..].find(place).map(|at| at + from) {
            let begins = text[..at].chars().next_back().is_none_or(|c| " ='\"(\n".contains(c));
            let ends = text[at + place.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '-');
            let put = if begins && ends { format!("{}{place}", below.display()) } else { place.to_owned() };
            text.replace_range(at..at + place.len(), &put);
            from = at + put.len();
        }
    }
    text
}

#[test]
fn only_whole_places_are_moved() {
    let moved = |line| moved(line, Path::new("/t"));
    assert_eq!(moved("stage /data --volume /mnt/a,size=1GB"), "stage /t/data --volume /t/mnt/a,size=1GB");
    assert_eq!(moved("cat x/data s3://b/data /database"), "cat x/data s3://b/data /database");
}

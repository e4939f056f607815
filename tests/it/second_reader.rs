//! A second reader, in another language, written from manifests/formats/ alone, reads what this program writes: the
//! documents are enough.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use packmule::sys::RealFs;

use crate::verify_kit::{noise, write_scene};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_reader/read_volume.py")
}

/// Runs it; `None`, said aloud, where Python, its two packages or age are missing.
fn read(identity: &Path, out: &Path, volumes: &[&Path]) -> Option<Output> {
    if Command::new("age").arg("--version").output().is_err() {
        eprintln!("SKIPPED: the second reader was not run: age is not installed");
        return None;
    }
    let output = Command::new("python3").arg(script()).arg(identity).arg(out).args(volumes).output();
    match output {
        Ok(output) if output.status.code() == Some(77) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("SKIPPED: the second reader was not run: {why} (python packages cryptography, zstandard)");
            None
        }
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("SKIPPED: the second reader was not run: python3: {error}");
            None
        }
    }
}

#[test]
fn a_reader_written_from_the_documents_alone_extracts_what_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, out) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("out"));
    let (kit, contents) = write_scene(Arc::new(RealFs), &one, &two, |dir| std::fs::create_dir(dir).unwrap());
    let key = dir.path().join("key.txt");
    std::fs::write(&key, &kit.secret).unwrap();
    let Some(output) = read(&key, &out, &[&one, &two]) else { return };
    assert!(output.status.success(), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (said["files"].as_u64(), said["problems"].as_u64(), said["packs"].as_u64()),
        (Some(6), Some(1), Some(3))
    );
    for (name, content) in contents {
        use std::os::unix::ffi::OsStrExt;
        let path = out.join(std::ffi::OsStr::from_bytes(&name));
        assert_eq!(std::fs::read(&path).unwrap(), content, "{}", path.display());
    }
    assert_eq!(std::fs::read_link(out.join("dir/link")).unwrap(), Path::new("plain.txt"));
    use std::os::unix::fs::MetadataExt;
    let inode = |name: &str| std::fs::metadata(out.join(name)).unwrap().ino();
    assert_eq!(inode("dir/again"), inode("dir/plain.txt"));
}

#[test]
fn the_second_reader_rejects_a_flipped_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, out) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("out"));
    let (kit, _) = write_scene(Arc::new(RealFs), &one, &two, |dir| std::fs::create_dir(dir).unwrap());
    let key = dir.path().join("key.txt");
    std::fs::write(&key, &kit.secret).unwrap();
    let pack = one.join("packmule/packs/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[4200] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let Some(output) = read(&key, &out, &[&one, &two]) else { return };
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("REJECTED: V6"), "{output:?}");
}

/// Everything `stage` makes of real files: small ones, one of several extents, a hole, links, hostile names.
fn real_tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let mut contents = BTreeMap::new();
    std::fs::create_dir_all(dir.join("deep/er")).unwrap();
    std::fs::create_dir(dir.join("nothing here")).unwrap();
    for n in 0..40_usize {
        let body = if n % 3 == 0 { b"text ".repeat(n * 37) } else { noise(n as u64, n * 997) };
        contents.insert(PathBuf::from(format!("deep/er/{n}.dat")), body);
    }
    contents.insert(PathBuf::from("large"), noise(99, 9 << 20));
    contents
        .insert(PathBuf::from(std::ffi::OsStr::from_bytes(b"-new\nline \xff\xf0\x9f\x90\x8e ")), b"hostile".to_vec());
    for (name, body) in &contents {
        std::fs::write(dir.join(name), body).unwrap();
    }
    let sparse = std::fs::File::create(dir.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 1 << 20).unwrap();
    contents.insert(PathBuf::from("sparse"), [vec![0; 1 << 20], b"end".to_vec()].concat());
    std::os::unix::fs::symlink("large", dir.join("link")).unwrap();
    std::fs::hard_link(dir.join("large"), dir.join("same")).unwrap();
    contents
}

fn packmule(arguments: &[&std::ffi::OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packmule")).args(arguments).output().unwrap()
}

#[test]
fn what_stage_wrote_is_whole_for_verify_and_for_the_second_reader() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["source", "one", "two"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let contents = real_tree(&at("source"));
    let os = |text: &str| std::ffi::OsString::from(text);
    let key = at("key.txt");
    let made = packmule(&[&os("keygen"), &os("-o"), key.as_os_str()]);
    let recipient = String::from_utf8(made.stderr).unwrap().trim().trim_start_matches("Public key: ").to_owned();
    let (source, one, two, job) = (at("source"), at("one"), at("two"), at("job"));
    let staged = packmule(&[
        &os("stage"),
        source.as_os_str(),
        &os("--volume"),
        one.as_os_str(),
        &os("--volume"),
        two.as_os_str(),
        &os("--job"),
        job.as_os_str(),
        &os("--recipient"),
        &os(&recipient),
    ]);
    assert_eq!(staged.status.code(), Some(0), "{staged:?}");
    let volumes: Vec<&Path> =
        [&one, &two].into_iter().filter(|dir| dir.join("packmule").exists()).map(PathBuf::as_path).collect();
    let places: Vec<&std::ffi::OsStr> = volumes.iter().map(|volume| volume.as_os_str()).collect();
    let (verify, keyless, identity, json) = (os("verify"), os("--keyless"), os("--identity"), os("--json"));
    let courier = packmule(&[&[verify.as_os_str(), &keyless], &places[..]].concat());
    assert_eq!(courier.status.code(), Some(0), "{courier:?}");
    let owner = packmule(&[&[verify.as_os_str(), &json, &identity, key.as_os_str()], &places[..]].concat());
    assert_eq!(owner.status.code(), Some(0), "{}", String::from_utf8_lossy(&owner.stdout));
    let report: serde_json::Value = serde_json::from_slice(&owner.stdout).unwrap();
    assert_eq!(report["files_whole"].as_u64(), Some(contents.len() as u64), "{report}");
    assert_eq!(report["not_here"], 0);
    let out = at("out");
    let Some(output) = read(&key, &out, &volumes) else { return };
    assert!(output.status.success(), "{output:?}");
    for (name, content) in contents {
        let found = walk_to(&out, &name);
        assert!(std::fs::read(&found).unwrap() == content, "{}", found.display());
    }
}

/// The file below `out`, whether or not the source's own name is part of the stored paths.
fn walk_to(out: &Path, name: &Path) -> PathBuf {
    let direct = out.join(name);
    if direct.exists() { direct } else { out.join("source").join(name) }
}

#[test]
fn the_second_reader_opens_with_a_code_or_a_passphrase_and_leaves_out_what_was_deleted() {
    let story = crate::story_kit::Story::new();
    let stage = "packmule stage /data --job ~/jobs/lab";
    story.succeed("mkfifo /data/pipe; echo 'correct horse battery' > phrase");
    story.succeed(&format!("{stage} --volume /mnt/a --unlock-code-file code.txt --passphrase-file phrase"));
    story.succeed("rm /data/notes/2.txt; echo changed > /data/notes/3.txt");
    story.succeed(&format!("{stage} --volume /mnt/b"));
    let (a, b) = (story.path("mnt/a"), story.path("mnt/b"));
    for kind in ["code:home/code.txt", "passphrase:home/phrase"] {
        let (kind, file) = kind.split_once(':').unwrap();
        let (key, out) = (format!("{kind}:{}", story.path(file).display()), story.path(kind));
        let Some(output) = read(Path::new(&key), &out, &[&a, &b]) else { return };
        assert!(output.status.success(), "{output:?}");
        let compared = Command::new("diff").arg("-r").arg("--no-dereference").args([story.path("data"), out]).output();
        let compared = compared.unwrap();
        let said = String::from_utf8_lossy(&compared.stdout);
        // diff cannot compare a pipe; that it stands on both sides is all it says.
        assert!(said.lines().all(|line| line.contains("/pipe is a fifo")), "{kind}: {said}");
    }
}

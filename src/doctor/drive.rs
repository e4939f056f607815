//! Checks of places: drives to stage onto, the disk of the job directory, sources.

use std::io;
use std::path::{Path, PathBuf};

use crate::doctor::{Check, Verdict};
use crate::sys::aligned::AlignedBuf;
use crate::sys::device::{self, DeviceFacts};
use crate::sys::fs::DIRECT_ALIGN_BYTES;
use crate::sys::smart::{self, SmartFacts};
use crate::sys::source::is_readable;
use crate::sys::{Access, Fs, Space, World};
use crate::units::Bytes;

/// Name of the file that is written, read and removed again.
const PROBE: &str = ".packmule-doctor";
/// File systems on another machine, where SQLite's locks and shared memory cannot be relied on.
const NETWORK: [&str; 10] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs"];
/// Room the job directory should have. Unit: bytes. A hundred million entries take about so much.
const JOB_BYTES_MIN: u64 = 10 << 30;
/// Room below which a drive is hardly worth carrying. Unit: bytes.
const VOLUME_BYTES_MIN: u64 = 1 << 30;

/// Looks at a drive: writes, reads back and removes one block.
pub fn volume(world: &World, dir: &Path) -> Vec<Check> {
    let what = format!("volume {}", dir.display());
    let space = match world.fs.space(dir) {
        Ok(space) => space,
        Err(error) => {
            let mend = "mount the drive there, or make the directory";
            return vec![Check::not_good(Verdict::Bad, what, error.to_string(), mend)];
        }
    };
    vec![
        room(&what, &space, VOLUME_BYTES_MIN),
        drive(&what, &device::facts(dir)),
        health(&what, smart::facts(dir).as_ref()),
        writing(&*world.fs, &what, dir),
    ]
}

fn room(what: &str, space: &Space, least: u64) -> Check {
    let what = format!("{what}: room");
    let found =
        format!("{} free of {}, {}", Bytes::new(space.free_bytes), Bytes::new(space.total_bytes), space.type_name);
    if space.free_bytes < least {
        let mend = format!("free some: less than {} is little", Bytes::new(least));
        return Check::not_good(Verdict::Warning, what, found, mend);
    }
    if space.type_name == "tmpfs" || space.type_name == "ramfs" {
        let mend = "this is memory and gone with the next start: mount a drive";
        return Check::not_good(Verdict::Warning, what, found, mend);
    }
    Check::good(what, found)
}

fn drive(what: &str, facts: &DeviceFacts) -> Check {
    let what = format!("{what}: drive");
    let named: Vec<&str> = [&facts.model, &facts.serial].into_iter().flatten().map(String::as_str).collect();
    if named.is_empty() {
        let mend = "nothing to mend: labels and reports then name its path only";
        return Check::not_good(Verdict::Unknown, what, "the system tells neither model nor serial number", mend);
    }
    let kind = match facts.rotational {
        Some(true) => ", with platters",
        Some(false) => ", solid state",
        None => "",
    };
    Check::good(what, format!("{}{kind}", named.join(" ")))
}

fn health(what: &str, facts: Option<&SmartFacts>) -> Check {
    let what = format!("{what}: health");
    match facts {
        None => {
            let mend = "install smartmontools and ask as root; some USB bridges do not pass it on";
            Check::not_good(Verdict::Unknown, what, "the drive's own word (SMART) is not to be had", mend)
        }
        Some(facts) if facts.is_failing() => {
            Check::not_good(Verdict::Bad, what, facts.to_string(), "take another drive: this one expects to fail")
        }
        Some(facts) => Check::good(what, facts.to_string()),
    }
}

fn writing(fs: &dyn Fs, what: &str, dir: &Path) -> Check {
    let what = format!("{what}: writing");
    match write_and_read(fs, &dir.join(PROBE)) {
        Ok(Access::Direct) => Check::good(what, "direct I/O works: the read-back is from the medium"),
        Ok(Access::Buffered) => Check::not_good(
            Verdict::Warning,
            what,
            "works, but not past the page cache (no direct I/O on this file system)",
            "use ext4, xfs or exfat; or verify again after the drive was unplugged and mounted anew",
        ),
        Err(error) => {
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "mount it for this user (uid= on exfat), or chown it",
                io::ErrorKind::ReadOnlyFilesystem => "mount it writable; if it went read-only by itself, fsck it",
                _ => "look at dmesg; do not trust this drive before it is explained",
            };
            Check::not_good(Verdict::Bad, what, error.to_string(), mend)
        }
    }
}

/// Writes one block, reads it back, removes it. Says which way the bytes went.
fn write_and_read(fs: &dyn Fs, path: &Path) -> io::Result<Access> {
    match fs.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create_new(path, Access::Direct)?;
    let outcome = || -> io::Result<Access> {
        let mut block = AlignedBuf::with_capacity(DIRECT_ALIGN_BYTES);
        block.push(&[0x5a; DIRECT_ALIGN_BYTES]);
        file.write_all_at(&block, 0)?;
        file.sync_data()?;
        let mut back = AlignedBuf::with_capacity(DIRECT_ALIGN_BYTES);
        back.resize_zeroed(DIRECT_ALIGN_BYTES);
        let got = file.read_at(&mut back, 0)?;
        if got != DIRECT_ALIGN_BYTES || back[..] != block[..] {
            return Err(io::Error::other("what was read back is not what was written"));
        }
        Ok(file.access())
    }();
    let removed = fs.remove_file(path);
    let access = outcome?;
    removed?;
    Ok(access)
}

/// Looks at the disk that holds, or will hold, the job directory.
pub fn job_place(world: &World, job: &Path) -> Vec<Check> {
    let what = format!("job {}", job.display());
    let Some(dir) = nearest(&*world.fs, job) else {
        return vec![Check::not_good(Verdict::Bad, what, "no directory above it exists", "make one")];
    };
    let space = match world.fs.space(&dir) {
        Ok(space) => space,
        Err(error) => return vec![Check::not_good(Verdict::Bad, what, error.to_string(), "choose another place")],
    };
    let local = if NETWORK.contains(&space.type_name.as_str()) {
        Check::not_good(
            Verdict::Bad,
            format!("{what}: database"),
            format!("it would be on {}, where its locks cannot be relied on", space.type_name),
            "keep the job directory on a disk of this machine",
        )
    } else {
        Check::good(format!("{what}: database"), "on a disk of this machine")
    };
    vec![room(&what, &space, JOB_BYTES_MIN), local, writing(&*world.fs, &what, &dir)]
}

/// The job directory, or the nearest directory above it that exists.
fn nearest(fs: &dyn Fs, job: &Path) -> Option<PathBuf> {
    let exists = |dir: &&Path| fs.list(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }).is_ok();
    let found = job.ancestors().find(exists)?;
    Some(if found.as_os_str().is_empty() { PathBuf::from(".") } else { found.to_owned() })
}

/// Looks at a source.
pub fn source(path: &Path) -> Check {
    let what = format!("source {}", path.display());
    if is_readable(path) {
        return Check::good(what, "readable");
    }
    let mend = "is it mounted? packmule refuses to start on a source that is missing";
    Check::not_good(Verdict::Bad, what, "missing, or not readable for this user", mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(type_name: &str, free_bytes: u64) -> Space {
        Space { free_bytes, total_bytes: 1 << 40, block_bytes: 4096, type_name: type_name.into(), device_id: 1 }
    }

    #[test]
    fn a_drive_is_tried_and_left_as_it_was() {
        let world = World::real();
        let dir = tempfile::tempdir().expect("a directory");
        let checks = volume(&world, dir.path());
        assert!(checks.iter().all(|check| check.verdict != Verdict::Bad), "{checks:?}");
        assert!(world.fs.list(dir.path()).expect("lists").is_empty(), "nothing is left behind");
        let missing = volume(&world, &dir.path().join("none"));
        assert_eq!(missing[0].verdict, Verdict::Bad);
    }

    #[test]
    fn little_room_and_memory_file_systems_are_warned_of() {
        assert_eq!(room("x", &space("ext4", 1 << 20), VOLUME_BYTES_MIN).verdict, Verdict::Warning);
        assert_eq!(room("x", &space("tmpfs", 1 << 40), VOLUME_BYTES_MIN).verdict, Verdict::Warning);
        assert_eq!(room("x", &space("exfat", 1 << 40), VOLUME_BYTES_MIN).verdict, Verdict::Good);
    }

    #[test]
    fn the_place_of_a_job_that_does_not_exist_yet_is_the_directory_above() {
        let dir = tempfile::tempdir().expect("a directory");
        let checks = job_place(&World::real(), &dir.path().join("jobs/lab"));
        assert_eq!(checks.len(), 3, "{checks:?}");
        assert!(checks.iter().all(|check| check.verdict != Verdict::Bad), "{checks:?}");
    }

    #[test]
    fn a_source_that_is_missing_is_bad() {
        assert_eq!(source(Path::new("/no/such/source")).verdict, Verdict::Bad);
        assert_eq!(source(Path::new("/proc")).verdict, Verdict::Good);
    }
}

//! Has a drive the room it says it has? Drives of false capacity drop what is written beyond their true size, or write it
//! over what came first.
//!
//! Owns: spreading blocks over the free space, writing them, reading them back from the medium. Does not own: deciding what
//! becomes of the drive. Invariants: only free space is written, through one file of our own, which is removed again; a
//! check that could not be made is never called good. Callers: `cli`.

use std::io;
use std::path::Path;

use crate::digest::sha256;
use crate::doctor::{Check, Verdict};
use crate::sys::aligned::AlignedBuf;
use crate::sys::fs::PastCache;
use crate::sys::{Access, Fs, FsFile, World};
use crate::units::Bytes;

/// Name of the file that takes the free space for as long as the check lasts.
const FILE: &str = ".packmule-capacity";
/// Length of a block. Unit: bytes. With 512 of them more is written than the memory inside a small drive keeps.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks that are written, first and last included.
const BLOCKS: u64 = 512;
/// Left free, for what the file system itself needs. Unit: bytes.
const SPARED_BYTES: u64 = 16 << 20;

/// What was found.
struct Found {
    /// Room over which blocks were spread. Unit: bytes.
    span_bytes: u64,
    /// Blocks that came back as something else, by place, and the place whose block stands there instead.
    wrong: Vec<(u64, Option<u64>)>,
    blocks: u64,
    past: PastCache,
}

/// Writes blocks spread over all free space of a drive, reads them back past the cache, and removes them.
pub fn capacity(world: &World, dir: &Path) -> Check {
    let what = format!("volume {}: capacity", dir.display());
    let found = match try_capacity(world, dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let text = "NOT CHECKED: this file system cannot set room aside, so blocks cannot be spread over it";
            let mend = "use ext4, xfs or btrfs to check it; the read-back of each volume finds a lie at the latest";
            return Check::not_good(Verdict::Unknown, what, text, mend);
        }
        Err(error) => {
            let mend = "look at dmesg; do not trust this drive before it is explained";
            return Check::not_good(Verdict::Bad, what, error.to_string(), mend);
        }
    };
    let span = Bytes::new(found.span_bytes);
    if let Some((place, instead)) = found.wrong.first() {
        let how = match instead {
            Some(other) => format!("stands what was written at {}", Bytes::new(*other)),
            None => "stands something else than was written".to_owned(),
        };
        let text = format!(
            "{} of {} blocks spread over {span} are not what was written; at {} {how}",
            found.wrong.len(),
            found.blocks,
            Bytes::new(*place)
        );
        let mend = "this drive lies about its size or loses what is written: do not use it";
        return Check::not_good(Verdict::Bad, what, text, mend);
    }
    let text = format!("{} blocks spread over {span} of free space came back as written", found.blocks);
    if found.past != PastCache::Direct {
        let mend = "no direct I/O here: unplug the drive, mount it again, and verify what was staged";
        return Check::not_good(Verdict::Warning, what, format!("{text}, perhaps from the page cache"), mend);
    }
    Check::good(what, text)
}

fn try_capacity(world: &World, dir: &Path) -> io::Result<Found> {
    let fs = &*world.fs;
    let free_bytes = fs.space(dir)?.free_bytes;
    let span_bytes =
        free_bytes.saturating_sub(SPARED_BYTES.max(free_bytes / 64)) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    if span_bytes < 2 * BLOCK_BYTES as u64 {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "there is no free space to check"));
    }
    let path = dir.join(FILE);
    remove(fs, &path)?;
    let mut seed = [0; 32];
    world.random.fill(&mut seed);
    let file = fs.create_new(&path, Access::Direct)?;
    let found = file.allocate(span_bytes).and_then(|()| spread(&*file, span_bytes, &seed));
    drop(file);
    let removed = remove(fs, &path);
    let found = found?;
    removed.map(|()| found)
}

fn remove(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes all blocks before the first is read: only so does one that was written over show.
fn spread(file: &dyn FsFile, span_bytes: u64, seed: &[u8; 32]) -> io::Result<Found> {
    let slots = span_bytes / BLOCK_BYTES as u64;
    let blocks = BLOCKS.min(slots);
    let place = |number: u64| {
        let slot = u128::from(number) * u128::from(slots - 1) / u128::from(blocks - 1);
        u64::try_from(slot).unwrap_or(slots - 1) * BLOCK_BYTES as u64
    };
    for number in 0..blocks {
        file.write_all_at(&pattern(seed, number), place(number))?;
    }
    file.sync_data()?;
    let past = file.pass_cache();
    let mut wrong = Vec::new();
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    for number in 0..blocks {
        block.resize_zeroed(BLOCK_BYTES);
        let mut done = 0;
        while done < BLOCK_BYTES {
            match file.read_at(&mut block[done..], place(number) + done as u64)? {
                0 => break,
                count => done += count,
            }
        }
        if block[..] != pattern(seed, number)[..] {
            let other = (0..blocks).find(|other| block[..32] == pattern(seed, *other)[..32]);
            wrong.push((place(number), other.map(place)));
        }
    }
    Ok(Found { span_bytes, wrong, blocks, past })
}

/// A block that is like no other, of this check or an earlier one.
fn pattern(seed: &[u8; 32], number: u64) -> AlignedBuf {
    let name = sha256(&[&seed[..], &number.to_le_bytes()].concat());
    let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
    for _ in 0..BLOCK_BYTES / name.len() {
        block.push(&name);
    }
    block
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sys::clock::SystemClock;
    use crate::sys::fault::{Fault, FaultFs, FaultRule};
    use crate::sys::fs::OpKind;
    use crate::sys::mem::MemFs;
    use crate::sys::random::SeededRandom;

    /// A drive that says it has 96 MiB, and what a check of it finds.
    fn check(rule: Option<FaultRule>) -> (Check, MemFs) {
        let mem = MemFs::new();
        mem.set_capacity(96 << 20);
        mem.make_dirs(Path::new("/drive")).expect("a fresh file system");
        mem.put_file(Path::new("/drive/theirs"), &[7; 100_000]).expect("room");
        let faults = FaultFs::new(Arc::new(mem.clone()));
        if let Some(rule) = rule {
            faults.add(rule);
        }
        let world = World {
            fs: Arc::new(faults.clone()),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SeededRandom::new(1)),
        };
        let check = capacity(&world, Path::new("/drive"));
        faults.assert_all_exercised();
        assert_eq!(mem.list(Path::new("/drive")).expect("lists").len(), 1, "nothing is left behind");
        assert_eq!(mem.contents(Path::new("/drive/theirs")).expect("still there"), [7; 100_000]);
        (check, mem)
    }

    #[test]
    fn an_honest_drive_has_the_room_it_says() {
        let (check, _) = check(None);
        assert!(check.verdict != Verdict::Bad && check.found.contains("512 blocks"), "{check:?}");
    }

    #[test]
    fn a_drive_that_drops_what_is_beyond_its_true_size_is_found() {
        let rule = FaultRule::new(OpKind::Write, Fault::LoseWrite).nth(300).forever();
        let (check, _) = check(Some(rule));
        assert_eq!(check.verdict, Verdict::Bad, "{check:?}");
        assert!(check.found.starts_with("213 of 512 blocks"), "{check:?}");
    }

    #[test]
    fn a_drive_that_writes_over_its_beginning_is_found_and_the_way_it_lies_is_told() {
        let rule = FaultRule::new(OpKind::Write, Fault::Wrap(32 << 20)).forever();
        let (check, _) = check(Some(rule));
        assert_eq!(check.verdict, Verdict::Bad, "{check:?}");
        assert!(check.found.contains("stands"), "{check:?}");
    }

    #[test]
    fn a_drive_that_cannot_be_checked_is_not_called_good() {
        let rule = FaultRule::new(OpKind::SetLen, Fault::Errno(38));
        let (check, _) = check(Some(rule));
        assert_eq!(check.verdict, Verdict::Unknown, "{check:?}");
        assert!(check.found.contains("NOT CHECKED"), "{check:?}");
    }
}

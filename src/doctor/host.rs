//! Checks of the machine itself: processor, memory, locked memory, open files, clock, FUSE.

use jiff::Timestamp;

use crate::doctor::{Check, Verdict};
use crate::sys::World;
use crate::sys::machine::{self, Memory, Processor};
use crate::sys::process::parallelism;
use crate::units::Bytes;

/// Below this much free memory the default budget does not fit beside the rest. Unit: bytes.
const MEMORY_BYTES_MIN: u64 = 1 << 30;
/// Files a run with many volumes and threads may have open.
const OPEN_FILES_MIN: u64 = 1024;
/// No clock that is right shows an earlier time: this program was written then. 2026-11-01.
const WRITTEN: i64 = 1_793_491_200;

/// Looks at the machine.
pub fn host(world: &World) -> Vec<Check> {
    vec![
        processor(machine::processor(), parallelism()),
        memory(machine::memory()),
        locked(machine::locked_bytes_max(), machine::memory(), machine::is_swap_volatile()),
        open_files(machine::open_files_max()),
        clock(world.clock.now()),
        #[cfg(feature = "mount")]
        fuse(machine::has_fuse()),
    ]
}

fn processor(processor: Processor, count: usize) -> Check {
    let found = format!("{count} x {}", processor.architecture);
    if processor.has_aes && processor.has_clmul {
        let sha = if processor.has_sha { ", SHA-256" } else { "; no instructions for SHA-256, which halves its speed" };
        return Check::good("processor", format!("{found}, with instructions for AES and CRC-64{sha}"));
    }
    Check::not_good(
        Verdict::Warning,
        "processor",
        format!("{found}, without instructions for AES or carry-less multiplication"),
        "it works, many times slower: stage on another machine, or let the virtual machine pass the host's processor through",
    )
}

fn memory(memory: Option<Memory>) -> Check {
    let Some(memory) = memory else {
        return Check::not_good(Verdict::Unknown, "memory", "not readable", "mount /proc");
    };
    let found = format!("{} free of {}", Bytes::new(memory.available_bytes), Bytes::new(memory.total_bytes));
    if memory.available_bytes < MEMORY_BYTES_MIN {
        return Check::not_good(Verdict::Warning, "memory", found, "give a smaller --memory, such as 128MiB");
    }
    Check::good("memory", found)
}

/// Secrets are in memory while a run goes on: they should not reach a swap device.
fn locked(limit: Option<u64>, memory: Option<Memory>, is_volatile: bool) -> Check {
    let what = "secrets and swap";
    match (limit, memory) {
        (_, Some(memory)) if memory.swap_bytes == 0 => Check::good(what, "this machine has no swap"),
        (None, _) => Check::good(what, "all memory may be locked"),
        _ if is_volatile => Check::good(what, "swap is kept in memory (zram)"),
        (Some(limit), _) => Check::not_good(
            Verdict::Warning,
            what,
            format!("memory may not be locked (limit {}), and there is swap", Bytes::new(limit)),
            "ulimit -l unlimited (or LimitMEMLOCK=infinity in the unit), encrypt the swap, or swapoff -a for the run",
        ),
    }
}

fn open_files(limit: Option<u64>) -> Check {
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Check::not_good(
            Verdict::Warning,
            "open files",
            format!("at most {limit}"),
            format!("ulimit -n {OPEN_FILES_MIN}, for many volumes at once"),
        ),
        Some(limit) => Check::good("open files", format!("at most {limit}")),
        None => Check::good("open files", "no limit"),
    }
}

fn clock(now: Timestamp) -> Check {
    let found = now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    if now.as_second() < WRITTEN {
        return Check::not_good(
            Verdict::Bad,
            "clock",
            format!("{found}, which is in the past"),
            "set it (timedatectl set-ntp true): records would be dated wrongly, and S3 refuses requests 15 minutes off",
        );
    }
    Check::good("clock", format!("{found}; --to s3://BUCKET compares it with the server's"))
}

#[cfg(feature = "mount")]
fn fuse(has_fuse: bool) -> Check {
    if has_fuse {
        return Check::good("looking into volumes", "/dev/fuse is there: packmule mount works");
    }
    Check::not_good(
        Verdict::Warning,
        "looking into volumes",
        "no /dev/fuse: packmule mount does not work",
        "modprobe fuse; packmule ls, cat and extract work without",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn with(available_bytes: u64, swap_bytes: u64) -> Option<Memory> {
        Some(Memory { total_bytes: 8 * GIB, available_bytes, swap_bytes })
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let slow = Processor { architecture: "x86_64", has_aes: false, has_clmul: true, has_sha: true };
        let wrong = [
            processor(slow, 4),
            memory(with(GIB / 4, 0)),
            memory(None),
            locked(Some(64 << 10), with(GIB, GIB), false),
            open_files(Some(256)),
            clock(Timestamp::from_second(0).expect("a moment")),
            #[cfg(feature = "mount")]
            fuse(false),
        ];
        for check in wrong {
            assert!(check.verdict != Verdict::Good && check.mend.is_some(), "{check:?}");
        }
    }

    #[test]
    fn what_is_right_needs_nothing() {
        let fast = Processor { architecture: "x86_64", has_aes: true, has_clmul: true, has_sha: false };
        let right = [
            processor(fast, 4),
            memory(with(4 * GIB, 0)),
            locked(Some(0), with(GIB, 0), false),
            locked(Some(0), with(GIB, GIB), true),
            locked(None, with(GIB, GIB), false),
            open_files(Some(4096)),
            open_files(None),
            clock(Timestamp::from_second(WRITTEN + 1).expect("a moment")),
            #[cfg(feature = "mount")]
            fuse(true),
        ];
        for check in right {
            assert!(check.verdict == Verdict::Good && check.mend.is_none(), "{check:?}");
        }
    }
}

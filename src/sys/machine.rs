//! Facts about this machine that decide how well the work will go: processor, memory, limits, swap.
//!
//! Owns: reading them. Does not own: any judgement (`doctor`).
//! Invariants: every fact is optional and nothing here fails. Callers: `doctor`.

use std::path::Path;

use rustix::process::Resource;

/// What the processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// Architecture, as Rust names it.
    pub architecture: &'static str,
    /// Instructions for AES.
    pub has_aes: bool,
    /// Carry-less multiplication, for GCM and CRC-64.
    pub has_clmul: bool,
    /// Instructions for SHA-256.
    pub has_sha: bool,
}

/// What the processor of this machine can do.
pub fn processor() -> Processor {
    let architecture = std::env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    {
        Processor {
            architecture,
            has_aes: std::arch::is_x86_feature_detected!("aes"),
            has_clmul: std::arch::is_x86_feature_detected!("pclmulqdq"),
            has_sha: std::arch::is_x86_feature_detected!("sha"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        Processor {
            architecture,
            has_aes: std::arch::is_aarch64_feature_detected!("aes"),
            has_clmul: std::arch::is_aarch64_feature_detected!("pmull"),
            has_sha: std::arch::is_aarch64_feature_detected!("sha2"),
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Processor { architecture, has_aes: false, has_clmul: false, has_sha: false }
}

/// Memory of the machine. Unit: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What can be taken without swapping.
    pub available_bytes: u64,
    /// Swap space.
    pub swap_bytes: u64,
}

/// Memory, as `/proc/meminfo` tells it.
pub fn memory() -> Option<Memory> {
    parse_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory {
        total_bytes: field("MemTotal")?,
        available_bytes: field("MemAvailable")?,
        swap_bytes: field("SwapTotal").unwrap_or(0),
    })
}

/// Whether all swap is in memory (zram), so that what is swapped out never reaches a drive.
pub fn is_swap_volatile() -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/swaps") else { return false };
    table.lines().skip(1).all(|line| line.starts_with("/dev/zram"))
}

/// Files this process may have open at once; `None`: without limit.
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).current
}

/// Memory this process may lock. Unit: bytes; `None`: without limit.
pub fn locked_bytes_max() -> Option<u64> {
    rustix::process::getrlimit(Resource::Memlock).current
}

/// Whether the machine has the device through which a file system is served by a program.
pub fn has_fuse() -> bool {
    Path::new("/dev/fuse").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_table_is_read() {
        let text = "MemTotal:       16316412 kB\nMemFree:  1 kB\nMemAvailable:    8000000 kB\nSwapTotal:  2048 kB\n";
        let expected =
            Memory { total_bytes: 16_316_412 << 10, available_bytes: 8_000_000 << 10, swap_bytes: 2_048 << 10 };
        assert_eq!(parse_memory(text), Some(expected));
        assert_eq!(parse_memory("MemTotal: many"), None);
    }

    #[test]
    fn this_machine_has_memory_and_open_files() {
        assert!(memory().is_some_and(|memory| memory.total_bytes > 1 << 20));
        assert!(open_files_max().is_none_or(|limit| limit > 10));
    }
}

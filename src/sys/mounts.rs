//! The mount table: which file system type is behind a device number.
//!
//! Owns: reading `/proc/self/mountinfo`. Does not own: statistics of a file system (`Fs::space`).
//! Invariants: nothing is cached, since drives come and go. Callers: `sys::real`, `scan`.

use std::path::PathBuf;

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device_id: u64,
    type_name: String,
    /// What is mounted: the path of a device, a server's directory, or any word.
    source: String,
}

/// Type of the file system with this device number (`st_dev`), as the kernel names it.
/// `None` if no mount has it (btrfs subvolumes) or the table is not readable.
pub fn type_of_device(device_id: u64) -> Option<String> {
    of_device(device_id).map(|mount| mount.type_name)
}

/// What is mounted there: the path of a device, where there is one.
pub fn source_of_device(device_id: u64) -> Option<PathBuf> {
    of_device(device_id).map(|mount| mount.source.into())
}

fn of_device(device_id: u64) -> Option<Mount> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let table = String::from_utf8_lossy(&table);
    table.lines().filter_map(parse).find(|mount| mount.device_id == device_id)
}

/// Parses one line: `id parent major:minor root point options [tags...] - type source super-options`.
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let (major, minor) = left.split(' ').nth(2)?.split_once(':')?;
    let device_id = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let mut words = right.split(' ');
    Some(Mount { device_id, type_name: words.next()?.to_owned(), source: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_tags_is_read() {
        let line = "36 35 98:3 /mnt1 /mnt/a\\040b rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue";
        let mount = parse(line).expect("a well-formed line");
        assert_eq!((mount.type_name.as_str(), mount.source.as_str()), ("ext3", "/dev/root"));
        assert_eq!(mount.device_id, rustix::fs::makedev(98, 3));
    }

    #[test]
    fn a_line_without_separator_is_passed_over() {
        assert_eq!(parse("36 35 98:3 / /mnt rw"), None);
        assert_eq!(parse(""), None);
    }
}

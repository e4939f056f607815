//! Facts about the drive behind a path: model, serial number, size, whether it spins or can be pulled out.
//!
//! Owns: reading `/sys/dev/block`. Does not own: SMART, benchmarks, any decision made from the facts.
//! Invariants: every fact is optional and nothing here fails: a directory on a network mount simply has none.
//! Callers: `stage` (labels, custody log), `probe`, `report`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::mounts;

/// Unit of `/sys/.../size`, whatever the drive's own sectors are. Unit: bytes. Source: Linux, Documentation/ABI/stable/sysfs-block.
const SYSFS_SECTOR_BYTES: u64 = 512;

/// What is known about a block device. A field is `None` when the system does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Kernel name of the whole device (`sda`, `nvme0n1`), not of the partition.
    pub name: Option<String>,
    /// Model as the drive tells it.
    pub model: Option<String>,
    /// Serial number as the drive tells it.
    pub serial: Option<String>,
    /// Whether it has platters.
    pub rotational: Option<bool>,
    /// Whether the kernel calls it removable (most USB drives are not, only sticks and cards).
    pub removable: Option<bool>,
    /// Size of the whole device. Unit: bytes.
    pub size_bytes: Option<u64>,
    /// Whether it discards blocks together with their copies.
    pub secure_discard: Option<bool>,
}

/// Facts about the device that holds `path`. Empty for network mounts, tmpfs, or where `/sys` is not readable.
pub fn facts(path: &Path) -> DeviceFacts {
    let Ok(meta) = std::fs::metadata(path) else {
        return DeviceFacts::default();
    };
    let device_id = meta.dev();
    let (major, minor) = (rustix::fs::major(device_id), rustix::fs::minor(device_id));
    facts_at(Path::new("/sys/dev/block").join(format!("{major}:{minor}")))
}

/// What lies behind a path, as far as the number of readers goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Platters.
    Spinning,
    /// No moving parts.
    Solid,
    /// Another machine.
    Network,
    /// The system does not tell.
    Unknown,
}

/// File systems whose files are on another machine, by their names in `/proc/self/mountinfo`. Source: the file systems of
/// Linux 6 with a server, and the FUSE clients that name themselves.
const NETWORK_TYPES: [&str; 18] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.glusterfs",
    "fuse.goofys",
    "fuse.mount-s3",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
];

/// What holds `path`.
pub fn medium(path: &Path) -> Medium {
    let type_name = std::fs::metadata(path).ok().and_then(|meta| mounts::type_of_device(meta.dev()));
    medium_of(type_name.as_deref(), facts(path).rotational)
}

fn medium_of(type_name: Option<&str>, rotational: Option<bool>) -> Medium {
    match rotational {
        _ if type_name.is_some_and(|name| NETWORK_TYPES.contains(&name)) => Medium::Network,
        Some(true) => Medium::Spinning,
        Some(false) => Medium::Solid,
        None => Medium::Unknown,
    }
}

/// Temperature of the drive that holds `path`, where the kernel has a sensor for it (NVMe; SATA with `drivetemp`).
/// Unit: degrees Celsius.
pub fn temperature_c(path: &Path) -> Option<f32> {
    let device_id = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device_id), rustix::fs::minor(device_id));
    temperature_at(&Path::new("/sys/dev/block").join(format!("{major}:{minor}")))
}

fn temperature_at(link: &Path) -> Option<f32> {
    let node = std::fs::canonicalize(link).ok()?;
    let whole = if node.join("partition").exists() { node.parent()?.to_path_buf() } else { node };
    let device = whole.join("device");
    // SATA keeps its sensors in `hwmon/`, NVMe beside itself; what is there is looked at in both.
    let sensors = [device.join("hwmon"), device].into_iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    let found = sensors.filter_map(Result::ok).find_map(|sensor| {
        let is_sensor = sensor.file_name().to_string_lossy().starts_with("hwmon");
        text(&sensor.path().join("temp1_input")).filter(|_| is_sensor)
    })?;
    Some(found.parse::<f32>().ok()? / 1000.0)
}

/// Facts about the device of a node below `/sys/dev/block`.
pub(in crate::sys) fn facts_of_device(node: &Path) -> DeviceFacts {
    facts_at(node.to_owned())
}

fn facts_at(link: PathBuf) -> DeviceFacts {
    let Ok(node) = std::fs::canonicalize(link) else {
        return DeviceFacts::default();
    };
    // A partition has a `partition` file and lies in the folder of its drive.
    let whole = match node.parent() {
        Some(parent) if node.join("partition").exists() => parent.to_path_buf(),
        _ => node,
    };
    let flag = |name: &str| match text(&whole.join(name)).as_deref() {
        Some("0") => Some(false),
        Some("1") => Some(true),
        _ => None,
    };
    DeviceFacts {
        name: whole.file_name().map(|name| name.to_string_lossy().into_owned()),
        model: text(&whole.join("device/model")),
        serial: text(&whole.join("device/serial"))
            .or_else(|| text(&whole.join("serial")))
            .or_else(|| page_80(&whole.join("device/vpd_pg80"))),
        // A virtual disk says that it spins unless its host was told otherwise, which nobody does.
        rotational: flag("queue/rotational").filter(|_| !is_virtual(&whole)),
        removable: flag("removable"),
        size_bytes: text(&whole.join("size"))
            .and_then(|sectors| sectors.parse::<u64>().ok())
            .and_then(|sectors| sectors.checked_mul(SYSFS_SECTOR_BYTES)),
        // The kernel has no attribute for it; cards (eMMC, SD) are what has it, and those that do not refuse.
        secure_discard: text(&whole.join("queue/discard_max_bytes"))
            .filter(|_| whole.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mmcblk")))
            .map(|bytes| bytes != "0"),
    }
}

/// Whether a drive is one that a hypervisor makes up; what is behind it only the host knows.
fn is_virtual(whole: &Path) -> bool {
    let bus = std::fs::canonicalize(whole.join("device/subsystem"));
    bus.is_ok_and(|bus| bus.file_name().is_some_and(|name| name == "virtio" || name == "xen"))
}

/// Contents of a small file, trimmed; `None` if unreadable or empty.
fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}

/// Serial number out of SCSI vital product data page 0x80: four bytes of header (the last two are the length), then text.
/// Source: SPC-4, unit serial number VPD page.
fn page_80(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let serial = String::from_utf8_lossy(rest.get(..len)?).trim().to_owned();
    (!serial.is_empty()).then_some(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_tells_the_facts_of_its_drive() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let drive = root.path().join("sdx");
        let part = drive.join("sdx1");
        std::fs::create_dir_all(drive.join("device")).expect("folders");
        std::fs::create_dir_all(drive.join("queue")).expect("folders");
        std::fs::create_dir_all(&part).expect("folders");
        let write = |path: PathBuf, text: &[u8]| std::fs::write(path, text).expect("a file");
        write(part.join("partition"), b"1\n");
        write(part.join("size"), b"7\n");
        write(drive.join("size"), b"2048\n");
        write(drive.join("removable"), b"1\n");
        write(drive.join("queue/rotational"), b"0\n");
        write(drive.join("device/model"), b"Portable SSD    \n");
        write(drive.join("device/vpd_pg80"), b"\x00\x80\x00\x06 AB123");
        let expected = DeviceFacts {
            name: Some("sdx".into()),
            model: Some("Portable SSD".into()),
            serial: Some("AB123".into()),
            rotational: Some(false),
            removable: Some(true),
            size_bytes: Some(1 << 20),
            secure_discard: None,
        };
        assert_eq!(facts_at(part), expected);
    }

    #[test]
    fn what_a_virtual_disk_says_of_spinning_is_not_believed() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (bus, expected) in [("virtio", None), ("scsi", Some(true))] {
            let drive = root.path().join(bus).join("vdx");
            std::fs::create_dir_all(drive.join("queue")).expect("folders");
            std::fs::create_dir_all(drive.join("device")).expect("folders");
            std::fs::create_dir_all(root.path().join("bus").join(bus)).expect("folders");
            std::fs::write(drive.join("queue/rotational"), "1\n").expect("a file");
            std::os::unix::fs::symlink(root.path().join("bus").join(bus), drive.join("device/subsystem"))
                .expect("a link");
            assert_eq!(facts_at(drive).rotational, expected, "{bus}");
        }
    }

    #[test]
    fn the_temperature_is_found_where_either_kind_of_drive_keeps_it() {
        for sensor in ["device/hwmon/hwmon3", "device/hwmon0"] {
            let root = tempfile::tempdir().expect("a temporary directory");
            let dir = root.path().join("sdx").join(sensor);
            std::fs::create_dir_all(&dir).expect("folders");
            std::fs::write(dir.join("temp1_input"), "41500\n").expect("a file");
            assert_eq!(temperature_at(&root.path().join("sdx")), Some(41.5));
        }
        assert_eq!(temperature_c(Path::new("/proc/self")), None);
    }

    #[test]
    fn a_network_mount_is_one_whatever_lies_behind_it() {
        assert_eq!(medium_of(Some("nfs4"), None), Medium::Network);
        assert_eq!(medium_of(Some("ext4"), Some(true)), Medium::Spinning);
        assert_eq!(medium_of(Some("exfat"), Some(false)), Medium::Solid);
        assert_eq!(medium_of(Some("tmpfs"), None), Medium::Unknown);
        assert_eq!(medium(Path::new("/no/such/path")), Medium::Unknown);
    }

    #[test]
    fn no_device_means_no_facts() {
        assert_eq!(facts(Path::new("/proc/self")), DeviceFacts::default());
        assert_eq!(facts(Path::new("/no/such/path")), DeviceFacts::default());
    }
}

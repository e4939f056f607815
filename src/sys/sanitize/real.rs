//! The real drive: opened for this process alone, spoken to through the kernel.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::sys::aligned::AlignedBuf;
use crate::sys::device::{DeviceFacts, facts_of_device};
use crate::sys::sanitize::{Drive, Method, PIECE_BYTES, Progress, ata, nvme};

/// `NVME_IOCTL_ADMIN_CMD`. Source: Linux, include/uapi/linux/nvme_ioctl.h.
const NVME_ADMIN: Opcode = 0xC048_4E41;
/// `SG_IO`. Source: Linux, include/scsi/sg.h.
const SG_IO: Opcode = 0x2285;
/// `BLKSECDISCARD`. Source: Linux, include/uapi/linux/fs.h.
const SECURE_DISCARD: Opcode = 0x127D;
/// How long a drive may take to answer. Unit: milliseconds.
const ANSWER_MS: u32 = 60_000;
/// Discarded at a time. Unit: bytes.
const DISCARD_BYTES: u64 = 1 << 30;

/// How the drive is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Nvme,
    Ata,
}

/// A whole drive of this machine.
#[derive(Debug)]
pub struct BlockDrive {
    file: File,
    facts: DeviceFacts,
    speech: Speech,
    /// How a discard ended, since the drive itself keeps no state of it.
    discarded: Progress,
}

impl BlockDrive {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let meta = std::fs::metadata(path)?;
        if !meta.file_type().is_block_device() {
            return Err(wrong("it is not a drive: name the device of the whole drive, such as /dev/sdb"));
        }
        let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let node = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        if node.join("partition").exists() {
            return Err(wrong("it is a partition: name the device of the whole drive"));
        }
        // WHY exclusive: the kernel refuses while a file system on the drive is mounted, or anything else holds it.
        let flags = i32::try_from((OFlags::EXCL | OFlags::DIRECT).bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let facts = facts_of_device(&node);
        let is_nvme = facts.name.as_ref().is_some_and(|name| name.starts_with("nvme"));
        let speech = if is_nvme { Speech::Nvme } else { Speech::Ata };
        Ok(Self { file, facts, speech, discarded: Progress::Never })
    }

    /// Sends an NVMe admin command. `data` is filled by commands that answer with some.
    fn admin(&self, mut command: nvme::Command, data: &mut [u8]) -> io::Result<()> {
        command.address = data.as_mut_ptr().addr() as u64;
        command.timeout_ms = ANSWER_MS;
        let status = call::<NVME_ADMIN, _>(&self.file, &mut command)?;
        if status == 0 {
            return Ok(());
        }
        Err(io::Error::other(format!("the drive refused (NVMe status {status:#05x})")))
    }

    /// Sends an ATA command; gives the sense data. `data` is filled by commands that answer with some.
    fn pass_through(&self, block: &ata::Block, data: &mut [u8]) -> io::Result<[u8; ata::SENSE_BYTES]> {
        let mut sense = [0; ata::SENSE_BYTES];
        let mut block = *block;
        let mut request = SgIo {
            interface: i32::from(b'S'),
            direction: if data.is_empty() { -1 } else { -3 },
            command_len: 16,
            sense_len: ata::SENSE_BYTES as u8,
            segments: 0,
            data_len: u32::try_from(data.len()).unwrap_or_default(),
            data: data.as_mut_ptr().cast(),
            command: block.as_mut_ptr(),
            sense: sense.as_mut_ptr(),
            timeout_ms: ANSWER_MS,
            flags: 0,
            id: 0,
            user: std::ptr::null_mut(),
            status: 0,
            masked_status: 0,
            message_status: 0,
            sense_written: 0,
            host_status: 0,
            driver_status: 0,
            residual: 0,
            duration_ms: 0,
            info: 0,
        };
        call::<SG_IO, _>(&self.file, &mut request)?;
        if request.host_status != 0 {
            return Err(io::Error::other(format!("the drive did not answer (host status {:#x})", request.host_status)));
        }
        if !data.is_empty() && request.status != 0 && request.status != 2 {
            return Err(io::Error::other(format!("the drive refused (SCSI status {:#x})", request.status)));
        }
        Ok(sense)
    }

    fn discard(&self) -> io::Result<()> {
        let size = self.file_size()?;
        let mut offset = 0;
        while offset < size {
            let mut range = [offset, DISCARD_BYTES.min(size - offset)];
            call::<SECURE_DISCARD, _>(&self.file, &mut range)?;
            offset += range[1];
        }
        Ok(())
    }

    fn file_size(&self) -> io::Result<u64> {
        self.facts.size_bytes.filter(|bytes| *bytes > 0).ok_or_else(|| io::Error::other("the drive tells no size"))
    }

    /// What the drive says it has; nothing from one that does not speak so.
    fn sanitizes(&self) -> Vec<Method> {
        match self.speech {
            Speech::Nvme => {
                let mut data = Box::new([0; nvme::IDENTIFY_BYTES]);
                self.admin(nvme::identify(), &mut *data).map_or_else(|_| Vec::new(), |()| nvme::methods(&data))
            }
            Speech::Ata => {
                let mut data = [0; ata::IDENTIFY_BYTES];
                self.pass_through(&ata::identify(), &mut data).map_or_else(|_| Vec::new(), |_| ata::methods(&data))
            }
        }
    }
}

impl Drive for BlockDrive {
    fn facts(&self) -> DeviceFacts {
        self.facts.clone()
    }

    fn methods(&mut self) -> io::Result<Vec<Method>> {
        let mut methods = self.sanitizes();
        if self.facts.secure_discard == Some(true) {
            methods.push(Method::SecureDiscard);
        }
        Ok(methods)
    }

    fn start(&mut self, method: Method) -> io::Result<()> {
        if method == Method::SecureDiscard {
            self.discard()?;
            self.discarded = Progress::Done;
            return Ok(());
        }
        let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "not a way to sanitize");
        match self.speech {
            Speech::Nvme => self.admin(nvme::sanitize(method).ok_or_else(unknown)?, &mut []),
            Speech::Ata => {
                let sense = self.pass_through(&ata::sanitize(method).ok_or_else(unknown)?, &mut [])?;
                ata::taken(&sense).map_err(io::Error::other)
            }
        }
    }

    fn progress(&mut self, method: Method) -> io::Result<Progress> {
        if method == Method::SecureDiscard {
            return Ok(self.discarded.clone());
        }
        match self.speech {
            Speech::Nvme => {
                let mut log = [0; nvme::STATUS_BYTES];
                self.admin(nvme::status(), &mut log)?;
                Ok(nvme::progress(&log))
            }
            Speech::Ata => Ok(ata::progress(&self.pass_through(&ata::status(), &mut [])?)),
        }
    }

    fn size_bytes(&mut self) -> io::Result<u64> {
        self.file_size()
    }

    fn read(&mut self, offset: u64) -> io::Result<Vec<u8>> {
        let mut buffer = AlignedBuf::with_capacity(PIECE_BYTES);
        buffer.resize_zeroed(PIECE_BYTES);
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.to_vec())
    }

    fn write(&mut self, offset: u64, piece: &[u8]) -> io::Result<()> {
        let mut buffer = AlignedBuf::with_capacity(PIECE_BYTES);
        buffer.resize_zeroed(PIECE_BYTES);
        buffer.copy_from_slice(piece);
        self.file.write_all_at(&buffer, offset)?;
        self.file.sync_data()
    }
}

/// A request as `SG_IO` takes it. Source: Linux, include/scsi/sg.h, `sg_io_hdr`.
#[repr(C)]
struct SgIo {
    interface: i32,
    direction: i32,
    command_len: u8,
    sense_len: u8,
    segments: u16,
    data_len: u32,
    data: *mut c_void,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    id: i32,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_written: u8,
    host_status: u16,
    driver_status: u16,
    residual: i32,
    duration_ms: u32,
    info: u32,
}

struct Call<'a, const CODE: Opcode, T>(&'a mut T);

#[expect(
    unsafe_code,
    reason = "the kernel reads and writes the value behind the pointer, and there is no safe wrapper"
)]
// SAFETY: the callers below pair each code with the structure the kernel defines for it.
unsafe impl<const CODE: Opcode, T> Ioctl for Call<'_, CODE, T> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        CODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(out)
    }
}

/// The call with its value; gives what the kernel returned.
#[expect(unsafe_code, reason = "as above")]
fn call<const CODE: Opcode, T>(file: &File, value: &mut T) -> io::Result<IoctlOutput> {
    // SAFETY: each code here is used with the structure the kernel defines for it; buffers behind pointers in it are the
    // caller's own, as long as it says, and outlive the call.
    unsafe { ioctl(file, Call::<CODE, T>(value)) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_long_as_the_kernel_says() {
        assert_eq!(size_of::<SgIo>(), if cfg!(target_pointer_width = "64") { 88 } else { 64 });
    }

    #[test]
    fn only_a_whole_drive_is_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("a file");
        for path in [dir.path(), file.as_path(), Path::new("/dev/null")] {
            assert_eq!(
                BlockDrive::open(path).map(drop).map_err(|error| error.kind()),
                Err(io::ErrorKind::InvalidInput)
            );
        }
    }
}

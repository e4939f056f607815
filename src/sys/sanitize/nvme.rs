//! NVMe: which sanitize operations a controller has, asking for one, reading how far it is.
//! Source: NVM Express Base Specification 2.0, sections 5.17 (Identify), 5.16.1.25 (Sanitize Status), 5.22 (Sanitize).

use crate::sys::sanitize::{Method, Progress};

/// Length of an Identify answer. Unit: bytes.
pub(super) const IDENTIFY_BYTES: usize = 4096;
/// Length of the sanitize status log that is asked for. Unit: bytes.
pub(super) const STATUS_BYTES: usize = 512;
/// Place of SANICAP in the Identify Controller data.
const SANICAP_AT: usize = 328;

/// An admin command as the kernel takes it. Source: Linux, include/uapi/linux/nvme_ioctl.h, `nvme_passthru_cmd`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Command {
    pub(super) opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    pub(super) address: u64,
    metadata_len: u32,
    pub(super) data_len: u32,
    pub(super) cdw10: u32,
    pub(super) cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    pub(super) timeout_ms: u32,
    result: u32,
}

/// Asks for the Identify Controller data.
pub(super) fn identify() -> Command {
    Command { opcode: 0x06, data_len: IDENTIFY_BYTES as u32, cdw10: 1, ..Command::default() }
}

/// Asks for the sanitize status log (identifier 0x81).
pub(super) fn status() -> Command {
    let dwords_less_one = (STATUS_BYTES / 4 - 1) as u32;
    let cdw10 = 0x81 | dwords_less_one << 16;
    Command { opcode: 0x02, nsid: u32::MAX, data_len: STATUS_BYTES as u32, cdw10, ..Command::default() }
}

/// Asks to sanitize; `None`: not a sanitize operation. Overwriting is once, with zeros.
pub(super) fn sanitize(method: Method) -> Option<Command> {
    let (action, passes) = match method {
        Method::BlockErase => (2, 0),
        Method::Overwrite => (3, 1 << 4),
        Method::CryptoErase => (4, 0),
        Method::SecureDiscard => return None,
    };
    Some(Command { opcode: 0x84, cdw10: action | passes, ..Command::default() })
}

/// What the controller offers.
pub(super) fn methods(identify: &[u8; IDENTIFY_BYTES]) -> Vec<Method> {
    let offers = identify[SANICAP_AT];
    let all = [(Method::CryptoErase, 1), (Method::BlockErase, 2), (Method::Overwrite, 4)];
    all.into_iter().filter(|(_, bit)| offers & bit != 0).map(|(method, _)| method).collect()
}

/// What the log says.
pub(super) fn progress(log: &[u8; STATUS_BYTES]) -> Progress {
    let (done, state) = (u16::from_le_bytes([log[0], log[1]]), log[2] & 7);
    match state {
        0 => Progress::Never,
        1 | 4 => Progress::Done,
        2 => Progress::Running(done),
        3 => Progress::Failed("the last sanitize operation failed".to_owned()),
        other => Progress::Failed(format!("the drive answers with an unknown state ({other})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_laid_out_as_the_kernel_and_the_standard_say() {
        assert_eq!(size_of::<Command>(), 72);
        assert_eq!(std::mem::offset_of!(Command, address), 24);
        assert_eq!(std::mem::offset_of!(Command, cdw10), 40);
        assert_eq!(std::mem::offset_of!(Command, timeout_ms), 64);
        let words = |method| sanitize(method).map(|command| (command.opcode, command.cdw10));
        assert_eq!(words(Method::CryptoErase), Some((0x84, 4)));
        assert_eq!(words(Method::BlockErase), Some((0x84, 2)));
        assert_eq!(words(Method::Overwrite), Some((0x84, 0x13)));
        assert_eq!(words(Method::SecureDiscard), None);
        assert_eq!((status().cdw10, status().data_len), (0x007F_0081, 512));
    }

    #[test]
    fn answers_are_read_and_what_is_unknown_is_no_success() {
        let mut identify = [0; IDENTIFY_BYTES];
        assert_eq!(methods(&identify), []);
        identify[SANICAP_AT] = 0b011;
        assert_eq!(methods(&identify), [Method::CryptoErase, Method::BlockErase]);
        let log = |bytes: [u8; 4]| {
            let mut log = [0; STATUS_BYTES];
            log[..4].copy_from_slice(&bytes);
            progress(&log)
        };
        assert_eq!(log([0, 0x80, 2, 1]), Progress::Running(0x8000));
        assert_eq!(log([0xff, 0xff, 1, 1]), Progress::Done);
        assert_eq!(log([0xff, 0xff, 4, 1]), Progress::Done);
        assert_eq!(log([0, 0, 0, 0]), Progress::Never);
        assert!(matches!(log([0, 0, 3, 0]), Progress::Failed(_)));
        assert!(matches!(log([0, 0, 7, 0]), Progress::Failed(_)));
    }
}

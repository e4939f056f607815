//! ATA: sanitize commands inside SCSI's ATA PASS-THROUGH (16), as SATA drives and most USB bridges take them.
//! Source: ACS-4, section 7.35 (sanitize device), 7.13 (identify device); SAT-4, section 12.2.

use crate::sys::sanitize::{Method, Progress};

/// Length of an IDENTIFY DEVICE answer. Unit: bytes.
pub(super) const IDENTIFY_BYTES: usize = 512;
/// Length of the sense data that is asked for. Unit: bytes.
pub(super) const SENSE_BYTES: usize = 64;

const IDENTIFY_DEVICE: u8 = 0xEC;
const SANITIZE_DEVICE: u8 = 0xB4;
const PIO_IN: u8 = 4;
const NON_DATA: u8 = 3;

/// A command block for the drive.
pub(super) type Block = [u8; 16];

/// Asks for IDENTIFY DEVICE data: one block of 512 bytes towards us, its length in the count.
pub(super) fn identify() -> Block {
    let mut block = [0; 16];
    (block[0], block[1], block[2], block[6], block[14]) = (0x85, PIO_IN << 1, 0x0E, 1, IDENTIFY_DEVICE);
    block
}

/// Asks how far it is.
pub(super) fn status() -> Block {
    command(0x0000, 0, 0)
}

/// Asks to sanitize; `None`: not a sanitize operation. Overwriting is once, with zeros.
pub(super) fn sanitize(method: Method) -> Option<Block> {
    Some(match method {
        Method::CryptoErase => command(0x0011, 0, 0x4372_7970),
        Method::BlockErase => command(0x0012, 0, 0x426B_4572),
        // "OW" in bits 47:32, the pattern in 31:0.
        Method::Overwrite => command(0x0014, 1, 0x4F57 << 32),
        Method::SecureDiscard => return None,
    })
}

/// A sanitize command without data; the answer's registers are asked for.
fn command(feature: u16, count: u16, lba: u64) -> Block {
    let (feature, count, lba) = (feature.to_be_bytes(), count.to_be_bytes(), lba.to_le_bytes());
    let mut block = [0; 16];
    (block[0], block[1], block[2]) = (0x85, NON_DATA << 1 | 1, 0x20);
    (block[3], block[4], block[5], block[6]) = (feature[0], feature[1], count[0], count[1]);
    (block[7], block[8], block[9]) = (lba[3], lba[0], lba[4]);
    (block[10], block[11], block[12]) = (lba[1], lba[5], lba[2]);
    block[14] = SANITIZE_DEVICE;
    block
}

/// What the drive offers. Word 59 says so, if it says anything.
pub(super) fn methods(identify: &[u8; IDENTIFY_BYTES]) -> Vec<Method> {
    let word = u16::from_le_bytes([identify[118], identify[119]]);
    if word & 1 << 12 == 0 {
        return Vec::new();
    }
    let all = [(Method::CryptoErase, 13), (Method::BlockErase, 15), (Method::Overwrite, 14)];
    all.into_iter().filter(|(_, bit)| word & 1 << bit != 0).map(|(method, _)| method).collect()
}

/// Registers of an answer: error, count, the low half of the address, status. `None`: the bridge does not hand them on.
fn registers(sense: &[u8; SENSE_BYTES]) -> Option<(u8, u16, u16, u8)> {
    if sense[0] & 0x7F != 0x72 {
        return None;
    }
    let descriptor = &sense[8..22];
    if descriptor[..2] != [0x09, 0x0C] {
        return None;
    }
    let count = u16::from_be_bytes([descriptor[4], descriptor[5]]);
    let lba = u16::from_be_bytes([descriptor[9], descriptor[7]]);
    Some((descriptor[3], count, lba, descriptor[13]))
}

/// Whether a command was taken, by the registers it left.
pub(super) fn taken(sense: &[u8; SENSE_BYTES]) -> Result<(), String> {
    match registers(sense) {
        None => Err("the bridge does not tell whether the drive took the command".to_owned()),
        Some((_, _, _, status)) if status & 0x21 == 0 => Ok(()),
        Some((error, _, lba, status)) => {
            Err(format!("the drive refused (status {status:#04x}, error {error:#04x}, reason {:#04x})", lba & 0xFF))
        }
    }
}

/// What the answer to a status command says.
pub(super) fn progress(sense: &[u8; SENSE_BYTES]) -> Progress {
    if let Err(reason) = taken(sense) {
        return Progress::Failed(reason);
    }
    match registers(sense) {
        Some((_, count, lba, _)) if count & 1 << 14 != 0 => Progress::Running(lba),
        Some((_, count, _, _)) if count & 1 << 15 != 0 => Progress::Done,
        _ => Progress::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sense(error: u8, count: u16, lba: u16, status: u8) -> [u8; SENSE_BYTES] {
        let mut sense = [0; SENSE_BYTES];
        sense[0] = 0x72;
        let ([count_high, count_low], [lba_high, lba_low]) = (count.to_be_bytes(), lba.to_be_bytes());
        sense[8..22].copy_from_slice(&[
            0x09, 0x0C, 0x01, error, count_high, count_low, 0, lba_low, 0, lba_high, 0, 0, 0x40, status,
        ]);
        sense
    }

    #[test]
    fn commands_carry_feature_count_and_the_words_that_guard_against_accidents() {
        let crypto = sanitize(Method::CryptoErase).expect("one");
        assert_eq!(crypto, [0x85, 0x07, 0x20, 0, 0x11, 0, 0, 0x43, 0x70, 0, 0x79, 0, 0x72, 0, 0xB4, 0]);
        let block = sanitize(Method::BlockErase).expect("one");
        assert_eq!(block, [0x85, 0x07, 0x20, 0, 0x12, 0, 0, 0x42, 0x72, 0, 0x45, 0, 0x6B, 0, 0xB4, 0]);
        let overwrite = sanitize(Method::Overwrite).expect("one");
        assert_eq!(overwrite, [0x85, 0x07, 0x20, 0, 0x14, 0, 1, 0, 0, 0x57, 0, 0x4F, 0, 0, 0xB4, 0]);
        assert_eq!(identify()[..3], [0x85, 0x08, 0x0E]);
        assert_eq!(sanitize(Method::SecureDiscard), None);
    }

    #[test]
    fn answers_are_read_and_what_is_unknown_is_no_success() {
        let mut identify = [0; IDENTIFY_BYTES];
        identify[119] = 0b0010_0000;
        assert_eq!(methods(&identify), [], "without the bit of the feature set the others mean nothing");
        identify[119] = 0b1011_0000;
        assert_eq!(methods(&identify), [Method::CryptoErase, Method::BlockErase]);
        assert_eq!(progress(&sense(0, 1 << 14, 0x1234, 0x50)), Progress::Running(0x1234));
        assert_eq!(progress(&sense(0, 1 << 15, 0, 0x50)), Progress::Done);
        assert_eq!(progress(&sense(0, 0, 0, 0x50)), Progress::Never);
        assert!(matches!(progress(&sense(4, 1 << 15, 1, 0x51)), Progress::Failed(_)));
        assert!(matches!(progress(&[0; SENSE_BYTES]), Progress::Failed(_)), "a bridge that says nothing");
        assert!(taken(&sense(0, 0, 0, 0x50)).is_ok());
    }
}

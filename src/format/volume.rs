//! `VOLUME`: who a volume is. manifests/formats/volume.md section 3.

use crate::digest::crc64;
use crate::format::cursor::{Reader, Writer};
use crate::format::{Error, FORMAT_VERSION, JobId, VolumeId};

const RECORD: &str = "VOLUME";
const MAGIC: [u8; 8] = [0x89, b'P', b'M', b'V', 0x0D, 0x0A, 0x1A, 0x0A];

/// Length of the file `VOLUME`. Unit: bytes.
pub const VOLUME_HEADER_BYTES: usize = 512;

/// The plain header of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeHeader {
    /// Feature bits a reader may skip.
    pub may_ignore: u64,
    /// The job this volume belongs to.
    pub job: JobId,
    /// This volume, for ever, wherever it is mounted.
    pub volume: VolumeId,
    /// 1 for the first volume of the job.
    pub number: u32,
    /// Creation time, nanoseconds since 1970.
    pub created_ns: u64,
    /// Salt of the passphrase and unlock-code derivations.
    pub job_salt: [u8; 32],
    /// Ed25519 key that signs this job's seals; zero: unsigned.
    pub job_public_key: [u8; 32],
}

impl VolumeHeader {
    /// The 512 bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(VOLUME_HEADER_BYTES);
        let mut w = Writer(&mut bytes);
        w.bytes(&MAGIC).u16(FORMAT_VERSION).zero(2).u32(512).u64(0).u64(self.may_ignore);
        w.bytes(&self.job.0).bytes(&self.volume.0).u32(self.number).zero(4).u64(self.created_ns);
        w.bytes(&self.job_salt).bytes(&self.job_public_key).zero(360);
        let crc = crc64(w.0);
        w.u64(crc.0);
        bytes
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// For every reason volume.md section 3 lists.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > VOLUME_HEADER_BYTES {
            return Err(Error::LeftOver { record: RECORD, left: (bytes.len() - VOLUME_HEADER_BYTES) as u64 });
        }
        let mut r = Reader::new(RECORD, bytes);
        check_magic(RECORD, &mut r, MAGIC)?;
        r.zero(2)?;
        let header_bytes = r.u32()?;
        r.expect("header_bytes", 512, header_bytes)?;
        check_features(RECORD, r.u64()?)?;
        let may_ignore = r.u64()?;
        let (job, volume) = (JobId(r.array()?), VolumeId(r.array()?));
        let number = r.u32()?;
        r.zero(4)?;
        let created_ns = r.u64()?;
        let (job_salt, job_public_key) = (r.array()?, r.array()?);
        r.zero(360)?;
        check_crc(RECORD, bytes, &mut r)?;
        r.finish()?;
        check_nonzero(RECORD, "job_id", &job.0)?;
        check_nonzero(RECORD, "volume_id", &volume.0)?;
        check_nonzero(RECORD, "volume_number", &number.to_le_bytes())?;
        Ok(Self { may_ignore, job, volume, number, created_ns, job_salt, job_public_key })
    }
}

/// Magic and format version, which begin every binary file of a volume.
pub(super) fn check_magic(record: &'static str, r: &mut Reader<'_>, magic: [u8; 8]) -> Result<(), Error> {
    let found: [u8; 8] = r.array()?;
    if found != magic {
        return Err(Error::field(record, "magic", super::ids::hex(&magic), super::ids::hex(&found)));
    }
    let version = r.u16()?;
    r.expect("format_version", FORMAT_VERSION, version)
}

/// No must-understand bit is defined in format 1.
pub(super) fn check_features(record: &'static str, must_understand: u64) -> Result<(), Error> {
    match must_understand {
        0 => Ok(()),
        bits => Err(Error::UnknownFeature { record, bit: bits.trailing_zeros() }),
    }
}

/// The CRC-64 that ends a header covers everything before it.
pub(super) fn check_crc(record: &'static str, bytes: &[u8], r: &mut Reader<'_>) -> Result<(), Error> {
    let found = r.u64()?;
    let expected = crc64(&bytes[..bytes.len() - 8]).0;
    if expected == found { Ok(()) } else { Err(Error::Checksum { record, expected, found }) }
}

/// Identities and numbers that are never zero.
pub(super) fn check_nonzero(record: &'static str, field: &'static str, bytes: &[u8]) -> Result<(), Error> {
    if bytes.iter().all(|byte| *byte == 0) { Err(Error::field(record, field, "not zero", "zero")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = VolumeHeader> {
        (
            any::<u64>(),
            any::<[u8; 16]>(),
            any::<[u8; 16]>(),
            1_u32..,
            any::<u64>(),
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
        )
            .prop_filter("ids are never zero", |t| t.1 != [0; 16] && t.2 != [0; 16])
            .prop_map(|(may_ignore, job, volume, number, created_ns, job_salt, job_public_key)| VolumeHeader {
                may_ignore,
                job: JobId(job),
                volume: VolumeId(volume),
                number,
                created_ns,
                job_salt,
                job_public_key,
            })
    }

    proptest! {
        #[test]
        fn a_volume_header_survives_the_round_trip(header in header()) {
            prop_assert_eq!(VolumeHeader::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = VolumeHeader::decode(&bytes);
        }
    }

    #[test]
    fn every_single_bit_flip_of_volume_is_refused() {
        let header = VolumeHeader {
            may_ignore: 0,
            job: JobId([1; 16]),
            volume: VolumeId([2; 16]),
            number: 1,
            created_ns: 3,
            job_salt: [4; 32],
            job_public_key: [0; 32],
        };
        let good = header.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(VolumeHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn nonzero_reserved_bytes_unknown_features_and_other_lengths_are_refused_by_name() {
        let header = VolumeHeader {
            may_ignore: 0,
            job: JobId([1; 16]),
            volume: VolumeId([2; 16]),
            number: 1,
            created_ns: 3,
            job_salt: [4; 32],
            job_public_key: [0; 32],
        };
        let with = |at: usize, value: u8| {
            let mut bytes = header.encode();
            bytes[at] = value;
            let crc = crc64(&bytes[..504]).0.to_le_bytes();
            bytes[504..].copy_from_slice(&crc);
            VolumeHeader::decode(&bytes)
        };
        assert_eq!(with(18, 4), Err(Error::UnknownFeature { record: "VOLUME", bit: 18 }));
        assert!(matches!(with(200, 1), Err(Error::Field { field: "zero", .. })));
        assert!(matches!(with(8, 2), Err(Error::Field { field: "format_version", .. })));
        let mut long = header.encode();
        long.push(0);
        assert_eq!(VolumeHeader::decode(&long), Err(Error::LeftOver { record: "VOLUME", left: 1 }));
        assert!(matches!(VolumeHeader::decode(&long[..511]), Err(Error::Truncated { .. })));
    }
}

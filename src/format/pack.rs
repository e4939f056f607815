//! Header of a pack or of `MANIFEST`. manifests/formats/pack.md section 2.

use crate::digest::crc64;
use crate::format::cursor::{Reader, Writer};
use crate::format::volume::{check_crc, check_features, check_magic, check_nonzero};
use crate::format::{Error, FORMAT_VERSION, JobId, RunId, VolumeId};

const RECORD: &str = "pack header";
const MAGIC: [u8; 8] = [0x89, b'P', b'M', b'P', 0x0D, 0x0A, 0x1A, 0x0A];

/// Length of the header. Unit: bytes.
pub const PACK_HEADER_BYTES: usize = 4096;
/// Unit of everything between two syncs, so that direct I/O never writes a block twice. Unit: bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// Largest pack: a FAT32 file holds 4 GiB - 1 bytes, so one block less than 4 GiB. Unit: bytes.
pub const PACK_BYTES_MAX: u64 = (1 << 32) - BLOCK_BYTES;
/// Largest pack unless asked otherwise. Unit: bytes.
pub const PACK_BYTES_DEFAULT: u64 = 1 << 30;
/// Smallest allowed maximum of a data frame's plain bytes.
pub const FRAME_PLAIN_BYTES_MIN: u32 = 4096;
/// Largest allowed maximum of a data frame's plain bytes.
pub const FRAME_PLAIN_BYTES_MAX: u32 = 1 << 24;
/// Plain bytes of a full data frame unless asked otherwise.
pub const FRAME_PLAIN_BYTES_DEFAULT: u32 = 1 << 20;
/// Largest plain size of an entries frame. Unit: bytes.
pub const ENTRIES_PLAIN_BYTES_MAX: u32 = 1 << 20;

/// What a file in pack form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackKind {
    /// `packs/<NUMBER>.pack`.
    Pack,
    /// `MANIFEST`.
    Manifest,
}

/// Header of a pack or of `MANIFEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    /// Pack or manifest.
    pub kind: PackKind,
    /// Feature bits a reader may skip.
    pub may_ignore: u64,
    /// Job, as in `VOLUME`.
    pub job: JobId,
    /// Volume, as in `VOLUME`.
    pub volume: VolumeId,
    /// Number of the volume, as in `VOLUME`.
    pub volume_number: u32,
    /// Number of the pack, from 1; 0 for `MANIFEST`.
    pub number: u32,
    /// Run whose key sealed this file.
    pub run: RunId,
    /// Largest plain size of a data frame. Unit: bytes.
    pub frame_plain_bytes_max: u32,
    /// Creation time, nanoseconds since 1970.
    pub created_ns: u64,
    /// Fresh random bytes.
    pub salt: [u8; 32],
    /// Proof that a key is the right one.
    pub key_commitment: [u8; 32],
}

impl PackHeader {
    /// Bytes 0 to 103, which the key derivation binds.
    pub fn bound_bytes(&self) -> [u8; 104] {
        let mut bytes = Vec::with_capacity(104);
        let mut w = Writer(&mut bytes);
        let kind = match self.kind {
            PackKind::Pack => 1,
            PackKind::Manifest => 2,
        };
        w.bytes(&MAGIC).u16(FORMAT_VERSION).u16(kind).u32(4096).u64(0).u64(self.may_ignore);
        w.bytes(&self.job.0).bytes(&self.volume.0).u32(self.volume_number).u32(self.number).bytes(&self.run.0);
        w.u32(self.frame_plain_bytes_max).zero(4).u64(self.created_ns);
        *bytes.as_array().expect("the fields before the salt take 104 bytes")
    }

    /// The first 4096 bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PACK_HEADER_BYTES);
        let mut w = Writer(&mut bytes);
        w.bytes(&self.bound_bytes()).bytes(&self.salt).bytes(&self.key_commitment).zero(3920);
        let crc = crc64(w.0);
        w.u64(crc.0);
        bytes
    }

    /// Reads the first 4096 bytes of a file.
    ///
    /// # Errors
    /// For every reason of pack.md section 2 that needs neither a key nor the volume header.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(RECORD, bytes);
        check_magic(RECORD, &mut r, MAGIC)?;
        let kind = match r.u16()? {
            1 => PackKind::Pack,
            2 => PackKind::Manifest,
            other => return Err(Error::field(RECORD, "kind", "1 or 2", other)),
        };
        let header_bytes = r.u32()?;
        r.expect("header_bytes", 4096, header_bytes)?;
        check_features(RECORD, r.u64()?)?;
        let may_ignore = r.u64()?;
        let (job, volume) = (JobId(r.array()?), VolumeId(r.array()?));
        let (volume_number, number) = (r.u32()?, r.u32()?);
        let run = RunId(r.array()?);
        let frame_plain_bytes_max = r.u32()?;
        r.zero(4)?;
        let created_ns = r.u64()?;
        let (salt, key_commitment) = (r.array()?, r.array()?);
        r.zero(3920)?;
        check_crc(RECORD, bytes, &mut r)?;
        r.finish()?;
        check_nonzero(RECORD, "run_id", &run.0)?;
        if !(FRAME_PLAIN_BYTES_MIN..=FRAME_PLAIN_BYTES_MAX).contains(&frame_plain_bytes_max) {
            let range = format!("{FRAME_PLAIN_BYTES_MIN} to {FRAME_PLAIN_BYTES_MAX}");
            return Err(Error::field(RECORD, "frame_plain_bytes_max", range, frame_plain_bytes_max));
        }
        if (kind == PackKind::Manifest) != (number == 0) {
            return Err(Error::field(RECORD, "pack_number", "0 for MANIFEST only", number));
        }
        Ok(Self {
            kind,
            may_ignore,
            job,
            volume,
            volume_number,
            number,
            run,
            frame_plain_bytes_max,
            created_ns,
            salt,
            key_commitment,
        })
    }

    /// Whether this file belongs to that volume and has that number.
    ///
    /// # Errors
    /// Names the first field that differs.
    pub fn belongs_to(&self, job: JobId, volume: VolumeId, volume_number: u32, number: u32) -> Result<(), Error> {
        let r = Reader::new(RECORD, &[]);
        r.expect("job_id", job.to_string(), self.job.to_string())?;
        r.expect("volume_id", volume.to_string(), self.volume.to_string())?;
        r.expect("volume_number", volume_number, self.volume_number)?;
        r.expect("pack_number", number, self.number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> PackHeader {
        PackHeader {
            kind: PackKind::Pack,
            may_ignore: 0,
            job: JobId([1; 16]),
            volume: VolumeId([2; 16]),
            volume_number: 1,
            number: 1,
            run: RunId([3; 16]),
            frame_plain_bytes_max: 1 << 20,
            created_ns: 5,
            salt: [6; 32],
            key_commitment: [7; 32],
        }
    }

    proptest! {
        #[test]
        fn a_pack_header_survives_the_round_trip(
            job in any::<[u8; 16]>(), volume in any::<[u8; 16]>(), numbers in (any::<u32>(), 1_u32..), run in 1_u8..,
            frame in FRAME_PLAIN_BYTES_MIN..=FRAME_PLAIN_BYTES_MAX, created_ns in any::<u64>(), salt in any::<[u8; 32]>(),
            key_commitment in any::<[u8; 32]>(), manifest in any::<bool>(), may_ignore in any::<u64>(),
        ) {
            let header = PackHeader {
                kind: if manifest { PackKind::Manifest } else { PackKind::Pack },
                number: if manifest { 0 } else { numbers.1 },
                may_ignore, job: JobId(job), volume: VolumeId(volume), volume_number: numbers.0, run: RunId([run; 16]),
                frame_plain_bytes_max: frame, created_ns, salt, key_commitment,
            };
            prop_assert_eq!(PackHeader::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn every_single_bit_flip_of_a_pack_header_is_refused() {
        let good = sample().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(PackHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_pack_of_another_volume_is_named_as_such() {
        let header = sample();
        assert_eq!(header.belongs_to(JobId([1; 16]), VolumeId([2; 16]), 1, 1), Ok(()));
        let fields = [
            (header.belongs_to(JobId([9; 16]), VolumeId([2; 16]), 1, 1), "job_id"),
            (header.belongs_to(JobId([1; 16]), VolumeId([9; 16]), 1, 1), "volume_id"),
            (header.belongs_to(JobId([1; 16]), VolumeId([2; 16]), 2, 1), "volume_number"),
            (header.belongs_to(JobId([1; 16]), VolumeId([2; 16]), 1, 2), "pack_number"),
        ];
        for (result, name) in fields {
            assert!(matches!(result, Err(Error::Field { field, .. }) if field == name), "{name}");
        }
    }
}

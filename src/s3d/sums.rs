//! The checksums of S3: their names, their text, how parts combine.
//!
//! Owns: the set of digests a body has or claims, comparison, composite and full-object values. Pure. Invariant: a value
//! is S3's own text (base64 of the big-endian digest), so that comparing text compares digests.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crc_fast::CrcAlgorithm;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{self, Checksum as _};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};

/// Digest algorithms that S3 defines for objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Algorithm {
    Crc32,
    Crc32c,
    Sha1,
    Sha256,
    Crc64Nvme,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Sha1, Self::Sha256, Self::Crc64Nvme];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Crc64Nvme => "CRC64NVME",
        }
    }

    pub(super) fn parse(name: &str) -> S3Result<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| s3_error!(InvalidRequest, "unknown checksum algorithm"))
    }

    /// Name of the request and response header that carries this digest.
    pub(super) fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// How the digest of a multipart object relates to its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// Digest of the concatenated digests of the parts, followed by `-N`.
    Composite,
    /// Digest of all bytes; only CRCs can be combined into it.
    FullObject,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// The kind of an upload: as asked, or S3's default for the algorithm. Refuses the pairs that S3 refuses.
    pub(super) fn for_upload(algorithm: Algorithm, asked: Option<&str>) -> S3Result<Self> {
        let kind = match asked {
            None if algorithm == Algorithm::Crc64Nvme => Self::FullObject,
            None | Some("COMPOSITE") => Self::Composite,
            Some("FULL_OBJECT") => Self::FullObject,
            Some(_) => return Err(s3_error!(InvalidRequest, "unknown checksum type")),
        };
        let impossible = match kind {
            Self::Composite => algorithm == Algorithm::Crc64Nvme,
            Self::FullObject => algorithm.crc().is_none(),
        };
        if impossible {
            return Err(s3_error!(InvalidRequest, "this checksum type cannot be used with this checksum algorithm"));
        }
        Ok(kind)
    }
}

/// Digests of one body, each in S3's text form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums(pub(super) BTreeMap<Algorithm, String>);

/// Reads the five optional checksum fields that so many of S3's structures share.
macro_rules! sums_of {
    ($from:expr) => {{
        let fields = [
            (crate::s3d::sums::Algorithm::Crc32, &$from.checksum_crc32),
            (crate::s3d::sums::Algorithm::Crc32c, &$from.checksum_crc32c),
            (crate::s3d::sums::Algorithm::Sha1, &$from.checksum_sha1),
            (crate::s3d::sums::Algorithm::Sha256, &$from.checksum_sha256),
            (crate::s3d::sums::Algorithm::Crc64Nvme, &$from.checksum_crc64nvme),
        ];
        crate::s3d::sums::Sums(fields.into_iter().filter_map(|(a, v)| v.clone().map(|v| (a, v))).collect())
    }};
}

/// Writes them back.
macro_rules! put_sums {
    ($sums:expr, $into:expr) => {{
        $into.checksum_crc32 = $sums.get(crate::s3d::sums::Algorithm::Crc32);
        $into.checksum_crc32c = $sums.get(crate::s3d::sums::Algorithm::Crc32c);
        $into.checksum_sha1 = $sums.get(crate::s3d::sums::Algorithm::Sha1);
        $into.checksum_sha256 = $sums.get(crate::s3d::sums::Algorithm::Sha256);
        $into.checksum_crc64nvme = $sums.get(crate::s3d::sums::Algorithm::Crc64Nvme);
    }};
}
pub(super) use {put_sums, sums_of};

impl Sums {
    pub(super) fn get(&self, algorithm: Algorithm) -> Option<String> {
        self.0.get(&algorithm).cloned()
    }

    /// Refuses values that are not base64 of a digest of the right length, as S3 does before it reads the body.
    pub(super) fn check_form(&self) -> S3Result<()> {
        for (algorithm, text) in &self.0 {
            let text = text.split_once('-').map_or(text.as_str(), |(digest, _)| digest);
            let good = STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == algorithm.digest_bytes());
            if !good {
                return Err(S3Error::with_message(
                    S3ErrorCode::InvalidRequest,
                    format!("value for {} header is invalid", algorithm.header()),
                ));
            }
        }
        Ok(())
    }

    /// Compares what a client claims with what arrived.
    pub(super) fn check_claim(&self, claimed: &Self) -> S3Result<()> {
        for (algorithm, claim) in &claimed.0 {
            if self.0.get(algorithm) != Some(claim) {
                return Err(S3Error::with_message(
                    S3ErrorCode::BadDigest,
                    format!("the {} you specified did not match the calculated checksum", algorithm.name()),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn only(&self, algorithm: Algorithm) -> Self {
        Self(self.0.iter().filter(|(a, _)| **a == algorithm).map(|(a, v)| (*a, v.clone())).collect())
    }
}

/// A hasher for exactly these algorithms.
pub(super) fn hasher(wanted: impl IntoIterator<Item = Algorithm>) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for algorithm in wanted {
        match algorithm {
            Algorithm::Crc32 => hasher.crc32 = Some(crypto::Crc32::new()),
            Algorithm::Crc32c => hasher.crc32c = Some(crypto::Crc32c::new()),
            Algorithm::Sha1 => hasher.sha1 = Some(crypto::Sha1::new()),
            Algorithm::Sha256 => hasher.sha256 = Some(crypto::Sha256::new()),
            Algorithm::Crc64Nvme => hasher.crc64nvme = Some(crypto::Crc64Nvme::new()),
        }
    }
    hasher
}

/// Digest of a multipart object from those of its parts, in order. `None` if a part lacks the algorithm.
pub(super) fn of_parts(algorithm: Algorithm, kind: Kind, parts: &[(u64, &Sums)]) -> Option<String> {
    match kind {
        Kind::FullObject => {
            let crc = algorithm.crc()?;
            let mut whole: Option<u64> = None;
            for (size, sums) in parts {
                let part = crc_value(&sums.get(algorithm)?)?;
                whole = Some(whole.map_or(part, |so_far| crc_fast::checksum_combine(crc, so_far, part, *size)));
            }
            let bytes = whole?.to_be_bytes();
            Some(STANDARD.encode(&bytes[8 - algorithm.digest_bytes()..]))
        }
        Kind::Composite => {
            let mut of_digests = hasher([algorithm]);
            for (_, sums) in parts {
                of_digests.update(&STANDARD.decode(sums.get(algorithm)?).ok()?);
            }
            let checksum = of_digests.finalize();
            let digest = sums_of!(checksum).get(algorithm)?;
            Some(format!("{digest}-{}", parts.len()))
        }
    }
}

fn crc_value(text: &str) -> Option<u64> {
    let bytes = STANDARD.decode(text).ok()?;
    if bytes.len() > 8 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bytes: &[u8]) -> Sums {
        let mut hasher = hasher(Algorithm::ALL);
        hasher.update(bytes);
        let checksum = hasher.finalize();
        sums_of!(checksum)
    }

    #[test]
    fn parts_combine_into_the_checksum_of_the_whole() {
        let (a, b, c) = (b"one part ".as_slice(), b"and another".as_slice(), b"!".as_slice());
        let whole = sums(&[a, b, c].concat());
        let parts = [(a.len() as u64, &sums(a)), (b.len() as u64, &sums(b)), (c.len() as u64, &sums(c))];
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            assert_eq!(of_parts(algorithm, Kind::FullObject, &parts), whole.get(algorithm), "{algorithm:?}");
        }
        assert_eq!(of_parts(Algorithm::Sha256, Kind::FullObject, &parts), None);
        let composite = of_parts(Algorithm::Sha256, Kind::Composite, &parts).expect("all parts have it");
        assert!(composite.ends_with("-3"));
        assert_ne!(Some(composite), whole.get(Algorithm::Sha256));
    }

    #[test]
    fn known_vector() {
        // The check value of CRC-64/NVME over "123456789" is 0xae8b14860a799888.
        assert_eq!(
            sums(b"123456789").get(Algorithm::Crc64Nvme),
            Some(STANDARD.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()))
        );
    }

    #[test]
    fn malformed_values_are_refused_by_form() {
        let bad = Sums([(Algorithm::Sha256, "AAAA".to_owned())].into());
        assert!(bad.check_form().is_err());
        assert!(sums(b"x").check_form().is_ok());
    }
}

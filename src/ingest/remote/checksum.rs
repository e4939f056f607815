//! What can be claimed about a body, and the ways of having a server check it.
//!
//! Owns: the digests in S3's text form, and the ladder of methods from strongest to weakest. Pure. Invariant: a claim is
//! computed from bytes whose CRC-64 was compared with the source's just before, so that the chain has no gap whichever
//! method a server understands.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::Digest as _;
use serde::{Deserialize, Serialize};

use crate::digest::{Crc64, sha256};
use crate::ingest::remote::SentPart;

/// A digest sent along with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// CRC-64/NVME.
    Crc64(Crc64),
    /// CRC-32C.
    Crc32c(u32),
    /// SHA-256.
    Sha256([u8; 32]),
    /// MD5, in the old `Content-MD5` header.
    Md5([u8; 16]),
}

impl Claim {
    /// S3's text form: base64 of the digest, most significant byte first.
    pub fn text(&self) -> String {
        match self {
            Self::Crc64(crc) => STANDARD.encode(crc.to_be_bytes()),
            Self::Crc32c(crc) => STANDARD.encode(crc.to_be_bytes()),
            Self::Sha256(digest) => STANDARD.encode(digest),
            Self::Md5(digest) => STANDARD.encode(digest),
        }
    }

    /// The same kind of claim, but false. For finding out whether a server compares at all.
    #[must_use]
    pub fn falsified(self) -> Self {
        match self {
            Self::Crc64(crc) => Self::Crc64(Crc64(!crc.0)),
            Self::Crc32c(crc) => Self::Crc32c(!crc),
            Self::Sha256(digest) => Self::Sha256(digest.map(|byte| !byte)),
            Self::Md5(digest) => Self::Md5(digest.map(|byte| !byte)),
        }
    }
}

/// How a server is made to confirm what it stored, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// CRC-64/NVME of every part and of the whole object: the server compares with what was read at the source.
    FullObjectCrc64,
    /// CRC-32C of every part and of the whole object.
    FullObjectCrc32c,
    /// SHA-256 of every part.
    CompositeSha256,
    /// MD5 of every part, in the `Content-MD5` header.
    ContentMd5,
    /// The server compares nothing: objects are read back and compared here.
    ReadBack,
}

impl Method {
    /// The ladder, strongest first.
    pub const LADDER: [Self; 5] =
        [Self::FullObjectCrc64, Self::FullObjectCrc32c, Self::CompositeSha256, Self::ContentMd5, Self::ReadBack];

    /// What to claim about a body, given the CRC-64 that is known of it already.
    pub fn claim(self, body: &[u8], crc64: Crc64) -> Option<Claim> {
        match self {
            Self::FullObjectCrc64 => Some(Claim::Crc64(crc64)),
            Self::FullObjectCrc32c => Some(Claim::Crc32c(crc32c(body))),
            Self::CompositeSha256 => Some(Claim::Sha256(sha256(body))),
            Self::ContentMd5 => Some(Claim::Md5(md5::Md5::digest(body).into())),
            Self::ReadBack => None,
        }
    }

    /// What to claim about a whole object made of `parts`, given the CRC-64 that was taken at the source.
    pub fn whole(self, parts: &[SentPart], crc64: Crc64) -> Option<Claim> {
        match self {
            Self::FullObjectCrc64 => Some(Claim::Crc64(crc64)),
            Self::FullObjectCrc32c => combine_crc32c(parts).map(Claim::Crc32c),
            Self::CompositeSha256 | Self::ContentMd5 | Self::ReadBack => None,
        }
    }

    /// Whether the server compares each body on arrival.
    pub fn server_compares(self) -> bool {
        self != Self::ReadBack
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FullObjectCrc64 => "CRC-64/NVME of parts and whole objects",
            Self::FullObjectCrc32c => "CRC-32C of parts and whole objects",
            Self::CompositeSha256 => "SHA-256 of every part",
            Self::ContentMd5 => "MD5 of every part",
            Self::ReadBack => "none: objects are read back and compared here",
        })
    }
}

/// Checksums a server keeps of an object or part, in S3's text form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums {
    /// CRC-64/NVME.
    pub crc64: Option<String>,
    /// CRC-32C.
    pub crc32c: Option<String>,
    /// SHA-256.
    pub sha256: Option<String>,
}

impl Checksums {
    /// The one a method uses.
    pub fn of(&self, method: Method) -> Option<&str> {
        match method {
            Method::FullObjectCrc64 => self.crc64.as_deref(),
            Method::FullObjectCrc32c => self.crc32c.as_deref(),
            Method::CompositeSha256 => self.sha256.as_deref(),
            Method::ContentMd5 | Method::ReadBack => None,
        }
    }
}

fn crc32c(body: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body);
    u32::try_from(crc).expect("a 32-bit CRC fits into 32 bits")
}

fn combine_crc32c(parts: &[SentPart]) -> Option<u32> {
    let mut whole: Option<u64> = None;
    for part in parts {
        let digest: [u8; 4] = STANDARD.decode(part.checksum.as_ref()?).ok()?.try_into().ok()?;
        let crc = u64::from(u32::from_be_bytes(digest));
        let join = |so_far| crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc32Iscsi, so_far, crc, part.bytes);
        whole = Some(whole.map_or(crc, join));
    }
    u32::try_from(whole?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::crc64;

    #[test]
    fn texts_are_those_of_s3() {
        // Check values over "123456789" from the catalogue of CRC algorithms and RFC 1321.
        let body = b"123456789";
        let text = |method: Method| method.claim(body, crc64(body)).map(|claim| claim.text());
        assert_eq!(text(Method::FullObjectCrc64).as_deref(), Some("rosUhgp5mIg="));
        assert_eq!(text(Method::FullObjectCrc32c).as_deref(), Some("4waSgw=="));
        assert_eq!(text(Method::ContentMd5).as_deref(), Some("JfnnlDI7RTiF9RgfG2JNCw=="));
        assert_eq!(text(Method::ReadBack), None);
    }

    #[test]
    fn crc32c_of_parts_combines_into_that_of_the_whole() {
        let part = |number: u32, body: &[u8]| SentPart {
            number,
            bytes: body.len() as u64,
            etag: String::new(),
            checksum: Some(Claim::Crc32c(crc32c(body)).text()),
        };
        let parts = [part(1, b"one"), part(2, b""), part(3, b"and two")];
        assert_eq!(Method::FullObjectCrc32c.whole(&parts, Crc64::EMPTY), Some(Claim::Crc32c(crc32c(b"oneand two"))));
    }

    #[test]
    fn a_falsified_claim_is_another_one() {
        for method in Method::LADDER {
            if let Some(claim) = method.claim(b"x", crc64(b"x")) {
                assert_ne!(claim.falsified(), claim);
                assert_eq!(claim.falsified().falsified(), claim);
            }
        }
    }
}

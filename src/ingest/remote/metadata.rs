//! What an object says about the file it was, in names that other tools read.
//!
//! Owns: the names and the text of values. Pure. The names are those of AWS DataSync and FSx for Lustre, which both set
//! owner, mode and times from them when they bring the objects back to a file system.

use crate::ingest::remote::Metadata;

/// Name of the SHA-256 of the whole file, in hexadecimal digits. This one is ours.
pub const SHA256: &str = "packmule-sha256";

/// What is kept of a file besides its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification. Unit: nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of last access, if it was recorded. Unit: nanoseconds since 1970.
    pub atime_ns: Option<i128>,
}

/// User metadata for an object.
///
/// Formats (FSx for Lustre user guide, "POSIX metadata support for data repositories"): permissions are `st_mode` in
/// octal, as in `0100644`; owner and group are numbers; times are nanoseconds since 1970 and end in `ns`.
pub fn describe(file: &Attributes, sha256: &[u8; 32]) -> Metadata {
    let mut metadata = Metadata::from([
        ("file-permissions".to_owned(), format!("{:07o}", file.mode)),
        ("file-owner".to_owned(), file.uid.to_string()),
        ("file-group".to_owned(), file.gid.to_string()),
        ("file-mtime".to_owned(), format!("{}ns", file.mtime_ns)),
        (SHA256.to_owned(), sha256.iter().map(|byte| format!("{byte:02x}")).collect()),
    ]);
    if let Some(atime_ns) = file.atime_ns {
        metadata.insert("file-atime".to_owned(), format!("{atime_ns}ns"));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_published_form() {
        let file =
            Attributes { mode: 0o100_664, uid: 500, gid: 20, mtime_ns: 1_595_002_920_000_000_001, atime_ns: None };
        let metadata = describe(&file, &[0xab; 32]);
        assert_eq!(metadata["file-permissions"], "0100664");
        assert_eq!(metadata["file-owner"], "500");
        assert_eq!(metadata["file-mtime"], "1595002920000000001ns");
        assert_eq!(metadata[SHA256], "ab".repeat(32));
        assert!(!metadata.contains_key("file-atime"));
        let directory = describe(&Attributes { mode: 0o040_755, ..file }, &[0; 32]);
        assert_eq!(directory["file-permissions"], "0040755");
    }
}

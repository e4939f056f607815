//! Looking at a volume's files to check them: every file is opened past the page cache where possible, read once, and
//! believed in nothing. manifests/formats/pack.md section 8.
//!
//! Why apart from `PackFile::open`: that one refuses a file with a damaged header, and a check must go on behind it.

use std::path::PathBuf;

use crate::digest::{Crc64, Sha256};
use crate::format::{FrameKind, PACK_BYTES_MAX, PACK_HEADER_BYTES, PackHeader, ReadBack};
use crate::sys::aligned::AlignedBuf;
use crate::volume::chunk::Chunks;
use crate::volume::error::{At, Error, In};
use crate::volume::open::Volume;
use crate::volume::paths::{MANIFEST, PACKS, READER, SLOTS, pack_path};
use crate::volume::reader::{open_for_check, walk_for_check};
use crate::volume::walk::{FrameWalk, Step};
use crate::volume::window::Window;

/// A file in pack form, about to be checked.
#[derive(Debug)]
pub struct CheckedPack {
    /// Its header, or why it is not believed.
    pub header: Result<PackHeader, Error>,
    /// The first bytes of the file as they are, for the chain of commits.
    pub header_bytes: Vec<u8>,
    /// The walk over its frames.
    pub walk: FrameWalk,
    /// How the bytes come from the medium.
    pub way: ReadBack,
}

impl CheckedPack {
    /// Whether no commit stands in it: then nobody was ever told that it holds anything. Reads the file to its end.
    pub fn has_nothing(mut self) -> bool {
        loop {
            match self.walk.advance() {
                Ok(None) => return true,
                Ok(Some(Step::Frame { header, .. })) if header.kind == FrameKind::Commit => return false,
                Ok(Some(_)) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Volume {
    /// Opens a pack, or with number 0 `MANIFEST`, for a check. It is read into `chunks`.
    ///
    /// # Errors
    /// When the file cannot be opened or read at all, or is longer than a pack may be.
    pub fn check_pack(&self, number: u32, with_sha256: bool, chunks: &Chunks) -> Result<CheckedPack, Error> {
        let path = if number == 0 { self.root().join(MANIFEST) } else { pack_path(self.root(), number) };
        let (file, length, way) = open_for_check(&**self.fs(), &path)?;
        if number != 0 && length > PACK_BYTES_MAX {
            return Err(Error::Limit { path, what: "length in bytes", found: length, limit: PACK_BYTES_MAX });
        }
        let mut head = AlignedBuf::with_capacity(PACK_HEADER_BYTES);
        head.resize_zeroed(PACK_HEADER_BYTES);
        let got = file.read_at(&mut head, 0).at("read", &path)?;
        head.truncate(got);
        let own = self.header();
        let header = PackHeader::decode(&head)
            .and_then(|header| header.belongs_to(own.job, own.volume, own.number, number).map(|()| header))
            .within(&path);
        let walk = walk_for_check(file, path, length, header.as_ref().ok(), with_sha256, chunks)?;
        Ok(CheckedPack { header, header_bytes: head.to_vec(), walk, way })
    }

    /// Length and digests of any file below `packmule/`, read once.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn check_file(&self, name: &str) -> Result<(u64, Crc64, Sha256, ReadBack), Error> {
        let path = self.root().join(name);
        let (file, length, way) = open_for_check(&**self.fs(), &path)?;
        let mut window = Window::new(path.clone(), file, 4096, true);
        let crc64 = window.crc64_to(length)?;
        let missing = || Error::Damaged { path, reason: "no digest was taken of it".to_owned() };
        Ok((length, crc64, window.sha256().ok_or_else(missing)?, way))
    }

    /// Every file below `packmule/`, as a path relative to it: those the format defines and any other. Sorted.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn files(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for below in ["", SLOTS, PACKS, READER] {
            let dir: PathBuf = if below.is_empty() { self.root().to_owned() } else { self.root().join(below) };
            let items = match self.fs().list(&dir) {
                Err(error) if below == READER && error.kind() == std::io::ErrorKind::NotFound => continue,
                items => items.at("list", &dir)?,
            };
            for item in items {
                let name = item.name.to_string_lossy();
                match (below, item.is_dir) {
                    ("", true) if [SLOTS, PACKS, READER].contains(&&*name) => {}
                    ("", _) => names.push(name.into_owned()),
                    _ => names.push(format!("{below}/{name}")),
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

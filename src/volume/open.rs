//! Opening a volume: its identity, what is on it, whether it is sealed. Never writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::sha256;
use crate::format::{
    Error as FormatError, RunId, SLOT_BYTES_MAX, Sealed, VOLUME_HEADER_BYTES, VolumeHeader, parse_sums, sums_root,
};
use crate::sys::{Access, Fs};
use crate::volume::error::{At, Error, In};
use crate::volume::paths::{MANIFEST, PACKMULE, PACKS, SEALED, SLOTS, SUMS, VOLUME, pack_number, pack_path};
use crate::volume::reader::PackFile;

/// Most slots a reader lists. Source: volume.md section 7.
const SLOTS_MAX: usize = 65_536;
/// Longest `SHA256SUMS` a reader takes into memory: 99,999,999 packs at 80 bytes would be 8 GB, so this is a limit
/// of this reader, far above any real volume. Unit: bytes.
const SUMS_BYTES_MAX: u64 = 64 << 20;

/// A volume whose header was read and believed.
#[derive(Debug, Clone)]
pub struct Volume {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    header: VolumeHeader,
}

impl Volume {
    /// Opens the volume in `dir`, which is the top of the medium, or the `packmule` directory itself.
    ///
    /// # Errors
    /// [`Error::NotAVolume`] when there is none, otherwise what is wrong with its header.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, Error> {
        let below = dir.join(PACKMULE);
        let root = if exists(&*fs, &below.join(VOLUME))? {
            below
        } else if exists(&*fs, &dir.join(VOLUME))? {
            dir.to_owned()
        } else {
            return Err(Error::NotAVolume { path: dir.to_owned() });
        };
        let path = root.join(VOLUME);
        let bytes = read_small(&*fs, &path, VOLUME_HEADER_BYTES as u64)?;
        let header = VolumeHeader::decode(&bytes).within(&path)?;
        Ok(Self { fs, root, header })
    }

    /// Who the volume is.
    pub fn header(&self) -> &VolumeHeader {
        &self.header
    }

    /// Its `packmule` directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file system it is on.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    /// Numbers of the packs present, in order.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn packs(&self) -> Result<Vec<u32>, Error> {
        let dir = self.root.join(PACKS);
        let items = self.fs.list(&dir).at("list", &dir)?;
        Ok(items.iter().filter_map(|item| item.name.to_str().and_then(pack_number)).collect())
    }

    /// Runs that left a slot here.
    ///
    /// # Errors
    /// When the directory cannot be listed or holds more slots than a volume may have.
    pub fn slots(&self) -> Result<Vec<RunId>, Error> {
        let dir = self.root.join(SLOTS);
        let items = self.fs.list(&dir).at("list", &dir)?;
        if items.len() > SLOTS_MAX {
            let found = items.len() as u64;
            return Err(Error::Limit { path: dir, what: "number of slots", found, limit: SLOTS_MAX as u64 });
        }
        let names = items.iter().filter_map(|item| item.name.to_str()?.strip_suffix(".age"));
        Ok(names.filter_map(|name| RunId::parse(name).ok()).collect())
    }

    /// Path of the slot of a run.
    pub fn slot_path(&self, run: RunId) -> PathBuf {
        self.root.join(SLOTS).join(format!("{run}.age"))
    }

    /// Bytes of a slot.
    ///
    /// # Errors
    /// When it cannot be read or is too long to be one.
    pub fn read_slot(&self, run: RunId) -> Result<Vec<u8>, Error> {
        read_small(&*self.fs, &self.slot_path(run), SLOT_BYTES_MAX)
    }

    /// What `SEALED` says, checked against `VOLUME` and `SHA256SUMS`; `None` for an open volume.
    ///
    /// # Errors
    /// When `SEALED` or `SHA256SUMS` is damaged or they contradict each other.
    pub fn sealed(&self) -> Result<Option<Sealed>, Error> {
        let path = self.root.join(SEALED);
        if !exists(&*self.fs, &path)? {
            return Ok(None);
        }
        let sealed = Sealed::decode(&read_small(&*self.fs, &path, SLOT_BYTES_MAX)?).within(&path)?;
        let field = |field, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            if expected == found {
                Ok(())
            } else {
                Err(FormatError::Field { record: SEALED, field, expected, found }).within(&path)
            }
        };
        field("job", &self.header.job, &sealed.job)?;
        field("volume", &self.header.volume, &sealed.volume)?;
        field("number", &self.header.number, &sealed.number)?;
        let sums = self.read_sums()?;
        let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        field("sums-sha256", &hex(&sha256(&sums)), &hex(&sealed.sums_sha256))?;
        Ok(Some(sealed))
    }

    /// What `SEALED` says, also when key slots and `SHA256SUMS` were replaced after it: then its signature must vouch for
    /// all else that `SHA256SUMS` lists. `None` for an open volume.
    ///
    /// # Errors
    /// When `SEALED` or `SHA256SUMS` is damaged or they contradict each other.
    pub fn sealed_but_for_slots(&self) -> Result<Option<Sealed>, Error> {
        match self.sealed() {
            Err(Error::Format {
                source: FormatError::Field { field: "sums-sha256", expected, found, record },
                path,
            }) => {
                let sealed = Sealed::decode(&read_small(&*self.fs, &path, SLOT_BYTES_MAX)?).within(&path)?;
                let lines = parse_sums(&self.read_sums()?).within(&self.root.join(SUMS))?;
                match &sealed.signature {
                    Some(signed) if signed.merkle_root == sums_root(&lines) => Ok(Some(sealed)),
                    _ => Err(FormatError::Field { field: "sums-sha256", expected, found, record }).within(&path),
                }
            }
            other => other,
        }
    }

    /// Whether `SEALED` is there, without believing it yet.
    ///
    /// # Errors
    /// When the medium cannot be read.
    pub fn is_sealed(&self) -> Result<bool, Error> {
        exists(&*self.fs, &self.root.join(SEALED))
    }

    /// Bytes of `SHA256SUMS`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_sums(&self) -> Result<Vec<u8>, Error> {
        read_small(&*self.fs, &self.root.join(SUMS), SUMS_BYTES_MAX)
    }

    /// A pack, or with number 0 `MANIFEST`.
    ///
    /// # Errors
    /// When it cannot be read, its header is not believable or belongs elsewhere.
    pub fn open_pack(&self, number: u32, access: Access) -> Result<PackFile, Error> {
        let path = if number == 0 { self.root.join(MANIFEST) } else { pack_path(&self.root, number) };
        PackFile::open(&*self.fs, path, access, &self.header, number)
    }
}

/// Whether a path exists; any other answer than yes or no is an error.
pub(super) fn exists(fs: &dyn Fs, path: &Path) -> Result<bool, Error> {
    match fs.stat(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).at("look at", path),
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_small(fs: &dyn Fs, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = fs.open_read(path, Access::Buffered).at("open", path)?;
    let found = file.len().at("measure", path)?;
    let length = usize::try_from(found).ok().filter(|_| found <= limit);
    let length = length.ok_or_else(|| Error::Limit { path: path.to_owned(), what: "length in bytes", found, limit })?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).at("read", path)?;
    Ok(bytes)
}

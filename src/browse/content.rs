//! Any stretch of a file's content, from the frames that hold it.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use crate::browse::{Error, Opened, latest};
use crate::crypto::OpeningKey;
use crate::digest::{Sha256Stream, combine, crc64};
use crate::format::PackHeader;
use crate::format::path::escape;
use crate::format::record::{Content, Entry, Extent, Record};
use crate::sys::Access;
use crate::volume::{self, FrameAt, Plain, RawFrame};

/// Packs whose records are kept. Each may hold a million of them.
const PACKS_KEPT: usize = 2;
/// Opened frames that are kept.
const FRAMES_KEPT: usize = 32;
/// Bytes read at a time when a whole file is wanted. Unit: bytes.
const STRETCH_BYTES: u64 = 4 << 20;

/// Where an extent of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First byte in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// Place of its volume in the list.
    pub volume: usize,
    /// Number of its pack.
    pub pack: u32,
}

/// Reads content. Keeps a few packs' records and a few opened frames.
pub struct Reader {
    volumes: Opened,
    packs: Recent<(usize, u32), LoadedPack>,
    frames: Recent<(usize, u32, u32), Plain>,
}

/// The records of a pack by what is looked for.
struct LoadedPack {
    header: PackHeader,
    key: OpeningKey,
    path: PathBuf,
    frames: HashMap<u32, FrameAt>,
    extents: HashMap<(u64, u32, u64), Extent>,
}

impl Reader {
    /// Over these volumes.
    pub fn new(volumes: Opened) -> Self {
        Self { volumes, packs: Recent::new(PACKS_KEPT), frames: Recent::new(FRAMES_KEPT) }
    }

    /// Where the extents of an entry are, in the order of the file. One pass over all records.
    ///
    /// # Errors
    /// When a volume cannot be read.
    pub fn places(&self, entry: &Entry) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        latest::each_record(&self.volumes, |volume, pack, record| {
            match record {
                Record::Extent(extent) if (extent.id, extent.generation) == (entry.id, entry.generation) => {
                    places.push(Place { offset: extent.offset, length: extent.length, volume, pack });
                }
                _ => {}
            }
            Ok::<_, Error>(())
        })?;
        places.sort_by_key(|place| place.offset);
        Ok(places)
    }

    /// Hands the whole content to `take`, in order, and compares it with the digests taken at the source at the end.
    ///
    /// # Errors
    /// When bytes are not here or damaged, when the whole is not what was read, or when `take` fails.
    pub fn read_all(
        &mut self,
        entry: &Entry,
        places: &[Place],
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let (mut sha256, mut crc) = (Sha256Stream::new(), crate::digest::Crc64::EMPTY);
        let mut offset = 0;
        while offset < entry.size {
            let want = STRETCH_BYTES.min(entry.size - offset);
            let bytes = self.read(entry.id, entry.generation, places, offset, want)?;
            sha256.update(&bytes);
            crc = combine(crc, crc64(&bytes), bytes.len() as u64);
            take(&bytes).map_err(Error::Output)?;
            offset += want;
        }
        let differs = |what| Err(Error::Digest { path: escape(&entry.path), what });
        if crc != entry.crc64 {
            return differs("CRC-64");
        }
        if sha256.finish() != entry.sha256 {
            return differs("SHA-256");
        }
        Ok(())
    }

    /// Exactly `count` bytes from `offset` of a file whose extents are at `places`. When an extent is there twice (it was
    /// damaged once and staged again), the one that can be read is taken.
    ///
    /// # Errors
    /// When bytes are not here, or damaged.
    pub fn read(
        &mut self,
        id: u64,
        generation: u32,
        places: &[Place],
        offset: u64,
        count: u64,
    ) -> Result<Vec<u8>, Error> {
        let end = offset.saturating_add(count);
        let mut out = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(64 << 20));
        let mut at = offset;
        while at < end {
            let mut trouble = None;
            let here = places.iter().filter(|place| place.offset <= at && at - place.offset < place.length);
            let had = out.len();
            let mut read = 0;
            for place in here {
                let want = (place.offset + place.length).min(end) - at;
                match self.read_extent(id, generation, *place, at - place.offset, want, &mut out) {
                    Ok(()) => {
                        read = want;
                        break;
                    }
                    Err(error) => {
                        out.truncate(had);
                        trouble = Some(error);
                    }
                }
            }
            if read == 0 {
                return Err(trouble.unwrap_or(Error::NotHere { from: at, to: end }));
            }
            at += read;
        }
        Ok(out)
    }

    /// Appends `count` bytes from byte `from` of an extent.
    fn read_extent(
        &mut self,
        id: u64,
        generation: u32,
        place: Place,
        from: u64,
        count: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let pack = self.pack(place.volume, place.pack)?;
        let extent = pack.extents.get(&(id, generation, place.offset));
        let lost = || Error::NotHere { from: place.offset + from, to: place.offset + from + count };
        let extent = extent.ok_or_else(lost)?;
        let Content::Stored(pieces) = &extent.content else {
            out.resize(out.len() + usize::try_from(count).unwrap_or(usize::MAX), 0);
            return Ok(());
        };
        let (mut at, end) = (0_u64, from + count);
        for piece in pieces {
            let (begin, stop) = (at.max(from), (at + u64::from(piece.bytes)).min(end));
            if begin < stop {
                let frame = self.frame(place.volume, place.pack, piece.frame, &pack)?;
                let skip = usize::try_from(u64::from(piece.at) + begin - at).unwrap_or(usize::MAX);
                let take = usize::try_from(stop - begin).unwrap_or(usize::MAX);
                let bytes = frame.get(skip..skip.saturating_add(take)).ok_or_else(lost)?;
                out.extend_from_slice(bytes);
            }
            at += u64::from(piece.bytes);
        }
        Ok(())
    }

    fn pack(&mut self, at: usize, number: u32) -> Result<Arc<LoadedPack>, Error> {
        if let Some(pack) = self.packs.get(&(at, number)) {
            return Ok(pack);
        }
        let (volume, keyring) = &self.volumes[at];
        let file = volume.open_pack(number, Access::Buffered)?;
        let index = file.index(keyring)?;
        let frames = index.data.iter().map(|frame| (frame.index, *frame)).collect();
        let extents = index.records.into_iter().filter_map(|record| match record {
            Record::Extent(extent) => Some(((extent.id, extent.generation, extent.offset), extent)),
            _ => None,
        });
        let pack = LoadedPack {
            header: file.header().clone(),
            key: file.opening_key(keyring)?,
            path: file.path().to_owned(),
            frames,
            extents: extents.collect(),
        };
        Ok(self.packs.put((at, number), pack))
    }

    fn frame(&mut self, at: usize, number: u32, index: u32, pack: &LoadedPack) -> Result<Arc<Plain>, Error> {
        if let Some(frame) = self.frames.get(&(at, number, index)) {
            return Ok(frame);
        }
        let damaged = |reason: String| volume::Error::Damaged { path: pack.path.clone(), reason };
        let place = pack.frames.get(&index).ok_or_else(|| damaged(format!("there is no frame {index}")))?;
        let file = self.volumes[at].0.open_pack(number, Access::Buffered)?;
        let mut plain = None;
        file.read_frames(&[*place], |raw: RawFrame| {
            plain = Some(raw.open(&pack.key, &pack.header, &pack.path)?);
            Ok::<_, volume::Error>(())
        })?;
        let plain = plain.ok_or_else(|| damaged(format!("frame {index} was not read")))?;
        Ok(self.frames.put((at, number, index), plain))
    }
}

/// A few things, those used last.
struct Recent<K, V> {
    kept: VecDeque<(K, Arc<V>)>,
    most: usize,
}

impl<K: PartialEq + Copy, V> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most }
    }

    fn get(&mut self, key: &K) -> Option<Arc<V>> {
        let at = self.kept.iter().position(|(kept, _)| kept == key)?;
        let found = self.kept.remove(at)?;
        self.kept.push_front(found);
        self.kept.front().map(|(_, value)| Arc::clone(value))
    }

    fn put(&mut self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.kept.truncate(self.most - 1);
        self.kept.push_front((key, Arc::clone(&value)));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut recent = Recent::new(2);
        recent.put(1, "one");
        recent.put(2, "two");
        assert!(recent.get(&1).is_some());
        recent.put(3, "three");
        assert!(recent.get(&2).is_none() && recent.get(&1).is_some() && recent.get(&3).is_some());
    }
}

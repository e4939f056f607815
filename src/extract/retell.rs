//! What `MANIFEST` says where a pack cannot say it any more: a sealed volume has every record twice.
//!
//! Owns: the records of damaged groups and packs. Does not own: the bytes of damaged frames, which are lost, and named.
//! Invariants: only what no pack told is taken; memory is bounded by the records of one pack. Callers: `engine`.

use std::collections::HashSet;

use crate::extract::Options;
use crate::extract::error::{Class, Problem};
use crate::extract::file::FileJob;
use crate::extract::node::Sink;
use crate::extract::plan::{Planner, no_dir};
use crate::extract::survey::is_selected;
use crate::format::record::{Content, EntryType, Extent, Record};
use crate::volume::{Error, Keyring, ManifestReader, PackIndex, RECORDS_PER_PACK_MAX, Volume, pack_path};

/// Adds the extents that belong into a pack and that its own records lack, with the files they are of.
pub(super) fn content(volume: &Volume, keyring: &Keyring, number: u32, index: &mut PackIndex) -> Result<(), Error> {
    let of = |extent: &Extent| (extent.id, extent.generation, extent.offset);
    let known: HashSet<_> = index.extents().map(of).collect();
    let mut found = Vec::new();
    let limit = RECORDS_PER_PACK_MAX;
    let too_many = |found: usize| Error::Limit {
        path: pack_path(volume.root(), number),
        what: "number of records",
        found: found as u64,
        limit,
    };
    ManifestReader::open(volume, keyring)?.read::<Error>(|record| {
        if let Record::Extent(extent) = record
            && extent.pack == number
            && extent.content != Content::Hole
            && !known.contains(&of(&extent))
        {
            found.push(extent);
        }
        if found.len() as u64 > limit { Err(too_many(found.len())) } else { Ok(()) }
    })?;
    let files: HashSet<(u64, u32)> = found.iter().map(|extent| (extent.id, extent.generation)).collect();
    let mut more = Vec::new();
    ManifestReader::open(volume, keyring)?.read::<Error>(|record| {
        let is_wanted = match &record {
            Record::Begin(begin) => files.contains(&(begin.id, begin.generation)),
            Record::Entry(entry) => files.contains(&(entry.id, entry.generation)),
            Record::Extent(hole) => {
                hole.content == Content::Hole
                    && files.contains(&(hole.id, hole.generation))
                    && !known.contains(&of(hole))
            }
            _ => false,
        };
        if is_wanted {
            more.push(record);
        }
        if more.len() as u64 > limit { Err(too_many(more.len())) } else { Ok(()) }
    })?;
    index.records.extend(more);
    // As the pack itself would have named it: by its own number.
    index.records.extend(found.into_iter().map(|extent| Record::Extent(Extent { pack: 0, ..extent })));
    Ok(())
}

/// Gives files that are not finished what only a damaged group told: their entries, and holes, which lie in no pack.
pub(super) fn unfinished(
    volume: &Volume,
    keyring: &Keyring,
    planner: &Planner<'_>,
    sink: &Sink<'_>,
) -> Result<(), Error> {
    let waiting = planner.unfinished();
    if waiting.is_empty() {
        return Ok(());
    }
    ManifestReader::open(volume, keyring)?.read::<Error>(|record| {
        planner.retold(&record);
        Ok(())
    })?;
    waiting.iter().for_each(|file| file.check_complete(sink));
    Ok(())
}

/// Makes what has no bytes (directories, links, special and empty files) and was told by no pack.
pub(super) fn without_bytes(
    volume: &Volume,
    keyring: &Keyring,
    planner: &mut Planner<'_>,
    sink: &Sink<'_>,
) -> Result<(), Error> {
    let options: &Options = sink.options;
    let dirs = planner.last.dirs.iter().map(|(dir, _)| &dir.path);
    let told: HashSet<Vec<u8>> = dirs.chain(planner.last.links.iter().map(|link| &link.path)).cloned().collect();
    let unfinished = sink.paths_with_problems();
    ManifestReader::open(volume, keyring)?.read::<Error>(|record| {
        let Record::Entry(entry) = record else { return Ok(()) };
        let is_dir = entry.entry_type == EntryType::Directory;
        let is_there = sink.target.identity(&entry.path).is_ok();
        let is_wanted = planner.is_current(&entry) && is_selected(options, &entry.path, is_dir);
        if !is_wanted || (is_there && !is_dir) || told.contains(&entry.path) {
            return Ok(());
        }
        match entry.entry_type {
            EntryType::File if entry.size == 0 => {
                let file = FileJob::new(entry.generation, entry.path.clone(), (0, entry.mtime_s, entry.mtime_ns));
                file.set_entry(&entry);
                file.check_complete(sink);
            }
            // As when it is all hole: nothing of it lies in any frame, so no pack was asked for it.
            EntryType::File if !unfinished.contains(&entry.path) => {
                let message = "the records of its extents are damaged";
                sink.problem(Problem::entry(Class::Integrity, &entry.path, message));
            }
            EntryType::File => {}
            EntryType::Directory => match sink.target.make_dirs(&entry.path) {
                Ok(_) => planner.last.dirs.push((entry, true)),
                Err(error) => sink.problem(no_dir(&entry.path, error)),
            },
            EntryType::HardLink => planner.last.links.push(entry),
            _ => sink.make_node(&entry),
        }
        Ok(())
    })?;
    Ok(())
}

//! Tag files of a BagIt bag (RFC 8493) whose payload is what was staged, for archives that keep bags.
//!
//! The payload itself is not copied: `packmule extract --to BAG/data` puts it there, or the bag describes an existing tree.

use std::io::Write;
use std::path::Path;

use crate::digest::Sha256;
use crate::format::hex;
use crate::format::record::EntryType;
use crate::job::{Job, Listed, ensure_dir};
use crate::report::facts::{each_graded, volumes};
use crate::report::json::ReportFile;
use crate::report::write::replace;
use crate::report::{Error, Facts, Stage};
use crate::sys::Fs;

/// Writes `bagit.txt`, `bag-info.txt`, `manifest-sha256.txt` and `tagmanifest-sha256.txt` into an existing directory.
///
/// # Errors
/// When the database or the file system fails.
pub fn write_bag(job: &Job, fs: &dyn Fs, facts: &Facts, dir: &Path) -> Result<Vec<ReportFile>, Error> {
    ensure_dir(fs, dir)?;
    let (mut bytes, mut count) = (0_u64, 0_u64);
    let manifest = replace(fs, dir, "manifest-sha256.txt", |out| {
        each_graded(job, Stage::Staging, &volumes(job)?, |listed, _| {
            let Some((sha256, size)) = content(job, listed)? else { return Ok(()) };
            (bytes, count) = (bytes + size, count + 1);
            let mut line = format!("{}  data/", hex(&sha256)).into_bytes();
            line.extend(encoded(&listed.path));
            line.push(b'\n');
            out.write_all(&line).map_err(Error::Output)
        })?;
        Ok(count)
    })?;
    let info = format!(
        "Bagging-Date: {}\nBag-Software-Agent: packmule {}\nExternal-Identifier: {}\nPayload-Oxum: {bytes}.{count}\n",
        facts.gathered.strftime("%Y-%m-%d"),
        env!("CARGO_PKG_VERSION"),
        facts.job,
    );
    let mut files = vec![manifest];
    for (name, text) in
        [("bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"), ("bag-info.txt", &info)]
    {
        files.push(replace(fs, dir, name, |out| out.write_all(text.as_bytes()).map_err(Error::Output).map(|()| 0))?);
    }
    let tags: String = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name)).collect();
    let write = |out: &mut dyn Write| out.write_all(tags.as_bytes()).map_err(Error::Output).map(|()| 0);
    files.push(replace(fs, dir, "tagmanifest-sha256.txt", write)?);
    Ok(files)
}

/// Digest and length of what a reader of the bag finds under a name: a further name of a file has the content of the
/// first. `None` for what is no file, or was not read.
fn content(job: &Job, listed: &Listed) -> Result<Option<(Sha256, u64)>, Error> {
    Ok(match (listed.entry_type, &listed.read) {
        (EntryType::File, Some(read)) => Some((read.sha256, listed.bytes)),
        (EntryType::HardLink, _) => job.staged_entry(listed.link_id)?.map(|first| (first.sha256, first.size)),
        _ => None,
    })
}

/// A path as RFC 8493 section 2.1.3 wants it: line feed, carriage return and per cent sign percent-encoded.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'\n' => text.extend_from_slice(b"%0A"),
            b'\r' => text.extend_from_slice(b"%0D"),
            b'%' => text.extend_from_slice(b"%25"),
            other => text.push(*other),
        }
    }
    text
}

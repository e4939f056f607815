//! What can only be done when all files are there: hard links, and the metadata of directories.
//!
//! Owns: the order: links, then directories from the deepest up, because a link changes the time of its directory, and
//! because a directory may lose the permission to be entered. Does not own: making directories.
//! Invariants: a directory that was there before this run and was finished is left as it is, unless overwriting was asked
//! for. Callers: `engine`.

use crate::extract::Done;
use crate::extract::error::{Class, Problem};
use crate::extract::node::{Sink, Standing, meta, xattrs};
use crate::format::record::Entry;
use crate::sys::target::is_unfinished;

/// Mode of directories that no entry speaks of: as `mkdir` makes them.
const MODE_OF_OTHERS: u32 = 0o755;

/// Work for the end.
#[derive(Debug, Default)]
pub(super) struct Last {
    pub(super) links: Vec<Entry>,
    /// Directories, with whether they were selected; of the others only those that were made on the way are finished.
    pub(super) dirs: Vec<(Entry, bool)>,
}

impl Last {
    pub(super) fn run(mut self, sink: &Sink<'_>) {
        for link in &self.links {
            make_link(link, sink);
        }
        // In reverse order of paths everything inside a directory comes before it.
        self.dirs.sort_by(|a, b| b.0.path.cmp(&a.0.path));
        let mut unknown = sink.target.made_dirs();
        for (entry, is_selected) in &self.dirs {
            unknown.remove(&entry.path);
            if let Err(problem) = finish_dir(entry, *is_selected, sink) {
                sink.problem(problem);
            }
        }
        for path in unknown.iter().rev() {
            // Made on the way, and their entry is on no volume given: nobody must be locked out of them.
            if let Err(error) = sink.target.open_up(path, MODE_OF_OTHERS) {
                sink.problem(Problem::entry(Class::Entry, path, "cannot be finished").because(error));
            }
        }
    }
}

fn make_link(link: &Entry, sink: &Sink<'_>) {
    let made =
        sink.make(&link.path, |target| target.hard_link(&link.target, &link.path), &Standing::HardLink(&link.target));
    match made {
        Ok(Some(())) => sink.count(Done::HardLink),
        Ok(None) => sink.count(Done::AlreadyThere),
        Err(problem) => sink.problem(problem),
    }
}

fn finish_dir(entry: &Entry, is_selected: bool, sink: &Sink<'_>) -> Result<(), Problem> {
    let failed = |error| Problem::entry(Class::Entry, &entry.path, "cannot be finished").because(error);
    let found = match sink.target.identity(&entry.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_selected => return Ok(()),
        other => other.map_err(failed)?,
    };
    let is_ours = is_unfinished(&found) || (is_selected && sink.options.overwrite);
    if !is_ours {
        if is_selected {
            sink.count(Done::AlreadyThere);
        }
        return Ok(());
    }
    let xattrs = xattrs(entry, sink.options);
    let problems = sink.target.finish_dir(&entry.path, &meta(entry, sink.options, &xattrs)).map_err(failed)?;
    if is_selected {
        sink.settle(Done::Directory, &entry.path, problems);
    }
    Ok(())
}

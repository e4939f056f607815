//! A list of what to take, as `find -print0` makes it: the walk goes only where it leads.
//!
//! Owns: the paths, and whether each was met. Does not own: reading the list from somewhere, what becomes of a path that
//! is not there. Invariants: a listed directory stands for all that is below it; memory is the paths themselves and nine
//! bytes for each. Callers: `walk`, `stage`, `cli`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scan::Error;

/// Paths relative to the one source of a walk.
#[derive(Debug)]
pub struct FileList {
    /// All paths, one after the other, sorted by their bytes with `/` before everything else.
    text: Vec<u8>,
    /// Where each begins in `text`, and one more for the end.
    starts: Vec<usize>,
    met: Vec<AtomicBool>,
}

/// What a list says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is listed, or lies below a listed directory.
    Yes,
    /// It is a directory on the way to something listed.
    OnTheWay,
    /// It is not.
    No,
}

impl FileList {
    /// Takes paths that end with a zero byte each. Absolute ones must lie below `source`.
    ///
    /// # Errors
    /// `List` names the first path that cannot be meant: one outside the source, or with `..` in it.
    pub fn parse(bytes: &[u8], source: &Path) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt;
        let mut paths = Vec::new();
        for given in bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let inside = match Path::new(std::ffi::OsStr::from_bytes(given)).strip_prefix(source) {
                Ok(rest) => rest.as_os_str().as_bytes().to_vec(),
                Err(_) if given.starts_with(b"/") => {
                    return Err(Error::List { path: given.to_vec(), why: "it lies outside the source" });
                }
                Err(_) => given.to_vec(),
            };
            let parts: Vec<&[u8]> =
                inside.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
            if parts.contains(&b"..".as_slice()) {
                return Err(Error::List { path: given.to_vec(), why: "it has .. in it" });
            }
            paths.push(parts.join(&b'/'));
        }
        // WHY the key: with `/` below all other bytes everything under a directory stands right behind it.
        paths.sort_by(|a, b| key(a).cmp(key(b)));
        paths.dedup();
        let (mut text, mut starts) = (Vec::new(), vec![0]);
        for path in &paths {
            text.extend_from_slice(path);
            starts.push(text.len());
        }
        let met = paths.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { text, starts, met })
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.met.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// What the list says of a path that is there. A listed path is noted as met.
    pub fn look(&self, path: &[u8]) -> Wanted {
        let at = self.first_not_before(path);
        if self.get(at) == Some(path) {
            self.met[at].store(true, Ordering::Relaxed);
            return Wanted::Yes;
        }
        // A listed directory above it is one of its prefixes, and there are only as many as it has slashes.
        let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path[..end]);
        let is_listed = |prefix: &[u8]| self.get(self.first_not_before(prefix)) == Some(prefix);
        if is_listed(b"") || above.into_iter().any(is_listed) {
            return Wanted::Yes;
        }
        let leads = self.get(at).is_some_and(|next| next.starts_with(path) && next.get(path.len()) == Some(&b'/'));
        if leads { Wanted::OnTheWay } else { Wanted::No }
    }

    /// Listed paths that no walk has met.
    pub fn missed(&self) -> impl Iterator<Item = &[u8]> {
        let is_missed = |at: &usize| !self.met[*at].load(Ordering::Relaxed);
        (0..self.len()).filter(is_missed).filter_map(|at| self.get(at)).filter(|path| !path.is_empty())
    }

    fn get(&self, at: usize) -> Option<&[u8]> {
        self.text.get(*self.starts.get(at)?..*self.starts.get(at + 1)?)
    }

    fn first_not_before(&self, path: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle).is_some_and(|listed| key(listed).lt(key(path))) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}

fn key(path: &[u8]) -> impl Iterator<Item = u16> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &str) -> FileList {
        FileList::parse(paths.replace(' ', "\0").as_bytes(), Path::new("/src")).expect("good paths")
    }

    #[test]
    fn a_listed_directory_stands_for_all_below_it_and_others_are_only_passed() {
        let list = list("a/b ./c/d/ /src/e.txt a-b");
        assert_eq!(
            (list.look(b"a"), list.look(b"a/b"), list.look(b"a/b/c/d")),
            (Wanted::OnTheWay, Wanted::Yes, Wanted::Yes)
        );
        assert_eq!(
            (list.look(b"a/bc"), list.look(b"a/c"), list.look(b"c")),
            (Wanted::No, Wanted::No, Wanted::OnTheWay)
        );
        assert_eq!((list.look(b"e.txt"), list.look(b"a-b"), list.look(b"a-")), (Wanted::Yes, Wanted::Yes, Wanted::No));
        assert_eq!(list.missed().collect::<Vec<_>>(), [b"c/d"]);
    }

    #[test]
    fn the_top_itself_stands_for_everything() {
        let list = list(".");
        assert_eq!((list.look(b"any/thing"), list.len()), (Wanted::Yes, 1));
        assert_eq!(list.missed().count(), 0);
    }

    #[test]
    fn paths_that_lead_outside_are_refused_by_name() {
        for (path, why) in
            [("../x", "it has .. in it"), ("a/../b", "it has .. in it"), ("/etc", "it lies outside the source")]
        {
            let error = FileList::parse(path.as_bytes(), Path::new("/src")).expect_err("outside");
            assert!(error.to_string().contains(why) && error.to_string().contains(path), "{error}");
        }
    }
}

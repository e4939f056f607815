//! Which names are taken: rules in the style of gitignore.
//!
//! Owns: the rules and their verdict on one name. Does not own: what happens to excluded names (they are delivered and
//! counted, never dropped in silence).
//! Invariants: the last rule that matches decides; nothing below an excluded directory can be included again, because the
//! walk does not go there; names that are no UTF-8 are matched by their bytes. Callers: `walk`, `extract`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::scan::Error;

/// One rule, in the order the user gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Leave out what matches.
    Exclude(String),
    /// Take what matches although an earlier rule excludes it.
    Include(String),
}

/// The rules of one walk.
#[derive(Debug, Clone)]
pub struct Selection {
    matcher: Gitignore,
}

impl Selection {
    /// Takes everything.
    pub fn everything() -> Self {
        Self { matcher: Gitignore::empty() }
    }

    /// Compiles rules. A pattern with a `/` that is not at its end is anchored at the root; `!`, `#` and trailing spaces
    /// in a pattern stand for themselves.
    ///
    /// # Errors
    /// `Rule` names the first that cannot be understood.
    pub fn new(rules: &[Rule]) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        // WHY: git takes an unclosed bracket literally; on a command line it is a slip of the finger.
        builder.allow_unclosed_class(false);
        for rule in rules {
            let (sign, pattern) = match rule {
                Rule::Exclude(pattern) => ("", pattern),
                Rule::Include(pattern) => ("!", pattern),
            };
            let failed = |source| Error::Rule { rule: pattern.clone(), source };
            builder.add_line(None, &format!("{sign}{}", literal_ends(pattern))).map_err(failed)?;
        }
        let failed = |source| Error::Rule { rule: format!("{rules:?}"), source };
        Ok(Self { matcher: builder.build().map_err(failed)? })
    }

    /// Whether an exclude rule matches this path or a directory above it: for patterns that select instead of leaving out.
    pub fn covers(&self, path: &[u8], is_dir: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        !path.as_os_str().is_empty() && self.matcher.matched_path_or_any_parents(path, is_dir).is_ignore()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Whether the rules exclude this path (relative to its root).
    pub fn excludes(&self, path: &[u8], is_dir: bool) -> bool {
        !self.matcher.is_empty() && self.matcher.matched(Path::new(OsStr::from_bytes(path)), is_dir).is_ignore()
    }
}

/// Escapes what a line of a gitignore file would take for syntax, though it is part of a pattern given alone.
fn literal_ends(pattern: &str) -> String {
    let trimmed = pattern.trim_end_matches(' ');
    let spaces = pattern.len() - trimmed.len();
    let head = if pattern.starts_with(['!', '#']) { "\\" } else { "" };
    format!("{head}{trimmed}{}", "\\ ".repeat(spaces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclude(patterns: &[&str]) -> Selection {
        let rules: Vec<_> = patterns.iter().map(|pattern| Rule::Exclude((*pattern).into())).collect();
        Selection::new(&rules).expect("good patterns")
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let selection = exclude(&["*.tmp", "/top", "cache/", "a/**/z", "x?y", "[ab].c"]);
        let excluded = |path: &str| selection.excludes(path.as_bytes(), false);
        assert!(excluded("a.tmp") && excluded("deep/down/a.tmp") && !excluded("a.tmp.txt"));
        assert!(excluded("top") && !excluded("sub/top"));
        assert!(selection.excludes(b"sub/cache", true) && !excluded("sub/cache"));
        assert!(excluded("a/z") && excluded("a/b/c/z") && !excluded("b/a/b/z"));
        assert!(excluded("xzy") && !excluded("xy") && excluded("b.c") && !excluded("c.c"));
    }

    #[test]
    fn the_last_rule_decides() {
        let rules = [Rule::Exclude("*.log".into()), Rule::Include("keep.log".into())];
        let selection = Selection::new(&rules).expect("good patterns");
        assert!(selection.excludes(b"a.log", false) && !selection.excludes(b"d/keep.log", false));
        let rules = [Rule::Include("keep.log".into()), Rule::Exclude("*.log".into())];
        assert!(Selection::new(&rules).expect("good patterns").excludes(b"keep.log", false));
    }

    #[test]
    fn signs_and_spaces_in_a_pattern_are_taken_literally() {
        let selection = exclude(&["!bang", "#hash", "end  "]);
        for name in ["!bang", "#hash", "end  "] {
            assert!(selection.excludes(name.as_bytes(), false), "{name:?}");
        }
        assert!(!selection.excludes(b"end", false) && !selection.excludes(b"bang", false));
    }

    #[test]
    fn names_that_are_no_text_are_matched_by_their_bytes() {
        let selection = exclude(&["*.tmp"]);
        assert!(selection.excludes(b"\xff\xfe.tmp", false));
        assert!(!selection.excludes(b"\xff\n.txt", false));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Selection::new(&[Rule::Exclude("a[".into())]).expect_err("no closing bracket");
        assert_eq!(error.to_string(), r#"rule "a[" is not a pattern in the style of gitignore"#);
    }
}

//! Files that change while they are read: how often they are read again, and what then.
//!
//! Owns: the rule for a path. Does not own: noticing a change (`small`, `large`). Invariants: whatever the rule, the
//! content recorded is what was read, and the record says that it changed. Callers: workers, `cli`.

use crate::scan::{self, Rule, Selection};

/// What becomes of a file that changed in every reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnChange {
    /// It is not staged: a problem, tried again by the next run.
    Fail,
    /// It is staged as it was read last, marked as changed, and told.
    #[default]
    Warn,
    /// It is staged as it was read last and marked as changed; that is as expected.
    Accept,
}

/// The rules of a run: the last that covers a path decides.
#[derive(Debug, Clone)]
pub struct Moving {
    rules: Vec<(Option<Selection>, OnChange)>,
    readings_max: u32,
}

impl Default for Moving {
    /// Three readings, then a warning.
    fn default() -> Self {
        Self { rules: Vec::new(), readings_max: 3 }
    }
}

impl Moving {
    /// Rules in the order of the user: a pattern in the style of gitignore, or everything, and what is done then.
    ///
    /// # Errors
    /// When a pattern cannot be understood.
    pub fn new(rules: &[(Option<String>, OnChange)], readings_max: u32) -> Result<Self, scan::Error> {
        let compile = |(pattern, what): &(Option<String>, OnChange)| {
            let pattern = pattern.clone().map(|pattern| Selection::new(&[Rule::Exclude(pattern)])).transpose()?;
            Ok((pattern, *what))
        };
        Ok(Self { rules: rules.iter().map(compile).collect::<Result<_, _>>()?, readings_max: readings_max.max(1) })
    }

    /// What is done with that path.
    pub fn of(&self, path: &[u8]) -> OnChange {
        let covers =
            |rule: &&(Option<Selection>, OnChange)| rule.0.as_ref().is_none_or(|pattern| pattern.covers(path, false));
        self.rules.iter().rev().find(covers).map(|(_, what)| *what).unwrap_or_default()
    }

    /// Readings of a file that keeps changing, the first included.
    pub fn readings_max(&self) -> u32 {
        self.readings_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_covers_a_path_decides() {
        let rules = [
            (None, OnChange::Fail),
            (Some("*.log".to_owned()), OnChange::Accept),
            (Some("/var/".to_owned()), OnChange::Warn),
        ];
        let moving = Moving::new(&rules, 5).expect("good patterns");
        assert_eq!(moving.of(b"data/a.bin"), OnChange::Fail);
        assert_eq!(moving.of(b"data/a.log"), OnChange::Accept);
        assert_eq!(moving.of(b"var/a.log"), OnChange::Warn);
        assert_eq!((moving.readings_max(), Moving::default().of(b"x")), (5, OnChange::Warn));
        assert!(Moving::new(&[(Some("a[".to_owned()), OnChange::Fail)], 1).is_err());
    }
}

//! A source that breaks by script: what [`crate::sys::source::SourceFile`] meets below a chosen directory.
//!
//! Owns: which scripts are in force. Does not own: what a fault is and when it strikes (`fault`).
//! Invariants: without a script this costs one look at a flag for each file opened. Callers: `source`; tests.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::fault::{FaultRule, Rules, unexercised};
use crate::sys::lock::lock;

static IN_FORCE: AtomicBool = AtomicBool::new(false);
static SCRIPTS: Mutex<Vec<(PathBuf, Rules)>> = Mutex::new(Vec::new());

/// Faults of the source below a directory, for as long as this lives.
#[derive(Debug)]
pub struct SourceFaults {
    dir: PathBuf,
    rules: Rules,
}

impl SourceFaults {
    /// Puts a script in force; without rules it changes nothing.
    pub fn below(dir: &Path) -> Self {
        let rules = Rules::default();
        lock(&SCRIPTS).push((dir.to_owned(), rules.clone()));
        IN_FORCE.store(true, Ordering::Release);
        Self { dir: dir.to_owned(), rules }
    }

    /// Adds a rule. Calls that can break: opening (`OpenRead`), looking at an open file (`Stat`), reading (`Read`).
    pub fn add(&self, rule: FaultRule) {
        lock(&self.rules).push(rule);
    }

    /// Rules that never fired.
    pub fn unexercised(&self) -> Vec<FaultRule> {
        unexercised(&self.rules)
    }
}

impl Drop for SourceFaults {
    fn drop(&mut self) {
        let mut scripts = lock(&SCRIPTS);
        scripts.retain(|(dir, _)| *dir != self.dir);
        IN_FORCE.store(!scripts.is_empty(), Ordering::Release);
    }
}

/// The script for a path, if there is one.
pub(super) fn script(path: &Path) -> Option<Rules> {
    if !IN_FORCE.load(Ordering::Acquire) {
        return None;
    }
    let scripts = lock(&SCRIPTS);
    scripts.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, rules)| rules.clone())
}

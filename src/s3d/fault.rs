//! Ways in which the server misbehaves on request.
//!
//! Owns: the script of one-off faults and the lasting quirks that make this server resemble weaker ones. Does not own:
//! carrying them out (`gate` does the faults, the back end asks for the quirks). Invariant: without a script nothing
//! here changes any answer. Tests only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::sys::lock::lock;

/// The S3 operations a fault can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are S3's own")]
pub enum Operation {
    Any,
    PutObject,
    HeadObject,
    GetObject,
    CreateUpload,
    UploadPart,
    ListParts,
    CompleteUpload,
    AbortUpload,
    Other,
}

/// What goes wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// 503 `SlowDown`, nothing done.
    SlowDown,
    /// 500 `InternalError`, nothing done.
    InternalError,
    /// Status 200 whose body is an `InternalError` document, nothing done.
    ErrorInside200,
    /// The connection closes before the request is looked at.
    DropBefore,
    /// The request is carried out, then the connection closes instead of the answer.
    DropAfter,
    /// No answer ever, nothing done.
    Mute,
    /// One bit of the first body bytes is flipped on arrival.
    FlipBit,
    /// This status and error code, nothing done.
    Refuse(u16, &'static str),
    /// The request is carried out, and answered with 500 `InternalError`.
    DoneAndDenied,
    /// Carried out; the checksum in the answer is another one.
    WrongChecksum,
    /// Carried out; the answer has no checksum.
    NoChecksum,
    /// Carried out only when so many requests wait for it at the same time; until then all of them wait.
    Together(u8),
    /// Carried out, and answered so many milliseconds later.
    Late(u16),
}

/// Lasting differences from S3, to stand in for servers that check less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Wrong checksums are accepted and none is given back (stores from before 2022).
    pub ignore_checksums: bool,
    /// Wrong `Content-MD5` headers are accepted.
    pub ignore_content_md5: bool,
    /// Checksum headers on a single PUT are verified, whole-object ones on completion are not.
    pub ignore_full_object: bool,
    /// `If-Match` and `If-None-Match` on writes have no effect.
    pub ignore_conditions: bool,
    /// No part number above 1,000 is taken.
    pub few_parts: bool,
    /// Requests that name the bucket in their path are refused: it belongs into the host name.
    pub only_in_host_name: bool,
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    key_contains: Option<String>,
    skip: u32,
    times: u32,
    fault: Fault,
}

/// A script of faults, shared between the test that wrote it and the server that follows it.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    rules: Arc<Mutex<Vec<Rule>>>,
    /// Requests that wait for company, and the word that there are enough of them.
    gathered: Arc<(Semaphore, AtomicU32)>,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self { rules: Arc::default(), gathered: Arc::new((Semaphore::new(0), AtomicU32::new(0))) }
    }
}

impl FaultPlan {
    /// Adds: the next request for `operation` fails in this way.
    pub fn once(&self, operation: Operation, fault: Fault) -> &Self {
        self.after(operation, 0, 1, fault)
    }

    /// Adds: after `skip` requests for `operation` pass, the following `times` fail in this way.
    pub fn after(&self, operation: Operation, skip: u32, times: u32, fault: Fault) -> &Self {
        self.add(Rule { operation, key_contains: None, skip, times, fault })
    }

    /// Adds: requests for `operation` whose path contains `part` fail `times` times.
    pub fn on_key(&self, operation: Operation, part: &str, times: u32, fault: Fault) -> &Self {
        self.add(Rule { operation, key_contains: Some(part.to_owned()), skip: 0, times, fault })
    }

    /// Adds: after `skip` requests for `operation` whose path contains `part`, all later ones fail.
    pub fn on_key_after(&self, operation: Operation, part: &str, skip: u32, fault: Fault) -> &Self {
        self.add(Rule { operation, key_contains: Some(part.to_owned()), skip, times: u32::MAX, fault })
    }

    /// Waits until so many requests wait here.
    pub(super) async fn together(&self, wanted: u8) {
        let (gate, waiting) = &*self.gathered;
        if waiting.fetch_add(1, Ordering::AcqRel) + 1 == u32::from(wanted) {
            gate.add_permits(Semaphore::MAX_PERMITS);
        }
        // The semaphore is never closed.
        let _ = gate.acquire().await;
    }

    /// Whether every fault of the script has happened as often as it was written: a test that ends otherwise did not
    /// test what it says.
    pub fn all_exercised(&self) -> bool {
        lock(&self.rules).iter().all(|rule| rule.times == 0)
    }

    fn add(&self, rule: Rule) -> &Self {
        lock(&self.rules).push(rule);
        self
    }

    pub(super) fn next(&self, operation: Operation, path: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        for rule in rules.iter_mut() {
            let aimed = rule.operation == Operation::Any || rule.operation == operation;
            let named = rule.key_contains.as_ref().is_none_or(|part| path.contains(part.as_str()));
            if !aimed || !named || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            return Some(rule.fault);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_fires_then_is_spent() {
        let plan = FaultPlan::default();
        plan.after(Operation::UploadPart, 1, 2, Fault::SlowDown);
        assert_eq!(plan.next(Operation::PutObject, "/b/k"), None);
        assert_eq!(plan.next(Operation::UploadPart, "/b/k"), None);
        assert_eq!(plan.next(Operation::UploadPart, "/b/k"), Some(Fault::SlowDown));
        assert!(!plan.all_exercised());
        assert_eq!(plan.next(Operation::UploadPart, "/b/k"), Some(Fault::SlowDown));
        assert_eq!(plan.next(Operation::UploadPart, "/b/k"), None);
        assert!(plan.all_exercised());
    }
}

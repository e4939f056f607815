//! One transaction, and what must be settled before it ends.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, TransactionBehavior};

use crate::crypto::SigningKey;
use crate::format::JobId;
use crate::job::error::During;
use crate::job::ledger::Deltas;
use crate::job::{Caches, Count, Error, Job, Placed, commit};

/// A transaction on the job. Everything done through it becomes visible together, or not at all.
#[derive(Debug)]
pub struct Batch<'j> {
    pub(super) db: &'j Connection,
    pub(super) caches: &'j Caches,
    /// The job, and the key that signs its log.
    pub(super) job: JobId,
    pub(super) signer: Option<&'j SigningKey>,
    pub(super) deltas: Deltas,
    /// Extents whose ENTRY record may still come in this batch; the two then share a row.
    pub(super) held: HashMap<u64, Placed>,
    /// Entries that may have become complete.
    pub(super) touched: HashSet<u64>,
    /// Whether records come from volumes in any order, rather than from the stager.
    pub(super) is_importing: bool,
    /// What this batch made complete.
    pub(super) completed: Count,
}

impl Job {
    /// Runs `work` in one transaction; an error undoes all of it. A power cut may undo it too (see the module's head).
    ///
    /// # Errors
    /// Those of `work`, and those of the database.
    pub fn batch<T, E: From<Error>>(&mut self, work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>) -> Result<T, E> {
        self.transaction("NORMAL", work)
    }

    /// Like [`Job::batch`], and durable when it returns.
    ///
    /// # Errors
    /// Those of `work`, and those of the database.
    pub fn batch_durable<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transaction("FULL", work)
    }

    fn transaction<T, E: From<Error>>(
        &mut self,
        synchronous: &'static str,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.caches.synchronous.get() != synchronous {
            self.db.pragma_update(None, "synchronous", synchronous).during("choose what is durable")?;
            self.caches.synchronous.set(synchronous);
        }
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).during("begin a transaction")?;
        let mut batch = Batch {
            db: &tx,
            caches: &self.caches,
            job: self.id,
            signer: self.signer.as_deref(),
            deltas: Deltas::default(),
            held: HashMap::new(),
            touched: HashSet::new(),
            is_importing: false,
            completed: Count::default(),
        };
        let result = work(&mut batch).and_then(|value| {
            commit::settle(&mut batch)?;
            batch.deltas.store(batch.db)?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                tx.commit().during("end a transaction")?;
                Ok(value)
            }
            Err(error) => {
                drop(tx);
                self.caches.paths.borrow_mut().clear(); // it may know entries that were just undone
                self.caches.owners.borrow_mut().clear();
                Err(error)
            }
        }
    }
}

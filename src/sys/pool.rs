//! Reusable buffers: fresh pages cost more than the copying done in them.
//!
//! Owns: a free list of byte buffers, and the memory permits of those in use. Does not own: the budget's size.
//! Invariants: a buffer that is in use holds a permit for its capacity; a dropped buffer goes back to the list and its
//! permit to the budget; the list never holds more than the budget allowed to be in use. Callers: `stage`, `volume`,
//! `ingest`.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use crate::sys::budget::{BudgetError, MemoryBudget, Permit};
use crate::sys::lock::lock;

/// Buffers of one capacity under a budget.
#[derive(Debug)]
pub struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
    budget: Arc<MemoryBudget>,
    capacity: usize,
}

impl BufferPool {
    /// A pool of buffers of `capacity` bytes each.
    pub fn new(budget: Arc<MemoryBudget>, capacity: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), budget, capacity })
    }

    /// An empty buffer; waits until the budget has room for it.
    ///
    /// # Errors
    /// When one buffer is larger than the whole budget.
    pub fn take(self: &Arc<Self>) -> Result<PooledBuf, BudgetError> {
        let permit = self.budget.acquire(self.capacity as u64)?;
        let mut buffer = self.with(permit);
        buffer.clear();
        Ok(buffer)
    }

    /// Two empty buffers, granted together: a task that holds one and waits for another could wait for ever.
    ///
    /// # Errors
    /// When two buffers are larger than the whole budget.
    pub fn take_two(self: &Arc<Self>) -> Result<(PooledBuf, PooledBuf), BudgetError> {
        let (mut first, mut second) = self.take_two_used()?;
        first.clear();
        second.clear();
        Ok((first, second))
    }

    /// Like [`Self::take_two`], but with whatever is still in the buffers: for those who overwrite every byte, and would
    /// rather not pay for zeros first.
    ///
    /// # Errors
    /// When two buffers are larger than the whole budget.
    pub fn take_two_used(self: &Arc<Self>) -> Result<(PooledBuf, PooledBuf), BudgetError> {
        let mut both = self.budget.acquire(2 * self.capacity as u64)?;
        let second = both.split_off(self.capacity as u64);
        Ok((self.with(both), self.with(second)))
    }

    fn with(self: &Arc<Self>, permit: Permit) -> PooledBuf {
        let buffer = lock(&self.free).pop();
        let buffer = buffer.unwrap_or_else(|| Vec::with_capacity(self.capacity));
        PooledBuf { buffer, home: Some((Arc::clone(self), permit)) }
    }

    /// Bytes in one buffer.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// A byte buffer that goes back to its pool when dropped; or an ordinary one.
#[derive(Debug, Default)]
pub struct PooledBuf {
    buffer: Vec<u8>,
    home: Option<(Arc<BufferPool>, Permit)>,
}

impl PooledBuf {
    /// Gives it that length; bytes that were there stay, others are zero.
    pub fn size_to(&mut self, length: usize) {
        if length <= self.buffer.len() {
            self.buffer.truncate(length);
        } else {
            self.buffer.resize(length, 0);
        }
    }
}

impl From<Vec<u8>> for PooledBuf {
    fn from(buffer: Vec<u8>) -> Self {
        Self { buffer, home: None }
    }
}

impl Deref for PooledBuf {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some((pool, permit)) = self.home.take() {
            let buffer = std::mem::take(&mut self.buffer);
            // A buffer that outgrew its capacity would break the budget if it were kept.
            if buffer.capacity() <= pool.capacity * 2 {
                lock(&pool.free).push(buffer);
            }
            drop(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_and_its_permit_returned() {
        let budget = Arc::new(MemoryBudget::new(3000));
        let pool = BufferPool::new(Arc::clone(&budget), 1000);
        let mut first = pool.take().unwrap();
        first.extend_from_slice(&[1; 1000]);
        let place = first.as_ptr();
        assert_eq!(budget.used_bytes(), 1000);
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
        let second = pool.take().unwrap();
        assert!(second.is_empty() && second.as_ptr() == place);
        drop(second);
        let (mut used, _) = pool.take_two_used().unwrap();
        used.size_to(700);
        used.size_to(20);
        used.size_to(30);
        assert_eq!(used.len(), 30);
        drop(used);
        let (_a, _b) = pool.take_two().unwrap();
        assert_eq!(budget.used_bytes(), 2000);
    }
}

//! Reading the job on a thread of its own, ahead of whoever works on what is read: the two take about as long.

use crossbeam_channel::bounded;

use crate::job::{Error, Job};

/// Items handed over at once: a channel costs more than reading one of them.
const BATCH: usize = 512;
/// Batches that may wait.
const BATCHES_AHEAD: usize = 8;

/// Why reading ended early.
#[derive(Debug)]
pub enum Ended<E> {
    /// Nobody takes any more: whoever did has an error of its own to tell.
    Unheard,
    /// Reading failed.
    Failed(E),
}

impl<E: From<Error>> From<Error> for Ended<E> {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Job {
    /// Runs `read` on a thread of its own, with a handle of its own for reading only; each item it puts is handed to `each`
    /// here, in order. Memory is some thousand items.
    ///
    /// # Errors
    /// Those of `each`, of `read`, and of opening the database.
    pub fn read_ahead<T: Send, E: From<Error> + Send>(
        &self,
        read: impl FnOnce(&Self, &mut dyn FnMut(T) -> Result<(), Ended<E>>) -> Result<(), Ended<E>> + Send,
        mut each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let dir = self.dir();
        std::thread::scope(|scope| {
            let (filled, batches) = bounded::<Vec<T>>(BATCHES_AHEAD);
            let reader = scope.spawn(move || {
                let job = Self::open_read_only(dir)?;
                let mut batch = Vec::with_capacity(BATCH);
                read(&job, &mut |item| {
                    batch.push(item);
                    if batch.len() < BATCH {
                        return Ok(());
                    }
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    filled.send(full).map_err(|_| Ended::Unheard)
                })?;
                filled.send(batch).map_err(|_| Ended::Unheard)
            });
            for batch in &batches {
                batch.into_iter().try_for_each(&mut each)?; // the reader ends when nobody takes any more
            }
            drop(batches);
            match reader.join() {
                Ok(Ok(()) | Err(Ended::Unheard)) => Ok(()),
                Ok(Err(Ended::Failed(error))) => Err(error),
                Err(_) => Err(Error::Reader.into()),
            }
        })
    }
}

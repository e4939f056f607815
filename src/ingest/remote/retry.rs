//! Trying again, with patience that has an end.
//!
//! Owns: how often and how long apart. Does not own: what is worth repeating (`RemoteError::class`).

use std::time::Duration;

use crate::ingest::remote::error::{Class, RemoteError};

/// How long a request is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Most attempts, the first included.
    pub attempts_max: u32,
    /// Pause after the first failure; doubles with each further one.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
}

impl Default for Patience {
    /// Eight attempts over about a minute: outlives a restarted router or a server that says "slow down".
    fn default() -> Self {
        Self { attempts_max: 8, pause_first: Duration::from_millis(250), pause_max: Duration::from_secs(20) }
    }
}

impl Patience {
    /// Pause before the attempt after `failures` failures, spread by `salt` so that a crowd does not return at once.
    fn pause(&self, failures: u32, salt: u64) -> Duration {
        let doubled = self.pause_first.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
        let percent = 75 + u32::try_from(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58).unwrap_or(0);
        doubled.min(self.pause_max) * percent / 100
    }
}

/// Repeats `attempt` while it fails in a way that may pass. `attempt` gets the number of failures so far, and makes its
/// body anew each time: a body that arrived damaged is read from the source again.
///
/// # Errors
/// The last failure.
pub async fn persist<T, F>(patience: Patience, salt: u64, mut attempt: impl FnMut(u32) -> F) -> Result<T, RemoteError>
where
    F: Future<Output = Result<T, RemoteError>>,
{
    let mut failures = 0;
    loop {
        match attempt(failures).await {
            Ok(value) => return Ok(value),
            Err(error) if error.class() == Class::Permanent => return Err(error),
            Err(error) if failures + 1 >= patience.attempts_max => return Err(error),
            Err(_) => {
                tokio::time::sleep(patience.pause(failures, salt)).await;
                failures += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit() {
        let patience = Patience::default();
        let pauses: Vec<_> = (0..10).map(|failures| patience.pause(failures, 7)).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses.iter().all(|pause| *pause <= patience.pause_max * 3 / 2));
        assert!(pauses[0] >= patience.pause_first / 2);
    }
}

//! How many requests are on their way, and when none may start.
//!
//! Owns: the number of requests in flight, the pause of a prefix that the server is slow with, the hours in which sending
//! is allowed. Invariants: never more requests than the user allows; a server that asks to slow down gets half as many at
//! once; whoever waits here ends soon after the run was stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ingest::hours::Window;
use crate::ingest::remote::RemoteError;
use crate::sys::Clock;
use crate::sys::lock::lock;
use crate::sys::process::StopFlag;

/// Requests in flight at the start.
const FIRST: usize = 16;
/// How long throughput is watched before the number changes. Shorter, and the noise of a few requests decides.
const WATCH: Duration = Duration::from_millis(400);
/// Work of a request beside its bytes: what a small object costs. Unit: bytes.
const OVERHEAD_BYTES: u64 = 64 << 10;
/// How long a server that asked to slow down is not pressed again.
const CALM: Duration = Duration::from_secs(5);
/// Pause of a prefix after its first request to slow down; doubles with each further one.
const PREFIX_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest pause of a prefix.
const PREFIX_PAUSE_MAX: Duration = Duration::from_secs(16);
/// Longest sleep before the run's stop is looked at again.
const NAP: Duration = Duration::from_millis(250);

/// The number of requests that may be in flight, as throughput shows it. Pure: time comes as an argument.
#[derive(Debug)]
struct Tuner {
    limit: usize,
    limit_max: usize,
    limit_seen: usize,
    since: Duration,
    work: u64,
    best: f64,
    calm_until: Duration,
}

impl Tuner {
    fn new(limit_max: usize) -> Self {
        let limit_max = limit_max.max(1);
        let limit = FIRST.min(limit_max);
        Self {
            limit,
            limit_max,
            limit_seen: limit,
            since: Duration::ZERO,
            work: 0,
            best: 0.0,
            calm_until: Duration::ZERO,
        }
    }

    /// A request was answered. More requests at a time as long as that gets more through.
    fn answered(&mut self, now: Duration, bytes: u64) {
        if self.since == Duration::ZERO {
            // The watch begins here: what this answer brought was sent before.
            self.since = now;
            return;
        }
        self.work += bytes + OVERHEAD_BYTES;
        let watched = now.saturating_sub(self.since);
        if watched < WATCH {
            return;
        }
        let rate = self.work as f64 / watched.as_secs_f64();
        (self.since, self.work) = (now, 0);
        let gains = rate > self.best * 1.03;
        self.best = self.best.max(rate);
        if gains && now >= self.calm_until {
            self.limit = (self.limit + (self.limit / 4).max(1)).min(self.limit_max);
            self.limit_seen = self.limit_seen.max(self.limit);
        } else {
            // What was best once need not be possible any more.
            self.best *= 0.98;
        }
    }

    /// The server asked to slow down. One crowd of refusals is one request to do so.
    fn slowed(&mut self, now: Duration) {
        if now >= self.calm_until {
            self.limit = (self.limit / 2).max(1);
            self.best = 0.0;
            self.calm_until = now + CALM;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Slow {
    until: Duration,
    pause: Duration,
}

/// What paces the requests of a run.
#[derive(Debug)]
pub(super) struct Flow {
    permits: Semaphore,
    state: Mutex<State>,
    window: Option<Window>,
    clock: Arc<dyn Clock>,
    stop: StopFlag,
}

#[derive(Debug)]
struct State {
    tuner: Tuner,
    /// Permits that exist, given out or not.
    permits: usize,
    slow: HashMap<String, Slow>,
}

/// One request's turn; dropping it lets the next one go.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    flow: &'a Flow,
    permit: Option<SemaphorePermit<'a>>,
}

impl Flow {
    pub(super) fn new(requests_max: usize, window: Option<Window>, clock: Arc<dyn Clock>, stop: StopFlag) -> Self {
        let tuner = Tuner::new(requests_max);
        let permits = tuner.limit;
        let state = State { tuner, permits, slow: HashMap::new() };
        Self { permits: Semaphore::new(permits), state: Mutex::new(state), window, clock, stop }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How many requests may be on their way at present.
    pub(super) fn limit(&self) -> usize {
        self.state().tuner.limit
    }

    /// Most requests that were allowed at a time so far.
    pub(super) fn limit_seen(&self) -> usize {
        self.state().tuner.limit_seen
    }

    /// How long until the allowed hours begin; zero within them.
    pub(super) fn closed_for(&self) -> Duration {
        self.window.as_ref().map_or(Duration::ZERO, |window| window.closed_for(self.clock.now()))
    }

    /// Waits for a turn to send something under `key`; `None` once the run is stopped.
    pub(super) async fn turn(&self, key: &str) -> Option<Turn<'_>> {
        loop {
            if self.stop.is_set() {
                return None;
            }
            let wait = self.closed_for().max(self.prefix_wait(key));
            if wait > Duration::ZERO {
                tokio::time::sleep(wait.min(NAP)).await;
                continue;
            }
            let permit = self.permits.acquire().await.ok()?;
            // It may have become late while others were sending.
            if self.closed_for() == Duration::ZERO && !self.stop.is_set() {
                return Some(Turn { flow: self, permit: Some(permit) });
            }
        }
    }

    fn prefix_wait(&self, key: &str) -> Duration {
        let slow = self.state().slow.get(prefix(key)).copied();
        slow.map_or(Duration::ZERO, |slow| slow.until.saturating_sub(self.clock.monotonic()))
    }

    /// Learns from how one attempt of a request ended.
    pub(super) fn heard<T>(&self, key: &str, bytes: u64, result: &Result<T, RemoteError>) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        match result {
            Err(RemoteError::Unavailable { .. }) => {
                state.tuner.slowed(now);
                let pause = state.slow.get(prefix(key)).map_or(PREFIX_PAUSE_FIRST, |slow| {
                    if slow.until > now { slow.pause } else { (slow.pause * 2).min(PREFIX_PAUSE_MAX) }
                });
                state.slow.insert(prefix(key).to_owned(), Slow { until: now + pause, pause });
            }
            Err(_) => return,
            Ok(_) => {
                state.tuner.answered(now, bytes);
                if !state.slow.is_empty() {
                    state.slow.remove(prefix(key));
                }
            }
        }
        let limit = state.tuner.limit;
        if limit > state.permits {
            self.permits.add_permits(limit - state.permits);
            state.permits = limit;
        } else if limit < state.permits {
            state.permits -= self.permits.forget_permits(state.permits - limit);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.flow.state();
        if state.permits > state.tuner.limit
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }
}

/// What S3 counts requests by: everything up to the last slash.
fn prefix(key: &str) -> &str {
    key.rfind('/').map_or("", |end| &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one watch of requests and gives the number in flight after it.
    fn watch(tuner: &mut Tuner, at_s: f64, rate: f64) -> usize {
        let now = Duration::from_secs_f64(at_s);
        tuner.answered(now, (rate * 0.5) as u64);
        tuner.limit
    }

    #[test]
    fn more_requests_while_that_gets_more_through_and_no_more_after() {
        let mut tuner = Tuner::new(64);
        let mut at = 0.5;
        for step in 0..40 {
            // The link takes 500 MB/s, and each request brings 20.
            let rate = (tuner.limit as f64 * 20e6).min(500e6);
            watch(&mut tuner, at, rate);
            at += 0.5;
            assert!(tuner.limit <= 64, "step {step}");
        }
        assert!((24..=40).contains(&tuner.limit), "{}", tuner.limit);
    }

    #[test]
    fn a_request_to_slow_down_halves_once_for_a_whole_crowd_of_them() {
        let mut tuner = Tuner::new(64);
        for at in 1..=20 {
            tuner.slowed(Duration::from_secs(100) + Duration::from_millis(at));
        }
        assert_eq!(tuner.limit, FIRST / 2);
        tuner.slowed(Duration::from_secs(200));
        assert_eq!(tuner.limit, FIRST / 4);
        for at in 300..330 {
            tuner.slowed(Duration::from_secs(at * 10));
        }
        assert_eq!(tuner.limit, 1, "something is always sent");
    }

    #[test]
    fn a_prefix_is_everything_before_the_last_slash() {
        assert_eq!(prefix("a/b/c"), "a/b");
        assert_eq!(prefix("c"), "");
        assert_eq!(prefix("a/"), "a");
    }
}

//! How a run went, kept with the job for its reports: throughput over time, what was slow, what had to be repeated.
//!
//! Owns: the journal and its text form. Pure: moments come as arguments. Invariant: its size does not grow with the run:
//! the steps of the timeline get longer instead, and of objects only the extreme ones are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::job::{Error, Job};

/// Setting that holds the journals of the last runs.
const JOURNALS: &str = "ingest.journals";
/// Runs whose journals are kept.
const JOURNALS_KEPT: usize = 50;
/// Steps of the timeline at most; when they are used up, each takes twice as long.
const STEPS_MAX: usize = 240;
/// First length of a step. Unit: seconds.
const STEP_FIRST_S: u64 = 1;
/// Objects of each kind that are kept.
const KEPT: usize = 20;

/// What an object or part took beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Requests repeated.
    pub retries: u32,
    /// From the first attempt to the last answer.
    pub took: Duration,
}

/// One object that stood out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notable {
    /// Its key.
    pub key: String,
    /// Its length. Unit: bytes.
    pub bytes: u64,
    /// From its first request to its last answer. Unit: milliseconds.
    pub took_ms: u64,
    /// Requests repeated for it.
    pub retries: u32,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// `ingest` or `send`.
    pub command: String,
    /// When the run began. Unit: seconds since 1970.
    pub started_s: i64,
    /// How long it took. Unit: milliseconds.
    pub took_ms: u64,
    /// Length of a step of the timeline. Unit: seconds.
    pub step_s: u64,
    /// Bytes that arrived in each step.
    pub steps_bytes: Vec<u64>,
    /// Objects proved.
    pub objects: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Requests repeated.
    pub retries: u64,
    /// Objects that took longest for what they are, slowest first.
    pub slowest: Vec<Notable>,
    /// Objects with most repeated requests.
    pub retried: Vec<Notable>,
    /// Most requests that were in flight.
    pub requests_max: usize,
}

impl Journal {
    /// Of a run that begins now.
    pub fn new(command: &str, started_s: i64) -> Self {
        Self {
            command: command.to_owned(),
            started_s,
            took_ms: 0,
            step_s: STEP_FIRST_S,
            steps_bytes: Vec::new(),
            objects: 0,
            bytes: 0,
            retries: 0,
            slowest: Vec::new(),
            retried: Vec::new(),
            requests_max: 0,
        }
    }

    /// Bytes arrived, so long after the beginning.
    pub fn arrived(&mut self, since: Duration, bytes: u64) {
        self.bytes += bytes;
        let mut step = since.as_secs() / self.step_s;
        while step >= STEPS_MAX as u64 {
            self.steps_bytes = self.steps_bytes.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.step_s *= 2;
            step = since.as_secs() / self.step_s;
        }
        let step = usize::try_from(step).unwrap_or(STEPS_MAX - 1);
        if self.steps_bytes.len() <= step {
            self.steps_bytes.resize(step + 1, 0);
        }
        self.steps_bytes[step] += bytes;
    }

    /// An object is there.
    pub fn object(&mut self, key: &str, bytes: u64, effort: Effort) {
        self.objects += 1;
        self.retries += u64::from(effort.retries);
        let took_ms = u64::try_from(effort.took.as_millis()).unwrap_or(u64::MAX);
        let notable = || Notable { key: key.to_owned(), bytes, took_ms, retries: effort.retries };
        if self.slowest.len() < KEPT || self.slowest.last().is_some_and(|last| last.took_ms < took_ms) {
            self.slowest.push(notable());
            self.slowest.sort_by_key(|one| std::cmp::Reverse(one.took_ms));
            self.slowest.truncate(KEPT);
        }
        let is_more = self.retried.len() < KEPT || self.retried.last().is_some_and(|l| l.retries < effort.retries);
        if effort.retries > 0 && is_more {
            self.retried.push(notable());
            self.retried.sort_by_key(|one| std::cmp::Reverse(one.retries));
            self.retried.truncate(KEPT);
        }
    }

    /// Bytes per second over the whole run; `None` if it was too short to tell.
    pub fn bytes_per_second(&self) -> Option<f64> {
        (self.took_ms >= 1000 && self.bytes > 0).then(|| self.bytes as f64 / (self.took_ms as f64 / 1000.0))
    }
}

impl Job {
    /// How the last runs that sent something went, oldest first.
    ///
    /// # Errors
    /// When the database fails, or what it holds is no journal.
    pub fn journals(&self) -> Result<Vec<Journal>, Error> {
        let Some(text) = self.setting(JOURNALS)? else { return Ok(Vec::new()) };
        let broken = |error: serde_json::Error| Error::Corrupt { what: "journal of a run", found: error.to_string() };
        serde_json::from_str(&text).map_err(broken)
    }

    /// Keeps the journal of a run with those of the runs before it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_journal(&mut self, journal: &Journal) -> Result<(), Error> {
        let mut journals = self.journals()?;
        journals.push(journal.clone());
        let first = journals.len().saturating_sub(JOURNALS_KEPT);
        let broken = |error: serde_json::Error| Error::Corrupt { what: "journal of a run", found: error.to_string() };
        let text = serde_json::to_string(&journals[first..]).map_err(broken)?;
        self.batch_durable(|batch| batch.set_setting(JOURNALS, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_gets_longer_steps_and_no_byte_is_lost() {
        let mut journal = Journal::new("ingest", 0);
        for second in 0..10_000 {
            journal.arrived(Duration::from_secs(second), 7);
        }
        assert!(journal.steps_bytes.len() <= STEPS_MAX);
        assert_eq!(journal.steps_bytes.iter().sum::<u64>(), 70_000);
        assert_eq!(journal.step_s, 64);
        assert_eq!(journal.steps_bytes[0], 64 * 7);
    }

    #[test]
    fn the_slowest_and_the_most_repeated_are_kept() {
        let mut journal = Journal::new("ingest", 0);
        for number in 0..100_u32 {
            let effort = Effort { retries: number % 3, took: Duration::from_millis(number.into()) };
            journal.object(&number.to_string(), 1, effort);
        }
        assert_eq!((journal.slowest.len(), journal.slowest[0].took_ms), (KEPT, 99));
        assert!(journal.retried.iter().all(|one| one.retries == 2));
        assert_eq!(journal.retries, (0..100).map(|number| number % 3).sum::<u64>());
    }
}

//! The line to a bucket, measured: round trip, upload rate, and what one small object costs.
//!
//! Owns: what is sent for that, and its removal. Does not own: what is made of the numbers, or printing them. Invariants:
//! what was written under the scratch prefix is removed again, also after a failure; each phase is bounded in time and
//! bodies are random, so that nothing on the way makes them smaller. Called by `cli` for `probe`.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::ingest::Error;
use crate::ingest::remote::{Metadata, ObjectStore, Put, RemoteError, S3Store, Target, connect};
use crate::sys::{Clock, World};

/// Requests without a body for the round trip; the fastest counts.
const PINGS: u32 = 8;
/// Body of a large object. Unit: bytes.
const LARGE_BYTES: usize = 8 << 20;
/// Body of a small object. Unit: bytes.
const SMALL_BYTES: usize = 16 << 10;

/// What was sent in one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    /// Objects that the server took.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// A line as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The fastest answer to a request without a body: the round trip and the server's own work.
    pub round_trip: Duration,
    /// Large objects on all connections.
    pub large: Sent,
    /// Small objects on all connections.
    pub small: Sent,
    /// Connections used.
    pub connections: u32,
}

/// Measures the line to `target` for about `time`, with keys that begin with `scratch`.
///
/// # Errors
/// When the bucket cannot be reached, written or cleaned.
pub fn measure_line(
    target: Target,
    scratch: &str,
    connections: u32,
    time: Duration,
    world: &World,
) -> Result<Line, Error> {
    let place = format!("s3://{}/{scratch}", target.bucket);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(crate::sys::process::parallelism())
        .thread_name("probe")
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let mut random = vec![0; LARGE_BYTES];
    world.random.fill(&mut random);
    let body = Bytes::from(random);
    let measured = runtime.block_on(async {
        let store = connect(target).await;
        let measured = all(&store, scratch, connections, time, &body, &*world.clock).await;
        let cleaned = clean(&store, scratch, connections).await;
        measured.and_then(|line| cleaned.map(|()| line))
    });
    measured.map_err(|source| Error::Remote { target: place, source })
}

async fn all(
    store: &S3Store,
    scratch: &str,
    connections: u32,
    time: Duration,
    body: &Bytes,
    clock: &dyn Clock,
) -> Result<Line, RemoteError> {
    let round_trip = ping(store, scratch, clock).await?;
    let large = phase(store, scratch, connections, time * 2 / 3, body, clock).await?;
    let small = phase(store, scratch, connections, time / 3, &body.slice(..SMALL_BYTES), clock).await?;
    Ok(Line { round_trip, large, small, connections })
}

async fn ping(store: &S3Store, scratch: &str, clock: &dyn Clock) -> Result<Duration, RemoteError> {
    let mut fastest = Duration::MAX;
    for _ in 0..PINGS {
        let start = clock.monotonic();
        store.head(&key(scratch, 0)).await?;
        fastest = fastest.min(clock.monotonic().saturating_sub(start));
    }
    Ok(fastest)
}

/// Every connection sends the same body again and again until the time is up; each finishes what it has begun.
async fn phase(
    store: &S3Store,
    scratch: &str,
    connections: u32,
    time: Duration,
    body: &Bytes,
    clock: &dyn Clock,
) -> Result<Sent, RemoteError> {
    let start = clock.monotonic();
    let connection = |number: u32| async move {
        let mut sent = 0_u64;
        while sent == 0 || clock.monotonic().saturating_sub(start) < time {
            let put = Put {
                key: key(scratch, number),
                body: body.clone(),
                claim: None,
                metadata: Metadata::new(),
                overwrite: true,
            };
            store.put(put).await?;
            sent += 1;
        }
        Ok::<u64, RemoteError>(sent)
    };
    let results = join_all((0..connections).map(connection)).await;
    let elapsed = clock.monotonic().saturating_sub(start);
    let objects: u64 = results.into_iter().sum::<Result<u64, RemoteError>>()?;
    Ok(Sent { objects, bytes: objects * body.len() as u64, elapsed })
}

/// Removes every key that may have been written; the first failure is told after all were tried.
async fn clean(store: &S3Store, scratch: &str, connections: u32) -> Result<(), RemoteError> {
    let deleted =
        join_all((0..connections).map(|number| async move { store.delete(&key(scratch, number)).await })).await;
    deleted.into_iter().collect()
}

fn key(scratch: &str, number: u32) -> String {
    format!("{scratch}packmule-probe-{number:04}")
}

//! A limit of bytes per second over all bodies.
//!
//! Owns: the shared allowance and the body that keeps to it. Invariants: over any longer stretch no more leaves than the
//! limit allows, however many requests there are; bodies leave in small pieces, so that a slow line is used evenly and
//! not in bursts.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::sys::Clock;
use crate::sys::lock::lock;

/// Bytes that leave at once. Unit: bytes.
const PIECE_BYTES: usize = 32 << 10;
/// Unused allowance that is kept: a pause is not followed by a flood.
const CREDIT: Duration = Duration::from_millis(200);

/// The allowance of all bodies of a run.
#[derive(Debug, Clone)]
pub struct Pace {
    bytes_per_second: f64,
    /// When everything that was allowed so far has left at the limit's pace.
    spent_until: Arc<Mutex<Duration>>,
    clock: Arc<dyn Clock>,
}

impl Pace {
    /// At most so many bytes a second.
    pub fn new(bytes_per_second: f64, clock: Arc<dyn Clock>) -> Self {
        let spent_until = Arc::new(Mutex::new(clock.monotonic()));
        Self { bytes_per_second: bytes_per_second.max(1.0), spent_until, clock }
    }

    /// Claims room for so many bytes; gives how long to wait before they may leave.
    fn claim(&self, bytes: usize) -> Duration {
        let now = self.clock.monotonic();
        let mut spent_until = lock(&self.spent_until);
        let start = (*spent_until).max(now.saturating_sub(CREDIT));
        *spent_until = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        start.saturating_sub(now)
    }

    /// A body that leaves at the pace.
    pub(super) fn body(&self, bytes: Bytes) -> ByteStream {
        ByteStream::new(SdkBody::from_body_1_x(Paced { pace: self.clone(), bytes, pause: None }))
    }
}

struct Paced {
    pace: Pace,
    bytes: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE_BYTES.min(self.bytes.len());
        if self.pause.is_none() {
            let wait = self.pace.claim(piece);
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        self.pause = None;
        let piece = self.bytes.split_to(piece);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::TestClock;

    #[test]
    fn all_bodies_together_keep_to_the_limit() {
        let clock = Arc::new(TestClock::new(jiff::Timestamp::UNIX_EPOCH));
        clock.advance(Duration::from_secs(10));
        let pace = Pace::new(1000.0, clock.clone());
        let other = pace.clone();
        assert_eq!(pace.claim(1000), Duration::ZERO);
        assert_eq!(other.claim(500), Duration::from_secs(1));
        assert_eq!(pace.claim(1), Duration::from_millis(1500));
        // After a long pause there is no flood.
        clock.advance(Duration::from_secs(100));
        assert_eq!(pace.claim(1000), Duration::ZERO);
        assert_eq!(pace.claim(1000), Duration::from_millis(800));
    }
}

//! Compression that pays: which level, and whether at all.
//!
//! Two questions. Does the drive leave time? A writer that is always busy has a queue before it, so workers may spend
//! more on each byte; one that waits should get bytes sooner. And does the content give way? A small sample of each frame
//! answers for less than the frame's own cost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::format::{FRAME_HEADER_BYTES, INNER_BYTES, Inner};

/// How content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// By the slack of the drive.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// Always at this zstd level, where the content gives way.
    Level(i32),
}

/// Levels `Auto` moves between; 0 stands for none. Negative levels are zstd's fast ones.
const LADDER: [i32; 6] = [0, -5, 1, 3, 6, 9];
/// Where `Auto` begins: at none. A drive that is slow says so after a quarter of a second; one that is not would have waited
/// for the processors all that time.
const START: usize = 0;
/// Below this share of the processors in use, compression costs nobody time. Unit: percent.
const CPU_IDLE_PERCENT: u64 = 60;
/// From this share of the processors in use on, none is left for stronger compression. Unit: percent.
const CPU_FULL_PERCENT: u64 = 90;
/// Highest step taken for idle processors alone: the next would soon keep them busy. zstd 3.
const IDLE_RUNG_MAX: usize = 3;
/// Sample taken from the middle of a frame. Unit: bytes. 16 KiB of 1 MiB at 4.5 GB/s is well under one percent of what
/// hashing and sealing the frame costs.
const SAMPLE_BYTES: usize = 16 << 10;
/// A sample must shrink below this share of itself (in percent) for the frame to be compressed.
const PAYS_PERCENT: usize = 92;

/// Decides for all workers of a run.
#[derive(Debug)]
pub(super) struct Squeeze {
    mode: Compression,
    rung: AtomicUsize,
    /// Share of the processors in use lately; all, until something else is known.
    cpu_percent: AtomicU64,
}

impl Squeeze {
    pub(super) fn new(mode: Compression) -> Self {
        Self { mode, rung: AtomicUsize::new(START), cpu_percent: AtomicU64::new(100) }
    }

    /// So much of the machine's processors is in use, by whomever.
    pub(super) fn heard_of_cpu(&self, percent: u64) {
        self.cpu_percent.store(percent, Ordering::Relaxed);
    }

    /// A writer was busy for `busy` of `total`.
    pub(super) fn heard(&self, busy: Duration, total: Duration) {
        if self.mode != Compression::Auto || total.is_zero() {
            return;
        }
        let busy_percent = busy.as_micros() * 100 / total.as_micros().max(1);
        let rung = self.rung.load(Ordering::Relaxed);
        let next = match busy_percent {
            90.. if self.cpu_percent.load(Ordering::Relaxed) < CPU_FULL_PERCENT => (rung + 1).min(LADDER.len() - 1),
            // Both are busy: a stronger level would cost time, a weaker one more bytes. It stays as it is.
            90.. => rung,
            75..90 => rung,
            // The drive waits. For the processors: then bytes should come sooner. For the source: then compression is free.
            _ if self.cpu_percent.load(Ordering::Relaxed) < CPU_IDLE_PERCENT => (rung + 1).min(IDLE_RUNG_MAX.max(rung)),
            _ => rung.saturating_sub(1),
        };
        self.rung.store(next, Ordering::Relaxed);
    }

    fn level(&self) -> Option<i32> {
        match self.mode {
            Compression::Off => None,
            Compression::Level(level) => Some(level),
            Compression::Auto => {
                Some(LADDER[self.rung.load(Ordering::Relaxed).min(LADDER.len() - 1)]).filter(|level| *level != 0)
            }
        }
    }

    /// Compresses the plain bytes of `frame`, which follow the room for header and prefix, into `out`; or says no. On yes
    /// `out` holds room for the header, the prefix and the payload.
    pub(super) fn compress(&self, worker: &mut Compressor, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(level) = self.level() else { return false };
        let plain = &frame[FRAME_HEADER_BYTES + INNER_BYTES..];
        worker.pays(plain) && worker.compress(plain, level, out)
    }
}

/// Writes the prefix before the plain bytes of a frame that is stored as it is.
pub(super) fn store(frame: &mut [u8]) {
    let plain_bytes = plain_len(frame.len() - FRAME_HEADER_BYTES - INNER_BYTES);
    frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + INNER_BYTES]
        .copy_from_slice(&Inner { zstd: false, plain_bytes }.encode());
}

fn plain_len(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame's plain bytes are at most 16 MiB")
}

/// zstd contexts of one worker, made once: a context per frame costs more than many a frame.
pub(super) struct Compressor {
    context: Option<zstd::bulk::Compressor<'static>>,
    level: i32,
    sample: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { context: None, level: 0, sample: Vec::new() }
    }

    fn at(&mut self, level: i32) -> Option<&mut zstd::bulk::Compressor<'static>> {
        if self.context.is_none() {
            self.context = zstd::bulk::Compressor::new(level).ok();
            self.level = level;
        }
        let context = self.context.as_mut()?;
        if self.level != level {
            context.set_compression_level(level).ok()?;
            self.level = level;
        }
        Some(context)
    }

    fn pays(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= 2 * SAMPLE_BYTES {
            return plain.len() > 64;
        }
        let from = (plain.len() - SAMPLE_BYTES) / 2;
        let piece = &plain[from..from + SAMPLE_BYTES];
        let mut sample = std::mem::take(&mut self.sample);
        sample.resize(zstd::zstd_safe::compress_bound(SAMPLE_BYTES), 0);
        let got = self.at(1).and_then(|context| context.compress_to_buffer(piece, &mut sample[..]).ok());
        self.sample = sample;
        got.is_some_and(|got| got * 100 < SAMPLE_BYTES * PAYS_PERCENT)
    }

    fn compress(&mut self, plain: &[u8], level: i32, out: &mut Vec<u8>) -> bool {
        let front = FRAME_HEADER_BYTES + INNER_BYTES;
        // Room for the plain size only: what does not become smaller is stored.
        let room = front + plain.len().saturating_sub(1);
        if out.len() < room {
            out.resize(room, 0);
        }
        out.truncate(room);
        out[..front].fill(0);
        let got = self.at(level).and_then(|context| context.compress_to_buffer(plain, &mut out[front..]).ok());
        let Some(got) = got else { return false };
        out.truncate(front + got);
        let prefix = Inner { zstd: true, plain_bytes: plain_len(plain.len()) }.encode();
        out[FRAME_HEADER_BYTES..front].copy_from_slice(&prefix);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(plain: &[u8]) -> Vec<u8> {
        [&[0; FRAME_HEADER_BYTES + INNER_BYTES], plain].concat()
    }

    #[test]
    fn content_that_does_not_give_way_is_stored() {
        let random: Vec<u8> = (0..8192_u32).flat_map(|i| crate::digest::sha256(&i.to_le_bytes())).collect();
        let (squeeze, mut worker, mut out) = (Squeeze::new(Compression::Level(3)), Compressor::new(), Vec::new());
        assert!(!squeeze.compress(&mut worker, &frame(&random), &mut out));
        assert!(squeeze.compress(&mut worker, &frame(&vec![b'a'; 200_000]), &mut out));
        assert!(out.len() < 1000);
        let (inner, payload) = Inner::split(&out[FRAME_HEADER_BYTES..], 1 << 20).unwrap();
        assert_eq!(zstd::bulk::decompress(payload, inner.plain_bytes as usize).unwrap(), vec![b'a'; 200_000]);
    }

    #[test]
    fn a_busy_drive_gets_stronger_compression_and_a_waiting_one_none() {
        let squeeze = Squeeze::new(Compression::Auto);
        let second = Duration::from_secs(1);
        squeeze.heard(second, second);
        assert_eq!(squeeze.level(), None, "nothing is known of the processors yet");
        squeeze.heard_of_cpu(50);
        for _ in 0..10 {
            squeeze.heard(second, second);
        }
        assert_eq!(squeeze.level(), Some(9));
        squeeze.heard_of_cpu(100);
        for _ in 0..10 {
            squeeze.heard(second / 10, second);
        }
        assert_eq!(squeeze.level(), None);
        // The source is slow, nobody has anything to do: compression is free again, but not at any price.
        squeeze.heard_of_cpu(20);
        for _ in 0..10 {
            squeeze.heard(second / 10, second);
        }
        assert_eq!(squeeze.level(), Some(3));
    }
}

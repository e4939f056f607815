//! By content: what looks unchanged is read and compared with the SHA-256 of the trip before.

use std::io;
use std::sync::Arc;

use crate::census::Compare;
use crate::digest::{Sha256, Sha256Stream};
use crate::stage::engine::ToEngine;
use crate::stage::item::Item;
use crate::stage::worker::{Halt, Shared};
use crate::sys::source::SourceFile;

/// Reads each and sends back those that differ. One that changes meanwhile differs: it is staged as any changed file.
pub(super) fn run(shared: &Arc<Shared>, all: Vec<Compare>) -> Result<(), Halt> {
    let count = all.len();
    let mut differing = Vec::new();
    for Compare { item, sha256 } in all {
        if shared.is_over() {
            return Err(Halt::Stopped);
        }
        match is_same(shared, &item, &sha256)? {
            Ok(true) => {}
            Ok(false) => differing.push(item),
            Err(error) => shared.unreadable(&item, "cannot be read for comparison", &error),
        }
    }
    let _ = shared.engine.send(ToEngine::Compared(count, differing)); // an engine that ended has said why
    Ok(())
}

fn is_same(shared: &Shared, item: &Item, expected: &Sha256) -> Result<io::Result<bool>, Halt> {
    let mut buffer = shared.pool.take()?;
    buffer.resize(shared.frame_bytes as usize, 0);
    let mut read = || {
        let file = SourceFile::open(&item.place)?;
        let before = file.identity()?;
        let (mut sha256, mut position) = (Sha256Stream::new(), 0);
        loop {
            let got = file.read_full_at(&mut buffer, position)?;
            sha256.update(&buffer[..got]);
            position += got as u64;
            shared.paced(got as u64);
            if got < buffer.len() || shared.stop.is_set() {
                break;
            }
        }
        Ok(!file.identity()?.changed_since(&before) && sha256.finish() == *expected)
    };
    Ok(read())
}

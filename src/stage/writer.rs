//! The writer of a lane: one thread per volume, the only one that writes there.
//!
//! Invariants: frames go into a pack in the order of their indexes; at most one commit of this volume is unknown to the
//! job database (pack.md section 6, step 4: the next begins only when it is recorded); a pack is closed only after its last
//! commit was recorded. After an error nothing more is written; what still arrives is dropped, so that workers end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::stage::lane::{Lane, ToWriter};
use crate::stage::open_pack::OpenPack;
use crate::stage::pace::{Pace, Slowed};
use crate::volume::{Committed, Error, PackState, PackWriter};

/// Bytes in a pack since its last commit, or on their way there, that make the next one due. A reader that checks or restores
/// holds them until it knows what they are, so this is also the measure of its memory. Unit: bytes.
const COMMIT_BYTES: u64 = 128 << 20;
/// Records waiting that make a commit due. The job records a commit in one go and feeds no worker meanwhile, and what waits
/// to be recorded is in memory.
const COMMIT_RECORDS: usize = 8192;
/// Time after which anything uncommitted is committed.
const COMMIT_AFTER: Duration = Duration::from_secs(10);
/// How long the writer waits for work before it looks around.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Stretch over which the writer's business is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(250);

/// From the writer of a lane.
pub(super) enum FromWriter {
    /// A commit is on the medium; the lane must hear of it (`Lane::recorded`) once the database has it.
    Committed(u32, Committed),
    /// A pack is closed.
    Closed(u32, PackState),
    /// The drive has become slow.
    Slowed(u32, Slowed),
    /// Writing failed; the lane takes nothing more.
    Failed(u32, Error),
    /// The thread has ended; everything is closed, unless it failed.
    Ended(u32),
}

/// The writer's own state.
pub(super) struct LaneWriter<S: Fn(FromWriter)> {
    pub(super) lane: Arc<Lane>,
    pub(super) inbox: Receiver<ToWriter>,
    pub(super) tell: S,
    pub(super) wrote: Box<dyn Fn(u64) + Send>,
    packs: BTreeMap<u32, (PackWriter, Arc<OpenPack>)>,
    closing: HashSet<u32>,
    is_finishing: bool,
    last_commit: Duration,
    written_bytes: u64,
    pace: Pace,
}

impl<S: Fn(FromWriter)> LaneWriter<S> {
    pub(super) fn new(lane: Arc<Lane>, inbox: Receiver<ToWriter>, tell: S, wrote: Box<dyn Fn(u64) + Send>) -> Self {
        let last_commit = lane.world().clock.monotonic();
        Self {
            lane,
            inbox,
            tell,
            wrote,
            packs: BTreeMap::new(),
            closing: HashSet::new(),
            is_finishing: false,
            last_commit,
            written_bytes: 0,
            pace: Pace::default(),
        }
    }

    /// Runs until everything is closed, or something failed and everybody has let go.
    pub(super) fn run(mut self) {
        if let Err(error) = self.work() {
            self.lane.fail();
            let number = self.lane.number();
            (self.tell)(FromWriter::Failed(number, error));
            self.packs.clear();
            self.drop_the_rest();
        }
        (self.tell)(FromWriter::Ended(self.lane.number()));
    }

    fn work(&mut self) -> Result<(), Error> {
        let clock = Arc::clone(&self.lane.world().clock);
        let mut measured_from = clock.monotonic();
        let mut waited = Duration::ZERO;
        let mut written_before = 0;
        loop {
            let before = clock.monotonic();
            let message = match self.inbox.try_recv() {
                Ok(message) => Some(message),
                Err(_) => match self.inbox.recv_timeout(LOOK_EVERY) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            let now = clock.monotonic();
            waited += now.saturating_sub(before);
            let measured = now.saturating_sub(measured_from);
            if measured >= MEASURE_EVERY {
                let busy = measured.saturating_sub(waited);
                self.lane.heard(busy, measured);
                if let Some(slowed) = self.pace.heard(self.written_bytes - written_before, busy) {
                    (self.tell)(FromWriter::Slowed(self.lane.number(), slowed));
                }
                written_before = self.written_bytes;
                (measured_from, waited) = (now, Duration::ZERO);
            }
            if let Some(message) = message {
                self.take(message)?;
            }
            if self.is_finishing && self.lane.has_failed() {
                return Ok(()); // the run is over; what is not committed is cut off by the next one
            }
            self.commit_if_due(now)?;
            self.close_if_quiet()?;
            if self.is_finishing && self.packs.is_empty() && !self.lane.is_unrecorded() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, message: ToWriter) -> Result<(), Error> {
        match message {
            ToWriter::Open(writer, pack) => {
                self.packs.insert(pack.number, (*writer, pack));
            }
            ToWriter::Frame(number, frame) => {
                self.lane.arrived(frame.bytes.len() as u64);
                let Some((writer, _)) = self.packs.get_mut(&number) else {
                    let path = self.lane.volume.root().to_owned();
                    return Err(Error::Damaged { path, reason: format!("a frame came for closed pack {number}") });
                };
                let before = writer.position();
                let committed = writer.push(frame)?;
                let wrote = writer.position().saturating_sub(before);
                self.written_bytes += wrote;
                (self.wrote)(wrote);
                self.told_of(committed);
            }
            ToWriter::Close(number) => {
                self.closing.insert(number);
            }
            ToWriter::Look => {}
            ToWriter::Finish => {
                self.is_finishing = true;
                self.closing.extend(self.packs.keys());
            }
        }
        Ok(())
    }

    fn told_of(&mut self, committed: Option<Committed>) {
        if let Some(committed) = committed {
            self.lane.committed();
            self.last_commit = self.lane.world().clock.monotonic();
            (self.tell)(FromWriter::Committed(self.lane.number(), committed));
        }
    }

    /// Begins the commit that is most due, unless one is under way.
    fn commit_if_due(&mut self, now: Duration) -> Result<(), Error> {
        if self.lane.is_unrecorded() || self.packs.values().any(|(writer, _)| writer.commit_is_pending()) {
            return Ok(());
        }
        let is_late = now.saturating_sub(self.last_commit) >= COMMIT_AFTER;
        // What waits in the queue has its place in the pack: the commit will stand behind it.
        let queued_bytes = self.lane.queued_bytes();
        let due = self.packs.values().find(|(writer, pack)| {
            let has_something = pack.records_waiting() > 0 || writer.has_uncommitted();
            // A pack that is quiet gets no more tickets, but its last frames may still be in this writer's queue.
            let closes = self.closing.contains(&pack.number) && pack.is_quiet() && writer.is_caught_up();
            let is_much =
                writer.uncommitted_bytes() + queued_bytes >= COMMIT_BYTES || pack.records_waiting() >= COMMIT_RECORDS;
            (closes && has_something) || (pack.records_waiting() > 0 && (is_much || is_late))
        });
        let Some(number) = due.map(|(_, pack)| pack.number) else { return Ok(()) };
        let Some((writer, pack)) = self.packs.get_mut(&number) else { return Ok(()) };
        let committed = writer.begin_commit(pack.take_records())?;
        self.told_of(committed);
        Ok(())
    }

    /// Closes packs that take nothing new, are quiet, and whose last commit is recorded.
    fn close_if_quiet(&mut self) -> Result<(), Error> {
        if self.lane.is_unrecorded() {
            return Ok(());
        }
        let is_done = |(writer, pack): &(PackWriter, Arc<OpenPack>)| {
            pack.is_quiet()
                && pack.records_waiting() == 0
                && !writer.has_uncommitted()
                && !writer.commit_is_pending()
                && writer.is_caught_up()
        };
        let ready: Vec<u32> =
            self.closing.iter().copied().filter(|number| self.packs.get(number).is_some_and(is_done)).collect();
        for number in ready {
            self.closing.remove(&number);
            if let Some((writer, _)) = self.packs.remove(&number) {
                if writer.state().commits == 0 {
                    writer.abandon()?;
                    continue;
                }
                let state = writer.finish(self.lane.run(), &*self.lane.world().random)?;
                (self.tell)(FromWriter::Closed(self.lane.number(), state));
            }
        }
        Ok(())
    }

    fn drop_the_rest(&mut self) {
        while !self.is_finishing {
            match self.inbox.recv() {
                Ok(ToWriter::Finish) | Err(_) => self.is_finishing = true,
                Ok(_) => {}
            }
        }
    }
}

/// Starts the thread of a lane's writer.
pub(super) fn spawn<S: Fn(FromWriter) + Send + 'static>(writer: LaneWriter<S>) -> std::io::Result<()> {
    let name = format!("volume {}", writer.lane.number());
    std::thread::Builder::new().name(name).spawn(move || writer.run()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crossbeam_channel::{Sender, unbounded};

    use super::*;
    use crate::crypto::{RunKey, SigningKey};
    use crate::format::record::{Deleted, Record};
    use crate::format::{FRAME_HEADER_BYTES, FrameKind, Inner, JobId, VolumeHeader, VolumeId};
    use crate::stage::lane::{LaneSetup, Slot};
    use crate::stage::open_pack::Need;
    use crate::stage::squeeze::Compression;
    use crate::sys::mem::MemFs;
    use crate::sys::random::SeededRandom;
    use crate::sys::{Fs, World};
    use crate::volume::{NewVolume, Readme, SealedFrame, create};

    fn lane(writer: Sender<ToWriter>) -> Arc<Lane> {
        let mem = MemFs::new();
        mem.make_dirs(Path::new("/volume")).expect("there is room");
        let fs: Arc<dyn Fs> = Arc::new(mem);
        let random = SeededRandom::new(1);
        let header = VolumeHeader {
            may_ignore: 0,
            job: JobId([7; 16]),
            volume: VolumeId([8; 16]),
            number: 1,
            created_ns: 1,
            job_salt: [3; 32],
            job_public_key: SigningKey::fresh(&random).public(),
        };
        let volume =
            create(&fs, Path::new("/volume"), &NewVolume { header }, Readme("letter\n")).expect("there is room");
        Lane::new(LaneSetup {
            volume,
            capacity_bytes: 1 << 30,
            used_bytes: 0,
            next_pack: 1,
            writer,
            world: World { fs, ..World::real() },
            run: Arc::new(RunKey::fresh(&random)),
            pack_bytes_max: 1 << 28,
            frame_bytes: 1 << 16,
            compression: Compression::Off,
        })
    }

    fn frame(slot: &Slot) {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(&Inner { zstd: false, plain_bytes: 100 }.encode());
        bytes.extend_from_slice(&[1; 100]);
        let ticket = slot.pack.sealing.ticket().expect("the pack is new");
        let header = slot.pack.sealing.seal(ticket, FrameKind::Data, &mut bytes).expect("it fits");
        slot.send(SealedFrame { header, bytes: bytes.into(), data_plain_bytes: 100, record_count: 0 }, 100);
    }

    fn records(slot: &Slot) {
        let deleted = |id| Record::Deleted(Deleted { id, generation: 1, path: b"gone".to_vec() });
        slot.record((1..=COMMIT_RECORDS as u64).map(deleted));
    }

    #[test]
    fn the_next_commit_waits_until_the_job_has_recorded_the_last_one() {
        const LONG: Duration = Duration::from_secs(60);
        let (to_writer, inbox) = unbounded();
        let lane = lane(to_writer);
        let (tell, told) = unbounded();
        let (write, written) = unbounded();
        let tell = move |message| {
            let _ = tell.send(message); // the test may have ended
        };
        let wrote = move |_| {
            let _ = write.send(());
        };
        spawn(LaneWriter::new(Arc::clone(&lane), inbox, tell, Box::new(wrote))).expect("a thread");
        let hold = lane.hold(1 << 24, 100, 1 << 18).expect("it fits");
        let slot = lane.slot(&hold, Need { bytes: 1 << 16, frames: 9, records: 1 << 16 }).expect("there is room");
        let committed = || match told.recv_timeout(LONG) {
            Ok(FromWriter::Committed(1, committed)) => committed.state.commits,
            Ok(_) => panic!("something else than a commit was told"),
            Err(error) => panic!("{error}"),
        };
        frame(&slot);
        records(&slot);
        frame(&slot);
        assert_eq!(committed(), 1);
        // Due again, many times over. Whoever hears that the second of two frames is written knows what followed the first.
        records(&slot);
        let before = written.try_iter().count();
        for _ in before..before + 4 {
            frame(&slot);
            written.recv_timeout(LONG).expect("frames are written meanwhile");
        }
        assert!(told.is_empty(), "a commit was made that a crash now would leave two ahead of the job");
        lane.recorded();
        assert_eq!(committed(), 2);
        lane.recorded();
        drop((slot, hold));
        lane.finish();
        let rest: Vec<FromWriter> = std::iter::from_fn(|| told.recv_timeout(LONG).ok())
            .inspect(|message| {
                if let FromWriter::Committed(..) = message {
                    lane.recorded();
                }
            })
            .take_while(|message| !matches!(message, FromWriter::Ended(_)))
            .collect();
        assert!(
            rest.iter().any(|message| matches!(message, FromWriter::Closed(1, _))),
            "the pack is closed in the end"
        );
    }
}

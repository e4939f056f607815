//! One multipart upload as a state machine: what to do next, given what has happened.
//!
//! Owns: the decisions of an upload from its creation, or from its resumption days later on another machine, to its
//! proven end. Pure: no I/O, no clock; a driver carries out [`Action`]s and reports what came of them. Invariants: a part
//! counts only if the server has it with the length and checksum of the source; an upload is completed only with all
//! parts; after an unknown outcome the next action is to look; restarts are bounded.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{Crc64, combine};
use crate::format::layout::part_bytes;
use crate::ingest::remote::checksum::Claim;
use crate::ingest::remote::{ListedPart, RemoteError, SentPart};

/// Most times an upload is begun anew because the server forgot it.
const RESTARTS_MAX: u32 = 3;

/// One part as the source has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    /// Part number, from 1.
    pub number: u32,
    /// Where it begins in the file. Unit: bytes.
    pub offset: u64,
    /// Length. Unit: bytes.
    pub bytes: u64,
    /// CRC-64/NVME of its bytes, taken when the source was read.
    pub crc64: Crc64,
}

/// Lengths of the parts of a file, in order. Every one but the last has the same.
pub fn part_lengths(file_bytes: u64) -> impl Iterator<Item = u64> {
    let part = part_bytes(file_bytes);
    let count = file_bytes.div_ceil(part).max(1);
    (0..count).map(move |index| part.min(file_bytes - index * part))
}

/// Why a file cannot be sent to a server that takes parts up to that number: known before the first part is sent.
/// `None`: it can, or the server's limit is unknown.
pub fn too_many_parts(key: &str, file_bytes: u64, parts_max: Option<u32>) -> Option<RemoteError> {
    let (needed, most) = (part_lengths(file_bytes).count() as u64, u64::from(parts_max?));
    (needed > most).then(|| RemoteError::Refused {
        operation: "store",
        key: key.to_owned(),
        status: 0,
        code: "TooManyParts".to_owned(),
        message: format!("it needs {needed} parts, and this server took part {most} and none above it"),
    })
}

/// Joins consecutive extents, each with its length and CRC, into the parts of a file of `file_bytes`.
/// `None` if they do not add up to it, or if an extent crosses the boundary of a part.
pub fn plan_parts(file_bytes: u64, extents: impl IntoIterator<Item = (u64, Crc64)>) -> Option<Vec<PartPlan>> {
    let mut extents = extents.into_iter();
    let mut parts = Vec::new();
    let mut offset = 0;
    for (number, bytes) in (1..).zip(part_lengths(file_bytes)) {
        let mut filled = 0;
        let mut crc64 = Crc64::EMPTY;
        while filled < bytes {
            let (length, crc) = extents.next()?;
            crc64 = if filled == 0 { crc } else { combine(crc64, crc, length) };
            filled = filled.checked_add(length).filter(|filled| length > 0 && *filled <= bytes)?;
        }
        parts.push(PartPlan { number, offset, bytes, crc64 });
        offset += bytes;
    }
    extents.next().is_none().then_some(parts)
}

/// What the driver is to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begin an upload, make its name durable, then report [`UploadState::created`].
    Create,
    /// List the parts the server has; report [`UploadState::listed`].
    List,
    /// Send this part; report [`UploadState::sent`] or [`UploadState::unsent`].
    Send(PartPlan),
    /// Nothing to start: parts are on their way.
    Wait,
    /// Complete with these parts; report one of the outcomes of completion.
    Complete(Vec<SentPart>),
    /// Look at the object under the key; report [`UploadState::inspected`].
    Inspect,
    /// The object is there, and it is this one.
    Finished,
    /// No further action can help.
    GiveUp(Obstacle),
}

/// Why an upload cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Another object is under the key.
    OtherObject,
    /// The server forgot the upload again and again.
    Forgotten,
}

/// How a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The server confirmed it.
    Done,
    /// It may or may not have happened.
    Unknown,
    /// The server does not know the upload: perhaps because it was completed before.
    Gone,
    /// An object is under the key already: perhaps this one.
    Exists,
    /// The server compared checksums or sizes, and they differ: some part is not what it should be.
    Mismatch,
}

/// What was found under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspection {
    /// This object.
    Same,
    /// A different one.
    Different,
    /// None.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Resumed,
    Sending,
    Completing,
    Inspecting,
    Finished,
    Stuck(Obstacle),
}

/// The state of one upload.
#[derive(Debug, Clone)]
pub struct UploadState {
    parts: Vec<PartPlan>,
    upload: Option<String>,
    phase: Phase,
    done: BTreeMap<u32, SentPart>,
    in_flight: BTreeSet<u32>,
    /// Whether an action of the current phase is with the driver.
    busy: bool,
    restarts: u32,
}

impl UploadState {
    /// An upload of `parts`, resumed if its name at the server and the parts it accepted are known from before.
    pub fn new(parts: Vec<PartPlan>, upload: Option<String>, remembered: Vec<SentPart>) -> Self {
        let phase = if upload.is_some() { Phase::Resumed } else { Phase::Fresh };
        let done = remembered.into_iter().map(|part| (part.number, part)).collect();
        Self { parts, upload, phase, done, in_flight: BTreeSet::new(), busy: false, restarts: 0 }
    }

    /// Name of the upload at the server, once it is known.
    pub fn upload(&self) -> Option<&str> {
        self.upload.as_deref()
    }

    /// Parts that need not be sent any more.
    pub fn parts_done(&self) -> usize {
        self.done.len()
    }

    /// Whether parts can be sent, or have all been: false while it must first be begun, listed or looked at.
    pub fn is_started(&self) -> bool {
        !matches!(self.phase, Phase::Fresh | Phase::Resumed | Phase::Inspecting)
    }

    /// Whether nothing of it was ever begun: then all of its parts are missing, and nobody needs to be asked.
    pub fn is_new(&self) -> bool {
        self.phase == Phase::Fresh
    }

    /// Whether a part is not at the server yet, and has its turn: not while somebody must first look there.
    pub fn is_missing(&self, number: u32) -> bool {
        self.takes_parts() && !self.done.contains_key(&number)
    }

    fn takes_parts(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Sending)
    }

    /// Parts that are not at the server yet, in order.
    pub fn missing_parts(&self) -> Vec<PartPlan> {
        self.parts.iter().filter(|part| self.is_missing(part.number)).copied().collect()
    }

    /// Whether some part is not at the server yet.
    pub fn has_missing_parts(&self) -> bool {
        self.takes_parts() && !self.has_all_parts()
    }

    /// Whether every part is at the server.
    pub fn has_all_parts(&self) -> bool {
        self.done.len() == self.parts.len()
    }

    /// A part as the source has it.
    pub fn part(&self, number: u32) -> Option<PartPlan> {
        self.parts.iter().find(|part| part.number == number).copied()
    }

    /// The next thing to do. Ask again after every report; ask repeatedly to have several parts on their way.
    pub fn next_action(&mut self) -> Action {
        match self.phase {
            Phase::Finished => return Action::Finished,
            Phase::Stuck(obstacle) => return Action::GiveUp(obstacle),
            Phase::Sending => return self.next_part(),
            _ if self.busy => return Action::Wait,
            _ => self.busy = true,
        }
        match self.phase {
            Phase::Fresh => Action::Create,
            Phase::Resumed => Action::List,
            Phase::Completing => Action::Complete(self.done.values().cloned().collect()),
            _ => Action::Inspect,
        }
    }

    fn next_part(&mut self) -> Action {
        let missing = |part: &&PartPlan| !self.done.contains_key(&part.number);
        let idle = |part: &&PartPlan| !self.in_flight.contains(&part.number);
        if let Some(part) = self.parts.iter().filter(missing).find(idle).copied() {
            self.in_flight.insert(part.number);
            return Action::Send(part);
        }
        if !self.in_flight.is_empty() {
            return Action::Wait;
        }
        self.enter(Phase::Completing);
        self.next_action()
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.busy = false;
    }

    /// Before anything is begun, the object under the key is looked at: perhaps it is the right one already.
    pub fn look_first(&mut self) {
        if self.phase == Phase::Fresh {
            self.enter(Phase::Inspecting);
        }
    }

    /// The upload was begun.
    pub fn created(&mut self, upload: String) {
        self.upload = Some(upload);
        self.done.clear();
        self.enter(Phase::Sending);
    }

    /// The server listed its parts; `None` if it does not know the upload.
    ///
    /// A listed part counts if its length is that of the source and its CRC-64 too; where the server gives no checksum,
    /// if its entity tag is the one that was remembered when the server accepted the part.
    pub fn listed(&mut self, listed: Option<Vec<ListedPart>>) {
        let Some(listed) = listed else {
            self.done.clear();
            return self.enter(Phase::Inspecting);
        };
        let remembered = std::mem::take(&mut self.done);
        for part in listed {
            let Some(plan) = self.parts.iter().find(|plan| plan.number == part.number) else { continue };
            let before = remembered.get(&part.number);
            let crc64 = Claim::Crc64(plan.crc64).text();
            let proven = match &part.checksums.crc64 {
                Some(found) => *found == crc64,
                None => before.is_some_and(|before| before.etag == part.etag),
            };
            if part.bytes != plan.bytes || !proven {
                continue;
            }
            let listed = part.checksums.crc64.or(part.checksums.crc32c).or(part.checksums.sha256);
            let checksum = listed.or_else(|| before.and_then(|before| before.checksum.clone()));
            self.done
                .insert(part.number, SentPart { number: part.number, bytes: part.bytes, etag: part.etag, checksum });
        }
        self.enter(Phase::Sending);
    }

    /// The server cannot list parts. What it accepted is remembered, and its completion compares the tags of all of them;
    /// after one that failed nothing remembered counts any more.
    pub fn unlisted(&mut self) {
        if self.restarts > 0 {
            self.done.clear();
        }
        self.enter(Phase::Sending);
    }

    /// The server accepted a part.
    pub fn sent(&mut self, part: SentPart) {
        self.in_flight.remove(&part.number);
        self.done.insert(part.number, part);
    }

    /// A part could not be sent; it will be offered again.
    pub fn unsent(&mut self, number: u32) {
        self.in_flight.remove(&number);
    }

    /// While parts were sent, the server said it does not know the upload.
    pub fn vanished(&mut self) {
        self.in_flight.clear();
        self.enter(Phase::Inspecting);
    }

    /// How the completion ended.
    pub fn completion(&mut self, outcome: Completion) {
        match outcome {
            Completion::Done => self.enter(Phase::Finished),
            Completion::Unknown | Completion::Gone | Completion::Exists => self.enter(Phase::Inspecting),
            // What the server lists decides which part to send again.
            Completion::Mismatch => self.restart_with(Phase::Resumed),
        }
    }

    /// What is under the key.
    pub fn inspected(&mut self, found: Inspection) {
        match found {
            Inspection::Same => self.enter(Phase::Finished),
            Inspection::Different => self.enter(Phase::Stuck(Obstacle::OtherObject)),
            // Neither object nor certainty: the list of parts tells whether the upload lives.
            // (All parts are there, so what was looked at was the outcome of a completion.)
            Inspection::Absent if self.has_all_parts() => self.restart_with(Phase::Resumed),
            Inspection::Absent => {
                self.upload = None;
                self.done.clear();
                self.restart_with(Phase::Fresh);
            }
        }
    }

    fn restart_with(&mut self, phase: Phase) {
        self.restarts += 1;
        let stuck = self.restarts > RESTARTS_MAX;
        self.enter(if stuck { Phase::Stuck(Obstacle::Forgotten) } else { phase });
    }
}

#[cfg(test)]
mod tests;

//! Two threads share the work of a volume: one walks the packs and reads them once, this one opens what it brings, on all
//! processors. It goes from pack to pack without a pause between them.
//!
//! Invariant: the channel has no room of its own, so at most two groups are in memory: one being read, one being opened.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, SendError, Sender, bounded};

use crate::format::FooterReason;
use crate::verify::finding::Finding;
use crate::verify::join::Join;
use crate::verify::manifest::RecordSums;
use crate::verify::opened::{Nameless, PackCheck};
use crate::verify::walk::Group;
use crate::volume::OpeningsPool;

/// What the opener is told.
enum Message<'a> {
    /// The groups that follow are this pack's.
    Begin(u32, Box<PackCheck<'a>>),
    /// The next group of it.
    Group(Group),
    /// No more groups of it come. `is_short`: it should have had more.
    End { is_short: bool },
}

/// What opening came to for one pack.
#[derive(Default)]
pub(super) struct OpenedPack {
    pub(super) reason: Option<FooterReason>,
    pub(super) problems: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) nameless: Vec<Nameless>,
}

/// What opening came to for all packs of a volume.
#[derive(Default)]
pub(super) struct Opened {
    pub(super) packs: BTreeMap<u32, OpenedPack>,
    pub(super) sums: RecordSums,
}

/// The walker's end.
pub(super) struct ToOpener<'a>(Sender<Message<'a>>);

impl<'a> ToOpener<'a> {
    pub(super) fn begin(&self, pack: u32, check: PackCheck<'a>) {
        self.send(Message::Begin(pack, Box::new(check)));
    }

    /// Waits until the group before is opened.
    pub(super) fn group(&self, group: Group) {
        self.send(Message::Group(group));
    }

    pub(super) fn end(&self, is_short: bool) {
        self.send(Message::End { is_short });
    }

    fn send(&self, message: Message<'a>) {
        // The other side is gone only after a panic, which `beside` passes on.
        let (Ok(()) | Err(SendError(_))) = self.0.send(message);
    }
}

/// Runs `walk` beside an opener, and returns what both came to.
pub(super) fn beside<'a, T>(join: &'a Mutex<Join>, walk: impl FnOnce(&ToOpener<'a>) -> T) -> (T, Opened) {
    std::thread::scope(|scope| {
        let (sender, receiver) = bounded(0);
        let opener = scope.spawn(move || open(receiver, join));
        let to_opener = ToOpener(sender);
        let walked = walk(&to_opener);
        drop(to_opener);
        match opener.join() {
            Ok(opened) => (walked, opened),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn open(messages: Receiver<Message<'_>>, join: &Mutex<Join>) -> Opened {
    let mut opened = Opened::default();
    let pool = OpeningsPool::default();
    let mut current = None;
    for message in messages {
        match (message, &mut current) {
            (Message::Begin(pack, check), _) => current = Some((pack, check)),
            (Message::Group(group), Some((_, check))) => check.group(group, &pool, join, &mut opened.sums),
            (Message::End { is_short }, Some((pack, check))) => {
                if is_short {
                    check.lose_the_rest();
                }
                opened.packs.insert(*pack, check.finish());
                current = None;
            }
            (Message::Group(_) | Message::End { .. }, None) => {} // a pack without a key has no check
        }
    }
    opened
}

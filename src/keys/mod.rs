//! `keys`: who can open a volume, and changing that without rewriting any data.
//!
//! Owns: reading and replacing key slots. Does not own: what a slot is (`crypto`), the files of a volume (`volume`), the
//! job's recipients (`job`). Invariants: every slot is opened before any is replaced, so that a wrong key changes
//! nothing; a slot never loses its last recipient; a sealed volume stays sealed, and its signature holds, because it does not
//! cover slots. Callers: `cli`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypto::{
    self, EnvelopeFacts, Identities, KeyService, OpenedSlot, Recipients, SlotRecipient, envelope_facts, stanzas,
};
use crate::format::{JobId, RunId};
use crate::sys::World;
use crate::volume::{self, Volume, add_envelope, envelope_name, read_envelopes, replace_slots};

/// Why keys were not shown or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A volume cannot be used.
    #[error("volume {}", path.display())]
    Volume {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<volume::Error>,
    },
    /// A slot cannot be opened with the keys at hand.
    #[error("slot {run} of volume {} cannot be opened with this key, so it cannot be wrapped for others", path.display())]
    Closed {
        /// Where the volume is.
        path: PathBuf,
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: crypto::Error,
    },
    /// A slot does not say whom it is for.
    #[error("slot {run} of volume {} does not say whom it is for, so nobody can be taken from it", path.display())]
    Unnamed {
        /// Where the volume is.
        path: PathBuf,
        /// The run.
        run: RunId,
    },
    /// Nobody would be left.
    #[error("nobody would be left who can open volume {}", path.display())]
    LastRecipient {
        /// Where the volume is.
        path: PathBuf,
    },
    /// The key service made no data key.
    #[error("volume {} cannot be wrapped for the key service", path.display())]
    Service {
        /// Where the volume is.
        path: PathBuf,
        /// Why.
        #[source]
        source: crypto::Error,
    },
    /// Who was to be removed is nowhere.
    #[error("no slot is for {text}")]
    NotThere {
        /// As the user named it.
        text: String,
    },
    /// A recipient is not usable.
    #[error("a recipient is not usable")]
    Recipient(
        /// Why.
        #[source]
        crypto::Error,
    ),
}

/// What to change.
#[derive(Clone, Default)]
pub struct Change {
    /// Who is to be added.
    pub add: Vec<SlotRecipient>,
    /// Keys of the key service to be added: on each volume it makes a data key.
    pub add_kms: Vec<String>,
    /// The key service, if it is asked.
    pub service: Option<Arc<dyn KeyService>>,
    /// Who is to be removed: a recipient as text, a kind such as `unlock-code`, or a key of the key service by its full name.
    pub remove: Vec<String>,
    /// Everybody but those added is removed.
    pub is_rotation: bool,
}

/// One slot as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// The run whose key it holds.
    pub run: RunId,
    /// What can be seen without a key: the kinds of its age stanzas.
    pub stanzas: Vec<String>,
    /// Whom it is for; `None`: no key at hand opens it.
    pub recipients: Option<Vec<SlotRecipient>>,
}

/// One volume's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSlots {
    /// Where it is.
    pub path: PathBuf,
    /// Its number.
    pub number: u32,
    /// Its job.
    pub job: JobId,
    /// Its slots.
    pub slots: Vec<SlotFacts>,
    /// Its envelopes of a key service: under which key, and for which recipient of the slots.
    pub envelopes: Vec<EnvelopeFacts>,
}

fn failed(path: &Path) -> impl Fn(volume::Error) -> Error + '_ {
    move |source| Error::Volume { path: path.to_owned(), source: Box::new(source) }
}

/// Who can open the volumes: in full for what the identities open, else what anybody can see.
///
/// # Errors
/// When a volume or a slot cannot be read.
pub fn list(world: &World, dirs: &[PathBuf], identities: Option<&Identities>) -> Result<Vec<VolumeSlots>, Error> {
    dirs.iter().map(|dir| list_one(world, dir, identities)).collect()
}

fn list_one(world: &World, dir: &Path, identities: Option<&Identities>) -> Result<VolumeSlots, Error> {
    let volume = Volume::open(Arc::clone(&world.fs), dir).map_err(failed(dir))?;
    let header = volume.header();
    let mut slots = Vec::new();
    for run in volume.slots().map_err(failed(dir))? {
        let bytes = volume.read_slot(run).map_err(failed(dir))?;
        let opened = identities.map(|identities| crypto::unwrap_slot(&bytes, header.job, run, identities));
        let recipients = match opened {
            None | Some(Err(crypto::Error::NoMatchingIdentity)) => None,
            Some(Err(source)) => return Err(Error::Closed { path: dir.to_owned(), run, source }),
            Some(Ok(slot)) => Some(slot.recipients),
        };
        slots.push(SlotFacts { run, stanzas: stanzas(&bytes), recipients });
    }
    let envelopes = envelopes(&volume).map_err(failed(dir))?;
    Ok(VolumeSlots { path: dir.to_owned(), number: header.number, job: header.job, slots, envelopes })
}

/// What the volume's envelopes say of themselves; those that are damaged say nothing.
fn envelopes(volume: &Volume) -> Result<Vec<EnvelopeFacts>, volume::Error> {
    let envelopes = read_envelopes(volume)?;
    Ok(envelopes.iter().filter_map(|(_, bytes)| envelope_facts(bytes).ok()).collect())
}

/// A volume whose slots are opened and about to be wrapped anew.
struct Opened {
    dir: PathBuf,
    volume: Volume,
    slots: Vec<OpenedSlot>,
    envelopes: Vec<EnvelopeFacts>,
    /// Envelopes to be added, by the recipients they stand for.
    new: Vec<(SlotRecipient, Vec<u8>)>,
}

/// Changes who can open the volumes. The same call again continues after an interruption.
///
/// # Errors
/// When a volume cannot be used, a slot not opened or a data key not had (nothing is changed then), nobody would be left,
/// or the medium refuses.
pub fn change(
    world: &World,
    dirs: &[PathBuf],
    identities: &Identities,
    change: &Change,
) -> Result<Vec<VolumeSlots>, Error> {
    let mut volumes = Vec::new();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for dir in dirs {
        let mut opened = open(world, dir, identities)?;
        opened.new = data_keys(&opened, change)?;
        found.extend(opened.apply(change)?);
        volumes.push(opened);
    }
    if let Some(text) = change.remove.iter().find(|text| !found.contains(text.as_str())) {
        return Err(Error::NotThere { text: text.clone() });
    }
    let mut changed = Vec::new();
    for Opened { dir, volume, slots, new, .. } in volumes {
        for (recipient, envelope) in &new {
            add_envelope(&volume, &recipient.text, envelope).map_err(failed(&dir))?;
        }
        let mut files = Vec::new();
        for slot in &slots {
            let recipients = Recipients::of(&slot.recipients).map_err(Error::Recipient)?;
            let wrapped = crypto::seal_slot(volume.header().job, &slot.key, &recipients).map_err(Error::Recipient)?;
            files.push((slot.key.run(), wrapped));
        }
        let all = slots.iter().flat_map(|slot| &slot.recipients);
        let needed = all.filter(|one| one.is_kms()).map(|one| envelope_name(&one.text)).collect();
        replace_slots(&volume, &files, &needed).map_err(failed(&dir))?;
        changed.push(list_one(world, &dir, Some(identities))?);
    }
    Ok(changed)
}

fn open(world: &World, dir: &Path, identities: &Identities) -> Result<Opened, Error> {
    let volume = Volume::open(Arc::clone(&world.fs), dir).map_err(failed(dir))?;
    let mut slots = Vec::new();
    for run in volume.slots().map_err(failed(dir))? {
        let bytes = volume.read_slot(run).map_err(failed(dir))?;
        let opened = crypto::unwrap_slot(&bytes, volume.header().job, run, identities);
        slots.push(opened.map_err(|source| Error::Closed { path: dir.to_owned(), run, source })?);
    }
    let envelopes = envelopes(&volume).map_err(failed(dir))?;
    Ok(Opened { dir: dir.to_owned(), volume, slots, envelopes, new: Vec::new() })
}

/// Data keys of the service for a volume, one for each of its keys that is to be added.
fn data_keys(opened: &Opened, change: &Change) -> Result<Vec<(SlotRecipient, Vec<u8>)>, Error> {
    let Some(service) = &change.service else { return Ok(Vec::new()) };
    let header = opened.volume.header();
    let make = |key: &String| {
        crypto::seal_envelope(&**service, key, header.job, header.volume)
            .map_err(|source| Error::Service { path: opened.dir.clone(), source })
    };
    change.add_kms.iter().map(make).collect()
}

impl Opened {
    /// Changes the recipients of every slot. Gives which of the names to remove were there.
    fn apply<'c>(&mut self, change: &'c Change) -> Result<BTreeSet<&'c str>, Error> {
        let Self { dir, slots, envelopes, new, .. } = self;
        let is_named = |recipient: &SlotRecipient, text: &str| {
            let is_key = |facts: &EnvelopeFacts| facts.key == text && facts.recipient == recipient.text;
            recipient.text == text || recipient.kind == text || recipient.is_kms() && envelopes.iter().any(is_key)
        };
        let mut found = BTreeSet::new();
        for slot in slots {
            if slot.recipients.is_empty() && !change.is_rotation {
                return Err(Error::Unnamed { path: dir.clone(), run: slot.key.run() });
            }
            let named = |text: &&String| slot.recipients.iter().any(|recipient| is_named(recipient, text));
            found.extend(change.remove.iter().filter(named).map(String::as_str));
            slot.recipients
                .retain(|recipient| !change.is_rotation && !change.remove.iter().any(|text| is_named(recipient, text)));
            for added in change.add.iter().chain(new.iter().map(|(recipient, _)| recipient)) {
                if !slot.recipients.iter().any(|recipient| recipient.text == added.text) {
                    slot.recipients.push(added.clone());
                }
            }
            if slot.recipients.is_empty() {
                return Err(Error::LastRecipient { path: dir.clone() });
            }
        }
        Ok(found)
    }
}

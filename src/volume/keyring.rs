//! The run keys of a volume that a user's identities open.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::crypto::{self, Identities, RunKey};
use crate::format::RunId;
use crate::volume::error::{Error, In};
use crate::volume::open::Volume;

/// Run keys at hand.
#[derive(Default, Clone)]
pub struct Keyring {
    runs: HashMap<RunId, Arc<RunKey>>,
}

impl Keyring {
    /// Opens every slot of the volume that the identities fit.
    ///
    /// # Errors
    /// When a slot is damaged, or none of them opens. A slot that merely is for somebody else is skipped: what needs
    /// it will say so.
    pub fn open(volume: &Volume, identities: &Identities) -> Result<Self, Error> {
        let mut keyring = Self::default();
        let mut refused = None;
        for run in volume.slots()? {
            let path = volume.slot_path(run);
            match crypto::open_slot(&volume.read_slot(run)?, volume.header().job, run, identities) {
                Ok(key) => keyring.add(key),
                Err(error @ crypto::Error::NoMatchingIdentity) => refused = Some((path, error)),
                Err(error) => return Err(error).within(&path),
            }
        }
        match refused {
            Some((path, source)) if keyring.runs.is_empty() => Err(Error::Crypto { path, source }),
            _ => Ok(keyring),
        }
    }

    /// Adds a key.
    pub fn add(&mut self, key: RunKey) {
        self.runs.insert(key.run(), Arc::new(key));
    }

    /// Adds the keys of another ring.
    pub fn merge(&mut self, other: Self) {
        self.runs.extend(other.runs);
    }

    /// The key of a run that `file` needs.
    ///
    /// # Errors
    /// [`Error::NoKey`] when it is not here.
    pub fn get(&self, run: RunId, file: &Path) -> Result<&Arc<RunKey>, Error> {
        self.runs.get(&run).ok_or_else(|| Error::NoKey { path: file.to_owned(), run })
    }
}

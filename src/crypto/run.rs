//! Run keys and what is derived from them. manifests/formats/pack.md section 4.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::format::{PackHeader, RunId};
use crate::sys::RandomSource;
use crate::sys::secrets::{Locked, lock_in_memory};

/// The key of one run. Kept in memory only; leaves it only wrapped in a slot.
pub struct RunKey {
    run: RunId,
    /// Unlocked after the key is wiped and before its memory is given back.
    _locked: Option<Locked>,
    /// On the heap, so that moving the value leaves no copies behind.
    key: Box<Zeroizing<[u8; 32]>>,
}

impl Drop for RunKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// A derived key and the public commitment to it.
pub(super) struct Derived {
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) commitment: [u8; 32],
}

impl RunKey {
    /// A new run with a new key.
    pub fn fresh(random: &dyn RandomSource) -> Self {
        let mut run = [0; 16];
        random.fill(&mut run);
        let mut key = Box::new(Zeroizing::new([0; 32]));
        random.fill(&mut **key);
        let locked = lock_in_memory(&**key);
        Self { run: RunId(run), key, _locked: locked }
    }

    pub(super) fn opened(run: RunId, key: Zeroizing<[u8; 32]>) -> Self {
        let key = Box::new(key);
        let locked = lock_in_memory(&**key);
        Self { run, key, _locked: locked }
    }

    pub(super) fn secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.key
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    pub(super) fn pack_key(&self, header: &PackHeader, salt: &[u8; 32]) -> Derived {
        self.derive(salt, &[b"packmule/1 pack", &header.bound_bytes()])
    }

    pub(super) fn footer_key(&self, header: &PackHeader, salt: &[u8; 32]) -> Derived {
        self.derive(salt, &[b"packmule/1 footer", &header.bound_bytes()[..72], &self.run.0])
    }

    fn derive(&self, salt: &[u8; 32], info: &[&[u8]]) -> Derived {
        let mut okm = Zeroizing::new([0_u8; 64]);
        Hkdf::<Sha256>::new(Some(salt), &**self.key)
            .expand_multi_info(info, &mut *okm)
            .expect("64 bytes are within HKDF-SHA-256's limit of 255 blocks");
        let mut derived = Derived { key: Zeroizing::new([0; 32]), commitment: [0; 32] };
        derived.key.copy_from_slice(&okm[..32]);
        derived.commitment.copy_from_slice(&okm[32..]);
        derived
    }
}

//! The signing key of the job: a file beside the database, readable by its owner only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::crypto::{PublicKey, SigningKey};
use crate::job::error::{During, array};
use crate::job::{Batch, Error, Job};
use crate::sys::OsRandom;
use crate::sys::secrets::{read_secret, write_secret_new};

/// Name of the key's file in the job directory.
pub const SIGNING_KEY: &str = "signing.key";
/// Longest key file taken into memory. Unit: bytes.
const KEY_BYTES_MAX: u64 = 4096;

/// The key on file; a new one, durable before this returns, when there is none.
pub(super) fn key(dir: &Path) -> Result<Arc<SigningKey>, Error> {
    let path = dir.join(SIGNING_KEY);
    let failed = |doing| {
        let path = path.clone();
        move |source| Error::File { path, doing, source }
    };
    match read_secret(&path, KEY_BYTES_MAX) {
        Ok(text) => {
            let key = SigningKey::from_text(&text);
            key.map(Arc::new).map_err(|error| failed("read")(io::Error::other(error)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SigningKey::fresh(&OsRandom);
            write_secret_new(&path, key.to_text().as_bytes()).map_err(failed("write"))?;
            Ok(Arc::new(key))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// The public key the database knows.
pub(super) fn known(db: &Connection) -> Result<Option<PublicKey>, Error> {
    let doing = "read the job's public key";
    let query = db.query_row("SELECT value FROM meta WHERE key = 'job_public_key'", [], |row| row.get::<_, Vec<u8>>(0));
    query.optional().during(doing)?.map(|bytes| array("job_public_key", &bytes)).transpose()
}

impl Job {
    /// The key that signs for this job; `None` when the job is open for reading only.
    pub fn signing_key(&self) -> Option<&Arc<SigningKey>> {
        self.signer.as_ref()
    }

    /// Public half of the job's signing key.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.public_key
    }
}

impl Batch<'_> {
    pub(super) fn put_public_key(&mut self, key: &PublicKey) -> Result<(), Error> {
        let sql = "INSERT INTO meta (key, value) VALUES ('job_public_key', ?1) \
                   ON CONFLICT DO UPDATE SET value = excluded.value";
        self.db.execute(sql, [key.as_slice()]).map(drop).during("keep the job's public key")
    }
}

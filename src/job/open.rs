//! Making and opening a job directory; its identity, sources, recipients and settings.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::format::{JobId, SlotRecipient};
use crate::job::error::{During, array, from_db, to_db};
use crate::job::rows::{at_ns, timestamp};
use crate::job::{Caches, Error, Job, ensure_dir, paths, schema, signing};
use crate::sys::{Clock as _, Fs, SystemClock};

const DATABASE: &str = "job.db";
const LOCK: &str = "job.lock";
/// Setting with the keys of a key service, one a line.
const KMS_KEYS: &str = "kms.keys";

/// Memory SQLite may use for pages. More wins nothing: rows are met in the order they were made. Unit: KiB.
const PAGE_CACHE_KIB: i64 = 8192;
/// The same for a handle that only reads, and reads from front to back. Unit: KiB.
const READER_CACHE_KIB: i64 = 4096;

/// Pages of write-ahead log after which it is carried over into the database: each time costs two syncs. Unit: pages of
/// 4 KiB.
const CHECKPOINT_PAGES: i64 = 8192;

/// How long a reader waits for a moment without a writer.
const READER_WAIT: Duration = Duration::from_secs(10);

/// What a job is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Random, one per job.
    pub id: JobId,
    /// Salt of the passphrase and unlock-code derivations.
    pub salt: [u8; 32],
    /// When.
    pub created: Timestamp,
    /// What is to be staged; empty when the job is rebuilt from volumes.
    pub sources: Vec<SourceRoot>,
    /// age recipients, as text.
    pub recipients: Vec<String>,
    /// Whatever the verbs want to find again, by name.
    pub settings: Vec<(String, String)>,
}

/// One tree to be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRoot {
    /// Where it is on this machine.
    pub path: Vec<u8>,
    /// Stored path of its top; empty when the source is the dataset.
    pub prefix: Vec<u8>,
}

/// A tree to be staged and its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Entry of its top.
    pub id: u64,
    /// Where it is and what it is called.
    pub root: SourceRoot,
}

impl Job {
    /// Makes the directory if need be, and a job in it.
    ///
    /// # Errors
    /// When there is a job already, another process works there, or the directory or database fails.
    pub fn create(fs: &dyn Fs, dir: &Path, new: &NewJob) -> Result<Self, Error> {
        ensure_dir(fs, dir)?;
        // Its name must outlive a cut of power too: volumes will belong to this job and to no other.
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |source| Error::Directory { path: above.to_owned(), doing: "sync it", source };
        fs.sync_dir(above).map_err(failed)?;
        let lock = lock(dir)?;
        if let Some(found) = Self::connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?
            && is_made(&found)?
        {
            return Err(Error::Exists { path: dir.to_owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut db = Self::connect(dir, flags)?.ok_or_else(|| Error::Missing { path: dir.to_owned() })?;
        schema::migrate(&mut db)?;
        let signer = signing::key(dir)?;
        let public_key = signer.public();
        let mut job = Self {
            db,
            dir: dir.to_owned(),
            id: new.id,
            salt: new.salt,
            created: new.created,
            signer: Some(signer),
            public_key: Some(public_key),
            caches: Caches::default(),
            _lock: Some(lock),
        };
        job.batch_durable(|batch| {
            let doing = "record what the job is";
            let mut meta = batch.db.prepare_cached("INSERT INTO meta (key, value) VALUES (?1, ?2)").during(doing)?;
            meta.execute(params!["job_id", new.id.0]).during(doing)?;
            meta.execute(params!["job_salt", new.salt]).during(doing)?;
            meta.execute(params!["created_ns", at_ns(new.created)?]).during(doing)?;
            batch.put_public_key(&public_key)?;
            new.settings.iter().try_for_each(|(name, value)| batch.set_setting(name, value))?;
            new.recipients.iter().try_for_each(|recipient| batch.add_recipient(recipient))?;
            new.sources.iter().try_for_each(|source| batch.add_source(source).map(drop))
        })?;
        fs.sync_dir(dir).map_err(|source| Error::Directory { path: dir.to_owned(), doing: "sync it", source })?;
        Ok(job)
    }

    /// Opens a job for work.
    ///
    /// # Errors
    /// When there is none, another process works on it, or a later program wrote it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::exists(dir)?;
        let lock = lock(dir)?;
        let db = Self::connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut db = db.ok_or_else(|| Error::Missing { path: dir.to_owned() })?;
        if !is_made(&db)? {
            return Err(Error::Missing { path: dir.to_owned() }); // a crash while it was made: nothing refers to it yet
        }
        schema::migrate(&mut db)?;
        let mut job = Self::load(db, dir, Some(lock))?;
        job.take_signing_key()?;
        Ok(job)
    }

    /// Opens a job to look at it, also while another process works on it. Whatever would change it fails.
    ///
    /// # Errors
    /// When there is none, or its schema is not the present one.
    pub fn open_read_only(dir: &Path) -> Result<Self, Error> {
        let db = Self::exists(dir)?;
        if schema::check(&db)? != schema::VERSION || !is_made(&db)? {
            return Err(Error::Missing { path: dir.to_owned() });
        }
        db.busy_timeout(READER_WAIT).during("set how long to wait")?;
        db.pragma_update(None, "query_only", true).during("open it for reading")?;
        db.pragma_update(None, "cache_size", -READER_CACHE_KIB).during("open it for reading")?;
        Self::load(db, dir, None)
    }

    /// Reads the signing key, or makes one where none is on file. A job that had another one says so in its log: volumes
    /// sealed before keep the signature of the old key.
    fn take_signing_key(&mut self) -> Result<(), Error> {
        let signer = signing::key(&self.dir)?;
        let (before, public_key) = (self.public_key, signer.public());
        (self.signer, self.public_key) = (Some(signer), Some(public_key));
        if before == Some(public_key) {
            return Ok(());
        }
        self.batch_durable(|batch| {
            batch.put_public_key(&public_key)?;
            match before {
                None => Ok(()),
                Some(old) => {
                    let detail = format!("the key {} was not on file", crate::crypto::fingerprint(&old));
                    batch.append_event(SystemClock::new().now(), "signing-key-replaced", None, &detail)
                }
            }
        })
    }

    /// Gives the database of a job another name, so that a new one can be made. Gives that name; `None` if there was none.
    ///
    /// # Errors
    /// When another process works there, or the directory refuses.
    pub fn put_aside(fs: &dyn Fs, dir: &Path) -> Result<Option<std::path::PathBuf>, Error> {
        let failed = |doing| move |source| Error::Directory { path: dir.to_owned(), doing, source };
        if fs.stat(&dir.join(DATABASE)).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let lock = lock(dir)?;
        let free = |number: &u32| fs.stat(&dir.join(format!("{DATABASE}.aside-{number}"))).is_err();
        let number = (1..).find(free).unwrap_or_default();
        let aside = dir.join(format!("{DATABASE}.aside-{number}"));
        // ORDER: the log first: a database beside a log that is not its own would be opened with it.
        for ending in ["-wal", "-shm", ""] {
            let (from, to) =
                (dir.join(format!("{DATABASE}{ending}")), dir.join(format!("{DATABASE}.aside-{number}{ending}")));
            match fs.rename_noreplace(&from, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(failed("put its database aside"))?,
            }
        }
        fs.sync_dir(dir).map_err(failed("sync it"))?;
        drop(lock);
        Ok(Some(aside))
    }

    fn exists(dir: &Path) -> Result<Connection, Error> {
        // Not OPEN_READ_ONLY: a reader of a write-ahead log must be able to make its index.
        Self::connect(dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?.ok_or_else(|| Error::Missing { path: dir.to_owned() })
    }

    fn connect(dir: &Path, flags: OpenFlags) -> Result<Option<Connection>, Error> {
        let db = match Connection::open_with_flags(dir.join(DATABASE), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX) {
            Ok(db) => db,
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => return Ok(None),
            Err(source) => return Err(Error::Database { doing: "open it", source }),
        };
        let doing = "set it up";
        db.busy_timeout(READER_WAIT).during(doing)?;
        db.pragma_update(None, "journal_mode", "WAL").during(doing)?;
        db.pragma_update(None, "synchronous", "FULL").during(doing)?;
        db.pragma_update(None, "cache_size", -PAGE_CACHE_KIB).during(doing)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).during(doing)?;
        db.pragma_update(None, "trusted_schema", false).during(doing)?;
        db.set_prepared_statement_cache_capacity(128);
        Ok(Some(db))
    }

    fn load(db: Connection, dir: &Path, lock: Option<Connection>) -> Result<Self, Error> {
        let meta = |key: &'static str| {
            db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, Vec<u8>>(0)).during(key)
        };
        let (id, salt) = (JobId(array("job_id", &meta("job_id")?)?), array("job_salt", &meta("job_salt")?)?);
        let created: i64 = db
            .query_row("SELECT value FROM meta WHERE key = 'created_ns'", [], |row| row.get(0))
            .during("read when the job was made")?;
        let created = timestamp(created)?;
        let public_key = signing::known(&db)?;
        let dir = dir.to_owned();
        Ok(Self { db, dir, id, salt, created, signer: None, public_key, caches: Caches::default(), _lock: lock })
    }

    /// The trees to be staged, in the order they were named.
    ///
    /// # Errors
    /// When the database fails.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        let doing = "read the sources";
        let mut query =
            self.db.prepare_cached("SELECT entry, path, prefix FROM sources ORDER BY number").during(doing)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).during(doing)?;
        rows.map(|row| {
            let (id, path, prefix) = row.during(doing)?;
            Ok(Source { id: from_db("entry of a source", id)?, root: SourceRoot { path, prefix } })
        })
        .collect()
    }

    /// The age recipients, as text.
    ///
    /// # Errors
    /// When the database fails.
    pub fn recipients(&self) -> Result<Vec<String>, Error> {
        let doing = "read the recipients";
        let mut query = self.db.prepare_cached("SELECT recipient FROM recipients ORDER BY number").during(doing)?;
        let rows = query.query_map([], |row| row.get(0)).during(doing)?;
        rows.collect::<Result<_, _>>().during(doing)
    }

    /// The same with their kinds.
    ///
    /// # Errors
    /// When the database fails.
    pub fn slot_recipients(&self) -> Result<Vec<SlotRecipient>, Error> {
        let doing = "read the recipients";
        let mut query =
            self.db.prepare_cached("SELECT kind, recipient FROM recipients ORDER BY number").during(doing)?;
        let rows =
            query.query_map([], |row| Ok(SlotRecipient { kind: row.get(0)?, text: row.get(1)? })).during(doing)?;
        rows.collect::<Result<_, _>>().during(doing)
    }

    /// A setting by its name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        let key = format!("setting.{name}");
        let query = self.db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        query.optional().during("read a setting")
    }

    /// Keys of the key service that slots are wrapped for, as the user named them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn kms_keys(&self) -> Result<Vec<String>, Error> {
        Ok(self.setting(KMS_KEYS)?.unwrap_or_default().lines().map(str::to_owned).collect())
    }
}

impl crate::job::Batch<'_> {
    /// Keeps a setting, replacing what it was.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_setting(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
        let key = format!("setting.{name}");
        self.db.execute(sql, [key.as_str(), value]).map(drop).during("keep a setting")
    }

    /// Keeps for which keys of the key service slots are wrapped.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_kms_keys(&mut self, keys: &[String]) -> Result<(), Error> {
        self.set_setting(KMS_KEYS, &keys.join("\n"))
    }

    /// Adds an age recipient; one that is there already stays once.
    ///
    /// # Errors
    /// When the database fails.
    pub fn add_recipient(&mut self, recipient: &str) -> Result<(), Error> {
        self.add_recipient_as(&SlotRecipient::of(recipient))
    }

    /// Adds a recipient of a known kind; one that is there already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn add_recipient_as(&mut self, recipient: &SlotRecipient) -> Result<(), Error> {
        let sql = "INSERT OR IGNORE INTO recipients (kind, recipient) VALUES (?1, ?2)";
        self.db.execute(sql, [&recipient.kind, &recipient.text]).map(drop).during("keep a recipient")
    }

    /// Takes a recipient away: later runs do not wrap their keys for it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn remove_recipient(&mut self, recipient: &str) -> Result<(), Error> {
        let sql = "DELETE FROM recipients WHERE recipient = ?1";
        self.db.execute(sql, [recipient]).map(drop).during("take a recipient away")
    }

    /// Adds a tree to be staged, and says which entry its top is. A prefix that is there already gets the new path.
    ///
    /// # Errors
    /// When the prefix is no stored path, or the database fails.
    pub fn add_source(&mut self, root: &SourceRoot) -> Result<u64, Error> {
        crate::format::path::check(&root.prefix, true).map_err(Error::Record)?;
        let id = paths::ensure(self, &root.prefix)?;
        let sql = "INSERT INTO sources (path, prefix, entry) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (prefix) DO UPDATE SET path = excluded.path";
        let row = params![root.path, root.prefix, to_db("entry id", id)?];
        self.db.execute(sql, row).during("keep a source")?;
        Ok(id)
    }
}

/// Whether the job was made to its end: its tables come in one transaction and its identity in the next, and power may go
/// between the two.
fn is_made(db: &Connection) -> Result<bool, Error> {
    if schema::check(db)? == 0 {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'job_id')";
    db.query_row(sql, [], |row| row.get(0)).during("see whether the job was made")
}

/// Keeps other processes out for as long as the connection lives.
fn lock(dir: &Path) -> Result<Connection, Error> {
    let doing = "lock the job";
    let lock = Connection::open(dir.join(LOCK)).during(doing)?;
    lock.busy_timeout(Duration::ZERO).during(doing)?;
    match lock.execute_batch("BEGIN EXCLUSIVE") {
        Ok(()) => Ok(lock),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            Err(Error::InUse { path: dir.to_owned() })
        }
        Err(source) => Err(Error::Database { doing, source }),
    }
}

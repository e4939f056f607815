//! The custody log, append-only, chained by hashes and signed; and what was found out about endpoints.
//! manifests/formats/custody.md.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::crypto::{Purpose, is_signed};
use crate::digest::Sha256;
use crate::format::{CustodyEntry, JobId, heads};
use crate::job::error::{During, array, from_db};
use crate::job::rows::{at_ns, timestamp};
use crate::job::{Batch, Error, Job};

/// Something that happened to the job or one of its volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What, in one word: `sealed`, `erased`, ...
    pub kind: String,
    /// Which volume it happened to.
    pub volume: Option<u32>,
    /// Details.
    pub detail: String,
    /// The entry as it was signed.
    pub entry: CustodyEntry,
}

/// What a one-off probe found out about an S3 endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    /// The bucket.
    pub bucket: String,
    /// When it was probed.
    pub probed: Timestamp,
    /// What was found, as one JSON value.
    pub facts: String,
}

impl Job {
    /// The custody log, in its order: of the job and of each volume, every entry after those it follows.
    ///
    /// # Errors
    /// When an event is not what was signed, or the database fails.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        let entries = load(&self.db, self.id, None)?;
        let mut followed: HashMap<u32, HashSet<Sha256>> = HashMap::new();
        let mut events = Vec::new();
        for (number, entry) in entries {
            let corrupt = |what: &str| Error::Corrupt {
                what: "custody log",
                found: format!("altered at event {number}: {what}"),
            };
            let above = followed.entry(entry.volume).or_default();
            let follows = entry.before.iter().all(|hash| above.contains(hash));
            if number != events.len() as u64 + 1 || !follows || entry.before.is_empty() != above.is_empty() {
                return Err(corrupt("an event before it is gone"));
            }
            if !is_signed(&entry.key, Purpose::Custody, &entry.hash(), &entry.signature) {
                return Err(corrupt("its signature does not fit"));
            }
            above.insert(entry.hash());
            events.push(Event {
                number,
                at: timestamp(entry.at_ns)?,
                kind: entry.kind.clone(),
                volume: (entry.volume != 0).then_some(entry.volume),
                detail: entry.detail.clone(),
                entry,
            });
        }
        Ok(events)
    }

    /// The custody log of one volume, as it is on the volume.
    ///
    /// # Errors
    /// Those of [`Job::events`].
    pub fn custody(&self, volume: u32) -> Result<Vec<CustodyEntry>, Error> {
        let events = self.events()?;
        Ok(events.into_iter().filter(|event| event.volume == Some(volume)).map(|event| event.entry).collect())
    }

    /// What is known of an endpoint.
    ///
    /// # Errors
    /// When the database fails.
    pub fn endpoint(&self, url: &str, bucket: &str) -> Result<Option<Endpoint>, Error> {
        let doing = "read what is known of an endpoint";
        let sql = "SELECT probed_ns, facts FROM endpoints WHERE url = ?1 AND bucket = ?2";
        let query = self.db.query_row(sql, [url, bucket], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let Some((probed, facts)) = query.optional().during(doing)? else { return Ok(None) };
        Ok(Some(Endpoint { url: url.to_owned(), bucket: bucket.to_owned(), probed: timestamp(probed)?, facts }))
    }
}

impl Batch<'_> {
    /// Appends to the custody log, signed with the job's key.
    ///
    /// # Errors
    /// When the job is not open for work, or the database fails.
    pub fn append_event(&mut self, at: Timestamp, kind: &str, volume: Option<u32>, detail: &str) -> Result<(), Error> {
        let by = concat!("packmule ", env!("CARGO_PKG_VERSION"));
        self.append_event_by(at, kind, volume, by, detail)
    }

    /// Appends what somebody says to the custody log, signed with the job's key.
    ///
    /// # Errors
    /// When the job is not open for work, or the database fails.
    pub fn append_event_by(
        &mut self,
        at: Timestamp,
        kind: &str,
        volume: Option<u32>,
        by: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let signer = self.signer.ok_or(Error::Corrupt { what: "signing key", found: "none".to_owned() })?;
        let volume = volume.unwrap_or(0);
        let there: Vec<CustodyEntry> =
            load(self.db, self.job, Some(volume))?.into_iter().map(|(_, entry)| entry).collect();
        let mut entry = CustodyEntry {
            job: self.job,
            volume,
            at_ns: at_ns(at)?,
            kind: kind.to_owned(),
            by: by.to_owned(),
            detail: detail.to_owned(),
            before: heads(there.iter()),
            key: signer.public(),
            signature: [0; 64],
        };
        entry.signature = signer.sign(Purpose::Custody, &entry.hash());
        self.keep_event(&entry)
    }

    /// Takes in entries of a volume's log that the job does not have yet. Gives how many.
    ///
    /// # Errors
    /// When one is not signed by the key it names or is of another job, or the database fails.
    pub fn take_custody(&mut self, entries: &[CustodyEntry]) -> Result<usize, Error> {
        let doing = "look an event up";
        let mut taken = 0;
        for entry in entries {
            let hash = entry.hash();
            if entry.job != self.job || !is_signed(&entry.key, Purpose::Custody, &hash, &entry.signature) {
                let found = format!("event {} of {} is not signed", entry.kind, timestamp(entry.at_ns)?);
                return Err(Error::Corrupt { what: "custody log of a volume", found });
            }
            let sql = "SELECT 1 FROM events WHERE hash = ?1";
            if self.db.query_row(sql, [hash.as_slice()], |_| Ok(())).optional().during(doing)?.is_none() {
                self.keep_event(entry)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn keep_event(&mut self, entry: &CustodyEntry) -> Result<(), Error> {
        let sql = "INSERT INTO events (number, at_ns, kind, volume, by, detail, before, key, hash, signature) \
                   VALUES ((SELECT coalesce(max(number), 0) + 1 FROM events), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let row = params![
            entry.at_ns,
            entry.kind,
            (entry.volume != 0).then_some(entry.volume),
            entry.by,
            entry.detail,
            entry.before.concat(),
            entry.key,
            entry.hash(),
            entry.signature,
        ];
        self.db.execute(sql, row).map(drop).during("append to the custody log")
    }

    /// Keeps what was found out about an endpoint.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_endpoint(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let sql = "INSERT OR REPLACE INTO endpoints (url, bucket, probed_ns, facts) VALUES (?1, ?2, ?3, ?4)";
        let row = params![endpoint.url, endpoint.bucket, at_ns(endpoint.probed)?, endpoint.facts];
        self.db.execute(sql, row).map(drop).during("keep what is known of an endpoint")
    }
}

/// Events with their numbers, in their order: of one volume (0: of the job), or all. Each has the hash it was kept under.
fn load(db: &Connection, job: JobId, volume: Option<u32>) -> Result<Vec<(u64, CustodyEntry)>, Error> {
    let doing = "read the custody log";
    let sql = "SELECT number, at_ns, kind, volume, by, detail, before, key, hash, signature FROM events \
               WHERE ?1 IS NULL OR coalesce(volume, 0) = ?1 ORDER BY number";
    let mut query = db.prepare_cached(sql).during(doing)?;
    let mut found = query.query([volume]).during(doing)?;
    let mut entries = Vec::new();
    while let Some(row) = found.next().during(doing)? {
        let number = from_db("number of an event", row.get(0).during(doing)?)?;
        let blob = |column: usize| row.get::<_, Vec<u8>>(column).during(doing);
        let entry = CustodyEntry {
            job,
            volume: row.get::<_, Option<u32>>(3).during(doing)?.unwrap_or(0),
            at_ns: row.get(1).during(doing)?,
            kind: row.get(2).during(doing)?,
            by: row.get(4).during(doing)?,
            detail: row.get(5).during(doing)?,
            before: blob(6)?.as_chunks::<32>().0.to_vec(),
            key: array("key of an event", &blob(7)?)?,
            signature: array("signature of an event", &blob(9)?)?,
        };
        if array::<32>("hash of an event", &blob(8)?)? != entry.hash() {
            let found = format!("altered at event {number}: its hash does not fit");
            return Err(Error::Corrupt { what: "custody log", found });
        }
        entries.push((number, entry));
    }
    Ok(entries)
}

//! The custody log, append-only and chained by hashes; and what was found out about endpoints.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::digest::{Sha256, sha256};
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
    /// Details, as one JSON value.
    pub detail: String,
    /// SHA-256 of this event and the hash of the one before.
    pub hash: Sha256,
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
    /// The custody log, in its order.
    ///
    /// # Errors
    /// When an event is not what was written, or the database fails.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        let doing = "read the custody log";
        let sql = "SELECT number, at_ns, kind, volume, detail, hash FROM events ORDER BY number";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found = query.query([]).during(doing)?;
        let mut events: Vec<Event> = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            let event = Event {
                number: from_db("number of an event", row.get(0).during(doing)?)?,
                at: timestamp(row.get(1).during(doing)?)?,
                kind: row.get(2).during(doing)?,
                volume: row.get(3).during(doing)?,
                detail: row.get(4).during(doing)?,
                hash: array("hash of an event", &row.get::<_, Vec<u8>>(5).during(doing)?)?,
            };
            let before = events.last().map_or([0; 32], |event| event.hash);
            if chain(&before, &event)? != event.hash || event.number != events.len() as u64 + 1 {
                return Err(Error::Corrupt {
                    what: "custody log",
                    found: format!("altered at event {}", event.number),
                });
            }
            events.push(event);
        }
        Ok(events)
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
    /// Appends to the custody log.
    ///
    /// # Errors
    /// When the database fails.
    pub fn append_event(&mut self, at: Timestamp, kind: &str, volume: Option<u32>, detail: &str) -> Result<(), Error> {
        let doing = "append to the custody log";
        let sql = "SELECT number, hash FROM events ORDER BY number DESC LIMIT 1";
        let last = self.db.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let (number, before) = match last.optional().during(doing)? {
            None => (0, [0; 32]),
            Some((number, hash)) => (number, array("hash of an event", &hash)?),
        };
        let number = from_db("number of an event", number + 1)?;
        let event = Event { number, at, kind: kind.to_owned(), volume, detail: detail.to_owned(), hash: [0; 32] };
        let sql = "INSERT INTO events (at_ns, kind, volume, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = params![at_ns(at)?, kind, volume, detail, chain(&before, &event)?];
        self.db.execute(sql, row).map(drop).during(doing)
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

/// Hash of an event, given that of the one before. Lengths go first, so that no two events have the same bytes.
fn chain(before: &Sha256, event: &Event) -> Result<Sha256, Error> {
    let mut bytes = b"packmule/1 event".to_vec();
    bytes.extend_from_slice(before);
    bytes.extend_from_slice(&event.number.to_le_bytes());
    bytes.extend_from_slice(&at_ns(event.at)?.to_le_bytes());
    bytes.extend_from_slice(&event.volume.unwrap_or_default().to_le_bytes());
    for text in [&event.kind, &event.detail] {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    Ok(sha256(&bytes))
}

//! Runs, volumes and packs.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use crate::digest::{Crc64, Sha256};
use crate::format::{FooterReason, RunId, VolumeId};
use crate::job::error::{During, array, from_db, to_db};
use crate::job::export::{reason, reason_code};
use crate::job::rows::{at_ns, timestamp};
use crate::job::{Batch, Error, Job, PackState};

/// One execution of a command that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// The command.
    pub command: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it runs, or if it was killed.
    pub ended: Option<Timestamp>,
    /// How it ended, in one word.
    pub outcome: Option<String>,
    /// The machine's name.
    pub host: String,
    /// The program's version.
    pub version: String,
}

/// What a volume is in the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumeState {
    /// Can take more.
    Open,
    /// Has no room; its seal is due.
    Full,
    /// `SEALED` is on it.
    Sealed,
    /// Its content was destroyed.
    Erased,
    /// Was found damaged; what it still holds counts, and nothing more is written to it.
    Damaged,
    /// Given up: everything on it counts as lost, and is staged again elsewhere.
    Lost,
}

impl VolumeState {
    const ALL: [Self; 6] = [Self::Open, Self::Full, Self::Sealed, Self::Erased, Self::Damaged, Self::Lost];

    fn code(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Full => 2,
            Self::Sealed => 3,
            Self::Erased => 4,
            Self::Damaged => 5,
            Self::Lost => 6,
        }
    }

    /// One word for people and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Full => "full",
            Self::Sealed => "sealed",
            Self::Erased => "erased",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
        }
    }
}

/// A volume that joins the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    /// Its number, from 1.
    pub number: u32,
    /// Its identity.
    pub id: VolumeId,
    /// Where it is mounted.
    pub path: PathBuf,
    /// Size of its file system. Unit: bytes.
    pub capacity_bytes: u64,
    /// When it was made.
    pub created: Timestamp,
    /// The drive's model, as it tells it.
    pub model: Option<String>,
    /// The drive's serial number, as it tells it.
    pub serial: Option<String>,
}

/// What the seal of a volume came to; as in `SEALED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealing {
    /// When.
    pub at: Timestamp,
    /// How the bytes were read back: `direct`, `dropped-cache` or `cached`.
    pub read_back: String,
    /// Length of all listed files. Unit: bytes.
    pub file_bytes: u64,
    /// SHA-256 of `SHA256SUMS`.
    pub sums_sha256: Sha256,
}

/// A volume of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// What it was when it joined; its path is where it was last seen.
    pub volume: NewVolume,
    /// What it is now.
    pub state: VolumeState,
    /// Its seal, once it has one.
    pub sealing: Option<Sealing>,
    /// When it was erased.
    pub erased: Option<Timestamp>,
}

/// What closing a pack came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackClose {
    /// Complete, or cut back after a crash.
    pub reason: FooterReason,
    /// Frames, footer included.
    pub frame_count: u32,
    /// Length of the file. Unit: bytes.
    pub file_bytes: u64,
    /// CRC-64 of the whole file.
    pub crc64: Crc64,
}

/// A pack of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// The volume it is on.
    pub volume: u32,
    /// After its last commit.
    pub state: PackState,
    /// How it was closed; `None` while it is open.
    pub close: Option<PackClose>,
}

impl Job {
    /// Volumes of the job, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn volumes(&self) -> Result<Vec<VolumeRow>, Error> {
        let doing = "read the volumes";
        let sql = "SELECT number, volume_id, path, state, capacity_bytes, file_bytes, created_ns, sealed_ns, read_back, \
                   sums_sha256, erased_ns, model, serial FROM volumes ORDER BY number";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found = query.query([]).during(doing)?;
        let mut volumes = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            volumes.push(volume(row)?);
        }
        Ok(volumes)
    }

    /// Packs of a volume, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub fn packs(&self, volume: u32) -> Result<Vec<PackRow>, Error> {
        let doing = "read the packs";
        let sql = format!("SELECT {PACK} FROM packs WHERE volume = ?1 ORDER BY number");
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let mut found = query.query([volume]).during(doing)?;
        let mut packs = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            packs.push(pack(row)?);
        }
        Ok(packs)
    }

    /// Runs of the job, in the order they began.
    ///
    /// # Errors
    /// When the database fails.
    pub fn runs(&self) -> Result<Vec<Run>, Error> {
        let doing = "read the runs";
        let sql = "SELECT run_id, command, started_ns, ended_ns, outcome, host, version FROM runs ORDER BY started_ns, run_id";
        let mut query = self.db.prepare_cached(sql).during(doing)?;
        let mut found = query.query([]).during(doing)?;
        let mut runs = Vec::new();
        while let Some(row) = found.next().during(doing)? {
            let id: Vec<u8> = row.get(0).during(doing)?;
            runs.push(Run {
                id: RunId(array("run_id", &id)?),
                command: row.get(1).during(doing)?,
                started: timestamp(row.get(2).during(doing)?)?,
                ended: row.get::<_, Option<i64>>(3).during(doing)?.map(timestamp).transpose()?,
                outcome: row.get(4).during(doing)?,
                host: row.get(5).during(doing)?,
                version: row.get(6).during(doing)?,
            });
        }
        Ok(runs)
    }
}

impl Batch<'_> {
    /// Takes note of a run, or of how it ended: a run that is known keeps its beginning.
    ///
    /// # Errors
    /// When the database fails.
    pub fn put_run(&mut self, run: &Run) -> Result<(), Error> {
        let sql = "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                   ON CONFLICT (run_id) DO UPDATE SET ended_ns = excluded.ended_ns, outcome = excluded.outcome";
        let ended = run.ended.map(at_ns).transpose()?;
        let row = params![run.id.0, run.command, at_ns(run.started)?, ended, run.outcome, run.host, run.version];
        self.db.execute(sql, row).map(drop).during("record a run")
    }

    /// Adds an open volume.
    ///
    /// # Errors
    /// When its number or identity is taken, or the database fails.
    pub fn add_volume(&mut self, new: &NewVolume) -> Result<(), Error> {
        let sql = "INSERT INTO volumes (number, volume_id, path, state, capacity_bytes, file_bytes, created_ns, model, serial) \
                   VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8)";
        let row = params![
            new.number,
            new.id.0,
            new.path.as_os_str().as_bytes(),
            VolumeState::Open.code(),
            to_db("capacity", new.capacity_bytes)?,
            at_ns(new.created)?,
            new.model,
            new.serial,
        ];
        self.db.execute(sql, row).map(drop).during("record a volume")
    }

    /// Takes note of where a volume was seen.
    ///
    /// # Errors
    /// When there is no such volume, or the database fails.
    pub fn set_volume_path(&mut self, number: u32, path: &std::path::Path) -> Result<(), Error> {
        let sql = "UPDATE volumes SET path = ?2 WHERE number = ?1";
        self.one(number, sql, params![number, path.as_os_str().as_bytes()])
    }

    /// Takes note that a volume is open or full.
    ///
    /// # Errors
    /// When there is no such volume, or the database fails.
    pub fn set_volume_state(&mut self, number: u32, state: VolumeState) -> Result<(), Error> {
        self.one(number, "UPDATE volumes SET state = ?2 WHERE number = ?1", params![number, state.code()])
    }

    /// Takes note of a volume's seal.
    ///
    /// # Errors
    /// When there is no such volume, or the database fails.
    pub fn seal_volume(&mut self, number: u32, sealing: &Sealing) -> Result<(), Error> {
        let sql = "UPDATE volumes SET state = ?2, sealed_ns = ?3, read_back = ?4, file_bytes = ?5, sums_sha256 = ?6 WHERE number = ?1";
        let file_bytes = to_db("length of all files", sealing.file_bytes)?;
        let sealed = VolumeState::Sealed.code();
        self.one(
            number,
            sql,
            params![number, sealed, at_ns(sealing.at)?, sealing.read_back, file_bytes, sealing.sums_sha256],
        )
    }

    /// Takes note that a volume's content was destroyed.
    ///
    /// # Errors
    /// When there is no such volume, or the database fails.
    pub fn erase_volume(&mut self, number: u32, at: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE volumes SET state = ?2, erased_ns = ?3 WHERE number = ?1";
        self.one(number, sql, params![number, VolumeState::Erased.code(), at_ns(at)?])
    }

    /// Takes note that a pack got its footer.
    ///
    /// # Errors
    /// When there is no such pack, or the database fails.
    pub fn close_pack(&mut self, volume: u32, number: u32, close: &PackClose) -> Result<(), Error> {
        let sql = "UPDATE packs SET reason = ?3, frame_count = ?4, file_bytes = ?5, crc64 = ?6 WHERE (volume, number) = (?1, ?2)";
        let file_bytes = to_db("length of a pack", close.file_bytes)?;
        let crc64 = close.crc64.0.cast_signed();
        let row = params![volume, number, reason_code(close.reason), close.frame_count, file_bytes, crc64];
        match self.db.execute(sql, row).during("record that a pack is closed")? {
            0 => Err(Error::Unknown { what: "pack", number: number.into() }),
            _ => Ok(()),
        }
    }

    /// A pack gets one more commit.
    pub(super) fn advance_pack(&mut self, volume: u32, pack: &PackState, _at: Timestamp) -> Result<(), Error> {
        let doing = "record a commit";
        let sql = "SELECT state FROM volumes WHERE number = ?1";
        let known = self.db.query_row(sql, [volume], |row| row.get::<_, i64>(0)).optional().during(doing)?;
        if known.is_none() {
            return Err(Error::Unknown { what: "volume", number: volume.into() });
        }
        let old = self.pack(volume, pack.number)?;
        let (commits, bytes, is_open) = old
            .as_ref()
            .map_or((0, 0, true), |old| (old.state.commits, old.state.committed_bytes, old.close.is_none()));
        let follows = pack.commits == commits + 1 && pack.committed_bytes > bytes && is_open;
        if !follows || old.is_some_and(|old| old.state.run != pack.run) {
            return Err(Error::Conflict {
                what: "commits of a pack",
                recorded: format!("{commits} in {bytes} bytes{}", if is_open { "" } else { ", closed" }),
                found: format!("{} in {} bytes", pack.commits, pack.committed_bytes),
            });
        }
        self.put_pack(volume, pack)
    }

    /// Writes a pack's row.
    pub(super) fn put_pack(&mut self, volume: u32, pack: &PackState) -> Result<(), Error> {
        let doing = "record a commit";
        let sql = "INSERT INTO packs (volume, number, run_id, committed_bytes, frames_next, commits, chain, crc64, \
                   data_plain_bytes, records) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                   ON CONFLICT DO UPDATE SET committed_bytes = excluded.committed_bytes, frames_next = excluded.frames_next, \
                   commits = excluded.commits, chain = excluded.chain, crc64 = excluded.crc64, \
                   data_plain_bytes = excluded.data_plain_bytes, records = excluded.records";
        let row = params![
            volume,
            pack.number,
            pack.run.0,
            to_db("length of a pack", pack.committed_bytes)?,
            pack.frames_next,
            pack.commits,
            pack.chain,
            pack.crc64.0.cast_signed(),
            to_db("bytes of a pack", pack.data_plain_bytes)?,
            to_db("records of a pack", pack.records)?,
        ];
        self.db.prepare_cached(sql).during(doing)?.execute(row).map(drop).during(doing)
    }

    fn pack(&self, volume: u32, number: u32) -> Result<Option<PackRow>, Error> {
        let doing = "read a pack";
        let sql = format!("SELECT {PACK} FROM packs WHERE volume = ?1 AND number = ?2");
        let mut query = self.db.prepare_cached(&sql).during(doing)?;
        let found = query.query_row([volume, number], |row| Ok(pack(row))).optional().during(doing)?;
        found.transpose()
    }

    fn one(&self, number: u32, sql: &str, row: impl rusqlite::Params) -> Result<(), Error> {
        match self.db.execute(sql, row).during("record the state of a volume")? {
            0 => Err(Error::Unknown { what: "volume", number: number.into() }),
            _ => Ok(()),
        }
    }
}

const PACK: &str = "volume, number, run_id, committed_bytes, frames_next, commits, chain, crc64, data_plain_bytes, records, \
                    reason, frame_count, file_bytes";

fn pack(row: &Row<'_>) -> Result<PackRow, Error> {
    let doing = "read a pack";
    let get = |column: usize| row.get::<_, i64>(column).during(doing);
    let blob = |column: usize| row.get::<_, Vec<u8>>(column).during(doing);
    let crc64 = Crc64(get(7)?.cast_unsigned());
    let state = PackState {
        number: from_db("number of a pack", get(1)?)?,
        run: RunId(array("run of a pack", &blob(2)?)?),
        committed_bytes: from_db("length of a pack", get(3)?)?,
        frames_next: from_db("frames of a pack", get(4)?)?,
        commits: from_db("commits of a pack", get(5)?)?,
        chain: array("chain of a pack", &blob(6)?)?,
        crc64,
        data_plain_bytes: from_db("bytes of a pack", get(8)?)?,
        records: from_db("records of a pack", get(9)?)?,
    };
    let close = match row.get::<_, Option<i64>>(10).during(doing)? {
        None => None,
        Some(code) => Some(PackClose {
            reason: reason(code)?,
            frame_count: from_db("frames of a pack", get(11)?)?,
            file_bytes: from_db("length of a pack", get(12)?)?,
            crc64,
        }),
    };
    Ok(PackRow { volume: from_db("volume of a pack", get(0)?)?, state, close })
}

fn volume(row: &Row<'_>) -> Result<VolumeRow, Error> {
    let doing = "read a volume";
    let get = |column: usize| row.get::<_, i64>(column).during(doing);
    let id: Vec<u8> = row.get(1).during(doing)?;
    let code = get(3)?;
    let state = VolumeState::ALL.into_iter().find(|state| state.code() == code);
    let state = state.ok_or_else(|| Error::Corrupt { what: "state of a volume", found: code.to_string() })?;
    let sealed: Option<i64> = row.get(7).during(doing)?;
    let sealing = match sealed {
        None => None,
        Some(at) => Some(Sealing {
            at: timestamp(at)?,
            read_back: row.get(8).during(doing)?,
            file_bytes: from_db("length of all files", get(5)?)?,
            sums_sha256: array("sums_sha256", &row.get::<_, Vec<u8>>(9).during(doing)?)?,
        }),
    };
    let path: Vec<u8> = row.get(2).during(doing)?;
    let volume = NewVolume {
        number: from_db("number of a volume", get(0)?)?,
        id: VolumeId(array("volume_id", &id)?),
        path: PathBuf::from(std::ffi::OsString::from_vec(path)),
        capacity_bytes: from_db("capacity", get(4)?)?,
        created: timestamp(get(6)?)?,
        model: row.get(11).during(doing)?,
        serial: row.get(12).during(doing)?,
    };
    let erased = row.get::<_, Option<i64>>(10).during(doing)?.map(timestamp).transpose()?;
    Ok(VolumeRow { volume, state, sealing, erased })
}

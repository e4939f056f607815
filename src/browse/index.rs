//! A temporary database on disk of everything on a set of volumes: by path, by directory, by place.
//!
//! SQLite removes the file itself, also after a crash: it has no name.

use rusqlite::{Connection, OptionalExtension, params};

use crate::browse::{Error, Latest, Opened, Place, latest};
use crate::format::record::{Entry, EntryType, Record};

/// The top directory.
pub const TOP: u64 = 1;

const SCHEMA: &str = "
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
CREATE TABLE nodes (
    ino INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, type INTEGER NOT NULL, mode INTEGER NOT NULL,
    uid INTEGER NOT NULL, gid INTEGER NOT NULL, mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, entry INTEGER NOT NULL, generation INTEGER NOT NULL, sha256 BLOB NOT NULL,
    crc64 BLOB NOT NULL, target BLOB NOT NULL, link INTEGER NOT NULL, rdev_major INTEGER NOT NULL,
    rdev_minor INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0, UNIQUE (parent, name));
CREATE TABLE places (
    entry INTEGER NOT NULL, generation INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    volume INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (entry, generation, offset, volume, pack)) WITHOUT ROWID;
";
const NODE: &str = "ino, parent, name, type, mode, uid, gid, mtime_s, mtime_ns, size, entry, generation, sha256, crc64, \
                    target, link, rdev_major, rdev_minor";

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Number in the index; the top is 1.
    pub ino: u64,
    /// Number of the directory it is in; 0 for the top.
    pub parent: u64,
    /// Its name there.
    pub name: Vec<u8>,
    /// What it is.
    pub entry_type: EntryType,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds of it.
    pub mtime_ns: u32,
    /// Content bytes; files only.
    pub size: u64,
    /// The entry's id; 0 for a directory that has no record here.
    pub id: u64,
    /// Which reading.
    pub generation: u32,
    /// SHA-256 of the content; files only.
    pub sha256: [u8; 32],
    /// CRC-64/NVME of the content, big-endian; files only.
    pub crc64: [u8; 8],
    /// Where a symbolic link points, or the path of the entry a hard link shares its content with.
    pub target: Vec<u8>,
    /// The entry a hard link shares its content with; 0 for others.
    pub link_id: u64,
    /// Device numbers; devices only.
    pub rdev: (u32, u32),
}

/// The database.
#[derive(Debug)]
pub struct Index {
    db: Connection,
    /// The directory that was found last, since most entries follow others of it: path and number.
    last_dir: Option<(Vec<u8>, u64)>,
}

trait During<T> {
    fn during(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Index { doing, source })
    }
}

impl Index {
    /// Indexes everything that holds on these volumes.
    ///
    /// # Errors
    /// When a volume cannot be read, or there is no room for the index.
    pub fn of(volumes: &Opened) -> Result<Self, Error> {
        let mut index = Self::empty()?;
        let holds = Latest::of(volumes)?;
        index.db.execute_batch("BEGIN").during("begin")?;
        latest::each_record(volumes, |volume, pack, record| match record {
            Record::Entry(entry) if holds.holds(entry.id, entry.generation) => index.add(&entry),
            Record::Extent(extent) if holds.holds(extent.id, extent.generation) => {
                let place = Place { offset: extent.offset, length: extent.length, volume, pack };
                index.add_place(extent.id, extent.generation, place)
            }
            _ => Ok(()),
        })?;
        index.db.execute_batch("COMMIT").during("commit")?;
        Ok(index)
    }

    fn empty() -> Result<Self, Error> {
        let db = Connection::open("").during("make tables")?;
        db.execute_batch(SCHEMA).during("make tables")?;
        let mut index = Self { db, last_dir: None };
        index.implied(0, b"")?;
        Ok(index)
    }

    /// A directory that must be there because something is in it.
    fn implied(&mut self, parent: u64, name: &[u8]) -> Result<u64, Error> {
        let sql = "INSERT INTO nodes (parent, name, type, mode, uid, gid, mtime_s, mtime_ns, size, entry, generation, \
                   sha256, crc64, target, link, rdev_major, rdev_minor) \
                   VALUES (?1, ?2, 2, 493, 0, 0, 0, 0, 0, 0, 0, zeroblob(32), zeroblob(8), x'', 0, 0, 0)";
        let mut insert = self.db.prepare_cached(sql).during("add a directory")?;
        insert.execute(params![signed(parent), name]).during("add a directory")?;
        Ok(self.db.last_insert_rowid().unsigned_abs())
    }

    fn dir(&mut self, path: &[u8]) -> Result<u64, Error> {
        if let Some((_, ino)) = self.last_dir.as_ref().filter(|(last, _)| last == path) {
            return Ok(*ino);
        }
        let mut ino = TOP;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            ino = match self.child_ino(ino, name)? {
                Some(child) => child,
                None => self.implied(ino, name)?,
            };
        }
        self.last_dir = Some((path.to_owned(), ino));
        Ok(ino)
    }

    fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        let (parent, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
            _ if entry.path.is_empty() => (0, Vec::new()),
            Some(slash) => (self.dir(&entry.path[..slash])?, entry.path[slash + 1..].to_vec()),
            None => (TOP, entry.path.clone()),
        };
        let sql = "INSERT INTO nodes (parent, name, type, mode, uid, gid, mtime_s, mtime_ns, size, entry, generation, \
                   sha256, crc64, target, link, rdev_major, rdev_minor) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
                   ON CONFLICT (parent, name) DO UPDATE SET type = ?3, mode = ?4, uid = ?5, gid = ?6, mtime_s = ?7, \
                   mtime_ns = ?8, size = ?9, entry = ?10, generation = ?11, sha256 = ?12, crc64 = ?13, target = ?14, \
                   link = ?15, rdev_major = ?16, rdev_minor = ?17";
        let mut insert = self.db.prepare_cached(sql).during("add an entry")?;
        let done = insert.execute(params![
            signed(parent),
            name,
            entry.entry_type.code(),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime_s,
            entry.mtime_ns,
            signed(entry.size),
            signed(entry.id),
            entry.generation,
            &entry.sha256[..],
            &entry.crc64.to_be_bytes()[..],
            entry.target,
            signed(entry.link_id),
            entry.rdev.0,
            entry.rdev.1,
        ]);
        done.during("add an entry").map(|_| ())
    }

    fn add_place(&mut self, id: u64, generation: u32, place: Place) -> Result<(), Error> {
        let sql = "INSERT OR IGNORE INTO places VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.db.prepare_cached(sql).during("add an extent")?;
        let (offset, length) = (signed(place.offset), signed(place.length));
        let volume = i64::try_from(place.volume).unwrap_or(i64::MAX);
        insert.execute(params![signed(id), generation, offset, length, volume, place.pack]).during("add an extent")?;
        Ok(())
    }

    fn child_ino(&self, parent: u64, name: &[u8]) -> Result<Option<u64>, Error> {
        let mut query =
            self.db.prepare_cached("SELECT ino FROM nodes WHERE parent = ?1 AND name = ?2").during("look")?;
        let found = query.query_row(params![signed(parent), name], |row| row.get::<_, i64>(0)).optional();
        Ok(found.during("look")?.map(i64::unsigned_abs))
    }

    /// The node with that number.
    ///
    /// # Errors
    /// When the index fails.
    pub fn node(&self, ino: u64) -> Result<Option<Node>, Error> {
        let mut query = self.db.prepare_cached(&format!("SELECT {NODE} FROM nodes WHERE ino = ?1")).during("look")?;
        query.query_row([signed(ino)], node).optional().during("look")
    }

    /// The node of that name in a directory.
    ///
    /// # Errors
    /// When the index fails.
    pub fn child(&self, parent: u64, name: &[u8]) -> Result<Option<Node>, Error> {
        let sql = format!("SELECT {NODE} FROM nodes WHERE parent = ?1 AND name = ?2");
        let mut query = self.db.prepare_cached(&sql).during("look")?;
        query.query_row(params![signed(parent), name], node).optional().during("look")
    }

    /// The node at a path.
    ///
    /// # Errors
    /// When the index fails.
    pub fn at(&self, path: &[u8]) -> Result<Option<Node>, Error> {
        let mut found = self.node(TOP)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            found = match found {
                Some(dir) => self.child(dir.ino, name)?,
                None => return Ok(None),
            };
        }
        Ok(found)
    }

    /// What is in a directory, after a number, at most so many.
    ///
    /// # Errors
    /// When the index fails.
    pub fn children(&self, parent: u64, after: u64, limit: usize) -> Result<Vec<Node>, Error> {
        let sql = format!("SELECT {NODE} FROM nodes WHERE parent = ?1 AND ino > ?2 ORDER BY ino LIMIT ?3");
        let mut query = self.db.prepare_cached(&sql).during("list")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![signed(parent), signed(after), limit], node).during("list")?;
        rows.collect::<Result<_, _>>().during("list")
    }

    /// Extents that hold any of `count` bytes from `offset` of an entry.
    ///
    /// # Errors
    /// When the index fails.
    pub fn places(&self, id: u64, generation: u32, offset: u64, count: u64) -> Result<Vec<Place>, Error> {
        let sql = "SELECT offset, length, volume, pack FROM places WHERE entry = ?1 AND generation = ?2 \
                   AND offset < ?4 AND offset + length > ?3 ORDER BY offset";
        let mut query = self.db.prepare_cached(sql).during("look for extents")?;
        let end = offset.saturating_add(count);
        let bounds = params![signed(id), generation, signed(offset), signed(end)];
        let rows = query.query_map(bounds, |row| {
            Ok(Place {
                offset: row.get::<_, i64>(0)?.unsigned_abs(),
                length: row.get::<_, i64>(1)?.unsigned_abs(),
                volume: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX),
                pack: row.get(3)?,
            })
        });
        rows.during("look for extents")?.collect::<Result<_, _>>().during("look for extents")
    }

    /// The entry a hard link shares its content with, as a node.
    ///
    /// # Errors
    /// When the index fails.
    pub fn linked(&self, link: &Node) -> Result<Option<Node>, Error> {
        self.at(&link.target)
    }

    /// Notes that the other side has this node too.
    ///
    /// # Errors
    /// When the index fails.
    pub fn mark_seen(&self, ino: u64) -> Result<(), Error> {
        let mut update = self.db.prepare_cached("UPDATE nodes SET seen = 1 WHERE ino = ?1").during("mark")?;
        update.execute([signed(ino)]).during("mark").map(|_| ())
    }

    /// Hands every node that was not marked to `take`, with its path.
    ///
    /// # Errors
    /// When the index fails, or `take` does.
    pub fn each_unseen(&self, mut take: impl FnMut(&[u8], &Node) -> Result<(), Error>) -> Result<(), Error> {
        let sql = format!("SELECT {NODE} FROM nodes WHERE seen = 0 AND entry > 0 AND ino > 1 ORDER BY ino");
        let mut query = self.db.prepare(&sql).during("list")?;
        let mut rows = query.query([]).during("list")?;
        while let Some(row) = rows.next().during("list")? {
            let node = node(row).during("list")?;
            take(&self.path(&node)?, &node)?;
        }
        Ok(())
    }

    fn path(&self, node: &Node) -> Result<Vec<u8>, Error> {
        let (mut path, mut parent) = (node.name.clone(), node.parent);
        while parent > TOP {
            let Some(dir) = self.node(parent)? else { break };
            path = [&dir.name[..], b"/", &path].concat();
            parent = dir.parent;
        }
        Ok(path)
    }
}

/// SQLite's integers are signed; everything stored here is below 2^63 by the format.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn node(row: &rusqlite::Row<'_>) -> rusqlite::Result<Node> {
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(Node {
        ino: number(0)?,
        parent: number(1)?,
        name: row.get(2)?,
        entry_type: EntryType::from_code(row.get(3)?).unwrap_or(EntryType::File),
        mode: row.get(4)?,
        uid: row.get(5)?,
        gid: row.get(6)?,
        mtime_s: row.get(7)?,
        mtime_ns: row.get(8)?,
        size: number(9)?,
        id: number(10)?,
        generation: row.get(11)?,
        sha256: row.get(12)?,
        crc64: row.get(13)?,
        target: row.get(14)?,
        link_id: number(15)?,
        rdev: (row.get(16)?, row.get(17)?),
    })
}

//! Rows of `entries` to values and back.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::format::record::{Attribute, EntryType};
use crate::job::error::{During, from_db, to_db};
use crate::job::{Caches, Error, Facts, Inode, Known, State, Stored};

/// Columns that [`stored`] reads, in its order.
pub(super) const STORED: &str = "id, parent, name, state, generation, type, size, mtime_s, mtime_ns, ctime_ns, dev, ino, nlink, mode, \
                                 owner, link_id, rdev, target, attributes";

/// Columns that [`known`] reads, in its order.
pub(super) const KNOWN: &str =
    "id, name, state, generation, type, size, mtime_s, mtime_ns, ctime_ns, dev, ino, mode, link_id";

/// Most owners kept in memory; a job with more asks the database for the others.
const OWNERS_MAX: usize = 65_536;

/// Numbers and names of one owner and group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    user: Vec<u8>,
    group: Vec<u8>,
}

/// Owners and their row numbers, both ways.
#[derive(Debug, Default)]
pub(super) struct OwnerCache {
    numbers: HashMap<Arc<Owner>, i64>,
    owners: HashMap<i64, Arc<Owner>>,
}

impl OwnerCache {
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.owners.clear();
    }

    fn keep(&mut self, number: i64, owner: Owner) -> Arc<Owner> {
        if self.owners.len() >= OWNERS_MAX {
            self.clear();
        }
        let owner = Arc::new(owner);
        self.numbers.insert(Arc::clone(&owner), number);
        self.owners.insert(number, Arc::clone(&owner));
        owner
    }
}

/// Row number of the owner in `facts`, made if need be.
pub(super) fn owner_number(db: &Connection, caches: &Caches, facts: &Facts) -> Result<i64, Error> {
    let owner = Owner { uid: facts.uid, gid: facts.gid, user: facts.user.clone(), group: facts.group.clone() };
    if let Some(number) = caches.owners.borrow().numbers.get(&owner) {
        return Ok(*number);
    }
    let doing = "keep an owner";
    let row = params![owner.uid, owner.gid, owner.user, owner.group];
    let sql = "INSERT OR IGNORE INTO owners (uid, gid, user, grp) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(sql).during(doing)?.execute(row).during(doing)?;
    let sql = "SELECT number FROM owners WHERE (uid, gid, user, grp) = (?1, ?2, ?3, ?4)";
    let number = db.prepare_cached(sql).during(doing)?.query_row(row, |row| row.get(0)).during(doing)?;
    caches.owners.borrow_mut().keep(number, owner);
    Ok(number)
}

fn owner(db: &Connection, caches: &Caches, number: i64) -> Result<Arc<Owner>, Error> {
    if let Some(owner) = caches.owners.borrow().owners.get(&number) {
        return Ok(Arc::clone(owner));
    }
    let doing = "read an owner";
    let mut query = db.prepare_cached("SELECT uid, gid, user, grp FROM owners WHERE number = ?1").during(doing)?;
    let owner = query
        .query_row([number], |row| {
            Ok(Owner { uid: row.get(0)?, gid: row.get(1)?, user: row.get(2)?, group: row.get(3)? })
        })
        .during(doing)?;
    Ok(caches.owners.borrow_mut().keep(number, owner))
}

/// Values of the columns that facts fill, in the order of [`STORED`] from `type` on.
pub(super) fn facts_row(
    db: &Connection,
    caches: &Caches,
    facts: &Facts,
) -> Result<[rusqlite::types::Value; 14], Error> {
    use rusqlite::types::Value::{Blob, Integer, Null};
    let or_null = |number: i64| if number == 0 { Null } else { Integer(number) };
    let blob_or_null = |bytes: &[u8]| if bytes.is_empty() { Null } else { Blob(bytes.to_vec()) };
    let inode = |get: fn(&Inode) -> i64| facts.inode.as_ref().map_or(Null, |inode| Integer(get(inode)));
    let rdev = u64::from(facts.rdev.0) << 32 | u64::from(facts.rdev.1);
    let mut attributes = Vec::new();
    for attribute in &facts.attributes {
        attribute.encode(&mut attributes).map_err(Error::Record)?;
    }
    Ok([
        Integer(facts.entry_type.code().into()),
        Integer(to_db("size of a file", facts.size)?),
        Integer(facts.mtime_s),
        Integer(facts.mtime_ns.into()),
        inode(|inode| inode.ctime_ns),
        inode(|inode| inode.dev.cast_signed()),
        inode(|inode| inode.ino.cast_signed()),
        Integer(facts.nlink.into()),
        Integer(facts.mode.into()),
        Integer(owner_number(db, caches, facts)?),
        or_null(to_db("id of a link", facts.link_id)?),
        or_null(rdev.cast_signed()),
        blob_or_null(&facts.target),
        blob_or_null(&attributes),
    ])
}

/// A row of [`STORED`].
pub(super) fn stored(db: &Connection, caches: &Caches, row: &Row<'_>) -> Result<Stored, Error> {
    let doing = "read an entry";
    let get = |column: usize| row.get::<_, i64>(column).during(doing);
    let optional = |column: usize| row.get::<_, Option<i64>>(column).during(doing);
    let blob = |column: usize| row.get::<_, Option<Vec<u8>>>(column).during(doing).map(Option::unwrap_or_default);
    let owner = owner(db, caches, get(14)?)?;
    let rdev = optional(16)?.unwrap_or_default().cast_unsigned();
    let facts = Facts {
        entry_type: entry_type(get(5)?)?,
        size: from_db("size of an entry", get(6)?)?,
        mtime_s: get(7)?,
        mtime_ns: from_db("mtime_ns of an entry", get(8)?)?,
        inode: inode(optional(9)?, optional(10)?, optional(11)?),
        nlink: from_db("nlink of an entry", get(12)?)?,
        mode: from_db("mode of an entry", get(13)?)?,
        uid: owner.uid,
        gid: owner.gid,
        user: owner.user.clone(),
        group: owner.group.clone(),
        link_id: from_db("link_id of an entry", optional(15)?.unwrap_or_default())?,
        rdev: (from_db("rdev", (rdev >> 32).cast_signed())?, from_db("rdev", (rdev & 0xFFFF_FFFF).cast_signed())?),
        target: blob(17)?,
        attributes: Attribute::decode_all(&blob(18)?).map_err(Error::Record)?,
    };
    Ok(Stored {
        id: from_db("id of an entry", get(0)?)?,
        parent: get(1)?,
        name: row.get(2).during(doing)?,
        state: State::from_code(get(3)?)?,
        generation: from_db("generation of an entry", get(4)?)?,
        facts,
    })
}

/// A row of [`KNOWN`].
pub(super) fn known(row: &Row<'_>) -> Result<Known, Error> {
    let doing = "read an entry";
    let get = |column: usize| row.get::<_, i64>(column).during(doing);
    let optional = |column: usize| row.get::<_, Option<i64>>(column).during(doing);
    Ok(Known {
        id: from_db("id of an entry", get(0)?)?,
        name: row.get(1).during(doing)?,
        state: State::from_code(get(2)?)?,
        generation: from_db("generation of an entry", get(3)?)?,
        entry_type: entry_type(get(4)?)?,
        size: from_db("size of an entry", get(5)?)?,
        mtime_s: get(6)?,
        mtime_ns: from_db("mtime_ns of an entry", get(7)?)?,
        inode: inode(optional(8)?, optional(9)?, optional(10)?),
        mode: from_db("mode of an entry", get(11)?)?,
        link_id: from_db("link_id of an entry", optional(12)?.unwrap_or_default())?,
    })
}

/// One entry, whole.
pub(super) fn load(db: &Connection, caches: &Caches, id: i64) -> Result<Option<Stored>, Error> {
    let doing = "read an entry";
    let mut query = db.prepare_cached(&format!("SELECT {STORED} FROM entries WHERE id = ?1")).during(doing)?;
    let found = query.query_row([id], |row| Ok(stored(db, caches, row))).optional().during(doing)?;
    found.transpose()
}

fn inode(ctime_ns: Option<i64>, dev: Option<i64>, ino: Option<i64>) -> Option<Inode> {
    Some(Inode { dev: dev?.cast_unsigned(), ino: ino?.cast_unsigned(), ctime_ns: ctime_ns? })
}

/// The type with that stored number.
pub(super) fn entry_type(code: i64) -> Result<EntryType, Error> {
    let found = u8::try_from(code).ok().and_then(EntryType::from_code);
    found.ok_or_else(|| Error::Corrupt { what: "type of an entry", found: code.to_string() })
}

/// A moment as the database keeps it: nanoseconds since 1970.
pub(super) fn at_ns(at: Timestamp) -> Result<i64, Error> {
    let ns = at.as_nanosecond();
    i64::try_from(ns).map_err(|_| Error::Range { what: "time", value: at.as_second().unsigned_abs() })
}

/// A stored moment, back.
pub(super) fn timestamp(ns: i64) -> Result<Timestamp, Error> {
    Timestamp::from_nanosecond(ns.into()).map_err(|_| Error::Corrupt { what: "time", found: ns.to_string() })
}

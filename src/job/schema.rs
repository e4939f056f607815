//! The shape of `job.db`, and how an older shape becomes the present one.

use rusqlite::Connection;

use crate::job::Error;
use crate::job::error::During;

/// Marks a SQLite file as a job database (`PRAGMA application_id`): the ASCII bytes `PMJB`.
const APPLICATION_ID: i64 = 0x504D_4A42;

/// One step per schema version, in order; step n leads from version n to version n + 1. A released step never changes.
const STEPS: [&str; 1] = [include_str!("schema.sql")];

/// The schema this program writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings the database to the present schema, in one transaction.
pub(super) fn migrate(db: &mut Connection) -> Result<(), Error> {
    let found = check(db)?;
    let doing = "bring the database to the present schema";
    let tx = db.transaction().during(doing)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        tx.execute_batch(step).during(doing)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).during(doing)?;
    tx.pragma_update(None, "user_version", VERSION).during(doing)?;
    tx.commit().during(doing)
}

/// The schema of the file; 0 for an empty one.
pub(super) fn check(db: &Connection) -> Result<i64, Error> {
    let doing = "read the schema version";
    let read = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).during(doing);
    let (application, version) = (read("application_id")?, read("user_version")?);
    let is_ours = application == APPLICATION_ID || (application, version) == (0, 0);
    if !is_ours || !(0..=VERSION).contains(&version) {
        return Err(Error::Schema { found: version, known: VERSION });
    }
    Ok(version)
}

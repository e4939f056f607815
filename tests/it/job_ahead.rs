//! Reading the job ahead of its writer: manifests and reports are made that way, so nothing may be missing unsaid.

use packmule::format::record::EntryType;
use packmule::job::{Ended, Error};

use crate::job_support::{World, facts, small};

/// More than one batch, and not a whole number of them.
const ITEMS: u64 = 2000;

fn read(world: &mut World, fails_at: Option<u64>, each: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
    world.job().read_ahead(
        |_, put| {
            for item in 0..ITEMS {
                if fails_at == Some(item) {
                    return Err(Ended::Failed(Error::Unknown { what: "item", number: item }));
                }
                put(item)?;
            }
            Ok(())
        },
        each,
    )
}

#[test]
fn everything_that_is_read_arrives_in_order() {
    let mut seen = Vec::new();
    read(&mut World::new(1), None, |item| {
        seen.push(item);
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, (0..ITEMS).collect::<Vec<_>>());
}

#[test]
fn a_job_that_cannot_be_read_to_its_end_is_an_error_and_no_shorter_list() {
    for at in [0, 1, 512, ITEMS - 1] {
        let outcome = read(&mut World::new(1), Some(at), |_| Ok(()));
        assert!(matches!(outcome, Err(Error::Unknown { number, .. }) if number == at), "{outcome:?}");
    }
}

#[test]
fn a_writer_that_fails_ends_the_reading_and_keeps_its_error() {
    let mut taken = 0;
    let outcome = read(&mut World::new(1), None, |item| {
        taken += 1;
        if item == 700 { Err(Error::Unknown { what: "room for", number: item }) } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(Error::Unknown { number: 700, .. })), "{outcome:?}");
    assert_eq!(taken, 701);
}

#[test]
fn a_staged_row_whose_entry_is_gone_is_an_error_and_no_shorter_manifest() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    job.batch(|batch| {
        batch.add(top, b"a", &facts(EntryType::File, 10))?;
        batch.add(top, b"b", &facts(EntryType::File, 20)).map(drop)
    })
    .map_err(|error: Error| error)
    .unwrap();
    let pending = world.job().pending(0, 10).unwrap();
    let lost = pending.iter().find(|work| work.path == b"a").unwrap().entry.id;
    world.commit(1, &pending.iter().flat_map(|work| small(work, 1)).collect::<Vec<_>>());
    world.close_packs();
    world.job().volume_records(1, |_| Ok::<(), Error>(())).unwrap();
    world.job = None;
    let db = rusqlite::Connection::open(world.dir.path().join("job/job.db")).unwrap();
    assert_eq!(db.execute("DELETE FROM entries WHERE id = ?1", [lost.cast_signed()]).unwrap(), 1);
    drop(db);
    world.reopen();
    let outcome = world.job().volume_records(1, |_| Ok::<(), Error>(()));
    assert!(outcome.is_err(), "{outcome:?}");
}

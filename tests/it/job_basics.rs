//! The job directory: what users and the stager rely on, one thing at a time.

use packmule::format::record::{EntryState, EntryType, Problem, ProblemCode, Record};
use packmule::job::{Error, Job, State};
use packmule::sys::RealFs;

use crate::job_support::{World, add_volume, create, entry, facts, large, new_job, now, small};

#[test]
fn a_second_process_is_kept_out_and_can_still_look() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("job");
    let job = create(&at);
    assert!(matches!(Job::open(&at), Err(Error::InUse { .. })));
    assert!(matches!(Job::create(&RealFs, &at, &new_job()), Err(Error::InUse { .. })));
    let looking = Job::open_read_only(&at).unwrap();
    assert_eq!(looking.id(), job.id());
    assert_eq!(looking.recipients().unwrap(), ["age1example"]);
    assert_eq!(looking.setting("level").unwrap().as_deref(), Some("3"));
    drop(job);
    assert_eq!(Job::open(&at).unwrap().created(), now());
}

#[test]
fn a_reader_cannot_change_the_job() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(dir.path()));
    let mut looking = Job::open_read_only(dir.path()).unwrap();
    assert!(looking.batch(|batch| batch.set_setting("a", "b")).is_err());
}

#[test]
fn no_job_an_old_job_and_a_foreign_file_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Job::open(dir.path()), Err(Error::Missing { .. })));
    assert!(matches!(Job::open(&dir.path().join("nowhere")), Err(Error::Missing { .. })));
    assert!(!dir.path().join("job.lock").exists(), "looking for a job leaves nothing behind");
    drop(create(dir.path()));
    assert!(matches!(Job::create(&RealFs, dir.path(), &new_job()), Err(Error::Exists { .. })));
    let other = tempfile::tempdir().unwrap();
    let foreign = rusqlite::Connection::open(other.path().join("job.db")).unwrap();
    foreign.execute_batch("PRAGMA user_version = 99; CREATE TABLE t (a)").unwrap();
    drop(foreign);
    assert!(matches!(Job::open(other.path()), Err(Error::Schema { found: 99, .. })));
}

#[test]
fn a_walk_is_merged_with_what_was_known() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let (dir, file) = job
        .batch(|batch| {
            batch.change(top, &facts(EntryType::Directory, 0))?;
            let dir = batch.add(top, b"d", &facts(EntryType::Directory, 0))?;
            let file = batch.add(dir, b"\xff\n", &facts(EntryType::File, 10))?;
            Ok::<_, Error>((dir, file))
        })
        .unwrap();
    assert_eq!(job.path(file).unwrap(), b"d/\xff\n");
    assert_eq!(job.find(b"d/\xff\n").unwrap(), Some(file));
    assert_eq!(job.find(b"d/x").unwrap(), None);
    let known = job.children(dir, None, 10).unwrap();
    assert_eq!(known.len(), 1);
    assert!(known[0].is_unchanged(&facts(EntryType::File, 10)));
    assert!(!known[0].is_unchanged(&facts(EntryType::File, 11)));
    assert!(job.children(dir, Some(b"\xff\n"), 10).unwrap().is_empty());

    let work = job.pending(0, 10).unwrap();
    assert_eq!(work.iter().map(|work| work.entry.id).collect::<Vec<_>>(), [top, dir, file]);
    let records: Vec<Record> = work.iter().flat_map(|work| small(work, 0)).collect();
    assert_eq!(world.commit(1, &records), 3);
    let job = world.job();
    assert!(job.pending(0, 10).unwrap().is_empty());
    assert_eq!(job.ledger().unwrap().state(State::Staged).bytes, 10);

    let generation = job.batch(|batch| batch.change(file, &facts(EntryType::File, 20))).unwrap();
    assert_eq!(generation, 2);
    assert_eq!(job.ledger().unwrap().state(State::Pending).bytes, 20);
    assert_eq!(job.batch(|batch| batch.vanish(dir)).unwrap(), 2);
    let due = job.unrecorded_deletions(0, 10).unwrap();
    assert_eq!(due.iter().map(|deleted| deleted.path.as_slice()).collect::<Vec<_>>(), [&b"d"[..], b"d/\xff\n"]);
    let records: Vec<Record> = due.into_iter().map(Record::Deleted).collect();
    world.commit(1, &records);
    let job = world.job();
    assert!(job.unrecorded_deletions(0, 10).unwrap().is_empty());
    assert_eq!(job.ledger().unwrap().deleted().entries, 2);
    assert_eq!(job.ledger().unwrap(), job.recount().unwrap());
}

#[test]
fn what_no_volume_knows_needs_no_deletion_record() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let file = job.batch(|batch| batch.add(top, b"f", &facts(EntryType::File, 1))).unwrap();
    job.batch(|batch| batch.vanish(file)).unwrap();
    assert!(job.unrecorded_deletions(0, 10).unwrap().is_empty());
    assert_eq!(job.ledger().unwrap().state(State::Deleted).entries, 1);
    let known = job.children(top, None, 10).unwrap();
    assert_eq!(known[0].id, file, "a name that comes back keeps its id");
}

#[test]
fn problems_are_listed_until_they_are_overcome() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let id = job.batch(|batch| batch.add(top, b"f", &facts(EntryType::File, 5))).unwrap();
    let problem = Problem { id, code: ProblemCode::Unreadable, errno: 13, path: b"f".to_vec(), text: "denied".into() };
    job.batch(|batch| batch.problem(&problem)).unwrap();
    let due = job.unrecorded_problems(0, 10).unwrap();
    assert_eq!(due.len(), 1);
    world.commit(1, &[Record::Problem(due[0].1.clone())]);
    let job = world.job();
    assert!(job.unrecorded_problems(0, 10).unwrap().is_empty());
    assert_eq!(job.problems(0, 10).unwrap()[0].problem, problem);
    assert_eq!(job.ledger().unwrap().state(State::Problem).entries, 1);

    assert_eq!(job.batch(|batch| batch.retry_problems()).unwrap(), 1);
    let work = job.pending(1, 10).unwrap();
    assert_eq!((work[0].entry.id, work[0].entry.generation), (id, 2));
    let records = small(&work[0], 0);
    world.commit(1, &records);
    let job = world.job();
    assert!(job.problems(0, 10).unwrap().is_empty());
    assert_eq!(job.ledger().unwrap().staged().bytes, 5);
}

#[test]
fn an_entry_is_staged_only_when_all_its_extents_are_committed() {
    let mut world = World::new(2);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let id = job.batch(|batch| batch.add(top, b"f", &facts(EntryType::File, 300))).unwrap();
    let work = job.pending(top, 10).unwrap().remove(0);
    let (begin, extents) = large(&work, 128);
    let record = Record::Entry(entry(&work, 3, EntryState::Changed));
    assert_eq!(world.commit(1, &[begin.clone(), Record::Extent(extents[0].clone())]), 0);
    assert_eq!(world.commit(2, &[begin, Record::Extent(extents[2].clone()), record]), 0);
    let point = world.job().resume_point(id).unwrap().unwrap();
    assert_eq!((point.offset, point.extent_count), (128, 1));
    assert_eq!(point.beyond, [(256, 44)], "what is committed after a gap is not written again");
    assert_eq!(point.begin.unwrap().size, 300);
    assert_eq!(world.job().entry(id).unwrap().unwrap().state, State::Pending);
    assert_eq!(world.commit(1, &[Record::Extent(extents[1].clone())]), 1);
    assert_eq!(world.job().entry(id).unwrap().unwrap().state, State::Changed);
    let placed = world.job().extents(id, 0, 10).unwrap();
    assert_eq!(placed.iter().map(|placed| placed.volume).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(world.job().extents(id, 128, 10).unwrap().len(), 2);
}

#[test]
fn an_entry_recorded_on_two_volumes_is_told_by_both() {
    let mut world = World::new(2);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    job.batch(|batch| batch.add(top, b"f", &facts(EntryType::File, 5))).unwrap();
    let records = small(&job.pending(top, 10).unwrap()[0], 3);
    assert_eq!(world.commit(1, &records), 1);
    assert_eq!(world.commit(2, &records), 0);
    world.close_packs();
    let told = |record: &Record| matches!(record, Record::Extent(_) | Record::Entry(_));
    let first = world.volume_records(1).into_iter().filter(told).count();
    let second = world.volume_records(2).into_iter().filter(told).count();
    assert_eq!((first, second), (2, 2));
    let mut other = records;
    if let Some(Record::Entry(entry)) = other.last_mut() {
        entry.mode = 0o777;
    }
    let pack = packmule::job::PackState { number: 9, commits: 1, ..world.job().packs(1).unwrap()[0].state.clone() };
    let refused = world.job().record_commit(1, &pack, &other, now());
    assert!(matches!(refused, Err(Error::Conflict { what: "ENTRY of one generation", .. })));
}

#[test]
fn a_commit_that_does_not_follow_the_last_one_is_refused() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    job.batch(|batch| batch.add(top, b"f", &facts(EntryType::File, 5))).unwrap();
    let work = job.pending(top, 10).unwrap().remove(0);
    world.commit(1, &small(&work, 0));
    let job = world.job();
    let packs = job.packs(1).unwrap();
    let again = job.record_commit(1, &packs[0].state, &[], now());
    assert!(matches!(again, Err(Error::Conflict { .. })));
    let unknown = job.record_commit(9, &packs[0].state, &[], now());
    assert!(matches!(unknown, Err(Error::Unknown { what: "volume", number: 9 })));
}

#[test]
fn hard_links_are_found_by_their_inode() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let linked = packmule::job::Facts { nlink: 2, ..facts(EntryType::File, 5) };
    let found = job.batch(|batch| {
        let first = batch.add(top, b"a", &linked)?;
        assert_eq!(batch.linked(2049, 18)?, None);
        let known = batch.linked(2049, 17)?.map(|known| known.id);
        assert_eq!(known, Some(first));
        let link = packmule::job::Facts { link_id: first, size: 0, nlink: 2, ..facts(EntryType::HardLink, 0) };
        batch.add(top, b"b", &link)?;
        Ok::<_, Error>(first)
    });
    found.unwrap();
    let work = world.job().pending(2, 10).unwrap();
    assert_eq!(work[0].link_path.as_deref(), Some(&b"a"[..]));
    let records = small(&work[0], 0);
    world.commit(1, &records);
    world.close_packs();
    let kept = world.volume_records(1);
    assert!(kept.contains(&records[0]), "the record names the path of the first name");
}

#[test]
fn a_failed_batch_leaves_nothing_behind() {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    let before = job.ledger().unwrap();
    let failed: Result<(), Error> = job.batch(|batch| {
        let dir = batch.add(top, b"d", &facts(EntryType::Directory, 0))?;
        batch.add(dir, b"f", &facts(EntryType::File, 5))?;
        Err(Error::Unknown { what: "reason", number: 1 })
    });
    assert!(failed.is_err());
    assert_eq!(job.ledger().unwrap(), before);
    assert_eq!(job.find(b"d/f").unwrap(), None);
}

#[test]
fn the_custody_log_cannot_be_edited_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = create(dir.path());
    add_volume(&mut job, 1);
    job.batch_durable(|batch| {
        batch.append_event(now(), "sealed", Some(1), "{}")?;
        batch.append_event(now(), "handed-over", Some(1), "{\"to\":\"courier\"}")
    })
    .unwrap();
    assert_eq!(job.events().unwrap().len(), 2);
    drop(job);
    let raw = rusqlite::Connection::open(dir.path().join("job.db")).unwrap();
    assert!(raw.execute("UPDATE events SET kind = 'x'", []).is_err(), "not even by accident");
    raw.execute_batch("DROP TRIGGER events_stay; UPDATE events SET detail = '{\"to\":\"thief\"}' WHERE number = 2")
        .unwrap();
    drop(raw);
    assert!(matches!(Job::open(dir.path()).unwrap().events(), Err(Error::Corrupt { what: "custody log", .. })));
}

//! Laws of the job database under random histories with crashes in between.

use std::collections::BTreeMap;

use packmule::format::JobId;
use packmule::format::record::{EntryState, EntryType, Extent, Problem, ProblemCode, Record};
use packmule::job::{Job, NewJob};
use packmule::sys::RealFs;
use proptest::prelude::*;

use crate::job_support::{World, add_volume, crc_of, entry, facts, large, new_job, small, volume_records};

/// One step of a random history. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Add { under: usize, name: u8, is_dir: bool, size: u64 },
    Change { which: usize, size: u64 },
    Vanish { which: usize },
    Fail { which: usize },
    Retry,
    Commit { volume: u32, count: usize },
    Partial { volume: u32, which: usize },
    RecordDue { volume: u32 },
    ClosePacks,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let volume = 1_u32..=2;
    prop_oneof![
        6 => (0_usize..50, any::<u8>(), any::<bool>(), 0_u64..400)
            .prop_map(|(under, name, is_dir, size)| Step::Add { under, name, is_dir, size }),
        2 => (0_usize..50, 0_u64..400).prop_map(|(which, size)| Step::Change { which, size }),
        1 => (0_usize..50).prop_map(|which| Step::Vanish { which }),
        1 => (0_usize..50).prop_map(|which| Step::Fail { which }),
        1 => Just(Step::Retry),
        4 => (volume.clone(), 1_usize..5).prop_map(|(volume, count)| Step::Commit { volume, count }),
        2 => (volume.clone(), 0_usize..50).prop_map(|(volume, which)| Step::Partial { volume, which }),
        1 => volume.prop_map(|volume| Step::RecordDue { volume }),
        1 => Just(Step::ClosePacks),
        1 => Just(Step::Crash),
    ]
}

/// Entries that exist, top first.
fn live(job: &Job) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut left = vec![job.sources().unwrap()[0].id];
    while let Some(id) = left.pop() {
        ids.push(id);
        let children = job.children(id, None, 1000).unwrap();
        left.extend(children.iter().filter(|known| !known.state.is_deleted()).map(|known| known.id));
    }
    ids.sort_unstable();
    ids
}

fn pick(ids: &[u64], which: usize) -> Option<u64> {
    let below_top = ids.get(1..).filter(|ids| !ids.is_empty())?;
    Some(below_top[which % below_top.len()])
}

fn take(world: &mut World, step: &Step) {
    let ids = live(world.job());
    match step {
        Step::Add { under, name, is_dir, size } => {
            let parent = ids[under % ids.len()];
            let job = world.job();
            let is_free = job.entry(parent).unwrap().unwrap().facts.entry_type == EntryType::Directory
                && !job.children(parent, None, 1000).unwrap().iter().any(|known| known.name == [*name | 0x80]);
            if is_free {
                let kind = if *is_dir { EntryType::Directory } else { EntryType::File };
                let facts = facts(kind, if *is_dir { 0 } else { *size });
                job.batch(|batch| batch.add(parent, &[*name | 0x80], &facts)).unwrap();
            }
        }
        Step::Change { which, size } => {
            let Some(id) = pick(&ids, *which) else { return };
            let kind = world.job().entry(id).unwrap().unwrap().facts.entry_type;
            let size = if kind == EntryType::File { *size } else { 0 };
            world.job().batch(|batch| batch.change(id, &facts(kind, size))).unwrap();
        }
        Step::Vanish { which } => {
            let Some(id) = pick(&ids, *which) else { return };
            world.job().batch(|batch| batch.vanish(id)).unwrap();
        }
        Step::Fail { which } => {
            let Some(id) = pick(&ids, *which) else { return };
            let path = world.job().path(id).unwrap();
            let problem = Problem { id, code: ProblemCode::Unreadable, errno: 5, path, text: "EIO".into() };
            world.job().batch(|batch| batch.problem(&problem)).unwrap();
        }
        Step::Retry => drop(world.job().batch(|batch| batch.retry_problems()).unwrap()),
        Step::Commit { volume, count } => {
            let work = world.job().pending(0, *count).unwrap();
            let mut records = Vec::new();
            for work in &work {
                if work.entry.facts.size > 128 {
                    let (begin, extents) = large(work, 128);
                    let known = world.job().extents(work.entry.id, 0, 100).unwrap();
                    let count = u32::try_from(extents.len()).unwrap();
                    records.push(begin);
                    let is_new = |extent: &Extent| !known.iter().any(|known| known.extent.offset == extent.offset);
                    records.extend(extents.into_iter().filter(is_new).map(Record::Extent));
                    records.push(Record::Entry(entry(work, count, EntryState::Stable)));
                } else {
                    records.extend(small(work, 1));
                }
            }
            let staged = world.commit(*volume, &records);
            assert_eq!(staged, work.len() as u64);
        }
        Step::Partial { volume, which } => {
            let work = world.job().pending(0, 100).unwrap();
            let large_ones: Vec<_> = work.iter().filter(|work| work.entry.facts.size > 128).collect();
            let Some(work) = large_ones.get(which % large_ones.len().max(1)) else { return };
            let (begin, extents) = large(work, 128);
            let chosen = extents[which % extents.len()].clone();
            let known = world.job().extents(work.entry.id, 0, 100).unwrap();
            if !known.iter().any(|known| known.extent.offset == chosen.offset) {
                world.commit(*volume, &[begin, Record::Extent(chosen)]);
            }
        }
        Step::RecordDue { volume } => {
            let problems = world.job().unrecorded_problems(0, 100).unwrap();
            let deletions = world.job().unrecorded_deletions(0, 100).unwrap();
            let mut records: Vec<Record> = problems.into_iter().map(|(_, problem)| Record::Problem(problem)).collect();
            records.extend(deletions.into_iter().map(Record::Deleted));
            world.commit(*volume, &records);
            assert!(world.job().unrecorded_deletions(0, 1).unwrap().is_empty());
        }
        Step::ClosePacks => world.close_packs(),
        Step::Crash => world.reopen(),
    }
}

/// Every pending file's resume point is what its committed extents say.
fn check_resume_points(world: &mut World) {
    for work in world.job().pending(0, 1000).unwrap() {
        let (id, generation) = (work.entry.id, work.entry.generation);
        let committed: BTreeMap<u64, Extent> = world
            .committed
            .iter()
            .filter_map(|(_, _, record)| match record {
                Record::Extent(extent) if (extent.id, extent.generation) == (id, generation) => {
                    Some((extent.offset, extent.clone()))
                }
                _ => None,
            })
            .collect();
        let mut prefix: Vec<Extent> = Vec::new();
        for (offset, extent) in &committed {
            if *offset == prefix.last().map_or(0, |last| last.offset + last.length) {
                prefix.push(extent.clone());
            }
        }
        let point = world.job().resume_point(id).unwrap();
        assert_eq!(point.is_some(), !committed.is_empty());
        if prefix.is_empty()
            && let Some(point) = &point
        {
            assert_eq!((point.offset, point.extent_count, point.beyond.len()), (0, 0, committed.len()));
        }
        if let (Some(point), Some(last)) = (point, prefix.last()) {
            assert_eq!(point.offset, last.offset + last.length);
            assert_eq!(point.crc64, crc_of(&prefix));
            assert_eq!(Some(point.sha_state), last.states.map(|states| states.end));
            assert_eq!(point.extent_count as usize + point.beyond.len(), committed.len());
        }
    }
}

fn sorted(records: impl IntoIterator<Item = Record>) -> Vec<String> {
    let mut texts: Vec<String> = records.into_iter().map(|record| format!("{record:?}")).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// A new job, rebuilt from what the volumes' manifests say.
fn rebuild(world: &mut World, at: &std::path::Path, volumes: [u32; 2]) -> Job {
    let blank = NewJob { sources: Vec::new(), recipients: Vec::new(), settings: Vec::new(), ..new_job() };
    let mut job = Job::create(&RealFs, at, &NewJob { id: JobId([7; 16]), ..blank }).unwrap();
    for volume in volumes {
        add_volume(&mut job, volume);
        let records = world.volume_records(volume);
        job.batch(|batch| records.iter().try_for_each(|record| batch.import_record(volume, 0, record))).unwrap();
    }
    job.finish_import().unwrap();
    job
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_adds_up_and_volumes_tell_the_same_story(steps in proptest::collection::vec(step(), 1..50)) {
        let mut world = World::new(2);
        for step in &steps {
            take(&mut world, step);
            let job = world.job();
            prop_assert_eq!(job.ledger().unwrap(), job.recount().unwrap());
            check_resume_points(&mut world);
        }
        world.close_packs();
        world.reopen();
        for volume in [1, 2] {
            let kept = world.volume_records(volume);
            let told = kept.iter().filter(|record| !matches!(record, Record::Pack(_) | Record::Summary(_))).cloned();
            let told = sorted(told);
            let committed = world.committed.iter().filter(|(on, _, _)| *on == volume);
            let committed = sorted(committed.map(|(_, _, record)| record.clone()));
            prop_assert_eq!(told, committed, "volume {}", volume);
        }
        for (name, volumes) in [("forward", [1, 2]), ("backward", [2, 1])] {
            let at = world.dir.path().join(name);
            let rebuilt = rebuild(&mut world, &at, volumes);
            prop_assert_eq!(rebuilt.ledger().unwrap(), rebuilt.recount().unwrap());
            for volume in [1, 2] {
                let (there, here) = (volume_records(&rebuilt, volume), world.volume_records(volume));
                prop_assert_eq!(sorted(there), sorted(here), "volume {} {}", volume, name);
            }
            for id in live(world.job()) {
                let here = world.job().entry(id).unwrap().unwrap();
                if here.state.is_staged() {
                    let there = rebuilt.entry(id).unwrap().unwrap();
                    prop_assert_eq!((there.state, there.generation), (here.state, here.generation), "{}", name);
                    prop_assert_eq!(rebuilt.path(id).unwrap(), world.job().path(id).unwrap());
                }
            }
        }
    }
}

//! Volumes lose power at every operation; what was committed stays, what was not is not shown.

use std::path::Path;
use std::sync::{Arc, Mutex};

use packmule::format::record::Record;
use packmule::sys::mem::{CrashKeep, MemFs};
use packmule::sys::{Access, Fs};
use packmule::volume::{Keyring, ManifestReader, PackState, Volume, recover_packs};

use crate::volume_kit::{Kit, commit, put_file};

const DIR: &str = "/drive";

/// What the job database would know: filled only after a commit or a close has returned.
#[derive(Default, Clone)]
struct Ledger {
    packs: Vec<PackState>,
    committed: Vec<Record>,
    sealed: bool,
}

impl Ledger {
    fn note(&mut self, state: PackState) {
        self.packs.retain(|pack| pack.number != state.number);
        self.packs.push(state);
        self.packs.sort_by_key(|pack| pack.number);
    }
}

/// Two packs, three commits, a seal.
fn write_all(kit: &Kit, ledger: &Mutex<Ledger>) -> Result<(), packmule::volume::Error> {
    let volume = kit.volume(Path::new(DIR), 1)?;
    for number in 1..=2 {
        let mut pack = kit.pack(&volume, number, Access::Direct)?;
        for group in 0..3 - number {
            let mut records = Vec::new();
            for file in 0..2 {
                let id = u64::from(number * 100 + group * 10 + file + 1);
                let content = vec![u8::try_from(id % 251).unwrap(); 5000 + usize::try_from(id).unwrap()];
                records.extend(put_file(&mut pack, id, format!("file {id}").as_bytes(), &content)?);
            }
            let committed = commit(&mut pack, records)?;
            let mut ledger = ledger.lock().unwrap();
            ledger.note(committed.state);
            ledger.committed.extend(committed.records.into_iter().flatten());
        }
        let state = kit.finish(pack)?;
        ledger.lock().unwrap().note(state);
    }
    let (packs, records) = {
        let ledger = ledger.lock().unwrap();
        (ledger.packs.clone(), in_manifest(&ledger))
    };
    kit.seal(&volume, &packs, records)?;
    ledger.lock().unwrap().sealed = true;
    Ok(())
}

/// The committed records as `MANIFEST` has them: extents name their pack.
fn in_manifest(ledger: &Ledger) -> Vec<Record> {
    let records = ledger.committed.iter().cloned();
    records
        .map(|record| match record {
            Record::Extent(mut extent) => {
                extent.pack = u32::try_from(extent.id / 100).unwrap();
                Record::Extent(extent)
            }
            other => other,
        })
        .collect()
}

/// Everything the volume shows through its packs, in order.
fn shown(fs: &Arc<dyn Fs>, kit: &Kit) -> Vec<Record> {
    let Ok(volume) = Volume::open(Arc::clone(fs), Path::new(DIR)) else { return Vec::new() };
    if volume.slots().unwrap().is_empty() {
        return Vec::new();
    }
    let keyring = Keyring::open(&volume, &kit.identities()).unwrap();
    let mut records = Vec::new();
    for number in volume.packs().unwrap() {
        match volume.open_pack(number, Access::Buffered) {
            Ok(pack) => records.extend(pack.index(&keyring).unwrap().records),
            // A pack whose header never reached the medium shows nothing.
            Err(error) => assert!(std::error::Error::source(&error).is_some(), "{error}"),
        }
    }
    records
}

#[test]
fn an_undisturbed_volume_reads_back_through_packs_and_manifest() {
    let fs = MemFs::new();
    fs.make_dirs(Path::new(DIR)).unwrap();
    let kit = Kit::new(Arc::new(fs), 1);
    let ledger = Mutex::default();
    write_all(&kit, &ledger).unwrap();
    let ledger = ledger.into_inner().unwrap();
    assert_eq!(shown(&kit.fs, &kit), ledger.committed);
    let volume = Volume::open(Arc::clone(&kit.fs), Path::new(DIR)).unwrap();
    assert_eq!(volume.sealed().unwrap().unwrap().packs, 2);
    let keyring = Keyring::open(&volume, &kit.identities()).unwrap();
    let mut records = Vec::new();
    let summary = ManifestReader::open(&volume, &keyring)
        .unwrap()
        .read::<packmule::volume::Error>(|record| {
            records.push(record);
            Ok(())
        })
        .unwrap();
    assert_eq!(summary.entries, 6);
    let listed: Vec<Record> =
        records.into_iter().filter(|record| matches!(record, Record::Entry(_) | Record::Extent(_))).collect();
    assert_eq!(listed, in_manifest(&ledger));
}

#[test]
fn power_cut_at_every_operation_loses_nothing_committed_and_shows_nothing_else() {
    let operations = {
        let fs = MemFs::new();
        fs.make_dirs(Path::new(DIR)).unwrap();
        let fs = Arc::new(fs);
        let kit = Kit::new(Arc::clone(&fs) as Arc<dyn Fs>, 1);
        write_all(&kit, &Mutex::default()).unwrap();
        fs.operation_count()
    };
    assert!(operations > 40, "the sweep covers {operations} operations");
    let mut crashes = 0;
    for at in 0..operations {
        for keep in [
            CrashKeep::All,
            CrashKeep::Synced,
            CrashKeep::Random(at),
            CrashKeep::Random(at + 1000),
            CrashKeep::TornLast,
        ] {
            crash_once(at, keep);
            crashes += 1;
        }
    }
    assert_eq!(crashes, operations * 5);
}

fn crash_once(at: u64, keep: CrashKeep) {
    let fs = MemFs::new();
    fs.make_dirs(Path::new(DIR)).unwrap();
    let fs = Arc::new(fs);
    fs.cut_power_at(at);
    let kit = Kit::new(Arc::clone(&fs) as Arc<dyn Fs>, 1);
    let ledger = Mutex::default();
    let outcome = write_all(&kit, &ledger);
    assert!(outcome.is_err(), "power went at {at}");
    let ledger = ledger.into_inner().unwrap();
    let context = format!("operation {at}, {keep:?}");

    let after: Arc<dyn Fs> = Arc::new(fs.crash(keep));
    let known = ledger.committed.clone();
    let seen = shown(&after, &kit);
    assert!(seen.len() >= known.len() && seen[..known.len()] == known[..], "{context}: committed records are shown");

    let Ok(volume) = Volume::open(Arc::clone(&after), Path::new(DIR)) else {
        assert!(known.is_empty(), "{context}: a volume with commits opens");
        return;
    };
    if volume.is_sealed().unwrap() {
        assert!(volume.sealed().unwrap().is_some(), "{context}: a seal that is there is whole");
        return;
    }
    assert!(!ledger.sealed, "{context}: a seal that was reported is there");
    let next = Kit::new(Arc::clone(&after), 99);
    let recovered = recover_packs(&volume, &ledger.packs, &next.run, &next.random).unwrap_or_else(|error| {
        panic!("{context}: {error}");
    });
    packmule::volume::add_slot(&volume, next.run.run(), &next.slot).unwrap();
    let mut identities = kit.identities();
    identities.add_text(&next.secret).unwrap();
    if !known.is_empty() {
        let keyring = Keyring::open(&volume, &identities).unwrap();
        let mut records = Vec::new();
        for number in volume.packs().unwrap() {
            let index = volume.open_pack(number, Access::Buffered).unwrap().index(&keyring).unwrap();
            assert!(index.closed.is_some(), "{context}: every pack is closed after recovery");
            records.extend(index.records);
        }
        assert_eq!(records, known, "{context}: recovery shows exactly what was committed");
    }
    // Recovering twice changes nothing more.
    let mut packs = ledger.packs.clone();
    for state in recovered.closed {
        packs.retain(|pack| pack.number != state.number);
        packs.push(state);
    }
    packs.sort_by_key(|pack| pack.number);
    packs.retain(|pack| pack.committed_bytes > 0);
    let again = recover_packs(&volume, &packs, &next.run, &next.random).unwrap();
    assert_eq!(again, packmule::volume::Recovered::default(), "{context}");
    if !packs.is_empty() {
        next.seal(&volume, &packs, in_manifest(&ledger)).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(volume.sealed().unwrap().is_some());
    }
}

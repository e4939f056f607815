//! The crash model of `MemFs` and the faults of `FaultFs`: tests that read as sentences.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use packmule::sys::fault::{Fault, FaultFs, FaultRule};
use packmule::sys::fs::OpKind;
use packmule::sys::mem::{CrashKeep, MemFs, is_power_lost};
use packmule::sys::{Access, Fs};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn p(path: &str) -> &Path {
    Path::new(path)
}

/// A file of 20 bytes `a`, durable in all respects.
fn with_durable_file() -> MemFs {
    let fs = MemFs::new();
    fs.put_file(p("/f"), &[b'a'; 20]).unwrap();
    fs
}

#[test]
fn a_file_that_was_never_synced_vanishes() {
    let fs = MemFs::new();
    let file = fs.create_new(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    assert!(fs.crash(CrashKeep::Synced).list(p("/")).unwrap().is_empty());
    assert_eq!(fs.crash(CrashKeep::All).contents(p("/f")).unwrap(), b"x");
}

#[test]
fn synced_data_without_a_synced_name_is_lost() {
    let fs = MemFs::new();
    let file = fs.create_new(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert!(fs.crash(CrashKeep::Synced).stat(p("/f")).is_err());
    fs.sync_dir(p("/")).unwrap();
    assert_eq!(fs.crash(CrashKeep::Synced).contents(p("/f")).unwrap(), b"x");
}

#[test]
fn a_synced_name_without_synced_data_is_an_empty_file() {
    let fs = MemFs::new();
    let file = fs.create_new(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    fs.sync_dir(p("/")).unwrap();
    assert_eq!(fs.crash(CrashKeep::Synced).contents(p("/f")).unwrap(), b"");
}

#[test]
fn an_unsynced_removal_brings_the_file_back_and_an_unsynced_rename_its_old_name() {
    let fs = with_durable_file();
    fs.remove_file(p("/f")).unwrap();
    assert!(fs.crash(CrashKeep::Synced).stat(p("/f")).is_ok());
    let fs = with_durable_file();
    fs.rename_noreplace(p("/f"), p("/g")).unwrap();
    let back = fs.crash(CrashKeep::Synced);
    assert!(back.stat(p("/f")).is_ok() && back.stat(p("/g")).is_err());
    fs.sync_dir(p("/")).unwrap();
    assert!(fs.crash(CrashKeep::Synced).stat(p("/g")).is_ok());
}

#[test]
fn a_rename_is_whole_or_not_at_all_whatever_survives() {
    let mut seen = [false; 2];
    for seed in 0..50 {
        let fs = with_durable_file();
        fs.make_dirs(p("/d")).unwrap();
        fs.rename_noreplace(p("/f"), p("/d/g")).unwrap();
        let back = fs.crash(CrashKeep::Random(seed));
        let (old, new) = (back.stat(p("/f")).is_ok(), back.stat(p("/d/g")).is_ok());
        assert!(old != new, "exactly one name, seed {seed}");
        seen[usize::from(new)] = true;
    }
    assert_eq!(seen, [true; 2], "both outcomes happen");
}

#[test]
fn the_last_unsynced_write_is_torn_and_earlier_ones_stay() {
    let fs = with_durable_file();
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"bbbb", 0).unwrap();
    file.write_all_at(b"cccc", 4).unwrap();
    assert_eq!(&fs.crash(CrashKeep::TornLast).contents(p("/f")).unwrap()[..10], b"bbbbccaaaa");
    file.sync_data().unwrap();
    assert_eq!(&fs.crash(CrashKeep::TornLast).contents(p("/f")).unwrap()[..10], b"bbbbccccaa");
}

#[test]
fn any_subset_of_unsynced_pages_may_survive() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let fs = MemFs::new();
        fs.put_file(p("/f"), &[0; 8192]).unwrap();
        let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        let back = fs.crash(CrashKeep::Random(seed)).contents(p("/f")).unwrap();
        assert_eq!(back, fs.crash(CrashKeep::Random(seed)).contents(p("/f")).unwrap(), "reproducible");
        outcomes.insert((back[0], back[4095], back[4096], back[8191]));
    }
    let expected = [(0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 0, 0), (1, 1, 1, 1)];
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_power_goes_at_the_chosen_operation_and_stays_off() {
    let fs = with_durable_file();
    fs.cut_power_at(1);
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"1", 0).unwrap();
    let errors = [
        file.write_all_at(b"2222", 1).unwrap_err(),
        file.write_all_at(b"3333", 1).unwrap_err(),
        file.sync_data().unwrap_err(),
        file.read_at(&mut [0], 0).unwrap_err(),
        fs.list(p("/")).unwrap_err(),
        fs.create_new(p("/g"), Access::Buffered).map(drop).unwrap_err(),
        fs.sync_dir(p("/")).unwrap_err(),
    ];
    assert!(errors.iter().all(is_power_lost), "{errors:?}");
    assert_eq!(fs.operation_count(), 1, "only what ran is counted");
    let start = |keep| fs.crash(keep).contents(p("/f")).unwrap()[..6].to_vec();
    assert_eq!(start(CrashKeep::Synced), b"aaaaaa");
    assert_eq!(start(CrashKeep::All), b"1aaaaa");
    assert_eq!(start(CrashKeep::TornLast), b"122aaa", "the write the cut fell into is torn");
    let back = fs.crash(CrashKeep::All);
    assert!(back.create_new(p("/g"), Access::Buffered).is_ok(), "the power is back on");
}

#[test]
fn operations_are_recorded_in_order() {
    let fs = MemFs::new();
    let file = fs.create_new(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(b"abc", 5).unwrap();
    file.sync_data().unwrap();
    fs.rename_noreplace(p("/f"), p("/g")).unwrap();
    fs.sync_dir(p("/")).unwrap();
    let operations = fs.operations();
    let kinds: Vec<_> = operations.iter().map(|operation| operation.kind).collect();
    assert_eq!(kinds, [OpKind::CreateNew, OpKind::Write, OpKind::SyncData, OpKind::Rename, OpKind::SyncDir]);
    assert_eq!((operations[1].offset, operations[1].len), (5, 3));
    assert_eq!(operations[3].to.as_deref(), Some(p("/g")));
}

#[test]
fn a_full_file_system_says_so_and_keeps_what_it_has() {
    let fs = with_durable_file();
    fs.set_capacity(25);
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    assert_eq!(file.write_all_at(&[1; 10], 16).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.set_len(u64::MAX).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    file.write_all_at(&[1; 9], 16).unwrap();
    assert_eq!(fs.space(p("/")).unwrap().free_bytes, 0);
}

fn faulty(rule: FaultRule) -> (MemFs, FaultFs) {
    let inner = with_durable_file();
    let fs = FaultFs::new(Arc::new(inner.clone()));
    fs.add(rule);
    (inner, fs)
}

#[test]
fn a_fault_hits_the_call_it_names_and_no_other() {
    let (_, fs) = faulty(FaultRule::new(OpKind::SyncData, Fault::Errno(EIO)).path("/f").nth(2).times(2));
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    let other = fs.create_new(p("/other"), Access::Buffered).unwrap();
    other.sync_data().unwrap();
    assert_eq!(fs.unexercised().len(), 1);
    let outcomes: Vec<_> = (0..4).map(|_| file.sync_data().map_err(|error| error.raw_os_error())).collect();
    assert_eq!(outcomes, [Ok(()), Err(Some(EIO)), Err(Some(EIO)), Ok(())]);
    fs.assert_all_exercised();
}

#[test]
#[should_panic(expected = "never happened")]
fn a_fault_that_never_happened_fails_the_test() {
    let (_, fs) = faulty(FaultRule::new(OpKind::Rename, Fault::Errno(EIO)));
    fs.assert_all_exercised();
}

#[test]
fn short_reads_and_writes_are_short() {
    let (inner, fs) = faulty(FaultRule::new(OpKind::Read, Fault::ShortRead(3)));
    fs.add(FaultRule::new(OpKind::Write, Fault::ShortWrite { bytes: 2, errno: ENOSPC }));
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    assert_eq!(file.read_at(&mut [0; 10], 0).unwrap(), 3);
    assert_eq!(file.read_at(&mut [0; 10], 0).unwrap(), 10);
    assert_eq!(file.write_all_at(b"bbbb", 0).unwrap_err().raw_os_error(), Some(ENOSPC));
    assert_eq!(&inner.contents(p("/f")).unwrap()[..4], b"bbaa");
    fs.assert_all_exercised();
}

#[test]
fn lying_drives_flip_bits_and_lose_writes_without_a_word() {
    let (inner, fs) = faulty(FaultRule::new(OpKind::Write, Fault::FlipBit(9)));
    fs.add(FaultRule::new(OpKind::Write, Fault::LoseWrite).nth(2));
    fs.add(FaultRule::new(OpKind::Read, Fault::FlipBit(0)));
    fs.add(FaultRule::new(OpKind::List, Fault::Delay(Duration::ZERO)));
    let file = fs.open_write(p("/f"), Access::Buffered).unwrap();
    file.write_all_at(&[0, 0, 0], 0).unwrap();
    file.write_all_at(b"lost", 18).unwrap();
    assert_eq!(inner.contents(p("/f")).unwrap()[..3], [0, 2, 0]);
    assert_eq!(inner.contents(p("/f")).unwrap()[18..], *b"aa\0\0");
    let mut byte = [0];
    file.read_at(&mut byte, 10).unwrap();
    assert_eq!(byte[0], b'a' ^ 1);
    fs.list(p("/")).unwrap();
    fs.assert_all_exercised();
}

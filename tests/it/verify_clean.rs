//! What `verify` says of volumes that are as they should be.

use packmule::verify::Report;

use crate::verify_kit::{ONE, TWO, check, filled, scene};

fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.keys_missing, Vec::<String>::new());
}

#[test]
fn a_courier_without_a_key_proves_both_volumes_intact() {
    let scene = scene();
    let report = check(&filled(&scene.files), &[ONE, TWO], None).unwrap();
    assert_clean(&report);
    assert!(report.volumes.iter().all(|volume| volume.sealed && volume.pack_sums_compared && !volume.opened));
    assert_eq!(report.volumes.iter().map(|volume| volume.packs).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(report.files_whole, 0, "nothing is learnt of the files");
    assert_eq!(report.volumes[0].read, "direct");
}

#[test]
fn with_a_key_every_file_of_both_volumes_is_whole() {
    let scene = scene();
    let report = check(&filled(&scene.files), &[ONE, TWO], Some(&scene.secret)).unwrap();
    assert_clean(&report);
    assert_eq!(report.files_whole, scene.contents.len() as u64);
    assert_eq!(report.files_bytes, scene.contents.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_eq!((report.others, report.problems, report.not_here), (3, 1, 0));
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn extents_on_a_volume_that_is_not_given_are_not_here_and_no_damage() {
    let scene = scene();
    let one = check(&filled(&scene.files), &[ONE], Some(&scene.secret)).unwrap();
    assert_clean(&one);
    assert_eq!((one.not_here, one.not_here_paths.clone()), (1, vec!["dir/big.bin".to_owned()]));
    let two = check(&filled(&scene.files), &[TWO], Some(&scene.secret)).unwrap();
    assert_clean(&two);
    assert_eq!((two.not_here, two.files_whole), (1, 0));
}

#[test]
fn a_wrong_key_is_told_at_once_and_is_no_finding() {
    let scene = scene();
    let stranger = packmule::crypto::new_identity(&packmule::sys::random::SeededRandom::new(5)).unwrap();
    let error = check(&filled(&scene.files), &[ONE], Some(&stranger.secret)).unwrap_err();
    assert!(matches!(error, packmule::verify::Error::Key { .. }), "{error}");
}

#[test]
fn the_same_volume_twice_and_a_place_without_a_volume_are_refused() {
    let scene = scene();
    let fs = filled(&scene.files);
    let twice = check(&fs, &[ONE, "/one/packmule"], None).unwrap_err();
    assert!(matches!(twice, packmule::verify::Error::Twice { .. }), "{twice}");
    assert!(check(&fs, &["/none"], None).is_err());
}

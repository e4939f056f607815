//! A remote that lies, one lie a test, named as what its user saw. Whatever it does: nothing counts as arrived that is not,
//! an unknown outcome is looked at and never guessed, and the same command ends with the right bytes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use packmule::digest::crc64;
use packmule::ingest::remote::connect::Timeouts;
use packmule::ingest::remote::probe::read_back;
use packmule::ingest::remote::{Metadata, ObjectStore, Put, Target};
use packmule::ingest::{Error, Options, Outcome};
use packmule::job::ObjectState;
use packmule::s3d::{Fault, FaultPlan, Operation, Quirks};

use crate::fault_proxy::{FaultProxy, Line};
use crate::ingest_engine::{endpoint, large, options, run};
use crate::ingest_kit::{Dataset, noise};
use crate::s3_lab::{Lab, target};

const MIB: usize = 1 << 20;
/// How often the same command is given before a test gives up.
const RUNS_MAX: u32 = 8;

/// Keys of `large` and what is to be under them.
fn expected() -> [(&'static str, Vec<u8>); 4] {
    let big = noise(2, 35 * MIB + 7);
    let other = [noise(4, 9 * MIB), vec![0; 20 << 20]].concat();
    [("data/small", noise(1, 3000)), ("data/big", big.clone()), ("data/big twin", big), ("data/other", other)]
}

fn is_right(lab: &Lab, key: &str, content: &[u8]) -> bool {
    let head = lab.run(lab.store.head(key)).ok().flatten();
    head.is_some_and(|head| head.bytes == content.len() as u64)
        && lab.run(read_back(&lab.store, key, content.len() as u64, crc64(content))).unwrap_or(false)
}

/// What the job believes to be proved is so.
fn assert_no_guess(lab: &Lab, dataset: &Dataset, context: &str) {
    let job = dataset.job();
    for (id, (key, content)) in (2..).zip(expected()) {
        if let Some(row) = job.object(id).unwrap()
            && matches!(row.state, ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack)
        {
            assert!(is_right(lab, key, &content), "{context}: {key} counts as arrived, and is not");
        }
    }
}

/// The same command until nothing is left; between any two runs nothing is believed that is not so.
fn until_done(lab: &Lab, dataset: &Dataset, target: &Target, options: &Options) -> (Outcome, u32) {
    let mut ends = Vec::new();
    for number in 1..=RUNS_MAX {
        let ended = run(dataset, target.clone(), options);
        ends.push(format!("{ended:?}"));
        match ended {
            Ok(outcome) if outcome.left == 0 && outcome.tally.failed == 0 => {
                for (key, content) in expected() {
                    assert!(is_right(lab, key, &content), "{key} is said to be there: {outcome:?}");
                }
                return (outcome, number);
            }
            Ok(outcome) => assert!(outcome.left > 0, "a failure leaves something: {outcome:?}"),
            Err(error) => assert!(matches!(error, Error::Remote { .. }), "{error:?}"),
        }
        assert_no_guess(lab, dataset, &format!("after run {number}"));
    }
    panic!("not done after {RUNS_MAX} runs: {ends:#?}");
}

/// A whole job against a server with that script; the script is spent at the end.
fn survives(faults: &FaultPlan) -> (Lab, Outcome, u32) {
    let lab = Lab::new(faults.clone(), Quirks::default());
    let dataset = large();
    let (outcome, runs) = until_done(&lab, &dataset, &endpoint(&lab), &options());
    assert!(faults.all_exercised(), "every lie was told: {faults:?}");
    (lab, outcome, runs)
}

#[test]
fn s3_said_200_and_meant_failure() {
    let faults = FaultPlan::default();
    faults
        .on_key(Operation::PutObject, "data/small", 2, Fault::ErrorInside200)
        .on_key(Operation::UploadPart, "data/big", 2, Fault::ErrorInside200)
        .on_key(Operation::CreateUpload, "data/big", 1, Fault::ErrorInside200)
        .on_key(Operation::CompleteUpload, "data/other", 2, Fault::ErrorInside200);
    survives(&faults);
}

#[test]
fn it_answered_with_an_error_and_had_done_it() {
    let faults = FaultPlan::default();
    faults
        .on_key(Operation::PutObject, "data/small", 1, Fault::DoneAndDenied)
        .on_key(Operation::UploadPart, "data/big", 2, Fault::DoneAndDenied)
        .on_key(Operation::CreateUpload, "data/other", 1, Fault::DoneAndDenied)
        .on_key(Operation::CompleteUpload, "data/other", 1, Fault::DoneAndDenied)
        .on_key(Operation::CompleteUpload, "data/big", 1, Fault::DoneAndDenied);
    let (_, _, runs) = survives(&faults);
    assert_eq!(runs, 1, "nobody has to help");
}

#[test]
fn the_server_was_busy_broken_and_silent_by_turns() {
    let faults = FaultPlan::default();
    // By the names of files: the probe at the start of each run is not what is tried here.
    for (operation, key) in [
        (Operation::PutObject, "data/small"),
        (Operation::UploadPart, "data/other"),
        (Operation::CompleteUpload, "data/big"),
        (Operation::CreateUpload, "data/big"),
    ] {
        faults
            .on_key(operation, key, 1, Fault::SlowDown)
            .on_key(operation, key, 1, Fault::InternalError)
            .on_key(operation, key, 1, Fault::Mute)
            .on_key(operation, key, 1, Fault::DropBefore);
    }
    let lab = Lab::new(faults.clone(), Quirks::default());
    // A part of 8 MiB is waited for as long as one of nothing, and a little.
    let timeouts =
        Timeouts { answer: Duration::from_millis(700), bytes_per_second_min: 16 << 20, ..Timeouts::default() };
    let target = Target { timeouts, ..endpoint(&lab) };
    until_done(&lab, &large(), &target, &options());
    assert!(faults.all_exercised());
}

#[test]
fn the_connection_dropped_at_every_byte() {
    let lab = Lab::new(FaultPlan::default(), Quirks::default());
    let server = lab.server.as_ref().unwrap().endpoint();
    // Towards the server: before a byte, in the request line, in its headers, at the start, middle and end of a body.
    let there = [0, 20, 300, 900, 4000, 1 << 20, 8 << 20];
    // And back: before a byte of the answer, in its status line, in its headers, in its body.
    let back = [0, 9, 60, 200, 500];
    let cuts = there.map(|after| Line::Cut { every: 3, after });
    let cuts = cuts.into_iter().chain(back.map(|after| Line::CutBack { every: 3, after }));
    // Each waits for the most part, for the next attempt: all at once.
    std::thread::scope(|scope| {
        for (number, line) in cuts.enumerate() {
            let (lab, server) = (&lab, &server);
            scope.spawn(move || cut_and_resume(lab, &FaultProxy::new(server, line), number, line));
        }
    });
}

/// Runs through the bad line until nothing is left, and looks at every object.
fn cut_and_resume(lab: &Lab, proxy: &FaultProxy, number: usize, line: Line) {
    let dataset = large();
    let options = Options { prefix: format!("cut-{number}/"), ..options() };
    let mut left = u64::MAX;
    for _ in 0..RUNS_MAX {
        match run(&dataset, target(&proxy.endpoint()), &options) {
            Ok(outcome) => left = outcome.left,
            Err(error) => assert!(matches!(error, Error::Remote { .. }), "{line:?}: {error:?}"),
        }
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "{line:?}");
    assert!(proxy.faults.load(Ordering::Relaxed) > 0, "{line:?} never happened");
    for (key, content) in expected() {
        let key = key.replace("data/", &options.prefix);
        assert!(is_right(lab, &key, &content), "{line:?}: {key}");
    }
}

#[test]
fn the_token_expired_in_the_middle_and_the_same_command_went_on() {
    let faults = FaultPlan::default();
    faults.after(Operation::UploadPart, 2, 1000, Fault::Refuse(400, "ExpiredToken"));
    let lab = Lab::new(faults, Quirks::default());
    let dataset = large();
    let ended = run(&dataset, endpoint(&lab), &options());
    match &ended {
        Ok(outcome) => {
            assert!(outcome.left > 0 && outcome.tally.failed > 0, "{outcome:?}");
            assert!(format!("{outcome:?}").contains("ExpiredToken"), "the cause is told: {outcome:?}");
        }
        Err(error) => assert!(error.hint().is_some_and(|hint| hint.contains("renew the credentials")), "{error:?}"),
    }
    assert_no_guess(&lab, &dataset, "expired");
    // New credentials: the server accepts what it refused.
    let lab = lab.restarted(FaultPlan::default());
    let (outcome, runs) = until_done(&lab, &dataset, &endpoint(&lab), &options());
    assert_eq!(runs, 1, "{outcome:?}");
}

#[test]
fn the_clock_of_this_machine_was_wrong_and_it_was_told_so() {
    let faults = FaultPlan::default();
    faults.after(Operation::Any, 0, 1000, Fault::Refuse(403, "RequestTimeTooSkewed"));
    let lab = Lab::new(faults, Quirks::default());
    let error = run(&large(), endpoint(&lab), &options()).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("clock")), "{error:?}");
}

#[test]
fn the_server_forgot_the_upload() {
    for operation in [Operation::UploadPart, Operation::ListParts, Operation::CompleteUpload] {
        let faults = FaultPlan::default();
        faults.on_key(operation, "data/big", 1, Fault::Refuse(404, "NoSuchUpload"));
        if operation == Operation::ListParts {
            // Parts are only listed after an answer was lost.
            faults.on_key(Operation::CompleteUpload, "data/big", 1, Fault::ErrorInside200);
        }
        let lab = Lab::new(faults.clone(), Quirks::default());
        until_done(&lab, &large(), &endpoint(&lab), &options());
    }
}

#[test]
fn it_gave_back_another_checksum_than_it_was_sent() {
    let faults = FaultPlan::default();
    faults
        .on_key(Operation::PutObject, "data/small", 1, Fault::WrongChecksum)
        .on_key(Operation::UploadPart, "data/big", 1, Fault::WrongChecksum)
        .on_key(Operation::CompleteUpload, "data/other", 1, Fault::WrongChecksum);
    survives(&faults);
}

#[test]
fn it_gave_back_no_checksum_at_all() {
    let faults = FaultPlan::default();
    for operation in [Operation::PutObject, Operation::UploadPart, Operation::CompleteUpload, Operation::HeadObject] {
        faults.after(operation, 0, u32::MAX, Fault::NoChecksum);
    }
    let lab = Lab::new(faults, Quirks::default());
    let (outcome, _) = until_done(&lab, &large(), &endpoint(&lab), &options());
    assert!(!outcome.endpoint.keeps_checksum, "it is seen that none is given back: {:?}", outcome.endpoint);
}

#[test]
fn somebody_elses_object_was_there_and_the_server_ignored_that_it_was_not_to_be_replaced() {
    let lab = Lab::new(FaultPlan::default(), Quirks { ignore_conditions: true, ..Quirks::default() });
    for key in ["data/small", "data/big"] {
        let theirs = Put {
            key: key.to_owned(),
            body: "theirs".into(),
            claim: None,
            metadata: Metadata::new(),
            overwrite: false,
        };
        lab.run(lab.store.put(theirs)).unwrap();
    }
    let outcome = run(&large(), endpoint(&lab), &options()).unwrap();
    assert!(!outcome.endpoint.conditional_put, "{:?}", outcome.endpoint);
    assert_eq!((outcome.tally.failed, outcome.left), (2, 2), "{outcome:?}");
    for key in ["data/small", "data/big"] {
        assert_eq!(lab.run(lab.store.get(key, 0, 6)).unwrap(), "theirs", "{key}");
    }
}

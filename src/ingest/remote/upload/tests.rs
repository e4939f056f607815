//! The upload against a model of a server that forgets, fails and stays silent.

use proptest::prelude::*;

use super::*;
use crate::digest::crc64;
use crate::ingest::remote::Checksums;

/// The least server that can be wrong in every way that matters.
#[derive(Debug, Default)]
struct Model {
    lists_checksums: bool,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    object: Option<Vec<u8>>,
    created: u32,
    received: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Fine,
    /// The request fails, nothing happens.
    Fails,
    /// The request is carried out, the answer is lost.
    Silent,
    /// The server drops the upload, then answers.
    Forgets,
}

fn body(number: u32) -> Vec<u8> {
    format!("body of part {number}").into_bytes()
}

fn plan(count: u32) -> Vec<PartPlan> {
    let mut offset = 0;
    let part = |number| {
        let bytes = body(number).len() as u64;
        offset += bytes;
        PartPlan { number, offset: offset - bytes, bytes, crc64: crc64(&body(number)) }
    };
    (1..=count).map(part).collect()
}

impl Model {
    fn list(&self, upload: &str) -> Option<Vec<ListedPart>> {
        let parts = self.uploads.get(upload)?.iter().map(|(number, body)| ListedPart {
            number: *number,
            bytes: body.len() as u64,
            etag: format!("{:016x}", crc64(body).0),
            checksums: Checksums {
                crc64: self.lists_checksums.then(|| Claim::Crc64(crc64(body)).text()),
                ..Checksums::default()
            },
        });
        Some(parts.collect())
    }

    /// Carries out one action and reports it. False when there is nothing left to do.
    fn step(&mut self, state: &mut UploadState, luck: Luck) -> bool {
        if luck == Luck::Forgets {
            self.uploads.clear();
        }
        let silent = luck == Luck::Silent;
        match state.next_action() {
            Action::Finished | Action::GiveUp(_) => return false,
            Action::Wait => unreachable!("this driver does one thing at a time"),
            Action::Create => {
                self.created += 1;
                let name = format!("upload {}", self.created);
                self.uploads.insert(name.clone(), BTreeMap::new());
                state.created(name);
            }
            Action::List => {
                let upload = state.upload().unwrap_or_default().to_owned();
                state.listed(self.list(&upload));
            }
            Action::Send(part) => self.take_part(state, part, luck),
            Action::Complete(parts) => {
                let upload = state.upload().unwrap_or_default().to_owned();
                let outcome = match self.uploads.get(&upload) {
                    _ if luck == Luck::Fails => Completion::Unknown,
                    None => Completion::Gone,
                    Some(_) if self.object.is_some() => Completion::Exists,
                    Some(stored) => {
                        assert_eq!(parts.len(), stored.len(), "only complete uploads are completed");
                        self.object = Some(stored.values().flatten().copied().collect());
                        self.uploads.remove(&upload);
                        if silent { Completion::Unknown } else { Completion::Done }
                    }
                };
                state.completion(outcome);
            }
            Action::Inspect => {
                let wanted: Vec<u8> = state.parts.iter().flat_map(|part| body(part.number)).collect();
                state.inspected(match &self.object {
                    None => Inspection::Absent,
                    Some(found) if *found == wanted => Inspection::Same,
                    Some(_) => Inspection::Different,
                });
            }
        }
        true
    }

    fn take_part(&mut self, state: &mut UploadState, part: PartPlan, luck: Luck) {
        let upload = state.upload().unwrap_or_default().to_owned();
        let Some(parts) = self.uploads.get_mut(&upload) else { return state.vanished() };
        if luck == Luck::Fails {
            return state.unsent(part.number);
        }
        self.received += 1;
        parts.insert(part.number, body(part.number));
        if luck == Luck::Silent {
            return state.unsent(part.number);
        }
        let etag = format!("{:016x}", part.crc64.0);
        state.sent(SentPart { number: part.number, bytes: part.bytes, etag, checksum: None });
    }
}

fn run(model: &mut Model, state: &mut UploadState, luck: &[Luck]) {
    let mut luck = luck.iter().copied();
    for _ in 0..500 {
        if !model.step(state, luck.next().unwrap_or(Luck::Fine)) {
            return;
        }
    }
    panic!("the upload does not end: {state:?}");
}

#[test]
fn a_resume_sends_only_what_is_missing_or_different() {
    let mut model = Model { lists_checksums: true, ..Model::default() };
    let kept = BTreeMap::from([(1, body(1)), (2, b"body of part X".to_vec()), (4, b"short".to_vec())]);
    model.uploads.insert("old".to_owned(), kept);
    let mut state = UploadState::new(plan(4), Some("old".to_owned()), Vec::new());
    run(&mut model, &mut state, &[]);
    assert_eq!(state.next_action(), Action::Finished);
    assert_eq!((model.created, model.received), (0, 3), "parts 2, 3 and 4, in the old upload");
}

#[test]
fn without_listed_checksums_only_remembered_parts_count() {
    let mut model = Model::default();
    model.uploads.insert("old".to_owned(), BTreeMap::from([(1, body(1)), (2, body(2))]));
    let etag = format!("{:016x}", crc64(&body(1)).0);
    let known = SentPart { number: 1, bytes: body(1).len() as u64, etag, checksum: None };
    let mut state = UploadState::new(plan(2), Some("old".to_owned()), vec![known]);
    run(&mut model, &mut state, &[]);
    assert_eq!(model.received, 1);
}

#[test]
fn death_between_completion_and_its_record_is_no_second_upload() {
    let mut model = Model { object: Some([body(1), body(2)].concat()), ..Model::default() };
    let mut state = UploadState::new(plan(2), Some("completed before".to_owned()), Vec::new());
    run(&mut model, &mut state, &[]);
    assert_eq!(state.next_action(), Action::Finished);
    assert_eq!((model.created, model.received), (0, 0));
}

#[test]
fn a_forgotten_upload_with_every_part_remembered_begins_anew() {
    let mut model = Model::default();
    let known = |number| SentPart { number, bytes: body(number).len() as u64, etag: String::new(), checksum: None };
    let mut state = UploadState::new(plan(2), Some("forgotten".to_owned()), vec![known(1), known(2)]);
    run(&mut model, &mut state, &[]);
    assert_eq!(state.next_action(), Action::Finished);
    assert_eq!((model.created, model.received), (1, 2));
}

#[test]
fn another_object_under_the_key_is_left_alone() {
    let mut model = Model { object: Some(b"not ours".to_vec()), ..Model::default() };
    let mut state = UploadState::new(plan(1), None, Vec::new());
    run(&mut model, &mut state, &[]);
    assert_eq!(state.next_action(), Action::GiveUp(Obstacle::OtherObject));
    assert_eq!(model.object.as_deref(), Some(b"not ours".as_slice()));
}

#[test]
fn a_server_that_always_forgets_is_given_up_on() {
    let mut model = Model::default();
    let mut state = UploadState::new(plan(3), None, Vec::new());
    run(&mut model, &mut state, &[Luck::Forgets; 400]);
    assert_eq!(state.next_action(), Action::GiveUp(Obstacle::Forgotten));
}

#[test]
fn extents_join_into_parts_and_must_fit() {
    const MIB: u64 = 1 << 20;
    let crc = crc64(&vec![0; 8 << 20]);
    let parts = plan_parts(20 * MIB, [(8 * MIB, crc), (8 * MIB, crc), (4 * MIB, Crc64(7))]);
    let parts = parts.expect("they fit");
    assert_eq!(parts.iter().map(|part| part.bytes / MIB).collect::<Vec<_>>(), [8, 8, 4]);
    assert_eq!((parts[1].offset, parts[1].crc64, parts[2].crc64), (8 * MIB, crc, Crc64(7)));
    assert_eq!(plan_parts(20 * MIB, [(9 * MIB, crc), (11 * MIB, crc)]), None, "an extent crosses a part");
    assert_eq!(plan_parts(20 * MIB, [(8 * MIB, crc), (8 * MIB, crc)]), None, "too short");
    assert_eq!(plan_parts(8 * MIB, [(8 * MIB, crc), (1, crc)]), None, "too long");
    assert_eq!(plan_parts(0, []).map(|parts| parts.len()), Some(1), "an empty file is one empty part");
    let halves = plan_parts(8 * MIB, [(5, crc64(b"hello")), (8 * MIB - 5, Crc64(9))]).expect("they fit");
    assert_eq!(halves[0].crc64, combine(crc64(b"hello"), Crc64(9), 8 * MIB - 5));
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Fine),
        2 => Just(Luck::Fails),
        2 => Just(Luck::Silent),
        1 => Just(Luck::Forgets),
    ]
}

proptest! {
    #[test]
    fn any_luck_ends_in_the_true_object_or_in_giving_up(
        count in 1_u32..6,
        lists_checksums: bool,
        script in prop::collection::vec(luck(), 0..30),
    ) {
        let mut model = Model { lists_checksums, ..Model::default() };
        let mut state = UploadState::new(plan(count), None, Vec::new());
        run(&mut model, &mut state, &script);
        let wanted: Vec<u8> = (1..=count).flat_map(body).collect();
        match state.next_action() {
            Action::Finished => prop_assert_eq!(model.object, Some(wanted)),
            Action::GiveUp(Obstacle::Forgotten) => prop_assert!(script.iter().any(|luck| *luck != Luck::Fine)),
            other => prop_assert!(false, "ended with {:?}", other),
        }
    }
}

#[test]
fn a_file_of_more_parts_than_the_server_takes_is_refused_before_the_first() {
    let limit = 1000 * crate::format::layout::PART_BYTES_MIN;
    assert!(too_many_parts("k", limit, Some(1000)).is_none());
    let refused = too_many_parts("k", limit + 1, Some(1000)).expect("one part too many").to_string();
    assert!(refused.contains("it needs 1001 parts, and this server took part 1000 and none above it"), "{refused}");
    assert!(too_many_parts("k", limit + 1, Some(10_000)).is_none());
    assert!(too_many_parts("k", limit + 1, None).is_none(), "an unknown limit refuses nothing");
}

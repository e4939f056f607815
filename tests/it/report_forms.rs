//! Reports: what is a success, what a failure, and that every form says the same.

use std::path::Path;

use assert_cmd::Command;
use packmule::digest::{Crc64, sha256};
use packmule::format::record::{EntryState, EntryType, Extent, Problem, ProblemCode, Record};
use packmule::job::{Error, Evidence, Object, ObjectState, Sealing};
use packmule::report::{
    self, Facts, Format, Outcome, Stage, read_completion, render_html, render_json, render_line, render_text,
    write_bag, write_list, write_reports,
};
use packmule::sys::RealFs;

use crate::job_support::{World, entry, facts, large, now, small};

/// Two files, a link and a directory, staged on volume 1; `sealed` adds the seal.
pub(crate) fn staged(sealed: bool) -> World {
    let mut world = World::new(1);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    job.batch(|batch| {
        batch.change(top, &facts(EntryType::Directory, 0))?;
        let dir = batch.add(top, b"d", &facts(EntryType::Directory, 0))?;
        batch.add(dir, b"new\nline", &facts(EntryType::File, 10))?;
        batch.add(dir, b"plain, \"quoted\"", &facts(EntryType::File, 90))?;
        batch.add(top, b"link", &facts(EntryType::Symlink, 0)).map(drop)
    })
    .map_err(|error: Error| error)
    .unwrap();
    let records: Vec<Record> = job.pending(0, 100).unwrap().iter().flat_map(|work| small(work, 1)).collect();
    world.commit(1, &records);
    world.close_packs();
    if sealed {
        seal(&mut world, 1);
    }
    world
}

pub(crate) fn seal(world: &mut World, volume: u32) {
    let sealing = Sealing { at: now(), read_back: "direct".into(), file_bytes: 12_345_678, sums_sha256: [0xab; 32] };
    world.job().batch(|batch| batch.seal_volume(volume, &sealing)).unwrap();
}

/// Every entry but the top has an object in that state.
pub(crate) fn send(world: &mut World, state: ObjectState) {
    let job = world.job();
    let mut objects = Vec::new();
    job.list(|listed| {
        if !listed.path.is_empty() && listed.state.is_staged() {
            objects.push(Object {
                entry: listed.id,
                generation: listed.generation,
                state,
                key: None,
                upload_id: None,
                part_bytes: None,
                etag: Some("\"e\"".into()),
                version_id: None,
                crc64: Some(Crc64(1)),
                attempts: 1,
                error: (state == ObjectState::Failed).then(|| "checksum refused".into()),
                changed: now(),
            });
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    job.batch(|batch| objects.iter().try_for_each(|object| batch.put_object(object))).unwrap();
}

fn gather(world: &mut World, stage: Stage) -> Facts {
    let facts = Facts::gather(world.job(), stage, now()).unwrap();
    let glance = Facts::glance(world.job(), stage, now()).unwrap();
    assert_eq!(facts.outcome(), glance.outcome());
    assert_eq!((facts.lists.success, facts.lists.failure), (glance.lists.success, glance.lists.failure));
    facts
}

#[test]
fn a_job_is_complete_when_the_server_has_everything() {
    let mut world = staged(false);
    assert_eq!(gather(&mut world, Stage::Staging).outcome(), Outcome::Incomplete, "the seal is missing");
    seal(&mut world, 1);
    assert_eq!(gather(&mut world, Stage::Staging).outcome(), Outcome::Complete);
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!((facts.outcome(), facts.lists.failure.entries), (Outcome::Incomplete, 4));
    assert_eq!(facts.lists.evidence[&Evidence::ReadBackFromVolume].entries, 5);
    assert_eq!(facts.volumes[0].content.unwrap().entries, 5, "the only volume holds all that was staged, the top too");
    send(&mut world, ObjectState::Failed);
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!(facts.lists.reasons["refused"].entries, 4);
    assert_eq!(facts.volumes[0].content.unwrap().not_arrived, 4);
    send(&mut world, ObjectState::Confirmed);
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!((facts.outcome(), facts.lists.success.entries), (Outcome::Complete, 5));
    assert_eq!(facts.lists.evidence[&Evidence::Confirmed].bytes, 100);
    assert!(report::next(&facts).command.unwrap().starts_with("packmule erase /mnt/1 "));
}

#[test]
fn a_file_on_two_drives_counts_on_both_until_it_has_arrived_and_on_none_twice() {
    let mut world = World::new(3);
    let job = world.job();
    let top = job.sources().unwrap()[0].id;
    job.batch(|batch| {
        batch.add(top, b"large", &facts(EntryType::File, 1000))?;
        batch.add(top, b"small", &facts(EntryType::File, 10)).map(drop)
    })
    .map_err(|error: Error| error)
    .unwrap();
    let pending = world.job().pending(0, 10).unwrap();
    let of = |name: &[u8]| pending.iter().find(|work| work.path == name).unwrap();
    let (begin, extents) = large(of(b"large"), 512);
    let record = |extent: &Extent| Record::Extent(extent.clone());
    world.commit(1, &[&[begin][..], &[record(&extents[0])]].concat());
    let held = |world: &mut World| {
        let arrivals = world.job().arrivals().unwrap();
        arrivals.into_iter().map(|(volume, of)| (volume, of.entries, of.missing)).collect::<Vec<_>>()
    };
    assert_eq!(held(&mut world), [(1, 1, 1)], "begun, and its record is nowhere yet");
    let rest: Vec<Record> = extents[1..].iter().map(record).collect();
    let count = u32::try_from(extents.len()).unwrap();
    let end = Record::Entry(entry(of(b"large"), count, EntryState::Stable));
    world.commit(2, &[&rest[..], &[end], &small(of(b"small"), 9)].concat());
    assert_eq!(held(&mut world), [(1, 1, 1), (2, 2, 2)], "volume 3 holds nothing");
    send(&mut world, ObjectState::Confirmed);
    assert_eq!(held(&mut world), [(1, 1, 0), (2, 2, 0)]);
    let volumes = gather(&mut world, Stage::Completion).volumes;
    let told: Vec<(u64, u64)> = volumes
        .iter()
        .map(|volume| volume.content.map(|content| (content.entries, content.not_arrived)).unwrap())
        .collect();
    assert_eq!(told, [(1, 0), (2, 0), (0, 0)]);
    let job = world.job();
    let large = job.find(b"large").unwrap().unwrap();
    job.batch(|batch| batch.vanish(large)).map_err(|error: Error| error).unwrap();
    assert_eq!(held(&mut world), [(2, 1, 0)], "what is no longer at the source counts nowhere");
}

#[test]
fn a_file_that_changed_after_it_arrived_is_not_done() {
    let mut world = staged(true);
    send(&mut world, ObjectState::Confirmed);
    let job = world.job();
    let id = job.find(b"d/new\nline").unwrap().unwrap();
    job.batch(|batch| batch.change(id, &facts(EntryType::File, 11))).unwrap();
    assert_eq!(gather(&mut world, Stage::Completion).outcome(), Outcome::Incomplete);
    let work = world.job().pending(0, 10).unwrap();
    world.commit(1, &small(&work[0], 1));
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!(facts.lists.reasons["not-sent"].entries, 1, "the server has the earlier reading");
}

#[test]
fn what_could_not_be_staged_is_a_listed_problem_and_not_an_open_end() {
    let mut world = staged(true);
    send(&mut world, ObjectState::Confirmed);
    let job = world.job();
    let id = job.batch(|batch| batch.add(1, b"secret", &facts(EntryType::File, 7))).unwrap();
    let path = b"secret".to_vec();
    let problem = Problem { id, code: ProblemCode::Unreadable, errno: 13, path, text: "Permission denied".into() };
    job.batch(|batch| batch.problem(&problem)).unwrap();
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!(facts.outcome(), Outcome::CompleteWithProblems);
    assert_eq!(facts.lists.examples, [(b"secret".to_vec(), "Permission denied (errno 13)".to_owned())]);
    let text = render_text(&facts);
    assert!(
        text.contains("Complete, with problems") && text.contains("secret: Permission denied (errno 13)"),
        "{text}"
    );
    assert!(render_line(&facts).ends_with("except 1 with problems"));
    let next = report::next(&facts);
    assert!(next.command.unwrap().starts_with("packmule stage "), "erasing is never what comes next by itself");
    assert!(next.why.contains("1 entries have problems") && next.why.contains("--accept-problems"), "{}", next.why);
    let mut csv = Vec::new();
    assert_eq!(write_list(world.job(), Stage::Completion, Format::FailureCsv, &mut csv).unwrap(), 1);
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.ends_with("seen,unreadable,Permission denied (errno 13)\n"), "{csv}");
}

#[test]
fn an_entry_that_changed_while_it_was_read_is_a_reservation() {
    let mut world = World::new(1);
    let job = world.job();
    job.batch(|batch| batch.add(1, b"log", &facts(EntryType::File, 5))).unwrap();
    let work = job.pending(0, 10).unwrap();
    let mut records = small(&work[0], 0);
    records.pop();
    records.push(Record::Entry(entry(&work[0], 1, EntryState::Changed)));
    world.commit(1, &records);
    world.close_packs();
    seal(&mut world, 1);
    send(&mut world, ObjectState::Confirmed);
    let facts = gather(&mut world, Stage::Completion);
    assert_eq!((facts.outcome(), facts.lists.reasons["changed"].entries), (Outcome::CompleteWithProblems, 1));
}

#[test]
fn the_report_directory_is_whole_and_names_the_digest_of_every_file() {
    let mut world = staged(true);
    send(&mut world, ObjectState::Confirmed);
    for _ in 0..2 {
        let written = write_reports(world.job(), &RealFs, Stage::Completion, now()).unwrap();
        assert_eq!(written.files.len(), 6);
        let document = std::fs::read_to_string(written.dir.join("completion.json")).unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let listed = document["files"].as_array().unwrap();
        assert_eq!(listed.len(), 5);
        for file in listed {
            let bytes = std::fs::read(written.dir.join(file["name"].as_str().unwrap())).unwrap();
            let hex: String = sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(file["sha256"], hex, "{}", file["name"]);
        }
        let names = std::fs::read_dir(&written.dir).unwrap().count();
        assert_eq!(names, 6, "nothing unfinished is left behind");
    }
    let dir = world.dir.path().join("job");
    let completion = read_completion(&RealFs, &dir).unwrap().unwrap();
    assert_eq!((completion.outcome, completion.volumes), (Outcome::Complete, vec![(1, 0)]));
    std::fs::write(dir.join("report/completion.json"), "{}").unwrap();
    assert_eq!(read_completion(&RealFs, &dir).unwrap(), None);
    assert_eq!(read_completion(&RealFs, Path::new("/nowhere")).unwrap(), None);
}

#[test]
fn the_sums_are_understood_by_the_sha256sum_program() {
    let mut world = staged(true);
    let tree = world.dir.path().join("tree");
    std::fs::create_dir_all(tree.join("d")).unwrap();
    for (path, size) in [("d/new\nline", 10), ("d/plain, \"quoted\"", 90)] {
        let id = world.job().find(path.as_bytes()).unwrap().unwrap();
        std::fs::write(tree.join(path), crate::job_support::content(id, size)).unwrap();
    }
    let mut sums = Vec::new();
    assert_eq!(write_list(world.job(), Stage::Staging, Format::Sha256Sum, &mut sums).unwrap(), 2);
    let sums_path = world.dir.path().join("sums");
    std::fs::write(&sums_path, sums).unwrap();
    Command::new("sha256sum").current_dir(&tree).arg("-c").arg("--strict").arg(&sums_path).assert().success();
    std::fs::write(tree.join("d/new\nline"), b"other").unwrap();
    Command::new("sha256sum").current_dir(&tree).arg("-c").arg(&sums_path).assert().failure();
}

#[test]
fn csv_and_json_lines_have_one_line_per_entry() {
    let mut world = staged(true);
    let mut csv_bytes = Vec::new();
    assert_eq!(write_list(world.job(), Stage::Staging, Format::SuccessCsv, &mut csv_bytes).unwrap(), 5);
    let mut reader = csv::Reader::from_reader(csv_bytes.as_slice());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let paths: Vec<&str> = rows.iter().map(|row| &row[0]).collect();
    assert_eq!(paths, ["", "d", "d/new\\x0aline", "d/plain, \"quoted\"", "link"]);
    assert_eq!(&rows[3][2], "90");
    let mut lines = Vec::new();
    write_list(world.job(), Stage::Staging, Format::JsonLines, &mut lines).unwrap();
    for (line, row) in String::from_utf8(lines).unwrap().lines().zip(&rows) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&value["path"], &value["sha256"]), (&row[0].into(), &row[4].into()));
    }
}

#[test]
fn the_page_carries_no_script_and_no_raw_name() {
    let mut world = staged(true);
    let evil = b"<script>alert(1)</script>".to_vec();
    let job = world.job();
    let id = job.batch(|batch| batch.add(1, b"<script>alert(1)<|script>", &facts(EntryType::File, 7))).unwrap();
    let problem = Problem { id, code: ProblemCode::Unreadable, errno: 5, path: evil, text: "<b>".into() };
    job.batch(|batch| batch.problem(&problem)).unwrap();
    let facts = gather(&mut world, Stage::Staging);
    let page = render_html(&facts);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(
        !page.contains("http://") && !page.contains("https://") && !page.contains("src="),
        "nothing from elsewhere"
    );
    assert!(page.contains("lang=\"en\"") && page.contains("<caption>"));
    assert!(render_json(&facts, &[]).unwrap().contains("\"problem\""));
}

#[test]
fn a_bag_has_the_tag_files_its_standard_asks_for() {
    let mut world = staged(true);
    let bag = world.dir.path().join("bag");
    let facts = gather(&mut world, Stage::Staging);
    write_bag(world.job(), &RealFs, &facts, &bag).unwrap();
    let manifest = std::fs::read_to_string(bag.join("manifest-sha256.txt")).unwrap();
    assert!(manifest.lines().any(|line| line.ends_with("  data/d/new%0Aline")), "{manifest}");
    let info = std::fs::read_to_string(bag.join("bag-info.txt")).unwrap();
    assert!(info.contains("Payload-Oxum: 100.2\n"), "{info}");
    Command::new("sha256sum").current_dir(&bag).args(["-c", "tagmanifest-sha256.txt"]).assert().success();
}

fn packmule(args: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("packmule").unwrap().args(args).assert()
}

#[test]
fn status_is_one_line_when_all_is_well_and_says_what_is_next() {
    let mut world = staged(true);
    let dir = world.dir.path().join("job");
    let job = dir.to_str().unwrap();
    let output = packmule(&["status", "--job", job]).success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.starts_with("job 07070707: 5 entries, 100 B: all staged on 1 volume, sealed and read back\n"),
        "{text}"
    );
    assert!(text.contains("next: packmule ingest /mnt/1 --to s3://BUCKET/PREFIX --job "), "{text}");
    assert_eq!(text.lines().count(), 2);
    packmule(&["status", "--job", job, "--check", "--json"]).success();
    let id = world.job().find(b"link").unwrap().unwrap();
    let bad = world.job().batch(|batch| batch.change(id, &facts(EntryType::Symlink, 0)));
    assert_eq!(bad.unwrap(), 2);
    let text = packmule(&["status", "--job", job]).success().get_output().stdout.clone();
    assert!(String::from_utf8(text).unwrap().contains("packmule stage /data "), "pending work is not a problem");
    packmule(&["status", "--job", "/nowhere/at/all"]).code(2);
}

#[test]
fn report_renders_every_form() {
    let world = staged(true);
    let dir = world.dir.path().join("job");
    let job = dir.to_str().unwrap();
    for form in ["text", "json", "jsonl", "csv", "failure-csv", "sha256sum", "html"] {
        let output = packmule(&["report", "--job", job, "--format", form]).success().get_output().stdout.clone();
        assert!(!output.is_empty(), "{form}");
        let path = world.dir.path().join(form);
        packmule(&["report", "--job", job, "--format", form, "-o", path.to_str().unwrap()]).success();
        assert!(path.exists(), "{form}");
    }
    packmule(&["report", "--job", job, "--format", "bagit"]).code(2);
    packmule(&["report", "--job", job, "--write"]).success();
    assert!(dir.join("report/staging-failure.csv").exists());
}

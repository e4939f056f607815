//! Progress of every long command: the documented lines of JSON, the metrics, who is told.

use crate::story_kit::Story;

/// Lines of JSON on standard error, each checked against the documented names.
fn lines(story: &Story, file: &str) -> Vec<serde_json::Value> {
    let documented = include_str!("../../docs/progress.md");
    let text = std::fs::read_to_string(story.path("home").join(file)).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for line in &lines {
        for name in line.as_object().unwrap().keys() {
            assert!(documented.contains(&format!("| `{name}` |")), "{name} is not documented");
        }
    }
    assert!(!lines.is_empty(), "{text}");
    lines
}

/// The last line: a run that went well has done all it found.
fn last(story: &Story, file: &str, command: &str) -> serde_json::Value {
    let last = lines(story, file).pop().unwrap();
    assert_eq!(last["progress"], command, "{last}");
    assert_eq!((&last["is_counted"], &last["problems"]), (&true.into(), &0.into()), "{last}");
    assert!(last["found_entries"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(last["done_entries"], last["found_entries"], "{last}");
    assert_eq!(last["done_bytes"], last["found_bytes"], "{last}");
    last
}

#[test]
fn verify_extract_and_send_count_what_they_did_drive_by_drive() {
    let story = Story::new();
    story.succeed("packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab --unlock-code-file code.txt");
    story.succeed(
        "key='--unlock-code-file code.txt'; json='--progress json'
         packmule verify /mnt/a /mnt/b $key $json --metrics-file ~/verify.prom \
             --on-event 'echo \"$PACKMULE_EVENT $PACKMULE_MESSAGE\" > ~/told.txt' 2> keyed.jsonl
         packmule verify --keyless /mnt/a /mnt/b $json 2> keyless.jsonl
         packmule extract /mnt/a /mnt/b $key $json --to /restored 2> extract.jsonl
         packmule send /data --to s3://lab-archive/line --job ~/jobs/line $json 2> send.jsonl
         packmule send /data --to s3://lab-archive/line --job ~/jobs/line $json 2> again.jsonl",
    );
    for file in ["keyed.jsonl", "keyless.jsonl", "extract.jsonl"] {
        let last = last(&story, file, if file == "extract.jsonl" { "extract" } else { "verify" });
        let volumes = last["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 2, "{last}");
        for volume in volumes {
            assert_eq!(volume["state"], "read", "{last}");
            assert_eq!(volume["bytes"], volume["total_bytes"], "{last}");
        }
    }
    let sent = lines(&story, "send.jsonl").pop().unwrap();
    assert_eq!((&sent["progress"], &sent["is_counted"]), (&"send".into(), &true.into()), "{sent}");
    assert_eq!(sent["done_entries"], story.keys().len(), "{sent}");
    assert_eq!(lines(&story, "again.jsonl").pop().unwrap()["found_entries"], 0, "nothing is left to send");
    let home = |file: &str| std::fs::read_to_string(story.path("home").join(file)).unwrap();
    assert!(home("verify.prom").contains("packmule_verify_exit_code 0"), "{}", home("verify.prom"));
    assert_eq!(home("told.txt"), "done volumes are as they were written\n");
}

#[test]
fn a_check_that_finds_damage_tells_trouble() {
    let story = Story::new();
    story.succeed("packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    let pack = story.path("mnt/a/packmule/packs/00000001.pack");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let checked = story.run("packmule verify --keyless /mnt/a --on-event 'cat > ~/told.json'");
    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    let told = std::fs::read_to_string(story.path("home/told.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["event"], &told["command"], &told["exit"]), (&"trouble".into(), &"verify".into(), &4.into()));
}

#[test]
fn a_script_that_asks_for_quiet_hears_nothing_of_the_way_from_any_long_command() {
    let story = Story::new();
    story.succeed("packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    story.succeed(
        "key='--unlock-code-file code.txt'
         packmule verify /mnt/a $key --quiet --progress-every 1 2> verify.said
         packmule extract /mnt/a $key -q --to /restored 2> extract.said
         packmule send /data --to s3://lab-archive/line --job ~/jobs/line -q 2> send.said
         packmule ingest /mnt/a --to s3://lab-archive/carried --job ~/jobs/lab $key -q 2> ingest.said",
    );
    for file in ["verify.said", "extract.said", "send.said", "ingest.said"] {
        let said = std::fs::read_to_string(story.path("home").join(file)).unwrap();
        assert_eq!(said, "", "{file}");
    }
}

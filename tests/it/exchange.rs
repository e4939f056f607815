//! What other people's tools make of what is written here: bagit-python, pyarrow, curl's idea of a webhook.

#[cfg(feature = "notify")]
use std::io::{Read as _, Write as _};
use std::process::Command;

use crate::story_kit::Story;

/// Runs a Python program; `None`, said aloud, where a package is missing.
fn python(packages: &str, program: &str, args: &[&str]) -> Option<String> {
    let has = Command::new("python3").args(["-c", &format!("import {packages}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: python3 with {packages} is not there");
        return None;
    }
    let output = Command::new("python3").args(["-c", program]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

fn staged() -> Story {
    let story = Story::new();
    std::fs::write(story.path("data/notes/a,\"b\"\nc.txt"), "a hostile name").unwrap();
    story.succeed("packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    story
}

#[test]
fn a_bag_with_its_payload_is_valid_for_bagit_python() {
    let story = Story::new();
    // The standard knows no symbolic links.
    story.succeed("rm /data/photos/latest; ln /data/notes/7.txt /data/notes/seven.txt");
    story.succeed("packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    story.succeed("packmule report --job ~/jobs/lab --format bagit -o ~/bag");
    story.succeed("packmule extract /mnt/a --unlock-code-file code.txt --to ~/bag/data");
    let program = "import bagit, sys; bagit.Bag(sys.argv[1]).validate(); print('valid')";
    let bag = story.path("home/bag");
    let Some(said) = python("bagit", program, &[bag.to_str().unwrap()]) else { return };
    assert_eq!(said, "valid\n");
    std::fs::write(bag.join("data/notes/7.txt"), "other").unwrap();
    let program = "import bagit, sys\ntry:\n  bagit.Bag(sys.argv[1]).validate(); print('valid')\n\
                   except bagit.BagValidationError: print('invalid')";
    assert_eq!(python("bagit", program, &[bag.to_str().unwrap()]).unwrap(), "invalid\n");
}

#[test]
fn parquet_is_read_by_pyarrow_and_says_what_the_json_lines_say() {
    let story = staged();
    story.succeed("packmule report --job ~/jobs/lab --format parquet -o entries.parquet");
    let lines = story.succeed("packmule report --job ~/jobs/lab --format jsonl");
    let program = "import json, sys, pyarrow.parquet as p\n\
                   for row in p.read_table(sys.argv[1]).to_pylist(): print(json.dumps(row, sort_keys=True))";
    let file = story.path("home/entries.parquet");
    let Some(rows) = python("pyarrow.parquet", program, &[file.to_str().unwrap()]) else { return };
    let parse = |text: &str| -> Vec<serde_json::Map<String, serde_json::Value>> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (rows, lines) = (parse(&rows), parse(&lines));
    assert_eq!(rows.len(), lines.len());
    assert!(rows.len() > 30);
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(row.len(), 12);
        for (name, value) in row {
            let said = line.get(name).cloned().unwrap_or_default();
            let said = if said == "" && name != "path" { serde_json::Value::Null } else { said };
            assert_eq!(*value, said, "{name} of {line:?}");
        }
    }
}

#[cfg(feature = "notify")]
#[test]
fn events_reach_a_command_and_a_webhook_and_metrics_a_file() {
    let story = Story::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            bodies.push(request_body(&mut stream));
        }
        bodies
    });
    let stage = "packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt";
    story.succeed(&format!(
        "{stage} --on-event 'echo $PACKMULE_EVENT $PACKMULE_EVENT_VOLUME >> told; cat >> told.json; echo >> told.json' \
         --webhook {url} --metrics-file ~/packmule.prom --progress json 2> progress.jsonl"
    ));
    let home = |name: &str| std::fs::read_to_string(story.path("home").join(name)).unwrap();
    assert_eq!(home("told"), "sealed 1\ndone\n");
    for (told, posted) in home("told.json").lines().zip(server.join().unwrap()) {
        let told: serde_json::Value = serde_json::from_str(told).unwrap();
        let posted: serde_json::Value = serde_json::from_str(&posted).unwrap();
        assert_eq!(told, posted);
        assert_eq!(told["command"], "stage");
    }
    let metrics = home("packmule.prom");
    assert!(metrics.contains("packmule_stage_exit_code 0\n"), "{metrics}");
    assert!(metrics.contains("packmule_stage_done_entries_total 35\n"), "{metrics}");
    let last: serde_json::Value = serde_json::from_str(home("progress.jsonl").lines().last().unwrap()).unwrap();
    assert_eq!((last["done_entries"].as_u64(), last["is_counted"].as_bool()), (Some(35), Some(true)), "{last}");
    assert_eq!(last["volumes"][0]["state"], "sealed", "{last}");
}

#[cfg(feature = "notify")]
#[test]
fn an_event_is_published_to_a_topic_in_a_signed_request() {
    let story = Story::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            requests.push(request(&mut stream));
        }
        requests
    });
    story.succeed(&format!(
        "AWS_ENDPOINT_URL_SNS={url} packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt \
         --sns-topic arn:aws:sns:eu-west-1:123456789012:drives 2> said"
    ));
    let said = std::fs::read_to_string(story.path("home/said")).unwrap();
    assert!(!said.contains("was not told"), "{said}");
    for ((head, body), event) in server.join().unwrap().into_iter().zip(["sealed", "done"]) {
        let head = head.to_ascii_lowercase();
        assert!(head.contains("authorization: aws4-hmac-sha256 credential=key/"), "{head}");
        assert!(head.contains("/eu-west-1/sns/aws4_request"), "{head}");
        assert!(
            body.starts_with("Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aeu%2Dwest%2D1"),
            "{body}"
        );
        assert!(body.contains(&format!("Subject=packmule%3A%20{event}&Message=%7B%22event%22")), "{body}");
    }
}

/// Reads one HTTP request, answers it, gives its body.
#[cfg(feature = "notify")]
fn request_body(stream: &mut std::net::TcpStream) -> String {
    request(stream).1
}

/// Reads one HTTP request, answers it, gives its head and body.
#[cfg(feature = "notify")]
fn request(stream: &mut std::net::TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..got]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) || got == 0 {
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            return (head.to_owned(), body.to_owned());
        }
    }
}

#[cfg(feature = "notify")]
#[test]
fn what_cannot_be_told_is_a_warning_and_changes_nothing() {
    let story = Story::new();
    let output = story.run(
        "packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt --on-event 'exit 9' \
         --webhook http://127.0.0.1:1/",
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("--on-event was not told of done") && said.contains("--webhook was not told of done"),
        "{said}"
    );
}

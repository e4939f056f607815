//! Settings from environment and files, the guided job, the log: as a user meets them.

use crate::story_kit::Story;

fn setting(story: &Story, line: &str, command: &str, key: &str) -> (String, String) {
    let found: serde_json::Value = serde_json::from_str(&story.succeed(line)).unwrap();
    let setting = found.as_array().unwrap().iter().find(|one| one["command"] == command && one["key"] == key).unwrap();
    let text = |name: &str| setting[name].as_str().unwrap_or_default().to_owned();
    (text("value"), text("from"))
}

#[test]
fn options_are_stronger_than_environment_than_job_file_than_user_configuration() {
    let story = Story::new();
    let config = "packmule config --job ~/jobs/lab --all --json";
    assert_eq!(setting(&story, config, "stage", "memory"), ("512MiB".into(), "built in".into()));
    story
        .succeed("mkdir -p ~/.config/packmule ~/jobs/lab; echo 'memory = \"300MiB\"' > ~/.config/packmule/config.toml");
    let (value, from) = setting(&story, config, "stage", "memory");
    assert!(value == "300MiB" && from.starts_with("user configuration "), "{value} {from}");
    story.succeed("printf 'memory = \"200MiB\"\\n[ingest]\\nmemory = \"150MiB\"\\n' > ~/jobs/lab/job.toml");
    let (value, from) = setting(&story, config, "stage", "memory");
    assert!(value == "200MiB" && from.starts_with("job file "), "{value} {from}");
    assert_eq!(setting(&story, config, "ingest", "memory").0, "150MiB");
    let with_variable = format!("PACKMULE_MEMORY=100MiB {config}");
    assert_eq!(
        setting(&story, &with_variable, "stage", "memory"),
        ("100MiB".into(), "environment PACKMULE_MEMORY".into())
    );
    let run = |line: &str| String::from_utf8(story.run(line).stderr).unwrap();
    let stage = "packmule stage /data --volume /mnt/a --unlock-code-file c.txt --job ~/jobs/lab";
    assert!(run(&format!("PACKMULE_MEMORY=many {stage}")).contains("many"), "the environment is read");
    story.succeed(&format!("PACKMULE_MEMORY=many {stage} --memory 128MiB"));
}

#[test]
fn a_slip_in_a_settings_file_is_told_before_anything_is_done() {
    let story = Story::new();
    story.succeed("mkdir -p ~/jobs/lab; echo 'volumes = [\"/mnt/a\"]' > ~/jobs/lab/job.toml");
    let output = story.run("packmule stage /data --volume /mnt/a --unlock-code-file c.txt --job ~/jobs/lab");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("job.toml") && said.contains("\"volumes\"") && said.contains("packmule config --all"),
        "{said}"
    );
    assert!(!story.path("home/c.txt").exists(), "nothing was begun");
}

#[test]
fn after_init_the_job_directory_is_all_that_is_typed() {
    let story = Story::new();
    let init = "packmule init --job ~/jobs/lab --source /data --volume /mnt/a --volume /mnt/b \
                --unlock-code-file code.txt --to s3://lab-archive/run-7";
    let said = story.succeed(init);
    assert!(said.contains("packmule stage --job "), "{said}");
    assert_eq!(story.run(init).status.code(), Some(2), "a job file is never overwritten");
    for line in [
        "packmule stage --job ~/jobs/lab",
        "packmule status --job ~/jobs/lab",
        "packmule verify --job ~/jobs/lab --keyless /mnt/a || packmule verify --keyless /mnt/a",
        "packmule ingest --job ~/jobs/lab",
        "packmule report --job ~/jobs/lab",
    ] {
        story.succeed(line);
    }
    let erase = story.run("packmule erase --job ~/jobs/lab --yes");
    assert_eq!(erase.status.code(), Some(2), "what is destroyed is always typed");
    let missing = story.run("packmule init --job ~/jobs/other --source /data");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("--volume"));
}

#[test]
fn status_watches_until_the_job_is_complete() {
    let story = Story::new();
    story.succeed("packmule stage /data --volume /mnt/a --job ~/jobs/lab --unlock-code-file code.txt");
    let said = story.succeed("packmule status --job ~/jobs/lab --watch 1");
    assert!(said.starts_with("job ") && !said.contains('\x1b'), "{said}");
}

#[test]
fn a_log_is_written_where_it_is_asked_for() {
    let story = Story::new();
    story.succeed("packmule scan /data --log-file ~/packmule.log");
    story.succeed("PACKMULE_LOG_FILE=~/packmule.log PACKMULE_LOG=debug packmule scan /data");
    let logs: Vec<_> = std::fs::read_dir(story.path("home"))
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("packmule.log."))
        .collect();
    assert!(!logs.is_empty(), "named by its day");
    let text: String = logs.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(text.matches("begin").count(), 2, "{text}");
    assert_eq!(story.run("packmule scan /data --log-file x.log --log loud=very").status.code(), Some(2));
}

#[test]
fn no_color_and_a_narrow_terminal_leave_no_control_characters() {
    let story = Story::new();
    for line in ["NO_COLOR=1 COLUMNS=40 packmule help stage", "NO_COLOR=1 packmule", "packmule scan /data"] {
        let output = story.run(line);
        assert!(output.status.success() && !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{line}");
    }
}

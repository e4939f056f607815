//! Examples at the end of every command's help. All of them tell one story and run: `tests/it/cli_examples.rs` runs each.
//!
//! The story: `/data` goes onto two drives at `/mnt/a` and `/mnt/b`, the job is `~/jobs/lab`, the bucket `lab-archive`.

/// Command and its examples, a command line each; what stands in brackets at the end of a line explains it.
const EXAMPLES: [(&str, &[&str]); 22] = [
    (
        "completions",
        &[
            "packmule completions bash > ~/.packmule-completion",
            "packmule completions zsh > ~/.packmule-completion.zsh",
        ],
    ),
    (
        "demo",
        &[
            "packmule demo",
            "packmule demo /data --keep-volumes   (a directory of yours; look at the drives afterwards)",
        ],
    ),
    (
        "doctor",
        &[
            "packmule doctor",
            "packmule doctor --volume /mnt/a --volume /mnt/b --job ~/jobs/lab   (the drives and the disk of the job too)",
            "packmule doctor --to s3://lab-archive   (can the bucket be reached, and does its clock agree?)",
        ],
    ),
    (
        "scan",
        &[
            "packmule scan /data   (what is there, and what will bite)",
            "packmule scan /data -o dataset.toml   (for plan)",
            "packmule scan /data --exclude '*.tmp' --json",
        ],
    ),
    ("probe", &["packmule probe --source /data --volume /mnt/a --time 1s"]),
    (
        "plan",
        &[
            "packmule plan --size 40TB --files 12M --link 500Mbit/s --share 80%",
            "packmule plan --size 500TB --link 1Gbit/s --share 60% --deadline 2027-01-31 --enterprise-support",
            "packmule plan --size 3PB --link 1Gbit/s --share 70% --change-per-day 7TB --html report.html",
            "packmule plan --size 120PB --source-read 20GB/s --as-of 2020-06-01 --explain snowmobile",
        ],
    ),
    (
        "keygen",
        &[
            "packmule keygen -o key.txt   (its public key is a --recipient of stage)",
            "packmule keygen > second-key.txt",
        ],
    ),
    (
        "stage",
        &[
            "packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab --unlock-code-file code.txt",
            "packmule stage /data --volume /mnt/a --volume /mnt/b --job ~/jobs/lab   (the same again resumes)",
        ],
    ),
    (
        "verify",
        &[
            "packmule verify --keyless /mnt/a /mnt/b   (the courier: learns nothing)",
            "packmule verify /mnt/a /mnt/b --unlock-code-file code.txt   (the receiver)",
        ],
    ),
    (
        "extract",
        &[
            "packmule extract /mnt/a /mnt/b --unlock-code-file code.txt --to /restored",
            "packmule extract /mnt/a /mnt/b --unlock-code-file code.txt --to /part '*.txt'   (only what matches)",
        ],
    ),
    (
        "ingest",
        &[
            "packmule ingest /mnt/a /mnt/b --to s3://lab-archive/run-7 --job ~/jobs/lab --unlock-code-file code.txt --dry-run",
            "packmule ingest /mnt/a /mnt/b --to s3://lab-archive/run-7 --job ~/jobs/lab --unlock-code-file code.txt",
        ],
    ),
    (
        "init",
        &[
            "packmule init --job ~/jobs/new --source /data --volume /mnt/c --unlock-code-file new-code.txt --to s3://lab-archive/new",
            "packmule init --job ~/jobs/more --source /data --volume /mnt/c --unlock-code-file c.txt --dry-run   (only shows the file)",
        ],
    ),
    (
        "config",
        &[
            "packmule config --job ~/jobs/new   (what is set, and where)",
            "packmule config --all   (everything that can be set)",
        ],
    ),
    (
        "status",
        &[
            "packmule status --job ~/jobs/lab",
            "packmule status --job ~/jobs/lab --check --json",
            "packmule status --job ~/jobs/lab --watch 10   (until it is done)",
        ],
    ),
    (
        "report",
        &[
            "packmule report --job ~/jobs/lab",
            "packmule report --job ~/jobs/lab --format html -o report.html",
            "packmule report --job ~/jobs/lab --format failure-csv   (what is not there, and why)",
            "packmule report --job ~/jobs/lab --of staging --format sha256sum -o sums   (for: cd /data && sha256sum -c)",
        ],
    ),
    (
        "erase",
        &[
            "packmule erase /mnt/a /mnt/b --job ~/jobs/lab --dry-run",
            "packmule erase /mnt/a /mnt/b --job ~/jobs/lab --yes   (refuses until everything has arrived)",
            "packmule erase --purge /dev/sdb --job ~/jobs/lab   (after that, unmounted: the whole drive erases itself)",
        ],
    ),
    ("man", &["packmule man stage > stage.1", "packmule man -o ~/man1   (a page for every command)"]),
    (
        "ls",
        &[
            "packmule ls /mnt/a /mnt/b --unlock-code-file code.txt",
            "packmule ls /mnt/a /mnt/b --unlock-code-file code.txt --match '*.raw' --digests",
        ],
    ),
    ("cat", &["packmule cat /mnt/a /mnt/b --unlock-code-file code.txt --path notes/7.txt"]),
    (
        "diff",
        &[
            "packmule diff /mnt/a /mnt/b --unlock-code-file code.txt --source /data   (by length and time)",
            "packmule diff /mnt/a /mnt/b --unlock-code-file code.txt --source /data --content   (reads every file)",
            "packmule diff /mnt/a /mnt/b --unlock-code-file code.txt --with-job ~/jobs/lab --json",
            "packmule diff /mnt/a /mnt/b --unlock-code-file code.txt --with-bucket s3://lab-archive/run-7 --content",
        ],
    ),
    ("check-proof", &["packmule check-proof proof.json   (anywhere, without any secret)"]),
    ("mount", &["packmule mount /mnt/a /mnt/b --unlock-code-file code.txt --at /look"]),
];

/// The section of help; nothing for a command that has no examples here.
fn section(name: &str) -> Option<String> {
    let (_, lines) = EXAMPLES.iter().find(|(command, lines)| *command == name && !lines.is_empty())?;
    let mut text = "Examples:".to_owned();
    for line in *lines {
        text.push_str("\n  ");
        text.push_str(line);
    }
    Some(text)
}

/// Puts the examples at the end of each command's help.
pub(super) fn with_examples(mut program: clap::Command) -> clap::Command {
    let names: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        if let Some(text) = section(&name) {
            program = program.mut_subcommand(&name, |command| {
                let notes = command.get_after_help().map(|notes| format!("\n\n{notes}")).unwrap_or_default();
                command.after_help(format!("{text}{notes}"))
            });
        }
    }
    program
}

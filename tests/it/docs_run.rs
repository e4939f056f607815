//! Every command block in the documents runs, and every error text in the troubleshooting page is one the program has.
//!
//! A block marked `sh` runs as it stands, all blocks of a document in one story. In a block marked `console` the lines after
//! `$ ` run, and what is shown below them is for the reader. Nothing else may look like a command.

use std::path::{Path, PathBuf};

use crate::story_kit::Story;

/// What cannot run inside a test: building the program, all tests, changing the machine.
const OUTSIDE: [&str; 6] =
    ["cargo ", "CC_x86_64_unknown_linux_musl=musl-gcc cargo ", "rustup ", ".ci/run", "git clone ", "apt-get "];
/// The first command of all builds the program and takes the documentation of the whole machine across: the test has the
/// program, and takes a small directory.
const FIRST: (&str, &str) = ("cargo run --release -- demo", "packmule demo /data");

/// What the demonstration prints begins so in the README: commands that it runs, not the reader.
const SHOWN: &str = "$ packmule stage /usr/share/doc ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let below = walkdir::WalkDir::new(root().join("docs")).sort_by_file_name();
    let found = below.into_iter().map(|item| item.unwrap().into_path());
    let mut documents: Vec<PathBuf> = found.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    documents
}

/// Fenced blocks: language and text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// The script of a block, or nothing where there is none.
fn script(language: &str, block: &str) -> String {
    let lines: Vec<&str> = match language {
        "sh" => block.lines().collect(),
        "console" => {
            let mut lines = Vec::new();
            let mut goes_on = false;
            for line in block.lines() {
                let command = line.strip_prefix("$ ").or_else(|| goes_on.then_some(line));
                goes_on = command.is_some_and(|command| command.ends_with('\\'));
                lines.extend(command);
            }
            lines
        }
        _ => Vec::new(),
    };
    let is_inside = |line: &&str| !OUTSIDE.iter().any(|start| line.trim_start().starts_with(start));
    let lines = lines.iter().map(|line| if *line == FIRST.0 { FIRST.1 } else { *line });
    lines.filter(|line| is_inside(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_command_block_in_the_documents_runs() {
    let mut count = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks = blocks(&text);
        let known = ["sh", "console", "toml", "text", "json", "example", "dockerfile", "", "svg", "python"];
        let mut story = None;
        for (language, block) in &blocks {
            let language = language.split(' ').next().unwrap_or_default();
            assert!(known.contains(&language), "{}: a block of {language:?}", path.display());
            let is_command = |line: &str| line.trim_start().trim_start_matches("$ ").starts_with("packmule ");
            let is_shown = path.ends_with("README.md") && block.contains(SHOWN);
            let hides = !["sh", "console"].contains(&language) && !is_shown && block.lines().any(is_command);
            assert!(!hides, "{}: a command in a block that does not run:\n{block}", path.display());
            let script = script(language, block);
            if !script.trim().is_empty() {
                let story = story.get_or_insert_with(Story::new);
                eprintln!("{}:\n{script}", path.display());
                let said = story.succeed(&script);
                // Where a record shows that a command ended otherwise than well, it ends so; 130 depends on when it was stopped.
                for end in block.lines().filter(|line| line.starts_with("exit ") && *line != "exit 130") {
                    assert!(said.lines().any(|line| line == end), "{}: no {end:?}:\n{said}", path.display());
                }
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} blocks");
}

#[test]
fn every_error_text_in_the_troubleshooting_page_is_one_the_program_has() {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let sources = walkdir::WalkDir::new(root().join("src")).into_iter().map(|item| item.unwrap().into_path());
    let sources = sources.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let code: String = sources.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let texts: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(texts.len() >= 20, "{} texts", texts.len());
    for text in texts {
        // Capitals stand for what differs from case to case.
        let fixed = text.split(|c: char| c.is_ascii_uppercase()).map(|part| part.trim_matches([' ', ':', '"', '/']));
        for part in fixed.filter(|part| part.len() > 3) {
            assert!(code.contains(part), "no error of the program says {part:?}: {text}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !path.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

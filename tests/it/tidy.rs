//! Style as a test: what the layers may import, who may touch the world, how long things may get.
//!
//! One table of rules; an exception stands in the rule with its reason. What clippy can check, clippy checks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest file. Unit: lines.
const FILE_LINES_MAX: usize = 500;
/// Longest function, signature included. Unit: lines.
const FUNCTION_LINES_MAX: usize = 80;

/// Layers from the bottom up: a module may use modules of lower layers, itself, and (only at the bottom) its neighbours.
const LAYERS: [&[&str]; 7] = [
    // http is the way to any service, as thin as sys.
    &["units", "digest", "format", "crypto", "monitor", "sys", "http"],
    // kms is the door to a key service, as thin as sys; what is asked of it, crypto says.
    &["volume", "scan", "kms"],
    &["job"],
    &["census"],
    &[
        "plan", "stage", "verify", "ingest", "extract", "report", "erase", "recover", "browse", "doctor", "keys",
        "label", "s3d",
    ],
    &["demo"],
    &["cli"],
];

/// A text that may stand only in some folders.
struct Banned {
    texts: &'static [&'static str],
    allowed: &'static [&'static str],
    why: &'static str,
}

const BANNED: [Banned; 7] = [
    Banned {
        texts: &["async fn", "async move", ".await", "tokio::", "aws_"],
        // s3d is the embedded S3 server; cli names the runtime that carries it.
        allowed: &["http", "ingest", "kms", "s3d"],
        why: "async belongs to the network: only http, ingest, kms and s3d name it",
    },
    Banned {
        texts: &["std::fs", "File::open(", "File::create(", "rustix::fs"],
        // s3d is a server with a store of its own, which no test needs to break; job opens SQLite by path.
        allowed: &["sys", "s3d"],
        why: "files are reached through sys, so that tests can break them",
    },
    Banned {
        texts: &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"],
        allowed: &["sys", "s3d"],
        why: "time comes from sys::clock, so that tests can turn it",
    },
    Banned {
        texts: &["getrandom::", "OsRng", "thread_rng", "rand::rng"],
        allowed: &["sys"],
        why: "randomness comes from sys::random, so that tests can repeat it",
    },
    Banned {
        texts: &["println!", "eprintln!", "print!(", "indicatif", "stdout()", "stderr()"],
        allowed: &["cli"],
        why: "only the command line prints",
    },
    Banned {
        texts: &["anyhow"],
        allowed: &["cli"],
        why: "libraries have typed errors; anyhow is for the command line",
    },
    Banned {
        texts: &["todo!", "dbg!", "FIXME", "XXX", "HACK", "use crate::*", "crate::prelude", "process::exit"],
        allowed: &[],
        why: "unfinished or unclear work is not committed",
    },
];

/// Places, by the start of their path, that a rule does not hold for, with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    // (path, banned text, reason)
];

/// File names that say nothing about what is inside.
const VAGUE_NAMES: [&str; 6] = ["utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs", "types.rs"];

/// Functions that may be longer: path, name, longest, reason. Each is a debt with a ceiling.
const LONGER_FUNCTIONS: &[(&str, &str, usize, &str)] = &[
    // (path, function, lines, reason)
];

struct Source {
    /// Path below `src/`, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Top folder or file stem: the module whose layer counts.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines of production code with their numbers: everything before the test module, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let lines = self.text.lines().take_while(move |line| !is_test && line.trim() != "#[cfg(test)]");
        lines
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(dir).sort_by_file_name();
    let files = walk.into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let load = |path: PathBuf| Source {
        path: path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    files_below(&src, "rs").into_iter().map(load).collect()
}

/// Fails with all findings at once, one a line.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn files_and_functions_fit_on_a_few_screens() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("src/{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        }
        for (line, name, length) in functions(&source.text) {
            let excused = |(path, function, longest, _): &(&str, &str, usize, &str)| {
                source.path == *path && name == *function && length <= *longest
            };
            if length > FUNCTION_LINES_MAX && !LONGER_FUNCTIONS.iter().any(excused) {
                findings.push(format!("src/{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    none(findings);
}

/// Functions of a formatted file: line, name, length. The end is the first brace as far in as the start.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words: Vec<&str> = code.split(' ').take_while(|word| !word.contains('"')).collect();
        let Some(at) = words.iter().position(|word| *word == "fn").filter(|at| *at < 5) else { continue };
        let modifiers = ["pub", "const", "async", "unsafe", "extern", "pub(crate)", "pub(super)"];
        if words[..at].iter().any(|word| !modifiers.contains(word)) || code.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[index..].iter().position(|line| *line == end) {
            let name = words.get(at + 1).map_or("?", |name| name.split(['(', '<']).next().unwrap_or("?"));
            found.push((index + 1, name.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn the_ruler_measures_functions() {
    let text = "fn a() {\n    b();\n}\n\nimpl X {\n    pub(crate) const fn c(\n        &self,\n    ) {\n        // fn d\n    }\n}\n";
    assert_eq!(functions(text), [(1, "a".into(), 3), (6, "c".into(), 5)]);
}

#[test]
fn layers_point_down() {
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut findings = Vec::new();
    for source in sources() {
        let module = source.module().to_owned();
        let Some(own) = rank(&module) else {
            if !["lib", "main"].contains(&module.as_str()) {
                findings.push(format!("src/{}: module {module} has no layer in this test", source.path));
            }
            continue;
        };
        for (number, line) in source.code() {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other) = rank(&used).filter(|_| used != module) else { continue };
                if other > own || (other == own && own > 0) {
                    findings.push(format!("src/{}:{number}: {module} must not use {used}", source.path));
                }
            }
        }
    }
    none(findings);
}

#[test]
fn only_the_right_modules_touch_the_world() {
    let mut findings = Vec::new();
    let sources = sources();
    for rule in &BANNED {
        for source in sources.iter().filter(|source| !rule.allowed.contains(&source.module())) {
            for (number, line) in source.code() {
                let code = line.split(" //").next().unwrap_or_default();
                for text in rule.texts.iter().filter(|text| contains_word(code, text)) {
                    let excused =
                        EXCEPTIONS.iter().any(|(path, what, _)| source.path.starts_with(path) && what == text);
                    if !excused {
                        findings.push(format!("src/{}:{number}: {text}: {}", source.path, rule.why));
                    }
                }
            }
        }
    }
    none(findings);
}

/// Whether a text stands in a line other than as the end of a longer word.
fn contains_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !text.starts_with(|c: char| c.is_alphanumeric()) || before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

#[test]
fn every_module_says_what_it_is_and_has_a_name_that_says_something() {
    let mut findings = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            findings.push(format!("src/{}: the first line must say what the module is (//! ...)", source.path));
        }
        if VAGUE_NAMES.iter().any(|name| source.path.ends_with(&format!("/{name}")) || source.path == *name) {
            findings.push(format!("src/{}: the name says nothing about what is inside", source.path));
        }
    }
    none(findings);
}

#[test]
fn every_file_is_part_of_the_program() {
    let mut findings = Vec::new();
    let is_declared = |parent: &Path, name: &str| {
        let text = std::fs::read_to_string(parent).unwrap_or_default();
        text.lines().any(|line| line.trim_start().trim_start_matches("pub ").ends_with(&format!("mod {name};")))
    };
    let tests = root().join("tests/it");
    for path in files_below(&root().join("src"), "rs").into_iter().chain(files_below(&tests, "rs")) {
        let (dir, stem) = (path.parent().unwrap(), path.file_stem().unwrap().to_str().unwrap());
        if ["lib", "main"].contains(&stem) {
            continue;
        }
        let (dir, name) = match stem {
            "mod" => (dir.parent().unwrap(), dir.file_name().unwrap().to_str().unwrap()),
            _ => (dir, stem),
        };
        let beside = dir.with_extension("rs");
        let parents = [dir.join("mod.rs"), dir.join("lib.rs"), dir.join("main.rs"), beside];
        if !parents.iter().any(|parent| is_declared(parent, name)) {
            findings.push(format!("{}: no module declares it, so nothing compiles it", path.display()));
        }
    }
    none(findings);
}

#[test]
fn code_outside_strings_is_ascii() {
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            let outside_strings = line.split('"').step_by(2);
            let code = outside_strings.map(|part| part.split("//").next().unwrap_or_default());
            if code.into_iter().any(|part| !part.is_ascii()) {
                findings.push(format!("src/{}:{number}: non-ASCII outside a string", source.path));
            }
        }
    }
    none(findings);
}

#[test]
fn nothing_names_a_particular_machine() {
    // Written in halves, so that this file does not find itself.
    let places = [concat!("/work", "/shared"), concat!("/home", "/"), concat!("/root", "/"), concat!("/tmp", "/brief")];
    let mut findings = Vec::new();
    let kinds = ["rs", "md", "toml", "json", "sh", "txt"];
    for folder in ["src", "tests", "manifests"] {
        for path in kinds.iter().flat_map(|kind| files_below(&root().join(folder), kind)) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let hit = |line: &str| places.iter().any(|place| line.contains(place));
            for (index, line) in text.lines().enumerate().filter(|(_, line)| hit(line)) {
                findings.push(format!("{}:{}: {}", path.display(), index + 1, line.trim()));
            }
        }
    }
    none(findings);
}

#[test]
fn every_must_of_a_format_document_names_a_test_that_exists() {
    let tests = test_names();
    let mut findings = Vec::new();
    for path in files_below(&root().join("manifests/formats"), "md") {
        let text = std::fs::read_to_string(&path).unwrap();
        let Some((rules, table)) = text.split_once("Every MUST and its test") else { continue };
        if !table.lines().any(|line| line.starts_with("| ")) {
            eprintln!("skipped: {} has no table of tests yet", path.display());
            continue;
        }
        let marks: BTreeSet<&str> = rules.split('[').skip(1).filter_map(mark).collect();
        for mark in marks {
            let row = table.lines().find(|line| line.starts_with(&format!("| {mark} ")));
            let named: Vec<&str> = row.unwrap_or_default().split('`').skip(1).step_by(2).collect();
            let last = |name: &&str| name.rsplit("::").next().unwrap_or_default().to_owned();
            let missing: Vec<_> = named.iter().filter(|name| !tests.contains(&last(name))).collect();
            if named.is_empty() || !missing.is_empty() {
                findings.push(format!("{}: {mark}: tests that do not exist: {missing:?}", path.display()));
            }
        }
    }
    none(findings);
}

/// `P12` out of `P12]...`: what stands in brackets behind a MUST.
fn mark(text: &str) -> Option<&str> {
    let (mark, _) = text.split_once(']')?;
    let number = mark.strip_prefix(|c: char| c.is_ascii_uppercase())?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(mark)
}

/// Names of all test functions.
fn test_names() -> BTreeSet<String> {
    let folders = ["src", "tests"].map(|folder| files_below(&root().join(folder), "rs"));
    let texts = folders.iter().flatten().map(|path| std::fs::read_to_string(path).unwrap());
    texts.flat_map(|text| functions(&text).into_iter().map(|(_, name, _)| name)).collect()
}

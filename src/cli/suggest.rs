//! Near misses: what somebody may have meant by a command that does not exist.
//!
//! Slips of the finger are clap's: it knows all names. Here are words that other tools use for the same thing.

use crate::cli::{Exit, Failure};

/// Words people bring from other tools, and what they are called here.
const WORDS: [(&str, &str); 36] = [
    ("backup", "stage"),
    ("copy", "stage"),
    ("cp", "stage"),
    ("pack", "stage"),
    ("put", "stage"),
    ("write", "stage"),
    ("import", "ingest"),
    ("upload", "ingest"),
    ("push", "ingest"),
    ("sync", "ingest"),
    ("load", "ingest"),
    ("restore", "extract"),
    ("unpack", "extract"),
    ("get", "extract"),
    ("export", "extract"),
    ("check", "verify"),
    ("validate", "verify"),
    ("fsck", "verify"),
    ("test", "verify"),
    ("wipe", "erase"),
    ("delete", "erase"),
    ("destroy", "erase"),
    ("shred", "erase"),
    ("rm", "erase"),
    ("list", "ls"),
    ("show", "cat"),
    ("compare", "diff"),
    ("estimate", "plan"),
    ("cost", "plan"),
    ("price", "plan"),
    ("new", "init"),
    ("create", "init"),
    ("info", "status"),
    ("progress", "status"),
    ("key", "keygen"),
    ("measure", "probe"),
];

/// What such a word is called here.
pub(super) fn meant(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    WORDS.iter().find(|(other, _)| *other == word).map(|(_, ours)| *ours)
}

/// The failure of a command name that does not exist.
pub(super) fn no_such_command(name: &str) -> Failure {
    let hint = match meant(name) {
        Some(ours) => format!("here it is called {ours}: packmule help {ours}"),
        None => "all commands: packmule help".to_owned(),
    };
    Failure::new(Exit::Usage, format!("there is no command {name:?}"), hint)
}

/// The word that was not a command, if what clap found is that, and clap has no better idea.
pub(super) fn unknown_command(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) if meant(word).is_some() => Some(word.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meant_command_exists_and_no_word_is_one() {
        let program = crate::cli::command();
        for (word, ours) in WORDS {
            assert!(program.find_subcommand(ours).is_some(), "{ours}");
            assert!(program.find_subcommand(word).is_none(), "{word} is a command");
        }
    }
}

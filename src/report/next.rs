//! What to do next: one command, as it can be typed.

use crate::format::path::escape;
use crate::job::{State, VolumeState};
use crate::report::{Facts, Outcome, Stage};

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Why, in one clause.
    pub why: String,
    /// The command; `None`: nothing is left to do.
    pub command: Option<String>,
}

/// What is to be done next.
pub fn next(facts: &Facts) -> Next {
    let job = quote(&facts.dir.to_string_lossy());
    let pending = facts.ledger.state(State::Pending).entries + facts.ledger.state(State::Gone).entries;
    if pending > 0 || facts.ledger.present().entries == 0 || facts.unsealed().next().is_some() {
        let why = if pending > 0 { "entries are still to be staged" } else { "volumes are not sealed yet" };
        return Next { why: why.into(), command: Some(stage_again(facts, &job)) };
    }
    if facts.stage == Stage::Staging || facts.outcome() == Outcome::Incomplete {
        let volumes = paths(facts, |state| matches!(state, VolumeState::Sealed | VolumeState::Damaged)).join(" ");
        let target = facts.target.clone().unwrap_or_else(|| "s3://BUCKET/PREFIX".into());
        let key = facts.key_option.map(|option| format!(" {option}")).unwrap_or_default();
        let command = format!("packmule ingest {volumes} --to {} --job {job}{key}", quote(&target));
        return Next { why: "not everything has arrived".into(), command: Some(command) };
    }
    let left = paths(facts, |state| !matches!(state, VolumeState::Erased | VolumeState::Lost));
    if left.is_empty() {
        return Next { why: "everything is done".into(), command: None };
    }
    let problems = facts.ledger.state(State::Problem).entries
        + facts.ledger.state(State::Changed).entries
        + facts.lists.without_entry;
    if problems > 0 {
        // Nothing is erased by itself while something is unproved; whether it matters is for the user to say.
        let why = format!(
            "all else has arrived; {problems} entries have problems: mend what can be mended and stage onto a further volume, or \
             accept what is listed with packmule erase --accept-problems"
        );
        return Next { why, command: Some(stage_again(facts, &job)) };
    }
    let command = format!("packmule erase {} --job {job}", left.join(" "));
    Next { why: "the volumes are no longer needed".into(), command: Some(command) }
}

/// The command that goes on with staging, onto the volumes that take more.
fn stage_again(facts: &Facts, job: &str) -> String {
    let sources: Vec<String> = facts.sources.iter().map(|(path, _)| quote(&escape(path))).collect();
    let volumes = paths(facts, |state| matches!(state, VolumeState::Open | VolumeState::Full));
    let volumes = if volumes.is_empty() { vec!["DIR".to_owned()] } else { volumes };
    let volumes: Vec<String> = volumes.iter().map(|path| format!("--volume {path}")).collect();
    format!("packmule stage {} {} --job {job}", sources.join(" "), volumes.join(" "))
}

fn paths(facts: &Facts, keep: impl Fn(VolumeState) -> bool) -> Vec<String> {
    let volumes = facts.volumes.iter().filter(|volume| keep(volume.row.state));
    volumes.map(|volume| quote(&volume.row.volume.path.to_string_lossy())).collect()
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("/mnt/drive-1"), "/mnt/drive-1");
        assert_eq!(quote("My Drive"), "'My Drive'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("$HOME"), "'$HOME'");
    }
}

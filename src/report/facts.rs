//! What is true of a job, gathered once for every form of its report.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::job::{Count, Ended, Evidence, Job, Journal, Ledger, Listed, Run, State, VolumeRow, VolumeState};
use crate::report::grade::Reason;
use crate::report::{Error, Grade};

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Of what is on volumes: an entry succeeds when it is staged.
    Staging,
    /// Of the whole job: an entry succeeds when the server has it.
    Completion,
}

impl Stage {
    /// The report's name, also that of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Completion => "completion",
        }
    }
}

/// What the job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every entry succeeded.
    Complete,
    /// All that could be staged got where it should; the others have problems, all listed.
    CompleteWithProblems,
    /// Something that is or could be staged is not where it should be yet.
    Incomplete,
}

impl Outcome {
    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::CompleteWithProblems => "Complete, with problems",
            Self::Incomplete => "Not complete",
        }
    }
}

/// One volume in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFacts {
    /// What the job knows of it.
    pub row: VolumeRow,
    /// Whether nothing was ever committed on it: it has nothing to seal.
    pub is_empty: bool,
    /// What the entries say; `None` when they were not asked.
    pub content: Option<VolumeContent>,
}

/// What a volume holds of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeContent {
    /// Entries it holds anything of, in their present generation.
    pub entries: u64,
    /// How many of them no server has yet; the top directory does not count.
    pub not_arrived: u64,
}

/// What is under one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixCount {
    /// All entries.
    pub all: Count,
    /// Those among them that failed.
    pub failed: u64,
}

/// Prefixes that are counted one by one.
const PREFIXES_MAX: usize = 1000;

/// What a pass over all entries found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// Entries and bytes per evidence grade.
    pub evidence: BTreeMap<Evidence, Count>,
    /// Entries that succeeded.
    pub success: Count,
    /// Entries that failed.
    pub failure: Count,
    /// Entries and bytes per reason of failure.
    pub reasons: BTreeMap<&'static str, Count>,
    /// What is directly below the top of the dataset, the first thousand of them.
    pub prefixes: BTreeMap<Vec<u8>, PrefixCount>,
    /// Entries under further prefixes.
    pub prefixes_left_out: u64,
    /// How many of the failures are paths without an entry: they could not even be looked at.
    pub without_entry: u64,
    /// The first failures: path, reason in words.
    pub examples: Vec<(Vec<u8>, String)>,
}

/// Failures that a report for people names; the list has them all.
pub(super) const EXAMPLES_MAX: usize = 20;

/// What is true of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which report.
    pub stage: Stage,
    /// The job's id.
    pub job: String,
    /// Where the job is.
    pub dir: std::path::PathBuf,
    /// When the job was made.
    pub created: Timestamp,
    /// When these facts were gathered.
    pub gathered: Timestamp,
    /// Where the sources are, and their prefixes.
    pub sources: Vec<(Vec<u8>, Vec<u8>)>,
    /// Recipients, as text.
    pub recipients: Vec<String>,
    /// The option with which whoever can open the volumes does so, as it is typed.
    pub key_option: Option<&'static str>,
    /// Runs, in the order they began.
    pub runs: Vec<Run>,
    /// Where everything stands.
    pub ledger: Ledger,
    /// Volumes, by number.
    pub volumes: Vec<VolumeFacts>,
    /// Where the objects go, if that was decided.
    pub target: Option<String>,
    /// How the runs that sent something went, oldest first.
    pub journals: Vec<Journal>,
    /// What the lists hold.
    pub lists: Lists,
}

impl Facts {
    /// Gathers the facts, in one pass over all entries.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gather(job: &Job, stage: Stage, now: Timestamp) -> Result<Self, Error> {
        Self::gather_beside(job, stage, now, |_, _| Ok(()))
    }

    /// Gathers the facts, and hands every entry with its grade to `each` in the same pass.
    pub(super) fn gather_beside(
        job: &Job,
        stage: Stage,
        now: Timestamp,
        mut each: impl FnMut(&Listed, &Grade) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut volumes = volumes(job)?;
        let arrivals = job.arrivals()?;
        for volume in &mut volumes {
            let of_volume = arrivals.get(&volume.row.volume.number).copied().unwrap_or_default();
            volume.content = Some(VolumeContent { entries: of_volume.entries, not_arrived: of_volume.missing });
        }
        let mut lists = Lists::default();
        each_graded(job, stage, &volumes, |listed, grade| {
            lists.take(&listed.path, listed.bytes, grade);
            each(listed, grade)
        })?;
        job.loose_problems(|problem| lists.take_loose(&problem.path, Reason::of(problem)))?;
        Self::with(job, stage, now, volumes, lists)
    }

    /// Gathers the facts from the ledgers alone: the same outcome and figures, without evidence grades and what each
    /// volume holds. (An entry that changed while it was read and was not sent counts twice among the failures.) Its cost does not depend on the number of entries.
    ///
    /// # Errors
    /// When the database fails.
    pub fn glance(job: &Job, stage: Stage, now: Timestamp) -> Result<Self, Error> {
        Self::with(job, stage, now, volumes(job)?, super::glance::lists(job, stage)?)
    }

    fn with(job: &Job, stage: Stage, now: Timestamp, volumes: Vec<VolumeFacts>, lists: Lists) -> Result<Self, Error> {
        let sources = job.sources()?.into_iter().map(|source| (source.root.path, source.root.prefix)).collect();
        Ok(Self {
            stage,
            job: job.id().to_string(),
            dir: job.dir().to_owned(),
            created: job.created(),
            gathered: now,
            sources,
            recipients: job.recipients()?,
            key_option: key_option(job)?,
            runs: job.runs()?,
            ledger: job.ledger()?,
            volumes,
            target: job.setting("ingest.destination")?,
            journals: job.journals()?,
            lists,
        })
    }

    /// What the job came to.
    pub fn outcome(&self) -> Outcome {
        let is_open = self.lists.reasons.keys().any(|reason| OPEN.contains(reason));
        let is_due = self.ledger.state(State::Gone).entries > 0 || self.unsealed().next().is_some();
        if is_open || is_due || self.ledger.present().entries == 0 {
            Outcome::Incomplete
        } else if self.lists.failure.entries > 0 {
            Outcome::CompleteWithProblems
        } else {
            Outcome::Complete
        }
    }

    /// Volumes that hold something and are neither sealed nor erased.
    pub fn unsealed(&self) -> impl Iterator<Item = &VolumeFacts> {
        let takes_more = |volume: &VolumeFacts| matches!(volume.row.state, VolumeState::Open | VolumeState::Full);
        self.volumes.iter().filter(move |volume| takes_more(volume) && !volume.is_empty)
    }
}

/// Reasons of failure that another run of the same command may overcome, so that the job is not complete.
const OPEN: [&str; 4] = ["pending", "not-sent", "refused", "uploading"];

impl Lists {
    fn take(&mut self, path: &[u8], bytes: u64, grade: &Grade) {
        let one = Count { entries: 1, bytes };
        let add = |count: &mut Count| *count = *count + one;
        add(self.evidence.entry(grade.evidence).or_default());
        let first = path.iter().position(|byte| *byte == b'/').map_or(&b""[..], |end| &path[..end]);
        if self.prefixes.len() < PREFIXES_MAX || self.prefixes.contains_key(first) {
            let prefix = self.prefixes.entry(first.to_owned()).or_default();
            prefix.all = prefix.all + one;
            prefix.failed += u64::from(grade.failure.is_some());
        } else {
            self.prefixes_left_out += 1;
        }
        match &grade.failure {
            None => add(&mut self.success),
            Some(reason) => self.fail(path, one, reason),
        }
    }

    /// A path without an entry: nothing is known of it but that it is missing.
    fn take_loose(&mut self, path: &[u8], reason: Reason) {
        self.without_entry += 1;
        self.fail(path, Count { entries: 1, bytes: 0 }, &reason);
    }

    fn fail(&mut self, path: &[u8], one: Count, reason: &Reason) {
        self.failure = self.failure + one;
        let of_reason = self.reasons.entry(reason.code).or_default();
        *of_reason = *of_reason + one;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push((path.to_owned(), reason.text.clone()));
        }
    }
}

/// Hands every entry that exists at the source to `each`, with its grade, in the order of their numbers.
pub(super) fn each_graded(
    job: &Job,
    stage: Stage,
    volumes: &[VolumeFacts],
    mut each: impl FnMut(&Listed, &Grade) -> Result<(), Error>,
) -> Result<(), Error> {
    let sealed: BTreeSet<u32> =
        volumes.iter().filter(|volume| volume.row.sealing.is_some()).map(|volume| volume.row.volume.number).collect();
    job.read_ahead(
        |job, put| {
            job.list(|listed| {
                if listed.state.is_deleted() {
                    return Ok(());
                }
                let grade = Grade::of(job, stage, &listed, |volume| sealed.contains(&volume)).map_err(Ended::Failed)?;
                put((listed, grade))
            })
        },
        |(listed, grade)| each(&listed, &grade),
    )
}

/// The job's volumes.
pub(super) fn volumes(job: &Job) -> Result<Vec<VolumeFacts>, Error> {
    let facts = |row: VolumeRow| {
        let is_empty = match row.state {
            VolumeState::Lost => true, // nothing that is on it counts any more
            VolumeState::Open => job.packs(row.volume.number)?.is_empty(),
            _ => false,
        };
        Ok(VolumeFacts { row, is_empty, content: None })
    };
    job.volumes()?.into_iter().map(facts).collect()
}

/// How volumes are opened by whom they are for: by the first recipient, else by the key service.
fn key_option(job: &Job) -> Result<Option<&'static str>, Error> {
    let kind = job.slot_recipients()?.into_iter().next().map(|recipient| recipient.kind);
    Ok(match kind.as_deref() {
        Some("unlock-code") => Some("--unlock-code-file FILE"),
        Some("passphrase") => Some("--passphrase-file FILE"),
        Some(_) => Some("--identity FILE"),
        None if !job.kms_keys()?.is_empty() => Some("--kms"),
        None => None,
    })
}

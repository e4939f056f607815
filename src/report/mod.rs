//! Reports: what a job came to, as facts gathered once and rendered in every form people and programs ask for.
//!
//! Owns: the outcome (what counts as done, what as a failure), the lists of successes and failures, all their forms,
//! and the report files in the job directory. Does not own: how anything is printed, when a report is due. Invariants:
//! every form says the same, because every form is made from one [`Facts`] or one pass over the entries; lists are
//! streamed, so memory does not grow with the job; a report file is complete or absent; no field of a report came from
//! anywhere but the database. Callers: `cli`.

mod bagit;
mod error;
mod facts;
mod glance;
mod grade;
mod html;
mod journey;
mod json;
mod lines;
mod next;
mod parquet;
mod proof;
mod text;
mod write;

pub use bagit::write_bag;
pub use error::Error;
pub use facts::{Facts, Lists, Outcome, PrefixCount, Stage, VolumeContent, VolumeFacts};
pub use grade::{Grade, Reason};
pub use html::render_html;
pub use json::{ReportFile, render_json};
pub use lines::{Format, write_list};
pub use next::{Next, next};
pub use proof::{Checked, GradeCount, ProofEntry, ProofError, ProofVolume, check_proof, pick, write_proof};
pub use text::{render_line, render_text};
pub use write::{Completion, Written, read_completion, write_reports};

//! The one integration binary: linking once keeps the inner loop fast.
#![allow(missing_docs, reason = "tests are documented by their names")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and says aloud when it is skipped")]

mod corpus;
mod damage_flips;
mod damage_table;
mod erase_volumes;
mod extract_cli;
mod extract_hostile;
mod extract_kit;
mod extract_restore;
mod ingest_cli;
mod ingest_engine;
mod ingest_kit;
mod ingest_remote;
mod job_basics;
mod job_laws;
mod job_measure;
mod job_support;
mod old_formats;
mod plan_bills;
mod plan_cli;
mod plan_kinds;
mod plan_laws;
mod plan_oracle;
mod plan_questions;
mod plan_report;
mod program;
mod report_forms;
mod s3_lab;
mod s3d_faithful;
mod scan_cli;
mod scan_walk;
mod second_reader;
mod spec;
mod stage_job;
mod sys_conformance;
mod sys_crash;
mod sys_source;
mod tidy;
mod tree;
mod verify_clean;
mod verify_cli;
mod verify_kit;
mod verify_laws;
mod volume_crash;
mod volume_kit;

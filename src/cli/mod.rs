//! The command line: one file per command turns arguments into options, calls a verb and prints the outcome.
//!
//! Owns: argument parsing, rendering, exit codes. Nothing below this layer prints or exits. Each command file has an
//! `Args` struct and a `run(&Args) -> anyhow::Result<Exit>`; errors are rendered once, here.

mod ahead;
mod browse;
mod completions;
mod config;
mod custody;
mod dataset;
mod demo;
mod doctor;
mod erase;
mod events;
mod examples;
mod exit;
mod extract;
mod home;
mod ingest;
mod init;
pub mod key;
mod keygen;
mod keys;
mod label;
mod log;
mod man;
mod plan;
mod probe;
mod progress;
mod prove;
mod reconcile;
mod recover;
mod report;
mod s3;
mod scan;
mod send;
mod settings;
mod shelf;
mod stage;
mod status;
mod suggest;
mod upload;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::sys::process::{disable_core_dumps, lock_memory};

pub use exit::{Exit, Failure};

/// Parsed command line of the `packmule` program.
#[derive(Debug, Parser)]
#[command(name = "packmule", version, about, propagate_version = true, subcommand_required = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    log: log::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write one file's content to standard output, from volumes
    Cat(browse::CatArgs),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Check a proof of transfer, offline, without any secret
    CheckProof(prove::CheckArgs),
    /// Who had the drives: write it down, signed, and show it
    Custody(Box<custody::Args>),
    /// The whole way on this machine, with S3 embedded: plan, stage, verify, ingest, report, erase
    Demo(demo::Args),
    /// Show what is set by environment and files, and where
    Config(config::Args),
    /// Say what differs between volumes and a source, a bucket, another job, or other volumes
    Diff(browse::DiffArgs),
    /// Look at this machine, its drives and the way to the bucket, and say what to mend
    Doctor(doctor::Args),
    /// Destroy volumes whose content is proved to be elsewhere
    Erase(erase::Args),
    /// Put what volumes hold back into a directory, without S3
    Extract(extract::Args),
    /// Ask what a job needs to know, once, and write it down
    Init(init::Args),
    /// Make an age identity
    Keygen(keygen::Args),
    /// Who can open volumes: show and change it, without rewriting data
    Keys(Box<keys::Args>),
    /// Draw the label of a drive: PDF, HTML, SVG or PNG
    Label(label::Args),
    /// List what is on volumes: paths, sizes, times, digests
    Ls(browse::ListArgs),
    /// Print manual pages
    Man(man::Args),
    /// Show volumes as a read-only file system
    #[cfg(feature = "mount")]
    Mount(browse::MountArgs),
    /// Plan the move: dates, dollars and odds for every way there is
    Plan(Box<plan::Args>),
    /// Send what is on volumes into S3, proved object by object
    Ingest(Box<ingest::Args>),
    /// Prove the transfer: one signed document from source digests to S3 checksums
    Prove(prove::Args),
    /// Compare what a job sent with the bucket: what is missing, different, besides
    Reconcile(reconcile::Args),
    /// Rebuild a job's database from its volumes
    Recover(recover::Args),
    /// Say what a job came to, in every form
    Report(report::Args),
    /// Measure how fast a source is read and volumes are written, for plan
    Probe(probe::Args),
    /// Look at sources: what is there, and what will bite
    Scan(scan::Args),
    /// Send sources straight into S3 over the line, with the same proof and the same report as drives
    Send(Box<send::Args>),
    /// Copy sources onto volumes: compressed, encrypted, checksummed; the same command again resumes
    Stage(Box<stage::Args>),
    /// Say where a job stands and what is next
    Status(status::Args),
    /// Check that volumes hold what was written, with a key or without
    Verify(verify::Args),
}

/// The whole command line, with the examples of every command.
pub fn command() -> clap::Command {
    examples::with_examples(Cli::command())
}

/// Checks a job file (`job.toml`) without acting on it.
///
/// # Errors
/// When it is not TOML, has a key that no command has, or a value of a wrong type.
pub fn check_job_file(text: &str) -> Result<(), String> {
    static PROGRAM: std::sync::OnceLock<clap::Command> = std::sync::OnceLock::new();
    settings::check(PROGRAM.get_or_init(command), text)
}

/// Parses the process arguments, runs the command and returns the documented exit code.
pub fn main() -> ExitCode {
    harden();
    match run(std::env::args_os().collect()) {
        Ok(exit) => exit.into(),
        Err(error) => exit::render(&error).into(),
    }
}

fn run(arguments: Vec<OsString>) -> anyhow::Result<Exit> {
    let program = settings::with_settings(command(), &arguments)?;
    let parsed = program.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(Cli { command: None, .. }) => home::show(),
        Ok(Cli { command: Some(command), log }) => {
            log::begin(&log)?;
            dispatch(command)
        }
        Err(error) => usage(&error),
    }
}

/// Prints what clap has to say: help and version on standard output, what is wrong on standard error.
fn usage(error: &clap::Error) -> anyhow::Result<Exit> {
    if let Some(word) = suggest::unknown_command(error) {
        return Err(suggest::no_such_command(&word).into());
    }
    error.print()?;
    Ok(if error.use_stderr() { Exit::Usage } else { Exit::Done })
}

/// Before any secret is read: no core dumps, no other process looking in, and memory locked where the limits allow all
/// of it (each run key is locked by itself in any case).
fn harden() {
    if let Err(error) = disable_core_dumps() {
        exit::warn(&format!("core dumps stay possible: {error}"));
    }
    lock_memory();
}

/// Runs one command.
fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Cat(args) => browse::cat(&args),
        Command::Completions(args) => completions::run(&args),
        Command::CheckProof(args) => prove::check(&args),
        Command::Custody(args) => custody::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Diff(args) => browse::diff(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Label(args) => label::run(&args),
        Command::Ls(args) => browse::list(&args),
        Command::Man(args) => man::run(&args),
        #[cfg(feature = "mount")]
        Command::Mount(args) => browse::mount(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Stage(args) => stage::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}

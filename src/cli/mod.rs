//! The command line: one file per command turns arguments into options, calls a verb and prints the outcome.
//!
//! Owns: argument parsing, rendering, exit codes. Nothing below this layer prints or exits. Each command file has an
//! `Args` struct and a `run(&Args) -> anyhow::Result<Exit>`; errors are rendered once, here.

mod ahead;
mod completions;
mod custody;
mod dataset;
mod demo;
mod erase;
mod exit;
mod extract;
mod ingest;
pub mod key;
mod keygen;
mod plan;
mod probe;
mod progress;
mod prove;
mod reconcile;
mod report;
mod s3;
mod scan;
mod send;
mod stage;
mod status;
mod upload;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};

/// Parsed command line of the `packmule` program.
#[derive(Debug, Parser)]
#[command(name = "packmule", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Check a proof of transfer, offline, without any secret
    CheckProof(prove::CheckArgs),
    /// Who had the drives: write it down, signed, and show it
    Custody(Box<custody::Args>),
    /// The whole way on this machine, with S3 embedded: plan, stage, verify, ingest, report, erase
    Demo(demo::Args),
    /// Destroy volumes whose content is proved to be elsewhere
    Erase(erase::Args),
    /// Put what volumes hold back into a directory, without S3
    Extract(extract::Args),
    /// Make an age identity
    Keygen(keygen::Args),
    /// Plan the move: dates, dollars and odds for every way there is
    Plan(Box<plan::Args>),
    /// Send what is on volumes into S3, proved object by object
    Ingest(Box<ingest::Args>),
    /// Prove the transfer: one signed document from source digests to S3 checksums
    Prove(prove::Args),
    /// Compare what a job sent with the bucket: what is missing, different, besides
    Reconcile(reconcile::Args),
    /// Say what a job came to, in every form
    Report(report::Args),
    /// Measure how fast a source is read and volumes are written, for plan
    Probe(probe::Args),
    /// Look at sources: what is there, and what will bite
    Scan(scan::Args),
    /// Send sources straight into S3 over the line, with the same proof and the same report as drives
    Send(Box<send::Args>),
    /// Copy sources onto volumes: compressed, encrypted, checksummed; the same command again resumes
    Stage(stage::Args),
    /// Say where a job stands and what is next
    Status(status::Args),
    /// Check that volumes hold what was written, with a key or without
    Verify(verify::Args),
}

/// Parses the process arguments, runs the command and returns the documented exit code.
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(error) => exit::render(&error).into(),
    }
}

/// Runs one command.
fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Completions(args) => completions::run(&args),
        Command::CheckProof(args) => prove::check(&args),
        Command::Custody(args) => custody::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Scan(args) => scan::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Stage(args) => stage::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}

//! A log file, for whoever has to find out afterwards what happened: one a day, the last fourteen kept.

use std::path::{Path, PathBuf};

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;

use crate::cli::{Exit, Failure};

/// Files that are kept. Unit: days.
const KEPT: usize = 14;

/// Options of every command.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Write a log to FILE.DATE, a new one every day; the last fourteen are kept
    #[arg(long, value_name = "FILE", global = true, env = "PACKMULE_LOG_FILE", hide_env = true)]
    log_file: Option<PathBuf>,
    /// How much: error, warn, info, debug, trace, or a filter such as packmule::ingest=debug
    #[arg(long, value_name = "LEVEL", global = true, env = "PACKMULE_LOG", hide_env = true, default_value = "info")]
    log: String,
}

/// Begins the log, if one is asked for.
///
/// # Errors
/// When the file cannot be written or the level is not one.
pub(super) fn begin(args: &LogArgs) -> Result<(), Failure> {
    let Some(path) = &args.log_file else { return Ok(()) };
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        let hint = "give error, warn, info, debug or trace";
        Failure::of(Exit::Usage, format!("{:?} is not a log level", args.log), Some(hint.to_owned()), error)
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .max_log_files(KEPT)
        .build(dir)
        .map_err(|error| {
            let hint = "choose a directory this user may write to";
            Failure::of(Exit::Usage, format!("log {} cannot be written", path.display()), Some(hint.to_owned()), error)
        })?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::sync::Mutex::new(file));
    // A second log of one process is impossible: `demo` runs its steps inside one.
    log.try_init().ok();
    let arguments: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?arguments, "begin");
    Ok(())
}

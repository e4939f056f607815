//! `packmule report --job DIR`: what the job came to, in every form.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cli::exit::warn;
use crate::cli::status::{exit, failure, stage};
use crate::cli::{Exit, Failure};
use crate::job::{Job, REPORT_DIR, replace_file};
use crate::report::{
    self, Facts, Format, Outcome, Stage, render_html, render_json, render_text, write_bag, write_list, write_reports,
};
use crate::sys::World;

/// Forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One JSON document with all figures
    Json,
    /// One JSON object per entry
    Jsonl,
    /// Every entry that succeeded
    Csv,
    /// Every entry that did not
    FailureCsv,
    /// For `sha256sum -c` at the source
    Sha256sum,
    /// Tag files of a BagIt bag; -o names its directory
    Bagit,
    /// One page to print
    Html,
    /// Every entry as a Parquet file, for DuckDB, pandas or Spark
    Parquet,
}

/// Which report is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// An entry succeeds when it is staged
    Staging,
    /// An entry succeeds when the server has it
    Completion,
}

/// Arguments of `packmule report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// What counts as success [default: completion once something was sent, else staging]
    #[arg(long, value_enum)]
    of: Option<Of>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print nothing but where the report with all its lists was put in the job directory
    #[arg(long, conflicts_with_all = ["format", "output"])]
    write: bool,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// Makes the report: in the job directory, and in the form asked for.
///
/// # Errors
/// When there is no job, its database fails, or the output does.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let job = Job::open_read_only(&args.job).map_err(failure)?;
    let stage = match args.of {
        Some(Of::Staging) => Stage::Staging,
        Some(Of::Completion) => Stage::Completion,
        None => stage(&job)?,
    };
    let form = if args.json { Form::Json } else { args.format };
    // Whatever is asked for, the report in the job directory is brought up to date: `erase` asks for it.
    let written = write_reports(&job, &*world.fs, stage, world.clock.now())?;
    let facts = written.facts;
    if args.write {
        writeln!(std::io::stdout(), "{}", written.dir.display())?;
        return Ok(exit(&facts));
    }
    match (&args.output, form) {
        (Some(dir), Form::Bagit) => drop(write_bag(&job, &*world.fs, &facts, dir)?),
        (None, Form::Bagit) => {
            let hint = "name the directory of the bag: -o DIR";
            return Err(Failure::new(Exit::Usage, "a bag is a directory", hint).into());
        }
        (None, form) => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            render(&job, &facts, form, &mut out)?;
            out.flush()?;
        }
        (Some(path), form) => {
            replace_file(&*world.fs, path, |out| render(&job, &facts, form, out))?;
        }
    }
    Ok(if facts.outcome() == Outcome::Complete { Exit::Done } else { exit(&facts) })
}

/// Brings the report in the job directory up to date after a run, and says where it is. The work itself is done by then: a report
/// that cannot be written is told, and changes nothing about what the run came to.
pub(super) fn keep(job: &Path, stage: Stage) -> Option<PathBuf> {
    let world = World::real();
    let written = Job::open_read_only(job)
        .map_err(anyhow::Error::from)
        .and_then(|job| Ok(write_reports(&job, &*world.fs, stage, world.clock.now())?));
    match written {
        Ok(written) => Some(written.dir.join(format!("{}.html", stage.name()))),
        Err(error) => {
            let job = job.display();
            warn(&format!("the report was not written: {error:#}; packmule report --job {job} writes it"));
            None
        }
    }
}

/// Whether a run has left a report of that kind.
pub(super) fn is_kept(job: &Path, stage: Stage) -> bool {
    let path = job.join(REPORT_DIR).join(format!("{}.json", stage.name()));
    World::real().fs.stat(&path).is_ok()
}

fn render(job: &Job, facts: &Facts, form: Form, out: &mut dyn Write) -> Result<u64, report::Error> {
    let text = match form {
        Form::Text => render_text(facts),
        Form::Json => render_json(facts, &[])?,
        Form::Html => render_html(facts),
        Form::Jsonl => return write_list(job, facts.stage, Format::JsonLines, out),
        Form::Csv => return write_list(job, facts.stage, Format::SuccessCsv, out),
        Form::FailureCsv => return write_list(job, facts.stage, Format::FailureCsv, out),
        Form::Sha256sum => return write_list(job, facts.stage, Format::Sha256Sum, out),
        Form::Parquet => return write_list(job, facts.stage, Format::Parquet, out),
        Form::Bagit => return Ok(0), // a directory; handled before
    };
    out.write_all(text.as_bytes()).map_err(report::Error::Output).map(|()| 0)
}

//! `packmule demo [SOURCE]`: the whole way on this machine, with S3 in this process.
//!
//! Every step is a real command line, printed and then run as it stands; nothing here knows a shortcut. Only the
//! credentials of the embedded server are handed over inside the process instead of through an AWS profile.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::cli::{Cli, Command, Exit, Failure};
use crate::s3d::{self, Credentials, Server};
use crate::sys::{OsRandom, RandomSource, demo_source, demo_space};
use crate::units::Bytes;

/// Bucket of the embedded server.
const BUCKET: &str = "lab-archive";

/// Arguments of `packmule demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory to move [default: the documentation installed on this machine]
    source: Option<PathBuf>,
    /// Where to work; must not exist or be empty [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Stop before the volumes are erased, to look at them
    #[arg(long)]
    keep_volumes: bool,
}

/// Runs all steps.
///
/// # Errors
/// When a step cannot run at all; a step that ends with findings ends the demo with its exit code.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let source = match &args.source {
        Some(source) => source.clone(),
        None => demo_source().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "this machine has no documentation installed",
                "name a directory: packmule demo DIR",
            )
        })?,
    };
    let dir = demo_space(args.dir.as_deref()).map_err(|error| {
        let shown = args.dir.as_deref().unwrap_or(Path::new("a temporary directory")).display().to_string();
        Failure::of(Exit::Usage, format!("cannot work in {shown}"), Some("give an empty --dir".to_owned()), error)
    })?;
    let credentials = credentials();
    let server = Server::start(&dir.join("s3"), &credentials, s3d::Options::default())?;
    server.create_bucket(BUCKET)?;
    let demo = Demo { source, dir, server, credentials };
    demo.say(&format!(
        "packmule demo: {} goes onto two volumes, across, and into S3.\n\
         Every line that begins with $ is an ordinary command. All of it happens in {}\n",
        demo.source.display(),
        demo.dir.display()
    ))?;
    let exit = demo.steps(args.keep_volumes)?;
    demo.ending(exit, args.keep_volumes)?;
    Ok(exit)
}

/// Fresh ones each time; the server listens on loopback only.
fn credentials() -> Credentials {
    let mut bytes = [0_u8; 24];
    OsRandom.fill(&mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Credentials { access_key: format!("DEMO{}", &hex[..12]), secret_key: hex[12..].to_owned() }
}

struct Demo {
    source: PathBuf,
    dir: PathBuf,
    server: Server,
    credentials: Credentials,
}

impl Demo {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    /// Runs the steps; the worst of the codes that let the work go on is the demo's.
    fn steps(&self, keep_volumes: bool) -> anyhow::Result<Exit> {
        let (a, b, job, code) =
            (self.path("drive-a"), self.path("drive-b"), self.path("job"), self.path("unlock-code.txt"));
        let source = self.source.display().to_string();
        let to = format!("s3://{BUCKET}/moved");
        let endpoint = self.server.endpoint();
        let dataset = self.path("dataset.toml");
        let key = ["--unlock-code-file", &code];
        let mut worst = Exit::Done;
        let mut step = |title: &str, words: &[&str]| -> anyhow::Result<Exit> {
            let exit = self.step(title, words)?;
            if matches!(exit, Exit::Done | Exit::Problems) {
                worst = worst.max(exit);
            }
            Ok(exit)
        };
        let goes_on = |exit: Exit| matches!(exit, Exit::Done | Exit::Problems);

        step("1. What is there, and what will bite", &["scan", &source, "-o", &dataset])?;
        step("2. Which way to move it", &["plan", &dataset, "--link", "100Mbit/s"])?;
        let stage = [&["stage", &source, "--volume", &a, "--volume", &b, "--job", &job][..], &key].concat();
        let exit = step("3. Onto two drives: compressed, encrypted, checksummed, read back from the medium", &stage)?;
        if !goes_on(exit) {
            return Ok(exit);
        }
        let exit = step("4. What a courier can check, without any key", &["verify", "--keyless", &a, &b])?;
        if !goes_on(exit) {
            return Ok(exit);
        }
        let exit =
            step("5. What the receiver can check, from the drives alone", &[&["verify", &a, &b][..], &key].concat())?;
        if !goes_on(exit) {
            return Ok(exit);
        }
        let ingest = [&["ingest", &a, &b, "--to", &to, "--endpoint-url", &endpoint, "--job", &job][..], &key].concat();
        let exit =
            step("6. Into S3, each object confirmed by the server against what was read at the source", &ingest)?;
        if !goes_on(exit) {
            return Ok(exit);
        }
        step("7. The report", &["report", "--job", &job])?;
        step("   and as a page", &["report", "--job", &job, "--format", "html", "-o", &self.path("report.html")])?;
        if keep_volumes {
            return Ok(worst);
        }
        let exit = step(
            "8. The drives are erased, now that everything has arrived",
            &["erase", &a, &b, "--job", &job, "--yes"],
        )?;
        Ok(if goes_on(exit) || worst == Exit::Problems { worst } else { exit })
    }

    fn step(&self, title: &str, words: &[&str]) -> anyhow::Result<Exit> {
        let shown: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        self.say(&format!("\n{title}\n$ packmule {}", shown.join(" ")))?;
        let mut cli = Cli::try_parse_from(std::iter::once("packmule").chain(words.iter().copied()))?;
        if let Some(Command::Ingest(args)) = &mut cli.command {
            args.use_credentials(&self.credentials.access_key, &self.credentials.secret_key);
        }
        let exit = match cli.command.map_or_else(super::home::show, super::dispatch) {
            Ok(exit) => exit,
            Err(error) => super::exit::render(&error),
        };
        if exit != Exit::Done {
            self.say(&format!("(exit code {})", exit.code()))?;
        }
        Ok(exit)
    }

    fn ending(&self, exit: Exit, keep_volumes: bool) -> anyhow::Result<()> {
        let bucket = self.dir.join("s3");
        let used = Bytes::new(crate::sys::tree_bytes(&bucket));
        self.say(&match exit {
            Exit::Done => "\nDone. Every file was read once at the source, and S3 itself compared what it stored with what was read there.".to_owned(),
            Exit::Problems => "\nDone, but not everything could be read at the source: what is missing is listed above and in the report, all else is\nproved. The drives are kept: erase refuses while anything is unproved, unless told --accept-problems.".to_owned(),
            other => format!("\nThe demo stopped (exit code {}); the lines above say why and what to do.", other.code()),
        })?;
        self.say(&format!(
            "\n  report   {report}\n  bucket   {bucket} ({used}, an S3 server of this program; it stopped with the demo)\n  job      {job}{volumes}\n\
             \nThe same with real drives and a real bucket:\n\
             \n  packmule stage SOURCE --volume /mnt/drive-a --volume /mnt/drive-b --job ~/jobs/lab --unlock-code-file code.txt\
             \n  (carry the drives; send the code by another way)\
             \n  packmule verify /mnt/drive-a /mnt/drive-b --unlock-code-file code.txt\
             \n  packmule ingest /mnt/drive-a /mnt/drive-b --to s3://BUCKET/PREFIX --job ~/jobs/lab --unlock-code-file code.txt\
             \n  packmule report --job ~/jobs/lab\
             \n  packmule erase  /mnt/drive-a /mnt/drive-b --job ~/jobs/lab",
            report = self.path("report.html"),
            bucket = bucket.display(),
            job = self.path("job"),
            volumes = if keep_volumes || exit != Exit::Done {
                format!("\n  drives   {} and {}\n  key      {}", self.path("drive-a"), self.path("drive-b"), self.path("unlock-code.txt"))
            } else {
                String::new()
            },
        ))
    }
}

/// A word as a shell would want it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

//! `packmule erase VOLUME... --job DIR`: destroys volumes whose content is proved to be elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Exit, Failure};
use crate::erase::{self, Error, Options, Outcome, Progress, Proof, PurgeError};
use crate::job::Job;
use crate::report::{self, read_completion};
use crate::sys::{World, sanitize};
use crate::units::Bytes;

/// Arguments of `packmule erase`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volumes to erase
    #[arg(required_unless_present = "purge")]
    volume: Vec<PathBuf>,
    /// Whole drive (such as /dev/sdb) whose volumes are erased and unmounted: it erases itself, spare blocks included
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["volume", "abandon", "accept_problems", "free_space", "dry_run"])]
    purge: Option<PathBuf>,
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    /// Erase this volume without proof that its content arrived; type its number, once per volume
    #[arg(long, value_name = "NUMBER")]
    abandon: Vec<u32>,
    /// Erase although some entries could not be staged; the completion report lists them
    #[arg(long)]
    accept_problems: bool,
    /// Overwrite the free space of each volume's file system too
    #[arg(long)]
    free_space: bool,
    /// Only say what would be erased
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal
    #[arg(long)]
    yes: bool,
    /// Print one JSON document per volume
    #[arg(long)]
    json: bool,
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn overwritten(&mut self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

/// Erases and prints.
///
/// # Errors
/// At the first volume that may not be or could not be erased; those before it are.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let mut job = Job::open(&args.job).map_err(super::status::failure)?;
    let options = Options {
        abandon: args.abandon.clone(),
        accept_problems: args.accept_problems,
        free_space: args.free_space,
        dry_run: args.dry_run,
    };
    if !args.dry_run && !args.yes {
        confirm(args.purge.as_ref().map_or(&args.volume[..], std::slice::from_ref))?;
    }
    if let Some(device) = &args.purge {
        return purge(args, &mut job, &world, device);
    }
    let proof = read_completion(&*world.fs, job.dir())?.map(proof);
    for volume in &args.volume {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("erasing {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        let outcome = erase::erase(&mut job, &world, volume, proof.as_ref(), &options, &mut Bar(bar.clone()));
        bar.finish_and_clear();
        let text = render(&outcome.map_err(failure)?, args.json)?;
        std::io::stdout().write_all(text.as_bytes())?;
    }
    Ok(Exit::Done)
}

/// Hears how far a drive is, and waits.
struct Waiting(ProgressBar);

impl erase::Wait for Waiting {
    fn wait(&mut self, time: std::time::Duration, of_65536: u16) {
        self.0.set_position(of_65536.into());
        std::thread::sleep(time);
    }
}

fn purge(args: &Args, job: &mut Job, world: &World, device: &Path) -> anyhow::Result<Exit> {
    let open = sanitize::open(device).map_err(|error| {
        let hint = "name the whole drive, unmounted; this needs root".to_owned();
        Failure::of(Exit::Failed, format!("{} is not purged", device.display()), Some(hint), error)
    });
    let mut drive = open?;
    let bar = ProgressBar::new(1 << 16);
    if let Ok(style) = ProgressStyle::with_template("the drive erases itself {bar:30} {percent}% {elapsed}") {
        bar.set_style(style);
    }
    let purged = erase::purge(job, world, &mut drive, &mut Waiting(bar.clone()));
    bar.finish_and_clear();
    let mut text = String::new();
    for certificate in purged.map_err(failure)? {
        if args.json {
            text +=
                &(serde_json::json!({ "purged": certificate.volume, "certificate": certificate }).to_string() + "\n");
        } else {
            let method = certificate.purge.as_ref().map_or("", |purge| &purge.method);
            text +=
                &format!("volume {}: its drive is purged ({method}); the certificate says so\n", certificate.volume);
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// Asks whoever sits at a terminal; a script is not asked, since proof is needed in any case.
#[expect(clippy::print_stderr, reason = "a question to the user")]
fn confirm(volumes: &[PathBuf]) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let names: Vec<String> = volumes.iter().map(|path| path.display().to_string()).collect();
    eprint!("Everything on {} will be destroyed. Type erase to go on: ", names.join(", "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() == "erase" {
        return Ok(());
    }
    Err(Failure::new(Exit::Stopped, "nothing was erased", "type the word erase, or give --yes").into())
}

fn proof(completion: report::Completion) -> Proof {
    Proof {
        sha256: completion.sha256,
        job: completion.job,
        is_complete: completion.outcome != report::Outcome::Incomplete,
        has_problems: completion.outcome == report::Outcome::CompleteWithProblems,
        volumes: completion.volumes,
    }
}

fn render(outcome: &Outcome, json: bool) -> anyhow::Result<String> {
    if json {
        let value = match outcome {
            Outcome::Erased(certificate, path) => {
                serde_json::json!({ "erased": certificate.volume, "certificate": certificate, "file": path })
            }
            Outcome::AlreadyErased(number, at) => serde_json::json!({ "erased": number, "at": at.to_string() }),
            Outcome::WouldErase(number, inventory) => {
                serde_json::json!({ "would_erase": number, "inventory": inventory })
            }
        };
        return Ok(serde_json::to_string(&value)? + "\n");
    }
    Ok(match outcome {
        Outcome::Erased(certificate, path) => {
            format!(
                "volume {} erased: {} key slots, {} files, {}; certificate: {}\n",
                certificate.volume,
                certificate.slots,
                certificate.files,
                Bytes::new(certificate.bytes).decimal(),
                path.display()
            )
        }
        Outcome::AlreadyErased(number, at) => format!("volume {number} was erased at {at}\n"),
        Outcome::WouldErase(number, inventory) => {
            let bytes = Bytes::new(inventory.bytes).decimal();
            format!("would erase volume {number}: {} key slots, {} files, {bytes}\n", inventory.slots, inventory.files)
        }
    })
}

fn failure(error: Error) -> Failure {
    let exit = match &error {
        Error::OtherNumber { .. } => Exit::Usage,
        Error::OtherJob { .. } | Error::Volume(_) => Exit::Volume,
        Error::ReadBack { .. } | Error::Purge(PurgeError::StillThere { .. }) => Exit::Integrity,
        Error::Purge(PurgeError::OtherDrive { .. } | PurgeError::NoSerial) => Exit::Volume,
        _ => Exit::Failed,
    };
    let hint = error.hint().map(str::to_owned);
    let message = error.to_string();
    match error {
        Error::Volume(source) => Failure::of(exit, message, hint, source),
        error if std::error::Error::source(&error).is_some() => {
            Failure::of(exit, "the volume is not erased", hint, error)
        }
        _ => Failure { exit, message, hint, source: None },
    }
}

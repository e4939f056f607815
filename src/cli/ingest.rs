//! `packmule ingest VOLUME... --to s3://BUCKET/PREFIX --job DIR`: from volumes into S3.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::ahead::Ahead;
use crate::cli::events::Events;
use crate::cli::key::{KeyArgs, volume_failure};
use crate::cli::progress::{Painter, ProgressArgs};
use crate::cli::s3::{self, FlowArgs, ObjectArgs, ServerArgs, destination};
use crate::cli::upload::{ChoiceArgs, Shown, finish, open_job, tell_end};
use crate::cli::{Exit, Failure};
use crate::ingest::{self, Medium};
use crate::job::{Arrivals, Job, ObjectState};
use crate::sys::World;
use crate::sys::process::StopFlag;
use crate::volume::Volume;

/// Arguments of `packmule ingest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volumes: directories that hold a packmule/ folder
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Where to, as s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    to: String,
    /// Job directory
    #[arg(long, value_name = "DIR")]
    job: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    object: ObjectArgs,
    #[command(flatten)]
    flow: FlowArgs,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

impl Args {
    /// Hands over the credentials of the embedded server.
    pub(super) fn use_credentials(&mut self, access_key: &str, secret_key: &str) {
        self.server.use_credentials(access_key, secret_key);
    }
}

/// Ingests and prints.
///
/// # Errors
/// When a volume, the job or the server cannot be used at all.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    let (bucket, prefix) = destination(&args.to)?;
    let mut job = open_job(&args.job)?;
    let media = open_volumes(args, &world, &job)?;
    let stop = StopFlag::new();
    let options = args.choice.apply(s3::options(prefix, &args.object, &args.flow, stop.clone(), &world)?)?;
    let ahead = Ahead::look(&job, &options, &args.object, &args.to, &world)?;
    if args.dry_run {
        return ahead.print(args.json);
    }
    ahead.warn();
    stop.arm()?;
    let target = s3::target(bucket, &args.server, &args.object, &args.flow, &world)?;
    let events = Events::new("ingest", &args.job, &args.progress.events);
    let painter = Painter::new("ingest", &args.progress, events, args.json);
    let (entries, bytes) = expected(&job)?;
    painter.expects(entries, bytes);
    let result = ingest::ingest(&mut job, &media, target, &options, &world, &painter);
    painter.finish();
    record(&mut job, &media, &world)?;
    let ended = finish(job, result, &Shown { to: &args.to, json: args.json, bring: true });
    tell_end(&painter, &args.to, &ended);
    ended
}

/// What is staged and has no object yet.
fn expected(job: &Job) -> anyhow::Result<(u64, u64)> {
    let staged = job.ledger()?.staged();
    let there = job.object_ledger()?;
    let is_there =
        |state: &ObjectState| matches!(state, ObjectState::Arrived | ObjectState::Confirmed | ObjectState::ReadBack);
    let there = there
        .iter()
        .filter(|(state, _)| is_there(state))
        .fold((0, 0), |sum, (_, count)| (sum.0 + count.entries, sum.1 + count.bytes));
    Ok((staged.entries.saturating_sub(there.0), staged.bytes.saturating_sub(there.1)))
}

/// Appends to the custody log how much of each volume has arrived by now.
fn record(job: &mut Job, media: &[Medium], world: &World) -> anyhow::Result<()> {
    let now = world.clock.now();
    let arrivals = job.arrivals()?;
    for medium in media {
        let number = medium.volume.header().number;
        let Arrivals { entries, missing } = arrivals.get(&number).copied().unwrap_or_default();
        let detail = format!("{} of {entries} entries have arrived", entries.saturating_sub(missing));
        job.batch_durable(|batch| batch.append_event(now, "ingested", Some(number), &detail))?;
    }
    Ok(())
}

fn open_volumes(args: &Args, world: &World, job: &Job) -> Result<Vec<Medium>, Failure> {
    let mut media = Vec::new();
    let mut identities = None;
    for path in &args.volume {
        let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
        let (expected, found) = (job.id(), volume.header().job);
        if expected != found {
            let error = crate::volume::Error::OtherJob { path: path.clone(), expected, found };
            return Err(volume_failure(path, error));
        }
        let salt = volume.header().job_salt;
        let identities = match &mut identities {
            Some(identities) => identities,
            None => identities.insert(args.key.identities(&salt)?),
        };
        args.key.ask_service(identities, [&volume])?;
        let keyring = crate::volume::Keyring::open(&volume, identities).map_err(|error| volume_failure(path, error))?;
        media.push(Medium { volume, keyring });
    }
    Ok(media)
}

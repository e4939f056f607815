//! `packmule keys list|add|remove|rotate VOLUME...`: who can open volumes, changed without rewriting any data.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::key::{KeyArgs, LazyService, SERVICE_HINT, read_key_file, volume_failure};
use crate::cli::stage::unlock_code;
use crate::cli::{Exit, Failure};
use crate::crypto::{
    EnvelopeFacts, Identities, KeyService, Recipients, SlotRecipient, identity_from_passphrase,
    identity_from_unlock_code,
};
use crate::job::Job;
use crate::keys::{self, Change, Error, VolumeSlots};
use crate::sys::World;
use crate::volume::Volume;

/// Arguments of `packmule keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  packmule keys list /mnt/a /mnt/b                                     (what anybody can see)
  packmule keys list /mnt/a --unlock-code-file code.txt                (whom each slot is for)
  packmule keys add /mnt/a --who age1... --identity me.txt              (escrow, a second reader)
  packmule keys remove /mnt/a --who unlock-code --identity me.txt      (the code was seen by the wrong person)
  packmule keys rotate /mnt/a --who age1... --identity old.txt          (nobody but the new one)

Whoever opened a slot before may have kept what was in it: changing keys shuts the door, it does not make anybody forget.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show who can open the volumes: in full with a key, else what anybody can see
    List(ListArgs),
    /// Let others open the volumes too
    Add(ChangeArgs),
    /// Let somebody open the volumes no more; the last one stays
    Remove(RemoveArgs),
    /// Let nobody but these open the volumes
    Rotate(ChangeArgs),
}

/// Arguments of `packmule keys list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Volumes
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Arguments of `packmule keys add` and `rotate`.
#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// Volumes, all of one job
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Who: an age, SSH or plugin recipient; may be repeated
    #[arg(long, alias = "to", value_name = "RECIPIENT", help_heading = "Who")]
    who: Vec<String>,
    /// A passphrase, in this file
    #[arg(long, alias = "to-passphrase-file", value_name = "FILE", help_heading = "Who")]
    who_passphrase_file: Option<PathBuf>,
    /// An unlock code, in this file: written if it is not there, used if it is
    #[arg(long, alias = "to-unlock-code-file", value_name = "FILE", help_heading = "Who")]
    who_unlock_code_file: Option<PathBuf>,
    /// A key of AWS KMS (id, ARN or alias): it makes a data key for each volume; may be repeated
    #[arg(long, alias = "to-kms-key", value_name = "KEY", help_heading = "Who")]
    who_kms_key: Vec<String>,
    /// Job directory: later runs wrap for the same people
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Arguments of `packmule keys remove`.
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Volumes, all of one job
    #[arg(required = true)]
    volume: Vec<PathBuf>,
    /// Who: a recipient or a key of AWS KMS as `keys list` shows it, or a kind: passphrase, unlock-code, kms; may be repeated
    #[arg(long, alias = "to", value_name = "RECIPIENT", required = true, help_heading = "Who")]
    who: Vec<String>,
    /// Job directory: later runs do not wrap for them either
    #[arg(long, value_name = "DIR")]
    job: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Lists or changes.
///
/// # Errors
/// When a volume or key cannot be used; nothing is changed unless every slot of every volume opens.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Add(args) => {
            let change = additions(args)?;
            apply(&args.volume, &args.key, args.job.as_deref(), &change, args.json)
        }
        Command::Rotate(args) => {
            let change = Change { is_rotation: true, ..additions(args)? };
            apply(&args.volume, &args.key, args.job.as_deref(), &change, args.json)
        }
        Command::Remove(args) => {
            let change = Change { remove: args.who.clone(), ..Change::default() };
            apply(&args.volume, &args.key, args.job.as_deref(), &change, args.json)
        }
    }
}

fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let world = World::real();
    let identities = match args.key.is_empty() {
        true => None,
        false => Some(identities(&world, &args.key, &args.volume)?),
    };
    let found = keys::list(&world, &args.volume, identities.as_ref()).map_err(failure)?;
    print(&found, args.json)?;
    let unopened =
        identities.is_some() && found.iter().flat_map(|volume| &volume.slots).any(|slot| slot.recipients.is_none());
    Ok(if unopened { Exit::Key } else { Exit::Done })
}

/// What the user brought for these volumes.
fn identities(world: &World, key: &KeyArgs, paths: &[PathBuf]) -> Result<Identities, Failure> {
    let mut identities = key.identities(&salt(world, paths)?)?;
    let open = |path: &PathBuf| Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error));
    let volumes = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    key.ask_service(&mut identities, &volumes)?;
    Ok(identities)
}

/// Salt of the job that the volumes belong to.
fn salt(world: &World, volumes: &[PathBuf]) -> Result<[u8; 32], Failure> {
    let mut first: Option<(crate::format::JobId, [u8; 32])> = None;
    for path in volumes {
        let volume = Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error))?;
        let (job, salt) = (volume.header().job, volume.header().job_salt);
        let (expected, _) = *first.get_or_insert((job, salt));
        if expected != job {
            let error = crate::volume::Error::OtherJob { path: path.clone(), expected, found: job };
            return Err(volume_failure(path, error));
        }
    }
    first.map(|(_, salt)| salt).ok_or_else(|| Failure::new(Exit::Usage, "no volume was named", "name one"))
}

fn additions(args: &ChangeArgs) -> anyhow::Result<Change> {
    let salt = salt(&World::real(), &args.volume)?;
    let mut recipients: Vec<SlotRecipient> = args.who.iter().map(|text| SlotRecipient::of(text)).collect();
    let mut add = |kind: &str, text: String| recipients.push(SlotRecipient { kind: kind.to_owned(), text });
    if let Some(path) = &args.who_passphrase_file {
        add("passphrase", identity_from_passphrase(&read_key_file(path)?, &salt)?.recipient);
    }
    if let Some(path) = &args.who_unlock_code_file {
        add("unlock-code", identity_from_unlock_code(&unlock_code(path)?, &salt)?.recipient);
    }
    if recipients.is_empty() && args.who_kms_key.is_empty() {
        let hint = "give --who RECIPIENT, --who-passphrase-file FILE, --who-unlock-code-file FILE or --who-kms-key KEY";
        return Err(Failure::new(Exit::Usage, "nobody was named", hint).into());
    }
    Recipients::of(&recipients).map_err(|error| Failure::of(Exit::Key, "a recipient is not usable", None, error))?;
    let service: Arc<dyn KeyService> = Arc::new(LazyService::new(args.key.kms_endpoint_url.as_deref()));
    let service = (!args.who_kms_key.is_empty()).then_some(service);
    Ok(Change { add: recipients, add_kms: args.who_kms_key.clone(), service, ..Change::default() })
}

fn apply(
    volumes: &[PathBuf],
    key: &KeyArgs,
    job_dir: Option<&Path>,
    change: &Change,
    json: bool,
) -> anyhow::Result<Exit> {
    let world = World::real();
    let identities = identities(&world, key, volumes)?;
    // Before the volumes are touched: can the job be changed too?
    let mut job = job_dir.map(Job::open).transpose().map_err(super::status::failure)?;
    let changed = keys::change(&world, volumes, &identities, change).map_err(failure)?;
    if let Some(job) = &mut job {
        follow(job, world.clock.now(), change, &changed)?;
    }
    print(&changed, json)?;
    if job.is_none() {
        super::exit::warn(
            &"the staging machine still wraps new runs for whom it did before; --job DIR changes that too",
        );
    }
    Ok(Exit::Done)
}

/// Makes later runs of the job wrap for the same people.
fn follow(job: &mut Job, now: jiff::Timestamp, change: &Change, changed: &[VolumeSlots]) -> anyhow::Result<()> {
    if let Some(other) = changed.iter().find(|volume| volume.job != job.id()) {
        let message = format!("volume {} is of job {}, not of the one in --job", other.number, other.job);
        return Err(Failure::new(Exit::Volume, message, "the volumes are changed; name their job").into());
    }
    let known = job.slot_recipients()?;
    let mut kms_keys = job.kms_keys()?;
    // Alias and full name may be of one key, and only the service knows: a name that is not known here takes all.
    let is_kms = |text: &String| text == "kms" || text.starts_with("arn:") || kms_keys.contains(text);
    let is_off = change.remove.iter().any(is_kms);
    kms_keys.retain(|_| !change.is_rotation && !is_off);
    kms_keys.extend(change.add_kms.iter().filter(|key| !kms_keys.contains(key)).cloned().collect::<Vec<_>>());
    job.batch_durable(|batch| -> Result<(), crate::job::Error> {
        for recipient in &known {
            let is_named = change.remove.iter().any(|text| *text == recipient.text || *text == recipient.kind);
            if is_named || (change.is_rotation && !change.add.contains(recipient)) {
                batch.remove_recipient(&recipient.text)?;
            }
        }
        change.add.iter().try_for_each(|recipient| batch.add_recipient_as(recipient))?;
        batch.set_kms_keys(&kms_keys)?;
        for volume in changed {
            batch.append_event(now, "keys-changed", Some(volume.number), "slots were wrapped anew")?;
        }
        Ok(())
    })?;
    Ok(())
}

fn failure(error: Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::Volume { path, source } => volume_failure(&path, *source),
        Error::Closed { source, .. } => {
            let hint = "nothing was changed; give the key of somebody who can open every slot".to_owned();
            Failure::of(Exit::Key, message, Some(hint), source)
        }
        Error::Service { source, .. } => {
            Failure::of(Exit::Key, message, Some(format!("nothing was changed; {SERVICE_HINT}")), source)
        }
        Error::Recipient(source) => Failure::of(Exit::Key, message, None, source),
        Error::LastRecipient { .. } => {
            Failure::new(Exit::Usage, message, "nothing was changed; add somebody first: packmule keys add")
        }
        Error::Unnamed { .. } => {
            Failure::new(Exit::Usage, message, "nothing was changed; packmule keys rotate names everybody anew")
        }
        Error::NotThere { .. } => {
            Failure::new(Exit::Usage, message, "nothing was changed; packmule keys list shows who is there")
        }
    }
}

fn print(found: &[VolumeSlots], json: bool) -> anyhow::Result<()> {
    let text = if json { self::json(found)? } else { text(found)? };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn json(found: &[VolumeSlots]) -> anyhow::Result<String> {
    let recipient = |one: &SlotRecipient| serde_json::json!({ "kind": one.kind, "recipient": one.text });
    let volumes: Vec<_> = found
        .iter()
        .map(|volume| {
            let slot = |slot: &keys::SlotFacts| {
                let recipients = slot.recipients.as_ref().map(|all| all.iter().map(recipient).collect::<Vec<_>>());
                serde_json::json!({ "run": slot.run.to_string(), "stanzas": slot.stanzas, "recipients": recipients })
            };
            let slots: Vec<_> = volume.slots.iter().map(slot).collect();
            let kms = |one: &EnvelopeFacts| serde_json::json!({ "key": one.key, "recipient": one.recipient });
            let kms: Vec<_> = volume.envelopes.iter().map(kms).collect();
            serde_json::json!({ "volume": volume.number, "job": volume.job.to_string(), "slots": slots, "kms": kms })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&volumes)? + "\n")
}

fn text(found: &[VolumeSlots]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for volume in found {
        writeln!(out, "volume {} at {}", volume.number, volume.path.display())?;
        for slot in &volume.slots {
            writeln!(out, "  slot of run {}", slot.run)?;
            match &slot.recipients {
                None => writeln!(out, "    for {} (a key shows whom)", slot.stanzas.join(", "))?,
                Some(recipients) if recipients.is_empty() => writeln!(out, "    does not say whom it is for")?,
                Some(recipients) => {
                    for recipient in recipients {
                        writeln!(out, "    {:<11} {}", recipient.kind, recipient.text)?;
                    }
                }
            }
        }
        for envelope in &volume.envelopes {
            writeln!(out, "  AWS KMS key {} opens {}", envelope.key, envelope.recipient)?;
        }
    }
    Ok(out)
}

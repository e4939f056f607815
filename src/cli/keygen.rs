//! `packmule keygen`: an age identity, in age-keygen's own format: a new one, or the one a passphrase or an unlock code
//! stands for, so that the age program can open a volume's slots.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cli::key::{read_code, read_key_file, volume_failure};
use crate::cli::{Exit, Failure};
use crate::crypto::{identity_from_passphrase, identity_from_unlock_code, new_identity, split_new};
use crate::sys::World;
use crate::sys::secrets::write_secret_new;
use crate::volume::Volume;

/// Arguments of `packmule keygen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write, readable by its owner only; never overwritten [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the identity that the unlock code in FILE stands for
    #[arg(long, value_name = "FILE", requires = "volume")]
    from_unlock_code: Option<PathBuf>,
    /// Print the identity that the passphrase in FILE stands for
    #[arg(long, value_name = "FILE", requires = "volume", conflicts_with = "from_unlock_code")]
    from_passphrase: Option<PathBuf>,
    /// Split the key among officers, as K/N: any K of the N open. Writes FILE.1 to FILE.N, one for each, and no whole key
    #[arg(long, value_name = "K/N", value_parser = parse_split, requires = "output", conflicts_with_all = ["from_unlock_code", "from_passphrase"])]
    split: Option<(u8, u8)>,
    /// A volume of the job, which has the salt both are derived with
    #[arg(long, value_name = "VOLUME")]
    volume: Option<PathBuf>,
    /// Print the public key and the file's name as one JSON document
    #[arg(long, requires = "output")]
    json: bool,
}

/// Makes the identity and writes it.
///
/// # Errors
/// When the file exists or cannot be written, or what to derive from cannot be read.
#[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let world = World::real();
    if let (Some((threshold, total)), Some(path)) = (args.split, &args.output) {
        return split(&world, path, threshold, total, args.json);
    }
    let salt = match &args.volume {
        Some(dir) => {
            let volume = Volume::open(Arc::clone(&world.fs), dir).map_err(|error| volume_failure(dir, error))?;
            volume.header().job_salt
        }
        None => [0; 32],
    };
    let identity = match (&args.from_unlock_code, &args.from_passphrase) {
        (Some(path), _) => identity_from_unlock_code(&read_code(path)?, &salt)?,
        (None, Some(path)) => identity_from_passphrase(&read_key_file(path)?, &salt)?,
        (None, None) => new_identity(&*world.random)?,
    };
    let created = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text =
        Zeroizing::new(format!("# created: {created}\n# public key: {}\n{}\n", identity.recipient, *identity.secret));
    let Some(path) = &args.output else {
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(Exit::Done);
    };
    write_secret_new(path, text.as_bytes()).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "a key is never overwritten; choose another name",
            _ => "choose a place this user may write to",
        };
        Failure::of(Exit::Failed, format!("cannot write key file {}", path.display()), Some(hint.to_owned()), error)
    })?;
    if args.json {
        let facts = serde_json::json!({ "file": path, "recipient": identity.recipient, "created": created });
        writeln!(std::io::stdout(), "{facts}")?;
    } else {
        eprintln!("Public key: {}", identity.recipient);
    }
    Ok(Exit::Done)
}

fn parse_split(text: &str) -> Result<(u8, u8), String> {
    let wrong = || "write it as 2/3: how many are needed, of how many".to_owned();
    let (threshold, total) = text.split_once('/').ok_or_else(wrong)?;
    Ok((threshold.trim().parse().map_err(|_| wrong())?, total.trim().parse().map_err(|_| wrong())?))
}

/// Makes a key that never exists whole on any disk: only its shares are written, one file each.
#[expect(clippy::print_stderr, reason = "the command line is the layer that prints")]
fn split(world: &World, path: &Path, threshold: u8, total: u8, json: bool) -> anyhow::Result<Exit> {
    let (recipient, shares) = split_new(&*world.random, threshold, total)
        .map_err(|error| Failure::of(Exit::Usage, "the key cannot be split so", None, error))?;
    let created = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut files = Vec::new();
    for (at, share) in shares.iter().enumerate() {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", at + 1));
        let file = PathBuf::from(name);
        let text = Zeroizing::new(format!(
            "# created: {created}\n# public key: {recipient}\n# {}\n{}\n",
            share.describe(),
            *share.to_text()?
        ));
        write_secret_new(&file, text.as_bytes()).map_err(|error| {
            let hint =
                "a key is never overwritten; remove the shares of the attempt and choose another name".to_owned();
            Failure::of(Exit::Failed, format!("cannot write share {}", file.display()), Some(hint), error)
        })?;
        files.push(file);
    }
    if json {
        let facts = serde_json::json!({ "files": files, "recipient": recipient, "created": created });
        writeln!(std::io::stdout(), "{facts}")?;
    } else {
        eprintln!("Public key: {recipient}");
        eprintln!(
            "Give each officer one of {}.1 to {}.{total}, and keep none together.",
            path.display(),
            path.display()
        );
    }
    Ok(Exit::Done)
}

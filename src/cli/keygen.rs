//! `packmule keygen`: an age identity, in age-keygen's own format: a new one, or the one a passphrase or an unlock code
//! stands for, so that the age program can open a volume's slots.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cli::key::{read_code, read_key_file, volume_failure};
use crate::cli::{Exit, Failure};
use crate::crypto::{identity_from_passphrase, identity_from_unlock_code, new_identity};
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

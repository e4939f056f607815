//! The KEY argument group, shared by every command that opens volumes: `--identity FILE | --passphrase-file FILE |
//! --unlock-code-file FILE`, or a prompt on a terminal.
//!
//! Owns: turning what the user brought into identities, and saying what is wrong with it. Does not own: opening slots
//! (`volume::Keyring`). Invariants: a secret is never an argument, never in the environment, never printed or quoted.
//! Callers: the command files of `cli`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::cli::s3::certificates;
use crate::cli::{Exit, Failure};
use crate::crypto::{
    DataKey, Identities, KeyService, Share, UnlockCode, identity_from_passphrase, identity_from_unlock_code,
    join_shares, open_envelope,
};
use crate::kms;
use crate::sys::World;
use crate::sys::secrets::{prompt_hidden, read_secret};
use crate::volume::{self, Keyring, Volume, read_envelopes};

/// Longest key file taken into memory. Unit: bytes. An SSH key of 16384 bits has about 13 KiB.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// How often a mistyped unlock code may be typed again.
const ATTEMPTS: usize = 3;
const HINT: &str = "give --identity FILE, --passphrase-file FILE, --unlock-code-file FILE, --share FILE or --kms";
/// What to do when a key service refuses.
pub(super) const SERVICE_HINT: &str = "may these credentials use the key (kms:GenerateDataKey to stage, kms:Decrypt to open), does its \
     policy allow this encryption context, and is the region right?";

/// What opens a volume.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Key (without one: asked for on the terminal)")]
pub struct KeyArgs {
    /// age identity file or SSH private key; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// File that holds the passphrase
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// File that holds the unlock code
    #[arg(long, value_name = "FILE")]
    pub unlock_code_file: Option<PathBuf>,
    /// Ask the key service (AWS KMS) to open the volumes; credentials come from the usual places
    #[arg(long)]
    pub kms: bool,
    /// Endpoint of the key service, if it is not AWS
    #[arg(long, value_name = "URL")]
    pub kms_endpoint_url: Option<String>,
    /// File that holds one officer's share of a key; give as many as are needed
    #[arg(long, value_name = "FILE")]
    pub share: Vec<PathBuf>,
}

impl KeyArgs {
    /// Whether no option of the group was given.
    pub fn is_empty(&self) -> bool {
        self.identity.is_empty()
            && self.passphrase_file.is_none()
            && self.unlock_code_file.is_none()
            && self.share.is_empty()
            && !self.kms
    }

    /// Everything the user brought, for volumes of the job with that salt ([`crate::format::VolumeHeader::job_salt`]).
    /// Asks on the terminal when no option was given. A passphrase takes about a second, on purpose.
    ///
    /// # Errors
    /// Exit code 5: a file cannot be read or is not a key, a code is mistyped, or there is no key and no terminal.
    pub fn identities(&self, job_salt: &[u8; 32]) -> Result<Identities, Failure> {
        let mut identities = Identities::none();
        for path in &self.identity {
            identities.add_file(&read_key_file(path)?).map_err(|error| unusable(path, error))?;
        }
        if let Some(path) = &self.passphrase_file {
            add_passphrase(&mut identities, &read_key_file(path)?, job_salt)?;
        }
        if let Some(path) = &self.unlock_code_file {
            add_code(&mut identities, &read_code(path)?, job_salt)?;
        }
        if !self.share.is_empty() {
            let shares = self.share.iter().map(|path| read_share(path)).collect::<Result<Vec<_>, _>>()?;
            let joined = join_shares(&shares).map_err(|error| {
                let hint = "ask further officers for theirs: --share FILE for each".to_owned();
                Failure::of(Exit::Key, "the shares give no key", Some(hint), error)
            })?;
            identities.add_text(&joined.secret).map_err(derivation)?;
        }
        if self.is_empty() {
            ask(&mut identities, job_salt)?;
        }
        Ok(identities)
    }

    /// Opens volumes of one job, in any order, with their keys; asks for the key at most once.
    ///
    /// # Errors
    /// Exit code 5 when a key is missing or wrong, 6 when a volume is, else what is wrong with a volume.
    pub fn open_volumes(&self, world: &World, paths: &[PathBuf]) -> Result<Vec<(Volume, Keyring)>, Failure> {
        let open =
            |path: &PathBuf| Volume::open(Arc::clone(&world.fs), path).map_err(|error| volume_failure(path, error));
        let volumes = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = volumes.first() else { return Ok(Vec::new()) };
        let mut identities = self.identities(&first.header().job_salt)?;
        self.ask_service(&mut identities, &volumes)?;
        let with_keys = |volume: Volume| {
            let keyring = Keyring::open(&volume, &identities).map_err(|error| volume_failure(volume.root(), error))?;
            Ok((volume, keyring))
        };
        volumes.into_iter().map(with_keys).collect()
    }

    /// Recipients that fit what the user brought, as far as they follow from it.
    ///
    /// # Errors
    /// Exit code 5, as for [`KeyArgs::identities`].
    pub fn recipients(&self, job_salt: &[u8; 32]) -> Result<Vec<String>, Failure> {
        let mut recipients = Vec::new();
        for path in &self.identity {
            recipients.extend(Identities::recipients_of_file(&read_key_file(path)?));
        }
        if let Some(path) = &self.passphrase_file {
            let identity = identity_from_passphrase(&read_key_file(path)?, job_salt).map_err(derived)?;
            recipients.push(identity.recipient);
        }
        if let Some(path) = &self.unlock_code_file {
            recipients.push(identity_from_unlock_code(&read_code(path)?, job_salt).map_err(derived)?.recipient);
        }
        Ok(recipients)
    }

    /// Adds what the key service opens of these volumes' envelopes, if it is to be asked: one call for each, under a
    /// context that names job and volume. One that opens is enough for a volume.
    ///
    /// # Errors
    /// Exit code 5 when a volume has no envelope, or none that the service opens.
    pub fn ask_service<'v>(
        &self,
        identities: &mut Identities,
        volumes: impl IntoIterator<Item = &'v Volume>,
    ) -> Result<(), Failure> {
        if !self.kms {
            return Ok(());
        }
        let service = LazyService::new(self.kms_endpoint_url.as_deref());
        for volume in volumes {
            let header = volume.header();
            let envelopes = read_envelopes(volume).map_err(|error| volume_failure(volume.root(), error))?;
            if envelopes.is_empty() {
                let message = format!("volume {} is not wrapped for a key service", header.number);
                return Err(Failure::new(Exit::Key, message, HINT));
            }
            let (mut is_open, mut refused) = (false, None);
            for (path, envelope) in envelopes {
                match open_envelope(&service, &envelope, header.job, header.volume) {
                    Ok(opened) => {
                        identities.add_text(&opened.secret).map_err(derivation)?;
                        is_open = true;
                    }
                    Err(error) => refused = Some((path, error)),
                }
            }
            if let Some((path, error)) = refused.filter(|_| !is_open) {
                let hint = Some(SERVICE_HINT.to_owned());
                return Err(Failure::of(Exit::Key, format!("envelope {}", path.display()), hint, error));
            }
        }
        Ok(())
    }

    /// The run keys of a volume that these identities open.
    ///
    /// # Errors
    /// Exit code 5 when nothing opens, else what is wrong with the key or the slots.
    pub fn keyring(&self, volume: &Volume) -> Result<Keyring, Failure> {
        let mut identities = self.identities(&volume.header().job_salt)?;
        self.ask_service(&mut identities, [volume])?;
        Keyring::open(volume, &identities).map_err(|error| volume_failure(volume.root(), error))
    }
}

/// A key service that is connected to when it is first asked.
pub struct LazyService {
    endpoint_url: Option<String>,
    connected: OnceLock<kms::AwsKms>,
}

impl LazyService {
    /// Not connected yet.
    pub fn new(endpoint_url: Option<&str>) -> Self {
        Self { endpoint_url: endpoint_url.map(str::to_owned), connected: OnceLock::new() }
    }

    /// The service's address, and whom to trust there: `AWS_CA_BUNDLE`, as in every AWS tool.
    fn place(&self) -> Result<kms::Place, crate::crypto::Error> {
        let named = std::env::var("AWS_CA_BUNDLE").ok();
        let trust = named.map(|path| certificates(&path)).transpose().map_err(|why| crate::crypto::Error::Service {
            doing: "cannot be trusted as AWS_CA_BUNDLE says".to_owned(),
            source: why.into(),
        })?;
        Ok(kms::Place { endpoint_url: self.endpoint_url.clone(), trust })
    }

    fn get(&self) -> Result<&kms::AwsKms, crate::crypto::Error> {
        match self.connected.get() {
            Some(service) => Ok(service),
            None => {
                let service = kms::AwsKms::connect(&self.place()?)?;
                Ok(self.connected.get_or_init(|| service))
            }
        }
    }
}

impl KeyService for LazyService {
    fn generate(&self, key: &str, context: &[(&str, String)]) -> Result<DataKey, crate::crypto::Error> {
        self.get()?.generate(key, context)
    }

    fn open(
        &self,
        key: &str,
        wrapped: &[u8],
        context: &[(&str, String)],
    ) -> Result<Zeroizing<Vec<u8>>, crate::crypto::Error> {
        self.get()?.open(key, wrapped, context)
    }
}

/// The failure a volume error is: its exit code and what to do about it.
pub fn volume_failure(path: &Path, error: volume::Error) -> Failure {
    use crate::crypto::Error as CryptoError;
    let (exit, hint) = match &error {
        volume::Error::NoKey { .. }
        | volume::Error::Crypto { source: CryptoError::NoMatchingIdentity | CryptoError::WrongKey { .. }, .. } => {
            (Exit::Key, Some("the key given is not one this volume was made for; ".to_owned() + HINT))
        }
        volume::Error::NotAVolume { .. } | volume::Error::OtherJob { .. } => {
            (Exit::Volume, Some("is the right drive mounted there?".to_owned()))
        }
        volume::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::Volume, Some("is the right drive mounted there?".to_owned()))
        }
        error if error.is_full() => (Exit::Volume, Some("the volume is full; give another one".to_owned())),
        volume::Error::Io { .. } => (Exit::Failed, None),
        _ => (Exit::Integrity, Some("see what is lost: packmule verify VOLUME".to_owned())),
    };
    Failure::of(exit, format!("volume {}", path.display()), hint, error)
}

/// Bytes of a key file.
///
/// # Errors
/// Exit code 5 when it cannot be read.
pub(super) fn read_key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_secret(path, KEY_FILE_BYTES_MAX).map_err(|error| {
        Failure::of(Exit::Key, format!("cannot read key file {}", path.display()), Some(HINT.to_owned()), error)
    })
}

fn derivation(error: crate::crypto::Error) -> Failure {
    Failure::of(Exit::Key, "the key cannot be used", None, error)
}

/// The share in a file.
fn read_share(path: &Path) -> Result<Share, Failure> {
    let text = read_key_file(path)?;
    Share::parse(&String::from_utf8_lossy(&text)).map_err(|error| {
        let hint = "compare it with what its officer has".to_owned();
        Failure::of(Exit::Key, format!("share {}", path.display()), Some(hint), error)
    })
}

/// The unlock code in a file.
///
/// # Errors
/// Exit code 5 when it cannot be read or is mistyped.
pub(super) fn read_code(path: &Path) -> Result<UnlockCode, Failure> {
    let bytes = read_key_file(path)?;
    UnlockCode::parse(std::str::from_utf8(&bytes).unwrap_or_default()).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: crate::crypto::Error) -> Failure {
    Failure::of(Exit::Key, format!("key file {} is of no use", path.display()), Some(HINT.to_owned()), error)
}

fn derived(error: crate::crypto::Error) -> Failure {
    Failure::of(Exit::Key, "no key could be derived", None, error)
}

fn add_passphrase(identities: &mut Identities, passphrase: &[u8], job_salt: &[u8; 32]) -> Result<(), Failure> {
    let identity = identity_from_passphrase(passphrase, job_salt).map_err(derived)?;
    identities.add_text(&identity.secret).map_err(derived)
}

fn add_code(identities: &mut Identities, code: &UnlockCode, job_salt: &[u8; 32]) -> Result<(), Failure> {
    let identity = identity_from_unlock_code(code, job_salt).map_err(derived)?;
    identities.add_text(&identity.secret).map_err(derived)
}

/// What a person typed: a right unlock code, something that was meant to be one, or a passphrase.
fn ask(identities: &mut Identities, job_salt: &[u8; 32]) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        let asked = prompt_hidden("Passphrase or unlock code: ");
        let typed = asked.map_err(|error| Failure::of(Exit::Key, "the terminal gave no key", None, error))?;
        let typed = typed.ok_or_else(|| Failure::new(Exit::Key, "no key was given, and there is no terminal", HINT))?;
        match UnlockCode::parse(&typed) {
            Ok(code) => return add_code(identities, &code, job_salt),
            Err(error) if looks_like_a_code(&typed) => super::exit::warn(&error),
            Err(_) => return add_passphrase(identities, typed.as_bytes(), job_salt),
        }
    }
    Err(Failure::new(Exit::Key, "the unlock code stays mistyped", "compare it with the printed one"))
}

/// Five groups of about five letters and digits: nobody's passphrase, but a code with a slip in it.
fn looks_like_a_code(typed: &str) -> bool {
    let groups: Vec<&str> = typed.trim().split('-').collect();
    groups.len() == 5
        && groups.iter().all(|group| (4..=6).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Recipients, RunKey, new_identity, open_slot, seal_slot};
    use crate::format::JobId;
    use crate::sys::random::SeededRandom;
    use crate::sys::secrets::write_secret_new;

    const JOB: JobId = JobId([1; 16]);
    const SALT: [u8; 32] = [2; 32];

    fn opens(args: &KeyArgs, recipient: &str) -> bool {
        let run = RunKey::fresh(&SeededRandom::new(9));
        let recipients = Recipients::parse([recipient]).expect("a recipient");
        let slot = seal_slot(JOB, &run, &recipients).expect("wraps");
        let identities = args.identities(&SALT).expect("usable");
        open_slot(&slot, JOB, run.run(), &identities).is_ok()
    }

    #[test]
    fn each_kind_of_key_file_opens_what_was_made_for_it() {
        let random = SeededRandom::new(1);
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            write_secret_new(&path, text.as_bytes()).expect("new");
            path
        };
        let person = new_identity(&random).expect("makes");
        let identity = vec![file("id", &format!("# a comment\n{}\n", *person.secret))];
        assert!(opens(&KeyArgs { identity, ..KeyArgs::default() }, &person.recipient));

        let by_passphrase = identity_from_passphrase(b"correct horse", &SALT).expect("derives");
        let args = KeyArgs { passphrase_file: Some(file("pass", "correct horse\n")), ..KeyArgs::default() };
        assert!(opens(&args, &by_passphrase.recipient));

        let code = UnlockCode::fresh(&random);
        let by_code = identity_from_unlock_code(&code, &SALT).expect("derives");
        let args = KeyArgs { unlock_code_file: Some(file("code", &code.reveal())), ..KeyArgs::default() };
        assert!(opens(&args, &by_code.recipient));
        assert!(!opens(&args, &person.recipient), "another key opens nothing");
    }

    #[test]
    fn unusable_key_files_end_with_exit_code_5_and_are_not_quoted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("junk");
        write_secret_new(&path, b"SECRETJUNK").expect("new");
        let missing = KeyArgs { identity: vec![dir.path().join("none")], ..KeyArgs::default() };
        let junk = KeyArgs { identity: vec![path.clone()], ..KeyArgs::default() };
        let code = KeyArgs { unlock_code_file: Some(path), ..KeyArgs::default() };
        for args in [missing, junk, code] {
            let failure = args.identities(&SALT).err().expect("refused");
            assert_eq!(failure.exit, Exit::Key);
            let shown = format!("{failure:?}");
            assert!(!shown.contains("SECRETJUNK"), "{shown}");
        }
    }

    #[test]
    fn a_code_with_a_slip_is_told_from_a_passphrase() {
        assert!(looks_like_a_code("ABCDE-FGHJK-MNPQR-STVWX-YZ01"));
        assert!(!looks_like_a_code("correct-horse-battery-staple-x"));
        assert!(!looks_like_a_code("correct horse battery staple"));
    }
}

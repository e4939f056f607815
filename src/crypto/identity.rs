//! Recipients a slot is wrapped for, identities that open it, and the identities made from passphrases and unlock codes.
//! manifests/formats/key-slots.md section 3.

use age::secrecy::ExposeSecret;
use bech32::Hrp;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto::{Error, UnlockCode};
use crate::format::SlotRecipient;
use crate::sys::RandomSource;

const SECRET_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");
/// Cost of a passphrase guess: 128 MiB of memory. Source: key-slots.md section 3.
const SCRYPT_LOG_N: u8 = 17;

/// The people and codes a job's slots are wrapped for, as age understands them.
pub struct Recipients {
    parsed: Vec<Box<dyn age::Recipient + Send>>,
    named: Vec<SlotRecipient>,
}

impl Recipients {
    /// Reads recipients as text: `age1...`, `ssh-ed25519 ...`, `ssh-rsa ...`, or a plugin's `age1NAME1...`.
    ///
    /// # Errors
    /// Names the first that age does not understand, or whose plugin is not installed.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        Self::of(&texts.into_iter().map(SlotRecipient::of).collect::<Vec<_>>())
    }

    /// Recipients whose kinds are known.
    ///
    /// # Errors
    /// Names the first that age does not understand, or whose plugin is not installed.
    pub fn of(named: &[SlotRecipient]) -> Result<Self, Error> {
        let parsed = named.iter().map(|recipient| parse_recipient(&recipient.text)).collect::<Result<_, _>>()?;
        Ok(Self { parsed, named: named.to_vec() })
    }

    /// The same as they were given.
    pub fn named(&self) -> &[SlotRecipient] {
        &self.named
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.parsed.iter().map(|recipient| recipient.as_ref() as &dyn age::Recipient)
    }
}

fn parse_recipient(text: &str) -> Result<Box<dyn age::Recipient + Send>, Error> {
    let wrong = |reason: String| Error::Recipient { text: text.to_owned(), reason };
    if let Ok(recipient) = text.parse::<age::x25519::Recipient>() {
        return Ok(Box::new(recipient));
    }
    if text.starts_with("ssh-") {
        let recipient = text.parse::<age::ssh::Recipient>();
        return recipient.map(|recipient| Box::new(recipient) as _).map_err(|error| wrong(format!("{error:?}")));
    }
    let plugin: age::plugin::Recipient =
        text.parse().map_err(|_| wrong("not an age, SSH or plugin recipient".to_owned()))?;
    let name = plugin.plugin().to_owned();
    age::plugin::RecipientPluginV1::new(&name, &[plugin], &[], age::NoCallbacks)
        .map(|recipient| Box::new(recipient) as _)
        .map_err(|error| wrong(error.to_string()))
}

/// What a user brought to open slots. Has no `Debug`.
#[derive(Default)]
pub struct Identities(Vec<Box<dyn age::Identity>>);

impl Identities {
    /// None yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the identities of an age identity file or an unencrypted SSH private key.
    ///
    /// # Errors
    /// When the text is neither; the message never quotes it.
    pub fn add_file(&mut self, text: &[u8]) -> Result<(), Error> {
        let wrong = |reason: String| Error::Identity { reason };
        if text.starts_with(b"-----BEGIN") {
            let identity = age::ssh::Identity::from_buffer(text, None).map_err(|error| wrong(error.to_string()))?;
            self.0.push(Box::new(identity));
            return Ok(());
        }
        let is_share = |line: &[u8]| line.get(..15).is_some_and(|head| head.eq_ignore_ascii_case(b"packmule-share-"));
        if text.split(|byte| *byte == b'\n').any(is_share) {
            return Err(wrong("it is one officer's share: give it as --share, with the others".to_owned()));
        }
        let file = age::IdentityFile::from_buffer(text).map_err(|error| wrong(error.to_string()))?;
        let identities = file.into_identities().map_err(|error| wrong(error.to_string()))?;
        if identities.is_empty() {
            return Err(wrong("it holds no identity".to_owned()));
        }
        self.0.extend(identities.into_iter().map(|identity| identity as Box<dyn age::Identity>));
        Ok(())
    }

    /// Recipients of the X25519 identities in an age identity file: who holds the file can be written to again. SSH keys and
    /// plugins tell theirs otherwise.
    pub fn recipients_of_file(text: &[u8]) -> Vec<String> {
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let identities = lines.filter_map(|line| line.trim().parse::<age::x25519::Identity>().ok());
        identities.map(|identity| identity.to_public().to_string()).collect()
    }

    /// Adds one identity in its text form, as [`identity_from_passphrase`] and the others make it.
    ///
    /// # Errors
    /// When it is not an X25519 identity.
    pub fn add_text(&mut self, identity: &str) -> Result<(), Error> {
        let parsed: age::x25519::Identity =
            identity.trim().parse().map_err(|reason: &str| Error::Identity { reason: reason.to_owned() })?;
        self.0.push(Box::new(parsed));
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// Secret and public halves of an X25519 identity, as text.
pub struct IdentityText {
    /// `AGE-SECRET-KEY-1...`
    pub secret: Zeroizing<String>,
    /// `age1...`
    pub recipient: String,
}

/// A new random identity.
///
/// # Errors
/// Never with 32 random bytes; the signature is that of encoding.
pub fn new_identity(random: &dyn RandomSource) -> Result<IdentityText, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(&mut *seed);
    from_seed(&seed)
}

/// The identity a passphrase stands for in a job with that salt. Takes about a second and 128 MiB, on purpose.
///
/// # Errors
/// Never with the parameters of this format; the signature is that of derivation.
pub fn identity_from_passphrase(passphrase: &[u8], job_salt: &[u8; 32]) -> Result<IdentityText, Error> {
    let params = scrypt::Params::new(SCRYPT_LOG_N, 8, 1).expect("N = 2^17, r = 8, p = 1 are within scrypt's limits");
    let salt = [b"packmule/1 passphrase".as_slice(), job_salt].concat();
    let mut seed = Zeroizing::new([0; 32]);
    scrypt::scrypt(trim_line_end(passphrase), &salt, &params, &mut *seed).expect("32 bytes is a valid length");
    from_seed(&seed)
}

/// The identity an unlock code stands for in a job with that salt.
///
/// # Errors
/// Never with a checked code; the signature is that of derivation.
pub fn identity_from_unlock_code(code: &UnlockCode, job_salt: &[u8; 32]) -> Result<IdentityText, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(job_salt), &code.characters())
        .expand(b"packmule/1 unlock-code", &mut *seed)
        .expect("32 bytes are within HKDF-SHA-256's limit");
    from_seed(&seed)
}

fn trim_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The secret of an identity in its text form.
pub(super) fn seed_of(secret: &str) -> Result<Zeroizing<[u8; 32]>, Error> {
    let wrong = |reason: &str| Error::Identity { reason: reason.to_owned() };
    let (prefix, bytes) = bech32::decode(secret).map_err(|_| wrong("it is not an age identity"))?;
    let bytes = Zeroizing::new(bytes);
    let mut seed = Zeroizing::new([0; 32]);
    if prefix != SECRET_PREFIX || bytes.len() != seed.len() {
        return Err(wrong("it is not an age identity"));
    }
    seed.copy_from_slice(&bytes);
    Ok(seed)
}

/// The identity whose secret is `seed`.
pub(super) fn from_seed(seed: &[u8; 32]) -> Result<IdentityText, Error> {
    let wrong = |reason: String| Error::Identity { reason };
    let secret =
        bech32::encode_upper::<bech32::Bech32>(SECRET_PREFIX, seed).map_err(|error| wrong(error.to_string()))?;
    let secret = Zeroizing::new(secret);
    let identity: age::x25519::Identity = secret.parse().map_err(|reason: &str| wrong(reason.to_owned()))?;
    debug_assert_eq!(identity.to_string().expose_secret(), secret.as_str());
    Ok(IdentityText { recipient: identity.to_public().to_string(), secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::SeededRandom;

    #[test]
    fn the_same_passphrase_and_salt_give_the_same_identity_and_others_do_not() {
        let recipient =
            |passphrase: &[u8], salt| identity_from_passphrase(passphrase, &[salt; 32]).expect("derives").recipient;
        let first = recipient(b"correct horse", 1);
        assert_eq!(first, recipient(b"correct horse\r\n", 1), "a line end is not part of a passphrase");
        assert_ne!(first, recipient(b"correct horse ", 1));
        assert_ne!(first, recipient(b"correct horse", 2));
    }

    #[test]
    fn an_unlock_code_typed_in_any_way_gives_one_identity() {
        let code = UnlockCode::fresh(&SeededRandom::new(7));
        let typed = UnlockCode::parse(&code.reveal().to_lowercase()).expect("its own text");
        let a = identity_from_unlock_code(&code, &[1; 32]).expect("derives");
        let b = identity_from_unlock_code(&typed, &[1; 32]).expect("derives");
        assert_eq!(a.recipient, b.recipient);
        assert_ne!(a.recipient, identity_from_unlock_code(&code, &[2; 32]).expect("derives").recipient);
    }

    #[test]
    fn texts_that_are_no_recipient_or_identity_are_refused_without_quoting_secrets() {
        assert!(Recipients::parse(["age1qqqq"]).is_err());
        assert!(Recipients::parse(["hello"]).is_err());
        let mut identities = Identities::none();
        let error = identities.add_file(b"AGE-SECRET-KEY-1NOTREALLYASECRET\n").expect_err("refused").to_string();
        assert!(!error.contains("NOTREALLY"), "{error}");
        assert!(identities.add_file(b"# only a comment\n").is_err());
    }
}

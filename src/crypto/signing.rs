//! Signatures: Ed25519 keys of jobs and of people who keep custody, and how a public key is read out.
//! manifests/formats/custody.md sections 2 and 5.

use std::fmt;

use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use crate::crypto::Error;
use crate::digest::sha256;
use crate::sys::RandomSource;

/// First line of a signing key file.
const INTRO: &str = "packmule-signing-key 1";
/// Consonants and vowels of the words of a fingerprint: four and two bits each.
const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";
/// Words of a fingerprint, 16 bits each.
const WORDS: usize = 6;

/// Public half of a signing key.
pub type PublicKey = [u8; 32];
/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// What a signature is about. A signature made for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The seal of a volume.
    Seal,
    /// An entry of a custody log.
    Custody,
    /// A proof of transfer.
    Proof,
    /// A certificate of erasure.
    Erasure,
}

impl Purpose {
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Seal => b"packmule/1 sign seal\0",
            Self::Custody => b"packmule/1 sign custody\0",
            Self::Proof => b"packmule/1 sign proof\0",
            Self::Erasure => b"packmule/1 sign erasure\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.domain(), bytes].concat()
    }
}

/// A key that signs. Wiped when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

impl SigningKey {
    /// A new random key.
    pub fn fresh(random: &dyn RandomSource) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(&mut *seed);
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads a signing key file.
    ///
    /// # Errors
    /// When it is none; the message never quotes it.
    pub fn from_text(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = || Error::Identity { reason: "it is not a signing key file of this program".to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let (Some(INTRO), Some(digits), None) = (lines.next(), lines.next(), lines.next()) else {
            return Err(wrong());
        };
        let seed = crate::format::parse_hex(digits).map(Zeroizing::new).ok_or_else(wrong)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// The text of a signing key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(self.0.to_bytes());
        let digits = Zeroizing::new(crate::format::hex(&*seed));
        Zeroizing::new(format!("{INTRO}\n# public: {}\n{}\n", crate::format::hex(&self.public()), *digits))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs.
    pub fn sign(&self, purpose: Purpose, bytes: &[u8]) -> Signature {
        self.0.sign(&purpose.message(bytes)).to_bytes()
    }

    /// A secret of the holder of this key for another use: what is derived tells nothing about the key.
    pub fn derive(&self, label: &[u8], context: &[u8]) -> Zeroizing<[u8; 32]> {
        let seed = Zeroizing::new(self.0.to_bytes());
        let mut out = Zeroizing::new([0; 32]);
        hkdf::Hkdf::<sha2::Sha256>::new(Some(label), &*seed)
            .expand(context, &mut *out)
            .expect("32 bytes are within HKDF-SHA-256's limit");
        out
    }
}

/// Whether that key signed those bytes for that purpose. Strict: no weak keys, no second form of a signature.
pub fn is_signed(key: &PublicKey, purpose: Purpose, bytes: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(&purpose.message(bytes), &signature).is_ok())
}

/// A public key as six words that can be read out over a telephone: 96 bits of its SHA-256, each word 16 bits as
/// consonant, vowel, consonant, vowel, consonant (the proquint spelling).
pub fn fingerprint(key: &PublicKey) -> String {
    let digest = sha256(key);
    let words = digest.chunks_exact(2).take(WORDS).map(|pair| {
        let value = usize::from(u16::from_be_bytes([pair[0], pair[1]]));
        let letter = |shift: u32, alphabet: &[u8]| char::from(alphabet[value >> shift & (alphabet.len() - 1)]);
        let (c, v) = (CONSONANTS.as_slice(), VOWELS.as_slice());
        [letter(12, c), letter(10, v), letter(6, c), letter(4, v), letter(0, c)].iter().collect::<String>()
    });
    words.collect::<Vec<_>>().join("-")
}

/// Whether a text names that key: its 64 hex digits, or the words of its fingerprint in any case, with spaces or hyphens.
pub fn is_named(key: &PublicKey, text: &str) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let text = plain(text);
    text == crate::format::hex(key) || text == plain(&fingerprint(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::SeededRandom;

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_bytes_only() {
        let random = SeededRandom::new(1);
        let (key, other) = (SigningKey::fresh(&random), SigningKey::fresh(&random));
        let good = key.sign(Purpose::Seal, b"a volume");
        assert!(is_signed(&key.public(), Purpose::Seal, b"a volume", &good));
        assert!(!is_signed(&key.public(), Purpose::Seal, b"a volumf", &good));
        assert!(!is_signed(&key.public(), Purpose::Custody, b"a volume", &good));
        assert!(!is_signed(&other.public(), Purpose::Seal, b"a volume", &good));
        for bit in 0..512 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_signed(&key.public(), Purpose::Seal, b"a volume", &bad), "bit {bit}");
        }
        assert!(!is_signed(&[0; 32], Purpose::Seal, b"a volume", &[0; 64]), "a weak key vouches for nothing");
    }

    #[test]
    fn a_key_file_reads_back_and_anything_else_is_refused_without_being_quoted() {
        let key = SigningKey::fresh(&SeededRandom::new(2));
        let text = key.to_text();
        assert_eq!(SigningKey::from_text(text.as_bytes()).expect("its own text").public(), key.public());
        for bad in [text.replace(" 1\n", " 2\n"), text.trim_end().to_owned() + "0\n", "DEADBEEF".to_owned()] {
            let error = SigningKey::from_text(bad.as_bytes()).expect_err("refused").to_string();
            assert!(!error.contains("DEADBEEF"), "{error}");
        }
        assert_eq!(format!("{key:?}"), "SigningKey(hidden)");
    }

    #[test]
    fn a_key_is_known_by_its_words_however_they_are_typed() {
        let key = SigningKey::fresh(&SeededRandom::new(3)).public();
        let words = fingerprint(&key);
        assert_eq!((words.split('-').count(), words.len()), (6, 35));
        assert!(is_named(&key, &words.to_uppercase().replace('-', " ")) && is_named(&key, &crate::format::hex(&key)));
        assert!(!is_named(&key, "") && !is_named(&key, &words[..29]));
    }
}

//! k of n: an X25519 identity whose secret is split among officers, any k of whom can put it together again.
//! manifests/formats/key-slots.md section 3.
//!
//! The stager only ever sees the public half, so a slot for officers is an ordinary age slot. The arithmetic is Shamir's,
//! over GF(256), by the `blahaj` crate; this file is the text of a share and the checks around it.

use std::convert::Infallible;

use bech32::{Bech32m, Hrp};
use blahaj::{Share as Point, Sharks};
use zeroize::Zeroizing;

use crate::crypto::identity::{IdentityText, from_seed, seed_of};
use crate::crypto::{Error, new_identity};
use crate::digest::sha256;
use crate::sys::RandomSource;

const PREFIX: Hrp = Hrp::parse_unchecked("packmule-share-");
const VERSION: u8 = 1;
/// version, k, n, 4 bytes of the recipient's SHA-256, the point's place, its 32 values.
const SHARE_BYTES: usize = 3 + 4 + 1 + 32;

/// One officer's share. Has no `Debug`.
#[derive(Clone)]
pub struct Share {
    threshold: u8,
    total: u8,
    set: [u8; 4],
    point: Zeroizing<[u8; 33]>,
}

/// Draws an identity and splits it among `total` people, any `threshold` of whom can put it together. The whole secret
/// exists only inside this call.
///
/// # Errors
/// Unless 2 <= threshold <= total.
pub fn split_new(random: &dyn RandomSource, threshold: u8, total: u8) -> Result<(String, Vec<Share>), Error> {
    if threshold < 2 || threshold > total {
        let reason = format!("{threshold} of {total}: at least 2 must be needed, and no more than there are");
        return Err(Error::Share { reason });
    }
    let identity = new_identity(random)?;
    let seed = seed_of(&identity.secret)?;
    let set = set_of(&identity.recipient);
    let mut source = Source(random);
    let points = Sharks(threshold).dealer_rng(&*seed, &mut source).take(usize::from(total));
    let shares = points.map(|point| {
        let bytes = Zeroizing::new(Vec::<u8>::from(&point));
        let mut kept = Zeroizing::new([0; 33]);
        kept.copy_from_slice(&bytes);
        Share { threshold, total, set, point: kept }
    });
    Ok((identity.recipient.clone(), shares.collect()))
}

/// Puts an identity together again.
///
/// # Errors
/// When the shares are too few, repeated, of different sets, or do not give the identity they were made from.
pub fn join_shares(shares: &[Share]) -> Result<IdentityText, Error> {
    let wrong = |reason: String| Error::Share { reason };
    let first = shares.first().ok_or_else(|| wrong("none was given".to_owned()))?;
    if shares.iter().any(|share| (share.set, share.threshold) != (first.set, first.threshold)) {
        return Err(wrong("they are not of one set".to_owned()));
    }
    let mut places: Vec<u8> = shares.iter().map(|share| share.point[0]).collect();
    places.sort_unstable();
    places.dedup();
    if places.len() < usize::from(first.threshold) {
        let (have, need) = (places.len(), first.threshold);
        return Err(wrong(format!("{have} of the {need} that are needed are here (of {} in all)", first.total)));
    }
    let points: Vec<Point> = shares.iter().filter_map(|share| Point::try_from(share.point.as_slice()).ok()).collect();
    let joined = Sharks(first.threshold).recover(&points).map_err(|reason| wrong(reason.to_owned()))?;
    let joined = Zeroizing::new(joined);
    let mut seed = Zeroizing::new([0; 32]);
    if joined.len() != seed.len() {
        return Err(wrong("they do not give a key".to_owned()));
    }
    seed.copy_from_slice(&joined);
    let identity = from_seed(&seed)?;
    match set_of(&identity.recipient) == first.set {
        true => Ok(identity),
        false => Err(wrong("together they do not give the key they were made from".to_owned())),
    }
}

fn set_of(recipient: &str) -> [u8; 4] {
    let digest = sha256(recipient.as_bytes());
    [digest[0], digest[1], digest[2], digest[3]]
}

impl Share {
    /// The share as one word whose check characters tell when it is mistyped.
    ///
    /// # Errors
    /// Never for a share; the signature is that of encoding.
    pub fn to_text(&self) -> Result<Zeroizing<String>, Error> {
        let mut bytes = Zeroizing::new(vec![VERSION, self.threshold, self.total]);
        bytes.extend_from_slice(&self.set);
        bytes.extend_from_slice(&*self.point);
        let text = bech32::encode_upper::<Bech32m>(PREFIX, &bytes);
        text.map(Zeroizing::new).map_err(|error| Error::Share { reason: error.to_string() })
    }

    /// Reads a share; lines that start with `#` are skipped.
    ///
    /// # Errors
    /// When it is mistyped or not a share; the message never quotes it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Share { reason: reason.to_owned() };
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let line = line.ok_or_else(|| wrong("the file holds none"))?;
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(line)
            .map_err(|_| wrong("it is mistyped: its check characters do not fit"))?;
        let bytes = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
        let [VERSION, threshold, total, a, b, c, d, point @ ..] = bytes.as_slice() else {
            return Err(wrong("it is not a share of this version"));
        };
        if checked.hrp() != PREFIX || bytes.len() != SHARE_BYTES || point[0] == 0 || *threshold < 2 {
            return Err(wrong("it is not a share of this version"));
        }
        let mut kept = Zeroizing::new([0; 33]);
        kept.copy_from_slice(point);
        Ok(Self { threshold: *threshold, total: *total, set: [*a, *b, *c, *d], point: kept })
    }

    /// For people: which share of how many, and how many are needed.
    pub fn describe(&self) -> String {
        format!("share {} of {}; any {} together open", self.point[0], self.total, self.threshold)
    }
}

/// This crate's randomness, as the splitting wants it.
struct Source<'a>(&'a dyn RandomSource);

impl rand::TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand::TryCryptoRng for Source<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::SeededRandom;

    #[test]
    fn any_two_of_three_officers_open_and_one_alone_does_not() {
        let (recipient, shares) = split_new(&SeededRandom::new(1), 2, 3).expect("splits");
        for (a, b) in [(0, 1), (0, 2), (1, 2), (2, 0)] {
            let joined = join_shares(&[shares[a].clone(), shares[b].clone()]).expect("two are enough");
            assert_eq!(joined.recipient, recipient);
        }
        assert_eq!(join_shares(&shares).expect("three as well").recipient, recipient);
        for share in &shares {
            for few in [vec![share.clone()], vec![share.clone(), share.clone()]] {
                let error = join_shares(&few).err().expect("one is not enough").to_string();
                assert!(error.contains("1 of the 2"), "{error}");
            }
        }
    }

    #[test]
    fn shares_of_different_sets_and_altered_ones_are_refused() {
        let (_, one) = split_new(&SeededRandom::new(1), 2, 3).expect("splits");
        let (_, two) = split_new(&SeededRandom::new(2), 2, 3).expect("splits");
        assert!(join_shares(&[one[0].clone(), two[1].clone()]).is_err());
        let mut forged = one[1].clone();
        forged.point[5] ^= 1;
        assert!(join_shares(&[one[0].clone(), forged]).is_err(), "a false share is noticed");
        assert!(split_new(&SeededRandom::new(1), 1, 3).is_err() && split_new(&SeededRandom::new(1), 4, 3).is_err());
    }

    #[test]
    fn a_share_reads_back_and_every_wrong_character_is_noticed() {
        let (_, shares) = split_new(&SeededRandom::new(3), 3, 5).expect("splits");
        let text = shares[4].to_text().expect("encodes");
        let read = Share::parse(&format!("# from the safe\n{}\n", *text)).expect("its own text");
        assert_eq!((*read.point, read.describe()), (*shares[4].point, "share 5 of 5; any 3 together open".to_owned()));
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'Q' { b'P' } else { b'Q' };
            let typed = String::from_utf8(bytes).expect("ASCII");
            let error = Share::parse(&typed).err().expect("noticed").to_string();
            assert!(!error.contains(&typed[20..40]), "{error}");
        }
    }

    #[test]
    fn fewer_shares_than_needed_say_nothing_about_the_secret() {
        // Whatever the missing share were, some secret fits: the first share alone leaves every byte possible.
        let (_, shares) = split_new(&SeededRandom::new(4), 2, 3).expect("splits");
        let mut seen = std::collections::BTreeSet::new();
        for guess in 0..=255_u8 {
            let mut other = shares[1].clone();
            other.point[1] = guess;
            let points: Vec<Point> =
                [&shares[0], &other].iter().filter_map(|share| Point::try_from(share.point.as_slice()).ok()).collect();
            seen.insert(Sharks(2).recover(&points).expect("two points")[0]);
        }
        assert_eq!(seen.len(), 256);
    }
}

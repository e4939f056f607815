//! Sealing and opening of frames: AES-256-GCM with a counter nonce. manifests/formats/pack.md sections 3 to 5.
//!
//! Why no nonce is used twice: a `SealingKey` exists only with a salt drawn in the same call, hands out each index once
//! as a `FrameTicket` that is neither `Clone` nor `Copy`, and sealing consumes the ticket. An `OpeningKey`, whose salt
//! was read from a medium, has no function that seals.

use std::sync::atomic::{AtomicU32, Ordering};

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use crate::crypto::Error;
use crate::crypto::run::{Derived, RunKey};
use crate::format::{FRAME_HEADER_BYTES, Footer, FooterKeys, FrameHeader, FrameKind, PackHeader, TAG_BYTES};
use crate::sys::RandomSource;

/// Room a caller leaves at the front of a frame buffer for the frame header. Unit: bytes.
pub const FRAME_PREFIX_BYTES: usize = FRAME_HEADER_BYTES;

/// The right to seal one frame.
#[derive(Debug)]
#[must_use = "an index that is never sealed leaves a hole in the pack"]
pub struct FrameTicket(u32);

impl FrameTicket {
    /// Index of the frame.
    pub fn index(&self) -> u32 {
        self.0
    }
}

/// Seals the frames of one new file.
pub struct SealingKey {
    cipher: Aes256Gcm,
    header: PackHeader,
    next: AtomicU32,
}

impl SealingKey {
    /// Draws a salt, completes `header` with it and with the key's commitment, and makes the key. `header.run`,
    /// `salt` and `key_commitment` as given are overwritten.
    pub fn fresh(run: &RunKey, mut header: PackHeader, random: &dyn RandomSource) -> Self {
        header.run = run.run();
        random.fill(&mut header.salt);
        let derived = run.pack_key(&header, &header.salt);
        header.key_commitment = derived.commitment;
        Self { cipher: cipher(&derived), header, next: AtomicU32::new(0) }
    }

    /// The completed header.
    pub fn header(&self) -> &PackHeader {
        &self.header
    }

    /// The next index.
    ///
    /// # Errors
    /// When 2^32 - 1 frames were sealed.
    pub fn ticket(&self) -> Result<FrameTicket, Error> {
        self.next
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |next| next.checked_add(1))
            .map(FrameTicket)
            .map_err(|_| Error::Exhausted)
    }

    /// Index the next ticket will have.
    pub fn next_index(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Seals `frame`: on entry 32 bytes of room and the plaintext, on return a whole frame, 16 bytes longer.
    ///
    /// # Errors
    /// When the plaintext is longer than a frame's length field.
    pub fn seal(&self, ticket: FrameTicket, kind: FrameKind, frame: &mut Vec<u8>) -> Result<FrameHeader, Error> {
        seal_in_place(&self.cipher, &self.header, kind, ticket.0, FRAME_PREFIX_BYTES, frame)
    }
}

/// Opens the frames of one existing file.
pub struct OpeningKey {
    cipher: Aes256Gcm,
    header: PackHeader,
}

impl OpeningKey {
    /// Derives the key and compares it with the header's commitment.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when they differ, or the run is another one.
    pub fn from_header(run: &RunKey, header: &PackHeader) -> Result<Self, Error> {
        let derived = run.pack_key(header, &header.salt);
        if run.run() != header.run || derived.commitment != header.key_commitment {
            return Err(Error::WrongKey { what: "pack" });
        }
        Ok(Self { cipher: cipher(&derived), header: header.clone() })
    }

    /// Opens a body in place; on return `body` is the plaintext. On an error it is emptied: no unauthenticated byte
    /// leaves this function.
    ///
    /// # Errors
    /// [`Error::Tag`] when the tag does not verify.
    pub fn open(&self, frame: &FrameHeader, body: &mut Vec<u8>) -> Result<(), Error> {
        open_in_place(&self.cipher, &self.header, frame, body)
    }

    /// Opens a body that stays as it is into `plain`, whatever that held. On an error `plain` is emptied.
    ///
    /// It is copied and opened in place: from one place to another the cipher takes longer than the copy does.
    ///
    /// # Errors
    /// [`Error::Tag`] when the tag does not verify.
    pub fn open_into(&self, frame: &FrameHeader, body: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        plain.clear();
        plain.extend_from_slice(body);
        self.open(frame, plain)
    }
}

/// Seals a footer under a key of its own, which only this call ever has. Returns the whole frame.
///
/// # Errors
/// Never for a footer of this format; the signature is that of sealing.
pub fn seal_footer(
    run: &RunKey,
    header: &PackHeader,
    footer: &Footer,
    random: &dyn RandomSource,
) -> Result<(FrameHeader, Vec<u8>), Error> {
    let mut salt = [0; 32];
    random.fill(&mut salt);
    let derived = run.footer_key(header, &salt);
    let keys = FooterKeys { run: run.run(), salt, key_commitment: derived.commitment }.encode();
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    frame.extend_from_slice(&keys);
    frame.extend_from_slice(&footer.encode());
    let plain_at = FRAME_HEADER_BYTES + keys.len();
    let sealed = seal_in_place(&cipher(&derived), header, FrameKind::Footer, footer.frame_count, plain_at, &mut frame)?;
    Ok((sealed, frame))
}

/// Opens a footer's body.
///
/// # Errors
/// When the run is another one, the commitment differs, the tag does not verify or the content breaks the format.
pub fn open_footer(run: &RunKey, header: &PackHeader, frame: &FrameHeader, body: &[u8]) -> Result<Footer, Error> {
    let (keys, sealed) = FooterKeys::split(body)?;
    let derived = run.footer_key(header, &keys.salt);
    if run.run() != keys.run || derived.commitment != keys.key_commitment {
        return Err(Error::WrongKey { what: "footer" });
    }
    let mut plain = sealed.to_vec();
    open_in_place(&cipher(&derived), header, frame, &mut plain)?;
    Ok(Footer::decode(&plain)?)
}

fn cipher(derived: &Derived) -> Aes256Gcm {
    Aes256Gcm::new((&*derived.key).into())
}

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&index.to_le_bytes());
    nonce
}

fn aad(header: &PackHeader, kind: FrameKind, index: u32, body_bytes: u32) -> Vec<u8> {
    let mut aad = header.bound_bytes()[32..72].to_vec();
    aad.extend_from_slice(&FrameHeader::bound_bytes(kind, index, body_bytes));
    aad
}

/// `frame` holds header room, then plain body bytes up to `plain_at`, then the plaintext to seal.
fn seal_in_place(
    cipher: &Aes256Gcm,
    header: &PackHeader,
    kind: FrameKind,
    index: u32,
    plain_at: usize,
    frame: &mut Vec<u8>,
) -> Result<FrameHeader, Error> {
    const RECORD: &str = "frame";
    let body = frame.len() - FRAME_HEADER_BYTES + TAG_BYTES;
    let body_bytes = u32::try_from(body).map_err(|_| crate::format::Error::TooLarge {
        record: RECORD,
        field: "body_bytes",
        found: body as u64,
        limit: u32::MAX.into(),
    })?;
    let aad = aad(header, kind, index, body_bytes);
    let tag = cipher
        .encrypt_inout_detached(&nonce(index).into(), &aad, (&mut frame[plain_at..]).into())
        .expect("a frame is far below AES-GCM's limit of 2^36 bytes");
    frame.extend_from_slice(&tag);
    Ok(FrameHeader::write(kind, index, frame)?)
}

fn open_in_place(
    cipher: &Aes256Gcm,
    header: &PackHeader,
    frame: &FrameHeader,
    body: &mut Vec<u8>,
) -> Result<(), Error> {
    let aad = aad(header, frame.kind, frame.index, frame.body_bytes);
    let wrong = Error::Tag { index: frame.index };
    let Some(at) = body.len().checked_sub(TAG_BYTES) else {
        body.clear();
        return Err(wrong);
    };
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&body[at..]);
    body.truncate(at);
    match cipher.decrypt_inout_detached(&nonce(frame.index).into(), &aad, body.as_mut_slice().into(), &tag.into()) {
        Ok(()) => Ok(()),
        Err(_) => {
            body.clear();
            Err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{FooterReason, JobId, PackKind, RunId, VolumeId};
    use crate::sys::random::SeededRandom;

    fn header(number: u32) -> PackHeader {
        PackHeader {
            kind: PackKind::Pack,
            may_ignore: 0,
            job: JobId([1; 16]),
            volume: VolumeId([2; 16]),
            volume_number: 1,
            number,
            run: RunId([0; 16]),
            frame_plain_bytes_max: 4096,
            created_ns: 0,
            salt: [0; 32],
            key_commitment: [0; 32],
        }
    }

    fn sealed(key: &SealingKey, plain: &[u8]) -> (FrameHeader, Vec<u8>) {
        let mut frame = vec![0; FRAME_PREFIX_BYTES];
        frame.extend_from_slice(plain);
        let header = key.seal(key.ticket().expect("the first"), FrameKind::Data, &mut frame).expect("short");
        (header, frame[FRAME_HEADER_BYTES..].to_vec())
    }

    #[test]
    fn a_frame_opens_under_its_own_key_place_and_kind_only() {
        let random = SeededRandom::new(1);
        let run = RunKey::fresh(&random);
        let key = SealingKey::fresh(&run, header(1), &random);
        let (frame, body) = sealed(&key, b"the bytes of a lab");
        let opening = OpeningKey::from_header(&run, key.header()).expect("its own key");
        let open = |opening: &OpeningKey, frame: &FrameHeader| {
            let mut body = body.clone();
            opening.open(frame, &mut body).map(|()| body)
        };
        assert_eq!(open(&opening, &frame).expect("its own place"), b"the bytes of a lab");
        for moved in [
            FrameHeader { index: 1, ..frame },
            FrameHeader { kind: FrameKind::Entries, ..frame },
            FrameHeader { body_bytes: frame.body_bytes + 1, ..frame },
        ] {
            assert!(matches!(open(&opening, &moved), Err(Error::Tag { .. })), "{moved:?}");
        }
        let other = SealingKey::fresh(&run, header(1), &random);
        let other = OpeningKey::from_header(&run, other.header()).expect("its own key");
        assert!(open(&other, &frame).is_err(), "a second pack of the same number has a key of its own");
    }

    #[test]
    fn a_header_altered_or_moved_to_another_volume_does_not_fit_its_key() {
        let random = SeededRandom::new(2);
        let run = RunKey::fresh(&random);
        let key = SealingKey::fresh(&run, header(1), &random);
        let edits: [fn(&mut PackHeader); 6] = [
            |h| h.job.0[0] ^= 1,
            |h| h.volume.0[0] ^= 1,
            |h| h.number += 1,
            |h| h.volume_number += 1,
            |h| h.frame_plain_bytes_max += 1,
            |h| h.salt[0] ^= 1,
        ];
        for edit in edits {
            let mut altered = key.header().clone();
            edit(&mut altered);
            assert!(matches!(OpeningKey::from_header(&run, &altered), Err(Error::WrongKey { .. })));
        }
        let stranger = RunKey::fresh(&random);
        assert!(OpeningKey::from_header(&stranger, key.header()).is_err());
    }

    #[test]
    fn indexes_are_handed_out_once() {
        let random = SeededRandom::new(3);
        let key = SealingKey::fresh(&RunKey::fresh(&random), header(1), &random);
        let indexes: Vec<u32> = (0..5).map(|_| key.ticket().expect("few").index()).collect();
        assert_eq!(indexes, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn two_closings_of_one_pack_never_share_a_key() {
        let random = SeededRandom::new(4);
        let run = RunKey::fresh(&random);
        let key = SealingKey::fresh(&run, header(1), &random);
        let footer = Footer {
            frame_count: 7,
            commit_count: 1,
            at: 8192,
            data_plain_bytes: 1,
            record_count: 1,
            chain: [5; 32],
            reason: FooterReason::Cut,
        };
        let (frame, first) = seal_footer(&run, key.header(), &footer, &random).expect("short");
        let (_, second) = seal_footer(&run, key.header(), &footer, &random).expect("short");
        assert_ne!(first[FRAME_HEADER_BYTES..], second[FRAME_HEADER_BYTES..]);
        let body = &first[FRAME_HEADER_BYTES..];
        assert_eq!(open_footer(&run, key.header(), &frame, body).expect("its own key"), footer);
        let stranger = RunKey::fresh(&random);
        assert!(open_footer(&stranger, key.header(), &frame, body).is_err());
    }

    #[test]
    fn a_wrong_tag_releases_no_byte() {
        let random = SeededRandom::new(5);
        let run = RunKey::fresh(&random);
        let key = SealingKey::fresh(&run, header(1), &random);
        let (frame, body) = sealed(&key, &[7; 100]);
        let opening = OpeningKey::from_header(&run, key.header()).expect("its own key");
        for at in [0, 50, body.len() - 1] {
            let mut bad = body.clone();
            bad[at] ^= 1;
            let mut plain = b"of the frame before".to_vec();
            assert!(matches!(opening.open_into(&frame, &bad, &mut plain), Err(Error::Tag { .. })));
            assert!(plain.is_empty());
            assert!(opening.open(&frame, &mut bad).is_err());
            assert!(bad.is_empty());
        }
        let mut plain = b"of the frame before".to_vec();
        assert!(opening.open_into(&frame, &body[..TAG_BYTES - 1], &mut plain).is_err());
        assert!(plain.is_empty());
    }

    #[test]
    fn a_body_opened_elsewhere_stays_as_it_is() {
        let random = SeededRandom::new(6);
        let run = RunKey::fresh(&random);
        let key = SealingKey::fresh(&run, header(1), &random);
        let (frame, body) = sealed(&key, b"the bytes of a lab");
        let opening = OpeningKey::from_header(&run, key.header()).expect("its own key");
        for before in [Vec::new(), vec![9; 1000]] {
            let (sealed, mut plain) = (body.clone(), before);
            opening.open_into(&frame, &sealed, &mut plain).expect("its own key");
            assert_eq!((plain.as_slice(), &sealed), (b"the bytes of a lab".as_slice(), &body));
        }
    }
}

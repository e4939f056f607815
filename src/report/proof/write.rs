//! Writing a proof: one pass over the job, the signature at the end.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;

use crate::crypto::{Purpose, SigningKey};
use crate::digest::{MerkleTree, sha256};
use crate::format::{heads_digest, hex};
use crate::job::Job;
use crate::report::facts::{each_graded, volumes};
use crate::report::proof::entry::{Item, ProofEntry};
use crate::report::proof::{Claims, GradeCount, ProofError, ProofVolume, VERSION};
use crate::report::{Error, Stage};

/// Writes the proof of everything the job knows. Gives how many entries it has.
///
/// # Errors
/// When the job is not open for work, its database fails, or `out` does.
pub fn write_proof(job: &Job, now: Timestamp, out: &mut dyn Write) -> Result<u64, ProofError> {
    let key = job.signing_key().ok_or(ProofError::NoKey)?;
    let mut claims = Claims {
        job: job.id().to_string(),
        created: now.to_string(),
        program: concat!("packmule ", env!("CARGO_PKG_VERSION")).to_owned(),
        target: job.setting("ingest.destination")?.unwrap_or_default(),
        volumes: proof_volumes(job)?,
        ..Claims::default()
    };
    // Whoever makes the same proof again gets the same salts; nobody without the key can.
    let salts = key.derive(b"packmule/1 proof salts", format!("{} {}", claims.job, claims.created).as_bytes());
    head(&claims, out)?;
    let mut tree = MerkleTree::new();
    let mut grades: BTreeMap<_, GradeCount> = BTreeMap::new();
    each_graded(job, Stage::Completion, &volumes(job)?, |listed, grade| {
        let index = tree.count();
        let salt = salt(&salts, index);
        let item = Item { index, salt: hex(&salt), entry: ProofEntry::of(listed, grade), path: None };
        tree.push(item.entry.leaf(&salt));
        let evidence = grade.evidence.name().to_owned();
        let count = grades.entry(grade.evidence).or_insert(GradeCount { evidence, entries: 0, bytes: 0 });
        count.entries += 1;
        count.bytes += listed.bytes;
        write_item(&item, index == 0, out)
    })?;
    claims.count = tree.count();
    claims.grades = grades.into_values().collect();
    claims.root = tree.finish().0;
    tail(&claims, key, out)?;
    Ok(claims.count)
}

fn salt(salts: &[u8; 32], index: u64) -> [u8; 16] {
    let digest = sha256(&[salts.as_slice(), &index.to_le_bytes()].concat());
    let mut salt = [0; 16];
    salt.copy_from_slice(&digest[..16]);
    salt
}

fn proof_volumes(job: &Job) -> Result<Vec<ProofVolume>, ProofError> {
    let mut found = Vec::new();
    for row in job.volumes()? {
        let sealing = row.sealing.as_ref();
        found.push(ProofVolume {
            number: row.volume.number,
            volume: row.volume.id.to_string(),
            sealed: sealing.map(|sealing| sealing.at.to_string()).unwrap_or_default(),
            read_back: sealing.map(|sealing| sealing.read_back.clone()).unwrap_or_default(),
            sums_sha256: sealing.map(|sealing| hex(&sealing.sums_sha256)).unwrap_or_default(),
            custody: hex(&heads_digest(job.custody(row.volume.number)?.iter())),
        });
    }
    Ok(found)
}

pub(super) fn head(claims: &Claims, out: &mut dyn Write) -> Result<(), Error> {
    let text = format!(
        "{{\n\"packmule-proof\": {VERSION},\n\"job\": {},\n\"created\": {},\n\"program\": {},\n\"target\": {},\n\"volumes\": {},\n\"entries\": [\n",
        json(&claims.job)?,
        json(&claims.created)?,
        json(&claims.program)?,
        json(&claims.target)?,
        json(&claims.volumes)?,
    );
    out.write_all(text.as_bytes()).map_err(Error::Output)
}

pub(super) fn write_item(item: &Item, is_first: bool, out: &mut dyn Write) -> Result<(), Error> {
    if !is_first {
        out.write_all(b",\n").map_err(Error::Output)?;
    }
    serde_json::to_writer(&mut *out, item).map_err(|error| Error::Render(Box::new(error)))
}

fn tail(claims: &Claims, key: &SigningKey, out: &mut dyn Write) -> Result<(), Error> {
    let signature = hex(&key.sign(Purpose::Proof, &claims.signed_bytes()));
    write_tail(claims, &hex(&key.public()), &signature, out)
}

pub(super) fn write_tail(claims: &Claims, key: &str, signature: &str, out: &mut dyn Write) -> Result<(), Error> {
    let grades = json(&claims.grades)?;
    let text = format!(
        "\n],\n\"count\": {},\n\"grades\": {grades},\n\"root\": \"{}\",\n\"key\": \"{key}\",\n\"signature\": \"{signature}\"\n}}\n",
        claims.count,
        hex(&claims.root),
    );
    out.write_all(text.as_bytes()).map_err(Error::Output)
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Render(Box::new(error)))
}

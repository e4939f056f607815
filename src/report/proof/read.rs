//! Reading a proof as a stream and believing only what the signature covers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::crypto::{PublicKey, Purpose, Signature, is_signed};
use crate::digest::{MerkleTree, Sha256, climb, place_of};
use crate::format::parse_hex;
use crate::report::proof::entry::Item;
use crate::report::proof::{Claims, GradeCount, ProofEntry, ProofError, ProofVolume, VERSION};

/// Most entries of a proof that shows some of many; a proof of all has no limit.
const SHOWN_MAX: usize = 100_000;

/// A proof that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The job.
    pub job: String,
    /// When it was made.
    pub created: String,
    /// Where the objects are; empty: nowhere yet.
    pub target: String,
    /// The volumes that carried it.
    pub volumes: Vec<ProofVolume>,
    /// Entries below the root, shown or not.
    pub count: u64,
    /// Entries shown.
    pub shown: u64,
    /// What all entries came to.
    pub grades: Vec<GradeCount>,
    /// Key that signed.
    pub key: PublicKey,
}

/// Everything in the document but its entries, which were handed on.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) claims: Claims,
    pub(super) key: String,
    pub(super) signature: String,
    version: u32,
    has_entries: bool,
}

/// Reads a proof, hands each entry to `each` and checks all of it. Entries are proved only once this returned.
///
/// # Errors
/// When the document cannot be read or does not hold.
pub fn check_proof(input: impl Read, mut each: impl FnMut(&ProofEntry)) -> Result<Checked, ProofError> {
    let mut tree = MerkleTree::new();
    let mut climbed: Vec<(u64, Vec<crate::digest::Step>, Sha256)> = Vec::new();
    let mut counted: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let document = read_document(input, &mut |item| {
        let salt = item.salt().ok_or("a salt is not 32 hex digits")?;
        let leaf = item.entry.leaf(&salt);
        let bytes: u64 = item.entry.bytes.parse().map_err(|_| "a length is not a number")?;
        if item.path.is_some() {
            if climbed.len() >= SHOWN_MAX || tree.count() > 0 {
                return Err("entries with and without a path stand beside each other, or there are too many");
            }
            climbed.push((item.index, item.steps().ok_or("a step of a path is not in its form")?, leaf));
        } else {
            if item.index != tree.count() || !climbed.is_empty() {
                return Err("entries are not in their order");
            }
            tree.push(leaf);
            let count = counted.entry(item.entry.evidence.clone()).or_default();
            *count = (count.0 + 1, count.1.saturating_add(bytes));
        }
        each(&item.entry);
        Ok(())
    })?;
    let broken = |what: &str| ProofError::Broken(what.to_owned());
    let claims = document.claims;
    let shown = if climbed.is_empty() { tree.count() } else { climbed.len() as u64 };
    if climbed.is_empty() {
        let told = |grade: &GradeCount| (grade.evidence.clone(), (grade.entries, grade.bytes));
        if tree.count() != claims.count || claims.grades.iter().map(told).collect::<BTreeMap<_, _>>() != counted {
            return Err(broken("its counts are not those of its entries"));
        }
        if tree.finish().0 != claims.root {
            return Err(broken("its entries are not those below its root"));
        }
    }
    for (index, path, leaf) in climbed {
        if climb(leaf, &path) != claims.root || place_of(&path, claims.count) != Some(index) {
            return Err(broken("an entry is not below its root"));
        }
    }
    let key: PublicKey = parse_hex(&document.key).ok_or_else(|| broken("its key is not 64 hex digits"))?;
    let signature: Signature =
        parse_hex(&document.signature).ok_or_else(|| broken("its signature is not 128 hex digits"))?;
    if !is_signed(&key, Purpose::Proof, &claims.signed_bytes(), &signature) {
        return Err(broken("its signature does not hold"));
    }
    let Claims { job, created, target, volumes, count, grades, .. } = claims;
    Ok(Checked { job, created, target, volumes, count, shown, grades, key })
}

/// What an entry does that breaks a rule.
pub(super) type Each<'a> = dyn FnMut(Item) -> Result<(), &'static str> + 'a;

/// Reads the document, entry by entry.
pub(super) fn read_document(input: impl Read, each: &mut Each<'_>) -> Result<Document, ProofError> {
    let mut json = serde_json::Deserializer::from_reader(input);
    let failed = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Io => ProofError::Input(error.into()),
        _ => ProofError::Broken(error.to_string()),
    };
    let document = Outer(each).deserialize(&mut json).map_err(failed)?;
    json.end().map_err(failed)?;
    if document.version != VERSION || !document.has_entries {
        return Err(ProofError::Broken("it is not a proof of this version".to_owned()));
    }
    Ok(document)
}

struct Outer<'a, 'b>(&'a mut Each<'b>);

impl<'de> DeserializeSeed<'de> for Outer<'_, '_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Outer<'_, '_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a proof")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document::default();
        let mut seen = std::collections::BTreeSet::new();
        let claims = &mut document.claims;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "packmule-proof" => document.version = map.next_value()?,
                "job" => claims.job = map.next_value()?,
                "created" => claims.created = map.next_value()?,
                "program" => claims.program = map.next_value()?,
                "target" => claims.target = map.next_value()?,
                "volumes" => claims.volumes = map.next_value()?,
                "entries" if !document.has_entries => {
                    document.has_entries = true;
                    map.next_value_seed(Entries(&mut *self.0))?;
                }
                "count" => claims.count = map.next_value()?,
                "grades" => claims.grades = map.next_value()?,
                "root" => {
                    let digits: String = map.next_value()?;
                    claims.root = parse_hex(&digits).ok_or_else(|| A::Error::custom("root is not 64 hex digits"))?;
                }
                "key" => document.key = map.next_value()?,
                "signature" => document.signature = map.next_value()?,
                _ => {
                    let _: IgnoredAny = map.next_value()?;
                    return Err(A::Error::custom("it has a member that no proof has"));
                }
            }
            if !seen.insert(name) {
                return Err(A::Error::custom("a member stands there twice"));
            }
        }
        Ok(document)
    }
}

struct Entries<'a, 'b>(&'a mut Each<'b>);

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entries of a proof")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<Item>()? {
            (self.0)(item).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

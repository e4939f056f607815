//! One entry of a proof, and the leaf it is in the tree.

use serde::{Deserialize, Serialize};

use crate::digest::{Sha256, Step, leaf};
use crate::format::path::escape;
use crate::format::record::EntryType;
use crate::format::{hex, parse_hex};
use crate::job::Listed;
use crate::report::Grade;

/// What is proved of one path. Every member is a text, as it stands in the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofEntry {
    /// Path, escaped.
    pub path: String,
    /// Type, in words.
    pub r#type: String,
    /// Length, decimal.
    pub bytes: String,
    /// SHA-256 of the content as read at the source; empty unless it is a file.
    pub sha256: String,
    /// CRC-64/NVME of the content as read at the source; empty unless it is a file.
    pub crc64nvme: String,
    /// Numbers of the volumes that carried it.
    pub volumes: String,
    /// Key of its object, if it is not the path under the target's prefix.
    pub key: String,
    /// ETag the server gave.
    pub etag: String,
    /// Version the server gave.
    pub version: String,
    /// CRC-64/NVME of the whole object as the server gave it.
    pub server_crc64nvme: String,
    /// Evidence grade.
    pub evidence: String,
    /// Why it is a failure; empty: it is none.
    pub failure: String,
}

impl ProofEntry {
    pub(super) fn of(listed: &Listed, grade: &Grade) -> Self {
        let file = listed.read.as_ref().filter(|_| listed.entry_type == EntryType::File);
        let object = listed.object.as_ref();
        let volumes: Vec<String> = listed.volumes.iter().map(ToString::to_string).collect();
        let told = |text: Option<&String>| text.cloned().unwrap_or_default();
        Self {
            path: escape(&listed.path),
            r#type: listed.entry_type.word().to_owned(),
            bytes: listed.bytes.to_string(),
            sha256: file.map(|read| hex(&read.sha256)).unwrap_or_default(),
            crc64nvme: file.map(|read| read.crc64.to_string()).unwrap_or_default(),
            volumes: volumes.join(" "),
            key: object.and_then(|object| object.key.as_deref()).map(escape).unwrap_or_default(),
            etag: told(object.and_then(|object| object.etag.as_ref())),
            version: told(object.and_then(|object| object.version_id.as_ref())),
            server_crc64nvme: object.and_then(|object| object.crc64).map(|crc| crc.to_string()).unwrap_or_default(),
            evidence: grade.evidence.name().to_owned(),
            failure: grade.failure.as_ref().map(|reason| reason.text.clone()).unwrap_or_default(),
        }
    }

    /// The leaf: salt and members, each with its length before it. The salt keeps an entry that is not shown from being
    /// guessed from its digest.
    pub(super) fn leaf(&self, salt: &[u8; 16]) -> Sha256 {
        let mut bytes = b"packmule/1 proof entry".to_vec();
        bytes.extend_from_slice(salt);
        let members = [
            &self.path,
            &self.r#type,
            &self.bytes,
            &self.sha256,
            &self.crc64nvme,
            &self.volumes,
            &self.key,
            &self.etag,
            &self.version,
            &self.server_crc64nvme,
            &self.evidence,
            &self.failure,
        ];
        for member in members {
            bytes.extend_from_slice(&(member.len() as u64).to_le_bytes());
            bytes.extend_from_slice(member.as_bytes());
        }
        leaf(&bytes)
    }
}

/// An entry as it stands in the document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    pub(super) index: u64,
    pub(super) salt: String,
    pub(super) entry: ProofEntry,
    /// The way to the root, from the leaf up; without it the document has every entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Vec<String>>,
}

impl Item {
    pub(super) fn salt(&self) -> Option<[u8; 16]> {
        parse_hex(&self.salt)
    }

    /// The steps of the path; `None` when one is not in its form.
    pub(super) fn steps(&self) -> Option<Vec<Step>> {
        let step = |text: &String| {
            let (side, digits) = text.split_once(':')?;
            let is_left = match side {
                "left" => true,
                "right" => false,
                _ => return None,
            };
            Some(Step { beside: parse_hex(digits)?, is_left })
        };
        self.path.iter().flatten().map(step).collect()
    }

    pub(super) fn set_path(&mut self, steps: &[Step]) {
        let text = |step: &Step| format!("{}:{}", if step.is_left { "left" } else { "right" }, hex(&step.beside));
        self.path = Some(steps.iter().map(text).collect());
    }
}

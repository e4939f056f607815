//! Showing some entries of a proof without the others. Needs no secret: whoever has the whole proof can do it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use crate::digest::MerkleTree;
use crate::report::Error;
use crate::report::proof::ProofError;
use crate::report::proof::entry::Item;
use crate::report::proof::read::read_document;
use crate::report::proof::write::{head, write_item, write_tail};

/// Writes a proof of the entries at `paths` (escaped, as the proof has them) out of a proof of everything, which is read
/// twice: `open` opens it. Gives how many entries it has.
///
/// # Errors
/// When the proof cannot be read, is itself one of some entries, or lacks one that was asked for.
pub fn pick<R: Read>(
    mut open: impl FnMut() -> std::io::Result<R>,
    paths: &BTreeSet<String>,
    out: &mut dyn Write,
) -> Result<u64, ProofError> {
    let mut picked: BTreeMap<u64, Item> = BTreeMap::new();
    read_document(open().map_err(ProofError::Input)?, &mut |item| {
        if item.path.is_some() {
            return Err("it shows some entries only: make this from the proof of all");
        }
        if paths.contains(&item.entry.path) {
            picked.insert(item.index, item);
        }
        Ok(())
    })?;
    if let Some(missing) = paths.iter().find(|path| !picked.values().any(|item| item.entry.path == **path)) {
        return Err(ProofError::NoEntry(missing.clone()));
    }
    let mut tree = MerkleTree::watching(picked.keys().copied());
    let document = read_document(open().map_err(ProofError::Input)?, &mut |item| {
        tree.push(item.entry.leaf(&item.salt().ok_or("a salt is not 32 hex digits")?));
        Ok(())
    })?;
    let (root, found) = tree.finish();
    if root != document.claims.root {
        return Err(ProofError::Broken("its entries are not those below its root".to_owned()));
    }
    head(&document.claims, out)?;
    for (at, (item, steps)) in picked.values_mut().zip(found).enumerate() {
        item.set_path(&steps);
        write_item(item, at == 0, out)?;
    }
    write_tail(&document.claims, &document.key, &document.signature, out)?;
    out.flush().map_err(Error::Output)?;
    Ok(picked.len() as u64)
}

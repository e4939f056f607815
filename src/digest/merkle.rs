//! A Merkle tree over SHA-256: one digest for many leaves, and a short path that shows one leaf without the others.
//!
//! The tree is that of RFC 9162, section 2.1: leaf = SHA-256(0 || bytes), node = SHA-256(1 || left || right), the left
//! subtree as large as the largest power of two below the count. The prefixes keep a node from passing for a leaf.

use crate::digest::{Sha256, Sha256Stream, sha256};

/// Digest of a leaf.
pub fn leaf(bytes: &[u8]) -> Sha256 {
    let mut stream = Sha256Stream::new();
    stream.update(&[0]);
    stream.update(bytes);
    stream.finish()
}

fn node(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut stream = Sha256Stream::new();
    stream.update(&[1]);
    stream.update(left);
    stream.update(right);
    stream.finish()
}

/// One step from a leaf to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Digest of the subtree beside.
    pub beside: Sha256,
    /// Whether that subtree is the left one.
    pub is_left: bool,
}

/// A tree that takes its leaves one by one and remembers only what it must: one digest per bit of their count, and the
/// paths of the leaves it was asked to watch.
#[derive(Debug, Clone, Default)]
pub struct MerkleTree {
    count: u64,
    /// Whole subtrees, largest first, each twice or more as large as the next; with their first leaf and their size.
    whole: Vec<(u64, u64, Sha256)>,
    watched: Vec<Watched>,
}

#[derive(Debug, Clone)]
struct Watched {
    index: u64,
    path: Vec<Step>,
}

impl MerkleTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree that keeps the paths of these leaves.
    pub fn watching(indexes: impl IntoIterator<Item = u64>) -> Self {
        let watched = indexes.into_iter().map(|index| Watched { index, path: Vec::new() }).collect();
        Self { watched, ..Self::default() }
    }

    /// Leaves so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a leaf by its digest ([`leaf`]).
    pub fn push(&mut self, digest: Sha256) {
        let mut added = (self.count, 1, digest);
        self.count += 1;
        while let Some(last) = self.whole.pop_if(|last| last.1 == added.1) {
            added = join(&mut self.watched, last, added);
        }
        self.whole.push(added);
    }

    /// The root, and the paths of the watched leaves in the order they were named. Without leaves the root is the
    /// SHA-256 of nothing.
    pub fn finish(mut self) -> (Sha256, Vec<Vec<Step>>) {
        let Some(mut right) = self.whole.pop() else { return (sha256(&[]), Vec::new()) };
        while let Some(left) = self.whole.pop() {
            right = join(&mut self.watched, left, right);
        }
        (right.2, self.watched.into_iter().map(|watched| watched.path).collect())
    }
}

/// Joins two neighbouring subtrees and lets the watched leaves below them know what stands beside.
fn join(watched: &mut [Watched], left: (u64, u64, Sha256), right: (u64, u64, Sha256)) -> (u64, u64, Sha256) {
    for leaf in watched {
        if (left.0..left.0 + left.1).contains(&leaf.index) {
            leaf.path.push(Step { beside: right.2, is_left: false });
        } else if (right.0..right.0 + right.1).contains(&leaf.index) {
            leaf.path.push(Step { beside: left.2, is_left: true });
        }
    }
    (left.0, left.1 + right.1, node(&left.2, &right.2))
}

/// Root of a tree over these leaves.
pub fn merkle_root<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Sha256 {
    let mut tree = MerkleTree::new();
    leaves.into_iter().for_each(|bytes| tree.push(leaf(bytes)));
    tree.finish().0
}

/// Root that a leaf and its path lead to.
pub fn climb(digest: Sha256, path: &[Step]) -> Sha256 {
    path.iter().fold(digest, |at, step| match step.is_left {
        true => node(&step.beside, &at),
        false => node(&at, &step.beside),
    })
}

/// The place among `count` leaves that a path of these turns leads to; `None` when no leaf has such a path.
pub fn place_of(path: &[Step], count: u64) -> Option<u64> {
    // From the root down: at each node the left half has the largest power of two below its size.
    let (mut first, mut size) = (0, count);
    for step in path.iter().rev() {
        if size < 2 {
            return None;
        }
        let left = 1 << (63 - (size - 1).leading_zeros());
        if step.is_left {
            first += left;
            size -= left;
        } else {
            size = left;
        }
    }
    (size == 1).then_some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word.
    fn by_definition(leaves: &[Vec<u8>]) -> Sha256 {
        match leaves {
            [] => sha256(&[]),
            [one] => leaf(one),
            many => {
                let half = many.len().next_power_of_two() / 2;
                node(&by_definition(&many[..half]), &by_definition(&many[half..]))
            }
        }
    }

    proptest! {
        #[test]
        fn the_root_is_that_of_the_definition_and_each_path_leads_to_it(count in 1_usize..70) {
            let leaves: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; n % 5]).collect();
            let mut tree = MerkleTree::watching(0..count as u64);
            leaves.iter().for_each(|bytes| tree.push(leaf(bytes)));
            let (root, paths) = tree.finish();
            prop_assert_eq!(root, by_definition(&leaves));
            for (index, path) in paths.iter().enumerate() {
                prop_assert_eq!(climb(leaf(&leaves[index]), path), root);
                prop_assert_eq!(place_of(path, count as u64), Some(index as u64));
                prop_assert_ne!(climb(leaf(b"another leaf"), path), root);
            }
        }
    }

    #[test]
    fn a_node_does_not_pass_for_a_leaf_and_an_empty_tree_has_a_root() {
        let (a, b) = (leaf(b"a"), leaf(b"b"));
        assert_ne!(leaf(&[a, b].concat()), node(&a, &b));
        assert_eq!(MerkleTree::new().finish().0, sha256(&[]));
    }
}

//! The Merkle tree of RFC 6962 section 2.1: hashes, growth, paths, and the checks of RFC 9162.
//!
//! Hashes of complete subtrees are stored in the order in which they complete: appending a leaf stores its hash and
//! then that of every subtree that it fills. So stored hashes are only ever appended, never changed.

mod check;
mod growth;
mod several;

use ring::digest::{Context, SHA256};

pub use check::{verify_consistency, verify_inclusion};
pub use growth::{Edge, Growth, Paths};
pub use several::{several_hashes, several_root};

use super::Hash;

/// Longest audit path of any tree: one hash for each bit of a 64-bit size.
pub const MAX_PATH: usize = 64;

/// Reads stored hashes.
pub trait NodeReader {
    /// Why a hash could not be read.
    type Error;

    /// The hash with this [`stored_index`].
    fn node(&self, stored_index: u64) -> Result<Hash, Self::Error>;
}

/// Hash of a leaf: `SHA-256(0x00 || bytes)`.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    hash(&[&[0x00], bytes])
}

/// Hash of an inner node: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[0x01], left, right])
}

/// Root of the tree without leaves: `SHA-256()`.
#[must_use]
pub fn empty_root() -> Hash {
    hash(&[])
}

/// Where the hash of the complete subtree over leaves `index << level .. (index + 1) << level` is stored.
/// `u64::MAX`, which no store can hold, for subtrees beyond 2^63 leaves.
#[must_use]
pub fn stored_index(level: u8, index: u64) -> u64 {
    let end = index.checked_add(1).and_then(|next| next.checked_mul(1u64.checked_shl(level.into())?));
    match end {
        Some(end) => stored_count(end - 1).saturating_add(level.into()),
        None => u64::MAX,
    }
}

/// Level and index of the complete subtree whose hash is stored here: the inverse of [`stored_index`]. `None` from 2^62 on,
/// which no store can hold.
#[must_use]
pub fn stored_at(stored_index: u64) -> Option<(u8, u64)> {
    if stored_index >= 1 << 62 {
        return None;
    }
    // A leaf is followed by the subtrees that it completes; so many leaves need at most twice as many hashes.
    let mut leaf = stored_index / 2;
    while stored_count(leaf + 1) <= stored_index {
        leaf += 1;
    }
    let level = stored_index - stored_count(leaf);
    Some((u8::try_from(level).ok()?, leaf >> level))
}

/// How many hashes are stored for a tree of `size` leaves, up to 2^63.
#[must_use]
pub fn stored_count(size: u64) -> u64 {
    size.saturating_add(size - u64::from(size.count_ones()))
}

/// Root of the tree of the first `size` leaves.
pub fn root<R: NodeReader>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    range_root(Range { from: 0, to: size }, reader)
}

/// Audit path (RFC 6962 section 2.1.1), from the leaf upwards. `None` when there is no such leaf.
pub fn inclusion_path<R: NodeReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Option<Vec<Hash>>, R::Error> {
    if index >= size {
        return Ok(None);
    }
    let ranges = audit_ranges(index, size);
    ranges.into_iter().map(|range| range_root(range, reader)).collect::<Result<_, _>>().map(Some)
}

/// Consistency path (RFC 6962 section 2.1.2) from the tree of `first` leaves to that of `second`; empty when `first` is
/// 0 or `second`. `None` when `first` is larger.
pub fn consistency_path<R: NodeReader>(
    first: u64,
    second: u64,
    reader: &R,
) -> Result<Option<Vec<Hash>>, R::Error> {
    if first > second {
        return Ok(None);
    }
    let ranges = consistency_ranges(first, second);
    ranges.into_iter().map(|range| range_root(range, reader)).collect::<Result<_, _>>().map(Some)
}

/// Leaves `from..to`: a subtree of some tree, so `from` is aligned to its size.
#[derive(Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
}

impl Range {
    fn is_leaf(self) -> bool {
        self.to - self.from <= 1
    }

    /// The two children; the left one is the largest complete subtree (RFC 6962 section 2.1). Needs two leaves.
    fn split(self) -> (Self, Self) {
        let width = 1 << (self.to - self.from - 1).ilog2();
        let middle = self.from + width;
        (Self { to: middle, ..self }, Self { from: middle, ..self })
    }
}

/// The siblings on the way from a leaf to the root. Needs `index < size`.
fn audit_ranges(index: u64, size: u64) -> Vec<Range> {
    let mut siblings = Vec::new();
    let mut range = Range { from: 0, to: size };
    while !range.is_leaf() {
        let (left, right) = range.split();
        let sibling;
        (range, sibling) = if index < right.from { (left, right) } else { (right, left) };
        siblings.push(sibling);
    }
    siblings.reverse();
    siblings
}

/// SUBPROOF of RFC 6962 section 2.1.2, from small to large. Needs `first <= second`.
fn consistency_ranges(first: u64, second: u64) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut range = Range { from: 0, to: second };
    while first != 0 && range.to != first {
        let (left, right) = range.split();
        let sibling;
        (range, sibling) = if first <= right.from { (left, right) } else { (right, left) };
        ranges.push(sibling);
    }
    // The checker knows the first tree as a whole, but not a part of it.
    if range.from != 0 {
        ranges.push(range);
    }
    ranges.reverse();
    ranges
}

/// Level and index of the complete subtrees that make up a range, from large to small.
fn complete_subtrees(from: u64, to: u64) -> impl Iterator<Item = (u8, u64)> {
    let size = to - from;
    (0..64u8).rev().filter(move |level| (size >> level) & 1 == 1).map(move |level| {
        let start = from + (((size >> level) - 1) << level);
        (level, start >> level)
    })
}

fn range_root<R: NodeReader>(range: Range, reader: &R) -> Result<Hash, R::Error> {
    let subtrees = complete_subtrees(range.from, range.to);
    let hashes = subtrees.map(|(level, index)| reader.node(stored_index(level, index)));
    Ok(join(hashes.collect::<Result<Vec<_>, _>>()?))
}

/// Root over complete subtrees, given from large to small.
pub(super) fn join(subtrees: impl IntoIterator<Item = Hash, IntoIter: DoubleEndedIterator>) -> Hash {
    let mut from_small = subtrees.into_iter().rev();
    let Some(smallest) = from_small.next() else { return empty_root() };
    from_small.fold(smallest, |right, left| node_hash(&left, &right))
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Stored hashes in memory.
    pub(crate) struct Stored(pub(crate) Vec<Hash>);

    impl NodeReader for Stored {
        type Error = Infallible;

        fn node(&self, stored_index: u64) -> Result<Hash, Infallible> {
            Ok(self.0[usize::try_from(stored_index).unwrap()])
        }
    }

    pub(crate) fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    pub(crate) fn stored(size: u64) -> Stored {
        let mut growth = Growth::new(Edge::empty());
        (0..size).for_each(|index| assert_eq!(growth.push(leaf(index)), index));
        Stored(growth.finish().1)
    }

    #[test]
    fn hashes_are_those_of_rfc_6962() {
        // Known answers of Certificate Transparency's reference test data.
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex::encode(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            hex::encode(leaf_hash(&[0x00])),
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
        );
        assert_eq!(
            hex::encode(node_hash(&leaf_hash(b""), &leaf_hash(&[0x00]))),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }

    #[test]
    fn hashes_are_stored_as_they_complete() {
        // Leaf 0, leaf 1, their parent, leaf 2, leaf 3, their parent, the parent of both, leaf 4.
        let order = [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (2, 0), (0, 4)];
        for (expected, (level, index)) in (0..).zip(order) {
            assert_eq!(stored_index(level, index), expected);
            assert_eq!(stored_at(expected), Some((level, index)));
        }
        assert_eq!([0, 1, 2, 3, 4, 5].map(stored_count), [0, 1, 3, 4, 7, 8]);
        for size in 0..1000u64 {
            assert_eq!(stored_count(size + 1) - stored_count(size), u64::from(size.trailing_ones()) + 1);
        }
    }

    #[test]
    fn absurd_positions_are_nowhere() {
        assert_eq!(stored_index(0, u64::MAX), u64::MAX);
        assert_eq!(stored_index(64, 0), u64::MAX);
        assert_eq!(stored_index(63, 1), u64::MAX);
        assert_eq!((stored_at(u64::MAX), stored_at(1 << 62)), (None, None));
        assert_eq!(stored_count(u64::MAX), u64::MAX);
    }

    #[test]
    fn paths_outside_the_tree_do_not_exist() {
        let stored = stored(3);
        assert_eq!(inclusion_path(3, 3, &stored), Ok(None));
        assert_eq!(inclusion_path(0, 0, &stored), Ok(None));
        assert_eq!(consistency_path(3, 2, &stored), Ok(None));
        assert_eq!(consistency_path(0, 3, &stored), Ok(Some(vec![])));
        assert_eq!(consistency_path(3, 3, &stored), Ok(Some(vec![])));
        assert_eq!(root(0, &stored), Ok(empty_root()));
    }

    #[test]
    fn the_longest_paths_fit() {
        assert_eq!(audit_ranges(0, u64::MAX).len(), MAX_PATH);
        assert!(consistency_ranges(u64::MAX - 1, u64::MAX).len() <= MAX_PATH + 1);
    }

    proptest! {
        #[test]
        fn stored_hashes_do_not_depend_on_later_leaves(small in 0u64..200, more in 0u64..200) {
            let (before, after) = (stored(small), stored(small + more));
            prop_assert_eq!(&before.0[..], &after.0[..before.0.len()]);
        }

        #[test]
        fn every_old_root_can_be_told_again(size in 0u64..200) {
            let all = stored(200);
            prop_assert_eq!(root(size, &all), Ok(Edge::load(size, &stored(size)).unwrap().root()));
        }
    }
}

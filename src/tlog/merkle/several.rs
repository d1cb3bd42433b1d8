//! One proof for several leaves: the tree of RFC 6962 section 2.1, walked from left to right. A subtree without any of
//! the leaves is told by its hash, one leaf by its own, everything else by its two halves.

use super::{NodeReader, Range, node_hash, range_root};
use crate::tlog::Hash;

/// Hashes of the largest subtrees of a tree of `size` leaves that hold none of `leaves`, from left to right. `None`
/// unless the leaves ascend, without repeats, and are in the tree.
pub fn several_hashes<R: NodeReader>(
    leaves: &[u64],
    size: u64,
    reader: &R,
) -> Result<Option<Vec<Hash>>, R::Error> {
    if !fit(leaves.iter().copied(), size) {
        return Ok(None);
    }
    let mut hashes = Vec::new();
    collect(Range { from: 0, to: size }, leaves, reader, &mut hashes)?;
    Ok(Some(hashes))
}

/// Root of the tree of `size` leaves that holds these leaves at these places, and beside them what the hashes say.
/// `None` unless the leaves ascend, without repeats, are in the tree, and every hash is used.
#[must_use]
pub fn several_root(leaves: &[(u64, Hash)], size: u64, hashes: &[Hash]) -> Option<Hash> {
    if !fit(leaves.iter().map(|(index, _)| *index), size) {
        return None;
    }
    let mut rest = hashes.iter();
    let root = fold(Range { from: 0, to: size }, leaves, &mut rest)?;
    rest.next().is_none().then_some(root)
}

fn fit(leaves: impl Iterator<Item = u64>, size: u64) -> bool {
    let mut end = 0;
    for index in leaves {
        if index < end || index >= size {
            return false;
        }
        end = index + 1;
    }
    end > 0
}

/// At most 64 deep: each half is a level further down.
fn collect<R: NodeReader>(
    range: Range,
    leaves: &[u64],
    reader: &R,
    hashes: &mut Vec<Hash>,
) -> Result<(), R::Error> {
    if leaves.is_empty() {
        hashes.push(range_root(range, reader)?);
        return Ok(());
    }
    if range.is_leaf() {
        return Ok(());
    }
    let (left, right) = range.split();
    let (first, second) = leaves.split_at(leaves.partition_point(|index| *index < right.from));
    collect(left, first, reader, hashes)?;
    collect(right, second, reader, hashes)
}

fn fold(range: Range, leaves: &[(u64, Hash)], hashes: &mut std::slice::Iter<'_, Hash>) -> Option<Hash> {
    let Some((_, leaf)) = leaves.first() else { return hashes.next().copied() };
    if range.is_leaf() {
        return Some(*leaf);
    }
    let (left, right) = range.split();
    let (first, second) = leaves.split_at(leaves.partition_point(|(index, _)| *index < right.from));
    let left = fold(left, first, hashes)?;
    Some(node_hash(&left, &fold(right, second, hashes)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::merkle::{
        inclusion_path, root,
        tests::{leaf, stored},
    };

    fn with_hashes(leaves: &[u64]) -> Vec<(u64, Hash)> {
        leaves.iter().map(|index| (*index, leaf(*index))).collect()
    }

    #[test]
    fn one_leaf_needs_the_hashes_of_its_path() {
        let stored = stored(40);
        for size in 1..=40 {
            for index in 0..size {
                let mut path = inclusion_path(index, size, &stored).unwrap().unwrap();
                let mut hashes = several_hashes(&[index], size, &stored).unwrap().unwrap();
                path.sort_unstable();
                hashes.sort_unstable();
                assert_eq!(path, hashes);
            }
        }
    }

    #[test]
    fn what_is_no_list_of_leaves_is_refused() {
        let stored = stored(8);
        for wrong in [&[][..], &[8], &[3, 3], &[4, 3], &[0, u64::MAX]] {
            assert_eq!(several_hashes(wrong, 8, &stored), Ok(None), "{wrong:?}");
            assert_eq!(several_root(&with_hashes(wrong), 8, &[]), None, "{wrong:?}");
        }
        assert_eq!(several_root(&with_hashes(&[0]), u64::MAX, &[leaf(1); 63]), None, "too few");
    }

    proptest! {
        #[test]
        fn they_give_the_root_and_nothing_else_does(
            size in 1u64..200,
            picks in prop::collection::btree_set(0u64..200, 1..30),
            at in any::<prop::sample::Index>(),
        ) {
            let stored = stored(200);
            let leaves: Vec<u64> = picks.into_iter().map(|pick| pick % size).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            let expected = root(size, &stored).unwrap();
            let hashes = several_hashes(&leaves, size, &stored).unwrap().unwrap();
            let known = with_hashes(&leaves);
            prop_assert_eq!(several_root(&known, size, &hashes), Some(expected));

            let mut moved = known.clone();
            let one = at.index(moved.len());
            moved[one].0 += 1;
            prop_assert_ne!(several_root(&moved, size, &hashes), Some(expected));
            let mut other = known.clone();
            other[one].1[7] ^= 1;
            prop_assert_ne!(several_root(&other, size, &hashes), Some(expected));
            prop_assert_eq!(several_root(&known, size, &[&hashes[..], &[expected]].concat()), None);
            if !hashes.is_empty() {
                prop_assert_eq!(several_root(&known, size, &hashes[1..]), None);
                let mut bent = hashes.clone();
                bent[at.index(hashes.len())][0] ^= 1;
                prop_assert_ne!(several_root(&known, size, &bent), Some(expected));
            }
        }
    }
}

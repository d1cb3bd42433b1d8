//! The checks: all that an auditor needs, without a tree.

use super::{empty_root, node_hash};
use crate::tlog::Hash;

/// Checks an audit path (RFC 9162 section 2.1.3.2). False for a path that is too long or too short.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if is_right(node) || node == last {
            hash = node_hash(sibling, &hash);
            skip_lone_levels(&mut node, &mut last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks that the tree of `first` leaves is a prefix of that of `second` (RFC 9162 section 2.1.4.2). Also true for
/// equal trees, and for a true empty tree, both with an empty path.
#[must_use]
pub fn verify_consistency(
    first: u64,
    second: u64,
    first_root: &Hash,
    second_root: &Hash,
    path: &[Hash],
) -> bool {
    if first == second {
        return path.is_empty() && first_root == second_root && (first > 0 || *first_root == empty_root());
    }
    if first == 0 {
        return path.is_empty() && *first_root == empty_root();
    }
    if first > second {
        return false;
    }
    // A complete first tree is itself the first hash of the path.
    let (start, path) = match (first.is_power_of_two(), path) {
        (true, path) => (first_root, path),
        (false, [start, path @ ..]) => (start, path),
        (false, []) => return false,
    };
    let filled = (first - 1).trailing_ones();
    let (mut node, mut last) = ((first - 1) >> filled, (second - 1) >> filled);
    let (mut old, mut new) = (*start, *start);
    for hash in path {
        if last == 0 {
            return false;
        }
        if is_right(node) || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            skip_lone_levels(&mut node, &mut last);
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}

fn is_right(node: u64) -> bool {
    node % 2 == 1
}

/// Goes up to where the node is a right child: the last node of a level without sibling moves up unchanged.
fn skip_lone_levels(node: &mut u64, last: &mut u64) {
    while !is_right(*node) && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::merkle::{
        consistency_path, inclusion_path, root,
        tests::{leaf, stored},
    };

    fn flip(hash: &Hash, bit: usize) -> Hash {
        let mut flipped = *hash;
        flipped[bit / 8 % 32] ^= 1 << (bit % 8);
        flipped
    }

    fn altered(path: &[Hash], bit: usize) -> impl Iterator<Item = Vec<Hash>> {
        (0..path.len()).map(move |at| {
            let mut altered = path.to_vec();
            altered[at] = flip(&altered[at], bit);
            altered
        })
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_included_once() {
        let stored = stored(40);
        for size in 0..=40 {
            let root = root(size, &stored).unwrap();
            for index in 0..size {
                let path = inclusion_path(index, size, &stored).unwrap().unwrap();
                for claimed in 0..size + 2 {
                    let included = verify_inclusion(&leaf(index), claimed, size, &path, &root);
                    assert_eq!(included, claimed == index, "{index} as {claimed} of {size}");
                }
            }
        }
    }

    #[test]
    fn every_pair_of_small_trees_is_consistent() {
        let stored = stored(40);
        let roots: Vec<_> = (0..=40).map(|size| root(size, &stored).unwrap()).collect();
        for (second, second_root) in (0..).zip(&roots) {
            for (first, first_root) in (0..=second).zip(&roots) {
                let path = consistency_path(first, second, &stored).unwrap().unwrap();
                assert!(verify_consistency(first, second, first_root, second_root, &path));
                assert_eq!(
                    verify_consistency(second, first, second_root, first_root, &path),
                    first == second
                );
            }
        }
    }

    #[test]
    fn an_invented_empty_tree_is_refused() {
        assert!(verify_consistency(0, 0, &empty_root(), &empty_root(), &[]));
        assert!(verify_consistency(0, 5, &empty_root(), &leaf(1), &[]));
        assert!(!verify_consistency(0, 0, &leaf(1), &leaf(1), &[]));
        assert!(!verify_consistency(0, 5, &leaf(1), &leaf(1), &[]));
        assert!(!verify_consistency(0, 5, &empty_root(), &leaf(1), &[leaf(2)]));
    }

    #[test]
    fn absurd_sizes_and_paths_are_refused() {
        let path = vec![leaf(0); 100];
        assert!(!verify_inclusion(&leaf(0), u64::MAX - 1, u64::MAX, &path, &leaf(0)));
        assert!(!verify_inclusion(&leaf(0), u64::MAX, u64::MAX, &path, &leaf(0)));
        assert!(!verify_inclusion(&leaf(0), 0, 0, &[], &empty_root()));
        assert!(!verify_consistency(u64::MAX - 1, u64::MAX, &leaf(0), &leaf(0), &path));
        assert!(!verify_consistency(1 << 63, u64::MAX, &leaf(0), &leaf(0), &path));
        assert!(!verify_consistency(3, 4, &leaf(0), &leaf(0), &[]));
    }

    #[test]
    fn a_path_of_a_smaller_tree_is_too_short() {
        let stored = stored(5);
        let (old, new) = (root(4, &stored).unwrap(), root(5, &stored).unwrap());
        let path = consistency_path(4, 5, &stored).unwrap().unwrap();
        assert!(verify_consistency(4, 5, &old, &new, &path));
        assert!(!verify_consistency(4, 9, &old, &new, &path));
    }

    proptest! {
        #[test]
        fn one_bit_breaks_inclusion(size in 1u64..300, at in 0u64..300, bit in 0usize..256) {
            let stored = stored(size);
            let index = at % size;
            let root = root(size, &stored).unwrap();
            let path = inclusion_path(index, size, &stored).unwrap().unwrap();
            let verify = |leaf: &Hash, path: &[Hash], root: &Hash| verify_inclusion(leaf, index, size, path, root);
            prop_assert!(verify(&leaf(index), &path, &root));
            prop_assert!(!verify(&flip(&leaf(index), bit), &path, &root));
            prop_assert!(!verify(&leaf(index), &path, &flip(&root, bit)));
            for path in altered(&path, bit) {
                prop_assert!(!verify(&leaf(index), &path, &root));
            }
            prop_assert!(!verify(&leaf(index), &[&path[..], &[root]].concat(), &root));
            if let Some((_, shorter)) = path.split_last() {
                prop_assert!(!verify(&leaf(index), shorter, &root));
            }
        }

        #[test]
        fn one_bit_breaks_consistency(second in 2u64..300, at in 0u64..300, bit in 0usize..256) {
            let stored = stored(second);
            let first = 1 + at % (second - 1);
            let (old, new) = (root(first, &stored).unwrap(), root(second, &stored).unwrap());
            let path = consistency_path(first, second, &stored).unwrap().unwrap();
            let verify = |old: &Hash, new: &Hash, path: &[Hash]| verify_consistency(first, second, old, new, path);
            prop_assert!(verify(&old, &new, &path));
            prop_assert!(!verify(&flip(&old, bit), &new, &path));
            prop_assert!(!verify(&old, &flip(&new, bit), &path));
            for path in altered(&path, bit) {
                prop_assert!(!verify(&old, &new, &path));
            }
            prop_assert!(!verify(&old, &new, &[&path[..], &[new]].concat()));
            prop_assert!(!verify(&old, &new, &path[..path.len() - 1]));
        }
    }
}

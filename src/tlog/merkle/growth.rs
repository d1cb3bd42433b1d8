//! Appending: the right edge of a tree and a batch of leaves on top of it.

use super::{
    NodeReader, Range, audit_ranges, complete_subtrees, join, node_hash, stored_count, stored_index,
};
use crate::tlog::Hash;

/// The right edge of a tree: all that is needed to go on appending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Complete subtrees from large to small, one for each bit of `size`.
    subtrees: Vec<Hash>,
}

impl Edge {
    /// The edge of the empty tree.
    #[must_use]
    pub fn empty() -> Self {
        Self { size: 0, subtrees: Vec::new() }
    }

    /// Reads the edge of the tree of `size` leaves. Compare [`Edge::root`] with the signed one before going on.
    pub fn load<R: NodeReader>(size: u64, reader: &R) -> Result<Self, R::Error> {
        let subtrees =
            complete_subtrees(0, size).map(|(level, index)| reader.node(stored_index(level, index)));
        Ok(Self { size, subtrees: subtrees.collect::<Result<_, _>>()? })
    }

    /// The edge of a tree of `size` leaves whose complete subtrees have these hashes, from large to small. `None` if that
    /// is not their number.
    #[must_use]
    pub fn from_subtrees(size: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (subtrees.len() == size.count_ones() as usize).then_some(Self { size, subtrees })
    }

    /// Hashes of the complete subtrees that the tree is made of, from large to small.
    #[must_use]
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Appends a leaf whose inner hashes nobody stores.
    pub fn append(&mut self, leaf: Hash) {
        self.push(leaf, &mut Vec::new());
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(self.subtrees.iter().copied())
    }

    /// Appends a leaf; adds the hashes that complete to `stored`, in stored order.
    fn push(&mut self, leaf: Hash, stored: &mut Vec<Hash>) {
        let mut filled = leaf;
        stored.push(filled);
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.subtrees.pop() else { break };
            filled = node_hash(&left, &filled);
            stored.push(filled);
        }
        self.subtrees.push(filled);
        self.size += 1;
    }

    /// The complete subtree at this place, if it is one of the edge.
    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        let count = self.size >> level;
        if count.is_multiple_of(2) || index != count - 1 {
            return None;
        }
        let larger = (count >> 1).count_ones() as usize;
        self.subtrees.get(larger).copied()
    }
}

/// A batch of leaves on top of an edge, in memory: nothing is read while it grows.
#[derive(Clone, Debug)]
pub struct Growth {
    base: Edge,
    edge: Edge,
    stored: Vec<Hash>,
}

impl Growth {
    /// An empty batch.
    #[must_use]
    pub fn new(base: Edge) -> Self {
        Self { edge: base.clone(), base, stored: Vec::new() }
    }

    /// Appends a leaf hash and returns the leaf's index.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.edge.size;
        self.edge.push(leaf, &mut self.stored);
        index
    }

    /// Number of leaves before this batch.
    #[must_use]
    pub fn base_size(&self) -> u64 {
        self.base.size
    }

    /// Number of leaves with this batch.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size
    }

    /// Root of the tree with this batch.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Closes the batch: from now on its leaves can be proven.
    #[must_use]
    pub fn paths(self) -> Paths {
        let mut right_roots = self.edge.subtrees.clone();
        for at in (1..right_roots.len()).rev() {
            right_roots[at - 1] = node_hash(&right_roots[at - 1], &right_roots[at]);
        }
        Paths { growth: self, right_roots }
    }

    /// The new hashes in stored order.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.stored
    }

    /// The new edge, and the new hashes in stored order: they follow the `stored_count(base_size)` old ones.
    #[must_use]
    pub fn finish(self) -> (Edge, Vec<Hash>) {
        (self.edge, self.stored)
    }

    fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        match stored_index(level, index).checked_sub(stored_count(self.base.size)) {
            Some(new) => self.stored.get(usize::try_from(new).ok()?).copied(),
            None => self.base.subtree(level, index),
        }
    }
}

/// Audit paths of a closed batch.
#[derive(Clone, Debug)]
pub struct Paths {
    growth: Growth,
    /// Roots over the edge's subtrees from the first, second… to the last. Every path needs some of them, so they are
    /// hashed once.
    right_roots: Vec<Hash>,
}

impl Paths {
    /// Audit path, from the leaf upwards, of a leaf of the batch in the tree of [`Growth::size`] leaves. `None` for any
    /// other leaf.
    #[must_use]
    pub fn inclusion(&self, index: u64) -> Option<Vec<Hash>> {
        if !(self.growth.base.size..self.growth.edge.size).contains(&index) {
            return None;
        }
        audit_ranges(index, self.growth.edge.size).into_iter().map(|range| self.root_of(range)).collect()
    }

    /// A sibling is a complete subtree, or all that is right of one.
    fn root_of(&self, range: Range) -> Option<Hash> {
        let width = range.to - range.from;
        if !width.is_power_of_two() {
            return self.right_roots.get(range.from.count_ones() as usize).copied();
        }
        let level = u8::try_from(width.ilog2()).ok()?;
        self.growth.subtree(level, range.from >> level)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::merkle::{
        root,
        tests::{Stored, leaf, stored},
        verify_inclusion,
    };

    proptest! {
        #[test]
        fn any_split_into_batches_gives_the_same_tree(batches in prop::collection::vec(0u64..20, 0..12)) {
            let mut edge = Edge::empty();
            let mut all = Stored(Vec::new());
            for batch in batches {
                let mut growth = Growth::new(edge);
                for _ in 0..batch {
                    growth.push(leaf(growth.size()));
                }
                let (base, size, root) = (growth.base_size(), growth.size(), growth.root());
                let paths = growth.clone().paths();
                for index in base..size {
                    let path = paths.inclusion(index).unwrap();
                    prop_assert!(verify_inclusion(&leaf(index), index, size, &path, &root));
                }
                prop_assert_eq!(paths.inclusion(size), None);
                prop_assert_eq!(base.checked_sub(1).and_then(|old| paths.inclusion(old)), None);

                let (grown, new) = growth.finish();
                edge = grown;
                all.0.extend(new);
                prop_assert_eq!(edge.size(), size);
                prop_assert_eq!(edge.root(), root);
                prop_assert_eq!(&Edge::load(size, &all).unwrap(), &edge);
            }
            prop_assert_eq!(all.0, stored(edge.size()).0);
        }
    }

    #[test]
    fn an_edge_knows_only_its_own_subtrees() {
        let edge = Edge::load(7, &stored(7)).unwrap();
        let known = |level| (0..8).filter(|index| edge.subtree(level, *index).is_some()).collect::<Vec<_>>();
        assert_eq!([0, 1, 2, 3].map(known), [vec![6], vec![2], vec![0], vec![]]);
        assert_eq!(edge.subtree(0, 6), Some(leaf(6)));
    }

    #[test]
    fn a_lost_hash_is_told_by_its_reader() {
        struct Broken;
        impl NodeReader for Broken {
            type Error = u64;
            fn node(&self, stored_index: u64) -> Result<Hash, u64> {
                Err(stored_index)
            }
        }
        assert_eq!(Edge::load(5, &Broken), Err(6));
        assert_eq!(root(1, &Broken), Err(0));
    }
}

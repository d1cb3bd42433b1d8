//! Our tree against an independent implementation of RFC 6962.

use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use truc::tlog::{
    Hash,
    merkle::{Edge, Growth, NodeReader, consistency_path, inclusion_path, leaf_hash, root},
};

const LEAVES: u64 = 130;

struct Stored(Vec<Hash>);

impl NodeReader for Stored {
    type Error = Infallible;

    fn node(&self, stored_index: u64) -> Result<Hash, Infallible> {
        Ok(self.0[usize::try_from(stored_index).expect("small")])
    }
}

fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

fn ours() -> Stored {
    let mut growth = Growth::new(Edge::empty());
    (0..LEAVES).for_each(|index| _ = growth.push(leaf_hash(&leaf(index))));
    Stored(growth.finish().1)
}

fn theirs(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|index| tree.push(leaf(index)));
    tree
}

fn small(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

#[test]
fn roots_agree() {
    let ours = ours();
    for size in 0..=LEAVES {
        assert_eq!(root(size, &ours).expect("stored")[..], theirs(size).root().as_bytes()[..], "size {size}");
    }
}

#[test]
fn inclusion_paths_agree() {
    let ours = ours();
    for size in 1..=LEAVES {
        let theirs = theirs(size);
        for index in 0..size {
            let path = inclusion_path(index, size, &ours).expect("stored").expect("inside");
            assert_eq!(path.concat(), theirs.prove_inclusion(small(index)).as_bytes(), "{index} of {size}");
        }
    }
}

#[test]
fn consistency_paths_agree() {
    let ours = ours();
    for second in 2..=LEAVES {
        let theirs = theirs(second);
        for first in 1..second {
            let path = consistency_path(first, second, &ours).expect("stored").expect("in order");
            let added = small(second - first);
            assert_eq!(path.concat(), theirs.prove_consistency(added).as_bytes(), "{first} to {second}");
        }
    }
}

//! Many leaves in a row: they lie one behind the other in their frame, so that one read serves all of them.

use std::ops::Range;

use bytes::Bytes;

use super::{Embedded, apply::Place, frame};
use crate::{
    store::StoreError,
    tlog::{Hash, merkle},
};

impl Embedded {
    /// Hash and evidence of leaves below the head.
    pub(super) fn evidence_in_a_row(&self, leaves: Range<u64>) -> Result<Vec<(Hash, Bytes)>, StoreError> {
        let Some(last) = leaves.end.checked_sub(1).filter(|last| leaves.contains(last)) else {
            return Ok(Vec::new());
        };
        let places: Vec<_> = self.shared.leaves.range(leaves.clone())?.iter().map(Place::decode).collect();
        let first_node = merkle::stored_index(0, leaves.start);
        let nodes = self.shared.nodes.range(first_node..merkle::stored_index(0, last) + 1)?;
        let mut found = Vec::with_capacity(places.len());
        for row in places.chunk_by(follows) {
            let start = row[0].leaf.0;
            let len = row.iter().map(|place| place.leaf.1).fold(0, u32::saturating_add);
            let bytes = self.reader.read_part(row[0].position(), start, len)?;
            for place in row {
                let at = (place.leaf.0 - start) as usize;
                let entry = bytes.slice(at..at + place.leaf.1 as usize);
                found.push(frame::decode_leaf(&entry)?.evidence);
            }
        }
        leaves
            .zip(found)
            .map(|(leaf, evidence)| {
                let hash = merkle::leaf_hash(&evidence);
                // Whatever the arrays say, nobody is shown another leaf.
                let at = usize::try_from(merkle::stored_index(0, leaf) - first_node).unwrap_or(usize::MAX);
                match nodes.get(at) == Some(&hash) {
                    true => Ok((hash, evidence)),
                    false => Err(StoreError::Damaged(format!("leaf {leaf} is not the one that was hashed"))),
                }
            })
            .collect()
    }
}

/// True if `b` lies right behind `a`.
fn follows(a: &Place, b: &Place) -> bool {
    a.frame == b.frame && a.leaf.0.checked_add(a.leaf.1) == Some(b.leaf.0)
}

//! A record of an array that is not what was written. A tree hash is made again from those below it. For a leaf's place the
//! frame is looked for from a neighbour on. Both are written again.

use std::io;

use bytes::Bytes;

use super::{
    Embedded,
    apply::{self, Place},
    frame::{self, Layout},
    journal::FramePosition,
};
use crate::{
    store::{Commit, Store, StoreError},
    tlog::{Hash, merkle},
};

/// Neighbours that are asked before the search begins at the first frame.
const NEIGHBOURS: u64 = 64;
/// Frames that one search reads.
const MAX_FRAMES: usize = 4_096;

impl Embedded {
    /// Makes a stored tree hash again.
    pub(super) fn mend_node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        let nowhere = || StoreError::Damaged(format!("tree hash {stored_index} has no place"));
        let hash = match merkle::stored_at(stored_index).ok_or_else(nowhere)? {
            (0, leaf) => merkle::leaf_hash(&self.mending(leaf, || self.evidence_at_its_place(leaf))?),
            (level, index) => {
                let below = |index| self.node(merkle::stored_index(level - 1, index));
                merkle::node_hash(&below(2 * index)?, &below(2 * index + 1)?)
            }
        };
        match self.shared.nodes.append_at(stored_index, &[hash]) {
            Ok(()) => tracing::warn!(stored_index, "a tree hash was not what the leaves give: mended"),
            Err(error) => tracing::warn!(%error, stored_index, "a tree hash could not be mended"),
        }
        Ok(hash)
    }

    /// Does a read, and once more when it found damage that could be mended.
    pub(super) fn mending<T>(
        &self,
        leaf: u64,
        read: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match read() {
            Err(error) if may_be_the_place(&error) && self.mend(leaf) => read(),
            other => other,
        }
    }

    /// Writes the places of a leaf's commit again. True if that changed something.
    fn mend(&self, leaf: u64) -> bool {
        let Some((commit, layout, position)) = self.frame_of(leaf) else { return false };
        let Some(places) = apply::places(&commit, position, &layout) else { return false };
        let mut changed = false;
        for (right, index) in places.iter().zip(commit.base_size..) {
            if self.shared.leaves.get(index).ok().flatten() == Some(*right) {
                continue;
            }
            if let Err(error) = self.shared.leaves.append_at(index, &[*right]) {
                tracing::warn!(%error, index, "the place of a leaf could not be mended");
                return false;
            }
            tracing::warn!(index, "the place of a leaf was not what the journal gives: mended");
            changed = true;
        }
        changed
    }

    fn frame_of(&self, leaf: u64) -> Option<(Commit, Layout, FramePosition)> {
        let (mut position, mut payload) = self.neighbour(leaf)?;
        for _ in 0..MAX_FRAMES {
            // A seal is empty.
            if !payload.is_empty() {
                let (commit, layout) = frame::decode(&payload).ok()?;
                if commit.base_size > leaf {
                    return None;
                }
                if commit.head.size > leaf {
                    return Some((commit, layout, position));
                }
            }
            (position, payload) = self.reader.read_behind(position, payload.len()).ok()?;
        }
        None
    }

    /// A frame before the leaf's, or its own.
    fn neighbour(&self, leaf: u64) -> Option<(FramePosition, Bytes)> {
        for before in (leaf.saturating_sub(NEIGHBOURS)..leaf).rev() {
            let Ok(Some(place)) = self.shared.leaves.get(before) else { continue };
            let position = Place::decode(&place).position();
            let Ok(payload) = self.reader.read(position) else { continue };
            let Ok((commit, _)) = frame::decode(&payload) else { continue };
            if (commit.base_size..commit.head.size).contains(&before) {
                return Some((position, payload));
            }
        }
        let first = FramePosition::first();
        Some((first, self.reader.read(first).ok()?))
    }
}

/// A wrong place leads to bytes that are something else, or to no bytes at all.
fn may_be_the_place(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged(_) => true,
        StoreError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        }
    }
}

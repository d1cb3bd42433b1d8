//! The log as C2SP tiles: every hash and every leaf, in the pieces that the standard names.

use std::sync::Arc;

use super::{
    Hub,
    refused::{Refused, blocking},
};
use crate::{
    store::{Store, StoreError},
    tlog::{
        checkpoint::Checkpoint,
        merkle::{empty_root, leaf_hash, stored_index},
        tile::{Row, Tile, push_entry},
    },
};

impl Hub {
    /// The checkpoint that everyone is shown: the newest, or where witnesses are asked one that is a moment older and
    /// cosigned. Before the first leaf that of the empty tree, which everyone may know.
    #[must_use]
    pub fn signed_head(&self) -> String {
        let head = self.store.head();
        if !head.checkpoint.is_empty() {
            return self.shown(head.checkpoint, head.size);
        }
        Checkpoint { origin: self.log.origin.clone(), size: 0, root: empty_root() }.sign(&self.log.signer)
    }

    /// The bytes of a tile or bundle; `None` when the tree is not so large yet. A bundle whose entries do not hash to the
    /// log is refused as damaged.
    pub async fn tile(self: &Arc<Self>, tile: Tile) -> Result<Option<Vec<u8>>, Refused> {
        if !tile.exists_in(self.size()) {
            return Ok(None);
        }
        let hub = Arc::clone(self);
        Ok(Some(blocking(move || read(&*hub.store, tile)).await??))
    }
}

fn read(store: &dyn Store, tile: Tile) -> Result<Vec<u8>, StoreError> {
    let places = tile.start()..tile.start() + u64::from(tile.width);
    let mut bytes = Vec::new();
    for place in places {
        match tile.row {
            Row::Hashes(_) => bytes.extend(store.node(stored_index(tile.row.tree_level(), place))?),
            Row::Entries => push_leaf(store, place, &mut bytes)?,
        }
    }
    Ok(bytes)
}

fn push_leaf(store: &dyn Store, index: u64, bundle: &mut Vec<u8>) -> Result<(), StoreError> {
    let damaged = || StoreError::Damaged(format!("leaf {index} is not what was signed"));
    let leaf = store.leaf(index)?.ok_or_else(damaged)?;
    let is_signed = leaf_hash(&leaf.evidence) == store.node(stored_index(0, index))?;
    // No evidence is longer than the format can tell: `domain::evidence::encode` refuses it.
    if is_signed && push_entry(bundle, &leaf.evidence) { Ok(()) } else { Err(damaged()) }
}

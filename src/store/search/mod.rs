//! The auditors' index: for each term the leaves that have it. A projection like the history index, but fed by a
//! follower that reads the log, so that the writer pays nothing for it.
//!
//! Leaves come in order and are gathered in blocks. A full block is written once and never changed: for each of its
//! terms the set of its leaves. The newest block is in memory; after a crash it is read from the log again. Whatever is
//! not as it was left is thrown away, and the follower begins anew.

mod bits;
mod block;
#[cfg(test)]
mod tests;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

pub use super::embedded::index::Pass;
pub use bits::BLOCK;
use bits::Bits;
use block::{Sealed, Span, Tail};

use super::{
    StoreError,
    embedded::{
        check::{Finding, Severity, What},
        index::{self, Applied, Damage, Engine, Index},
        journal::FramePosition,
    },
    files::{self, failed},
};
use crate::domain::search::{Leaf, Query};

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first leaf.
    Oldest,
    /// The last leaf.
    Newest,
}

/// A file that says that the index is to be made again: beside the one that answers, or at the next start.
const AGAIN: &str = "search-again";
/// Folders of the index. A new one is made in the folder that is free.
const FOLDERS: [&str; 2] = ["search", "search-2"];

/// The index. One follower adds; anyone may ask at any time.
pub struct SearchIndex {
    history: PathBuf,
    folder: &'static str,
    index: Box<dyn Index>,
    spans: RwLock<Vec<Span>>,
    tail: RwLock<Tail>,
}

impl SearchIndex {
    /// Opens or makes the index in the folder `history`. `leaf_hash` gives the log's own hash of a leaf, `None` beyond
    /// its end: an index of another log is thrown away.
    pub fn open(
        history: &Path,
        leaf_hash: impl Fn(u64) -> Result<Option<[u8; 32]>, StoreError>,
    ) -> Result<Self, StoreError> {
        if history.join(AGAIN).exists() {
            // Words of documents whose contents were erased stand in it. If we crash here, it is done again.
            FOLDERS.iter().try_for_each(|folder| remove(history, folder))?;
            note_made(history)?;
        }
        let [first, second] = FOLDERS;
        let folder = if history.join(first).exists() { first } else { second };
        let folder = if history.join(folder).exists() { folder } else { first };
        files::make_dir(&history.join(folder)).map_err(failed("making the folder of the search index"))?;
        if let Some(opened) = Self::open_good(history, folder, &leaf_hash)? {
            return Ok(opened);
        }
        tracing::warn!("making the search index again from the log");
        Self::empty(history, folder)
    }

    /// An empty index in the folder that this one does not use. It takes this one's place once that is
    /// [retired](Self::retire); until then [`make_again`](Self::make_again) has to stand.
    pub fn beside(&self) -> Result<Self, StoreError> {
        let [first, second] = FOLDERS;
        Self::empty(&self.history, if self.folder == first { second } else { first })
    }

    /// Removes this index from the disk, once nobody asks it any more.
    pub fn retire(self) -> Result<(), StoreError> {
        let Self { history, folder, index, .. } = self;
        drop(index);
        remove(&history, folder)
    }

    fn empty(history: &Path, folder: &'static str) -> Result<Self, StoreError> {
        remove(history, folder)?;
        files::make_dir(&history.join(folder)).map_err(failed("making the folder of the search index"))?;
        let opened = Self::open_good(history, folder, &|_| Ok(None))?;
        opened.ok_or_else(|| Damage("a new search index can't be used".into()).into())
    }

    /// `None` if what is there can't be trusted.
    fn open_good(
        history: &Path,
        folder: &'static str,
        leaf_hash: &impl Fn(u64) -> Result<Option<[u8; 32]>, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        let index = match Engine::Fjall.open(&history.join(folder), 0, Arc::new(|| Ok(()))) {
            Ok(index) => index,
            Err(why) => {
                tracing::warn!(%why, "the search index can't be used");
                return Ok(None);
            }
        };
        let applied = index.applied();
        let sealed = applied.map_or(0, blocks_of);
        if let (Some(applied), Some(last)) = (applied, first_leaf(sealed).checked_sub(1))
            && leaf_hash(last)? != Some(applied.root)
        {
            return Ok(None);
        }
        let spans: Result<Vec<_>, _> = (0..sealed).map(|block| block::span(&*index, block)).collect();
        let Ok(spans) = spans else { return Ok(None) };
        let (spans, tail) = (RwLock::new(spans), RwLock::new(Tail::new(sealed)));
        Ok(Some(Self { history: history.to_owned(), folder, index, spans, tail }))
    }

    /// Notes durably that the index has to be made again: a full block never changes, and files of the engine keep what
    /// was overwritten. For words that must not stand on the disk any more.
    pub fn make_again(&self) -> Result<(), StoreError> {
        files::replace_file(&self.history.join(AGAIN), b"")
            .map_err(failed("noting that the search index is to be made again"))
    }

    /// Notes durably that it was made again, and that nothing is left of the one before.
    pub fn made_again(&self) -> Result<(), StoreError> {
        note_made(&self.history)
    }

    /// True from [`make_again`](Self::make_again) to [`made_again`](Self::made_again), across starts.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.history.join(AGAIN).exists()
    }

    /// Begins to read its files again.
    pub fn pass(&self) -> Result<Pass, StoreError> {
        Ok(Pass::begin(&*self.index)?)
    }

    /// Reads on for about so many bytes, and tells of files that are not what was written; how many bytes it were. A pass
    /// that another index began tells of nothing.
    pub fn read_on(
        &self,
        pass: &mut Pass,
        bytes: u64,
        report: &mut dyn FnMut(Finding),
    ) -> Result<u64, StoreError> {
        let read = pass.read(&*self.index, bytes, &mut |wrong| {
            report(Finding {
                severity: Severity::Rebuildable,
                what: What::Search,
                place: wrong.path.display().to_string(),
                detail: format!("{}; the search index is made again from the log", wrong.detail),
            });
        });
        Ok(read?)
    }

    /// Leaves that are indexed: all below this one.
    #[must_use]
    pub fn covers(&self) -> u64 {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        first_leaf(tail.block) + tail.len() as u64
    }

    /// Takes the next leaf of the log; `hash` is the log's own hash of it.
    pub fn add(&self, leaf: Leaf, hash: [u8; 32]) -> Result<(), StoreError> {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        tail.push(leaf);
        if tail.len() < BLOCK {
            return Ok(());
        }
        let sealed = tail.block + 1;
        self.index.apply(applied(sealed, 0, hash), tail.puts(), &mut || {})?;
        self.index.apply(applied(sealed, 1, hash), Vec::new(), &mut || {})?;
        self.spans.write().unwrap_or_else(PoisonError::into_inner).push(tail.span());
        *tail = Tail::new(sealed);
        Ok(())
    }

    /// The leaves of a range that answer a query, in order, at most `limit`.
    pub fn find(
        &self,
        query: &Query,
        leaves: Range<u64>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let leaves = leaves.start..leaves.end.min(self.covers());
        let mut found = Vec::new();
        let mut blocks = blocks(&leaves);
        while found.len() < limit
            && let Some(block) = if order == Order::Oldest { blocks.next() } else { blocks.next_back() }
        {
            let bits = self.matching(block, query, &leaves)?;
            let (room, base) = (limit - found.len(), first_leaf(block));
            match order {
                Order::Oldest => found.extend(bits.leaves().take(room).map(|leaf| base + leaf as u64)),
                Order::Newest => found.extend(bits.leaves().rev().take(room).map(|leaf| base + leaf as u64)),
            }
        }
        Ok(found)
    }

    /// How many leaves of a range answer a query.
    pub fn count(&self, query: &Query, leaves: Range<u64>) -> Result<u64, StoreError> {
        let leaves = leaves.start..leaves.end.min(self.covers());
        blocks(&leaves).try_fold(0, |sum, block| Ok(sum + self.matching(block, query, &leaves)?.count()))
    }

    fn matching(&self, block: u32, query: &Query, leaves: &Range<u64>) -> Result<Bits, StoreError> {
        let within = |leaf: u64| {
            let at = leaf.saturating_sub(first_leaf(block));
            usize::try_from(at).unwrap_or(BLOCK).min(BLOCK)
        };
        let wanted = within(leaves.start)..within(leaves.end);
        {
            let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
            if block >= tail.block {
                let end = if block == tail.block { tail.len() } else { 0 };
                return Ok(block::matching(&*tail, query, Bits::of(wanted.start..wanted.end.min(end)))?);
            }
        }
        let span = self.spans.read().unwrap_or_else(PoisonError::into_inner).get(block as usize).copied();
        let span = span.ok_or_else(|| Damage(format!("search: block {block} has no times")))?;
        Ok(block::matching(&Sealed { index: &*self.index, block, span }, query, Bits::of(wanted))?)
    }
}

/// Removes a folder of an index, durably.
fn remove(history: &Path, folder: &str) -> Result<(), StoreError> {
    let removed = index::discard(&history.join(folder)).and_then(|()| files::sync_dir(history));
    removed.map_err(failed("removing the old search index"))
}

fn note_made(history: &Path) -> Result<(), StoreError> {
    let removed = files::remove_if_there(&history.join(AGAIN)).and_then(|()| files::sync_dir(history));
    removed.map_err(failed("noting that the search index was made again"))
}

fn first_leaf(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}

/// Numbers of the blocks in which a range of leaves lies.
fn blocks(leaves: &Range<u64>) -> Range<u32> {
    let number = |leaf: u64| u32::try_from(leaf / BLOCK as u64).unwrap_or(u32::MAX);
    if leaves.is_empty() { 0..0 } else { number(leaves.start)..number(leaves.end - 1).saturating_add(1) }
}

/// What the engine notes with a number of full blocks. It writes a table into files when the journal went on by two
/// segments: the second, empty step of each block makes that so, and nothing stays in memory for long.
fn applied(sealed: u32, step: u32, hash: [u8; 32]) -> Applied {
    let position = FramePosition { segment: sealed.saturating_add(step), offset: 0 };
    Applied { seq: u64::from(sealed) * 2 + u64::from(step), position, root: hash }
}

fn blocks_of(applied: Applied) -> u32 {
    u32::try_from(applied.seq / 2).unwrap_or(u32::MAX)
}

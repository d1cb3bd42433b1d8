//! The log's keys, as far as the journal itself tells of their changes.

use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::{
    proto::{DirectoryChange, EventKind, Evidence, directory_change::Change},
    store::embedded::{
        frame,
        journal::{self, Finding, Kind},
    },
    tlog::{
        checkpoint::Checkpoint,
        keys::{Handover, LogKeys, Trust},
        note::{NoteError, Verifier},
    },
};

/// The keys that heads are checked with. The changes are looked for once, when a head is not signed by the given key.
pub struct Keys<'a> {
    journal: &'a Path,
    keys: Option<LogKeys>,
    looked: bool,
}

impl<'a> Keys<'a> {
    pub fn new(journal: &'a Path, given: Option<&Verifier>) -> Self {
        Self { journal, keys: given.cloned().map(LogKeys::from), looked: false }
    }

    /// All keys are known already: nothing more is looked for.
    pub fn known(journal: &'a Path, keys: Option<&LogKeys>) -> Self {
        Self { journal, keys: keys.cloned(), looked: true }
    }

    /// Opens a head; without a given key its signature is not looked at.
    pub fn open(&mut self, note: &str) -> Result<Checkpoint, NoteError> {
        let Some(keys) = &self.keys else { return Checkpoint::unverified(note) };
        let opened = keys.open(note);
        if opened != Err(NoteError::NotSigned) || std::mem::replace(&mut self.looked, true) {
            return opened;
        }
        let Some(chain) = chain(self.journal).filter(|chain| chain.contains(keys.newest())) else {
            return opened;
        };
        self.keys.insert(chain).open(note)
    }
}

/// One more reading of the journal.
fn chain(journal: &Path) -> Option<LogKeys> {
    let mut handovers = Vec::new();
    let read = journal::check(journal, &mut |found| {
        if let Finding::Frame(frame) = found
            && frame.kind == Kind::Commit
            && let Ok((commit, _)) = frame::decode(&Bytes::copy_from_slice(frame.payload))
            && !commit.directory.is_empty()
        {
            handovers.extend(commit.leaves.iter().filter_map(|leaf| handover(&leaf.evidence)));
        }
        Ok(())
    });
    read.ok()?;
    LogKeys::chain(handovers).ok()?
}

fn handover(evidence: &Bytes) -> Option<Handover> {
    let evidence = Evidence::decode(evidence.clone()).ok()?;
    if evidence.event() != EventKind::LogKeyChange {
        return None;
    }
    match DirectoryChange::decode(evidence.directory_change).ok()?.change? {
        Change::ChangeLogKey(change) => Handover::open(&change.statement).ok(),
        _ => None,
    }
}

//! What was erased, by frame: a body that a commit names need not be there any more.

use std::{collections::HashMap, path::Path};

use bytes::Bytes;

use crate::store::{
    StoreError,
    embedded::{
        frame,
        journal::{self, Kind},
    },
    records::DocumentRecord,
};

/// All erasures of a journal: some fifty bytes of memory for each body.
#[derive(Default, PartialEq, Eq)]
pub struct Erased {
    /// Body → the last frame that made it unreachable. Records of later frames are others.
    bodies: HashMap<Bytes, u64>,
    /// Document → is its envelope gone too.
    documents: HashMap<u64, bool>,
}

impl Erased {
    /// Reads the whole journal.
    pub fn read(journal: &Path) -> Result<Self, StoreError> {
        let mut erased = Self::default();
        journal::check(journal, &mut |finding| {
            let journal::Finding::Frame(frame) = finding else { return Ok(()) };
            if frame.kind != Kind::Commit {
                return Ok(());
            }
            // What can't be read tells of no erasure: it is found as damage later.
            let Ok(found) = frame::erasures(&Bytes::copy_from_slice(frame.payload)) else { return Ok(()) };
            for erasure in found {
                let whole = erasure.is_whole();
                let gone = erased.documents.entry(erasure.document).or_default();
                *gone |= whole;
                for body in erasure.remove {
                    erased.bodies.insert(Bytes::copy_from_slice(&body.sha256), frame.seq);
                }
            }
            Ok(())
        })?;
        Ok(erased)
    }

    /// For one frame: bodies that are gone, and documents with whether their envelope is.
    pub fn of_frame(bodies: impl IntoIterator<Item = Bytes>, documents: HashMap<u64, bool>) -> Self {
        Self { bodies: bodies.into_iter().map(|sha256| (sha256, u64::MAX)).collect(), documents }
    }

    /// Documents that lost contents.
    pub fn documents(&self) -> u64 {
        self.documents.len() as u64
    }

    /// True if a body that the frame names was erased later.
    pub fn is_gone(&self, sha256: &[u8], seq: u64) -> bool {
        self.bodies.get(sha256).is_some_and(|last| seq < *last)
    }

    /// True if the envelope of a document was erased.
    pub fn is_whole(&self, document: &DocumentRecord) -> bool {
        self.documents.get(&document.index).copied().unwrap_or(false)
    }

    /// True if the attachments of a document were erased.
    pub fn has(&self, document: &DocumentRecord) -> bool {
        self.documents.contains_key(&document.index)
    }
}

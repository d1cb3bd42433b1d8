//! What was erased, by frame: a body that a commit names need not be there any more.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use bytes::Bytes;

use super::Report;
use crate::{
    domain::id::Digest,
    store::{
        StoreError,
        embedded::{
            frame,
            journal::{self, Kind},
        },
        files::failed,
        payload::{Condemned, HEADER, PackPlace, PackRemoval, Payload},
        records::{BodyRecord, DocumentRecord, ErasureRecord},
    },
};

const REMOVING: &str = "removing erased contents";

/// All erasures of a journal: some hundred bytes of memory for each body.
#[derive(Default, PartialEq, Eq)]
pub struct Erased {
    /// Body → the last frame that made it unreachable. Records of later frames are others.
    bodies: HashMap<Bytes, u64>,
    /// Document → is its envelope gone too.
    documents: HashMap<u64, bool>,
    /// Erasures by their leaf, with whether the journal says that their bytes are gone.
    erasures: HashMap<u64, (ErasureRecord, bool)>,
    /// Bodies that a later document brought again: their files are that document's.
    again: HashSet<Bytes>,
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
                for body in &erasure.remove {
                    erased.bodies.insert(Bytes::copy_from_slice(&body.sha256), frame.seq);
                }
                // The second record of an erasure says that nothing is left, and names no bodies.
                let (leaf, removed) = (erasure.leaf, erasure.removed);
                erased.erasures.entry(leaf).or_insert((erasure, false)).1 |= removed;
            }
            Ok(())
        })?;
        Ok(erased)
    }

    /// For one frame: bodies that are gone, and documents with whether their envelope is.
    pub fn of_frame(bodies: impl IntoIterator<Item = Bytes>, documents: HashMap<u64, bool>) -> Self {
        let bodies = bodies.into_iter().map(|sha256| (sha256, u64::MAX)).collect();
        Self { bodies, documents, ..Self::default() }
    }

    /// Documents that lost contents.
    pub fn documents(&self) -> u64 {
        self.documents.len() as u64
    }

    /// True if a body that the frame names was erased later.
    pub fn is_gone(&self, sha256: &[u8], seq: u64) -> bool {
        self.bodies.get(sha256).is_some_and(|last| seq < *last)
    }

    /// Removes what [`tell_left`](Self::tell_left) would tell of.
    pub fn remove_left(&mut self, journal: &Path, payload: &Payload) -> Result<(), StoreError> {
        self.note_all(journal)?;
        let mut condemned = Condemned::new();
        for (erasure, _) in self.erasures.values().filter(|(_, removed)| *removed) {
            payload.remove_packed(&erasure.remove).map_err(failed(REMOVING))?;
            let before = PackPlace { pack: erasure.pack, offset: erasure.pack_offset };
            for body in &erasure.remove {
                let Some(digest) = Digest::from_slice(&body.sha256) else { continue };
                let known = condemned.entry(digest).or_insert(before);
                *known = before.max(*known);
                payload
                    .remove_file(&digest, &|| self.again.contains(&body.sha256))
                    .map_err(failed(REMOVING))?;
            }
        }
        let mut so_far = PackRemoval::default();
        while payload.remove_copies(&condemned, &mut so_far, u64::MAX).map_err(failed(REMOVING))? {}
        Ok(())
    }

    /// Finds out which bodies came again. Of a damaged frame nothing is known: then nothing is removed.
    fn note_all(&mut self, journal: &Path) -> Result<(), StoreError> {
        journal::check(journal, &mut |finding| {
            match finding {
                journal::Finding::Frame(frame) if frame.kind == Kind::Commit => {
                    let (commit, _) = frame::decode(&Bytes::copy_from_slice(frame.payload))?;
                    commit.bodies.iter().for_each(|body| self.note(&body.sha256, frame.seq));
                }
                journal::Finding::Damage(damage) => return Err(StoreError::Damaged(damage.to_string())),
                journal::Finding::Frame(_) | journal::Finding::TornTail(_) => {}
            }
            Ok(())
        })
    }

    /// Notes a body that a frame names: one that came again is another one.
    pub fn note(&mut self, sha256: &Bytes, seq: u64) {
        if self.bodies.get(sha256).is_some_and(|last| seq > *last) {
            self.again.insert(Bytes::copy_from_slice(sha256));
        }
    }

    /// Erasures whose bytes the next start goes on removing.
    pub fn removing(&self) -> u64 {
        self.erasures.values().filter(|(_, removed)| !removed).count() as u64
    }

    /// Tells of all bytes that should be gone, by the journal's own word, and are not.
    pub fn tell_left(&self, payload: &Payload, report: &mut Report<'_>) {
        let mut condemned = HashMap::new();
        let mut told = HashSet::new();
        let mut removed: Vec<_> =
            self.erasures.values().filter(|(_, removed)| *removed).map(|(erasure, _)| erasure).collect();
        removed.sort_unstable_by_key(|erasure| erasure.leaf);
        for erasure in removed {
            let before = PackPlace { pack: erasure.pack, offset: erasure.pack_offset };
            for body in &erasure.remove {
                let Some(digest) = Digest::from_slice(&body.sha256) else { continue };
                let known = condemned.entry(digest).or_insert(before);
                *known = before.max(*known);
                let place =
                    format!("document {}, erased by leaf {}: body {digest}", erasure.document, erasure.leaf);
                self.tell_left_of(payload, body, &digest, &place, report);
                told.insert((body.pack_plus_one, body.offset));
            }
        }
        let copies = payload.find_copies(&condemned, &mut |digest, at| {
            if !told.contains(&(at.pack + 1, at.offset + HEADER)) {
                let place = format!("pack {}, offset {}", at.pack, at.offset);
                report.left(place, format!("a copy of the erased body {digest} is still there"));
            }
        });
        if let Err(error) = copies {
            report.left("packs", format!("whether erased bodies are gone can't be read: {error}"));
        }
    }

    fn tell_left_of(
        &self,
        payload: &Payload,
        body: &BodyRecord,
        digest: &Digest,
        place: &str,
        report: &mut Report<'_>,
    ) {
        match payload.is_wiped(body) {
            Ok(true) => {}
            Ok(false) => {
                let (pack, offset) = (body.pack_plus_one - 1, body.offset);
                report.left(place, format!("its bytes are still in pack {pack} at offset {offset}"));
            }
            Err(error) => report.left(place, format!("whether it is gone can't be read: {error}")),
        }
        if let Some(file) = payload.file_of(digest).filter(|_| !self.again.contains(&body.sha256)) {
            report.left(place, format!("its file is still there: {}", file.display()));
        }
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

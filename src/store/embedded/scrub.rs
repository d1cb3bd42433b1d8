//! The check of a store that runs: the journal and its bodies, a part at a time, held against each other, against the
//! signed checkpoints and against what readers use. Records of the arrays that are not what the journal gives are written
//! again; everything else is only told.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use prost::Message;

use super::{
    Embedded, Shared,
    apply::{PLACE, Place},
    check::{Commits, Erased, Finding, Keys, Known, Report, Severity, What, salvage::Names},
    frame,
    index::Pass,
    journal::{self, FramePosition, Kind, Next},
    keys,
    open::Nodes,
};
use crate::{
    store::{
        Commit, ScrubStep, StoreError,
        files::{self, failed},
        records::{BodyRecord, DocumentRecord, ErasureRecord},
    },
    tlog::{
        Hash,
        keys::LogKeys,
        merkle::{self, Edge},
    },
};

/// How far the scrub is, beside the journal.
const FILE: &str = "scrub";
const MAGIC: [u8; 4] = *b"TRS1";

/// Where it goes on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Mark {
    #[prost(uint32, tag = "1")]
    segment: u32,
    #[prost(uint32, tag = "2")]
    offset: u32,
    #[prost(uint64, tag = "3")]
    seq: u64,
    /// Leaves and documents before it.
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(uint64, tag = "5")]
    documents: u64,
}

/// The scrub of one store.
pub struct Scrubber {
    path: PathBuf,
    /// `None`: it begins anew, with the index's files: a reader that stumbles over damage in one stops the store, so it
    /// should be named before. Sequence 0: with the journal.
    at: Mutex<Option<Mark>>,
    /// The index's files, while it is at them.
    pass: Mutex<Option<Pass>>,
}

impl Scrubber {
    /// Goes on where the last process was; from the beginning if that can't be told.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let at = fs::read(&path).ok().and_then(|bytes| decode(&bytes));
        Self { path, at: Mutex::new(at), pass: Mutex::new(None) }
    }

    fn save(&self, at: Option<&Mark>) -> io::Result<()> {
        let body = at.map(Message::encode_to_vec).unwrap_or_default();
        let crc = crc32c::crc32c(&body).to_le_bytes();
        files::replace_file(&self.path, &[&MAGIC[..], &crc, &body].concat())
    }
}

fn decode(bytes: &[u8]) -> Option<Mark> {
    let (crc, body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let whole = crc32c::crc32c(body).to_le_bytes() == *crc && !body.is_empty();
    whole.then(|| Mark::decode(body).ok()).flatten()
}

impl Embedded {
    /// See [`Store::scrub`](crate::store::Store::scrub).
    pub(super) fn scrub_part(
        &self,
        keys: Option<&LogKeys>,
        bytes: u64,
        report: &mut dyn FnMut(Finding),
    ) -> Result<ScrubStep, StoreError> {
        let mut at = self.scrubber.at.lock().unwrap_or_else(PoisonError::into_inner);
        // Frames up to this one are whole; a later one may be half written.
        let last = self.writer.lock().map_err(|_| super::stopped())?.next_seq() - 1;
        if at.is_none() {
            return self.scrub_files(&mut at, last, bytes, report);
        }
        let from = at.clone().filter(|at| at.seq > 0);
        let next = from.as_ref().map(|at| Next {
            position: FramePosition { segment: at.segment, offset: at.offset },
            seq: at.seq,
        });
        let journal = self.dir.join("journal");
        let mut live = Live { shared: &self.shared, mended: Vec::new() };
        let mut part = Part::default();
        if let Some(at) = &from {
            (part.size, part.documents) = (at.size, at.documents);
        }
        let reached = journal::check_part(&journal, next, last, bytes, &mut |found| {
            self.scrub_frame(&journal, keys, found, &mut live, &mut part, report)
        })?;
        for (array, record) in live.mended {
            report(Finding {
                severity: Severity::Rebuildable,
                what: What::Array,
                place: format!("history/{array}"),
                detail: format!("record {record} was not what the journal gives; it was written again"),
            });
        }
        let place = |next: Next| Mark {
            segment: next.position.segment,
            offset: next.position.offset,
            seq: next.seq,
            size: part.size,
            documents: part.documents,
        };
        *at = reached.map(place);
        self.scrubber.save(at.as_ref()).map_err(failed("noting how far the scrub is"))?;
        let done = at.as_ref().map_or(last, |at| at.seq - 1);
        Ok(ScrubStep { ended: at.is_none(), bytes: part.bytes, frames: done, of_frames: last })
    }

    /// A part of the index's files, before the journal. Damage in them touches nothing that was acknowledged, and stands
    /// until the index is made again or the file is merged away.
    fn scrub_files(
        &self,
        at: &mut Option<Mark>,
        last: u64,
        bytes: u64,
        report: &mut dyn FnMut(Finding),
    ) -> Result<ScrubStep, StoreError> {
        let index = &*self.shared.index;
        let mut held = self.scrubber.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pass = held.take().map_or_else(|| Pass::begin(index), Ok)?;
        let read = pass.read(index, bytes, &mut |wrong| {
            report(Finding {
                severity: Severity::Rebuildable,
                what: What::Index,
                place: wrong.path.display().to_string(),
                detail: format!("{}: stop the hub and run `truc rebuild`", wrong.detail),
            });
        })?;
        match pass.is_over() {
            true => *at = Some(Mark::default()),
            false => *held = Some(pass),
        }
        Ok(ScrubStep { ended: false, bytes: read, frames: 0, of_frames: last })
    }

    /// One frame with its bodies. What is erased meanwhile is no damage: such a frame is looked at again.
    fn scrub_frame(
        &self,
        journal: &Path,
        keys: Option<&LogKeys>,
        found: journal::Finding<'_>,
        live: &mut Live<'_>,
        part: &mut Part,
        report: &mut dyn FnMut(Finding),
    ) -> Result<(), StoreError> {
        let commit = match &found {
            journal::Finding::Frame(frame) if frame.kind == Kind::Commit => {
                part.bytes += frame.payload.len() as u64;
                let decoded = frame::decode(&Bytes::copy_from_slice(frame.payload)).ok();
                let gap = std::mem::replace(&mut part.gap, decoded.is_none());
                if let Some((commit, _)) = decoded.as_ref().filter(|_| gap) {
                    part.size = commit.base_size;
                    part.documents = commit.head.documents.saturating_sub(commit.documents.len() as u64);
                }
                decoded.map(|(commit, _)| commit)
            }
            journal::Finding::Damage(_) => {
                part.gap = true;
                None
            }
            _ => None,
        };
        let mut erased =
            commit.as_ref().map(|commit| self.erased_of(commit)).transpose()?.unwrap_or_default();
        loop {
            let mut findings = Vec::new();
            let mut sink = |finding| findings.push(finding);
            let mut told = Report::to(&mut sink);
            let mut commits =
                Commits::new(journal, &self.payload, Keys::known(journal, keys), Some(&mut *live), erased);
            commits.resume(part.size, part.documents);
            commits.visit(again(&found), &mut told);
            let reached = commits.reached();
            let now = commit.as_ref().map(|commit| self.erased_of(commit)).transpose()?.unwrap_or_default();
            if !findings.is_empty() && !commits.erased_is(&now) {
                erased = now;
                continue;
            }
            if let Some(commit) = &commit {
                (part.size, part.documents) = reached;
                part.bytes += commit.bodies.iter().map(|body| body.size).sum::<u64>();
            }
            findings.into_iter().for_each(report);
            return Ok(());
        }
    }

    /// What readers do not reach any more of a commit's bodies and documents.
    fn erased_of(&self, commit: &Commit) -> Result<Erased, StoreError> {
        let mut documents = HashMap::new();
        for document in &commit.documents {
            let Some(value) = self.shared.get(&keys::erased(document.index))? else { continue };
            let erasure = ErasureRecord::decode(&value[..]);
            documents.insert(document.index, erasure.is_ok_and(|erasure| erasure.is_whole()));
        }
        let whole = |document: &&Arc<DocumentRecord>| documents.get(&document.index) != Some(&true);
        let envelopes: HashSet<&Bytes> =
            commit.documents.iter().filter(whole).map(|document| &document.envelope_sha256).collect();
        let mut gone = Vec::new();
        for body in &commit.bodies {
            let live = self.shared.get(&keys::body_of(&body.sha256))?;
            let live = live.and_then(|value| BodyRecord::decode(&value[..]).ok());
            // A later record of the same digest has taken its place, or none is left.
            if !envelopes.contains(&body.sha256) && live.as_ref() != Some(body) {
                gone.push(Bytes::copy_from_slice(&body.sha256));
            }
        }
        Ok(Erased::of_frame(gone, documents))
    }
}

/// What one part came to.
#[derive(Default)]
struct Part {
    size: u64,
    documents: u64,
    bytes: u64,
    /// The frame before could not be read: what it held is not known.
    gap: bool,
}

fn again<'f>(found: &journal::Finding<'f>) -> journal::Finding<'f> {
    match found {
        journal::Finding::Frame(frame) => journal::Finding::Frame(*frame),
        journal::Finding::Damage(damage) => journal::Finding::Damage(damage),
        journal::Finding::TornTail(tail) => journal::Finding::TornTail(*tail),
    }
}

/// What readers use.
struct Live<'a> {
    shared: &'a Shared,
    /// Records that were written again: array and index.
    mended: Vec<(&'static str, u64)>,
}

impl Known for Live<'_> {
    fn size(&self) -> u64 {
        self.shared.head().size
    }

    fn edge(&self, size: u64) -> Option<Edge> {
        Edge::load(size, &Nodes(&self.shared.nodes)).ok()
    }

    fn body(&self, sha256: &[u8]) -> Option<BodyRecord> {
        let value = self.shared.get(&keys::body_of(sha256)).ok()??;
        BodyRecord::decode(&value[..]).ok()
    }

    fn names(&self, leaves: Range<u64>) -> Option<String> {
        let mut names = Names::default();
        let place =
            |leaf: u64| self.shared.leaves.get(leaf).ok().flatten().map(|place| Place::decode(&place));
        let documents = leaves.take(MAX_LOST).filter(|leaf| place(*leaf).is_some_and(|p| p.document.1 > 0));
        documents.for_each(|leaf| names.add(&format!("the document of leaf {leaf}"), "an agency", 0));
        names.text()
    }

    fn compare_arrays(&mut self, _seq: u64, commit: &Commit, places: &[[u8; PLACE]], nodes: Option<&[Hash]>) {
        let Shared { leaves, nodes: hashes, .. } = self.shared;
        for (right, index) in places.iter().zip(commit.base_size..) {
            if leaves.get(index).ok().flatten() != Some(*right) && leaves.append_at(index, &[*right]).is_ok()
            {
                self.mended.push(("leaves", index));
            }
        }
        for (right, index) in nodes.unwrap_or_default().iter().zip(merkle::stored_count(commit.base_size)..) {
            if hashes.get(index).ok().flatten() != Some(*right) && hashes.append_at(index, &[*right]).is_ok()
            {
                self.mended.push(("nodes", index));
            }
        }
    }
}

/// Lost leaves that are looked at for documents.
const MAX_LOST: usize = 10_000;

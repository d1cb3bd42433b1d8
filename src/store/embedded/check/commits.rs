//! The journal and the bodies, frame by frame: everything in a commit is held against everything else in it.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;

use super::{
    Counts, Erased, Report, What,
    days::Days,
    keys::Keys,
    salvage::{name, touched},
};
use crate::{
    daily::Agencies,
    domain::{
        envelope::{MANIFEST, signature_digests},
        evidence::recipients_digest,
        id::Digest,
    },
    proto::{self, EventKind, Evidence, Manifest, SignedEnvelope},
    store::{
        Commit,
        embedded::{
            apply::{self, PLACE},
            frame,
            journal::{Finding as Found, Frame, Kind},
            open::grow,
        },
        payload::Payload,
        records::{BodyRecord, DigestRecord, DocumentRecord, PairRecord, RecipientList, SentRecord},
    },
    tlog::{Hash, checkpoint::Checkpoint, merkle::Edge},
};

/// Bodies that are known to be good and not read again when another document carries them too.
const MAX_REMEMBERED: usize = 100_000;

/// State of the check between frames.
pub struct Commits<'a> {
    journal: &'a Path,
    payload: &'a Payload,
    keys: Keys<'a>,
    projections: Option<&'a mut dyn Known>,
    pub counts: Counts,
    end: End,
    /// Right edge of the tree after the last frame; `None` when it is not known.
    edge: Option<Edge>,
    /// Frames before the next one are damaged.
    gap: bool,
    documents: u64,
    /// The checkpoint that was verified last.
    checkpoint: String,
    good_bodies: HashSet<Digest>,
    erased: Erased,
    /// Sequence of the frame that is looked at.
    seq: u64,
    days: Days,
}

/// What the journal means, as somebody else keeps it.
pub trait Known {
    /// Leaves that it knows.
    fn size(&self) -> u64;

    /// Right edge of a tree, as the stored hashes give it.
    fn edge(&self, size: u64) -> Option<Edge>;

    /// Where a body lies.
    fn body(&self, sha256: &[u8]) -> Option<BodyRecord>;

    /// Documents accepted by these leaves.
    fn names(&self, leaves: Range<u64>) -> Option<String>;

    /// Holds what a commit adds against the arrays.
    fn compare_arrays(&mut self, seq: u64, commit: &Commit, places: &[[u8; PLACE]], nodes: Option<&[Hash]>);
}

/// Where the journal ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// Sequence of the last good commit.
    pub last_commit: u64,
    /// Leaves after it.
    pub size: u64,
    /// The last good frame is followed by damage.
    pub gap: bool,
    /// Index entries that all commits wrote.
    pub puts: u64,
}

/// A commit with what all its checks need.
struct Looked<'a> {
    at: String,
    commit: &'a Commit,
    evidence: Vec<Evidence>,
    /// Bodies of this commit that are not what they must be; their documents are not looked at further.
    bad: HashSet<Bytes>,
}

impl<'a> Commits<'a> {
    pub fn new(
        journal: &'a Path,
        payload: &'a Payload,
        keys: Keys<'a>,
        projections: Option<&'a mut dyn Known>,
        erased: Erased,
    ) -> Self {
        Self {
            journal,
            payload,
            keys,
            projections,
            counts: Counts { erased: erased.documents(), ..Counts::default() },
            end: End::default(),
            edge: Some(Edge::empty()),
            gap: false,
            documents: 0,
            checkpoint: String::new(),
            good_bodies: HashSet::new(),
            erased,
            seq: 0,
            days: Days::new(),
        }
    }

    /// Goes on in the middle: behind a commit with this many leaves and documents.
    pub fn resume(&mut self, size: u64, documents: u64) {
        (self.end.size, self.documents) = (size, documents);
        self.edge = None;
    }

    /// True if this is what it knows of erasures.
    pub fn erased_is(&self, erased: &Erased) -> bool {
        self.erased == *erased
    }

    /// Leaves and documents up to here.
    pub fn reached(&self) -> (u64, u64) {
        (self.end.size, self.documents)
    }

    pub fn visit(&mut self, found: Found<'_>, report: &mut Report<'_>) {
        match found {
            Found::Frame(frame) => self.frame(&frame, report),
            Found::Damage(damage) => {
                self.gap = true;
                let names = touched(self.journal, damage);
                report.loss(
                    What::JournalFrame,
                    format!("{}, frame {}", damage.position, damage.seq),
                    format!("{damage}; documents in it: {names}"),
                );
            }
            Found::TornTail(tail) => {
                let detail = format!(
                    "{} bytes of a write that was not finished, so nobody was told of it: the next start cuts them",
                    tail.bytes
                );
                report.rebuildable(What::JournalTail, tail.position, detail);
            }
        }
    }

    /// Tells of erased bytes that are still there.
    pub fn tell_left(&mut self, report: &mut Report<'_>) {
        self.counts.removing = self.erased.removing();
        self.erased.tell_left(self.payload, report);
    }

    pub fn finish(mut self, report: &mut Report<'_>) -> (Counts, End) {
        self.end.gap = self.gap;
        let size = self.end.size;
        let known = self.projections.as_deref().map_or(0, |known| known.size());
        if self.gap && known > size {
            self.tell_lost(size, known, report);
        }
        (self.counts, self.end)
    }

    fn frame(&mut self, frame: &Frame<'_>, report: &mut Report<'_>) {
        self.counts.frames += 1;
        if frame.kind != Kind::Commit {
            return;
        }
        let at = format!("{}, frame {}", frame.position, frame.seq);
        let (commit, layout) = match frame::decode(&Bytes::copy_from_slice(frame.payload)) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.gap = true;
                return report.loss(What::JournalEntry, at, error);
            }
        };
        self.seq = frame.seq;
        let gap = self.gap;
        let nodes = self.tree(frame, &at, &commit, report);
        self.head(&at, &commit, gap, report);
        if let Some(projections) = &mut self.projections {
            let places = apply::places(&commit, frame.position, &layout).unwrap_or_default();
            projections.compare_arrays(frame.seq, &commit, &places, nodes.as_deref());
        }
        let Ok(puts) = apply::puts(&commit, |_| Ok::<_, std::convert::Infallible>(false));
        self.end.puts += puts.len() as u64;
        self.end.last_commit = frame.seq;

        self.counts.leaves += commit.leaves.len() as u64;
        let evidence = evidence(&commit, report);
        self.days.take(&commit, &evidence, report);
        let mut looked = Looked { at, commit: &commit, evidence, bad: HashSet::new() };
        looked.references(report);
        self.bodies(&mut looked, report);
        for document in &commit.documents {
            self.counts.documents += 1;
            self.document(&looked, document, report);
        }
        for list in &commit.lists {
            looked.list(list, report);
        }
        for digest in &commit.digests {
            looked.digest(digest, report);
        }
    }

    /// Recomputes the tree and returns the hashes that the commit adds. Behind damage the stored tree hashes help
    /// out: with them the leaves must give the signed root too.
    fn tree(
        &mut self,
        frame: &Frame<'_>,
        at: &str,
        commit: &Commit,
        report: &mut Report<'_>,
    ) -> Option<Vec<Hash>> {
        let (base, size) = (commit.base_size, self.end.size);
        if base != size {
            match self.gap && base > size {
                true => self.tell_lost(size, base, report),
                false => report.loss(What::Tree, at, format!("it extends {base} leaves, the log has {size}")),
            }
        }
        if base.checked_add(commit.leaves.len() as u64) != Some(commit.head.size) {
            report.loss(What::Tree, at, "its head does not count its leaves");
        }
        self.gap = false;
        self.end.size = commit.head.size;
        let own = self.edge.take().filter(|edge| edge.size() == base);
        let is_own = own.is_some();
        let edge = own.or_else(|| self.projections.as_deref()?.edge(base))?;
        match grow(edge, commit, frame.position) {
            Ok((edge, nodes)) => {
                self.edge = Some(edge);
                Some(nodes)
            }
            Err(error) if is_own => {
                report.loss(What::Tree, at, error);
                None
            }
            Err(error) => {
                report.rebuildable(What::Array, format!("tree hashes of {base} leaves"), error);
                None
            }
        }
    }

    fn tell_lost(&self, from: u64, to: u64, report: &mut Report<'_>) {
        let names = self.projections.as_deref().and_then(|projections| projections.names(from..to));
        let names = names.map_or_else(
            || "no index tells which documents they accepted".into(),
            |names| format!("documents that the index knows among them: {names}"),
        );
        report.loss(What::LostLeaves, format!("leaves {from} to {}", to - 1), names);
    }

    fn head(&mut self, at: &str, commit: &Commit, gap: bool, report: &mut Report<'_>) {
        let head = &commit.head;
        let counted =
            self.documents + commit.documents.iter().filter(|document| !document.test).count() as u64;
        if !gap && head.documents != counted {
            let detail = format!("its head says {} documents, {counted} were accepted", head.documents);
            report.loss(What::Record, at, detail);
        }
        self.documents = head.documents;
        if head.size == 0 && head.checkpoint.is_empty() {
            return;
        }
        let opened = match head.checkpoint == self.checkpoint {
            true => Checkpoint::unverified(&head.checkpoint),
            false => self.keys.open(&head.checkpoint),
        };
        match opened {
            Err(error) => report.loss(What::Checkpoint, at, error),
            Ok(checkpoint) if checkpoint.size != head.size || checkpoint.root[..] != head.root[..] => {
                report.loss(What::Checkpoint, at, "it is signed over another tree");
            }
            Ok(_) => head.checkpoint.clone_into(&mut self.checkpoint),
        }
    }

    fn bodies(&mut self, looked: &mut Looked<'_>, report: &mut Report<'_>) {
        for body in &looked.commit.bodies {
            let digest = Digest::from_slice(&body.sha256);
            self.erased.note(&body.sha256, self.seq);
            if digest.is_some_and(|digest| self.good_bodies.contains(&digest))
                || self.erased.is_gone(&body.sha256, self.seq)
            {
                continue;
            }
            self.counts.bodies += 1;
            match (self.payload.verify(body), digest) {
                (Ok(()), Some(digest)) => {
                    if self.good_bodies.len() >= MAX_REMEMBERED {
                        self.good_bodies.clear();
                    }
                    self.good_bodies.insert(digest);
                }
                (Err(error), _) => {
                    looked.bad.insert(body.sha256.clone());
                    report.loss(What::Body, looked.place_of(body), error);
                }
                (Ok(()), None) => {}
            }
        }
    }

    /// The body must be the signed manifest that the evidence is about, and name bodies that are there.
    fn document(&self, looked: &Looked<'_>, document: &DocumentRecord, report: &mut Report<'_>) {
        let place = place(document);
        let mut wrong = |what, detail: String| report.loss(what, &place, detail);
        let Some(evidence) = looked.evidence_at(document.index) else {
            return wrong(
                What::Record,
                format!("its acceptance, leaf {}, is not in its commit", document.index),
            );
        };
        let sender = evidence.sender.as_ref().map(|party| party.agency.as_str());
        let agrees = evidence.event() == EventKind::SubmissionAcceptance
            && evidence.document_id == document.document_id
            && evidence.revision == document.revision
            && sender == Some(&document.sender)
            && evidence.manifest_sha256 == document.manifest_sha256;
        if !agrees {
            wrong(What::Record, format!("leaf {} is not its acceptance", document.index));
        }
        if looked.bad.contains(&document.envelope_sha256) || self.erased.is_whole(document) {
            return;
        }
        let envelope = match self.envelope(looked, document) {
            Ok(envelope) => envelope,
            Err(error) => return wrong(What::Envelope, error),
        };
        if envelope.payload_type != MANIFEST
            || Digest::of(&envelope.payload).as_bytes()[..] != document.manifest_sha256[..]
            || signature_digests(&envelope) != evidence.signature_sha256
        {
            return wrong(What::Envelope, "its envelope is not the one that was accepted".into());
        }
        let manifest = match Manifest::decode(envelope.payload) {
            Ok(manifest) => manifest,
            Err(error) => return wrong(What::Envelope, format!("its manifest: {error}")),
        };
        if (&manifest.document_id, &manifest.sender, manifest.revision)
            != (&document.document_id, &document.sender, document.revision)
            || !manifest.parts.iter().map(|part| &part.sha256).eq(&document.parts)
        {
            wrong(What::Envelope, "its manifest names another document or other parts".into());
        }
        let there = manifest.parts.iter().filter(|_| !self.erased.has(document));
        for part in there {
            match self.record(looked, &part.sha256) {
                Some(body) if body.size == part.size => {}
                Some(body) => {
                    wrong(
                        What::Envelope,
                        format!("part {}: {} bytes, not {}", part.name, body.size, part.size),
                    );
                }
                None => wrong(What::Body, format!("part {}: nothing tells where it lies", part.name)),
            }
        }
    }

    fn envelope(&self, looked: &Looked<'_>, document: &DocumentRecord) -> Result<SignedEnvelope, String> {
        let record = self.record(looked, &document.envelope_sha256);
        let record = record.ok_or("nothing tells where its envelope lies")?;
        let bytes = self.payload.read(&record).map_err(|error| error.to_string())?;
        SignedEnvelope::decode(bytes).map_err(|error| format!("its envelope: {error}"))
    }

    /// Where a body lies: told by this commit, or by an earlier one through the index.
    fn record(&self, looked: &Looked<'_>, sha256: &Bytes) -> Option<BodyRecord> {
        let own = looked.commit.bodies.iter().find(|body| body.sha256 == *sha256);
        own.cloned().or_else(|| self.projections.as_deref()?.body(sha256))
    }
}

/// Every leaf must be an evidence; what is not stands in as an empty one.
fn evidence(commit: &Commit, report: &mut Report<'_>) -> Vec<Evidence> {
    let mut all = Vec::with_capacity(commit.leaves.len());
    for (leaf, index) in commit.leaves.iter().zip(commit.base_size..) {
        let decoded = Evidence::decode(leaf.evidence.clone());
        if let Err(error) = &decoded {
            report.loss(What::Evidence, format!("leaf {index}"), error);
        }
        if leaf.document_plus_one > index + 1 {
            let document = leaf.document_plus_one - 1;
            report.loss(
                What::Record,
                format!("leaf {index}"),
                format!("it belongs to the later leaf {document}"),
            );
        }
        all.push(decoded.unwrap_or_default());
    }
    all
}

impl Looked<'_> {
    fn evidence_at(&self, leaf: u64) -> Option<&Evidence> {
        self.evidence.get(usize::try_from(leaf.checked_sub(self.commit.base_size)?).ok()?)
    }

    /// Every leaf that a record names must exist.
    fn references(&self, report: &mut Report<'_>) {
        let Commit {
            head,
            expansions,
            deliveries,
            messages,
            parked,
            directory,
            cursors,
            pairs,
            sent,
            actions,
            ..
        } = self.commit;
        let mut exists = |what: String, leaf: u64| {
            if leaf >= head.size {
                report.loss(
                    What::Record,
                    &self.at,
                    format!("{what} names leaf {leaf}, which does not exist"),
                );
            }
        };
        for action in actions {
            exists(format!("the action {}", action.id), action.id);
        }
        for expansion in expansions {
            exists(format!("the expansion of list {}", expansion.list), expansion.list);
        }
        for delivery in deliveries {
            let what = format!("the delivery of {} to {}", delivery.document, delivery.recipient);
            exists(what.clone(), delivery.document);
            exists(what, delivery.final_leaf_plus_one.saturating_sub(1));
        }
        messages.iter().for_each(|message| exists("an answered message".into(), message.leaf));
        parked.iter().for_each(|parked| exists("a parked status".into(), parked.leaf));
        cursors.iter().for_each(|c| exists(format!("the cursor of {}", c.agency), c.next.saturating_sub(1)));
        self.countings(pairs, sent, report);
        for change in directory {
            let bytes = self.evidence_at(change.leaf).map(|evidence| evidence.directory_change.clone());
            let decoded = bytes.filter(|bytes| !bytes.is_empty()).map(proto::DirectoryChange::decode);
            if !matches!(decoded, Some(Ok(_))) {
                let place = format!("leaf {}", change.leaf);
                report.loss(What::Record, place, "it holds no change of the directory");
            }
        }
    }

    /// Every counting goes on with a leaf of its commit that says the same.
    fn countings(&self, pairs: &[PairRecord], sent: &[SentRecord], report: &mut Report<'_>) {
        let counters = |leaf: u64| self.evidence_at(leaf).and_then(|evidence| evidence.counters.clone());
        let number = |counter: Option<proto::Counter>| counter.map(|counter| counter.number);
        for pair in pairs {
            let said = counters(pair.leaf).unwrap_or_default();
            if (number(said.pair), number(said.received)) != (Some(pair.number), Some(pair.received)) {
                let place = format!("counting from {} to {}", pair.sender, pair.recipient);
                report.loss(What::Record, place, format!("leaf {} says another number", pair.leaf));
            }
        }
        for sent in sent {
            if counters(sent.leaf).and_then(|said| number(said.sent)) != Some(sent.number) {
                let place = format!("counting of what {} sent", sent.sender);
                report.loss(What::Record, place, format!("leaf {} says another number", sent.leaf));
            }
        }
    }

    fn list(&self, list: &RecipientList, report: &mut Report<'_>) {
        let digest = recipients_digest(list.recipients.iter().map(String::as_str));
        let fits = self.evidence_at(list.index).is_some_and(|evidence| {
            evidence.recipients_sha256 == digest.as_bytes()[..]
                && evidence.recipient_count == list.recipients.len() as u64
        });
        if !fits || list.document > list.index {
            let place = format!("recipient list of leaf {}", list.index);
            report.loss(What::Record, place, "it is not the list that the acceptance names");
        }
    }

    fn digest(&self, digest: &DigestRecord, report: &mut Report<'_>) {
        let said = self.evidence_at(digest.leaf).map(|evidence| evidence.daily_digest.clone());
        let said = said.filter(|said| !said.is_empty()).map(proto::DailyDigest::decode);
        let agencies = Agencies::of(digest.agencies.clone());
        let fits = matches!((&said, &agencies), (Some(Ok(said)), Some(agencies))
            if (said.day, said.start, said.end) == (digest.day, digest.start, digest.end)
                && said.agencies_root == agencies.root()[..]);
        if !fits {
            let place = format!("digest in leaf {}", digest.leaf);
            report.loss(What::Record, place, "it does not say of agencies what the leaf says");
        }
    }

    /// A body, with the documents of this commit that need it.
    fn place_of(&self, body: &BodyRecord) -> String {
        let needs = |document: &&Arc<DocumentRecord>| {
            document.envelope_sha256 == body.sha256 || document.parts.contains(&body.sha256)
        };
        let documents: HashMap<u64, String> = self
            .commit
            .documents
            .iter()
            .filter(needs)
            .map(|document| (document.index, place(document)))
            .collect();
        let mut documents: Vec<_> = documents.into_values().collect();
        documents.sort();
        format!("body {} ({})", hex::encode(&body.sha256), documents.join(", "))
    }
}

fn place(document: &DocumentRecord) -> String {
    let name = name(&document.document_id, &document.sender, document.revision);
    format!("document {name}, leaf {}", document.index)
}

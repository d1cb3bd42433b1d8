//! A commit in the making: staged changes that later requests of the same group already see.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use hashbrown::HashMap;
use prost::Message;

use super::{
    Answer, Decision, Parts, Proof, Proposal, Rejection, actions::Actions, counting::Counted,
    expansion::Expansions, memory::Memory, told::Told,
};
use crate::{
    domain::{
        directory::Directory,
        evidence::{self, RULES, Tell},
        id::{AgencyId, Digest, DocumentName, NodeName},
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::{query, recent, refused::Refused},
    proto::{self, EventKind, Evidence, Party, SignedEnvelope, Verdict},
    store::{
        Commit, Store, StoreError,
        records::{
            ActionRecord, CursorRecord, DeliveryRecord, DocumentRecord, ErasureRecord, Head, LeafRecord,
            MessageRecord, ParkedRecord,
        },
    },
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        merkle::{self, Edge, Growth, Paths},
    },
};

/// A group with more bytes than this is closed: frames stay far below the journal's bound.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The group being decided.
pub struct Draft<'a> {
    pub parts: &'a Parts,
    pub store: &'a dyn Store,
    pub now: Timestamp,
    pub directory: Arc<Directory>,
    directory_changed: bool,
    growth: Growth,
    pub commit: Commit,
    bytes: usize,
    documents: HashMap<DocumentName, u64>,
    naturals: HashMap<(String, u32, String, String), u64>,
    firsts: Vec<u64>,
    deliveries: BTreeMap<(u64, AgencyId), DeliveryRecord>,
    messages: HashMap<Digest, u64>,
    actions: BTreeMap<u64, ActionRecord>,
    requeued: Vec<(AgencyId, Option<u64>)>,
    revoked: Vec<NodeName>,
    accepted: Vec<recent::Document>,
    told: Vec<Told>,
    /// Erasures whose removal this draft records, with their bodies.
    pub ended: Vec<ErasureRecord>,
    pub(super) memory: &'a mut Memory,
    pub(super) counted: Counted,
}

/// A decided group: the commit, and what is needed to answer.
pub struct Done {
    /// `None` when nothing has to be written.
    pub commit: Option<Commit>,
    /// The directory after the group, if it changed.
    pub directory: Option<Arc<Directory>>,
    /// Nodes to cut off.
    pub revoked: Vec<NodeName>,
    /// Documents, with the envelopes they came in.
    pub accepted: Vec<recent::Document>,
    /// What its leaves tell meters.
    pub told: Vec<Told>,
    /// What waits for these recipients, all or one document, can be offered at once.
    pub requeued: Vec<(AgencyId, Option<u64>)>,
    /// Erasures whose bytes are gone now, with their bodies.
    pub ended: Vec<ErasureRecord>,
    base_size: u64,
    checkpoint: Arc<str>,
    paths: Paths,
}

impl<'a> Draft<'a> {
    /// Begins on top of the newest head.
    pub fn new(parts: &'a Parts, memory: &'a mut Memory) -> Result<Self, StoreError> {
        let store = &*parts.store;
        let head = store.head();
        let edge = Edge::load(head.size, &query::Nodes(store))?;
        // Whatever happened to the stored hashes, the log never signs two histories.
        if head.size > 0 && edge.root()[..] != head.root[..] {
            return Err(StoreError::Damaged("the stored tree hashes do not give the signed root".into()));
        }
        let directory = Arc::clone(&parts.directory.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Self {
            parts,
            store,
            now: parts.clock.now(),
            directory,
            directory_changed: false,
            growth: Growth::new(edge),
            commit: Commit::default(),
            bytes: 0,
            documents: HashMap::new(),
            naturals: HashMap::new(),
            firsts: Vec::new(),
            deliveries: BTreeMap::new(),
            messages: HashMap::new(),
            actions: BTreeMap::new(),
            requeued: Vec::new(),
            revoked: Vec::new(),
            accepted: Vec::new(),
            told: Vec::new(),
            ended: Vec::new(),
            memory,
            counted: Counted::default(),
        })
    }

    /// True while more requests may join.
    pub fn has_room(&self, max_leaves: usize) -> bool {
        self.commit.leaves.len() < max_leaves && self.bytes < MAX_BATCH_BYTES
    }

    /// True when no delivery may join either. They have room of their own, so that heavy requests can't keep a
    /// circular waiting.
    pub fn is_full(&self) -> bool {
        self.bytes >= 2 * MAX_BATCH_BYTES
    }

    /// Lets the rules decide one request.
    pub fn decide(
        &mut self,
        proposal: Proposal,
        expansions: &mut Expansions,
        actions: &mut Actions,
    ) -> Result<Decision, Refused> {
        match proposal {
            Proposal::Submit(submission) => self.submit(*submission, expansions),
            Proposal::Add(addition) => self.add(*addition, expansions),
            Proposal::Reject(rejection) => self.reject(*rejection),
            Proposal::Receipt(report) => self.receipt(*report, expansions),
            Proposal::Status(report) => self.status(*report, expansions),
            Proposal::Change(change, actor) => self.change(&change, actor.as_ref()),
            Proposal::Import(agencies, actor) => self.import(&agencies, actor.as_ref()),
            Proposal::Expire(waiting) => Ok(self.expire(&waiting)),
            Proposal::Note(queries) => self.note(&queries),
            Proposal::Act(asked) => actions.ask(self, *asked),
            Proposal::Judge(taken) => actions.judge(self, &taken),
            Proposal::Wake => Ok(actions.wake(self)),
            Proposal::Erase(all) => self.erase(all),
            Proposal::Removed(erasures) => Ok(self.removed(erasures)),
            Proposal::Hold(holding) => self.hold(*holding),
            Proposal::Lift(lifting) => self.lift(*lifting),
            Proposal::Close(closed) => self.close_day(&closed),
            Proposal::SaveCursor(_, agency, next) => {
                self.commit.cursors.push(CursorRecord { agency: agency.to_string(), next });
                Ok(Decision::Done)
            }
        }
    }

    /// Starts an evidence of now.
    pub fn event(&self, kind: EventKind) -> Result<Evidence, Refused> {
        let none = |error| Refused::because(ReasonCode::StoreFailed, format!("no randomness: {error}"));
        let id = self.memory.ids.next().map_err(none)?;
        Ok(evidence::event(kind, id, self.now, &self.parts.log.origin))
    }

    /// A verdict as of the leaf that comes next.
    pub fn verdict(&self, judgement: &crate::domain::envelope::Judgement) -> Verdict {
        Verdict {
            rules: RULES,
            as_of_index: self.growth.size(),
            signatures: judgement.reports.clone(),
            legal_value: judgement.legal_value.into(),
        }
    }

    /// A leaf of this draft.
    pub fn staged_leaf(&self, leaf: u64) -> Option<&LeafRecord> {
        let at = leaf.checked_sub(self.growth.base_size())?;
        self.commit.leaves.get(usize::try_from(at).ok()?)
    }

    /// Evidence bytes of a leaf, staged or stored.
    pub fn evidence_bytes(&self, leaf: u64) -> Result<bytes::Bytes, StoreError> {
        if let Some(record) = self.staged_leaf(leaf) {
            return Ok(record.evidence.clone());
        }
        let stored = self.store.leaf(leaf)?;
        stored
            .map(|stored| stored.evidence)
            .ok_or_else(|| StoreError::Damaged(format!("leaf {leaf} is missing")))
    }

    /// Statuses that wait for this delivery, staged or stored.
    pub fn parked(&self, name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError> {
        let staged = self.commit.parked.iter().filter(|parked| {
            !parked.applied
                && parked.recipient == recipient.as_str()
                && parked.document_id == *name.document_id
                && parked.sender == name.sender.as_str()
                && parked.revision == name.revision
        });
        let mut parked = match self.memory.parked.may_have(name, recipient) {
            true => self.store.parked(name, recipient)?,
            false => Vec::new(),
        };
        parked.extend(staged.cloned());
        Ok(parked)
    }

    /// Index that the next leaf will have.
    pub fn next_leaf(&self) -> u64 {
        self.growth.size()
    }

    /// Adds a leaf; `document` puts it into that timeline, `feeds` into those watches.
    pub fn add_leaf(
        &mut self,
        evidence: &Evidence,
        document: Option<u64>,
        feeds: Vec<String>,
    ) -> Result<(u64, Hash), Refused> {
        let told = evidence;
        let evidence = evidence::encode(told)?;
        let hash = merkle::leaf_hash(&evidence);
        let index = self.growth.push(hash);
        self.told.push(self.parts.note(index, told));
        self.bytes += evidence.len() + 64;
        self.commit.leaves.push(LeafRecord {
            evidence,
            document_plus_one: document.map_or(0, |document| document + 1),
            feeds,
        });
        Ok((index, hash))
    }

    /// Records a refusal; the caller is told the reasons with the proof. The same refusal again is answered
    /// with the first one's proof.
    pub fn reject(&mut self, rejection: Rejection) -> Result<Decision, Refused> {
        if let Some(leaf) = self.memory.refusals.find(&rejection) {
            return Ok(Decision::Refused(rejection.reasons, leaf));
        }
        let mut evidence = self.event(rejection.event)?.because(&rejection.reasons);
        if let Some(name) = &rejection.claim.name {
            evidence = evidence.about(name, &Digest([0; 32]));
            evidence.manifest_sha256 = bytes::Bytes::new();
        }
        evidence.test = rejection.claim.test;
        evidence.message_sha256 = rejection.message.to_bytes();
        let (leaf, _) = self.add_leaf(&spoken(evidence, &rejection), None, Vec::new())?;
        self.memory.refusals.remember(&rejection, leaf);
        Ok(Decision::Refused(rejection.reasons, leaf))
    }

    /// Records what auditors asked.
    fn note(&mut self, queries: &proto::AuditQueries) -> Result<Decision, Refused> {
        let mut evidence = self.event(EventKind::AuditQuery)?;
        evidence.audit_queries = queries.encode_to_vec().into();
        self.add_leaf(&evidence, None, Vec::new())?;
        Ok(Decision::Done)
    }

    /// Document of this name, staged or stored.
    pub fn find_document(&self, name: &DocumentName) -> Result<Option<u64>, StoreError> {
        match self.documents.get(name) {
            Some(index) => Ok(Some(*index)),
            None => self.store.find_document(name),
        }
    }

    /// Record of a document, staged or stored.
    pub fn document(&self, index: u64) -> Result<Arc<DocumentRecord>, StoreError> {
        let staged = self.commit.documents.binary_search_by_key(&index, |document| document.index);
        if let Some(document) = staged.ok().and_then(|at| self.commit.documents.get(at)) {
            return Ok(Arc::clone(document));
        }
        if let Some(document) = self.parts.recent.document(index) {
            return Ok(Arc::clone(&document.record));
        }
        let missing = || StoreError::Damaged(format!("the record of document {index} is missing"));
        self.store.document(index)?.map(Arc::new).ok_or_else(missing)
    }

    /// Stages a document; `first` when [`natural_key`](Self::natural_key) knows no older one.
    pub fn put_document(
        &mut self,
        name: DocumentName,
        document: Arc<DocumentRecord>,
        envelope: SignedEnvelope,
        first: bool,
    ) {
        self.accepted.push(recent::Document { record: Arc::clone(&document), envelope });
        self.bytes += 512 + document.parts.len() * 100;
        self.documents.insert(name, document.index);
        if !document.test {
            let natural =
                (document.sender.clone(), document.year, document.number.clone(), document.notation.clone());
            self.naturals.entry(natural).or_insert(document.index);
            self.firsts.extend(first.then_some(document.index));
        }
        self.commit.documents.push(document);
    }

    /// Older document of the same number and notation.
    pub fn natural_key(
        &self,
        sender: &AgencyId,
        year: u32,
        number: &str,
        notation: &str,
    ) -> Result<Option<u64>, StoreError> {
        let staged = (sender.to_string(), year, number.to_owned(), notation.to_owned());
        match self.naturals.get(&staged) {
            Some(index) => Ok(Some(*index)),
            None => self.store.natural_key(sender, year, number, notation),
        }
    }

    /// One delivery, staged or stored.
    pub fn delivery(
        &self,
        document: u64,
        recipient: &AgencyId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        match self.deliveries.get(&(document, recipient.clone())) {
            Some(delivery) => Ok(Some(delivery.clone())),
            None => self.store.delivery(document, recipient),
        }
    }

    /// Stages the new state of a delivery.
    pub fn put_delivery(&mut self, recipient: AgencyId, delivery: DeliveryRecord) {
        self.bytes += 128;
        self.deliveries.insert((delivery.document, recipient), delivery);
    }

    /// Leaf that answered a signed message, staged or stored.
    pub fn answered(&self, payload: &Digest) -> Result<Option<u64>, StoreError> {
        match self.messages.get(payload) {
            Some(leaf) => Ok(Some(*leaf)),
            None => self.store.answered(payload),
        }
    }

    /// Remembers the leaf that answers a signed message.
    pub fn put_answer(&mut self, payload: Digest, leaf: u64) {
        self.messages.insert(payload, leaf);
        self.commit.messages.push(MessageRecord { payload_sha256: payload.to_bytes(), leaf });
    }

    /// Stages the new state of an action.
    pub fn put_action(&mut self, action: ActionRecord) {
        self.bytes += 256;
        self.actions.insert(action.id, action);
    }

    /// Lets what waits for a recipient be offered at once, when this is durable.
    pub fn requeue(&mut self, recipient: AgencyId, document: Option<u64>) {
        self.requeued.push((recipient, document));
    }

    /// Changes the staged directory.
    pub fn change_directory(&mut self, leaf: u64, change: &proto::DirectoryChange) -> Result<(), Reason> {
        Arc::make_mut(&mut self.directory).apply(leaf, change)?;
        self.directory_changed = true;
        Ok(())
    }

    /// A node to cut off once this is durable.
    pub fn revoke(&mut self, node: NodeName) {
        self.revoked.push(node);
    }

    /// Counts bytes that go into the frame beside the leaves.
    pub fn weigh(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Signs the new head and closes the group.
    pub fn finish(mut self) -> Done {
        self.commit.deliveries = self.deliveries.into_values().collect();
        self.commit.actions = self.actions.into_values().collect();
        (self.commit.pairs, self.commit.sent) = self.counted.into_records();
        let base_size = self.growth.base_size();
        let empty = self.commit == Commit::default();
        let directory = self.directory_changed.then_some(self.directory);
        if empty {
            let paths = self.growth.paths();
            let (revoked, accepted, told) = (self.revoked, self.accepted, self.told);
            let (requeued, ended) = (self.requeued, self.ended);
            return Done {
                commit: None,
                directory,
                revoked,
                accepted,
                told,
                requeued,
                ended,
                base_size,
                checkpoint: Arc::default(),
                paths,
            };
        }
        self.commit.base_size = base_size;
        self.commit.firsts = Some(self.firsts);
        let mut head = self.store.head();
        if self.growth.size() > base_size {
            let documents = self.commit.documents.iter().filter(|document| !document.test).count() as u64;
            head = sign_head(self.parts, &self.growth, head.documents + documents);
        }
        let checkpoint = head.checkpoint.as_str().into();
        self.commit.head = head;
        self.commit.nodes = self.growth.nodes().to_vec();
        let paths = self.growth.paths();
        let (revoked, accepted, told) = (self.revoked, self.accepted, self.told);
        let (requeued, ended, commit) = (self.requeued, self.ended, Some(self.commit));
        Done { commit, directory, revoked, accepted, told, requeued, ended, base_size, checkpoint, paths }
    }
}

/// The signed head of a grown tree.
fn sign_head(parts: &Parts, growth: &Growth, documents: u64) -> Head {
    let checkpoint =
        Checkpoint { origin: parts.log.origin.clone(), size: growth.size(), root: growth.root() };
    Head {
        size: checkpoint.size,
        root: bytes::Bytes::copy_from_slice(&checkpoint.root),
        checkpoint: checkpoint.sign(&parts.log.signer),
        documents,
    }
}

/// Names the node that spoke, beside the agency it spoke for.
fn spoken(mut evidence: Evidence, rejection: &Rejection) -> Evidence {
    let sender = rejection.claim.name.as_ref().map(|name| &name.sender);
    let by_sender = sender.is_some() && sender == rejection.claim.agency.as_ref();
    if rejection.event == EventKind::SubmissionRejection || by_sender {
        return evidence.by_node(rejection.node.as_str());
    }
    let agency = rejection.claim.agency.as_ref().map(ToString::to_string).unwrap_or_default();
    evidence.recipients = vec![Party { agency, node: rejection.node.to_string(), ..Party::default() }];
    evidence
}

impl Done {
    /// What the caller is told, now that the commit is durable.
    pub fn answer(&self, decision: Decision) -> Answer {
        match decision {
            Decision::New(leaf) => Answer::Receipt { proof: self.proof(leaf), repeat: false },
            Decision::Known(leaf) => Answer::Receipt { proof: self.proof(leaf), repeat: true },
            Decision::Refused(reasons, leaf) => Answer::Refused { reasons, proof: self.proof(leaf) },
            Decision::Imported(response) => Answer::Imported(response),
            Decision::Acted(action, leaf) => Answer::Acted(action, self.proof(leaf)),
            Decision::Erased(outcomes) => Answer::Erased(outcomes),
            Decision::Done => Answer::Done,
        }
    }

    /// The leaves that stand in somebody's watch.
    pub fn followed(&self) -> impl Iterator<Item = recent::Proven> {
        let leaves = self.commit.iter().flat_map(|commit| &commit.leaves);
        let indexed = (self.base_size..).zip(leaves);
        indexed.filter(|(_, leaf)| !leaf.feeds.is_empty()).filter_map(|(index, _)| self.proven(index))
    }

    fn proof(&self, leaf: u64) -> Proof {
        self.proven(leaf).map_or(Proof::Stored(leaf), |proven| Proof::Fresh(proven.receipt()))
    }

    fn proven(&self, leaf: u64) -> Option<recent::Proven> {
        let at = usize::try_from(leaf.checked_sub(self.base_size)?).ok()?;
        let path = self.paths.inclusion(leaf)?.into_flattened().into();
        let evidence = self.commit.as_ref()?.leaves.get(at)?.evidence.clone();
        Some(recent::Proven { index: leaf, evidence, path, checkpoint: Arc::clone(&self.checkpoint) })
    }
}

//! What a correct hub knows: the log read leaf by leaf, each leaf judged by the rules before it counts.
//! Written from the promises in `proto/` and ARCHITECTURE.md, in the plainest way; it shares no code with the hub's rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use prost::Message;
use truc::{
    proto::{directory_change::Change, *},
    store::{Store, memory::Memory},
    tlog::{Hash, merkle},
};

use super::said::{Book, Word};
use crate::common::Countings;

pub type Name = (String, String, u64);

#[derive(Clone)]
pub struct Key {
    pub agency: String,
    pub valid_from: i64,
    pub revoked: bool,
}

#[derive(Clone)]
pub struct Document {
    pub name: Name,
    pub digest: Vec<u8>,
    pub deadline: i64,
    pub operation: Operation,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub deadline: i64,
    pub transport: TransportState,
    pub end: Option<u64>,
    pub code: u32,
    pub change_asked: bool,
    last: Hash,
}

/// A list of recipients who are yet to be served.
#[derive(Clone)]
struct List {
    document: u64,
    acceptance: Hash,
    left: VecDeque<String>,
}

#[derive(Clone, Default)]
pub struct Model {
    pub leaves: Vec<(Hash, Evidence)>,
    countings: Countings,
    pub agencies: BTreeMap<String, AgencyState>,
    pub nodes: BTreeMap<String, (BTreeSet<String>, bool)>,
    pub keys: BTreeMap<Vec<u8>, Key>,
    pub documents: BTreeMap<u64, Document>,
    pub names: BTreeMap<Name, u64>,
    pub deliveries: BTreeMap<(u64, String), Delivery>,
    lists: Vec<List>,
    /// Leaf that answers a message for ever.
    pub answered: BTreeMap<Vec<u8>, u64>,
    /// Statuses that came too early: leaf, code, message.
    pub parked: BTreeMap<(Name, String), Vec<(u64, u32)>>,
    /// Leaves that come next, whatever else happens: parked statuses of a delivery just made.
    due: VecDeque<(u64, String, u64, u32)>,
    pub feeds: BTreeMap<String, Vec<u64>>,
}

impl Model {
    /// Leaves of the store that were not read yet.
    pub fn fresh(&self, store: &Memory) -> Vec<(Hash, Evidence)> {
        let from = self.leaves.len() as u64;
        let read = |index| {
            let bytes = store.leaf(index).unwrap().expect("a leaf below the head").evidence;
            (merkle::leaf_hash(&bytes), Evidence::decode(bytes).unwrap())
        };
        (from..store.head().size).map(read).collect()
    }

    /// Takes the next leaf, or panics: it may not stand there.
    pub fn grow(&mut self, (hash, evidence): (Hash, Evidence), book: &Book, now: i64) {
        let index = self.leaves.len() as u64;
        assert_eq!(evidence.event_time_us, now, "leaf {index} is not of this moment");
        let said = book.find(&evidence.message_sha256);
        use EventKind::*;
        match evidence.event() {
            DirectoryChange => self.change(&evidence),
            SubmissionAcceptance if said.is_none() => self.document(index, hash, &evidence, book),
            SubmissionAcceptance => self.addition(index, hash, &evidence, book),
            ContentConsignment => self.consign(hash, &evidence),
            ContentHandoverFailure => self.expire(index, hash, &evidence, now),
            SubmissionRejection | ReportRejection => assert!(said.is_some(), "a refusal of nothing"),
            StatusParked => self.park(index, &evidence),
            _ if evidence.status_code != 0 => self.status(index, hash, &evidence),
            ContentHandover | ConsignmentRejection => self.receipt(index, hash, &evidence, book),
            other => panic!("leaf {index}: {other:?} is not made here"),
        }
        self.countings.take(index, hash, &evidence);
        self.leaves.push((hash, evidence));
    }

    fn change(&mut self, evidence: &Evidence) {
        let change = truc::proto::DirectoryChange::decode(evidence.directory_change.clone()).unwrap();
        match change.change.unwrap() {
            Change::PutAgency(agency) => {
                self.agencies.insert(agency.organ_id.clone(), agency.state());
            }
            Change::SetAgencyState(set) => {
                assert!(self.agencies.insert(set.organ_id.clone(), set.state()).is_some());
            }
            Change::PutNode(node) => {
                self.nodes.insert(node.name, (node.agencies.into_iter().collect(), false));
            }
            Change::RevokeNode(node) => self.nodes.get_mut(&node.name).unwrap().1 = true,
            Change::AddKey(key) => {
                let known = Key {
                    agency: key.agency,
                    valid_from: key.valid_from_us,
                    revoked: key.revoked_at_us != 0,
                };
                self.keys.insert(key.key_id.to_vec(), known);
            }
            Change::RevokeKey(_) => panic!("a revocation stands in the log as the key's whole record"),
            Change::ChangeLogKey(_) => panic!("nobody changes the log's key here"),
        }
    }

    fn document(&mut self, index: u64, hash: Hash, evidence: &Evidence, book: &Book) {
        let said = book.find(&evidence.manifest_sha256).expect("nobody sent this document");
        let Word::Document(manifest) = &book.said[said].word else { panic!("not a document") };
        let name = (manifest.sender.clone(), manifest.document_id.clone(), manifest.revision);
        assert!(self.names.insert(name.clone(), index).is_none(), "{name:?} accepted twice");
        let recipients = self.recipients(manifest);
        assert_eq!(evidence.recipient_count, recipients.len() as u64);
        let deadline = evidence.delivery_deadline_us;
        assert!([0, deadline].contains(&manifest.delivery_deadline_us));
        let (digest, operation) = (book.said[said].digest.clone(), manifest.operation());
        self.answered.insert(digest.clone(), index);
        self.documents.insert(index, Document { name, digest, deadline, operation });
        self.feed(&manifest.sender, index);
        self.lists.push(List { document: index, acceptance: hash, left: recipients });
    }

    /// Recipients of a document, groups expanded. The province is the root of everything below it here.
    fn recipients(&self, manifest: &Manifest) -> VecDeque<String> {
        let mut all: BTreeSet<String> = manifest.recipients.iter().cloned().collect();
        if !manifest.groups.is_empty() {
            let below = self.agencies.iter().filter(|(id, state)| {
                id.ends_with("H53")
                    && **state == AgencyState::Active
                    && id.as_str() != crate::common::PROVINCE
            });
            all.extend(below.map(|(id, _)| id.clone()).filter(|id| *id != manifest.sender));
        }
        all.into_iter().collect()
    }

    fn addition(&mut self, index: u64, hash: Hash, evidence: &Evidence, book: &Book) {
        let digest = evidence.message_sha256.to_vec();
        let Word::Addition(addressing) = &book.said[book.find(&digest).unwrap()].word else {
            panic!("not an addition")
        };
        let document = self.names[&name_of(evidence)];
        let left = self.not_served(document, &addressing.recipients);
        assert!(!left.is_empty());
        assert_eq!(evidence.recipient_count, left.len() as u64);
        assert!(self.answered.insert(digest, index).is_none(), "answered twice");
        self.feed(&addressing.sender, index);
        self.lists.push(List { document, acceptance: hash, left });
    }

    /// Of these, who neither has the document nor is about to get it.
    pub fn not_served(&self, document: u64, recipients: &[String]) -> VecDeque<String> {
        let recipients: BTreeSet<&String> = recipients.iter().collect();
        let is_new = |to: &&String| {
            !self.deliveries.contains_key(&(document, (*to).clone())) && !self.is_pending(document, to)
        };
        recipients.into_iter().filter(is_new).cloned().collect()
    }

    pub fn is_pending(&self, document: u64, recipient: &str) -> bool {
        self.lists.iter().any(|list| list.document == document && list.left.iter().any(|to| to == recipient))
    }

    pub fn is_expanding(&self) -> bool {
        self.lists.iter().any(|list| !list.left.is_empty())
    }

    fn consign(&mut self, hash: Hash, evidence: &Evidence) {
        assert!(self.due.is_empty(), "parked statuses come first: {:?}", self.due);
        let (document, to) = (self.names[&name_of(evidence)], only_recipient(evidence));
        let previous = &evidence.previous_evidence_sha256[..];
        let list =
            self.lists.iter_mut().find(|list| list.document == document && list.acceptance[..] == *previous);
        let list = list.expect("a delivery that nobody asked for");
        assert_eq!(list.left.pop_front().as_ref(), Some(&to), "out of turn");
        let (deadline, operation) = (self.documents[&document].deadline, self.documents[&document].operation);
        let delivery = Delivery {
            deadline,
            transport: TransportState::Ready,
            end: None,
            code: 0,
            change_asked: matches!(operation, Operation::Recall | Operation::Update),
            last: hash,
        };
        assert!(self.deliveries.insert((document, to.clone()), delivery).is_none(), "delivered twice");
        for (leaf, code) in self.parked.remove(&(name_of(evidence), to.clone())).unwrap_or_default() {
            self.due.push_back((document, to.clone(), leaf, code));
        }
    }

    fn expire(&mut self, index: u64, hash: Hash, evidence: &Evidence, now: i64) {
        let delivery = self.chained(evidence, hash);
        assert!(now >= delivery.deadline, "expired too early");
        delivery.finish(TransportState::Expired, index);
        self.feed(&name_of(evidence).0, index);
    }

    fn receipt(&mut self, index: u64, hash: Hash, evidence: &Evidence, book: &Book) {
        let digest = evidence.message_sha256.to_vec();
        let Word::Receipt(word) = &book.said[book.find(&digest).expect("nobody said so")].word else {
            panic!("not a receipt")
        };
        assert_eq!(only_recipient(evidence), word.recipient);
        let state = match evidence.event() {
            EventKind::ContentHandover => TransportState::HandedOver,
            _ => TransportState::Refused,
        };
        assert_eq!(state == TransportState::HandedOver, word.outcome() == Outcome::Accepted);
        let now = evidence.event_time_us;
        let delivery = self.chained(evidence, hash);
        assert!(now < delivery.deadline, "taken over after the deadline");
        delivery.finish(state, index);
        assert!(self.answered.insert(digest, index).is_none(), "answered twice");
        self.feed(&name_of(evidence).0, index);
    }

    /// The delivery of an event, which must follow the event before it.
    fn chained(&mut self, evidence: &Evidence, hash: Hash) -> &mut Delivery {
        let key = (self.names[&name_of(evidence)], only_recipient(evidence));
        let delivery = self.deliveries.get_mut(&key).expect("no such delivery");
        assert_eq!(evidence.previous_evidence_sha256, delivery.last[..], "the chain of {key:?} is broken");
        delivery.last = hash;
        delivery
    }

    fn park(&mut self, index: u64, evidence: &Evidence) {
        let (name, to) = (name_of(evidence), only_recipient(evidence));
        let known = self.names.get(&name);
        assert!(known.is_none_or(|document| self.is_pending(*document, &to)), "parked although it is there");
        let digest = evidence.message_sha256.to_vec();
        assert!(self.answered.insert(digest, index).is_none(), "answered twice");
        self.parked.entry((name, to)).or_default().push((index, evidence.status_code));
    }

    fn status(&mut self, index: u64, hash: Hash, evidence: &Evidence) {
        let (document, to, code) =
            (self.names[&name_of(evidence)], only_recipient(evidence), evidence.status_code);
        let digest = evidence.message_sha256.to_vec();
        match self.due.pop_front() {
            Some((at, recipient, leaf, parked)) => {
                assert_eq!((at, &recipient, parked), (document, &to, code), "another status was parked");
                assert_eq!(self.leaves[leaf as usize].1.message_sha256, digest, "other words were parked");
            }
            None => assert!(self.answered.insert(digest, index).is_none(), "answered twice"),
        }
        let event = self.chained(evidence, hash).move_by(code);
        assert_eq!(evidence.event(), event, "{code}");
        let sender = name_of(evidence).0;
        self.feed(&sender, index);
        if code == 13 && to != sender {
            self.feed(&to, index);
        }
    }

    fn feed(&mut self, agency: &str, index: u64) {
        self.feeds.entry(agency.to_owned()).or_default().push(index);
    }
}

impl Delivery {
    fn finish(&mut self, state: TransportState, leaf: u64) {
        assert_eq!(self.transport, TransportState::Ready, "ended twice");
        (self.transport, self.end) = (state, Some(leaf));
    }

    /// QCVN 102: forward only, 05 may repeat, 02 and 03 exclude each other, 15 and 16 answer a request.
    fn move_by(&mut self, code: u32) -> EventKind {
        let old = self.code;
        match code {
            13 if matches!(old, 2 | 6 | 15) || self.change_asked => return EventKind::StatusRecorded,
            13 => {
                self.change_asked = true;
                return EventKind::RecallRequested;
            }
            15 | 16 if !self.change_asked => return EventKind::StatusRecorded,
            15 | 16 => {
                self.change_asked = false;
                self.code = if code == 15 { 15 } else { old };
                return EventKind::BusinessStatus;
            }
            _ => {}
        }
        let backward = code < old || code == old && code != 5;
        if backward || code == 2 && old >= 3 || old == 2 {
            return EventKind::StatusRecorded;
        }
        self.code = code;
        match code {
            2 => {
                self.change_asked = false;
                EventKind::ConsignmentRejection
            }
            3 => EventKind::ConsignmentAcceptance,
            _ => EventKind::BusinessStatus,
        }
    }
}

pub fn name_of(evidence: &Evidence) -> Name {
    let sender = evidence.sender.as_ref().expect("a sender").agency.clone();
    (sender, evidence.document_id.clone(), evidence.revision)
}

pub fn only_recipient(evidence: &Evidence) -> String {
    assert_eq!(evidence.recipients.len(), 1);
    evidence.recipients[0].agency.clone()
}

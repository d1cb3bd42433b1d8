//! Every word of the hub is held against the model and against what it said before.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use truc::{
    domain::{id::Digest, reason::ReasonCode},
    hub::{intake::Accepted, refused::Refused, watch::Entry},
    proto::*,
    tlog::{Hash, checkpoint::Checkpoint, merkle, note::Verifier},
};

use super::{
    client::Client,
    model::Model,
    process::{LEASE, PAUSE},
    rules::{Verdict, refuse},
    said::{Book, Word},
    stage::{Call, Kind, Stage},
};
use crate::common::{log, node};

/// A clock that goes back by more than this was set.
const SET_BACK: i64 = 500_000;

/// The hub notices it within this time: its clockwork waits for the writer.
const NOTICED: i64 = 10_000_000;

type Told = Result<Accepted, Refused>;

pub struct Lease {
    id: u64,
    until: i64,
    /// `None` when it was fetched.
    pub line: Option<u64>,
}

/// What was handed out.
pub struct Ledger {
    /// Receipts by message: the same bytes for ever.
    pub receipts: BTreeMap<usize, Vec<u8>>,
    /// Messages that were once told that they are new.
    new: BTreeSet<usize>,
    /// Notes by size, with their roots.
    pub checkpoints: BTreeMap<u64, (String, Hash)>,
    pub leases: BTreeMap<(u64, String), Lease>,
    paused: BTreeMap<(u64, String), i64>,
    /// When it was last looked at.
    seen: i64,
    /// The clock was set back, or a slow line went: until then the hub may hold what this ledger takes for free.
    shaken: i64,
    verifier: Verifier,
    pub failed: bool,
    /// Answers by an older leaf that a failed commit may have saved.
    pub perhaps: BTreeSet<(usize, u64)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            receipts: BTreeMap::new(),
            new: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
            leases: BTreeMap::new(),
            paused: BTreeMap::new(),
            seen: 0,
            shaken: 0,
            verifier: log().verifier(),
            failed: false,
            perhaps: BTreeSet::new(),
        }
    }
}

impl Ledger {
    /// A receipt as anyone could check it, and its leaf is the one in the log.
    fn verify(&mut self, receipt: &Receipt, model: &Model) {
        let hash = merkle::leaf_hash(&receipt.evidence);
        assert_eq!(model.leaves.get(receipt.index as usize).map(|leaf| leaf.0), Some(hash), "another leaf");
        let size = unverified_size(&receipt.checkpoint);
        let (note, root) = self.checkpoints.entry(size).or_insert_with(|| {
            let open = Checkpoint::open(&receipt.checkpoint, &self.verifier).expect("signed by this log");
            assert_eq!(open.size, size);
            (receipt.checkpoint.clone(), open.root)
        });
        assert_eq!(*note, receipt.checkpoint, "two checkpoints of size {size}");
        let path: Vec<Hash> = receipt.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
        assert!(merkle::verify_inclusion(&hash, receipt.index, size, &path, root), "not in its log");
    }

    /// A refusal in the log must be what some caller who waits may be told.
    pub fn check_refusal(
        &self,
        evidence: &Evidence,
        book: &Book,
        calls: &BTreeMap<u64, Call>,
        clients: &[Client],
    ) {
        if !matches!(evidence.event(), EventKind::SubmissionRejection | EventKind::ReportRejection) {
            return;
        }
        let (said, code) = (book.find(&evidence.message_sha256), evidence.reasons[0].code());
        let asked = calls.values().filter(|call| call.said == said);
        let may: Vec<_> = asked.map(|call| (clients[call.client].node, &call.may)).collect();
        assert!(
            may.iter().any(|(_, may)| may.contains(&refuse(code))),
            "#{said:?} refused as {code:?}, but it may be {may:?}"
        );
    }

    pub fn forget_leases(&mut self) {
        self.leases.clear();
        self.paused.clear();
    }

    /// Deliveries that ended hold no lease.
    pub fn forget_ended(&mut self, model: &Model) {
        self.leases.retain(|key, _| model.deliveries[key].end.is_none());
    }

    pub fn tick(&mut self, now: i64) {
        // The clock was set back: nothing lasts longer from now on than a new one could.
        if now + SET_BACK < self.seen {
            (self.seen, self.shaken) = (now, now + LEASE + NOTICED);
            self.leases.values_mut().for_each(|lease| lease.until = lease.until.min(now + LEASE));
            self.paused.values_mut().for_each(|until| *until = (*until).min(now + PAUSE));
        }
        self.seen = self.seen.max(now);
        let ended: Vec<_> =
            self.leases.iter().filter(|(_, lease)| lease.until <= now).map(|(key, _)| key.clone()).collect();
        for key in ended {
            self.leases.remove(&key);
            self.paused.insert(key, now + PAUSE);
        }
    }

    /// What it had was not written down; if its time was over at this moment, it is a pause now.
    pub fn slow_line_is_gone(&mut self, now: i64) {
        self.shaken = self.shaken.max(now + PAUSE);
    }

    pub fn release(&mut self, delivery_id: &str, lease: u64, now: i64) {
        let key = delivery(delivery_id);
        if self.leases.get(&key).is_some_and(|held| held.id == lease) {
            self.leases.remove(&key);
            self.paused.insert(key, now + PAUSE);
        }
    }

    pub fn extend(&mut self, delivery_id: &str, until: i64) {
        if let Some(lease) = self.leases.get_mut(&delivery(delivery_id)) {
            lease.until = until;
        }
    }

    fn rests(&self, key: &(u64, String), now: i64) -> bool {
        self.leases.contains_key(key) || self.paused.get(key).is_some_and(|until| *until > now)
    }
}

fn unverified_size(note: &str) -> u64 {
    note.lines().nth(1).and_then(|size| size.parse().ok()).expect("a size")
}

pub fn delivery(delivery_id: &str) -> (u64, String) {
    let (document, to) = delivery_id.split_once('/').expect("document/recipient");
    (document.parse().unwrap(), to.to_owned())
}

impl Stage<'_> {
    /// True when this is the last word on the message.
    pub fn check_answer(&mut self, call: &Call, said: usize, told: &Told) -> bool {
        match told {
            Ok(accepted) => self.check_accepted(call, said, accepted),
            Err(refused) => return self.check_refused(call, said, refused),
        }
        true
    }

    fn check_accepted(&mut self, call: &Call, said: usize, accepted: &Accepted) {
        assert!(!self.ledger.failed, "#{said} was accepted by a commit that failed");
        let (index, word) = (accepted.receipt.index, &self.book.said[said]);
        self.ledger.verify(&accepted.receipt, &self.model);
        if let Word::Change(_) = word.word {
            assert_eq!(self.model.leaves[index as usize].1.event(), EventKind::DirectoryChange);
            return;
        }
        let made_for_it = self.model.answered.get(&word.digest) == Some(&index);
        let known = call.may.contains(&Verdict::Known(index)) || self.ledger.perhaps.contains(&(said, index));
        assert!(made_for_it || known, "#{said}: {:?}", call.may);
        // Answered with an older leaf: from now on for ever.
        self.model.answered.insert(word.digest.clone(), index);
        let bytes = accepted.receipt.encode_to_vec();
        let first = self.ledger.receipts.entry(said).or_insert_with(|| bytes.clone());
        assert_eq!(*first, bytes, "#{said} was answered with other bytes before");
        if !accepted.repeat {
            assert!(self.ledger.new.insert(said), "#{said} was new twice");
        }
    }

    fn check_refused(&mut self, call: &Call, said: usize, refused: &Refused) -> bool {
        let code = refused.code();
        let Some(receipt) = &refused.receipt else {
            let fine = match code {
                ReasonCode::StoreFailed => self.ledger.failed,
                ReasonCode::ShuttingDown => self.ledger.failed,
                ReasonCode::Busy => self.setup.queue < 100,
                _ => matches!(self.book.said[said].word, Word::Change(_)),
            };
            assert!(fine, "#{said}: {code:?} without evidence");
            return matches!(self.book.said[said].word, Word::Change(_)) && code != ReasonCode::Busy;
        };
        self.ledger.verify(receipt, &self.model);
        let evidence = &self.model.leaves[receipt.index as usize].1;
        assert_eq!(evidence.message_sha256, self.book.said[said].digest, "the refusal of another message");
        assert_eq!(evidence.reasons[0].code(), code);
        assert!(call.may.contains(&refuse(code)), "#{said} refused as {code:?}, may be {:?}", call.may);
        true
    }

    /// The session's answer to a receipt; which one, its evidence tells.
    pub fn check_said_in_session(&mut self, line: u64, told: Told) {
        let proof = match &told {
            Ok(accepted) => Some(&accepted.receipt),
            Err(refused) => refused.receipt.as_deref(),
        };
        // Refused without evidence: a command about a lease, or a moment that passes.
        let Some(proof) = proof else { return };
        let evidence = Evidence::decode(proof.evidence.clone()).unwrap();
        let mine = |call: &Call| {
            let Some(said) = call.said.filter(|_| call.line == Some(line)) else { return false };
            let (word, model) = (&self.book.said[said], &self.model);
            word.digest == evidence.message_sha256
                || call.may.contains(&Verdict::Known(proof.index)) && model.leaves.len() as u64 > proof.index
        };
        // One that was told to come again, without evidence, stays in the list: this answer may not be meant for it.
        let fits =
            |call: &Call| told.as_ref().err().is_none_or(|told| call.may.contains(&refuse(told.code())));
        let found = || self.calls.iter().filter(|(_, call)| mine(call));
        let found = found().find(|(_, call)| fits(call)).or_else(|| found().next()).map(|(id, _)| *id);
        let id = found.expect("an answer to something that was said");
        let call = self.calls.remove(&id).expect("found");
        let said = call.said.expect("found");
        let is_last = self.check_answer(&call, said, &told);
        let after = self.latency();
        self.at(after, super::stage::Event::Answer(call.client, said, is_last));
    }

    pub fn check_offer(&mut self, client: usize, line: Option<u64>, offer: &Offer) {
        let (key, now) = (delivery(&offer.delivery_id), self.now());
        assert!(self.model.deliveries.contains_key(&key), "{key:?} was never addressed");
        let slow = line.is_some_and(|line| self.lines[&line].broken);
        let node = self.clients[client].node;
        assert!(slow || self.model.may_act(node, &key.1).is_ok(), "{key:?} offered to {node}");
        let digest = Digest::of(&offer.envelope.as_ref().expect("an envelope").payload);
        assert_eq!(self.model.documents[&key.0].digest, digest.as_bytes(), "another document");
        self.ledger.verify(offer.acceptance.as_ref().expect("its acceptance"), &self.model);
        assert_eq!(offer.acceptance.as_ref().map(|receipt| receipt.index), Some(key.0));
        // What a slow line held back may be long over.
        let is_stale = line.is_some_and(|line| self.lines[&line].was_slow);
        if is_stale || self.model.deliveries[&key].end.is_some() {
            return;
        }
        let held = self.ledger.leases.get(&key);
        let held = held.filter(|lease| lease.until > now && !self.has_ended(lease.line));
        assert!(held.is_none(), "{key:?} is leased to two at a time");
        let lease = Lease { id: offer.lease_id, until: offer.lease_until_us, line };
        self.ledger.leases.insert(key, lease);
    }

    /// Where an entry belongs, or `None` when the hub ends the watch.
    pub fn check_entry(
        &mut self,
        id: u64,
        entry: Result<Entry, Refused>,
    ) -> Option<(&'static str, u64, String)> {
        let line = self.lines.get_mut(&id).expect("a line");
        let Kind::Watch { agency, at } = &mut line.kind else { unreachable!("a watch") };
        let Ok(entry) = entry else {
            let may_not = self.model.may_act(self.clients[line.client].node, agency).is_err();
            assert!(may_not || line.was_slow, "a watch was ended");
            return None;
        };
        let expected = self.model.feeds[*agency].get(*at).copied();
        assert_eq!(expected, Some(entry.receipt.index), "{agency} misses an event, or sees one twice");
        *at += 1;
        self.ledger.verify(&entry.receipt, &self.model);
        Some((*agency, entry.receipt.index, entry.cursor))
    }

    pub fn check_closed(&self, id: u64) {
        let client = &self.clients[self.lines[&id].client];
        let revoked = self.model.nodes.get(client.node).is_none_or(|(_, revoked)| *revoked);
        assert!(revoked || self.lines[&id].was_slow, "the hub closed a session of {}", client.node);
    }

    /// The writer has nothing to do: nobody waits for it, nothing is overdue, everyone was told.
    pub fn check_idle(&self) {
        let now = self.now();
        let waiting = self.calls.values().find(|call| call.said.is_some() && call.line.is_none());
        assert!(waiting.is_none(), "#{:?} waits for ever", waiting.and_then(|call| call.said));
        assert!(!self.model.is_expanding(), "an expansion stands still");
        for (key, delivery) in &self.model.deliveries {
            if delivery.transport != TransportState::Ready {
                continue;
            }
            assert!(delivery.deadline > now, "the deadline of {key:?} passed unnoticed");
            let idle = !self.ledger.rests(key, now) && now >= self.ledger.shaken;
            assert!(!idle || !self.could_be_offered(&key.1), "{key:?} is ready, and nobody is offered it");
        }
        for line in self.lines.values().filter(|line| !line.slow) {
            let Kind::Watch { agency, at } = line.kind else { continue };
            let all = self.model.feeds.get(agency).map_or(0, Vec::len);
            let may = self.model.may_act(self.clients[line.client].node, agency).is_ok();
            assert!(!may || at == all, "{agency} was not told of {} events", all - at);
        }
    }

    /// True when a session has credit for this agency. One that reads slowly may hold offers that nobody saw, also when
    /// its node was revoked since.
    fn could_be_offered(&self, agency: &str) -> bool {
        let mut could = false;
        for line in self.lines.values() {
            let (client, Kind::Session { credit }) = (&self.clients[line.client], &line.kind) else {
                continue;
            };
            if line.was_slow && client.agencies.contains(&agency) {
                return false;
            }
            could |= *credit > 0 && self.model.may_act(client.node, agency).is_ok();
        }
        could
    }

    /// True when the hub has let go of a session, and so of its leases, though its last words were not read yet.
    fn has_ended(&self, line: Option<u64>) -> bool {
        let ended = |process: &super::process::Process| line.is_some_and(|line| process.has_let_go(line));
        self.process.as_ref().is_some_and(ended)
    }

    /// All checkpoints lie on one history, which this run computes by itself.
    pub fn check_history(&self) {
        let mut stack: Vec<(u32, Hash)> = Vec::new();
        for (size, (leaf, _)) in (1..).zip(&self.model.leaves) {
            let mut top = (0, *leaf);
            while stack.last().is_some_and(|(level, _)| *level == top.0) {
                let (level, left) = stack.pop().expect("looked");
                top = (level + 1, merkle::node_hash(&left, &top.1));
            }
            stack.push(top);
            if let Some((_, root)) = self.ledger.checkpoints.get(&size) {
                let all = stack.iter().rev().map(|(_, hash)| *hash);
                let folded = all.reduce(|right, left| merkle::node_hash(&left, &right));
                assert_eq!(folded, Some(*root), "checkpoint of size {size}");
            }
        }
    }

    /// What anyone may ask is what the model says.
    pub fn check_timelines(&self) {
        let process = self.process.as_ref().expect("it runs");
        let overview = process.ask(async |hub| hub.overview().await).unwrap();
        let waits = |delivery: &&super::model::Delivery| delivery.transport == TransportState::Ready;
        assert_eq!(overview.waiting, self.model.deliveries.values().filter(waits).count() as u64);
        assert_eq!(overview.documents, self.model.documents.len() as u64);
        for (index, document) in &self.model.documents {
            let (sender, document_id, revision) = document.name.clone();
            let request = GetTimelineRequest { sender, document_id, revision, ..Default::default() };
            let viewer = truc::hub::query::Viewer::Node(node("operator"));
            assert!(process.ask(async |hub| hub.timeline(viewer, request.clone()).await).is_err());
            let viewer = truc::hub::query::Viewer::Auditor;
            let timeline = process.ask(async |hub| hub.timeline(viewer, request).await).unwrap();
            for state in timeline.recipients {
                let told = &self.model.deliveries[&(*index, state.recipient.clone())];
                let seen = (state.transport(), state.status_code, state.change_pending);
                assert_eq!(
                    seen,
                    (told.transport, told.code, told.change_asked),
                    "{index}/{}",
                    state.recipient
                );
            }
        }
    }
}

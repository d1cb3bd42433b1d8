//! The nodes: they say things, lose their answers, say them again, die and come back with what they wrote down.

use std::collections::{BTreeMap, BTreeSet};

use truc::{domain::id::Digest, hub::session::Command, proto::*};

use super::{
    check::delivery,
    said::{BRANCH, CAST, Word},
    stage::{Event, HubLine, Kind, MS, Stage},
};
use crate::common::*;

pub const OPERATOR: usize = CAST.len();
/// Agencies that only receive, and have no node: they make circulars longer.
pub const SILENT: [&str; 4] = ["000.41.31.H53", "000.42.31.H53", "000.43.31.H53", "000.44.31.H53"];

/// A watch, and how far its client has read.
pub struct Watch {
    pub line: Option<u64>,
    pub cursor: String,
    pub seen: Vec<u64>,
}

pub struct Client {
    pub node: &'static str,
    pub agencies: Vec<&'static str>,
    pub up: bool,
    /// Without network.
    pub away: bool,
    /// Said, and not yet answered for good. On its disk.
    pub outbox: BTreeSet<usize>,
    pub session: Option<u64>,
    pub watches: BTreeMap<&'static str, Watch>,
    /// What it answered to an offer; the same again when it is offered again.
    receipts: BTreeMap<(u64, String), usize>,
}

impl Client {
    pub fn all() -> Vec<Self> {
        let client = |node, agencies: &[&'static str]| {
            let watch = |_: &&str| Watch { line: None, cursor: "c0".into(), seen: Vec::new() };
            // The branch only receives.
            let watched = if node == CAST[BRANCH].0 { &[] } else { agencies };
            Self {
                node,
                agencies: agencies.to_vec(),
                up: true,
                away: false,
                outbox: BTreeSet::new(),
                session: None,
                watches: watched.iter().map(|agency| (*agency, watch(agency))).collect(),
                receipts: BTreeMap::new(),
            }
        };
        let nodes = CAST.iter().map(|(node, agencies)| client(*node, agencies));
        nodes.chain([client("operator", &[])]).collect()
    }

    pub fn lost_line(&mut self, id: u64) {
        if self.session == Some(id) {
            self.session = None;
        }
        self.watches.values_mut().filter(|watch| watch.line == Some(id)).for_each(|watch| watch.line = None);
    }

    /// Lets go of all its lines.
    pub fn hang_up(&mut self) -> Vec<u64> {
        let watches = self.watches.values_mut().filter_map(|watch| watch.line.take());
        self.session.take().into_iter().chain(watches).collect()
    }
}

impl Stage<'_> {
    /// Writes a message down, and sends it until it is answered.
    pub fn say(&mut self, client: usize, word: Word) -> usize {
        let agency = match &word {
            Word::Document(m) => &m.sender,
            Word::Addition(m) => &m.sender,
            Word::Receipt(m) => &m.recipient,
            Word::Status(m) => &m.from,
            Word::Change(_) => "",
        };
        let number = self.seals.get(agency).copied().unwrap_or(0);
        let said = self.book.write(word, number);
        self.clients[client].outbox.insert(said);
        self.send(client, said);
        said
    }

    pub fn send(&mut self, client: usize, said: usize) {
        let copies = if !self.calm && self.dice.percent(self.weather.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.is_lost(client) {
                let after = self.latency();
                self.at(after, Event::Arrive(client, said));
            }
        }
        let patience = self.dice.between(500 * MS, 5_000 * MS);
        self.at(patience, Event::Retry(client, said));
    }

    pub fn retry(&mut self, client: usize, said: usize) {
        if self.clients[client].up && self.clients[client].outbox.contains(&said) {
            self.send(client, said);
        }
    }

    pub fn answered(&mut self, client: usize, said: usize, is_last: bool) {
        if is_last && self.clients[client].up {
            self.clients[client].outbox.remove(&said);
        }
    }

    pub fn die(&mut self, client: usize) {
        if !self.clients[client].up {
            return;
        }
        self.note(format!("{} dies", self.clients[client].node));
        self.clients[client].up = false;
        self.break_lines(client);
        let down = self.dice.between(100 * MS, 10_000 * MS);
        self.at(down, Event::Rise(client));
    }

    pub fn rise(&mut self, client: usize) {
        if self.clients[client].up {
            return;
        }
        self.clients[client].up = true;
        for said in self.clients[client].outbox.clone() {
            self.send(client, said);
        }
        self.reconnect(client);
    }

    /// Opens what is not open.
    pub fn reconnect(&mut self, client: usize) {
        if !self.clients[client].up || self.clients[client].away || self.clients[client].agencies.is_empty() {
            return;
        }
        if self.clients[client].session.is_none() {
            self.open_session(client);
        }
        for agency in self.clients[client].watches.keys().copied().collect::<Vec<_>>() {
            if self.clients[client].watches[agency].line.is_none() {
                self.open_watch(client, agency);
            }
        }
    }

    fn open_session(&mut self, client: usize) {
        let (id, node) = (self.id(), self.clients[client].node);
        let Some(process) = &mut self.process else { return };
        if process.open_session(id, node).is_err() {
            assert!(self.model.nodes.get(node).is_none_or(|(_, revoked)| *revoked), "no session for {node}");
            return;
        }
        self.clients[client].session = Some(id);
        self.line(id, client, Kind::Session { credit: 0 });
        let credit = self.dice.between(1, 4) as u32;
        self.command_later(id, Command::Credit(credit));
    }

    fn open_watch(&mut self, client: usize, agency: &'static str) {
        let (id, node) = (self.id(), self.clients[client].node);
        let cursor = self.clients[client].watches[agency].cursor.clone();
        let Some(process) = &mut self.process else { return };
        if process.open_watch(id, node, agency, &cursor).is_err() {
            assert!(self.model.may_act(node, agency).is_err(), "no watch of {agency} for {node}");
            return;
        }
        let from = u64::from_str_radix(&cursor[1..], 16).expect("a cursor");
        let feed = self.model.feeds.entry(agency.to_owned()).or_default();
        let at = feed.partition_point(|leaf| *leaf < from);
        self.clients[client].watches.get_mut(agency).expect("its watch").line = Some(id);
        self.line(id, client, Kind::Watch { agency, at });
    }

    fn line(&mut self, id: u64, client: usize, kind: Kind) {
        let slow = !self.calm && self.dice.percent(5);
        self.lines.insert(id, HubLine { client, kind, broken: false, slow, was_slow: slow, last: 0 });
    }

    pub fn command_later(&mut self, line: u64, command: Command) {
        let after = self.latency();
        self.at(after, Event::Command(line, command));
    }

    /// An entry arrives: the client remembers where to go on.
    pub fn heard(&mut self, client: usize, line: u64, agency: &'static str, leaf: u64, cursor: String) {
        let watch = self.clients[client].watches.get_mut(agency).expect("its watch");
        if watch.line == Some(line) {
            watch.seen.push(leaf);
            watch.cursor = cursor;
        }
    }

    /// An offer arrives: taken, refused, given back, kept for longer, or forgotten.
    pub fn offered(&mut self, client: usize, line: u64, offer: &Offer) {
        if !self.clients[client].up {
            return;
        }
        let in_session = self.clients[client].session == Some(line);
        if in_session {
            self.command_later(line, Command::Credit(1));
        }
        let (delivery_id, lease) = (offer.delivery_id.clone(), offer.lease_id);
        match self.dice.below(10) {
            0 if !self.calm => {}
            1 if in_session && !self.calm => {
                self.command_later(line, Command::Release { delivery_id, lease })
            }
            2 if in_session => {
                self.command_later(line, Command::Extend { delivery_id, lease });
                self.acknowledge(client, line, offer);
            }
            _ => self.acknowledge(client, line, offer),
        }
    }

    fn acknowledge(&mut self, client: usize, line: u64, offer: &Offer) {
        let key = delivery(&offer.delivery_id);
        let said = match self.clients[client].receipts.get(&key) {
            Some(said) if !self.calm => *said,
            _ => {
                let word = self.receipt_of(offer, &key.1);
                let said = self.book.write(word, self.seals.get(&key.1[..]).copied().unwrap_or(0));
                self.clients[client].receipts.insert(key, said);
                self.clients[client].outbox.insert(said);
                said
            }
        };
        if self.clients[client].session == Some(line) && self.dice.percent(60) {
            let envelope = self.book.said[said].envelope.clone();
            self.command_later(line, Command::Acknowledge(envelope));
            self.at(5_000 * MS, Event::Retry(client, said));
        } else {
            self.send(client, said);
        }
    }

    fn receipt_of(&mut self, offer: &Offer, recipient: &str) -> Word {
        let payload = offer.envelope.as_ref().expect("an envelope").payload.clone();
        let document = <Manifest as prost::Message>::decode(payload.clone()).expect("a manifest");
        let outcome = if self.dice.percent(80) { Outcome::Accepted } else { Outcome::Refused };
        let id = self.id() as i64;
        Word::Receipt(RecipientReceipt {
            document_id: document.document_id,
            sender: document.sender,
            revision: document.revision,
            manifest_sha256: Digest::of(&payload).to_bytes(),
            recipient: recipient.into(),
            outcome: outcome.into(),
            reason: if outcome == Outcome::Refused {
                "Gửi nhầm nơi nhận".into()
            } else {
                String::new()
            },
            received_at_us: START.0 + id,
            hub_origin: ORIGIN.into(),
        })
    }
}

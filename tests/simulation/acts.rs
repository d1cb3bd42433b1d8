//! What a node does of its own accord.

use truc::{
    domain::id::Digest,
    proto::{directory_change::Change, *},
};

use super::{
    client::OPERATOR,
    said::{AGENCIES, BRANCH, CAST, SEALS, Word, seal},
    stage::{Event, Stage, as_document},
};
use crate::common::*;

impl Stage<'_> {
    /// One thing of its own accord.
    pub fn act(&mut self, client: usize) {
        if client == OPERATOR {
            return self.operate();
        }
        if !self.clients[client].up {
            return;
        }
        self.reconnect(client);
        let can_send = client < 2;
        match self.dice.below(100) {
            0..35 if can_send => self.send_document(client),
            35..45 if can_send => self.add_recipients(client),
            45..55 if can_send => self.ask_back(client),
            0..25 => self.report(client),
            25..35 => {
                let after = self.latency();
                self.at(after, Event::Fetch(client));
            }
            55..65 => self.say_again(client),
            65..68 => self.break_lines(client),
            68..72 => self.die(client),
            72..75 => self.at(0, Event::Storm(client)),
            _ => self.report(client),
        }
    }

    fn send_document(&mut self, client: usize) {
        let sender = self.dice.pick(&self.clients[client].agencies.clone());
        let others: Vec<&str> = AGENCIES.into_iter().filter(|to| *to != sender).collect();
        let id = self.dice.below(12);
        let (recipients, urgency) = (self.dice.some(&others), self.dice.below(5) as u32);
        let deadline = self.dice.pick(&[0, 0, 5, 30, 300]);
        let operation = if self.dice.percent(15) { Operation::Recall } else { Operation::New };
        let as_circular = self.dice.percent(20);
        let issued_at_us = START.0 + self.time;
        let number = self.id();
        let manifest = manifest(&format!("d{id}")).with(|m| {
            m.sender = sender.into();
            m.recipients = if as_circular { Vec::new() } else { to(&recipients) };
            m.issued_at_us = issued_at_us;
            m.nonce = Digest::of(&number.to_be_bytes()).as_bytes()[..16].to_vec().into();
            m.delivery_deadline_us = if deadline == 0 { 0 } else { issued_at_us + deadline * SECOND };
            let info = m.document.as_mut().unwrap();
            (info.urgency, info.number) = (urgency, number.to_string());
            info.promulgation_date = "2026-09-01".into();
            if as_circular {
                m.groups = vec![RecipientGroup { root: PROVINCE.into(), level: 0 }];
            }
            if operation == Operation::Recall {
                m.operation = operation.into();
                m.operation_reason = "Ban hành nhầm".into();
                let number = "1".to_owned();
                m.references =
                    vec![Reference { kind: ReferenceKind::Recalls.into(), number, ..Default::default() }];
            }
        });
        self.say(client, Word::Document(Box::new(manifest)));
    }

    /// One of the documents that this client, or anybody, has ever spoken of.
    fn some_document(&mut self, of: Option<usize>) -> Option<(Manifest, Vec<u8>)> {
        let agencies = of.map(|client| self.clients[client].agencies.clone());
        let is_mine = |sender: &str| agencies.as_ref().is_none_or(|mine| mine.contains(&sender));
        let all: Vec<usize> = (0..self.book.said.len())
            .filter(|at| as_document(&self.book.said[*at].word).is_some_and(|m| is_mine(&m.sender)))
            .collect();
        if all.is_empty() {
            return None;
        }
        let said = &self.book.said[self.dice.pick(&all)];
        Some((as_document(&said.word)?.clone(), said.digest.clone()))
    }

    fn add_recipients(&mut self, client: usize) {
        let Some((document, digest)) = self.some_document(Some(client)) else { return };
        let recipients = self.dice.some(&AGENCIES);
        self.say(
            client,
            Word::Addition(Addressing {
                document_id: document.document_id,
                sender: document.sender,
                revision: document.revision,
                manifest_sha256: digest.into(),
                recipients: to(&recipients),
                groups: Vec::new(),
                issued_at_us: START.0 + self.time,
                hub_origin: ORIGIN.into(),
            }),
        );
    }

    fn ask_back(&mut self, client: usize) {
        let Some((document, _)) = self.some_document(Some(client)) else { return };
        let asked = self.dice.pick(&AGENCIES);
        let word = self.status_of(&document, &document.sender, 13).with(|s| s.to = asked.into());
        self.say(client, Word::Status(word));
    }

    /// A status, often before the document is there, sometimes about one that never was sent here.
    fn report(&mut self, client: usize) {
        let Some((document, _)) = self.some_document(None) else { return };
        let from = self.dice.pick(&self.clients[client].agencies.clone());
        let code = self.dice.pick(&[1, 2, 3, 3, 4, 5, 5, 6, 15, 16]);
        let word = self.status_of(&document, from, code);
        self.say(client, Word::Status(word));
    }

    fn status_of(&mut self, document: &Manifest, from: &str, code: u32) -> BusinessStatus {
        let nonce = Digest::of(&self.id().to_be_bytes()).as_bytes()[..16].to_vec().into();
        BusinessStatus {
            document_id: document.document_id.clone(),
            sender: document.sender.clone(),
            revision: document.revision,
            from: from.into(),
            code,
            description: "theo quy định".into(),
            occurred_at_us: START.0 + self.time,
            hub_origin: ORIGIN.into(),
            nonce,
            ..Default::default()
        }
    }

    /// Something that was said before, whatever became of it.
    fn say_again(&mut self, client: usize) {
        let agencies = self.clients[client].agencies.clone();
        let mine: Vec<usize> = (0..self.book.said.len())
            .filter(|at| agencies.contains(&self.book.said[*at].agency.as_str()))
            .collect();
        if !mine.is_empty() {
            let said = self.dice.pick(&mine);
            self.send(client, said);
        }
    }

    /// The operator suspends, wakes, revokes, and gives new keys.
    fn operate(&mut self) {
        let agency = self.dice.pick(&AGENCIES);
        let change = match self.dice.below(10) {
            0..3 => set_state(agency, AgencyState::Suspended),
            3..6 => set_state(agency, AgencyState::Active),
            6..8 if self.seals.get(agency).copied().unwrap_or(0) + 1 < SEALS => {
                return self.renew_seal(agency);
            }
            8 => put_agency(&format!("000.5{}.31.H53", self.dice.below(4))),
            9 => revoke_node(CAST[BRANCH].0),
            _ => return,
        };
        self.say(OPERATOR, Word::Change(change));
    }

    /// The old seal is revoked; the agency signs with the next from now on, registered or not.
    pub fn renew_seal(&mut self, agency: &'static str) {
        let number = self.seals.entry(agency).or_insert(0);
        let old = seal(agency, *number);
        *number += 1;
        let new = seal(agency, *number);
        self.say(OPERATOR, Word::Change(add_key(agency, new, SignerKind::Agency).into()));
        let revoke = change(Change::RevokeKey(RevokeKey { key_id: old.public_key().key_id().to_bytes() }));
        self.say(OPERATOR, Word::Change(revoke));
    }
}

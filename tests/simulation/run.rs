//! One run: a beginning, many troubles, and an end where everything must come right.

use prost::Message;
use truc::{hub::clock::Clock, proto::*, store::memory::Memory};

use super::{
    client::{OPERATOR, SILENT},
    model::Model,
    process::{LEASE, Process, Reply, Setup, Shelf},
    said::{AGENCIES, BRANCH, Book, CAST, Word, seal},
    stage::{Event, MS, Stage},
};
use crate::common::*;

/// Most things that somebody does in a run.
const MAX_ACTS: i64 = 45;
/// They do them within this time.
const SPAN: i64 = 60 * SECOND;

pub fn run(seed: u64, country: &Country, trace: &mut Vec<String>) {
    let mut stage = Stage::new(seed, country, trace);
    stage.start();
    stage.schedule();
    while stage.time < SPAN && stage.step() {}
    stage.come_to_rest();
    stage.check_end();
}

/// What every run begins with: the directory, written by a hub without troubles.
pub struct Country {
    pub shelf: Shelf,
    pub memory: Memory,
    pub model: Model,
    pub book: Book,
}

impl Country {
    pub fn new() -> Self {
        let mut changes: Vec<DirectoryChange> = Vec::new();
        for agency in AGENCIES {
            changes.push(put_agency(agency));
            changes.push(add_key(agency, seal(agency, 0), SignerKind::Agency).into());
        }
        changes.extend(SILENT.map(put_agency));
        changes.extend(CAST.map(|(node, agencies)| put_node(node, agencies)));
        let (shelf, mut model, mut book) = (Shelf::new(), Model::default(), Book::default());
        let disk = shelf.disk(Memory::default());
        let plain = Setup { queue: 1_000, group: 1_000, fan_out: (512, 128) };
        let mut process = Process::start(&disk, &Clock::manual(START), plain);
        for change in changes {
            let said = book.write(Word::Change(change), 0);
            process.call(said as u64, "operator", &book.said[said]);
        }
        process.settle();
        process.turn();
        process.settle();
        let fine = |(_, reply): &(u64, Reply)| matches!(reply, Reply::Told(Ok(_)));
        assert!(process.ended().iter().all(fine));
        for leaf in model.fresh(&disk.memory) {
            model.grow(leaf, &book, START.0);
        }
        Self { memory: disk.memory.fork(), shelf, model, book }
    }
}

impl Stage<'_> {
    fn schedule(&mut self) {
        for _ in 0..self.dice.between(5, MAX_ACTS) {
            let (client, after) =
                (self.dice.pick(&[0, 0, 1, 1, 1, 2, 2, 2, 3, OPERATOR]), self.dice.below(SPAN));
            self.at(after, Event::Act(client));
        }
        for second in 0..SPAN / SECOND {
            let after = second * SECOND + self.dice.below(SECOND);
            if self.dice.percent(self.weather.crash) {
                self.at(after, Event::Crash);
            }
            if self.dice.percent(self.weather.jump) {
                self.at(after, Event::Jump);
            }
        }
    }

    /// The weather is fine from now on, everyone is there: what waits must end by itself.
    fn come_to_rest(&mut self) {
        self.note("calm");
        self.calm = true;
        // Keys are valid from the clock's farthest moment on.
        self.clock.advance_us(self.farthest.max(self.now()) - self.now());
        self.start();
        for client in 0..self.clients.len() {
            self.clients[client].away = false;
            self.rise(client);
            self.break_lines(client);
        }
        self.lines.values_mut().for_each(|line| line.slow = false);
        self.settle();
        for agency in AGENCIES {
            self.say(OPERATOR, Word::Change(set_state(agency, AgencyState::Active)));
            let seal = seal(agency, self.seals.get(agency).copied().unwrap_or(0));
            self.say(OPERATOR, Word::Change(add_key(agency, seal, SignerKind::Agency).into()));
        }
        let end = self.time + 40 * LEASE;
        while !self.is_at_rest() {
            assert!(self.time < end, "it never comes to rest: {}", self.what_is_left());
            (0..CAST.len()).for_each(|client| self.reconnect(client));
            // Somebody always looks: else time would stand still.
            self.at(500 * MS, Event::Clear(OPERATOR));
            let until = self.time + 500 * MS;
            while self.time < until && self.step() {}
        }
    }

    fn is_at_rest(&self) -> bool {
        self.what_is_left().is_empty()
    }

    fn what_is_left(&self) -> String {
        let calls = self
            .calls
            .values()
            .filter(|call| call.line.is_none())
            .filter_map(|call| call.said)
            .map(|said| format!("call #{said}"));
        let outboxes = self.clients.iter().filter(|client| client.node != CAST[BRANCH].0);
        let outboxes = outboxes.flat_map(|client| client.outbox.iter().map(|said| format!("outbox #{said}")));
        let waiting = self.model.deliveries.iter().filter(|((_, to), delivery)| {
            delivery.transport == TransportState::Ready && AGENCIES.contains(&to.as_str())
        });
        let waiting = waiting.map(|(key, _)| format!("delivery {key:?}"));
        let unread =
            self.clients.iter().flat_map(|client| &client.watches).filter(|(agency, watch)| {
                self.model.feeds.get(**agency).is_some_and(|feed| *feed != watch.seen)
            });
        let unread = unread.map(|(agency, _)| format!("watch of {agency}"));
        calls.chain(outboxes).chain(waiting).chain(unread).collect::<Vec<_>>().join(", ")
    }

    fn check_end(&mut self) {
        self.check_history();
        self.say_all_again();
        // The same after a crash: nothing lived in memory only.
        self.crash();
        self.start();
        self.settle();
        self.check_timelines();
    }

    /// Whatever was taken is answered with the same bytes, by documents' ids alone.
    fn say_all_again(&mut self) {
        let taken: Vec<_> = self.ledger.receipts.iter().map(|(at, bytes)| (*at, bytes.clone())).collect();
        let process = self.process.as_mut().expect("it runs");
        for (said, bytes) in taken {
            let word = &self.book.said[said];
            let owner = CAST.iter().find(|(_, agencies)| agencies.contains(&word.agency.as_str()));
            process.call(0, owner.expect("a node").0, word);
            process.settle();
            // One that ended otherwise than by its own leaf is decided by the writer again.
            process.turn();
            process.settle();
            // A call of Fetch may end beside it.
            let reply = process.ended().into_iter().find(|(id, _)| *id == 0).map(|(_, reply)| reply);
            let reply = reply.expect("an answer");
            let Reply::Told(Ok(accepted)) = reply else { panic!("#{said} was taken, now {reply:?}") };
            assert!(accepted.repeat);
            assert_eq!(accepted.receipt.encode_to_vec(), bytes, "#{said}");
        }
    }
}

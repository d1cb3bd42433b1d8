//! The world of one run: a queue of events in virtual time, a network that loses and repeats, a hub that crashes.

use std::collections::{BTreeMap, BTreeSet};

use truc::{
    hub::{Turn, clock::Clock, session::Command},
    store::memory::Fault,
};

use super::{
    check::Ledger,
    client::Client,
    dice::Dice,
    model::Model,
    process::{Disk, Process, Setup},
    rules::Verdict,
    run::Country,
    said::{Book, Word},
};
use crate::common::*;

pub const MS: i64 = 1_000;

/// What happens at a moment.
#[derive(Debug)]
pub enum Event {
    /// A client does something of its own.
    Act(usize),
    /// A message reaches the hub.
    Arrive(usize, usize),
    /// A call of Fetch reaches the hub.
    Fetch(usize),
    /// The answer reaches the client; true when there is nothing more to come.
    Answer(usize, usize, bool),
    /// The client has waited long enough for an answer.
    Retry(usize, usize),
    /// A command reaches the hub's end of a session.
    Command(u64, Command),
    /// An offer reaches the client's end.
    Offered(usize, u64, Box<truc::proto::Offer>),
    /// A watch entry reaches the client's end.
    Entry(usize, u64, &'static str, u64, String),
    /// The hub notices that a line is broken.
    Cut(u64),
    Turn,
    Crash,
    Start,
    Jump,
    /// A client's network goes, or comes back.
    Storm(usize),
    Clear(usize),
    /// A client comes back to life.
    Rise(usize),
}

/// How bad a run is, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: i64,
    pub repeat: i64,
    pub slow: i64,
    pub fault: i64,
    pub crash: i64,
    pub jump: i64,
}

/// A call in the hub.
pub struct Call {
    pub client: usize,
    /// `None` for Fetch.
    pub said: Option<usize>,
    /// What may be answered, by every state since it came.
    pub may: BTreeSet<Verdict>,
    /// Said in a session, where its answer comes; or nobody waits for it any more.
    pub line: Option<u64>,
}

pub enum Kind {
    Session { credit: i64 },
    Watch { agency: &'static str, at: usize },
}

/// A stream as the hub has it.
pub struct HubLine {
    pub client: usize,
    pub kind: Kind,
    /// The client's end is gone.
    pub broken: bool,
    /// Nobody reads at the moment.
    pub slow: bool,
    /// Nobody read for a while: the hub may give it up.
    pub was_slow: bool,
    /// When the last item arrives at the client: streams keep their order.
    pub last: i64,
}

pub struct Stage<'a> {
    pub dice: Dice,
    pub weather: Weather,
    pub setup: Setup,
    pub time: i64,
    pub clock: Clock,
    /// The latest moment that the clock has shown after a jump.
    pub farthest: i64,
    queue: BTreeMap<(i64, u64), Event>,
    pub next: u64,
    pub disk: Disk,
    pub process: Option<Process>,
    turn_is_due: bool,
    /// The last event was a turn with nothing to do.
    idle: bool,
    pub model: Model,
    pub book: Book,
    pub clients: Vec<Client>,
    pub calls: BTreeMap<u64, Call>,
    pub lines: BTreeMap<u64, HubLine>,
    pub ledger: Ledger,
    pub seals: BTreeMap<&'static str, usize>,
    /// No more mishaps: everything has to come to its end.
    pub calm: bool,
    pub trace: &'a mut Vec<String>,
}

impl<'a> Stage<'a> {
    pub fn new(seed: u64, country: &Country, trace: &'a mut Vec<String>) -> Self {
        let mut dice = Dice(seed);
        let weather = Weather {
            loss: dice.pick(&[0, 2, 10, 30]),
            repeat: dice.pick(&[0, 5, 20]),
            slow: dice.pick(&[0, 10, 40]),
            fault: dice.pick(&[0, 0, 2, 5]),
            crash: dice.pick(&[0, 0, 1, 3]),
            jump: dice.pick(&[0, 0, 2, 6]),
        };
        let setup = Setup {
            queue: dice.pick(&[3, 16, 1_000]),
            group: dice.pick(&[1, 3, 100]),
            fan_out: dice.pick(&[(1, 1), (4, 2), (512, 128)]),
        };
        Self {
            dice,
            weather,
            setup,
            time: 0,
            clock: Clock::manual(START),
            farthest: START.0 + 120 * SECOND,
            queue: BTreeMap::new(),
            next: 0,
            disk: country.shelf.disk(country.memory.fork()),
            process: None,
            turn_is_due: false,
            idle: false,
            model: country.model.clone(),
            book: country.book.clone(),
            clients: Client::all(),
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            ledger: Ledger::default(),
            seals: BTreeMap::new(),
            calm: false,
            trace,
        }
    }

    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub fn note(&mut self, what: impl Into<String>) {
        let line = format!("{:>9.3} {}", self.time as f64 / 1e6, what.into());
        self.trace.push(line);
    }

    /// Moments are whole milliseconds: the hub's pauses, which are random below that, are over by the next one.
    pub fn at(&mut self, after: i64, event: Event) {
        let key = ((self.time + after + MS - 1) / MS * MS, self.id());
        self.queue.insert(key, event);
    }

    /// Lets the next thing happen; false when nothing is to come.
    pub fn step(&mut self) -> bool {
        let Some(((time, _), event)) = self.queue.pop_first() else { return false };
        self.clock.advance_us(time - self.time);
        self.time = time;
        self.idle = false;
        self.happen(event);
        self.settle();
        if !self.idle {
            self.turn_soon();
        }
        true
    }

    /// How long a message takes.
    pub fn latency(&mut self) -> i64 {
        if !self.calm && self.dice.percent(self.weather.slow) {
            return self.dice.between(MS, 20_000 * MS);
        }
        self.dice.between(MS, 200 * MS)
    }

    pub fn is_lost(&mut self, client: usize) -> bool {
        !self.calm && (self.clients[client].away || self.dice.percent(self.weather.loss))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(client) => self.act(client),
            Event::Arrive(client, said) => self.arrive(client, said),
            Event::Fetch(client) => self.arrive_fetch(client),
            Event::Answer(client, said, is_last) => self.answered(client, said, is_last),
            Event::Retry(client, said) => self.retry(client, said),
            Event::Command(line, command) => self.command(line, command),
            Event::Offered(client, line, offer) => self.offered(client, line, &offer),
            Event::Entry(client, line, agency, leaf, cursor) => {
                self.heard(client, line, agency, leaf, cursor);
            }
            Event::Cut(line) => self.cut(line),
            Event::Turn => self.turn(),
            Event::Crash => self.crash(),
            Event::Start => self.start(),
            Event::Jump => self.jump(),
            Event::Storm(client) => self.storm(client),
            Event::Clear(client) => self.clients[client].away = false,
            Event::Rise(client) => self.rise(client),
        }
    }

    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.note("the hub starts");
        self.process = Some(Process::start(&self.disk, &self.clock, self.setup));
        let nodes = 0..self.clients.len();
        nodes.for_each(|client| self.reconnect(client));
    }

    pub fn crash(&mut self) {
        if self.process.take().is_none() {
            return;
        }
        self.note("the hub crashes");
        self.calls.clear();
        self.ledger.forget_leases();
        for (id, line) in std::mem::take(&mut self.lines) {
            self.clients[line.client].lost_line(id);
        }
        let down = self.dice.between(10 * MS, 5_000 * MS);
        self.at(down, Event::Start);
    }

    fn jump(&mut self) {
        let far = self.dice.pick(&[SECOND, 20 * SECOND, HOUR, 5 * HOUR, 25 * HOUR]);
        let by = if self.dice.percent(50) { far } else { -far };
        self.clock.advance_us(by);
        self.farthest = self.farthest.max(self.now() + 120 * SECOND);
        self.note(format!("the clock jumps by {} s", by / SECOND));
    }

    fn storm(&mut self, client: usize) {
        self.note(format!("{} has no network", self.clients[client].node));
        self.clients[client].away = true;
        self.break_lines(client);
        let long = self.dice.between(100 * MS, 20_000 * MS);
        self.at(long, Event::Clear(client));
    }

    /// The client's ends are gone at once; the hub learns of it later.
    pub fn break_lines(&mut self, client: usize) {
        self.hang_up(client);
        for id in self.clients[client].hang_up() {
            let Some(line) = self.lines.get_mut(&id) else { continue };
            line.broken = true;
            let later = self.dice.between(MS, 10_000 * MS);
            self.at(later, Event::Cut(id));
        }
    }

    /// Its calls in the hub are dropped where they are.
    fn hang_up(&mut self, client: usize) {
        let Some(process) = &mut self.process else { return };
        let unary = self.calls.iter().filter(|(_, call)| call.client == client && call.line.is_none());
        let ids: Vec<u64> = unary.map(|(id, _)| *id).collect();
        for id in ids.into_iter().filter(|_| self.dice.percent(50)) {
            process.hang_up(id);
            self.calls.get_mut(&id).expect("listed").line = Some(0);
        }
    }

    pub fn cut(&mut self, id: u64) {
        if self.lines.remove(&id).is_some_and(|line| line.was_slow) {
            self.ledger.slow_line_is_gone(self.now());
        }
        // A lease whose time was over before its session ended became a pause, and stays one.
        self.ledger.tick(self.now());
        self.ledger.leases.retain(|_, lease| lease.line != Some(id));
        if let Some(process) = &mut self.process {
            process.sessions.remove(&id);
            process.watches.remove(&id);
        }
    }

    fn arrive(&mut self, client: usize, said: usize) {
        let id = self.id();
        if self.process.is_none() || self.is_lost(client) {
            return;
        }
        self.register(id, client, said, None);
        let process = self.process.as_mut().expect("it runs");
        process.call(id, self.clients[client].node, &self.book.said[said]);
    }

    /// What may be answered to this message from now on.
    fn register(&mut self, id: u64, client: usize, said: usize, line: Option<u64>) {
        let (node, now) = (self.clients[client].node, self.now());
        let word = &self.book.said[said];
        let words = word.words();
        let verdict = self.model.on_arrival(word, node, now);
        let mut may = BTreeSet::from([verdict]);
        if verdict == Verdict::Take {
            may.insert(self.model.on_decision(word, node, now));
        }
        self.note(format!("{node} #{said} arrives: {words}: {verdict:?}"));
        self.calls.insert(id, Call { client, said: Some(said), may, line });
    }

    fn arrive_fetch(&mut self, client: usize) {
        let id = self.id();
        if self.is_lost(client) {
            return;
        }
        let max = self.dice.between(1, 3) as u32;
        let Some(process) = &mut self.process else { return };
        process.fetch(id, self.clients[client].node, max);
        self.calls.insert(id, Call { client, said: None, may: BTreeSet::new(), line: None });
    }

    fn command(&mut self, id: u64, command: Command) {
        let Some(line) = self.lines.get_mut(&id).filter(|line| !line.broken) else { return };
        let client = line.client;
        match &command {
            Command::Credit(more) => {
                if let Kind::Session { credit } = &mut line.kind {
                    *credit = (*credit + i64::from(*more)).min(super::process::MAX_CREDIT.into());
                }
            }
            Command::Acknowledge(envelope) => {
                let digest = truc::domain::id::Digest::of(&envelope.payload);
                let said = self.book.find(digest.as_bytes()).expect("it was written down");
                let call = self.id();
                self.register(call, client, said, Some(id));
            }
            Command::Release { delivery_id, lease } => {
                self.ledger.release(delivery_id, *lease, self.clock.now().0)
            }
            Command::Extend { .. } => {}
        }
        let process = self.process.as_ref().expect("lines die with the hub");
        let Some(line) = process.sessions.get(&id) else { return };
        // A full pipe is a client that has to wait: here it gives up what it wanted to say.
        let _ = line.commands.try_send(command);
    }

    fn turn(&mut self) {
        // The clockwork first looks at this moment.
        self.settle();
        self.turn_is_due = false;
        if self.process.is_none() {
            return;
        }
        if !self.calm && self.dice.percent(self.weather.fault) {
            let fault = self.dice.pick(&[Fault::FailedNotSaved, Fault::FailedButSaved]);
            self.disk.memory.inject(fault);
        }
        let turn = self.process.as_mut().expect("it runs").turn();
        // A fault that met no commit.
        if turn != Turn::Failed {
            self.disk.memory.inject(Fault::None);
        }
        self.grow();
        match turn {
            Turn::Idle => {
                self.idle = true;
                self.check_idle();
            }
            Turn::Worked => self.turn_soon(),
            Turn::Failed => {
                self.note("the store fails");
                self.remember_perhaps(|_| true);
                self.settle_failed();
                self.crash();
            }
        }
    }

    fn turn_soon(&mut self) {
        if self.process.is_none() || std::mem::replace(&mut self.turn_is_due, true) {
            return;
        }
        let busy = if !self.calm && self.dice.percent(3) { 3_000 * MS } else { 40 * MS };
        let after = self.dice.between(MS / 2, busy);
        self.at(after, Event::Turn);
    }

    /// Reads what was written, leaf by leaf; what waits may be answered by any state on the way.
    fn grow(&mut self) {
        let now = self.now();
        for (hash, evidence) in self.model.fresh(&self.disk.memory) {
            self.judge_waiting();
            self.ledger.check_refusal(&evidence, &self.book, &self.calls, &self.clients);
            let about = format!("{} {}", evidence.event().as_str_name(), evidence.document_id);
            self.note(format!("leaf {}: {about}", self.model.leaves.len()));
            self.model.grow((hash, evidence), &self.book, now);
        }
        self.judge_waiting();
        // In a session, or hung up: the answer may never be read.
        self.remember_perhaps(|call| call.line.is_some());
        self.ledger.forget_ended(&self.model);
    }

    /// Answers by an older leaf that the hub may remember although nobody was seen to get them.
    fn remember_perhaps(&mut self, of: impl Fn(&Call) -> bool) {
        for call in self.calls.values().filter(|call| of(call)) {
            let known = call.may.iter().filter_map(|may| match may {
                Verdict::Known(leaf) => Some(*leaf),
                _ => None,
            });
            self.ledger.perhaps.extend(known.filter_map(|leaf| Some((call.said?, leaf))));
        }
    }

    fn judge_waiting(&mut self) {
        let now = self.clock.now().0;
        for call in self.calls.values_mut() {
            let Some(said) = call.said else { continue };
            if call.may.contains(&Verdict::Take) {
                let node = self.clients[call.client].node;
                call.may.insert(self.model.on_decision(&self.book.said[said], node, now));
            }
        }
    }
}

/// The word of a message that is known to be a document.
pub fn as_document(word: &Word) -> Option<&truc::proto::Manifest> {
    if let Word::Document(manifest) = word { Some(&**manifest) } else { None }
}

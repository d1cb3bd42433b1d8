//! One life of the hub: its tasks on a runtime of one thread whose clock stands still, its writer moved by hand.
//! Dropping it is a crash.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{Receiver, Sender},
    task::JoinHandle,
};
use truc::{
    domain::{id::NodeName, retry::Backoff},
    hub::{
        ByHand, Hub, Settings, Turn,
        clock::Clock,
        intake::Accepted,
        refused::Refused,
        session::{Command, Event},
        watch::{Entry, Until},
    },
    proto::*,
    store::{
        memory::Memory,
        payload::{Payload, PayloadOptions},
    },
};

use super::said::{Said, Word};
use crate::common::*;

pub const LEASE: i64 = 5 * SECOND;
/// Pauses are over when the clock has moved at all.
pub const PAUSE: i64 = 1_000;
pub const MAX_CREDIT: u32 = 8;

/// What lies on disk and survives every crash.
pub struct Disk {
    pub memory: Arc<Memory>,
    payload: Arc<Payload>,
}

/// Bodies of all runs of one thread: they are named by their digests.
pub struct Shelf(Arc<Payload>, #[allow(dead_code)] TempDir);

impl Shelf {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        Self(Arc::new(Payload::open(dir.path(), PayloadOptions::default()).unwrap()), dir)
    }

    pub fn disk(&self, memory: Memory) -> Disk {
        Disk { memory: Arc::new(memory), payload: Arc::clone(&self.0) }
    }
}

/// How the hub is set up in a run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub queue: usize,
    pub group: usize,
    pub fan_out: (usize, usize),
}

impl Setup {
    fn settings(&self) -> Settings {
        Settings {
            lease_us: LEASE,
            backoff: Backoff::new(PAUSE, PAUSE, 1).unwrap(),
            max_credit: MAX_CREDIT,
            max_waiting_requests: self.queue,
            max_batch_leaves: self.group,
            upload_retention_us: 3_650 * DAY,
            ..settings()
        }
    }
}

/// What a call came to.
#[derive(Debug)]
pub enum Reply {
    Told(Result<Accepted, Refused>),
    Offers(Result<Vec<Offer>, Refused>),
}

pub struct Line {
    pub commands: Sender<Command>,
    events: Receiver<Event>,
}

/// Fields drop in this order: the tasks first.
pub struct Process {
    runtime: Runtime,
    hub: Arc<Hub>,
    writer: ByHand,
    calls: BTreeMap<u64, JoinHandle<Reply>>,
    pub sessions: BTreeMap<u64, Line>,
    pub watches: BTreeMap<u64, Receiver<Result<Entry, Refused>>>,
}

impl Process {
    pub fn start(disk: &Disk, clock: &Clock, setup: Setup) -> Self {
        disk.memory.recover();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let started = {
            let _inside = runtime.enter();
            let (store, payload) = (Arc::clone(&disk.memory) as _, Arc::clone(&disk.payload));
            Hub::start_by_hand(store, payload, log(), setup.settings(), clock.clone())
        };
        let (hub, mut writer) = started.expect("the hub starts on what its store holds");
        writer.set_fan_out(setup.fan_out.0, setup.fan_out.1);
        Self {
            runtime,
            hub,
            writer,
            calls: BTreeMap::new(),
            sessions: BTreeMap::new(),
            watches: BTreeMap::new(),
        }
    }

    /// Lets every task run until it waits; the clockwork ticks once.
    pub fn settle(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(101)).await });
    }

    pub fn turn(&mut self) -> Turn {
        let _inside = self.runtime.enter();
        self.writer.turn()
    }

    pub fn call(&mut self, id: u64, node: &str, said: &Said) {
        let (hub, by, said) = (Arc::clone(&self.hub), self::node(node), said.clone());
        let call = self.runtime.spawn(async move { Reply::Told(tell(&hub, &by, said).await) });
        self.calls.insert(id, call);
    }

    pub fn fetch(&mut self, id: u64, node: &str, max: u32) {
        let (hub, by) = (Arc::clone(&self.hub), self::node(node));
        let wait = Duration::from_millis(250);
        let call = self.runtime.spawn(async move { Reply::Offers(hub.fetch(&by, &[], max, wait).await) });
        self.calls.insert(id, call);
    }

    /// The client went away: nobody waits for the answer.
    pub fn hang_up(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(&id) {
            call.abort();
        }
    }

    /// Calls that have ended since.
    pub fn ended(&mut self) -> Vec<(u64, Reply)> {
        let ids: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.is_finished()).map(|(id, _)| *id).collect();
        let take = |id| {
            let call = self.calls.remove(&id)?;
            Some((id, self.runtime.block_on(call).expect("no panic in the hub")))
        };
        ids.into_iter().filter_map(take).collect()
    }

    pub fn open_session(&mut self, id: u64, node: &str) -> Result<(), Refused> {
        let _inside = self.runtime.enter();
        let session = self.hub.open_session(&self::node(node), &[])?;
        self.sessions.insert(id, Line { commands: session.commands, events: session.events });
        Ok(())
    }

    pub fn open_watch(&mut self, id: u64, node: &str, agency: &str, cursor: &str) -> Result<(), Refused> {
        let _inside = self.runtime.enter();
        let entries = self.hub.watch(&self::node(node), agency, cursor, Until::Stopped)?;
        self.watches.insert(id, entries);
        Ok(())
    }

    pub fn events(&mut self, line: u64) -> Vec<Event> {
        let Some(line) = self.sessions.get_mut(&line) else { return Vec::new() };
        std::iter::from_fn(|| line.events.try_recv().ok()).collect()
    }

    /// True when the hub's end of this session is gone, read or not.
    pub fn has_let_go(&self, line: u64) -> bool {
        self.sessions.get(&line).is_none_or(|line| line.events.is_closed())
    }

    /// True when the hub closed this line.
    pub fn is_closed(&self, line: u64) -> bool {
        self.sessions.get(&line).is_some_and(|line| line.events.is_closed() && line.events.is_empty())
    }

    pub fn entries(&mut self, line: u64) -> Vec<Result<Entry, Refused>> {
        let Some(entries) = self.watches.get_mut(&line) else { return Vec::new() };
        std::iter::from_fn(|| entries.try_recv().ok()).collect()
    }

    pub fn ask<T>(&self, question: impl AsyncFnOnce(&Arc<Hub>) -> T) -> T {
        self.runtime.block_on(question(&self.hub))
    }
}

async fn tell(hub: &Arc<Hub>, by: &NodeName, said: Said) -> Result<Accepted, Refused> {
    match said.word {
        Word::Document(_) => hub.submit(by, said.envelope, Vec::new()).await,
        Word::Addition(_) => hub.add_recipients(by, said.envelope).await,
        Word::Receipt(_) => hub.acknowledge(by, said.envelope).await,
        Word::Status(_) => hub.report_status(by, said.envelope).await,
        Word::Change(change) => hub.change_directory(change).await,
    }
}

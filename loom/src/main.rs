//! The queue before the writer, under every order of its threads (up to the bound on preemptions): nobody is woken too
//! late, every request that was taken is answered exactly once, a stop drains what waits.
//!
//! The queue is the hub's own file; only its locks are loom's.
#![allow(dead_code)] // the models use a part of it

#[path = "../../src/hub/lanes.rs"]
mod lanes;

/// What the queue locks with.
mod sync {
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

/// The one word of the domain that the queue knows.
mod domain {
    pub mod id {
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct NodeName(pub &'static str);
    }
}

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use domain::id::NodeName;
use lanes::{NotTaken, Receiver, Sender, lanes};
use loom::{model::Builder, sync::Arc, thread};

/// Preemptions of one execution: with three nearly all known faults of this kind show, and it ends in seconds.
const PREEMPTIONS: usize = 3;

static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);

enum Request {
    Propose(Reply),
    Stop,
}

/// Counts its answers; dropped without one it tells that too, as a oneshot channel does.
struct Reply(Arc<Told>);

#[derive(Default)]
struct Told {
    answers: AtomicUsize,
    dropped: AtomicUsize,
}

impl Reply {
    fn send(self) {
        self.0.answers.fetch_add(1, SeqCst);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

fn node(name: &'static str) -> lanes::Owner {
    Some(NodeName(name))
}

/// The writer: takes a group, answers it, until it is told to stop.
fn write(requests: &Receiver<Request>) {
    while let Some(first) = requests.recv() {
        let mut next = Some(first);
        let mut group = Vec::new();
        let mut stop = false;
        while let Some(request) = next {
            match request {
                Request::Propose(reply) => group.push(reply),
                Request::Stop => stop = true,
            }
            next = if stop { None } else { requests.try_recv() };
        }
        group.into_iter().for_each(Reply::send);
        if stop {
            return;
        }
    }
}

/// Proposes; true when it was taken.
fn propose(requests: &Sender<Request>, name: &'static str) -> Option<Arc<Told>> {
    let told = Arc::new(Told::default());
    let taken = requests.send(node(name), Request::Propose(Reply(Arc::clone(&told))));
    match taken {
        Ok(()) => Some(told),
        Err((NotTaken::Full | NotTaken::Closed, _)) => {
            assert_eq!(told.answers.load(SeqCst), 0, "refused and answered");
            None
        }
    }
}

fn check(name: &str, model: impl Fn() + Send + Sync + 'static) {
    EXECUTIONS.store(0, SeqCst);
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, SeqCst);
        model();
    });
    println!("{name}: {} executions", EXECUTIONS.load(SeqCst));
}

fn main() {
    check("two nodes, then a stop", two_nodes_then_a_stop);
    check("a stop in the middle", a_stop_in_the_middle);
    check("a writer that fails", a_writer_that_fails);
    check("two workers", two_workers);
}

/// Everything that was taken before the stop is answered once.
fn two_nodes_then_a_stop() {
    let (sender, receiver) = lanes(4, 2);
    let sender = Arc::new(sender);
    let writer = thread::spawn(move || write(&receiver));
    let other = {
        let sender = Arc::clone(&sender);
        thread::spawn(move || propose(&sender, "a"))
    };
    let mine = [propose(&sender, "b"), propose(&sender, "b")];
    let theirs = other.join().unwrap();
    sender.close_with(Request::Stop);
    writer.join().unwrap();
    for told in mine.into_iter().chain([theirs]) {
        assert_eq!(told.expect("there is room").answers.load(SeqCst), 1);
    }
}

/// A request meets the stop: taken and answered, or refused; never neither.
fn a_stop_in_the_middle() {
    let (sender, receiver) = lanes(2, 1);
    let sender = Arc::new(sender);
    let writer = thread::spawn(move || write(&receiver));
    let other = {
        let sender = Arc::clone(&sender);
        thread::spawn(move || propose(&sender, "a"))
    };
    sender.close_with(Request::Stop);
    let told = other.join().unwrap();
    assert!(propose(&sender, "b").is_none(), "taken after the stop");
    writer.join().unwrap();
    if let Some(told) = told {
        assert_eq!(told.answers.load(SeqCst), 1, "taken and never answered");
    }
}

/// The writer goes away after its first group: who still waits is let go, and nobody is taken after that.
fn a_writer_that_fails() {
    let (sender, receiver) = lanes(4, 2);
    let sender = Arc::new(sender);
    let writer = thread::spawn(move || {
        if let Some(Request::Propose(reply)) = receiver.recv() {
            reply.send();
        }
    });
    let other = {
        let sender = Arc::clone(&sender);
        thread::spawn(move || propose(&sender, "a"))
    };
    let mine = propose(&sender, "b");
    let theirs = other.join().unwrap();
    writer.join().unwrap();
    for told in [mine, theirs].into_iter().flatten() {
        assert_eq!(told.dropped.load(SeqCst), 1, "somebody waits for ever");
    }
}

/// Two receivers, each woken when there is work: all of it is done, none of it twice.
fn two_workers() {
    let (sender, receiver) = lanes(4, 1);
    let other = receiver.clone();
    let work = |receiver: Receiver<usize>| move || std::iter::from_fn(|| receiver.recv()).collect::<Vec<_>>();
    let threads = [thread::spawn(work(receiver)), thread::spawn(work(other))];
    sender.send(node("a"), 1).ok().expect("room");
    sender.send(node("b"), 2).ok().expect("room");
    drop(sender);
    let mut done: Vec<usize> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, [1, 2]);
}

//! A bounded queue with a lane for each node. Lanes take turns, so a node that floods waits behind itself, and
//! everybody else waits for one round.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{PoisonError, mpsc::RecvTimeoutError},
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use super::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::domain::id::NodeName;

/// Whose lane: a node's, or the one of operators and of the hub itself.
pub type Owner = Option<NodeName>;

/// Why something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The lane holds as much as there is room left for all others.
    Full,
    /// The other end is gone, or nothing more is taken.
    Closed,
}

/// A queue of at most `most`. A lane may grow as long as it is shorter than the room that is left: one sender alone
/// gets half, and newcomers always find a place until there are as many senders as places. A receiver takes up to
/// `round` at a time, each lane in turn.
pub fn lanes<T>(most: usize, round: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        lanes: HashMap::new(),
        turns: VecDeque::new(),
        waiting: 0,
        last: None,
        closed: false,
        resting: 0,
        receivers: 1,
    };
    let shared = Arc::new(Shared { most, state: Mutex::new(state), came: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver { shared, round: round.max(1), taken: RefCell::default() })
}

struct Shared<T> {
    most: usize,
    state: Mutex<State<T>>,
    came: Condvar,
}

struct State<T> {
    /// Only lanes in which something waits.
    lanes: HashMap<Owner, VecDeque<T>>,
    /// Each of these lanes once, in the order of their turns.
    turns: VecDeque<Owner>,
    waiting: usize,
    /// Comes after everything else.
    last: Option<T>,
    closed: bool,
    /// Receivers that wait to be woken.
    resting: usize,
    receivers: usize,
}

impl<T> State<T> {
    fn next(&mut self) -> Option<T> {
        let Some(owner) = self.turns.pop_front() else { return self.last.take() };
        let lane = self.lanes.get_mut(&owner)?;
        let item = lane.pop_front();
        self.waiting -= 1;
        if lane.is_empty() {
            self.lanes.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        item
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that puts in. Dropping it ends the queue, once everything was taken out.
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts something into a lane. Never waits; gives back what was not taken.
    pub fn send(&self, owner: Owner, item: T) -> Result<(), (NotTaken, T)> {
        let mut state = self.0.lock();
        if state.closed {
            return Err((NotTaken::Closed, item));
        }
        let room = self.0.most - state.waiting;
        if let Some(lane) = state.lanes.get_mut(&owner) {
            if lane.len() >= room {
                return Err((NotTaken::Full, item));
            }
            lane.push_back(item);
        } else if room == 0 {
            return Err((NotTaken::Full, item));
        } else {
            state.lanes.insert(owner.clone(), VecDeque::from([item]));
            state.turns.push_back(owner);
        }
        state.waiting += 1;
        if state.resting > 0 {
            self.0.came.notify_one();
        }
        Ok(())
    }

    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting
    }

    /// Takes nothing more; `last` comes out after everything that waits.
    pub fn close_with(&self, last: T) {
        let mut state = self.0.lock();
        state.last = Some(last);
        // With one lock: nothing may be taken behind what a receiver has seen as the last.
        state.closed = true;
        drop(state);
        self.0.came.notify_all();
    }

    fn close(&self) {
        self.0.lock().closed = true;
        self.0.came.notify_all();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The end that takes out, for one thread.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    round: usize,
    /// Taken out with one lock, in order.
    taken: RefCell<VecDeque<T>>,
}

impl<T> Receiver<T> {
    /// The next, if one is there.
    pub fn try_recv(&self) -> Option<T> {
        let mut taken = self.taken.borrow_mut();
        if taken.is_empty() {
            self.take(&mut self.shared.lock(), &mut taken);
        }
        taken.pop_front()
    }

    /// The next; `None` when there will be none.
    pub fn recv(&self) -> Option<T> {
        loop {
            match self.recv_timeout(Duration::from_secs(3_600)) {
                Ok(item) => return Some(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The next; waits for it so long.
    pub fn recv_timeout(&self, wait: Duration) -> Result<T, RecvTimeoutError> {
        let mut taken = self.taken.borrow_mut();
        if let Some(item) = taken.pop_front() {
            return Ok(item);
        }
        let end = Instant::now() + wait;
        let mut state = self.shared.lock();
        loop {
            self.take(&mut state, &mut taken);
            if let Some(item) = taken.pop_front() {
                return Ok(item);
            }
            if state.closed {
                return Err(RecvTimeoutError::Disconnected);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            state.resting += 1;
            let woken = self.shared.came.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.resting -= 1;
        }
    }

    fn take(&self, state: &mut State<T>, taken: &mut VecDeque<T>) {
        taken.extend(std::iter::from_fn(|| state.next()).take(self.round));
    }
}

impl<T> Clone for Receiver<T> {
    /// Another receiver of the same queue.
    fn clone(&self) -> Self {
        self.shared.lock().receivers += 1;
        Self { shared: Arc::clone(&self.shared), round: self.round, taken: RefCell::default() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receivers -= 1;
        if state.receivers > 0 {
            return;
        }
        state.closed = true;
        state.turns.clear();
        state.waiting = 0;
        let abandoned = (std::mem::take(&mut state.lanes), state.last.take());
        // Whatever they do when they are dropped, they do it without the lock.
        drop(state);
        drop(abandoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Owner {
        Some(NodeName::parse(name).unwrap())
    }

    fn drain<T>(receiver: &Receiver<T>) -> Vec<T> {
        std::iter::from_fn(|| receiver.try_recv()).collect()
    }

    #[test]
    fn a_flood_makes_others_wait_for_one_round() {
        let (sender, receiver) = lanes(1_000, 8);
        for number in 0..400 {
            sender.send(node("flood"), ("flood", number)).unwrap();
        }
        for number in 0..3 {
            sender.send(node("calm"), ("calm", number)).unwrap();
            sender.send(None, ("hub", number)).unwrap();
        }
        let order = drain(&receiver);
        let places: Vec<_> =
            order.iter().enumerate().filter(|(_, (who, _))| *who != "flood").map(|(at, _)| at).collect();
        assert_eq!(places, [1, 2, 4, 5, 7, 8], "each waits for one of every other lane");
        for who in ["flood", "calm", "hub"] {
            let own: Vec<_> = order.iter().filter(|(name, _)| *name == who).map(|(_, n)| *n).collect();
            assert!(own.is_sorted(), "{who} keeps its order");
        }
        assert_eq!(order.len(), 406);
    }

    #[test]
    fn what_comes_during_a_round_is_in_the_next() {
        let (sender, receiver) = lanes(1_000, 4);
        (0..100).for_each(|_| sender.send(node("flood"), "flood").unwrap());
        assert_eq!(receiver.try_recv(), Some("flood"));
        sender.send(node("calm"), "calm").unwrap();
        let before = drain(&receiver).iter().position(|who| *who == "calm");
        assert!(before.unwrap() <= 4, "{before:?}");
    }

    #[test]
    fn one_alone_gets_half_and_newcomers_find_room() {
        let (sender, receiver) = lanes(64, 8);
        let fill = |name: &str| (0..).take_while(|_| sender.send(node(name), ()).is_ok()).count();
        let counts: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(fill).to_vec();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1, 0]);
        assert_eq!(sender.send(node("a"), ()), Err((NotTaken::Full, ())));
        assert_eq!(drain(&receiver).len(), 64);
        assert!(receiver.shared.lock().lanes.is_empty(), "nothing is kept for nodes that are quiet");
        assert_eq!(fill("a"), 32);
    }

    #[test]
    fn the_last_comes_after_everything_and_nothing_after_it() {
        let (sender, receiver) = lanes(8, 2);
        sender.send(node("a"), 1).unwrap();
        sender.close_with(9);
        assert_eq!(sender.send(node("a"), 2), Err((NotTaken::Closed, 2)));
        assert_eq!((receiver.recv(), receiver.recv(), receiver.recv()), (Some(1), Some(9), None));
    }

    #[test]
    fn a_receiver_that_goes_lets_go_of_what_waits() {
        let (sender, receiver) = lanes(8, 2);
        let item = Arc::new(());
        sender.send(None, Arc::clone(&item)).unwrap();
        let other = receiver.clone();
        drop(receiver);
        sender.send(None, Arc::clone(&item)).expect("the other one still takes");
        drop(other);
        assert!(matches!(sender.send(None, Arc::clone(&item)), Err((NotTaken::Closed, _))));
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn every_receiver_is_woken_and_nothing_comes_twice() {
        let (sender, receiver) = lanes(20_000, 1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let receiver = receiver.clone();
                std::thread::spawn(move || std::iter::from_fn(|| receiver.recv()).collect::<Vec<u32>>())
            })
            .collect();
        drop(receiver);
        for number in 0..5_000 {
            sender.send(node(if number % 3 == 0 { "a" } else { "b" }), number).unwrap();
        }
        drop(sender);
        let mut all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..5_000).collect::<Vec<_>>());
    }
}

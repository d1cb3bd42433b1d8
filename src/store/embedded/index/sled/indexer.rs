//! Moves index entries from the overlay into sled, in the order of commits, in small batches.
//!
//! When sled fails, the thread ends and takes nothing more: the store stops, and the next start rebuilds.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use super::{Applied, Damage, Inner, Put};

/// Entries of one sled batch. Larger ones make sled 0.34 take ten times the memory.
const BATCH_ENTRIES: usize = 128;

/// One commit on its way to sled.
struct Work {
    applied: Applied,
    puts: Arc<Vec<Put>>,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    /// Entries of all work, and one for each piece of it: work without entries takes room too.
    entries: usize,
    stop: bool,
    failed: bool,
}

struct Channel {
    queue: Mutex<Queue>,
    changed: Condvar,
    max_entries: usize,
}

/// Handle of the indexer thread.
pub struct Indexer {
    channel: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts the thread.
    pub fn start(shared: Arc<Inner>, max_entries: usize) -> std::io::Result<Self> {
        let max_entries = max_entries.max(1);
        let channel = Arc::new(Channel { queue: Mutex::default(), changed: Condvar::new(), max_entries });
        let inner = Ended(Arc::clone(&channel));
        let thread =
            std::thread::Builder::new().name("truc-index".into()).spawn(move || run(&inner.0, &shared))?;
        Ok(Self { channel, thread: Some(thread) })
    }

    /// Queues a commit's entries. Waits while the lag is at its bound: that is the back-pressure. After a
    /// [failure](Self::failed) nothing is queued.
    pub fn send(&self, applied: Applied, puts: Arc<Vec<Put>>) {
        let mut queue = self.channel.lock();
        while queue.entries >= self.channel.max_entries && !queue.failed {
            queue = self.channel.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.failed {
            return;
        }
        queue.entries += weight(&puts);
        queue.work.push_back(Work { applied, puts });
        self.channel.changed.notify_all();
    }

    /// Commits that sled does not have yet.
    pub fn lag(&self) -> u64 {
        self.channel.lock().work.len() as u64
    }

    /// True when sled failed or the thread ended before its time: the folder must not be marked clean, and
    /// no commit may follow.
    pub fn failed(&self) -> bool {
        self.channel.lock().failed
    }

    /// Works off the queue and ends the thread.
    pub fn finish(&mut self) {
        self.channel.lock().stop = true;
        self.channel.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic has marked the queue as failed already.
            let _ = thread.join();
        }
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Held by the thread: however it ends, nobody waits for it in vain.
struct Ended(Arc<Channel>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.failed |= !(queue.stop && queue.work.is_empty());
        queue.work.clear();
        self.0.changed.notify_all();
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(channel: &Channel, shared: &Inner) {
    while let Some(work) = next(channel) {
        let result = take_over(shared, &work);
        if let Err(error) = result {
            tracing::error!(%error, "the history index failed: the store stops, the next start makes it again");
            return;
        }
        let mut queue = channel.lock();
        queue.work.pop_front();
        queue.entries -= weight(&work.puts);
        channel.changed.notify_all();
    }
}

fn weight(puts: &[Put]) -> usize {
    puts.len() + 1
}

/// The oldest work; it stays in the queue, and so in the lag, until it is done.
fn next(channel: &Channel) -> Option<Work> {
    let mut queue = channel.lock();
    loop {
        if let Some(work) = queue.work.front() {
            return Some(Work { applied: work.applied, puts: Arc::clone(&work.puts) });
        }
        if queue.stop {
            return None;
        }
        queue = channel.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

/// A commit may be cut into several sled batches: only the last one moves the applied mark, and
/// applying twice is the same as once.
fn take_over(shared: &Inner, work: &Work) -> Result<(), Damage> {
    let mut chunks = work.puts.chunks(BATCH_ENTRIES).peekable();
    if chunks.peek().is_none() {
        shared.db(|db| db.apply(Vec::new(), Some(work.applied)))?;
    }
    while let Some(chunk) = chunks.next() {
        let applied = chunks.peek().is_none().then_some(work.applied);
        shared.db(|db| db.apply(chunk.to_vec(), applied))?;
    }
    let mut overlay = shared.overlay.write().unwrap_or_else(PoisonError::into_inner);
    overlay.forget(work.applied.seq, &work.puts);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::journal::FramePosition;

    fn indexer(max_entries: usize, work: impl FnOnce(&Channel) + Send + 'static) -> Indexer {
        let channel = Arc::new(Channel { queue: Mutex::default(), changed: Condvar::new(), max_entries });
        let inner = Ended(Arc::clone(&channel));
        let thread = std::thread::spawn(move || work(&inner.0));
        Indexer { channel, thread: Some(thread) }
    }

    fn send(indexer: &Indexer, entries: usize) {
        let position = FramePosition { segment: 1, offset: 64 };
        let applied = Applied { seq: 1, position, root: [0; 32] };
        indexer.send(applied, Arc::new(vec![(b"k".to_vec(), None); entries]));
    }

    #[test]
    fn nobody_waits_for_a_thread_that_panicked() {
        let mut indexer = indexer(1, |channel| {
            next(channel);
            panic!("a mistake of ours");
        });
        (0..3).for_each(|_| send(&indexer, 1));
        indexer.finish();
        assert!(indexer.failed());
        assert_eq!(indexer.lag(), 0);
    }

    #[test]
    fn work_without_entries_counts_too() {
        let mut indexer = indexer(2, |channel| while !channel.lock().stop {});
        send(&indexer, 0);
        assert_eq!(indexer.channel.lock().entries, 1);
        send(&indexer, 3);
        assert_eq!(indexer.channel.lock().entries, 5);
        indexer.finish();
        assert!(indexer.failed(), "it ended with work left");
    }

    #[test]
    fn the_end_that_was_asked_for_is_no_failure() {
        let mut indexer = indexer(2, |channel| assert!(next(channel).is_none()));
        indexer.finish();
        assert!(!indexer.failed());
    }
}

//! The threads that verify: as many as there are cores, fed by fair lanes. More would only make each other slower, and
//! what they can't take is refused at once instead of waiting in memory.

use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    lanes::{self, NotTaken, Receiver, Sender},
    meters::Meters,
    refused::{Refused, stopping, worker_ended},
};
use crate::domain::{id::NodeName, reason::ReasonCode};

/// With fewer, one large message would hold up all small ones.
const FEWEST: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the threads; they end with it. Without threads work is done in place: for simulations.
pub struct Workers {
    jobs: Option<Sender<Job>>,
    meters: Arc<Meters>,
}

impl Workers {
    /// Starts the threads. At most `most` jobs wait for them.
    pub fn start(most: usize, meters: Arc<Meters>) -> std::io::Result<Self> {
        let (sender, receiver) = lanes::lanes(most, 1);
        let cores = std::thread::available_parallelism().map_or(FEWEST, NonZero::get);
        for _ in 0..cores.max(FEWEST) {
            let receiver = receiver.clone();
            std::thread::Builder::new().name("truc-verify".into()).spawn(move || work(&receiver))?;
        }
        Ok(Self { jobs: Some(sender), meters })
    }

    /// No threads: whoever asks does the work.
    pub fn in_place() -> Self {
        Self { jobs: None, meters: Arc::default() }
    }

    /// Where the times are counted.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Runs work of a node when it is its turn, off the async threads. `BUSY` when too much waits; a caller that goes
    /// away before its turn costs nothing.
    pub async fn run<T: Send + 'static>(
        &self,
        node: &NodeName,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (reply, result) = oneshot::channel();
        // Nobody waits any more: nobody misses it.
        self.put(node, reply, work, |done, reply| drop(reply.send(Ok(done))))?;
        result.await.unwrap_or_else(|_| Err(worker_ended()))
    }

    /// The same from any thread: `then` takes what was done, with the reply that somebody waits for.
    pub fn put<T, R: Send + 'static>(
        &self,
        node: &NodeName,
        reply: oneshot::Sender<Result<R, Refused>>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(T, oneshot::Sender<Result<R, Refused>>) + Send + 'static,
    ) -> Result<(), Refused> {
        let Some(jobs) = &self.jobs else {
            then(work(), reply);
            return Ok(());
        };
        let (meters, asked, call) = (Arc::clone(&self.meters), Instant::now(), tracing::Span::current());
        let job = Box::new(move || {
            if reply.is_closed() {
                return;
            }
            let began = Instant::now();
            // Its caller is told; the thread has to go on for the others.
            let Ok(done) = catch_unwind(AssertUnwindSafe(|| call.in_scope(work))) else {
                tracing::error!("a verification ended unexpectedly");
                let _ = reply.send(Err(worker_ended()));
                return;
            };
            meters.verify_waits.took(began - asked);
            meters.verifications.took(began.elapsed());
            then(done, reply);
        });
        jobs.send(Some(node.clone()), job).map_err(|(refused, _)| match refused {
            NotTaken::Full => Refused::because(ReasonCode::Busy, "too many messages wait to be verified"),
            NotTaken::Closed => stopping(),
        })
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Some(job) = jobs.recv() {
        // Whoever waits learns it from the dropped reply.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("what follows a verification ended unexpectedly");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    /// Begins it.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_and_harms_nobody_else() {
        let workers = Workers::start(8, Arc::default()).unwrap();
        for _ in 0..20 {
            let refused = workers.run(&node("a"), || panic!("no harm")).await.map(drop);
            assert_eq!(refused.unwrap_err().code(), ReasonCode::StoreFailed);
        }
        assert_eq!(workers.run(&node("a"), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_can_not_be_done_soon_is_refused_and_a_calm_node_is_next() {
        let workers = Arc::new(Workers::start(8, Arc::default()).unwrap());
        let threads = std::thread::available_parallelism().map_or(FEWEST, NonZero::get).max(FEWEST);
        let gate = Arc::new(Barrier::new(threads + 1));
        let mut held = Vec::new();
        for _ in 0..threads {
            let (workers, gate) = (Arc::clone(&workers), Arc::clone(&gate));
            let (begun, begins) = oneshot::channel();
            held.push(tokio::spawn(async move {
                let work = move || {
                    begun.send(()).unwrap();
                    gate.wait();
                };
                workers.run(&node("flood"), work).await
            }));
            begins.await.unwrap();
        }
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let job = |name: &'static str| {
            let (workers, order) = (Arc::clone(&workers), Arc::clone(&order));
            async move { workers.run(&node(name), move || order.lock().unwrap().push(name)).await }
        };
        let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(job("flood"))).collect();
        for job in &mut waiting {
            assert!(poll_once(job).await.is_none());
        }
        assert_eq!(job("flood").await.unwrap_err().code(), ReasonCode::Busy);
        let mut calm = Box::pin(job("calm"));
        assert!(poll_once(&mut calm).await.is_none());
        // A caller that goes away leaves no work behind.
        drop(waiting.pop());
        tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
        calm.await.unwrap();
        for job in waiting {
            job.await.unwrap();
        }
        let order = order.lock().unwrap();
        assert_eq!(order.len(), 4);
        assert!(order.iter().position(|name| *name == "calm").unwrap() <= 1 + threads);
    }
}

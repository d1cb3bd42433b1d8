//! One thread for what the hub does by itself and nobody waits for. Such work reads in large pieces: on the many threads
//! that serve, each would keep memory for the next time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        OnceLock,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::oneshot,
};

use super::refused::{Refused, worker_ended};
use crate::threads::give_way;

/// Work that may wait; each who asks has one piece at a time, and there are a handful.
const MAX_WAITING: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Handle of the thread, which begins with the first work and ends with its value.
#[derive(Default)]
pub struct Chores(OnceLock<SyncSender<Job>>);

impl Chores {
    /// Does a piece of work behind those that wait already. A runtime of one thread has nobody to hold up: there it is done
    /// in place, and a simulation stays repeatable.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok(work());
        }
        let (done, answer) = oneshot::channel();
        // Nobody waits any more when the hub stops.
        let job: Job = Box::new(move || drop(done.send(work())));
        self.0.get_or_init(start).try_send(job).map_err(|_| worker_ended())?;
        answer.await.map_err(|_| worker_ended())
    }
}

/// Without a thread all work fails, and says so.
fn start() -> SyncSender<Job> {
    let (jobs, waiting) = sync_channel(MAX_WAITING);
    if let Err(error) = std::thread::Builder::new().name("truc-chores".into()).spawn(move || work(&waiting)) {
        tracing::error!(%error, "no thread for what the hub does by itself");
    }
    jobs
}

fn work(waiting: &Receiver<Job>) {
    give_way();
    while let Ok(job) = waiting.recv() {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a piece of the hub's own work ended unexpectedly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_is_done_in_one_thread_and_a_panic_ends_only_its_own() {
        let chores = Chores::default();
        let thread = || std::thread::current().id();
        let first = chores.run(thread).await.unwrap();
        assert!(chores.run(|| assert!(std::env::args().count() == 0, "on purpose")).await.is_err());
        assert_eq!(chores.run(thread).await.unwrap(), first);
        assert_ne!(first, thread());
    }
}

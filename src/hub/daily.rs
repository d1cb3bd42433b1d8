//! The clerk of the days: reads the log behind the writer, and when a day has ended asks the writer to close it.
//! All it knows comes from the log, so that a stop at any moment loses nothing and closes no day twice.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{
    Hub, follow,
    refused::Refused,
    sequencer::{Answer, Proposal},
};
use crate::{
    daily::{Agencies, Day, midnight},
    domain::{reason::ReasonCode, time::Timestamp},
    proto::AgencyDay,
    store::{Store, StoreError},
    tlog::Hash,
};

/// Leaves read between two rests.
const STEP: u64 = 64;
/// A rest is so many times as long as the reading took: traffic goes first, and the day is long.
const REST: u32 = 4;
/// How often the log's end and the clock are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// After a failure it tries again so much later.
const TROUBLE: Duration = Duration::from_secs(60);

/// A day that has ended, as the clerk read it.
#[derive(Debug)]
pub struct Closed {
    /// Its number.
    pub day: u32,
    /// Its leaves are `start..end`.
    pub start: u64,
    /// The first leaf of the next day.
    pub end: u64,
    /// Serialized `AgencyDay`s in the order of agencies.
    pub agencies: Vec<Bytes>,
    /// Root over them.
    pub root: Hash,
    /// Day and leaf of the digest before.
    pub previous: Option<(u32, u64)>,
}

impl Hub {
    /// Begins to close each day with a digest. Once.
    pub fn keep_days(self: &Arc<Self>) {
        self.tasks.spawn(run(Arc::downgrade(self), self.stopping.clone()));
    }
}

async fn run(hub: Weak<Hub>, stopping: CancellationToken) {
    let mut clerk = None;
    loop {
        let Some(hub) = hub.upgrade() else { return };
        let began = Instant::now();
        let rest = match work(&hub, clerk.take()).await {
            Ok((next, Progress::More)) => {
                clerk = next;
                began.elapsed() * REST
            }
            Ok((next, Progress::Waits)) => {
                clerk = next;
                LOOK
            }
            Err(refused) if refused.code() == ReasonCode::ShuttingDown => return,
            Err(refused) if refused.code() == ReasonCode::Busy => LOOK,
            Err(refused) => {
                tracing::error!(%refused, "a day can't be closed; trying again later");
                TROUBLE
            }
        };
        drop(hub);
        if stopping.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
            return;
        }
    }
}

enum Progress {
    More,
    Waits,
}

/// Reads on, and closes the day if it has ended. A new clerk begins where the log's newest digest ends.
async fn work(hub: &Arc<Hub>, clerk: Option<Clerk>) -> Result<(Option<Clerk>, Progress), Refused> {
    let (store, now) = (Arc::clone(&hub.store), hub.clock.now());
    let (clerk, found) = hub
        .chores
        .run(move || {
            let mut clerk = match clerk {
                Some(clerk) => clerk,
                None => Clerk::load(&*store)?,
            };
            let found = clerk.read(&*store, now)?;
            Ok::<_, StoreError>((clerk, found))
        })
        .await??;
    let closed = match found {
        Found::More => return Ok((Some(clerk), Progress::More)),
        Found::Nothing => return Ok((Some(clerk), Progress::Waits)),
        Found::Ended(closed) => closed,
    };
    match hub.sequencer.propose(Proposal::Close(closed)).await {
        Ok(Answer::Receipt { .. }) => Ok((None, Progress::More)),
        // Leaves came meanwhile: the day goes on to the first one after midnight.
        Ok(_) => Ok((Some(clerk), Progress::Waits)),
        Err(refused) if refused.code() == ReasonCode::Busy => Ok((Some(clerk), Progress::Waits)),
        Err(refused) => Err(refused),
    }
}

enum Found {
    /// There is more to read.
    More,
    /// The day goes on.
    Nothing,
    /// The day has ended.
    Ended(Box<Closed>),
}

/// Reads one day.
struct Clerk {
    day: Day,
    previous: Option<(u32, u64)>,
}

impl Clerk {
    fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let Some(last) = store.digests(0, usize::MAX)?.pop() else {
            return Ok(Self { day: Day::begin(0, []), previous: None });
        };
        let damaged = || StoreError::Damaged(format!("the digest in leaf {} can't be read", last.leaf));
        let agencies = store.digest_agencies(last.leaf)?.ok_or_else(damaged)?;
        let days = agencies.into_iter().map(|day| AgencyDay::decode(day).map_err(|_| damaged()));
        let days = days.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { day: Day::begin(last.end, &days), previous: Some((last.day, last.leaf)) })
    }

    fn read(&mut self, store: &dyn Store, now: Timestamp) -> Result<Found, StoreError> {
        let head = store.head().size;
        let end = head.min(self.day.next().saturating_add(STEP));
        let mut over = false;
        follow::read(store, self.day.next()..end, |_, read| {
            let read = read?;
            over = over || !self.day.take(read.hash, &read.evidence);
            Ok(())
        })?;
        if over {
            return self.ended();
        }
        match self.day.number() {
            _ if end < head => Ok(Found::More),
            Some(number) if now >= midnight(number.saturating_add(1)) => self.ended(),
            _ => Ok(Found::Nothing),
        }
    }

    fn ended(&self) -> Result<Found, StoreError> {
        let agencies = self.day.agencies();
        let strange = || StoreError::Damaged("agencies of a day are not in order".into());
        let root = Agencies::of(agencies.clone()).ok_or_else(strange)?.root();
        let (start, end) = (self.day.start(), self.day.next());
        let day = self.day.number().unwrap_or_default();
        Ok(Found::Ended(Box::new(Closed { day, start, end, agencies, root, previous: self.previous })))
    }
}

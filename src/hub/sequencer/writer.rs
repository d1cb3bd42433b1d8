//! The thread that decides and commits, group by group.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, PoisonError, mpsc::RecvTimeoutError},
    time::Duration,
};

use super::{
    Decision, Parts, Reply, Request,
    actions::Actions,
    draft::{self, Draft},
    expansion::Expansions,
    memory::Memory,
};
use crate::{
    hub::{Notice, lanes::Receiver, refused::Refused},
    store::{CommitError, StoreError},
};

/// After this long without work the store may do its housekeeping.
const IDLE: Duration = Duration::from_millis(20);

/// A group gathers for as long as the last commit took, within these: a slow disk is used well, and nobody waits for
/// a thousand others that flood.
const GATHER: RangeInclusive<Duration> = Duration::from_millis(4)..=Duration::from_millis(50);

/// The one who writes.
pub struct Writer {
    pub parts: Parts,
    pub expansions: Expansions,
    pub actions: Actions,
    pub memory: Memory,
    pub commit_took: Duration,
}

/// What the writer does next.
enum Next {
    /// A group, which begins with this request or with an expansion alone.
    Group(Option<Request>),
    /// Nothing waits.
    Rest,
    Stop,
}

type Decided = Vec<(Reply, Result<Decision, Refused>)>;

impl Writer {
    /// Works until it is told to stop, or the store fails.
    pub fn run(mut self, requests: &Receiver<Request>) {
        let mut rested = false;
        loop {
            let stop = match self.next(requests, rested) {
                Next::Stop => return,
                Next::Rest => {
                    self.rest();
                    rested = true;
                    continue;
                }
                Next::Group(first) => self.group(first, requests),
            };
            rested = false;
            match stop {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// Waits for work.
    fn next(&mut self, requests: &Receiver<Request>, rested: bool) -> Next {
        if self.expansions.are_due() || self.actions.are_running() {
            return Next::Group(requests.try_recv());
        }
        let longest = self.actions.longest_rest(self.expansions.longest_rest());
        let wait = if rested { longest } else { IDLE };
        match requests.recv_timeout(wait) {
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => Next::Stop,
            Ok(request) => Next::Group(Some(request)),
            Err(RecvTimeoutError::Timeout) => Next::Rest,
        }
    }

    fn rest(&self) {
        if let Err(error) = self.parts.store.idle() {
            tracing::error!(%error, "housekeeping of the store failed");
        }
    }

    /// Nobody knows what is on disk: the process has to recover.
    pub fn fail(&self, error: &WriteError) {
        tracing::error!(%error, "the store failed: the hub stops and must recover");
        // No receiver means that nobody is left to tell.
        let _ = self.parts.notices.send(Notice::StoreFailed);
    }

    /// One group: everything that waits, up to the bounds, in one commit. True when it is the last.
    pub fn group(
        &mut self,
        first: Option<Request>,
        requests: &Receiver<Request>,
    ) -> Result<bool, WriteError> {
        let max = self.parts.max_batch_leaves;
        let end = self.parts.clock.monotonic() + self.commit_took.clamp(*GATHER.start(), *GATHER.end());
        self.memory.received.trim();
        let mut draft = Draft::new(&self.parts, &mut self.memory)?;
        let mut decided: Decided = Vec::new();
        let mut stop = false;
        let mut next = first;
        while let Some(request) = next {
            let Request::Propose(proposal, reply, asked) = request else {
                stop = true;
                break;
            };
            self.parts.waited(&proposal, asked.elapsed());
            decided.push((reply, draft.decide(proposal, &mut self.expansions, &mut self.actions)));
            let room = draft.has_room(max) && decided.len() < max && self.parts.clock.monotonic() < end;
            next = room.then(|| requests.try_recv()).flatten();
        }
        self.expansions.advance(&mut draft, &self.actions, decided.len());
        self.actions.advance(&mut draft, &self.expansions);
        let done = draft.finish();
        self.finish(done, decided)?;
        Ok(stop)
    }

    fn finish(&mut self, mut done: draft::Done, decided: Decided) -> Result<(), WriteError> {
        if let Some(commit) = &done.commit {
            let began = self.parts.clock.monotonic();
            if let Err(error) = self.parts.store.commit(commit) {
                for (reply, _) in decided {
                    let _ = reply.send(Err(Refused::from(&error)));
                }
                return Err(error.into());
            }
            self.commit_took = self.parts.clock.monotonic().saturating_sub(began);
            self.parts.count(commit, &done.told, self.commit_took);
            self.publish(&mut done);
        }
        for (reply, decision) in decided {
            // A caller that went away repeats and gets the same receipt.
            let _ = reply.send(decision.map(|decision| done.answer(decision)));
        }
        Ok(())
    }

    /// Only after the commit is durable does anyone hear of it.
    fn publish(&self, done: &mut draft::Done) {
        let accepted = std::mem::take(&mut done.accepted);
        self.parts.recent.keep(accepted, done.followed());
        let Some(commit) = &done.commit else { return };
        for erasure in commit.erasures.iter().filter(|erasure| erasure.is_whole()) {
            self.parts.recent.forget(erasure.document);
        }
        self.parts.erasures.committed(&commit.erasures, &done.ended, &commit.holds);
        if let Some(directory) = &done.directory {
            *self.parts.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(directory);
        }
        self.parts.dispatcher.update(&commit.deliveries, self.parts.clock.now());
        for (recipient, document) in &done.requeued {
            self.parts.dispatcher.requeue(recipient, *document);
        }
        let heard: BTreeSet<&str> =
            commit.leaves.iter().flat_map(|leaf| &leaf.feeds).map(String::as_str).collect();
        heard.into_iter().for_each(|agency| self.parts.feeds.ring(agency));
        for node in &done.revoked {
            let _ = self.parts.notices.send(Notice::NodeRevoked(node.clone()));
        }
    }
}

/// What ends the writer.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] StoreError),
}

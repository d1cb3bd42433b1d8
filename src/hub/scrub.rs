//! Reads what is stored again and again, at a bounded rate, beside all traffic: what a disk loses is found while there is
//! still somebody to ask. Damage is named as `truc fsck` names it, and stops nobody.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Hub,
    health::{Condition, Scrub},
    refused::Refused,
};
use crate::{
    proto::{DamageFound, GetIntegrityResponse},
    store::{Finding, ScrubStep, Severity, StoreError, search::Pass},
};

/// Bytes of one step; bodies come on top of it, those of one commit at a time.
const STEP: u64 = 1 << 20;
/// The first step comes so long after the start.
const FIRST: Duration = Duration::from_secs(5);
/// Rest after a step that failed, and between two rounds at least.
const PAUSE: Duration = Duration::from_secs(60);
/// Findings that are remembered; more are counted.
const MAX_FOUND: usize = 1_000;

/// What the scrub knows.
#[derive(Default)]
pub struct Integrity {
    state: Mutex<State>,
    /// The search index's files, which are read last in each round.
    search: Mutex<Option<Pass>>,
}

#[derive(Default)]
struct State {
    /// Of the last whole round.
    before: Found,
    /// Of the round under way.
    now: Found,
    finished_us: i64,
    bytes: u64,
    rate: u64,
    frames: u64,
    of_frames: u64,
    problem: String,
    /// The condition was raised here.
    raised: bool,
}

#[derive(Clone, Default)]
struct Found {
    findings: Vec<Finding>,
    more: u64,
}

impl Found {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FOUND {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl State {
    /// Damage that stands: of this round, and of the one before as far as this one has not come yet.
    fn standing(&self) -> Vec<&Finding> {
        let known = |finding: &&Finding| !self.now.findings.iter().any(|now| now.place == finding.place);
        let before = self.before.findings.iter().filter(known);
        self.now.findings.iter().chain(before).filter(|finding| finding.stands()).collect()
    }

    /// The first damage that stands, in one sentence, and how many places there are.
    fn cause(&self) -> (Option<String>, u64) {
        let standing = self.standing();
        let more = match standing.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more places", count - 1),
        };
        let first = standing.first();
        let cause =
            first.map(|first| format!("{} {}: {}{more}", first.what.as_str(), first.place, first.detail));
        (cause, standing.len() as u64)
    }

    fn end_round(&mut self, now_us: i64) {
        self.before = std::mem::take(&mut self.now);
        self.finished_us = now_us;
    }
}

impl Integrity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Begins to read everything again, at most so many bytes a second. Only the first call counts; 0 is never.
    pub fn scrub_at(self: &Arc<Self>, bytes_per_second: u64) {
        let mut state = self.integrity.state();
        if state.rate == 0 && bytes_per_second > 0 {
            state.rate = bytes_per_second;
            self.tasks.spawn(scrub_on(Arc::downgrade(self), bytes_per_second, self.stopping.clone()));
        }
    }

    /// One step, whoever asks for it: what was read.
    pub async fn scrub_step(self: &Arc<Self>) -> Result<ScrubStep, Refused> {
        let hub = Arc::clone(self);
        let (step, found) = self
            .chores
            .run(move || {
                let mut found = Vec::new();
                let step = hub.scrub_part(&mut |finding| found.push(finding));
                (step, found)
            })
            .await?;
        self.take_findings(found, step.as_ref().ok());
        Ok(step?)
    }

    /// A part of the store, or behind it of the search index.
    fn scrub_part(&self, report: &mut dyn FnMut(Finding)) -> Result<ScrubStep, StoreError> {
        let mut search = self.integrity.search.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(mut pass), Some(follower)) = (search.take(), self.search.get()) {
            let mut is_damaged = false;
            let mut told = |finding| {
                is_damaged = true;
                report(finding);
            };
            let bytes = follower.index().read_on(&mut pass, STEP, &mut told)?;
            if is_damaged {
                follower.make_again()?;
            }
            let ended = pass.is_over();
            *search = Some(pass).filter(|_| !ended);
            let frames = self.integrity.state().of_frames;
            return Ok(ScrubStep { ended, bytes, frames, of_frames: frames });
        }
        let step = self.store.scrub(Some(&self.keys.ring), STEP, report)?;
        if let Some(follower) = self.search.get().filter(|_| step.ended) {
            let pass = follower.index().pass()?;
            let ended = pass.is_over();
            *search = Some(pass).filter(|_| !ended);
            return Ok(ScrubStep { ended, ..step });
        }
        Ok(step)
    }

    fn take_findings(&self, found: Vec<Finding>, step: Option<&ScrubStep>) {
        let mut state = self.integrity.state();
        for finding in found {
            let (what, place, detail) = (finding.what.as_str(), &finding.place, &finding.detail);
            match finding.severity {
                Severity::Left => tracing::error!(what, place, detail, "erased bytes are still there"),
                Severity::Loss => tracing::error!(what, place, detail, "stored bytes are damaged"),
                Severity::Rebuildable => tracing::warn!(what, place, detail, "stored bytes were not right"),
            }
            state.now.add(finding);
        }
        if let Some(step) = step {
            state.bytes += step.bytes;
            (state.frames, state.of_frames) = (step.frames, step.of_frames);
            if step.ended {
                state.end_round(self.clock.now().0);
            }
        }
        let (cause, damaged) = state.cause();
        let raised = std::mem::replace(&mut state.raised, damaged > 0);
        let scrub = Scrub { finished_us: state.finished_us, bytes: state.bytes, damaged };
        drop(state);
        if damaged > 0 || raised {
            self.health.set(Condition::Damage, cause);
        }
        self.health.scrubbed(scrub);
    }

    /// What the scrub found, and how far it is.
    #[must_use]
    pub fn integrity(&self) -> GetIntegrityResponse {
        let state = self.integrity.state();
        let damage: Vec<DamageFound> = state.standing().into_iter().map(told).collect();
        let mended = state.now.findings.iter().chain(&state.before.findings);
        let mended = mended.filter(|finding| !finding.stands());
        GetIntegrityResponse {
            mended: mended.map(told).collect(),
            damage,
            more: state.now.more + state.before.more,
            finished_us: state.finished_us,
            frames: state.frames,
            of_frames: state.of_frames,
            bytes: state.bytes,
            bytes_per_second: state.rate,
            problem: state.problem.clone(),
        }
    }
}

fn told(finding: &Finding) -> DamageFound {
    DamageFound {
        what: finding.what.as_str().into(),
        place: finding.place.clone(),
        detail: finding.detail.clone(),
    }
}

async fn scrub_on(hub: Weak<Hub>, rate: u64, stopping: CancellationToken) {
    let mut rest = FIRST;
    while stopping.run_until_cancelled(tokio::time::sleep(rest)).await.is_some() {
        let Some(hub) = hub.upgrade() else { return };
        rest = match hub.scrub_step().await {
            Ok(step) => {
                hub.integrity.state().problem.clear();
                let spent = Duration::from_secs_f64(step.bytes as f64 / rate as f64);
                if step.ended { spent.max(PAUSE) } else { spent }
            }
            Err(refused) => {
                hub.integrity.state().problem = refused.to_string();
                PAUSE
            }
        };
    }
}

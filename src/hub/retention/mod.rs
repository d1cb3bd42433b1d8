//! Retention: which contents go when (`run`), the removal of their bytes behind the commit (`removal`), legal holds.

mod removal;
mod run;

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub(super) use self::removal::spawn as spawn_removal;
use super::{
    Hub,
    intake::Accepted,
    refused::{Refused, blocking},
    sequencer::{Holding, Lifting, Proposal},
};
use crate::{
    domain::{
        reason::{Reason, ReasonCode},
        retention::Rules,
    },
    proto::{
        GetRetentionResponse, GetTimelineRequest, Hold, LiftHoldRequest, PlaceHoldRequest, RetentionRule,
        RunRetentionResponse,
    },
};

/// Letters of the reason of a hold.
const MAX_REASON: usize = 500;
/// Holds in force: each is looked at for each document that is to be erased.
const MAX_HOLDS: usize = 10_000;
/// Erasures that are counted as being removed.
const MAX_COUNTED: usize = 100_000;
/// The first run begins so long after the start: others have much to do then.
const FIRST_RUN: Duration = Duration::from_secs(60);
/// Bytes a second of bodies that are removed, and of packs looked through for copies.
const DEFAULT_RATE: u64 = 32 << 20;

/// How long contents are kept, and how eagerly that is looked after.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which contents go when.
    pub rules: Rules,
    /// How often all documents are looked at.
    pub every: Duration,
    /// Documents looked at in a second.
    pub documents_per_second: u32,
    /// Bytes a second that are removed or looked through.
    pub bytes_per_second: u64,
}

/// What the hub knows of its own retention.
pub struct Retention {
    policy: OnceLock<Policy>,
    /// One run at a time.
    running: tokio::sync::Mutex<()>,
    bytes_per_second: AtomicU64,
    state: RwLock<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    last_run_us: i64,
    last_erased: u64,
    run_problem: String,
    removal_problem: String,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            policy: OnceLock::new(),
            running: tokio::sync::Mutex::default(),
            bytes_per_second: AtomicU64::new(DEFAULT_RATE),
            state: RwLock::default(),
        }
    }
}

impl Retention {
    fn rules(&self) -> Rules {
        self.policy.get().map(|policy| policy.rules.clone()).unwrap_or_default()
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// How long to rest after so many bytes.
    fn rest(&self, bytes: u64) -> Duration {
        let rate = self.bytes_per_second.load(Ordering::Relaxed).max(1);
        Duration::from_secs_f64(bytes as f64 / rate as f64)
    }
}

impl Hub {
    /// Begins to follow a policy. Only the first call counts.
    pub fn retain(self: &Arc<Self>, policy: Policy) {
        self.retention.bytes_per_second.store(policy.bytes_per_second, Ordering::Relaxed);
        let every = policy.every;
        let has_rules = policy.rules.iter().next().is_some();
        if self.retention.policy.set(policy).is_ok() && has_rules {
            self.tasks.spawn(keep_on(Arc::downgrade(self), every, self.stopping.clone()));
        }
    }

    /// Goes through all documents now, or only tells what that would erase.
    pub async fn run_retention(
        self: &Arc<Self>,
        operator: &str,
        dry_run: bool,
    ) -> Result<RunRetentionResponse, Refused> {
        let Ok(_one_at_a_time) = self.retention.running.try_lock() else {
            return Err(Refused::because(ReasonCode::Busy, "a run is under way: ask again when it ended"));
        };
        let outcome = run::Run::new(Arc::clone(self), operator, dry_run).run().await;
        if !dry_run {
            let now = self.clock.now().0;
            self.retention.note(|state| match &outcome {
                Ok(report) => {
                    (state.last_run_us, state.last_erased) = (now, report.erased);
                    state.run_problem.clear();
                }
                Err(refused) => state.run_problem = refused.to_string(),
            });
        }
        outcome
    }

    /// The rules, and how far they are followed.
    pub async fn retention(self: &Arc<Self>) -> Result<GetRetentionResponse, Refused> {
        let hub = Arc::clone(self);
        let removing = blocking(move || hub.store.erasing(0, MAX_COUNTED)).await??.len() as u64;
        let state = self.retention.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        let problems = [state.run_problem, state.removal_problem];
        let rules = self.retention.rules();
        Ok(GetRetentionResponse {
            rules: rules.iter().map(told).collect(),
            removing,
            last_run_us: state.last_run_us,
            last_erased: state.last_erased,
            holds: self.erasures.holds().len() as u64,
            problem: problems.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "),
            search_index_waits: self.search.get().is_some_and(|follower| follower.index().waits()),
        })
    }

    /// Keeps a document, or an agency's documents, from being erased.
    pub async fn place_hold(
        self: &Arc<Self>,
        operator: &str,
        request: PlaceHoldRequest,
    ) -> Result<Accepted, Refused> {
        check_reason(&request.reason)?;
        if self.erasures.holds().len() >= MAX_HOLDS {
            return Err(Refused::because(ReasonCode::Busy, format!("{MAX_HOLDS} holds are in force")));
        }
        let of_agency = !request.agency.is_empty();
        if of_agency != request.document_id.is_empty() {
            return Err(Reason::invalid("document_id, agency", "needs one of the two").into());
        }
        let agency = if of_agency {
            let known = self.directory().resolve(&request.agency).map(|entry| entry.id.clone());
            Some(known.ok_or_else(|| Refused::because(ReasonCode::UnknownAgency, request.agency.clone()))?)
        } else {
            None
        };
        let document = if of_agency { None } else { Some(self.named(&request).await?) };
        let (reason, operator) = (request.reason, operator.to_owned());
        self.settle(Proposal::Hold(Box::new(Holding { document, agency, reason, operator }))).await
    }

    /// Ends a hold.
    pub async fn lift_hold(
        self: &Arc<Self>,
        operator: &str,
        request: LiftHoldRequest,
    ) -> Result<Accepted, Refused> {
        check_reason(&request.reason)?;
        let lifting = Lifting { hold: request.hold, reason: request.reason, operator: operator.to_owned() };
        self.settle(Proposal::Lift(Box::new(lifting))).await
    }

    /// Holds in force, oldest first.
    pub async fn holds(self: &Arc<Self>) -> Result<Vec<Hold>, Refused> {
        let hub = Arc::clone(self);
        blocking(move || {
            let holds = hub.erasures.holds();
            holds.into_iter().map(|hold| hub.hold(hold)).collect::<Result<Vec<_>, _>>()
        })
        .await?
    }

    fn hold(&self, hold: crate::store::records::HoldRecord) -> Result<Hold, Refused> {
        let document = match hold.document_plus_one.checked_sub(1) {
            Some(index) => self.store.document(index)?.unwrap_or_default(),
            None => crate::store::records::DocumentRecord::default(),
        };
        Ok(Hold {
            hold: hold.leaf,
            document_id: document.document_id,
            sender: document.sender,
            revision: document.revision,
            agency: hold.agency,
            reason: hold.reason,
            operator: hold.operator,
            placed_at_us: hold.placed_at_us,
        })
    }

    async fn named(self: &Arc<Self>, request: &PlaceHoldRequest) -> Result<u64, Refused> {
        let name = GetTimelineRequest {
            document_id: request.document_id.clone(),
            sender: request.sender.clone(),
            revision: request.revision,
            ..GetTimelineRequest::default()
        };
        let hub = Arc::clone(self);
        blocking(move || hub.find(&name)).await?
    }
}

/// Every run goes through all documents; the first begins soon after the start.
async fn keep_on(hub: std::sync::Weak<Hub>, every: Duration, stopping: CancellationToken) {
    let begin = tokio::time::Instant::now() + every.min(FIRST_RUN);
    let mut interval = tokio::time::interval_at(begin, every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stopping.run_until_cancelled(interval.tick()).await.is_some() {
        let Some(hub) = hub.upgrade() else { return };
        match hub.run_retention("", false).await {
            Ok(report) if report.erased > 0 => {
                tracing::info!(
                    erased = report.erased,
                    held = report.held,
                    "contents were erased by the rules"
                );
            }
            Ok(_) => {}
            Err(refused) if refused.code() == ReasonCode::Busy => {}
            Err(refused) => tracing::warn!(%refused, "retention did not get through; the next run goes on"),
        }
    }
}

fn told(rule: &crate::domain::retention::Rule) -> RetentionRule {
    RetentionRule {
        name: rule.name.clone(),
        type_names: rule.type_names.clone(),
        urgencies: rule.urgencies.clone(),
        operations: rule.operations.iter().map(|one| *one as u32).collect(),
        after_us: rule.after_us,
        scope: rule.scope.into(),
    }
}

fn check_reason(reason: &str) -> Result<(), Reason> {
    if reason.trim().is_empty() {
        return Err(Reason::new(ReasonCode::ReasonRequired, "reason: say why"));
    }
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(Reason::invalid("reason", format_args!("at most {MAX_REASON} characters on one line")));
    }
    Ok(())
}

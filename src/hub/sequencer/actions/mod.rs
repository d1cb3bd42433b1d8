//! What operators ask for: each is a record with a phase, moves deliveries in bounded steps, and goes on after a crash from
//! the record, which every step writes with the deliveries that it moves.
//!
//! asked → (pending →) applying → done; a hold stays active until its end; what ends deliveries holds them first (applying),
//! waits for the undo window (waiting) and then takes effect (effecting). Taking back releases what it holds (undoing).

mod step;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message;

use super::{Decision, draft::Draft, expansion::Expansions};
use crate::{
    domain::{
        id::AgencyId,
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::{
        operate::action_target,
        reach::{Spot, ends, page},
        refused::Refused,
    },
    proto::{ActionKind, ActionPhase, Actor, AdminAction, AdminStep, EventKind},
    store::{Store, StoreError, records::ActionRecord},
};

/// Deliveries looked at in one commit, over all actions.
const STEP: usize = 512;
/// Of these, at most so many for one action while others go on.
const SHARE: usize = 128;
/// After something unreadable all actions rest this long.
const REST: Duration = Duration::from_secs(60);
/// Nothing goes on by itself.
pub const NEVER: i64 = i64::MAX;

/// A new action, checked; `id` and phase are the writer's.
pub struct Asked {
    /// What is asked for.
    pub record: ActionRecord,
    /// Who asks.
    pub actor: Actor,
    /// When set, another person has to approve it before this moment.
    pub approval_until: Option<Timestamp>,
}

/// A word about an action that is there.
pub struct Taken {
    /// Which one.
    pub id: u64,
    /// Who speaks.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// Approved, or taken back.
    pub verdict: Verdict,
}

/// What is said about an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A second person approves it.
    Approve,
    /// It is taken back.
    Undo,
}

/// All actions of which something is still to come.
pub struct Actions {
    open: BTreeMap<u64, ActionRecord>,
    /// Those that move deliveries now, served in turn.
    running: VecDeque<u64>,
    /// Holds that new deliveries of a recipient fall under.
    holding: HashMap<String, u64>,
    resting: Option<Instant>,
    due: Arc<AtomicI64>,
}

impl Actions {
    /// Takes up what a stop left unfinished.
    pub fn load(store: &dyn Store, due: Arc<AtomicI64>) -> Result<Self, StoreError> {
        let open: BTreeMap<_, _> =
            store.open_actions()?.into_iter().map(|action| (action.id, action)).collect();
        let running = open.values().filter(|action| is_running(action)).map(|action| action.id).collect();
        let mut actions = Self { open, running, holding: HashMap::new(), resting: None, due };
        actions.settle();
        Ok(actions)
    }

    /// True while deliveries are to be moved now.
    pub fn are_running(&mut self) -> bool {
        if self.resting.is_some_and(|until| until > Instant::now()) {
            return false;
        }
        self.resting = None;
        !self.running.is_empty()
    }

    /// How long the writer may sleep, while `longest` is what others allow.
    pub fn longest_rest(&self, longest: Duration) -> Duration {
        if self.resting.is_some() { longest.min(REST) } else { longest }
    }

    /// The hold that a new delivery of this recipient falls under.
    pub fn hold_of(&self, recipient: &AgencyId) -> Option<&ActionRecord> {
        self.holding.get(recipient.as_str()).and_then(|id| self.open.get(id))
    }

    fn kind_of(&self, id: u64) -> Option<ActionKind> {
        self.open.get(&id).map(ActionRecord::action_kind)
    }

    /// Records what is asked for, and begins it unless another person has to approve it.
    pub fn ask(&mut self, draft: &mut Draft<'_>, asked: Asked) -> Result<Decision, Refused> {
        let Asked { mut record, actor, approval_until } = asked;
        record.id = draft.next_leaf();
        record.asked_at_us = draft.now.0;
        let step = if approval_until.is_some() { AdminStep::AskedForApproval } else { AdminStep::Asked };
        let count = record.planned;
        let leaf = tell(draft, &record, step, Some(&actor), &record.reason.clone(), count)?;
        match approval_until {
            Some(until) => enter(&mut record, ActionPhase::Pending, until.0),
            None => self.begin(draft, &mut record)?,
        }
        self.put(draft, record.clone());
        Ok(Decision::Acted(Box::new(record), leaf))
    }

    /// Approves an action, or takes it back.
    pub fn judge(&mut self, draft: &mut Draft<'_>, taken: &Taken) -> Result<Decision, Refused> {
        let Some(mut record) = self.open.get(&taken.id).cloned() else {
            return Err(self.closed(draft, taken.id));
        };
        let step = match taken.verdict {
            Verdict::Approve => {
                self.approve(draft, &mut record, taken)?;
                AdminStep::Approved
            }
            Verdict::Undo => {
                self.undo(&mut record, taken)?;
                AdminStep::Undone
            }
        };
        let done = record.done;
        let leaf = tell(draft, &record, step, Some(&taken.actor), &taken.reason, done)?;
        self.put(draft, record.clone());
        Ok(Decision::Acted(Box::new(record), leaf))
    }

    fn closed(&self, draft: &Draft<'_>, id: u64) -> Refused {
        match draft.store.action(id) {
            Ok(Some(record)) => closed(&record).into(),
            Ok(None) => Refused::because(ReasonCode::UnknownAction, format!("action {id}")),
            Err(error) => error.into(),
        }
    }

    fn approve(
        &mut self,
        draft: &mut Draft<'_>,
        record: &mut ActionRecord,
        taken: &Taken,
    ) -> Result<(), Refused> {
        if record.action_phase() != ActionPhase::Pending {
            return Err(closed(record).into());
        }
        if record.actor == taken.actor.name {
            let detail = format!("action {} was asked for by {}", record.id, record.actor);
            return Err(Refused::because(ReasonCode::SecondPersonRequired, detail));
        }
        record.approved_by.clone_from(&taken.actor.name);
        self.begin(draft, record)
    }

    fn undo(&mut self, record: &mut ActionRecord, taken: &Taken) -> Result<(), Reason> {
        use ActionPhase::{Active, Applying, Pending, Waiting};
        let kind = record.action_kind();
        let phase = record.action_phase();
        let held = ends(kind) && matches!(phase, Applying | Waiting)
            || kind == ActionKind::Hold && matches!(phase, Applying | Active);
        match phase {
            Pending => enter(record, ActionPhase::Undone, 0),
            _ if held => enter(record, ActionPhase::Undoing, 0),
            _ => return Err(closed(record)),
        }
        record.undone_by.clone_from(&taken.actor.name);
        Ok(())
    }

    fn begin(&mut self, draft: &mut Draft<'_>, record: &mut ActionRecord) -> Result<(), Refused> {
        enter(record, ActionPhase::Applying, 0);
        match record.action_kind() {
            ActionKind::Requeue => requeue(draft, record)?,
            ActionKind::Release => self.end_holds(draft, record),
            _ => {}
        }
        Ok(())
    }

    /// A release ends the holds that name the same target.
    fn end_holds(&mut self, draft: &mut Draft<'_>, release: &ActionRecord) {
        use ActionPhase::{Active, Applying};
        let same = |hold: &&ActionRecord| {
            hold.action_kind() == ActionKind::Hold
                && matches!(hold.action_phase(), Applying | Active)
                && (hold.document_plus_one, &hold.agency, &hold.node)
                    == (release.document_plus_one, &release.agency, &release.node)
        };
        let ended: Vec<_> = self.open.values().filter(same).cloned().collect();
        for mut hold in ended {
            enter(&mut hold, ActionPhase::Undoing, 0);
            hold.undone_by.clone_from(&release.actor);
            self.put(draft, hold);
        }
    }

    /// Goes on with actions whose phase is over by the clock.
    pub fn wake(&mut self, draft: &mut Draft<'_>) -> Decision {
        let now = draft.now.0;
        let over = |record: &&ActionRecord| (1..=now).contains(&record.phase_until_us);
        let due: Vec<_> = self.open.values().filter(over).cloned().collect();
        for mut record in due {
            match record.action_phase() {
                ActionPhase::Pending => {
                    enter(&mut record, ActionPhase::Lapsed, 0);
                    let told = tell(draft, &record, AdminStep::Lapsed, None, "", 0);
                    if let Err(refused) = told {
                        tracing::error!(%refused, action = record.id, "its lapse could not be recorded");
                        continue;
                    }
                }
                ActionPhase::Waiting if goes_nowhere(draft, &record) => {
                    enter(&mut record, ActionPhase::Undoing, 0);
                }
                ActionPhase::Waiting => enter(&mut record, ActionPhase::Effecting, 0),
                ActionPhase::Active => enter(&mut record, ActionPhase::Undoing, 0),
                _ => record.phase_until_us = 0,
            }
            self.put(draft, record);
        }
        Decision::Done
    }

    /// Moves the next deliveries, each action in turn.
    pub fn advance(&mut self, draft: &mut Draft<'_>, expansions: &Expansions) {
        if !self.are_running() {
            return;
        }
        let mut left = STEP;
        while left > 0
            && !draft.is_full()
            && let Some(id) = self.running.pop_front()
        {
            let Some(mut record) = self.open.get(&id).cloned() else { continue };
            let share = if self.running.is_empty() { left } else { SHARE.min(left) };
            let spots = match page(draft.store, &record, spot(&record).as_ref(), share) {
                Ok(spots) => spots,
                Err(error) => {
                    tracing::error!(%error, action = id, "an operator's action can't go on, trying later");
                    self.resting = Some(Instant::now() + REST);
                    self.running.push_back(id);
                    return;
                }
            };
            left -= spots.len().min(left);
            for spot in &spots {
                self.move_one(draft, &mut record, spot, expansions);
            }
            if spots.len() < share {
                self.end_phase(draft, &mut record);
            }
            self.put(draft, record);
            if spots.is_empty() {
                left = left.saturating_sub(1);
            }
        }
    }

    fn end_phase(&mut self, draft: &mut Draft<'_>, record: &mut ActionRecord) {
        let (kind, now) = (record.action_kind(), draft.now.0);
        let (phase, until) = match record.action_phase() {
            ActionPhase::Applying if kind == ActionKind::Hold => (ActionPhase::Active, record.until_us),
            ActionPhase::Applying if ends(kind) => {
                (ActionPhase::Waiting, now.saturating_add(record.undo_window_us.max(1)))
            }
            ActionPhase::Undoing if !record.undone_by.is_empty() => (ActionPhase::Undone, 0),
            _ => (ActionPhase::Done, 0),
        };
        if phase == ActionPhase::Done
            && let Err(refused) = tell(draft, record, AdminStep::Finished, None, "", record.done)
        {
            tracing::error!(%refused, action = record.id, "its end could not be recorded");
        }
        let done = record.done;
        enter(record, phase, until);
        record.done = done;
    }

    fn put(&mut self, draft: &mut Draft<'_>, record: ActionRecord) {
        draft.put_action(record.clone());
        self.running.retain(|id| *id != record.id);
        if is_running(&record) {
            self.running.push_back(record.id);
        }
        if record.is_open() {
            self.open.insert(record.id, record);
        } else {
            self.open.remove(&record.id);
        }
        self.settle();
    }

    /// Brings what follows from the open actions up to date.
    fn settle(&mut self) {
        let until = |record: &ActionRecord| match record.phase_until_us {
            0 => NEVER,
            until => until,
        };
        self.due.store(self.open.values().map(until).min().unwrap_or(NEVER), Ordering::Relaxed);
        self.holding.clear();
        for hold in self.open.values().filter(|record| is_standing(record)) {
            for recipient in &hold.recipients {
                self.holding.entry(recipient.clone()).or_insert(hold.id);
            }
        }
    }
}

/// A hold of agencies in force: what comes meanwhile is held too.
fn is_standing(record: &ActionRecord) -> bool {
    record.action_kind() == ActionKind::Hold
        && record.document_plus_one == 0
        && matches!(record.action_phase(), ActionPhase::Applying | ActionPhase::Active)
}

fn is_running(record: &ActionRecord) -> bool {
    matches!(record.action_phase(), ActionPhase::Applying | ActionPhase::Effecting | ActionPhase::Undoing)
}

/// A phase begins: nothing of it is done yet.
fn enter(record: &mut ActionRecord, phase: ActionPhase, until_us: i64) {
    record.phase = phase.into();
    record.phase_until_us = until_us;
    record.done = 0;
    record.at_recipient.clear();
    (record.at_rank, record.at_document) = (0, 0);
}

fn spot(record: &ActionRecord) -> Option<Spot> {
    let rank = u8::try_from(record.at_rank).unwrap_or(u8::MAX);
    let spot = Spot { recipient: record.at_recipient.clone(), rank, document: record.at_document };
    (!spot.recipient.is_empty()).then_some(spot)
}

fn requeue(draft: &mut Draft<'_>, record: &mut ActionRecord) -> Result<(), Refused> {
    let document = record.document_plus_one.checked_sub(1);
    let mut recipients = Vec::new();
    for recipient in &record.recipients {
        recipients.push(AgencyId::parse(recipient)?);
    }
    if let Some(document) = document.filter(|_| record.recipients.is_empty()) {
        let mut after = None;
        loop {
            let found = page(draft.store, record, after.as_ref(), STEP)?;
            for spot in &found {
                draft.requeue(spot.agency()?, Some(document));
            }
            after = found.last().cloned();
            if found.len() < STEP {
                break;
            }
        }
    }
    recipients.into_iter().for_each(|recipient| draft.requeue(recipient, document));
    let planned = record.planned;
    enter(record, ActionPhase::Done, 0);
    record.done = planned;
    Ok(())
}

/// A redirect to an agency that was closed meanwhile.
fn goes_nowhere(draft: &Draft<'_>, record: &ActionRecord) -> bool {
    let active = AgencyId::parse(&record.redirect_to)
        .ok()
        .is_some_and(|id| draft.directory.agency(&id).is_some_and(|agency| agency.is_active()));
    record.action_kind() == ActionKind::Redirect && !active
}

fn closed(record: &ActionRecord) -> Reason {
    let phase = record.action_phase().as_str_name();
    Reason::new(ReasonCode::ActionClosed, format!("action {} is {phase}", record.id))
}

/// Records one step of an action; without an actor it is the hub's own.
fn tell(
    draft: &mut Draft<'_>,
    record: &ActionRecord,
    step: AdminStep,
    actor: Option<&Actor>,
    reason: &str,
    count: u64,
) -> Result<u64, Refused> {
    let first = matches!(step, AdminStep::Asked | AdminStep::AskedForApproval);
    let document = record.document_plus_one.checked_sub(1).map(|index| draft.document(index)).transpose()?;
    let said = AdminAction {
        step: step.into(),
        kind: record.kind,
        action_plus_one: if first { 0 } else { record.id + 1 },
        target: Some(action_target(record, document.as_deref())),
        reason: reason.to_owned(),
        until_us: record.until_us,
        redirect_to: record.redirect_to.clone(),
        count,
    };
    let mut evidence = draft.event(EventKind::AdminAction)?;
    evidence.admin_action = said.encode_to_vec().into();
    evidence.actor = actor.cloned();
    let (leaf, _) = draft.add_leaf(&evidence, None, Vec::new())?;
    Ok(leaf)
}

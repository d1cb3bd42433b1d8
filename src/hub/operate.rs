//! What operators may do about deliveries: looked at first, bounded, approved by a second person where it is much.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Hub,
    dispatcher::Standing,
    queue::rows,
    reach::{Spot, ends, is_held_to_end, page, takes},
    refused::{Refused, blocking},
    sequencer::{
        Answer, Proof, Proposal,
        actions::{Asked, Taken, Verdict},
    },
};
use crate::{
    domain::{
        id::{AgencyId, NodeName, shorten},
        reason::{Reason, ReasonCode},
        text,
        time::Timestamp,
    },
    proto::{
        ActRequest, ActResponse, Action, ActionKind, ActionPhase, ActionTarget, Actor, ApproveRequest,
        ApproveResponse, GetTimelineRequest, ListActionsRequest, ListActionsResponse, Receipt, Touched,
        TransportState, UndoRequest, UndoResponse,
    },
    store::{
        StoreError,
        records::{ActionRecord, DeliveryRecord, DocumentRecord},
    },
};

/// Longest reason, in characters.
const MAX_REASON: usize = 300;
/// Rows of a page when the caller names no number.
const DEFAULT_PAGE: u32 = 100;
/// Deliveries read at a time for a plan.
const PAGE: usize = 512;
/// Operators whose pace is remembered at a time.
const MAX_PACES: usize = 1_000;
const MINUTE: i64 = 60_000_000;
/// Farthest end of a hold, and farthest new deadline.
const FARTHEST: i64 = 3_650 * 24 * 60 * MINUTE;
/// Agencies of one node: they stand in the record that each step writes.
const MAX_AGENCIES: usize = 2_000;

/// Rules of what operators may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// An action that touches more deliveries than this needs the approval of a second person.
    pub four_eyes_above: u64,
    /// How long it can be undone that deliveries are cancelled, expired or redirected.
    pub undo_window_us: i64,
    /// How long an action waits for its approval.
    pub approval_window_us: i64,
    /// Actions of one operator in a minute.
    pub actions_per_minute: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            four_eyes_above: 100,
            undo_window_us: 10 * MINUTE,
            approval_window_us: 24 * 60 * MINUTE,
            actions_per_minute: 30,
        }
    }
}

/// How often each operator acts.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<String, (i64, u32)>>);

impl Paces {
    fn take(&self, name: &str, now: Timestamp, per_minute: u32) -> Result<(), Reason> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= MAX_PACES {
            paces.retain(|_, (since, _)| now.0.saturating_sub(*since) < MINUTE);
        }
        let (since, count) = paces.entry(name.to_owned()).or_insert((now.0, 0));
        if now.0.saturating_sub(*since) >= MINUTE {
            (*since, *count) = (now.0, 0);
        }
        if *count >= per_minute {
            return Err(Reason::new(ReasonCode::RateLimited, format!("{per_minute} actions a minute")));
        }
        *count += 1;
        Ok(())
    }
}

/// What an action would touch.
struct Plan {
    count: u64,
    touched: Vec<(Spot, TransportState)>,
    next: Option<Spot>,
}

impl Hub {
    /// Does something about deliveries, or only tells what it would touch.
    pub async fn act(self: &Arc<Self>, actor: &Actor, request: ActRequest) -> Result<ActResponse, Refused> {
        let hub = Arc::clone(self);
        let (dry_run, asked_by) = (request.dry_run, actor.clone());
        if !dry_run {
            let (now, rules) = (self.clock.now(), self.settings.operator);
            self.paces.take(&actor.name, now, rules.actions_per_minute)?;
        }
        let prepared = blocking(move || hub.prepare_action(&asked_by, &request)).await??;
        let (record, mut response) = prepared;
        if dry_run {
            return Ok(response);
        }
        let approval_until = response
            .needs_approval
            .then(|| self.clock.now().plus_us(self.settings.operator.approval_window_us));
        let asked = Asked { record, actor: actor.clone(), approval_until };
        let (action, receipt) = self.acted(Proposal::Act(Box::new(asked))).await?;
        (response.action, response.receipt) = (Some(action), Some(receipt));
        Ok(response)
    }

    /// Approves an action that waits for a second person.
    pub async fn approve(
        self: &Arc<Self>,
        actor: &Actor,
        request: ApproveRequest,
    ) -> Result<ApproveResponse, Refused> {
        text::check("reason", &request.reason, 0..=MAX_REASON)?;
        let ApproveRequest { id, reason } = request;
        let taken = Taken { id, actor: actor.clone(), reason, verdict: Verdict::Approve };
        let (action, receipt) = self.acted(Proposal::Judge(Box::new(taken))).await?;
        Ok(ApproveResponse { action: Some(action), receipt: Some(receipt) })
    }

    /// Takes an action back before it took effect.
    pub async fn undo(
        self: &Arc<Self>,
        actor: &Actor,
        request: UndoRequest,
    ) -> Result<UndoResponse, Refused> {
        let UndoRequest { id, reason } = request;
        check_reason(&reason)?;
        let taken = Taken { id, actor: actor.clone(), reason, verdict: Verdict::Undo };
        let (action, receipt) = self.acted(Proposal::Judge(Box::new(taken))).await?;
        Ok(UndoResponse { action: Some(action), receipt: Some(receipt) })
    }

    async fn acted(self: &Arc<Self>, proposal: Proposal) -> Result<(Action, Receipt), Refused> {
        let Answer::Acted(record, proof) = self.sequencer.propose(proposal).await? else {
            return Err(Refused::because(ReasonCode::StoreFailed, "the writer gave no action"));
        };
        let receipt = match proof {
            Proof::Fresh(receipt) => receipt,
            Proof::Stored(leaf) => self.receipt(leaf).await?,
        };
        let hub = Arc::clone(self);
        Ok((blocking(move || hub.action(&record)).await??, receipt))
    }

    /// Actions, the newest first.
    pub async fn list_actions(
        self: &Arc<Self>,
        request: ListActionsRequest,
    ) -> Result<ListActionsResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.actions_now(&request)).await?
    }

    fn actions_now(&self, request: &ListActionsRequest) -> Result<ListActionsResponse, Refused> {
        if let Some(id) = request.id_plus_one.checked_sub(1) {
            let record = self.store.action(id)?;
            let unknown = || Refused::because(ReasonCode::UnknownAction, format!("action {id}"));
            let action = self.action(&record.ok_or_else(unknown)?)?;
            return Ok(ListActionsResponse { actions: vec![action], next_page_token: String::new() });
        }
        let size = rows(request.page_size, DEFAULT_PAGE);
        let bad = || Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub");
        let before = (!request.page_token.is_empty()).then_some(&request.page_token);
        let before: Option<u64> = before.map(|token| token.parse().map_err(|_| bad())).transpose()?;
        let mut records = if request.open {
            let mut open = self.store.open_actions()?;
            open.retain(|record| before.is_none_or(|before| record.id < before));
            open.reverse();
            open
        } else {
            self.store.actions(before, size)?
        };
        let more = records.len() >= size;
        records.truncate(size);
        let next = records.last().filter(|_| more).map(|record| record.id.to_string());
        let actions = records.iter().map(|record| self.action(record)).collect::<Result<_, _>>()?;
        Ok(ListActionsResponse { actions, next_page_token: next.unwrap_or_default() })
    }

    fn action(&self, record: &ActionRecord) -> Result<Action, Refused> {
        let document = match record.document_plus_one.checked_sub(1) {
            Some(index) => self.store.document(index)?,
            None => None,
        };
        let person = |name: &String| {
            let role = crate::proto::ActorRole::Operator.into();
            (!name.is_empty()).then(|| Actor { name: name.clone(), role })
        };
        Ok(Action {
            id: record.id,
            kind: record.kind,
            target: Some(action_target(record, document.as_ref())),
            reason: record.reason.clone(),
            until_us: record.until_us,
            redirect_to: record.redirect_to.clone(),
            actor: Some(Actor { name: record.actor.clone(), role: record.role }),
            asked_at_us: record.asked_at_us,
            phase: record.phase,
            phase_until_us: record.phase_until_us,
            planned: record.planned,
            done: record.done,
            approved_by: person(&record.approved_by),
            undone_by: person(&record.undone_by),
        })
    }

    /// Checks a request and looks at what it would touch.
    fn prepare_action(
        &self,
        actor: &Actor,
        request: &ActRequest,
    ) -> Result<(ActionRecord, ActResponse), Refused> {
        let record = self.checked(actor, request)?;
        let after = parse_spot(&request.page_token)?;
        let listed = if request.dry_run { rows(request.page_size, DEFAULT_PAGE) } else { 0 };
        let plan = self.plan(&record, after, listed)?;
        let rules = self.settings.operator;
        let response = ActResponse {
            count: plan.count,
            touched: self.touched_rows(&plan)?,
            next_page_token: plan.next.as_ref().map(print_spot).unwrap_or_default(),
            needs_approval: plan.count > rules.four_eyes_above,
            ..ActResponse::default()
        };
        if plan.count == 0 && !request.dry_run && !self.stands_without_deliveries(&record)? {
            return Err(Refused::because(
                ReasonCode::NothingToDo,
                "no delivery of the target can be moved so",
            ));
        }
        Ok((ActionRecord { planned: plan.count, ..record }, response))
    }

    /// A hold of an agency is for what comes; a release may end a hold that holds nothing just now.
    fn stands_without_deliveries(&self, record: &ActionRecord) -> Result<bool, StoreError> {
        Ok(match record.action_kind() {
            ActionKind::Hold => record.document_plus_one == 0,
            ActionKind::Release => self.store.open_actions()?.iter().any(|hold| {
                hold.action_kind() == ActionKind::Hold
                    && (hold.document_plus_one, &hold.agency, &hold.node)
                        == (record.document_plus_one, &record.agency, &record.node)
            }),
            _ => false,
        })
    }

    fn checked(&self, actor: &Actor, request: &ActRequest) -> Result<ActionRecord, Refused> {
        let kind = ActionKind::try_from(request.kind).unwrap_or_default();
        if kind == ActionKind::Unspecified {
            return Err(Reason::invalid("kind", "is required").into());
        }
        if !request.dry_run || !request.reason.is_empty() {
            check_reason(&request.reason)?;
        }
        let now = self.clock.now();
        let timed = matches!(kind, ActionKind::Hold | ActionKind::Resend);
        let ahead = now.0.saturating_add(1)..=now.0.saturating_add(FARTHEST);
        if request.until_us != 0 && (!timed || !ahead.contains(&request.until_us)) {
            let rule = "is for holds and resending, and lies in the next ten years";
            return Err(Reason::invalid("until_us", rule).into());
        }
        let target = request.target.clone().unwrap_or_default();
        let mut record = ActionRecord {
            id: u64::MAX,
            kind: kind.into(),
            reason: request.reason.clone(),
            until_us: request.until_us,
            actor: actor.name.clone(),
            role: actor.role,
            undo_window_us: self.settings.operator.undo_window_us,
            ..ActionRecord::default()
        };
        self.aim(&mut record, &target)?;
        if kind == ActionKind::Resend && record.document_plus_one == 0 {
            return Err(Reason::invalid("target", "name the document that is to be sent again").into());
        }
        record.redirect_to = self.redirect_to(kind, request, &record)?;
        Ok(record)
    }

    /// Finds what the target names.
    fn aim(&self, record: &mut ActionRecord, target: &ActionTarget) -> Result<(), Refused> {
        let directory = self.directory();
        if !target.node.is_empty() {
            let only = target.document_id.is_empty() && target.agency.is_empty();
            if !only {
                return Err(Reason::invalid("target", "a node stands alone").into());
            }
            let unknown = || Refused::because(ReasonCode::UnknownNode, shorten(&target.node));
            let name = NodeName::parse(&target.node)?;
            let node = directory.node(&name).ok_or_else(unknown)?;
            if node.agencies.len() > MAX_AGENCIES {
                let detail = format!("{} acts for {} agencies: name them", node.name, node.agencies.len());
                return Err(Refused::because(ReasonCode::TooLarge, detail));
            }
            record.node = node.name.to_string();
            record.recipients = node.agencies.iter().map(ToString::to_string).collect();
            return Ok(());
        }
        if !target.agency.is_empty() {
            let unknown = || Refused::because(ReasonCode::UnknownAgency, shorten(&target.agency));
            let agency = directory.resolve(&target.agency).ok_or_else(unknown)?;
            record.agency = agency.id.to_string();
            record.recipients = vec![record.agency.clone()];
        }
        if !target.document_id.is_empty() {
            record.document_plus_one = self.find(&name_of(target))? + 1;
        }
        if record.agency.is_empty() && record.document_plus_one == 0 {
            return Err(Reason::invalid("target", "name a document, an agency or a node").into());
        }
        Ok(())
    }

    fn redirect_to(
        &self,
        kind: ActionKind,
        request: &ActRequest,
        record: &ActionRecord,
    ) -> Result<String, Refused> {
        if kind != ActionKind::Redirect {
            if request.redirect_to.is_empty() {
                return Ok(String::new());
            }
            return Err(Reason::invalid("redirect_to", "is for redirecting").into());
        }
        let directory = self.directory();
        let unknown = || Refused::because(ReasonCode::UnknownAgency, shorten(&request.redirect_to));
        let other = directory.resolve(&request.redirect_to).ok_or_else(unknown)?;
        if !other.is_active() {
            return Err(Refused::because(ReasonCode::AgencyClosed, other.id.to_string()));
        }
        if record.recipients.iter().any(|recipient| recipient == other.id.as_str()) {
            return Err(Reason::invalid("redirect_to", "is among those that it is taken from").into());
        }
        if record.recipients.is_empty() {
            let rule = "name the recipient that it is taken from (agency), beside the document";
            return Err(Reason::invalid("target", rule).into());
        }
        Ok(other.id.to_string())
    }

    /// Counts what the action touches, from the beginning, and lists up to `listed` behind `after`.
    fn plan(&self, record: &ActionRecord, after: Option<Spot>, listed: usize) -> Result<Plan, Refused> {
        let open: HashMap<u64, ActionKind> =
            self.store.open_actions()?.iter().map(|action| (action.id, action.action_kind())).collect();
        let counts = after.is_none();
        let mut plan = Plan { count: 0, touched: Vec::new(), next: None };
        let mut at = after;
        loop {
            let spots = page(&*self.store, record, at.as_ref(), PAGE)?;
            for spot in &spots {
                let Some(state) = self.would_take(record.action_kind(), spot, &open)? else { continue };
                plan.count += u64::from(counts);
                if plan.touched.len() < listed {
                    plan.touched.push((spot.clone(), state));
                } else if plan.next.is_none() && listed > 0 {
                    plan.next = plan.touched.last().map(|(spot, _)| spot.clone());
                }
            }
            if spots.len() < PAGE || !counts && plan.next.is_some() {
                return Ok(plan);
            }
            at = spots.last().cloned();
        }
    }

    fn would_take(
        &self,
        kind: ActionKind,
        spot: &Spot,
        open: &HashMap<u64, ActionKind>,
    ) -> Result<Option<TransportState>, Refused> {
        let recipient = spot.agency()?;
        let Some(delivery) = self.store.delivery(spot.document, &recipient)? else { return Ok(None) };
        if kind == ActionKind::Resend && self.store.erasure(spot.document)?.is_some() {
            return Ok(None);
        }
        let held_to_end = is_held_to_end(&delivery, |id| open.get(&id).copied());
        let taken = takes(kind, &delivery, held_to_end) && self.pauses(kind, &recipient, &delivery);
        Ok(taken.then(|| delivery.transport_state()))
    }

    /// Requeue is about what is leased or pauses; the other kinds do not care.
    fn pauses(&self, kind: ActionKind, recipient: &AgencyId, delivery: &DeliveryRecord) -> bool {
        kind != ActionKind::Requeue
            || matches!(
                self.dispatcher.standing(recipient, delivery.document),
                Some((Standing::Leased { .. } | Standing::Paused { .. }, _))
            )
    }

    fn touched_rows(&self, plan: &Plan) -> Result<Vec<Touched>, Refused> {
        let mut documents: HashMap<u64, DocumentRecord> = HashMap::new();
        let mut touched = Vec::with_capacity(plan.touched.len());
        for (spot, state) in &plan.touched {
            let document = match documents.entry(spot.document) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.store.document(spot.document)?.unwrap_or_default()),
            };
            touched.push(Touched {
                document_id: document.document_id.clone(),
                sender: document.sender.clone(),
                revision: document.revision,
                recipient: spot.recipient.clone(),
                state: (*state).into(),
            });
        }
        Ok(touched)
    }

    /// Lets actions go on whose time has come.
    pub(super) async fn wake_actions(&self) {
        if self.clock.now().0 < self.actions_due.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        match self.sequencer.propose(Proposal::Wake).await {
            Ok(_) => {}
            Err(refused) if matches!(refused.code(), ReasonCode::Busy | ReasonCode::ShuttingDown) => {}
            Err(refused) => tracing::error!(%refused, "actions of operators could not go on"),
        }
    }
}

/// Whether deliveries that the action holds are going to end.
#[must_use]
pub fn is_ending(record: &ActionRecord) -> bool {
    ends(record.action_kind()) && record.action_phase() != ActionPhase::Undoing
}

fn name_of(target: &ActionTarget) -> GetTimelineRequest {
    GetTimelineRequest {
        document_id: target.document_id.clone(),
        sender: target.sender.clone(),
        revision: target.revision,
        ..GetTimelineRequest::default()
    }
}

/// What an action names, as on the wire.
#[must_use]
pub fn action_target(record: &ActionRecord, document: Option<&DocumentRecord>) -> ActionTarget {
    let document = document.cloned().unwrap_or_default();
    ActionTarget {
        document_id: document.document_id,
        sender: document.sender,
        revision: document.revision,
        agency: record.agency.clone(),
        node: record.node.clone(),
    }
}

fn check_reason(reason: &str) -> Result<(), Reason> {
    if reason.trim().is_empty() {
        return Err(Reason::new(ReasonCode::ReasonRequired, "reason"));
    }
    text::check("reason", reason, 1..=MAX_REASON)
}

fn print_spot(spot: &Spot) -> String {
    format!("{}.{}/{}", spot.rank, spot.document, spot.recipient)
}

fn parse_spot(token: &str) -> Result<Option<Spot>, Refused> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub");
    let (place, recipient) = token.split_once('/').ok_or_else(bad)?;
    let (rank, document) = place.split_once('.').ok_or_else(bad)?;
    let recipient = AgencyId::parse(recipient).map_err(|_| bad())?.to_string();
    let rank = rank.parse().map_err(|_| bad())?;
    Ok(Some(Spot { recipient, rank, document: document.parse().map_err(|_| bad())? }))
}

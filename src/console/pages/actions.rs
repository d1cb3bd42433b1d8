//! What operators do, and did.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use crate::{
    console::{
        Desk,
        act::{Act, Fields},
        format,
        guard::redirect,
        labels::{self, Tone},
        page::{Page, render},
        people::Who,
        trouble::Trouble,
        visitor::Signed,
        words::Lang,
    },
    domain::{
        directory::Directory,
        reason::{Reason, ReasonCode},
    },
    edge::caller::Role,
    proto::{
        ActRequest, Action, ActionKind, ActionPhase, ActionTarget, ApproveRequest, ListActionsRequest,
        Touched, UndoRequest,
    },
};

const ROWS: u32 = 50;
/// Deliveries that a preview names; it counts all of them.
const PREVIEW: u32 = 50;
const HOUR_US: i64 = 3_600 * 1_000_000;

const KINDS: [ActionKind; 7] = [
    ActionKind::Hold,
    ActionKind::Release,
    ActionKind::Requeue,
    ActionKind::Redirect,
    ActionKind::Cancel,
    ActionKind::Expire,
    ActionKind::Resend,
];

/// Which part of the list.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    open: String,
    after: String,
    id: String,
}

#[derive(Template)]
#[template(path = "actions.html")]
struct ActionsPage<'a> {
    page: Page<'a>,
    open: bool,
    one: bool,
    rows: Vec<ActionRow>,
    next: Option<String>,
    first: Option<String>,
}

/// One action.
struct ActionRow {
    id: u64,
    href: String,
    kind: &'static str,
    target: Target,
    reason: String,
    who: String,
    at: String,
    phase: &'static str,
    tone: Tone,
    until: String,
    planned: String,
    done: String,
    approved_by: String,
    undone_by: String,
    redirect_to: Who,
    can_approve: bool,
    can_undo: bool,
}

/// What an action is about.
struct Target {
    document: String,
    href: String,
    agency: Who,
    node: String,
}

impl Target {
    fn of(lang: Lang, directory: &Directory, target: &ActionTarget) -> Self {
        let href = match target.document_id.is_empty() {
            true => String::new(),
            false => super::documents::path(lang, &target.document_id, &target.sender, target.revision),
        };
        Self {
            document: target.document_id.clone(),
            href,
            agency: Who::of(lang, directory, &target.agency),
            node: target.node.clone(),
        }
    }
}

/// `GET /actions`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    signed.caller.require_watcher()?;
    let lang = signed.visitor.lang;
    let one: Option<u64> = asked.id.parse().ok();
    let request = ListActionsRequest {
        open: !asked.open.is_empty(),
        page_token: asked.after.clone(),
        page_size: ROWS,
        id_plus_one: one.map_or(0, |id| id.saturating_add(1)),
    };
    let list = desk.hub.list_actions(request).await?;
    let directory = desk.hub.directory();
    let here = format!("/{}/actions?open={}", lang.name(), format::url(&asked.open));
    let next = Some(&list.next_page_token).filter(|token| !token.is_empty());
    Ok(render(&ActionsPage {
        page: Page::new(&signed.visitor, lang.words().nav_actions, "/actions"),
        open: !asked.open.is_empty(),
        one: one.is_some(),
        rows: list.actions.iter().map(|action| row(lang, &directory, &signed, action)).collect(),
        next: next.map(|token| format!("{here}&after={}", format::url(token))),
        first: (!asked.after.is_empty()).then_some(here),
    }))
}

fn row(lang: Lang, directory: &Directory, signed: &Signed, action: &Action) -> ActionRow {
    let (phase, tone) = labels::phase(lang, action.phase());
    let name = |actor: &Option<crate::proto::Actor>| {
        actor.as_ref().map(|actor| actor.name.clone()).unwrap_or_default()
    };
    let own = match &signed.caller.identity.role {
        Role::Operator(name) => Some(name.as_str()),
        _ => None,
    };
    use ActionPhase as P;
    let can_undo = matches!(action.phase(), P::Pending | P::Applying | P::Waiting | P::Active);
    ActionRow {
        id: action.id,
        href: format!("/{}/actions?id={}", lang.name(), action.id),
        kind: labels::action(lang, action.kind()),
        target: Target::of(lang, directory, &action.target.clone().unwrap_or_default()),
        reason: action.reason.clone(),
        who: name(&action.actor),
        at: format::moment(lang, action.asked_at_us),
        phase,
        tone,
        until: format::moment(lang, action.phase_until_us),
        planned: format::number(lang, action.planned),
        done: format::number(lang, action.done),
        approved_by: name(&action.approved_by),
        undone_by: name(&action.undone_by),
        redirect_to: Who::of(lang, directory, &action.redirect_to),
        can_approve: action.phase() == P::Pending && own.is_some_and(|own| own != name(&action.actor)),
        can_undo: own.is_some() && can_undo,
    }
}

/// `POST /action/approve`
pub(crate) async fn approve(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Act(fields): Act,
) -> Result<Response, Trouble> {
    let actor = signed.caller.require_operator()?;
    let request = ApproveRequest { id: id(&fields)?, reason: fields.get("reason").to_owned() };
    let done = desk.hub.approve(&actor, request).await?;
    Ok(to_action(signed.visitor.lang, done.action.map_or(0, |action| action.id)))
}

/// `POST /action/undo`
pub(crate) async fn undo(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Act(fields): Act,
) -> Result<Response, Trouble> {
    let actor = signed.caller.require_operator()?;
    let request = UndoRequest { id: id(&fields)?, reason: fields.get("reason").to_owned() };
    let done = desk.hub.undo(&actor, request).await?;
    Ok(to_action(signed.visitor.lang, done.action.map_or(0, |action| action.id)))
}

fn id(fields: &Fields) -> Result<u64, Reason> {
    fields.get("id").parse().map_err(|_| Reason::invalid("id", "is no number"))
}

fn to_action(lang: Lang, id: u64) -> Response {
    redirect(&format!("/{}/actions?id={id}", lang.name()))
}

/// What an action would be about.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    id: String,
    sender: String,
    revision: u64,
    agency: String,
    node: String,
}

#[derive(Template)]
#[template(path = "act.html")]
struct ActPage<'a> {
    page: Page<'a>,
    about: About,
    target: Target,
    kinds: Vec<(&'static str, &'static str, &'static str)>,
    hours: [(i64, String); 6],
}

/// `GET /act`: the form.
pub(crate) async fn form(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(about): Query<About>,
) -> Result<Response, Trouble> {
    signed.caller.require_operator()?;
    let lang = signed.visitor.lang;
    let words = lang.words();
    let hours = |hours: i64| match hours {
        0 => (0, words.until_released.to_owned()),
        hours => (hours, format::span(lang, hours * HOUR_US)),
    };
    Ok(render(&ActPage {
        page: Page::new(&signed.visitor, words.act, "/queues"),
        target: Target::of(lang, &desk.hub.directory(), &about.target()),
        kinds: KINDS
            .iter()
            .map(|kind| (kind.as_str_name(), labels::action(lang, *kind), labels::action_hint(lang, *kind)))
            .collect(),
        hours: [hours(1), hours(4), hours(24), hours(72), hours(168), hours(0)],
        about,
    }))
}

impl About {
    fn target(&self) -> ActionTarget {
        ActionTarget {
            document_id: self.id.clone(),
            sender: self.sender.clone(),
            revision: self.revision,
            agency: self.agency.clone(),
            node: self.node.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage<'a> {
    page: Page<'a>,
    kind: &'static str,
    target: Target,
    reason: String,
    until: String,
    redirect_to: Who,
    count: String,
    nothing: bool,
    needs_approval: bool,
    is_ending: bool,
    touched: Vec<TouchedRow>,
    more: bool,
    fields: Vec<(&'static str, String)>,
}

struct TouchedRow {
    document: String,
    href: String,
    recipient: Who,
    state: &'static str,
    tone: Tone,
}

/// `POST /act/preview`: what it would touch. Nothing is done.
pub(crate) async fn preview(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Act(fields): Act,
) -> Result<Response, Trouble> {
    let actor = signed.caller.require_operator()?;
    let lang = signed.visitor.lang;
    let now_us = desk.hub.clock().now().0;
    let wanted = request(&fields, now_us)?;
    let dry = ActRequest { dry_run: true, page_size: PREVIEW, ..wanted.clone() };
    let seen = desk.hub.act(&actor, dry).await?;
    let directory = desk.hub.directory();
    let (kind, words) = (wanted.kind(), lang.words());
    let names = ["kind", "id", "sender", "revision", "agency", "node", "reason", "hours", "redirect_to"];
    Ok(render(&PreviewPage {
        page: Page::new(&signed.visitor, words.act_preview, "/queues"),
        kind: labels::action(lang, kind),
        target: Target::of(lang, &directory, &wanted.target.clone().unwrap_or_default()),
        until: format::moment(lang, wanted.until_us),
        redirect_to: Who::of(lang, &directory, &wanted.redirect_to),
        count: format::number(lang, seen.count),
        nothing: seen.count == 0,
        needs_approval: seen.needs_approval,
        is_ending: matches!(kind, ActionKind::Cancel | ActionKind::Expire | ActionKind::Redirect),
        more: !seen.next_page_token.is_empty(),
        touched: seen.touched.iter().map(|one| touched(lang, &directory, one)).collect(),
        fields: names.iter().map(|name| (*name, fields.get(name).to_owned())).collect(),
        reason: wanted.reason,
    }))
}

fn touched(lang: Lang, directory: &Directory, one: &Touched) -> TouchedRow {
    let (state, tone) = labels::transport(lang, one.state());
    TouchedRow {
        document: one.document_id.clone(),
        href: super::documents::path(lang, &one.document_id, &one.sender, one.revision),
        recipient: Who::of(lang, directory, &one.recipient),
        state,
        tone,
    }
}

/// `POST /act`: does it; the hub makes it evidence.
pub(crate) async fn act(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Act(fields): Act,
) -> Result<Response, Trouble> {
    let actor = signed.caller.require_operator()?;
    let wanted = request(&fields, desk.hub.clock().now().0)?;
    let done = desk.hub.act(&actor, wanted).await?;
    Ok(to_action(signed.visitor.lang, done.action.map_or(0, |action| action.id)))
}

fn request(fields: &Fields, now_us: i64) -> Result<ActRequest, Reason> {
    let kind = ActionKind::from_str_name(fields.get("kind"))
        .filter(|kind| *kind != ActionKind::Unspecified)
        .ok_or_else(|| Reason::invalid("kind", "is required"))?;
    let hours: i64 = match fields.get("hours") {
        "" => 0,
        text => text.parse().map_err(|_| Reason::invalid("hours", "is no number"))?,
    };
    let timed = matches!(kind, ActionKind::Hold | ActionKind::Resend) && hours > 0;
    let revision = match fields.get("revision") {
        "" => 0,
        text => text.parse().map_err(|_| Reason::invalid("revision", "is no number"))?,
    };
    if fields.get("reason").is_empty() {
        return Err(Reason::new(ReasonCode::ReasonRequired, "reason"));
    }
    let to =
        if kind == ActionKind::Redirect { fields.get("redirect_to").to_uppercase() } else { String::new() };
    Ok(ActRequest {
        kind: kind.into(),
        target: Some(ActionTarget {
            document_id: fields.get("id").into(),
            sender: fields.get("sender").into(),
            revision,
            agency: fields.get("agency").into(),
            node: fields.get("node").into(),
        }),
        reason: fields.get("reason").into(),
        until_us: if timed { now_us.saturating_add(hours.clamp(0, 100_000) * HOUR_US) } else { 0 },
        redirect_to: to,
        ..ActRequest::default()
    })
}

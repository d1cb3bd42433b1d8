//! What operators do about deliveries: looked at before, on record, undone in time, and never lost half-way.

use std::time::Duration;

use prost::Message as _;
use truc::{
    domain::{id::AgencyId, reason::ReasonCode},
    hub::refused::Refused,
    proto::{directory_change::Change, *},
    store::memory::Fault,
};

use crate::common::*;

crate::on_both_stores!(
    a_hold_keeps_back_what_waits_and_what_comes,
    what_is_cancelled_can_be_taken_back_until_it_takes_effect,
    a_dry_run_tells_exactly_what_is_then_touched,
    much_needs_a_second_person_also_after_a_restart,
    a_redirected_document_goes_to_the_other_agency,
    why_names_the_real_cause,
    queues_are_counted_as_they_are,
);

const MINUTE: i64 = 60 * SECOND;

fn operator(name: &str) -> Actor {
    Actor { name: name.into(), role: ActorRole::Operator.into() }
}

fn ask(kind: ActionKind, target: ActionTarget) -> ActRequest {
    ActRequest {
        kind: kind.into(),
        target: Some(target),
        reason: "theo đề nghị".into(),
        ..Default::default()
    }
}

fn document(id: &str) -> ActionTarget {
    ActionTarget { document_id: id.into(), ..Default::default() }
}

fn delivery(id: &str, agency: &str) -> ActionTarget {
    ActionTarget { agency: agency.into(), ..document(id) }
}

fn agency(agency: &str) -> ActionTarget {
    ActionTarget { agency: agency.into(), ..Default::default() }
}

impl World {
    async fn act(&self, by: &str, request: ActRequest) -> Result<Action, Refused> {
        let told = self.hub().act(&operator(by), request).await?;
        let proof = self.verify(told.receipt.expect("evidence"));
        assert_eq!(proof.event(), EventKind::AdminAction);
        assert_eq!(proof.evidence.actor, Some(operator(by)));
        Ok(told.action.expect("an action"))
    }

    async fn undo(&self, by: &str, id: u64) -> Result<Action, Refused> {
        let told = self.hub().undo(&operator(by), UndoRequest { id, reason: "nhầm".into() }).await?;
        self.verify(told.receipt.expect("evidence"));
        Ok(told.action.expect("an action"))
    }

    async fn approve(&self, by: &str, id: u64) -> Result<Action, Refused> {
        let request = ApproveRequest { id, reason: String::new() };
        let told = self.hub().approve(&operator(by), request).await?;
        self.verify(told.receipt.expect("evidence"));
        Ok(told.action.expect("an action"))
    }

    async fn action(&self, id: u64) -> Action {
        let request = ListActionsRequest { id_plus_one: id + 1, ..Default::default() };
        self.hub().list_actions(request).await.unwrap().actions.remove(0)
    }

    async fn reaches(&self, id: u64, phase: ActionPhase) -> Action {
        eventually(phase.as_str_name(), async || self.action(id).await.phase() == phase).await;
        self.action(id).await
    }

    async fn offered(&self, agencies: &[&str]) -> Vec<Offer> {
        let agencies = to(agencies);
        self.hub().fetch(&node("communes"), &agencies, 100, Duration::ZERO).await.unwrap()
    }

    async fn why(&self, id: &str, recipient: &str) -> WhyRecipient {
        let request = WhyRequest {
            document_id: id.into(),
            recipient: recipient.into(),
            all: true,
            ..Default::default()
        };
        self.hub().why(request).await.unwrap().recipients.remove(0)
    }

    async fn kinds(&self, document: &Proven, recipient: &str) -> Vec<EventKind> {
        let events = self.events(document).await;
        let mine =
            events.iter().filter(|event| event.evidence.recipients.iter().any(|to| to.agency == recipient));
        mine.map(Proven::event).collect()
    }
}

async fn a_hold_keeps_back_what_waits_and_what_comes(mut world: World) {
    let everyone = |id: &str| manifest(id).with(|m| m.recipients = to(&COMMUNES));
    let before = world.send(&everyone("before")).await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 3).await;
    let until = START.0 + HOUR;
    let hold = ActRequest { until_us: until, ..ask(ActionKind::Hold, agency(TAN_BINH)) };
    let hold = world.act("an", hold).await.unwrap();
    world.reaches(hold.id, ActionPhase::Active).await;
    let meanwhile = world.send(&everyone("meanwhile")).await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 6).await;
    assert!(world.offered(&[TAN_BINH]).await.is_empty());
    assert_eq!(world.offered(&[TAN_HOA]).await.len(), 2, "others are not held");
    for document in [&before, &meanwhile] {
        assert_eq!(world.state(document, TAN_BINH).await.transport(), TransportState::Held);
        assert_eq!(
            world.kinds(document, TAN_BINH).await,
            [EventKind::ContentConsignment, EventKind::DeliveryHeld]
        );
    }
    let why = world.why("before", TAN_BINH).await;
    assert_eq!((why.cause(), why.subject.as_str(), why.next_us), (WhyCause::Held, "an", until));
    // After a restart it is still held; a receipt of who has it already counts; the hold ends by itself.
    world.restart().await;
    assert!(world.offered(&[TAN_BINH]).await.is_empty());
    world.acknowledge(&meanwhile, TAN_BINH).await;
    world.clock.advance_us(HOUR);
    world.reaches(hold.id, ActionPhase::Done).await;
    eventually("it is offered", async || world.offered(&[TAN_BINH]).await.len() == 1).await;
    world.acknowledge(&before, TAN_BINH).await;
    let late = world.send(&everyone("late")).await;
    eventually("it is ready", async || world.kinds(&late, TAN_BINH).await == [EventKind::ContentConsignment])
        .await;
    world.audit().await;
}

async fn what_is_cancelled_can_be_taken_back_until_it_takes_effect(world: World) {
    let sent = world.send(&manifest("d1")).await;
    let cancel = world.act("an", ask(ActionKind::Cancel, document("d1"))).await.unwrap();
    assert_eq!((cancel.planned, cancel.phase()), (1, ActionPhase::Applying));
    let waiting = world.reaches(cancel.id, ActionPhase::Waiting).await;
    assert_eq!(waiting.phase_until_us, START.0 + 10 * MINUTE);
    assert!(world.offered(&[TAN_BINH]).await.is_empty(), "held at once");
    let why = world.why("d1", TAN_BINH).await;
    assert_eq!((why.cause(), why.next_us), (WhyCause::Ending, waiting.phase_until_us));
    world.clock.advance_us(9 * MINUTE);
    world.undo("binh", cancel.id).await.unwrap();
    let undone = world.reaches(cancel.id, ActionPhase::Undone).await;
    assert_eq!(undone.undone_by, Some(operator("binh")));
    assert_eq!(world.offered(&[TAN_BINH]).await.len(), 1);
    assert_eq!(world.undo("an", cancel.id).await.unwrap_err().code(), ReasonCode::ActionClosed);

    let cancel = world.act("an", ask(ActionKind::Cancel, document("d1"))).await.unwrap();
    world.reaches(cancel.id, ActionPhase::Waiting).await;
    world.clock.advance_us(10 * MINUTE);
    world.reaches(cancel.id, ActionPhase::Done).await;
    assert_eq!(world.undo("an", cancel.id).await.unwrap_err().code(), ReasonCode::ActionClosed);
    assert_eq!(world.state(&sent, TAN_BINH).await.transport(), TransportState::Cancelled);
    assert_eq!(world.feed(PROVINCE).await, [EventKind::SubmissionAcceptance, EventKind::DeliveryCancelled]);
    let why = world.why("d1", TAN_BINH).await;
    assert_eq!((why.cause(), why.subject.as_str()), (WhyCause::Cancelled, "an"));
    let signed = receipt(&sent.evidence, TAN_BINH, Outcome::Accepted);
    assert_eq!(world.refused(world.try_acknowledge(&signed).await).code, ReasonCode::AlreadyFinal);

    // It is needed after all.
    let until = START.0 + 30 * DAY;
    let resend = ActRequest { until_us: until, ..ask(ActionKind::Resend, document("d1")) };
    let resend = world.act("an", resend).await.unwrap();
    world.reaches(resend.id, ActionPhase::Done).await;
    let offers = world.offered(&[TAN_BINH]).await;
    assert_eq!((offers.len(), offers[0].delivery_deadline_us), (1, until));
    world.clock.advance_us(20 * DAY);
    world.acknowledge(&sent, TAN_BINH).await;
    use EventKind::*;
    assert_eq!(
        world.kinds(&sent, TAN_BINH).await,
        [
            ContentConsignment,
            DeliveryHeld,
            DeliveryReleased,
            DeliveryHeld,
            DeliveryCancelled,
            DeliveryReleased,
            ContentHandover
        ]
    );
    let chain = world.events(&sent).await;
    for pair in chain[1..].windows(2) {
        assert_eq!(pair[1].evidence.previous_evidence_sha256, pair[0].leaf_hash()[..], "one chain");
    }
    let nothing = world.act("an", ask(ActionKind::Cancel, document("d1"))).await.unwrap_err();
    assert_eq!(nothing.code(), ReasonCode::NothingToDo);
    world.audit().await;
}

async fn a_dry_run_tells_exactly_what_is_then_touched(world: World) {
    for number in 0..7 {
        world.send(&manifest(&format!("d{number}")).with(|m| m.recipients = to(&COMMUNES))).await;
    }
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 21).await;
    let done = world.events(&world.feed_from(PROVINCE, "c0").await[0].1).await.remove(0);
    world.acknowledge(&done, TAN_LAP).await;
    let hold = world.act("an", ask(ActionKind::Hold, delivery("d1", TAN_LAP))).await.unwrap();
    world.reaches(hold.id, ActionPhase::Active).await;
    let size = world.hub().size();
    let mut dry = ActRequest { dry_run: true, page_size: 4, ..ask(ActionKind::Expire, agency(TAN_LAP)) };
    let mut told: Vec<String> = Vec::new();
    loop {
        let page = world.hub().act(&operator("an"), dry.clone()).await.unwrap();
        if dry.page_token.is_empty() {
            assert_eq!((page.count, page.needs_approval), (6, false));
        }
        assert!(page.touched.iter().all(|one| one.recipient == TAN_LAP));
        told.extend(page.touched.into_iter().map(|one| one.document_id));
        dry.page_token = page.next_page_token;
        if dry.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(told, ["d1", "d2", "d3", "d4", "d5", "d6"]);
    assert_eq!(world.hub().size(), size, "nothing was recorded, nothing changed");
    let expire = world.act("an", ask(ActionKind::Expire, agency(TAN_LAP))).await.unwrap();
    world.reaches(expire.id, ActionPhase::Waiting).await;
    world.clock.advance_us(10 * MINUTE);
    assert_eq!(world.reaches(expire.id, ActionPhase::Done).await.done, 6);
    let expired = world.feed(PROVINCE).await;
    assert_eq!(expired.iter().filter(|kind| **kind == EventKind::ContentHandoverFailure).count(), 6);
    assert_eq!(world.hub().overview().await.unwrap().waiting, 14, "the other recipients' are untouched");
    // The hold that lost its delivery is ended by hand.
    world.undo("an", hold.id).await.unwrap();
    world.reaches(hold.id, ActionPhase::Undone).await;
    for (request, code) in [
        (ask(ActionKind::Hold, ActionTarget::default()), ReasonCode::InvalidField),
        (ask(ActionKind::Hold, agency("H99")), ReasonCode::UnknownAgency),
        (ask(ActionKind::Hold, document("nothing")), ReasonCode::UnknownDocument),
        (ask(ActionKind::Resend, agency(TAN_LAP)), ReasonCode::InvalidField),
        (ask(ActionKind::Redirect, document("d1")), ReasonCode::UnknownAgency),
        (
            ActRequest { reason: " ".into(), ..ask(ActionKind::Hold, document("d1")) },
            ReasonCode::ReasonRequired,
        ),
        (ActRequest { until_us: 5, ..ask(ActionKind::Hold, document("d1")) }, ReasonCode::InvalidField),
    ] {
        let refused = world.hub().act(&operator("an"), request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{request:?}");
    }
}

async fn much_needs_a_second_person_also_after_a_restart(mut world: World) {
    world.settings.operator.four_eyes_above = 2;
    world.settings.operator.actions_per_minute = 4;
    world.restart().await;
    let sent = world.send(&manifest("d1").with(|m| m.recipients = to(&COMMUNES))).await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 3).await;
    let cancel = world.act("an", ask(ActionKind::Cancel, document("d1"))).await.unwrap();
    assert_eq!((cancel.phase(), cancel.planned), (ActionPhase::Pending, 3));
    assert_eq!(world.state(&sent, TAN_HOA).await.transport(), TransportState::Ready, "nothing happens yet");
    world.restart().await;
    let open = ListActionsRequest { open: true, ..Default::default() };
    assert_eq!(world.hub().list_actions(open).await.unwrap().actions.len(), 1, "it waits on");
    let alone = world.approve("an", cancel.id).await.unwrap_err();
    assert_eq!(alone.code(), ReasonCode::SecondPersonRequired);
    assert_eq!(world.approve("binh", 0).await.unwrap_err().code(), ReasonCode::UnknownAction);
    let approved = world.approve("binh", cancel.id).await.unwrap();
    assert_eq!(approved.approved_by, Some(operator("binh")));
    world.reaches(cancel.id, ActionPhase::Waiting).await;
    assert_eq!(world.approve("chi", cancel.id).await.unwrap_err().code(), ReasonCode::ActionClosed);
    world.undo("an", cancel.id).await.unwrap();
    world.reaches(cancel.id, ActionPhase::Undone).await;
    for recipient in COMMUNES {
        assert_eq!(world.state(&sent, recipient).await.transport(), TransportState::Ready);
    }
    // Nobody approves it: it lapses. Small ones need nobody.
    let second = world.act("an", ask(ActionKind::Cancel, document("d1"))).await.unwrap();
    let small = world.act("an", ask(ActionKind::Cancel, delivery("d1", TAN_LAP))).await.unwrap();
    world.reaches(small.id, ActionPhase::Waiting).await;
    world.clock.advance_us(DAY);
    world.reaches(second.id, ActionPhase::Lapsed).await;
    world.reaches(small.id, ActionPhase::Done).await;
    assert_eq!(world.state(&sent, TAN_LAP).await.transport(), TransportState::Cancelled);
    // An operator in a hurry has to wait.
    let hold = || ask(ActionKind::Hold, delivery("d1", TAN_HOA));
    world.act("an", hold()).await.unwrap();
    for _ in 0..4 {
        if let Err(refused) = world.act("an", hold()).await {
            assert!(matches!(refused.code(), ReasonCode::RateLimited | ReasonCode::NothingToDo), "{refused}");
        }
    }
    assert_eq!(world.act("an", hold()).await.unwrap_err().code(), ReasonCode::RateLimited);
    let binh = world.act("binh", hold()).await.map_err(|refused| refused.code());
    assert_eq!(binh.unwrap_err(), ReasonCode::NothingToDo, "another operator's pace is its own");
    world.audit().await;
}

async fn a_redirected_document_goes_to_the_other_agency(world: World) {
    let sent = world.send(&manifest("d1").with(|m| m.recipients = to(&[TAN_BINH, TAN_LAP]))).await;
    eventually("both are consigned", async || world.hub().overview().await.unwrap().waiting == 2).await;
    let redirect = |from: &str, other: &str| ActRequest {
        redirect_to: other.into(),
        ..ask(ActionKind::Redirect, delivery("d1", from))
    };
    let first = world.act("an", redirect(TAN_BINH, TAN_HOA)).await.unwrap();
    world.reaches(first.id, ActionPhase::Waiting).await;
    world.clock.advance_us(10 * MINUTE);
    world.reaches(first.id, ActionPhase::Done).await;
    let why = world.why("d1", TAN_BINH).await;
    assert_eq!((why.cause(), why.subject.as_str()), (WhyCause::Redirected, TAN_HOA));
    let events = world.events(&sent).await;
    let cancelled = events.iter().find(|event| event.event() == EventKind::DeliveryCancelled).unwrap();
    assert_eq!(cancelled.evidence.redirected_to, TAN_HOA);
    let consigned = events.last().unwrap();
    assert_eq!(consigned.event(), EventKind::ContentConsignment);
    assert_eq!(consigned.evidence.previous_evidence_sha256, cancelled.leaf_hash()[..]);
    assert_eq!(world.offered(&[TAN_HOA]).await.len(), 1);
    world.acknowledge(&sent, TAN_HOA).await;
    // Who has it already does not get it twice.
    let second = world.act("an", redirect(TAN_LAP, TAN_HOA)).await.unwrap();
    world.reaches(second.id, ActionPhase::Waiting).await;
    world.clock.advance_us(10 * MINUTE);
    world.reaches(second.id, ActionPhase::Done).await;
    assert_eq!(world.state(&sent, TAN_LAP).await.transport(), TransportState::Cancelled);
    assert_eq!(world.state(&sent, TAN_HOA).await.transport(), TransportState::HandedOver);
    // The other agency closes in the meantime: nothing is taken from the first one.
    let other = world.send(&manifest("d2")).await;
    let request =
        ActRequest { redirect_to: TAN_LAP.into(), ..ask(ActionKind::Redirect, delivery("d2", TAN_BINH)) };
    let third = world.act("an", request).await.unwrap();
    world.reaches(third.id, ActionPhase::Waiting).await;
    world.change(set_state(TAN_LAP, AgencyState::Closed)).await;
    world.clock.advance_us(10 * MINUTE);
    world.reaches(third.id, ActionPhase::Done).await;
    assert_eq!(world.state(&other, TAN_BINH).await.transport(), TransportState::Ready);
    world.audit().await;
}

async fn why_names_the_real_cause(world: World) {
    let sent = world.send(&manifest("d1").with(|m| m.recipients = to(&COMMUNES))).await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 3).await;
    let cause = async |recipient: &str| {
        let line = world.why("d1", recipient).await;
        assert!(!line.says_vi.is_empty() && !line.help_vi.is_empty() && !line.says_en.contains("{}"));
        (line.cause(), line.owner())
    };
    assert_eq!(cause(TAN_BINH).await, (WhyCause::NodeAway, WhyOwner::Recipient));
    let offer = world.offered(&[TAN_BINH]).await.remove(0);
    let line = world.why("d1", TAN_BINH).await;
    assert_eq!((line.cause(), line.next_us, line.attempts), (WhyCause::Offered, offer.lease_until_us, 1));
    world.hub().release(&node("communes"), &offer.delivery_id, offer.lease_id).unwrap();
    assert_eq!(cause(TAN_BINH).await.0, WhyCause::Paused);
    let requeue = world.act("an", ask(ActionKind::Requeue, delivery("d1", TAN_BINH))).await.unwrap();
    assert_eq!((requeue.phase(), requeue.done), (ActionPhase::Done, 1));
    assert_eq!(world.offered(&[TAN_BINH]).await.len(), 1, "offered again at once");
    world.acknowledge(&sent, TAN_BINH).await;
    assert_eq!(cause(TAN_BINH).await, (WhyCause::Delivered, WhyOwner::Nobody));

    let session = world.hub().open_session(&node("communes"), &to(&[TAN_HOA])).unwrap();
    eventually("the session stands", async || cause(TAN_HOA).await.0 == WhyCause::InLine).await;
    drop(session);
    eventually("the session is gone", async || cause(TAN_HOA).await.0 == WhyCause::NodeAway).await;
    let left = world.clock.now().0;
    eventually("its end is told", async || world.why("d1", TAN_HOA).await.since_us == left).await;
    let contact = || world.hub().agency_contact(&AgencyId::parse(TAN_HOA).unwrap()).unwrap();
    eventually("nobody receives", async || contact().receiving.is_empty()).await;
    world.clock.advance_us(MINUTE);
    eventually("it is so since then", async || world.why("d1", TAN_HOA).await.since_us == left).await;
    world.change(set_state(TAN_HOA, AgencyState::Suspended)).await;
    assert_eq!(cause(TAN_HOA).await, (WhyCause::AgencySuspended, WhyOwner::Registrar));
    let hands = world.keys.of(TAN_LAP).clone();
    world.change(revoke_key(&hands.seal)).await;
    world.change(revoke_key(&hands.leader)).await;
    assert_eq!(cause(TAN_LAP).await, (WhyCause::NoValidKey, WhyOwner::Security));
    world.change(revoke_node("communes")).await;
    assert_eq!(cause(TAN_LAP).await, (WhyCause::NodeRevoked, WhyOwner::Security));

    let all = WhyRequest { document_id: "d1".into(), ..Default::default() };
    let told = world.hub().why(all.clone()).await.unwrap();
    let totals = told.totals.unwrap();
    assert_eq!((totals.recipients, totals.delivered, totals.waiting), (3, 1, 2));
    assert_eq!(told.recipients.len(), 2, "only those that are missing");
    let first = world.hub().why(WhyRequest { page_size: 1, ..all.clone() }).await.unwrap();
    let second =
        world.hub().why(WhyRequest { page_size: 1, page_token: first.next_page_token, ..all }).await.unwrap();
    let pages: Vec<_> =
        first.recipients.iter().chain(&second.recipients).map(|line| line.recipient.as_str()).collect();
    assert_eq!(pages, [TAN_HOA, TAN_LAP]);
    world.clock.advance_us(8 * DAY);
    eventually("silence is on record", async || cause(TAN_HOA).await.0 == WhyCause::Expired).await;
}

async fn queues_are_counted_as_they_are(world: World) {
    let urgent = |id: &str, urgency| {
        manifest(id).with(|m| {
            m.recipients = to(&[TAN_BINH, DISTRICT]);
            m.sender = MINISTRY.into();
            m.document.as_mut().unwrap().urgency = urgency;
        })
    };
    world.send(&urgent("old", 0)).await;
    world.clock.advance_us(2 * HOUR);
    world.send(&urgent("new", 3)).await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == 4).await;
    let hold = world.act("an", ask(ActionKind::Hold, delivery("old", TAN_BINH))).await.unwrap();
    world.reaches(hold.id, ActionPhase::Active).await;
    let summary = world.hub().queue_summary(QueueSummaryRequest::default()).await.unwrap();
    let all = summary.all.unwrap();
    assert_eq!((all.waiting, all.held, all.leased, all.oldest_us), (4, 1, 0, START.0));
    let counts = |groups: &[QueueGroup]| {
        groups.iter().map(|g| (g.key.clone(), g.count.unwrap().waiting)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&summary.levels), [("district".into(), 2), ("commune".into(), 2)]);
    assert_eq!(counts(&summary.provinces), [(PROVINCE.into(), 4)]);
    assert_eq!(counts(&summary.urgencies), [("3".into(), 2), ("0".into(), 2)]);
    assert_eq!(counts(&summary.ages), [("1h".into(), 2), ("24h".into(), 2)]);
    assert_eq!((summary.recipient_count, summary.recipients.len()), (2, 2));
    let district = QueueSummaryRequest { level: Level::District.into(), ..Default::default() };
    assert_eq!(world.hub().queue_summary(district).await.unwrap().all.unwrap().waiting, 2);

    let list = |token: String| QueueListRequest { agency: TAN_BINH.into(), page_token: token, page_size: 1 };
    let first = world.hub().queue_list(list(String::new())).await.unwrap();
    assert_eq!(
        (first.entries[0].document_id.as_str(), first.entries[0].state()),
        ("new", TransportState::Ready)
    );
    let second = world.hub().queue_list(list(first.next_page_token)).await.unwrap();
    assert_eq!(
        (second.entries[0].document_id.as_str(), second.entries[0].state()),
        ("old", TransportState::Held)
    );
    assert!(second.next_page_token.is_empty());
    assert_eq!(second.count.unwrap().waiting, 2);
    for token in ["x", "r9.1", "a", "r1"] {
        let bad = world.hub().queue_list(list(token.into())).await.unwrap_err();
        assert_eq!(bad.code(), ReasonCode::BadCursor, "{token}");
    }
}

/// More recipients than one step moves.
const MANY: usize = 1_200;

async fn circular(world: &World) -> Proven {
    populate(world, MANY).await;
    let sent = send_circular(world, "circular").await;
    eventually("all are consigned", async || world.hub().overview().await.unwrap().waiting == MANY as u64)
        .await;
    sent
}

async fn populate(world: &World, many: usize) {
    let names: Vec<String> = (0..many).map(|at| format!("G01.{at:04}")).collect();
    let agencies = names.iter().map(|name| Agency {
        organ_id: name.clone(),
        name: "Xã".into(),
        parent: MINISTRY.into(),
        ..Default::default()
    });
    world.hub().import_agencies(agencies.collect(), false).await.unwrap();
    world
        .change(change(Change::PutNode(Node { name: "many".into(), agencies: names, revoked: false })))
        .await;
}

async fn send_circular(world: &World, id: &str) -> Proven {
    let manifest = manifest(id).with(|m| {
        m.sender = MINISTRY.into();
        m.recipients.clear();
        m.groups = vec![RecipientGroup { root: MINISTRY.into(), level: 0 }];
    });
    world.send(&manifest).await
}

async fn totals(world: &World) -> WhyTotals {
    let request = WhyRequest { document_id: "circular".into(), ..Default::default() };
    world.hub().why(request).await.unwrap().totals.unwrap()
}

/// The store fails in the middle of each phase, saved or not; after each restart the action goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_an_action_loses_nothing() {
    let mut world = World::in_memory_with(|settings| settings.operator.four_eyes_above = 10_000).await;
    circular(&world).await;
    let cancel = ask(ActionKind::Cancel, document("circular"));
    let dry = ActRequest { dry_run: true, ..cancel.clone() };
    assert_eq!(world.hub().act(&operator("an"), dry).await.unwrap().count, MANY as u64);
    let action = world.act("an", cancel).await.unwrap();
    for fault in [Fault::FailedNotSaved, Fault::FailedButSaved] {
        world.memory().inject(fault);
        // Whoever commits next meets the fault; an action that is done already is not asked to.
        let _ = world.try_send(&manifest(&format!("{fault:?}"))).await;
        world.restart().await;
    }
    world.reaches(action.id, ActionPhase::Waiting).await;
    assert_eq!(totals(&world).await.held, MANY as u64);
    world.clock.advance_us(10 * MINUTE);
    eventually("it takes effect", async || totals(&world).await.cancelled > 0).await;
    world.memory().inject(Fault::FailedButSaved);
    let _ = world.try_send(&manifest("again")).await;
    world.restart().await;
    world.reaches(action.id, ActionPhase::Done).await;
    assert_eq!((totals(&world).await.cancelled, totals(&world).await.held), (MANY as u64, 0));
    // Each delivery ended once, on the word of one action.
    let request =
        GetTimelineRequest { document_id: "circular".into(), page_size: 1_000, ..Default::default() };
    let (mut ends, mut token) = (std::collections::BTreeMap::<String, u32>::new(), String::new());
    loop {
        let request = GetTimelineRequest { page_token: token, ..request.clone() };
        let page = world.hub().timeline(truc::hub::query::Viewer::Auditor, request).await.unwrap();
        for event in page.events {
            let evidence = Evidence::decode(event.evidence).unwrap();
            if evidence.event() == EventKind::DeliveryCancelled {
                assert_eq!(evidence.action_plus_one, action.id + 1);
                *ends.entry(evidence.recipients[0].agency.clone()).or_default() += 1;
            }
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((ends.len(), ends.values().all(|count| *count == 1)), (MANY, true));
    world.audit().await;
}

/// Run alone: `cargo test --test hub_rules -- --ignored --nocapture looking`. `TRUC_WAITING` sets how many wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_looking_takes_while_very_many_wait() {
    let wanted = std::env::var("TRUC_WAITING").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let world = World::embedded().await;
    populate(&world, 2_000).await;
    let mut waiting = 0;
    while waiting < wanted {
        let sent = send_circular(&world, &format!("circular-{waiting}")).await;
        waiting += sent.evidence.recipient_count;
        let patience = tokio::time::Instant::now() + Duration::from_secs(60);
        while world.hub().overview().await.unwrap().waiting < waiting {
            assert!(tokio::time::Instant::now() < patience, "the expansion stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let took = |what: &str, began: std::time::Instant| println!("{what}: {:?}", began.elapsed());
    for _ in 0..3 {
        let began = std::time::Instant::now();
        let summary = world.hub().queue_summary(QueueSummaryRequest::default()).await.unwrap();
        took("queue", began);
        assert_eq!(summary.all.unwrap().waiting, waiting);
        let began = std::time::Instant::now();
        let list = QueueListRequest { agency: "G01.0007".into(), ..Default::default() };
        world.hub().queue_list(list).await.unwrap();
        took("queue show", began);
        let began = std::time::Instant::now();
        let why = WhyRequest { document_id: "circular-0".into(), ..Default::default() };
        assert_eq!(world.hub().why(why).await.unwrap().recipients.len(), 100);
        took("why", began);
        let began = std::time::Instant::now();
        let dry = ActRequest { dry_run: true, ..ask(ActionKind::Hold, agency("G01.0007")) };
        world.hub().act(&operator("an"), dry).await.unwrap();
        took("dry run of an agency", began);
    }
}

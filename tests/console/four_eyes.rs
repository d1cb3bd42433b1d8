//! What ends much needs a second person: two browsers, each with a name of its own.

use prost::Message;
use truc::{
    cli::{
        demo::world::{COMMUNE, DISTRICT},
        pki,
    },
    proto::*,
};

use crate::{
    Town,
    browser::Browser,
    rig::{letter, soon, submit},
};

/// Both documents are more than this.
const RULES: &str = "[operator]\nfour_eyes_above = 1\nundo_window = \"1h\"\n";
const CANCEL: [(&str, &str); 3] =
    [("kind", "ACTION_KIND_CANCEL"), ("agency", DISTRICT), ("reason", "Gửi nhầm nơi nhận")];
const APPROVES: &str = "/action/approve\"";
const UNDOES: &str = "/action/undo\"";

async fn with_two_documents() -> Town {
    let town = Town::open(RULES).await;
    pki::issue(&town.rig.certs(), pki::Role::Operator, "second").unwrap();
    let sender = town.rig.connect("tavan").await;
    for id in ["one", "two"] {
        let request = submit(&letter(id, &[DISTRICT]), town.rig.seal(COMMUNE), &[]);
        sender.submission().submit(request).await.unwrap();
    }
    town
}

/// Sends a form with the token of the page that it stands on.
async fn fill(
    browser: &mut Browser,
    page: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> crate::browser::Answer {
    let csrf = browser.page(page).await.csrf();
    browser.post(path, &[fields, &[("csrf", &csrf)]].concat()).await
}

async fn ask(asker: &mut Browser) -> String {
    let form = format!("/vi/act?agency={DISTRICT}");
    let preview = fill(asker, &form, "/vi/act/preview", &CANCEL).await;
    assert!(
        preview.body.contains("Cần một cán bộ vận hành khác phê duyệt"),
        "the preview says that it needs one: {}",
        preview.body
    );
    let place = fill(asker, &form, "/vi/act", &CANCEL).await.place().to_owned();
    place.split("id=").nth(1).unwrap().to_owned()
}

async fn waiting(town: &Town) -> (u64, u64) {
    let operator = town.rig.connect("operator").await;
    let mut told = (0, 0);
    for id in ["one", "two"] {
        let request = WhyRequest { document_id: id.into(), ..WhyRequest::default() };
        let totals = operator.operator().why(request).await.unwrap().into_inner().totals.unwrap();
        told = (told.0 + totals.waiting, told.1 + totals.held);
    }
    told
}

/// Step, person and reason of everything that was done to an action, as the log has it.
async fn steps(town: &Town, action: u64) -> Vec<(AdminStep, String, String)> {
    let auditor = town.rig.connect("auditor").await;
    let filter = SearchFilter { events: vec![EventKind::AdminAction.into()], ..Default::default() };
    let request = SearchRequest { filter: Some(filter), ..Default::default() };
    let rows = auditor.audit().search(request).await.unwrap().into_inner().rows;
    let mut steps = Vec::new();
    for index in rows.iter().map(|row| row.index).collect::<std::collections::BTreeSet<_>>() {
        let request = GetReceiptRequest { index };
        let receipt = auditor.audit().get_receipt(request).await.unwrap().into_inner().receipt.unwrap();
        let evidence = Evidence::decode(receipt.evidence).unwrap();
        let said = AdminAction::decode(evidence.admin_action.clone()).unwrap();
        assert!(index == action || said.action_plus_one == action + 1);
        steps.push((said.step(), evidence.actor.unwrap().name, said.reason));
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_can_t_approve_a_second_person_does_and_it_is_undone_in_time() {
    let town = with_two_documents().await;
    let mut asker = town.signed_in("operator").await;
    let mut second = town.signed_in("second").await;
    let id = ask(&mut asker).await;
    let (vi, en) = (format!("/vi/actions?id={id}"), format!("/en/actions?id={id}"));

    let own = asker.page(&vi).await;
    assert!(own.body.contains("Chờ người thứ hai phê duyệt"), "{}", own.body);
    assert!(!own.body.contains(APPROVES), "nobody approves what he asked for");
    let forced = fill(&mut asker, &vi, "/vi/action/approve", &[("id", &id)]).await;
    assert_eq!(forced.status, 403);
    assert!(forced.body.contains("SECOND_PERSON_REQUIRED"), "{}", forced.body);
    assert_eq!(waiting(&town).await, (2, 0), "nothing happened yet");

    let seen = second.page(&en).await;
    assert!(seen.body.contains(APPROVES) && seen.body.contains("Gửi nhầm nơi nhận"), "{}", seen.body);
    fill(&mut second, &en, "/en/action/approve", &[("id", &id), ("reason", "đúng")]).await.place();
    soon(async { while waiting(&town).await != (0, 2) {} }).await;
    let told = asker.page(&vi).await;
    assert!(told.body.contains("second") && !told.body.contains(APPROVES), "{}", told.body);
    assert!(told.body.contains(UNDOES), "it can be taken back");
    let again = fill(&mut second, &vi, "/vi/action/approve", &[("id", &id)]).await;
    assert_eq!(again.status, 400, "once is enough: {}", again.body);

    fill(&mut asker, &vi, "/vi/action/undo", &[("id", &id), ("reason", "không nhầm")]).await.place();
    soon(async { while waiting(&town).await != (2, 0) {} }).await;
    let told = second.page(&vi).await;
    assert!(!told.body.contains(APPROVES) && !told.body.contains(UNDOES), "{}", told.body);

    let action: u64 = id.parse().unwrap();
    let wanted = [
        (AdminStep::AskedForApproval, "operator".to_owned(), "Gửi nhầm nơi nhận".to_owned()),
        (AdminStep::Approved, "second".into(), "đúng".into()),
        (AdminStep::Undone, "operator".into(), "không nhầm".into()),
    ];
    // The index for auditors follows the log a moment later.
    soon(async { while steps(&town, action).await.len() < wanted.len() {} }).await;
    assert_eq!(steps(&town, action).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_on_approves_nothing_and_what_was_taken_back_lies() {
    let town = with_two_documents().await;
    pki::issue(&town.rig.certs(), pki::Role::Viewer, "viewer").unwrap();
    let mut asker = town.signed_in("operator").await;
    let mut viewer = town.signed_in("viewer").await;
    let mut second = town.signed_in("second").await;
    let id = ask(&mut asker).await;
    let page = format!("/vi/actions?id={id}");
    let seen = viewer.page(&page).await;
    assert!(!seen.body.contains(APPROVES) && !seen.body.contains(UNDOES), "{}", seen.body);
    assert_eq!(fill(&mut viewer, &page, "/vi/action/approve", &[("id", &id)]).await.status, 403);
    fill(&mut asker, &page, "/vi/action/undo", &[("id", &id), ("reason", "nhầm")]).await.place();
    let late = fill(&mut second, &page, "/vi/action/approve", &[("id", &id)]).await;
    assert!(late.body.contains("ACTION_CLOSED"), "{}", late.body);
    assert_eq!(waiting(&town).await, (2, 0));
}

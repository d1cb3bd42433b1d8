//! What operators do in the console is what they do everywhere: previewed, done, evidence.

use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    proto::*,
};

use crate::{
    Town,
    rig::{letter, submit},
};

const HOLD: [(&str, &str); 4] = [
    ("kind", "ACTION_KIND_HOLD"),
    ("agency", DISTRICT),
    ("hours", "4"),
    ("reason", "Nâng cấp <b>hệ thống</b>"),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_previewed_done_told_and_undone() {
    let town = Town::open("").await;
    let sender = town.rig.connect("tavan").await;
    sender
        .submission()
        .submit(submit(&letter("held-1", &[DISTRICT]), town.rig.seal(COMMUNE), &[]))
        .await
        .unwrap();
    let mut browser = town.signed_in("operator").await;

    let queue = browser.page(&format!("/vi/queue?agency={DISTRICT}")).await;
    assert!(queue.body.contains("17/BC-UBND") && queue.body.contains(&format!("/vi/act?agency={DISTRICT}")));
    let form = browser.page(&format!("/vi/act?agency={DISTRICT}")).await;
    let csrf = form.csrf();
    let with = |csrf: &str| {
        [&HOLD[..], &[("csrf", csrf)]]
            .concat()
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect::<Vec<_>>()
    };
    let fields = with(&csrf);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();

    let preview = browser.post("/vi/act/preview", &fields).await;
    assert_eq!(preview.status, 200, "{}", preview.body);
    assert!(preview.body.contains("held-1") && !preview.body.contains("<b>hệ thống"), "{}", preview.body);
    assert!(
        browser.page("/vi/actions").await.body.contains("Chưa có thao tác nào"),
        "a preview does nothing"
    );

    let done = browser.post("/vi/act", &fields).await;
    let place = done.place().to_owned();
    let id: u64 = place.split("id=").nth(1).unwrap().parse().unwrap();
    let told = browser.page(&place).await;
    assert!(told.body.contains("Tạm giữ") && !told.body.contains("<b>hệ thống"), "{}", told.body);
    let operator = town.rig.connect("operator").await;
    let receipt = operator.audit().get_receipt(GetReceiptRequest { index: id }).await.unwrap().into_inner();
    let evidence: Evidence = prost::Message::decode(receipt.receipt.unwrap().evidence).unwrap();
    assert_eq!(evidence.event(), EventKind::AdminAction);

    let id = id.to_string();
    let undo = [("csrf", csrf.as_str()), ("id", id.as_str()), ("reason", "xong")];
    browser.post("/vi/action/undo", &undo).await.place();

    // Without a reason, and from those who may not, nothing happens.
    let bare = browser.post("/vi/act", &[("csrf", &csrf), HOLD[0], HOLD[1]]).await;
    assert_eq!(bare.status, 400);
    assert!(bare.body.contains("REASON_REQUIRED"), "{}", bare.body);
    for who in ["auditor", "registrar", "security"] {
        let mut other = town.signed_in(who).await;
        let csrf = other.page("/vi/help").await.csrf();
        let fields = with(&csrf);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(other.post("/vi/act", &fields).await.status, 403, "{who}");
        assert_eq!(
            other.post("/vi/action/undo", &[("csrf", &csrf), ("id", "1"), ("reason", "x")]).await.status,
            403
        );
        assert_eq!(other.get("/vi/queues").await.status, 403, "{who}");
    }
    let why = browser.page(&format!("/vi/document?id=held-1&sender={COMMUNE}")).await;
    assert!(why.body.contains("0 / 1 nơi nhận đã có văn bản"), "{}", why.body);
}

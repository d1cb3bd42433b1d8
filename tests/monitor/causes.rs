//! What is broken, what `truc why` says of a document that waits because of it, and which signals stand: exactly these.

use std::{collections::BTreeSet, process::Command, time::Duration};

use serde_json::Value;
use tonic_types::StatusExt;
use truc::{
    cli::demo::world::DISTRICT,
    domain::reason::ReasonCode,
    proto::{DeliverRequest, Offer, deliver_request::Step as Say, deliver_response::Step as Hear},
};

use crate::{
    broken::{self, NO_DISK, Open, WAITS},
    door::ask,
    rig::{Rig, acknowledge, reason, receipt_for, soon},
    small_disk::SmallDisk,
};

/// How `truc why` tells of the document that waits.
async fn why(rig: &Rig) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(["why", WAITS, "--json", "--recipient", DISTRICT]);
    command.env("TRUC_HUB", rig.world.endpoint()).env("TRUC_PKI", rig.certs()).env("TRUC_AS", "operator");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["lines"][0].clone()
}

/// Conditions that stand, and causes that keep documents from agencies, as the rules in `deploy/` see them.
async fn signals(rig: &Rig) -> BTreeSet<String> {
    let page = ask(rig, "GET /metrics").await.body;
    let standing = page.lines().filter_map(|line| {
        let (series, number) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix("truc_condition{condition=\"");
        let rest = rest.or_else(|| series.strip_prefix("truc_queue_blocked_agencies{cause=\""))?;
        (number.parse() != Ok(0.0)).then(|| rest.split('"').next().unwrap().to_owned())
    });
    standing.collect()
}

/// Waits until cause, owner and signals are these.
async fn told(rig: &Rig, cause: &str, owner: &str, signs: &[&str]) -> Value {
    let wanted: BTreeSet<String> = signs.iter().map(|sign| (*sign).to_owned()).collect();
    let mut last = (Value::Null, BTreeSet::new());
    let reached = async {
        loop {
            last = (why(rig).await, signals(rig).await);
            if last.0["cause"] == cause && last.1 == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
    let (line, signals) = last;
    assert!(reached.is_ok(), "wanted {cause} with {wanted:?}, told {line} with {signals:?}");
    assert_eq!(line["owner"], owner, "{line}");
    assert!(line["since"].is_string() && !line["help"].as_str().unwrap().is_empty(), "{line}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_gone() {
    let rig = Rig::start_monitored(&format!("queue_age = \"1ms\"\n{NO_DISK}")).await;
    broken::send(&rig, WAITS).await.unwrap();
    let line = told(&rig, "NODE_AWAY", "RECIPIENT", &["node-away", "queue-age"]).await;
    assert_eq!(line["subject"], "sapa");
    let recipient = rig.connect("sapa").await;
    for offer in rig.fetch(&recipient, DISTRICT).await {
        rig.take(&recipient, &offer).await;
    }
    assert_eq!(why(&rig).await["cause"], "DELIVERED");
    soon(async { while !signals(&rig).await.is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked() {
    let rig = Rig::start_monitored(NO_DISK).await;
    broken::send(&rig, WAITS).await.unwrap();
    told(&rig, "NODE_AWAY", "RECIPIENT", &["node-away"]).await;
    broken::revoke_key(&rig).await;
    let _stays = broken::open(&rig.connect("sapa").await).await.unwrap();
    let line = told(&rig, "NO_VALID_KEY", "SECURITY", &["no-valid-key", "recipient-blocked"]).await;
    assert_eq!(line["subject"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_node_that_has_ended() {
    let rig = Rig::start_monitored(NO_DISK).await;
    broken::let_node_lapse(&rig).await;
    broken::send(&rig, WAITS).await.unwrap();
    told(&rig, "NODE_AWAY", "RECIPIENT", &["node-away"]).await;
    let line =
        told(&rig, "CERTIFICATE_EXPIRED", "SECURITY", &["certificate-expired", "recipient-blocked"]).await;
    assert_eq!(line["subject"], "sapa");
    soon(async { while comes_back(&rig).await {} }).await;
}

/// A certificate holds through its last second, and by TLS 1.3 the first answer tells that it does no more.
async fn comes_back(rig: &Rig) -> bool {
    match rig.world.connect("sapa").await {
        Ok(node) => broken::open(&node).await.is_some(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_breaks_off_again_and_again() {
    let rig = Rig::start_monitored(NO_DISK).await;
    // Nothing waits: who comes and goes does no harm.
    broken::flap(&rig).await;
    broken::send(&rig, WAITS).await.unwrap();
    told(&rig, "NODE_AWAY", "RECIPIENT", &["node-away"]).await;
    broken::flap(&rig).await;
    let line = told(&rig, "SESSION_FLAPS", "RECIPIENT", &["session-flaps"]).await;
    assert_eq!(line["subject"], "sapa");
    // What it takes over ends it.
    let recipient = rig.connect("sapa").await;
    for offer in rig.fetch(&recipient, DISTRICT).await {
        rig.take(&recipient, &offer).await;
    }
    soon(async { while !signals(&rig).await.is_empty() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off() {
    let (rig, clock) = Rig::start_with_moved_clock(NO_DISK).await;
    let recipient = rig.connect("sapa").await;
    let _stays = broken::open(&recipient).await.unwrap();
    broken::send(&rig, WAITS).await.unwrap();
    let line = told(&rig, "IN_LINE", "NOBODY", &[]).await;
    assert_eq!(line["subject"], "sapa");
    // Before the recipient's key was registered, by this clock.
    clock.set(-1_800);
    told(&rig, "CLOCK_OFF", "OPERATOR", &["clock-jumped", "clock-off"]).await;
    clock.set(0);
    let line = told(&rig, "IN_LINE", "NOBODY", &["clock-jumped"]).await;
    assert_eq!(line["subject"], "sapa", "that it jumped is told for an hour");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    let Some(disk) = SmallDisk::make() else { return };
    let rig = Rig::start_on(&disk.data(), &SmallDisk::limits()).await;
    let before = broken::message(&rig, "before");
    broken::hand_in(&rig, before.clone()).await.unwrap();
    broken::send(&rig, WAITS).await.unwrap();
    let recipient = rig.connect("sapa").await;
    let mut session = broken::open(&recipient).await.unwrap();

    disk.fill();
    // The document waits for another reason, and the disk is not blamed for it.
    told(&rig, "IN_LINE", "NOBODY", &["disk-full"]).await;
    let refused = broken::send(&rig, "new").await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::DiskFull);
    assert!(refused.message().contains("MiB"), "{}", refused.message());
    broken::hand_in(&rig, before).await.expect("what was accepted is answered as before");
    let offer = next_offer(&mut session).await;
    assert_eq!(rig.take(&recipient, &offer).await, "before", "what is here is handed over");

    disk.fill_up();
    told(&rig, "DISK_FULL", "OPERATOR", &["disk-full"]).await;
    session.0.send(credit()).await.unwrap();
    disk.make_room();
    let offer = soon(offer_of(&mut session)).await;
    assert_eq!(rig.take(&recipient, &offer).await, WAITS, "it goes on by itself");
    soon(async { while !signals(&rig).await.is_empty() {} }).await;
    drop(session);
    broken::send(&rig, "new").await.unwrap();
    rig.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_asked_for_again_where_they_found_no_room() {
    let Some(disk) = SmallDisk::make() else { return };
    let rig = Rig::start_on(&disk.data(), &SmallDisk::limits()).await;
    broken::send(&rig, WAITS).await.unwrap();
    let recipient = rig.connect("sapa").await;
    let mut session = broken::open(&recipient).await.unwrap();
    let offer = next_offer(&mut session).await;
    disk.fill_up();
    told(&rig, "DISK_FULL", "OPERATOR", &["disk-full"]).await;
    let receipt = receipt_for(&offer.envelope.as_ref().unwrap().payload, DISTRICT);
    let request = acknowledge(&receipt, rig.seal(DISTRICT));
    let refused = recipient.delivery().acknowledge(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::DiskFull);
    assert!(refused.get_details_retry_info().is_some());
    disk.make_room();
    soon(async { while recipient.delivery().acknowledge(request.clone()).await.is_err() {} }).await;
    assert_eq!(why(&rig).await["cause"], "DELIVERED");
}

fn credit() -> DeliverRequest {
    DeliverRequest { step: Some(Say::Credit(1)) }
}

async fn next_offer(session: &mut Open) -> Offer {
    session.0.send(credit()).await.unwrap();
    soon(offer_of(session)).await
}

async fn offer_of((_, answers): &mut Open) -> Offer {
    loop {
        let answer = answers.message().await.unwrap().unwrap();
        if let Some(Hear::Offer(offer)) = answer.step {
            return offer;
        }
    }
}

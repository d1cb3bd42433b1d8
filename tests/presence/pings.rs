//! Test documents: they go the whole way and count nowhere.

use std::{path::Path, process::Stdio, time::Duration};

use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE, SILENT_COMMUNE},
    domain::reason::ReasonCode,
    proto::*,
};

use crate::{
    common::{self, Edit, World, eventually},
    doors::{said, truc},
    rig::Rig,
};

/// A test document of the province to a commune.
fn test_manifest(id: &str) -> Manifest {
    common::manifest(id).with(|m| m.test = true)
}

async fn a_test_document_counts_nowhere(mut world: World) {
    world.hub().count_flows().unwrap();
    let test =
        world.send(&test_manifest("test").with(|m| m.document.as_mut().unwrap().number = "9".into())).await;
    let before = world.hub().overview().await.unwrap();
    assert_eq!((before.documents, before.waiting), (0, 0));
    let number = common::manifest("real").with(|m| m.document.as_mut().unwrap().number = "9".into());
    let real = world.send(&number).await;
    assert!(!real.codes().contains(&ReasonCode::NaturalKeyRepeated), "a test takes no number");
    let fetched = world.hub().fetch(&common::node("communes"), &[], 9, Duration::ZERO).await.unwrap();
    assert_eq!(fetched.len(), 2);
    world.acknowledge(&test, common::TAN_BINH).await;
    let rejected = world.refused(world.try_send(&test_manifest("test")).await);
    assert!(rejected.evidence().test, "also its refusal");
    let events = world.events(&test).await;
    assert!(events.len() == 3 && events.iter().all(|event| event.evidence.test));
    assert!(world.events(&real).await.iter().all(|event| !event.evidence.test));
    let overview = world.hub().overview().await.unwrap();
    assert_eq!((overview.documents, overview.waiting), (1, 1));

    let mut told = GetFlowsResponse::default();
    eventually("all leaves are counted", async || {
        told = world.hub().flows(&GetFlowsRequest::default()).await.unwrap();
        told.covers == told.size && told.from_us != 0
    })
    .await;
    let totals = told.days[0].totals.unwrap();
    assert_eq!((totals.documents, totals.deliveries, totals.handed_over), (1, 1, 0));
    assert_eq!((told.waiting[0].deliveries, told.days[0].refused_submissions), (1, 0));

    // Silence ends it soon.
    let silent = world.send(&test_manifest("silent")).await;
    world.clock.advance_us(10 * 60 * common::SECOND);
    eventually("its deadline passes", async || {
        world.state(&silent, common::TAN_BINH).await.transport() == TransportState::Expired
    })
    .await;
    assert_eq!(world.hub().overview().await.unwrap().waiting, 1);
    world.stop().await;
}

crate::on_both_stores!(a_test_document_counts_nowhere);

fn key(rig: &Rig, agency: &str) -> String {
    rig.dir.path().join("keys").join(format!("{agency}.key")).to_string_lossy().into_owned()
}

/// `truc ping` from the commune, as JSON, with its exit code.
async fn ping(rig: &Rig, agency: &str, within: &str) -> (serde_json::Value, Option<i32>) {
    let key = key(rig, COMMUNE);
    let arguments = ["ping", agency, "--from", COMMUNE, "--key", &key, "--within", within, "--json"];
    let output = truc(rig, "tavan", &arguments).await;
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (answer, output.status.code())
}

/// The district's system.
fn receive(rig: &Rig, inbox: &Path) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_truc"));
    command.env("TRUC_HUB", rig.world.endpoint()).env("TRUC_PKI", rig.certs()).env("TRUC_AS", "sapa");
    command.args(["receive", "--agency", &format!("{DISTRICT}={}", key(rig, DISTRICT)), "--out"]).arg(inbox);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_comes_through_or_says_exactly_why_not() {
    let rig = Rig::start().await;
    let inbox = rig.dir.path().join("inbox");
    let system = receive(&rig, &inbox);
    let (told, code) = ping(&rig, DISTRICT, "30s").await;
    assert_eq!((&told["through"], &told["end"], code), (&true.into(), &"THROUGH".into(), Some(0)), "{told}");
    let steps: Vec<_> = told["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    assert_eq!(steps, ["ACKNOWLEDGED", "CONSIGNED", "OFFERED", "HANDED_OVER", "WATCHED"]);
    assert_eq!(told["node"], "sapa");
    assert!(!told["key_id"].as_str().unwrap().is_empty());
    let kept = std::fs::read_dir(inbox.join(DISTRICT)).map(Iterator::count).unwrap_or(0);
    assert_eq!(kept, 0, "the recipient keeps no test");
    drop(system);

    // Nobody ever received for this one.
    let (told, code) = ping(&rig, SILENT_COMMUNE, "1s").await;
    assert_eq!((&told["end"], code), (&"NOBODY_RECEIVES".into(), Some(1)), "{told}");
    assert!(told["last_receiving"].is_null() && told["hub_started"].is_string(), "{told}");

    // This one fetches, and does not sign.
    let province = rig.connect("laocai").await;
    let fetching = tokio::spawn(async move {
        let request = FetchRequest { agencies: vec![PROVINCE.into()], max: 1, wait_us: 30_000_000 };
        province.delivery().fetch(request).await.unwrap().into_inner().offers.len()
    });
    let (told, code) = ping(&rig, PROVINCE, "3s").await;
    assert_eq!(fetching.await.unwrap(), 1);
    assert_eq!((&told["end"], &told["attempts"], code), (&"NOT_SIGNED".into(), &1.into(), Some(1)), "{told}");

    // None of it counts, and only who asks for tests finds them.
    let search = async |more: &[&str]| {
        let arguments = [&["audit", "search", "--sender", COMMUNE, "--json"], more].concat();
        said(&truc(&rig, "auditor", &arguments).await)
    };
    assert!(!search(&[]).await.contains(",ping,"));
    assert!(search(&["--tests"]).await.contains(",ping,"));
    let flows: serde_json::Value =
        serde_json::from_str(&said(&truc(&rig, "operator", &["flows", "--json"]).await)).unwrap();
    assert_eq!(flows["waiting"], serde_json::json!([]), "{flows}");
    let said = truc(
        &rig,
        "tavan",
        &[
            "ping",
            SILENT_COMMUNE,
            "--from",
            COMMUNE,
            "--key",
            &key(&rig, COMMUNE),
            "--within",
            "1s",
            "--lang",
            "vi",
        ],
    )
    .await;
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(words.contains("chưa có hệ thống nào nhận cho"), "{words}");
}

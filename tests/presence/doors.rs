//! Over real sockets and mutual TLS: two nodes, one of which goes away.

use std::{
    process::{Command, Output},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::reason::ReasonCode,
    proto::{deliver_request::Step as Say, deliver_response::Step as Hear, *},
};

use crate::rig::{Rig, now_us, reason, soon};

type Open = (mpsc::Sender<DeliverRequest>, tonic::Streaming<DeliverResponse>);

async fn session(client: &Client, agency: &str) -> Open {
    let (steps, receiver) = mpsc::channel(4);
    let hello = Hello { agencies: vec![agency.into()] };
    steps.send(DeliverRequest { step: Some(Say::Hello(hello)) }).await.unwrap();
    let mut answers = client.delivery().deliver(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let welcome = soon(answers.message()).await.unwrap().unwrap();
    assert!(matches!(welcome.step, Some(Hear::Welcome(_))));
    (steps, answers)
}

async fn node(operator: &Client, name: &str) -> NodeContact {
    let told = operator.operator().list_node_contacts(ListNodeContactsRequest::default()).await.unwrap();
    told.into_inner().nodes.into_iter().find(|node| node.node == name).unwrap()
}

/// The program as operators run it.
pub async fn truc(rig: &Rig, holder: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(arguments).env("TRUC_HUB", rig.world.endpoint()).env("TRUC_PKI", rig.certs());
    command.env("TRUC_AS", holder);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_are_seen_and_one_that_goes_away_is_missed() {
    let rig = Rig::start().await;
    let operator = rig.connect("operator").await;
    let (sapa, tavan) = (rig.connect("sapa").await, rig.connect("tavan").await);
    let _stays = session(&sapa, DISTRICT).await;
    let leaves = session(&tavan, COMMUNE).await;

    let request = ListSessionsRequest::default();
    let told = operator.operator().list_sessions(request.clone()).await.unwrap().into_inner();
    let nodes: Vec<_> = told.sessions.iter().map(|session| session.node.as_str()).collect();
    assert_eq!((nodes, told.open), (vec!["sapa", "tavan"], 2));
    for session in &told.sessions {
        assert!(
            session.address.starts_with("127.0.0.1:") || session.address.starts_with("[::1]:"),
            "{session:?}"
        );
        assert!(session.certificate_until_us > now_us() && session.since_us <= now_us(), "{session:?}");
    }
    assert_eq!(told.sessions[1].agencies, [COMMUNE]);

    drop(leaves);
    let mut gone = node(&operator, "tavan").await;
    for _ in 0..600 {
        if gone.connected_since_us == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        gone = node(&operator, "tavan").await;
    }
    assert_eq!((gone.sessions, gone.connected_since_us), (0, 0));
    assert!(gone.left_us > 0 && gone.last_contact_us > 0 && !gone.contact_from_log, "{gone:?}");
    assert_eq!(node(&operator, "sapa").await.sessions, 1);

    let sessions: serde_json::Value =
        serde_json::from_str(&said(&truc(&rig, "operator", &["sessions", "--json"]).await)).unwrap();
    assert_eq!((&sessions["open"], &sessions["sessions"][0]["node"]), (&1.into(), &"sapa".into()));
    let nodes = said(&truc(&rig, "operator", &["nodes", "--away", "--lang", "vi"]).await);
    assert!(nodes.contains("tavan") && nodes.contains("mất từ") && !nodes.contains("sapa"), "{nodes}");
    let contacts = said(&truc(&rig, "operator", &["contacts", "--below", DISTRICT]).await);
    assert!(contacts.contains("sapa since") && contacts.contains("nobody since"), "{contacts}");

    let refused = sapa.operator().list_sessions(request).await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::RoleRequired);
}

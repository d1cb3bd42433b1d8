//! Sessions and watches that are silent, or do not read, and connections that are too many.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use truc::{
    cli::demo::world::{COMMUNE, PROVINCE},
    client::Client,
    domain::reason::ReasonCode,
    proto::{deliver_request::Step as Say, deliver_response::Step as Hear, *},
};

use crate::rig::{Rig, letter, part, reason, soon, submit};

/// More than lies between hub and reader on the way.
const DOCUMENTS: usize = 400;

type Session = (mpsc::Sender<DeliverRequest>, Streaming<DeliverResponse>);

async fn session(client: &Client) -> Session {
    let (steps, receiver) = mpsc::channel(4);
    steps.send(DeliverRequest { step: Some(Say::Hello(Hello::default())) }).await.unwrap();
    let answers = client.delivery().deliver(ReceiverStream::new(receiver)).await.unwrap();
    let mut answers = answers.into_inner();
    let welcome = soon(answers.message()).await.unwrap().unwrap();
    assert!(matches!(welcome.step, Some(Hear::Welcome(_))));
    (steps, answers)
}

async fn fill(rig: &Rig) {
    let sender = rig.connect("tavan").await;
    // Names make a manifest large without a body.
    let parts: Vec<_> = (0..20).map(|n| part(&format!("{n}{}", "x".repeat(200)), b"same")).collect();
    for number in 0..DOCUMENTS {
        let manifest = Manifest { parts: parts.clone(), ..letter(&format!("i-{number}"), &[PROVINCE]) };
        let request = submit(&manifest, rig.seal(COMMUNE), &[b"same".as_slice().into()]);
        sender.submission().submit(request).await.unwrap();
    }
}

async fn sessions(operator: &Client) -> u32 {
    operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner().sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_given_up_with_a_word() {
    let rig = Rig::start_with("[limits]\npatience = \"300ms\"\n").await;
    fill(&rig).await;
    let operator = rig.connect("operator").await;
    let province = rig.connect("laocai").await;
    let (steps, mut offers) = session(&province).await;
    steps.send(DeliverRequest { step: Some(Say::Credit(256)) }).await.unwrap();
    let watch = WatchRequest { agency: COMMUNE.into(), ..WatchRequest::default() };
    let mut entries = rig.connect("tavan").await.status().watch(watch).await.unwrap().into_inner();
    while sessions(&operator).await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = loop {
        match soon(offers.message()).await {
            Ok(answer) => assert!(answer.is_some(), "no word"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), ReasonCode::TooSlow);
    let ended = loop {
        match soon(entries.message()).await {
            Ok(entry) => assert!(entry.is_some(), "no word"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), ReasonCode::TooSlow);
    // What was offered and not read is offered again, to whoever reads.
    let mut taken = 0;
    while taken < DOCUMENTS {
        for offer in rig.fetch(&province, PROVINCE).await {
            rig.take(&province, &offer).await;
            taken += 1;
        }
    }
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_credit_may_be_idle() {
    let rig = Rig::start_with("[limits]\npatience = \"200ms\"\n").await;
    let province = rig.connect("laocai").await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(session(&province).await);
    }
    let sender = rig.connect("tavan").await;
    let request = submit(&letter("for-one", &[PROVINCE]), rig.seal(COMMUNE), &[]);
    sender.submission().submit(request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let operator = rig.connect("operator").await;
    assert_eq!(sessions(&operator).await, 50);
    let (steps, answers) = &mut idle[17];
    steps.send(DeliverRequest { step: Some(Say::Credit(1)) }).await.unwrap();
    let offer = soon(answers.message()).await.unwrap().unwrap();
    assert!(matches!(offer.step, Some(Hear::Offer(_))));
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections() {
    let rig = Rig::start_with("[tls]\nmax_connections_of_address = 8\nhandshake_timeout = \"1h\"\n").await;
    let mut open = Vec::new();
    // What this test closed before may still count for a moment.
    while open.len() < 8 {
        let mut socket = TcpStream::connect(("127.0.0.1", rig.port)).await.unwrap();
        if !is_closed(&mut socket).await {
            open.push(socket);
        }
    }
    for _ in 0..50 {
        let mut socket = TcpStream::connect(("127.0.0.1", rig.port)).await.unwrap();
        assert!(is_closed(&mut socket).await);
    }
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(([127, 0, 0, 1], rig.port).into()).await.unwrap();
    assert!(!is_closed(&mut other).await, "another address is not concerned");
    drop(open);
    drop(other);
    while truc_connects(&rig).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.unharmed().await;
}

async fn truc_connects(rig: &Rig) -> Result<(), ()> {
    for _ in 0..2 {
        rig.world.connect("tavan").await.map_err(|_| ())?;
    }
    Ok(())
}

/// The hub says nothing before a client does: what can be read is the end.
async fn is_closed(socket: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(500), socket.read(&mut [0; 1])).await;
    match read {
        Ok(Ok(0)) => true,
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionReset,
        Ok(Ok(_)) => panic!("the hub spoke first"),
        Err(_) => false,
    }
}

/// `TRUC_SESSIONS=10000 cargo test --release --test overload idle_sessions -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn idle_sessions_cost_little() {
    let count: usize = std::env::var("TRUC_SESSIONS").map_or(1_000, |text| text.parse().unwrap());
    rlimit::increase_nofile_limit(4 * count as u64 + 1_024).unwrap();
    let rig = Rig::start().await;
    let province = rig.connect("laocai").await;
    let _warm = session(&province).await;
    let before = rig.memory("VmRSS");
    let mut open = Vec::new();
    for _ in 0..count {
        let client = rig.connect("laocai").await;
        let session = session(&client).await;
        open.push((client, session));
    }
    let each = (rig.memory("VmRSS") - before) / count as u64;
    println!("{count} sessions: {each} bytes each, {} MiB in all", rig.memory("VmRSS") >> 20);
    assert!(each <= 56 * 1024, "{each} bytes each");
    let (steps, answers) = &mut open[count / 2].1;
    steps.send(DeliverRequest { step: Some(Say::Credit(1)) }).await.unwrap();
    let sender = rig.connect("tavan").await;
    let request = submit(&letter("for-one", &[PROVINCE]), rig.seal(COMMUNE), &[]);
    sender.submission().submit(request).await.unwrap();
    assert!(matches!(soon(answers.message()).await.unwrap().unwrap().step, Some(Hear::Offer(_))));
}

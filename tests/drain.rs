//! SIGTERM under load: nothing acknowledged is lost, everybody else is told, and the hub ends in time, with success.
//!
//! `TRUC_SEED=…` replays the moments.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::Client,
    domain::reason::ReasonCode,
    proto::{deliver_response::Step as Hear, *},
};

use rig::{Chance, Rig, letter, reason, soon, submit};

/// Documents of each sender; the hub is told to stop long before the last.
const DOCUMENTS: usize = 3_000;

fn terminate(rig: &Rig) {
    let id = rig.hub.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

fn request(rig: &Rig, id: &str) -> SubmitRequest {
    submit(&letter(id, &[DISTRICT]), rig.seal(COMMUNE), &[])
}

/// What became of what was sent.
#[derive(Default)]
struct Told {
    acknowledged: Vec<(SubmitRequest, Receipt)>,
    /// Typed refusals.
    refused: usize,
    /// Calls that began when the hub was gone, or met its goodbye on the way.
    not_taken: usize,
}

impl Told {
    fn failed(&mut self, status: &Status) {
        if status.details().is_empty() {
            // The transport's own word: the call never reached a handler.
            let code = status.code();
            assert!(matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
            self.not_taken += 1;
        } else {
            assert_eq!(reason(status), ReasonCode::ShuttingDown, "{status:?}");
            self.refused += 1;
        }
    }
}

async fn one_by_one(rig: Arc<Rig>, client: Client, name: usize, count: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    for number in 0..DOCUMENTS {
        let request = request(&rig, &format!("unary-{name}-{number}"));
        match soon(client.submission().submit(request.clone())).await {
            Ok(answer) => {
                count.fetch_add(1, Ordering::Relaxed);
                told.acknowledged.push((request, answer.into_inner().receipt.unwrap()));
            }
            Err(status) => {
                told.failed(&status);
                return told;
            }
        }
    }
    panic!("the hub did not stop");
}

async fn by_stream(rig: Arc<Rig>, client: Client, count: Arc<AtomicUsize>) -> Told {
    let mut told = Told::default();
    let (requests, receiver) = mpsc::channel(64);
    let all: Vec<_> = (0..DOCUMENTS).map(|number| request(&rig, &format!("stream-{number}"))).collect();
    let feed = {
        let all = all.clone();
        tokio::spawn(async move {
            for (tag, request) in (0..).zip(all) {
                if requests.send(SubmitStreamRequest { tag, request: Some(request) }).await.is_err() {
                    return;
                }
            }
            requests.closed().await;
        })
    };
    let mut answers =
        client.submission().submit_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    loop {
        match soon(answers.message()).await {
            Ok(Some(answer)) => match answer.answer.unwrap() {
                submit_stream_response::Answer::Accepted(accepted) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    told.acknowledged.push((all[answer.tag as usize].clone(), accepted.receipt.unwrap()));
                }
                submit_stream_response::Answer::Refused(refused) => {
                    assert_eq!(refused.status, Code::Unavailable as i32, "{refused:?}");
                    assert!(refused.retry_after_us > 0);
                    told.refused += 1;
                }
            },
            Ok(None) => panic!("a stream that was not ended by its client ends with a word"),
            Err(status) => {
                assert_eq!(reason(&status), ReasonCode::ShuttingDown);
                told.refused += 1;
                break;
            }
        }
    }
    feed.abort();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_everyone_is_told() {
    let rig = Arc::new(Rig::start().await);
    let province = rig.connect("laocai").await;
    let (steps, receiver) = mpsc::channel(4);
    let hello = deliver_request::Step::Hello(Hello::default());
    steps.send(DeliverRequest { step: Some(hello) }).await.unwrap();
    let mut session = province.delivery().deliver(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let watch = WatchRequest { agency: PROVINCE.into(), ..WatchRequest::default() };
    let mut watch = province.status().watch(watch).await.unwrap().into_inner();

    let (count, mut senders) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for name in 0..8 {
        let client = rig.connect("tavan").await;
        senders.spawn(one_by_one(Arc::clone(&rig), client, name, Arc::clone(&count)));
    }
    let client = rig.connect("tavan").await;
    let streamed = Arc::<AtomicUsize>::default();
    senders.spawn(by_stream(Arc::clone(&rig), client, Arc::clone(&streamed)));
    let enough = 100 + Chance::new().below(400) as usize;
    // The stream must be open; it has its messages to sign before.
    while count.load(Ordering::Relaxed) < enough || streamed.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    terminate(&rig);

    assert!(matches!(soon(session.message()).await.unwrap().unwrap().step, Some(Hear::Welcome(_))));
    assert!(matches!(soon(session.message()).await.unwrap().unwrap().step, Some(Hear::Goodbye(_))));
    let ended = loop {
        match soon(watch.message()).await {
            Ok(entry) => assert!(entry.is_some(), "no word"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), ReasonCode::ShuttingDown);
    let mut all = Vec::new();
    let (mut refused, mut not_taken) = (0, 0);
    for told in senders.join_all().await {
        all.extend(told.acknowledged);
        refused += told.refused;
        not_taken += told.not_taken;
    }
    println!("{} acknowledged, {refused} refused, {not_taken} not taken", all.len());
    assert!(refused > 0);

    drop((session, watch, steps, province));
    let mut rig = Arc::into_inner(rig).unwrap();
    let status = soon(rig.hub.ended()).await.unwrap();
    assert!(status.success(), "{status:?}");
    rig.hub.restart().await.unwrap();
    let client = rig.connect("tavan").await;
    for (request, receipt) in all {
        let again = client.submission().submit(request).await.unwrap().into_inner();
        assert_eq!(again.receipt.unwrap(), receipt, "the same receipt for ever");
    }
    let words = std::fs::read_to_string(rig.dir.path().join("words")).unwrap();
    assert!(!words.contains("panicked"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_let_go_is_cut_in_time() {
    let mut rig = Rig::start_with("[limits]\ndrain = \"1s\"\n").await;
    let client = rig.connect("tavan").await;
    // An upload that is never ended and never goes on.
    let (steps, receiver) = mpsc::channel(4);
    let begin = UploadBegin { sha256: vec![7; 32].into(), size: 100, offset: 0 };
    steps.send(UploadRequest { step: Some(upload_request::Step::Begin(begin)) }).await.unwrap();
    let upload = tokio::spawn(async move { client.submission().upload(ReceiverStream::new(receiver)).await });
    let half = rig.connect("tavan").await;
    let (never, receiver) = mpsc::channel::<UploadRequest>(1);
    let silent = tokio::spawn(async move { half.submission().upload(ReceiverStream::new(receiver)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    terminate(&rig);
    let status = soon(rig.hub.ended()).await.unwrap();
    assert!(status.success(), "{status:?}");
    assert_eq!(reason(&soon(upload).await.unwrap().unwrap_err()), ReasonCode::ShuttingDown);
    assert!(soon(silent).await.unwrap().is_err());
    drop((steps, never));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_short() {
    // Nobody could wait for that long.
    let mut rig = Rig::start_with("[limits]\ndrain = \"1h\"\npatience = \"1h\"\n").await;
    let client = rig.connect("tavan").await;
    let (never, receiver) = mpsc::channel::<UploadRequest>(1);
    let silent = tokio::spawn(async move { client.submission().upload(ReceiverStream::new(receiver)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    terminate(&rig);
    let ended = tokio::time::timeout(Duration::from_secs(2), rig.hub.ended()).await;
    assert!(ended.is_err(), "the call is still waited for");
    terminate(&rig);
    let status = soon(rig.hub.ended()).await.unwrap();
    assert!(status.success(), "{status:?}");
    assert!(soon(silent).await.unwrap().is_err());
    drop(never);
}

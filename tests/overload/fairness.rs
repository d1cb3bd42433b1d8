//! One node floods; another one sends as if nothing were. In which order the hub takes them, its own tests count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::Client,
    proto::{submit_stream_response::Answer, *},
};

use crate::rig::{Rig, letter, soon, submit};

/// Streams of the node that floods, each with its own connection.
const STREAMS: usize = 6;
/// Documents in flight on each: as many as a stream may have.
const IN_FLIGHT: usize = 256;
/// Documents of the calm node, one after the other.
const CALM: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_keeps_no_room_from_others() {
    let rig = Arc::new(Rig::start().await);
    let (answered, mut flood) = (Arc::new(AtomicU64::new(0)), Vec::new());
    for stream in 0..STREAMS {
        let client = rig.connect("tavan").await;
        flood.push(tokio::spawn(pour(Arc::clone(&rig), client, stream, Arc::clone(&answered))));
    }
    while answered.load(Ordering::Relaxed) < 2 * IN_FLIGHT as u64 {
        assert!(flood.iter().all(|stream| !stream.is_finished()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let calm = rig.connect("laocai").await;
    let mut overtaken = 0;
    for number in 0..CALM {
        let manifest = Manifest { sender: PROVINCE.into(), ..letter(&format!("calm-{number}"), &[DISTRICT]) };
        let request = submit(&manifest, rig.seal(PROVINCE), &[]);
        let before = answered.load(Ordering::Relaxed);
        soon(calm.submission().submit(request)).await.expect("never busy for a calm node");
        overtaken += answered.load(Ordering::Relaxed) - before;
    }
    for stream in flood {
        stream.abort();
        let _ = stream.await;
    }
    println!("{} answers to the flood for each of the calm node", overtaken / CALM);
    rig.serves().await;
}

/// Keeps a stream full.
async fn pour(rig: Arc<Rig>, client: Client, stream: usize, answered: Arc<AtomicU64>) {
    let (requests, receiver) = mpsc::channel(IN_FLIGHT);
    let call = client.submission();
    let feed = async {
        for tag in 0.. {
            let manifest = letter(&format!("flood-{stream}-{tag}"), &[PROVINCE]);
            let request = Some(submit(&manifest, rig.seal(COMMUNE), &[]));
            if requests.send(SubmitStreamRequest { tag, request }).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut answers = { call }.submit_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            // What has no room is refused at once, and overtakes nobody.
            if let Some(Answer::Accepted(_)) = answer.answer {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    tokio::join!(feed, read);
}

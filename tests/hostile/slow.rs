//! Readers that never read: what they asked for waits for them alone.

use std::{collections::HashSet, time::Duration};

use tonic::{Code, Streaming};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::Client,
    domain::{id::Digest, reason::ReasonCode},
    proto::{deliver_request::Step, *},
};

use crate::rig::{Chance, Rig, letter, part, reason, soon, submit};

/// Larger than what lies between hub and reader on the way: buffers of HTTP/2, TLS and TCP.
const BODY: usize = 4 << 20;

/// Calls that are dropped at any moment.
const GIVEN_UP: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_nobody_reads() {
    let rig = Rig::start().await;
    let body = vec![7; BODY];
    let manifest = Manifest {
        parts: vec![part("a.pdf", &body)],
        ..letter("large", &[DISTRICT, PROVINCE, "000.00.22.H38"])
    };
    let sha256 = Digest::of(&body);
    let request = submit(&manifest, rig.seal(COMMUNE), &[body.into()]);
    rig.connect("tavan").await.submission().submit(request).await.unwrap();

    let (mut unread, mut names) = (Vec::new(), Vec::new());
    for (node, agency) in [("sapa", DISTRICT), ("laocai", PROVINCE), ("bacha", "000.00.22.H38")] {
        let client = rig.connect(node).await;
        let offer = rig.fetch(&client, agency).await.remove(0);
        names.push(offer.delivery_id.clone());
        let mut full = false;
        // Several connections: the bound is the node's.
        for _ in 0..3 {
            let client = rig.connect(node).await;
            for _ in 0..20 {
                match download(&client, &offer.delivery_id, &sha256).await {
                    Ok(stream) => unread.push((client.clone(), stream)),
                    Err(status) => {
                        assert_eq!(reason(&status), ReasonCode::Busy);
                        full = true;
                    }
                }
            }
        }
        assert!(full, "{node} may have any number of downloads open");
        // Others are served, and so is the same node otherwise.
        rig.serves().await;
    }
    rig.unharmed().await;
    drop(unread);
    // Its places are free again.
    let client = rig.connect("sapa").await;
    let mut stream = loop {
        match download(&client, &names[0], &sha256).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    };
    let mut read = 0;
    while let Some(chunk) = soon(stream.message()).await.unwrap() {
        read += chunk.data.len();
    }
    assert_eq!(read, BODY);
    rig.unharmed().await;
}

async fn download(
    client: &Client,
    delivery_id: &str,
    sha256: &Digest,
) -> Result<Streaming<DownloadResponse>, tonic::Status> {
    let request = DownloadRequest { delivery_id: delivery_id.into(), sha256: sha256.to_bytes(), offset: 0 };
    Ok(soon(client.delivery().download(request)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_offers_that_nobody_reads() {
    let rig = Rig::start().await;
    let sender = rig.connect("tavan").await;
    for number in 0..300 {
        let request = submit(&letter(&format!("w-{number}"), &[PROVINCE]), rig.seal(COMMUNE), &[]);
        sender.submission().submit(request).await.unwrap();
    }
    let mut unread = Vec::new();
    for _ in 0..200 {
        let watch = WatchRequest { agency: COMMUNE.into(), ..WatchRequest::default() };
        unread.push(sender.status().watch(watch).await.unwrap().into_inner());
    }
    let province = rig.connect("laocai").await;
    let mut offers = Vec::new();
    for _ in 0..20 {
        let steps = [Step::Hello(Hello::default()), Step::Credit(u32::MAX)];
        let steps = steps.map(|step| DeliverRequest { step: Some(step) });
        let steps = tokio_stream::StreamExt::chain(tokio_stream::iter(steps), tokio_stream::pending());
        offers.push(province.delivery().deliver(steps).await.unwrap().into_inner());
    }
    rig.unharmed().await;
    // Whoever reads gets everything, in order.
    let watch = WatchRequest { agency: COMMUNE.into(), once: true, ..WatchRequest::default() };
    let mut entries = rig.connect("tavan").await.status().watch(watch).await.unwrap().into_inner();
    let mut seen = 0;
    while soon(entries.message()).await.unwrap().is_some() {
        seen += 1;
    }
    assert!(seen >= 300, "{seen}");
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_give_up_leave_nothing_behind() {
    let rig = Rig::start().await;
    let (sender, recipient) = (rig.connect("tavan").await, rig.connect("laocai").await);
    let mut chance = Chance::new();
    let document = |number| submit(&letter(&format!("g-{number}"), &[PROVINCE]), rig.seal(COMMUNE), &[]);
    let requests: Vec<SubmitRequest> = (0..GIVEN_UP).map(document).collect();
    for request in requests.clone() {
        let (sender, recipient) = (sender.clone(), recipient.clone());
        let wait = FetchRequest { agencies: vec![PROVINCE.into()], max: 1, wait_us: 60_000_000 };
        let submits = tokio::spawn(async move { sender.submission().submit(request).await });
        let waits = tokio::spawn(async move { recipient.delivery().fetch(wait).await });
        tokio::time::sleep(Duration::from_micros(chance.below(4_000))).await;
        submits.abort();
        waits.abort();
    }
    // Taken or not: the same again tells, and each arrives once it is asked for.
    for request in requests {
        sender.submission().submit(request).await.unwrap();
    }
    let mut taken = HashSet::new();
    while taken.len() < GIVEN_UP {
        let offers = rig.fetch(&recipient, PROVINCE).await;
        assert!(!offers.is_empty(), "{} of {GIVEN_UP}", taken.len());
        for offer in offers {
            taken.insert(rig.take(&recipient, &offer).await);
        }
    }
    let operator = rig.connect("operator").await;
    let overview = operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner();
    assert_eq!((overview.waiting, overview.leased, overview.sessions), (0, 0, 0));
    rig.unharmed().await;
}

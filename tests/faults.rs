//! A disk that fails while the real binary runs on it. A write or sync that fails stops the writer: readiness turns red,
//! the process ends so that a supervisor starts it again, no failed sync is tried twice, and what was acknowledged before
//! is there afterwards. `TRUC_FAULTS=70` breaks it seventy times; `TRUC_SEED=…` replays.

#![allow(clippy::unwrap_used)]

#[path = "rig/crash/mod.rs"]
mod crash;
#[path = "faults/flips.rs"]
mod flips;
#[path = "faults/folder.rs"]
mod folder;
mod rig;
#[path = "faults/through.rs"]
mod through;

use std::time::Duration;

use bytes::Bytes;
use crash::CrashRig;
use folder::{Fault, Folder, Wrong};
use rig::{Chance, letter, submit};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::id::Digest,
    proto::{upload_request::Step, *},
};

/// The segment that is written. The next one is only prepared: when that fails, it is made anew, and nobody needs to stop.
const JOURNAL: &str = "hub/journal/00000001.seg";
const PACKS: &str = "hub/bodies/packs";
/// What stops the hub, wherever it strikes.
const FATAL: [(Wrong, &str); 7] = [
    (Wrong::SyncFails, JOURNAL),
    (Wrong::WriteFails, JOURNAL),
    (Wrong::ShortWrite, JOURNAL),
    (Wrong::Full, "hub"),
    (Wrong::SyncFails, PACKS),
    (Wrong::WriteFails, PACKS),
    (Wrong::Full, JOURNAL),
];

/// A hub whose folder fails on order.
struct Bench {
    rig: CrashRig,
    folder: Folder,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [real, shown] = ["real", "shown"].map(|name| dir.path().join(name));
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&shown).unwrap();
        let folder = Folder::mount(&real, &shown).unwrap();
        let rig = CrashRig::start(Some(&shown.join("hub"))).await;
        Self { rig, folder, _dir: dir }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_or_sync_stops_the_hub_and_loses_nothing() {
    if skipped() {
        return;
    }
    let mut chance = Chance::new();
    let Bench { mut rig, folder, _dir } = Bench::start().await;
    let faults = number("TRUC_FAULTS", 4);
    let first = chance.below(FATAL.len() as u64);
    for round in first..first + faults {
        let (wrong, below) = FATAL[usize::try_from(round).unwrap() % FATAL.len()];
        let before = rig.outside.deeds();
        let readiness = readiness(rig.outside.connect("tavan").await).await;
        folder.order(Some(Fault { wrong, below, after: 1 + chance.below(30) }));
        let load = rig.outside.load().await;
        let status = rig.hub.ended().await;
        load.end().await;
        let (tally, said) = (folder.tally(), rig.hub.words());
        println!(
            "{wrong:?} below {below}: {:?} after {} writes, {} syncs",
            tally.struck, tally.writes, tally.syncs
        );
        assert!(!status.success() && status.code().is_some(), "{status}: {said}");
        assert!(tally.struck.is_some(), "it ended before the fault: {said}");
        if wrong == Wrong::SyncFails {
            assert_eq!(tally.syncs_after, 0, "a failed sync was tried again: {said}");
        }
        assert_eq!(readiness.await.unwrap(), Some(ServingStatus::NotServing), "readiness did not turn red");
        folder.order(None);
        rig.hub.start().await;
        rig.outside.check(before, &mut chance).await;
    }
    rig.outside.check_all(&mut chance).await;
    rig.hub.stop().await;
    let (code, said) = rig.hub.run(&["fsck"]).await;
    assert_eq!(code, Some(0), "{said}");
    println!("{faults} faults: {}", rig.outside.sum());
}

/// A hub whose store failed ends although clients hang half-way in their calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_upload_holds_up_neither_others_nor_the_end() {
    if skipped() {
        return;
    }
    let Bench { mut rig, folder, _dir } = Bench::start().await;
    let stuck = stuck_upload(rig.outside.connect("laocai").await).await;
    let load = rig.outside.load().await;
    while rig.outside.deeds() < 100 {
        assert!(!stuck.is_finished(), "the hub gave the upload up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    folder.order(Some(Fault { wrong: Wrong::SyncFails, below: JOURNAL, after: 1 }));
    let status = rig.hub.ended().await;
    load.end().await;
    assert!(!status.success(), "{status}");
    stuck.abort();
    folder.order(None);
    rig.hub.start().await;
    rig.outside.check(0, &mut Chance(1)).await;
}

/// Without another commit, too: submissions alone never come so far when their bodies can't be kept.
#[tokio::test(flavor = "multi_thread")]
async fn packs_that_failed_stop_the_hub() {
    if skipped() {
        return;
    }
    let Bench { mut rig, folder, _dir } = Bench::start().await;
    folder.order(Some(Fault { wrong: Wrong::WriteFails, below: PACKS, after: 1 }));
    let client = rig.outside.connect("tavan").await;
    let request = submit(&letter("last", &[DISTRICT]), rig.outside.seal(COMMUNE), &[]);
    let refused = client.submission().submit(request.clone()).await.unwrap_err();
    assert_eq!(rig::reason(&refused), ReasonCode::StoreFailed);
    assert!(!rig.hub.ended().await.success());
    rig.hub.start().await;
    rig.outside.connect("tavan").await.submission().submit(request).await.unwrap();
    rig.hub.stop().await;
}

/// 200 ms a sync: commits gather what waits, and reading goes on.
#[tokio::test(flavor = "multi_thread")]
async fn slow_syncs_are_shared() {
    if skipped() {
        return;
    }
    const LETTERS: u64 = 96;
    let Bench { mut rig, folder, _dir } = Bench::start().await;
    let client = rig.outside.connect("tavan").await;
    // Signed before, so that a busy machine still hands them in together.
    let sealed =
        |number| submit(&letter(&format!("slow-{number}"), &[DISTRICT]), rig.outside.seal(COMMUNE), &[]);
    let requests: Vec<_> = (0..LETTERS).map(sealed).collect();
    folder.order(Some(Fault { wrong: Wrong::SlowSync, below: JOURNAL, after: 0 }));
    let mut sending = tokio::task::JoinSet::new();
    for request in requests {
        let client = client.clone();
        sending.spawn(async move { client.submission().submit(request).await.unwrap() });
    }
    let operator = rig.outside.connect("operator").await;
    // Answers that came while one and the same sync was under way.
    let mut read = 0;
    while !sending.is_empty() {
        let before = folder.tally().syncs;
        operator.operator().get_overview(GetOverviewRequest {}).await.unwrap();
        read += u64::from(folder.tally().syncs == before);
        while sending.try_join_next().is_some_and(|sent| sent.is_ok()) {}
    }
    let syncs = folder.tally().syncs;
    println!("{LETTERS} letters took {syncs} syncs; {read} overviews were read within one of them");
    assert!(syncs < LETTERS / 3, "{syncs} syncs for {LETTERS} letters: they were not shared");
    assert!(read > 1, "reading waited for the disk");
    folder.order(None);
    rig.hub.stop().await;
}

/// An upload that can't be written is refused alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_stops_nobody_else() {
    if skipped() {
        return;
    }
    let Bench { mut rig, folder, _dir } = Bench::start().await;
    for wrong in [Wrong::WriteFails, Wrong::Full, Wrong::SyncFails] {
        folder.order(Some(Fault { wrong, below: "hub/bodies/uploads", after: 1 }));
        let body = Bytes::from(vec![wrong as u8; 400_000]);
        let client = rig.outside.connect("laocai").await;
        let refused = client.submission().upload(tokio_stream::iter(whole(&body))).await.unwrap_err();
        assert_eq!(rig::reason(&refused), ReasonCode::StoreFailed, "{wrong:?}");
        let request = submit(&letter(&format!("{wrong:?}"), &[DISTRICT]), rig.outside.seal(COMMUNE), &[]);
        rig.outside.connect("tavan").await.submission().submit(request).await.unwrap();
        folder.order(None);
        let held = QueryUploadRequest { sha256: Digest::of(&body).to_bytes() };
        let held = client.submission().query_upload(held).await.unwrap().into_inner();
        let rest = whole(&body.slice(usize::try_from(held.received).unwrap()..));
        let begin = begin(&body, held.received);
        let steps = std::iter::once(begin).chain(rest.into_iter().skip(1));
        let done = client.submission().upload(tokio_stream::iter(steps.collect::<Vec<_>>())).await;
        assert!(done.unwrap().into_inner().complete, "{wrong:?}");
    }
    rig.hub.stop().await;
}

fn begin(body: &Bytes, offset: u64) -> UploadRequest {
    let begin = UploadBegin { sha256: Digest::of(body).to_bytes(), size: body.len() as u64, offset };
    UploadRequest { step: Some(Step::Begin(begin)) }
}

fn whole(body: &Bytes) -> Vec<UploadRequest> {
    let chunks =
        body.chunks(100_000).map(|chunk| UploadRequest { step: Some(Step::Data(body.slice_ref(chunk))) });
    std::iter::once(begin(body, 0)).chain(chunks).collect()
}

/// Sends a half, then nothing more.
async fn stuck_upload(client: Client) -> tokio::task::JoinHandle<()> {
    let (steps, receiver) = tokio::sync::mpsc::channel(4);
    let body = Bytes::from(vec![3; 400_000]);
    for step in whole(&body).into_iter().take(3) {
        steps.send(step).await.unwrap();
    }
    tokio::spawn(async move {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let _ = client.submission().upload(stream).await;
        drop(steps);
    })
}

/// The last word of the health service before the connection ends.
async fn readiness(client: Client) -> tokio::task::JoinHandle<Option<ServingStatus>> {
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(client.channel()).watch(request).await.unwrap().into_inner();
    tokio::spawn(async move {
        let mut last = None;
        while let Ok(Some(word)) = watch.message().await {
            last = Some(word.status());
        }
        last
    })
}

fn skipped() -> bool {
    !crash::able("failing folders", &[])
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

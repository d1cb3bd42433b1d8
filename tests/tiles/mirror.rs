//! The mirror follows a hub, and tells when the hub's history changes.

use std::fs;

use super::{reader, stage::Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_and_tells_when_history_changes() {
    let mut stage = Stage::open().await;
    let vkey = stage.key().await;
    let first = stage.mirror("copy").await.good();
    assert_eq!((&first["event"], &first["from"]), (&"grown".into(), &0.into()));
    assert_eq!(stage.mirror("copy").await.good()["event"], "unchanged");

    // From a partial tile over a full one to the next, and on.
    for which in [0..1, 1..300, 300..301] {
        stage.grow(which.clone()).await;
        let grown = stage.mirror("copy").await.good();
        assert_eq!(grown["size"].as_u64().unwrap() - grown["from"].as_u64().unwrap(), which.len() as u64);
    }
    stage.back_up().await;
    stage.grow(301..400).await;
    let newest = stage.mirror("copy").await.good();
    let kept = fs::read_to_string(stage.path("copy/checkpoint")).unwrap();
    assert_eq!(reader::open(&kept, &vkey).0, newest["size"]);

    stage.restore().await;
    let evidence = stage.mirror("copy").await.fault("WENT_BACK");
    let seen = fs::read_to_string(evidence.join("checkpoint-seen")).unwrap();
    assert!(reader::open(&seen, &vkey).0 < reader::open(&kept, &vkey).0);
    assert_eq!(fs::read_to_string(evidence.join("checkpoint-kept")).unwrap(), kept);

    // Other agencies: as many leaves first, then more.
    stage.grow(401..500).await;
    stage.mirror("copy").await.fault("FORKED");
    stage.grow(500..800).await;
    let evidence = stage.mirror("copy").await.fault("FORKED");
    assert!(fs::read_to_string(evidence.join("fault.txt")).unwrap().starts_with("FORKED: "));
    assert!(evidence.join("seen/tile/1/000.p").is_dir(), "the tiles that prove it are kept");

    // The folder stays at the last good checkpoint, whole.
    assert_eq!(fs::read_to_string(stage.path("copy/checkpoint")).unwrap(), kept);
    assert!(!stage.path("copy/checkpoint.pending").exists());
    let other = stage.mirror("new").await.good();
    assert_eq!(other["event"], "grown", "who never saw the first history can't know");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_trusted_is_refused() {
    let stage = Stage::open().await;
    let foreign = truc::tlog::note::Signer::from_seed("demo.truc.example/log", &[9; 32]).unwrap().verifier();
    fs::write(stage.trust(), foreign.to_string()).unwrap();
    stage.mirror("copy").await.fault("NOT_SIGNED");
    assert!(!stage.path("copy/checkpoint").exists());
}

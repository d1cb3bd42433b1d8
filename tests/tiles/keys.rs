//! The mirror across a change of the log's key: followed where it is proven, refused where it is not.

use std::{fs, sync::Arc};

use super::{
    changes::Web,
    stage::{Stage, mirror},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_a_proven_change_of_the_key_alone() {
    let mut stage = Stage::open().await;
    stage.grow(0..300).await;
    stage.mirror("copy").await.good();
    let old = stage.key().await;
    stage.rotate().await;
    // The newest head is the last one that the old key signed; from the next on it is the new key.
    assert_eq!(stage.mirror("copy").await.good()["event"], "grown");
    assert!(!stage.path("copy/hub.keys").exists(), "nothing to prove yet");
    stage.grow(300..400).await;
    assert_ne!(stage.key().await, old);
    let grown = stage.mirror("copy").await.good();
    assert_eq!(grown["event"], "grown");
    let proofs = fs::read_to_string(stage.path("copy/hub.keys")).unwrap();
    assert!(proofs.starts_with("c2sp.org/tlog-proof@v1\n"));
    assert_eq!(stage.mirror("copy").await.good()["event"], "unchanged", "from what it kept");
    stage.mirror("new").await.good();

    // Who knows only the newest key follows the log too.
    fs::write(stage.path("newest"), stage.key().await).unwrap();
    let ca = stage.ca();
    let more = ["--ca", ca.to_str().unwrap()];
    mirror(&stage.path("by-newest"), &stage.url(), &stage.path("newest"), &more).await.good();

    // The same log behind another server: without the proofs, and with proofs that are bent.
    type Change = fn(&str, Vec<u8>) -> Option<Vec<u8>>;
    let changes: [Change; 3] = [
        |path, bytes| (path != "hub.keys").then_some(bytes),
        |path, bytes| match path {
            "hub.keys" => Some(String::from_utf8(bytes).unwrap().replacen("index ", "index 1", 1).into()),
            _ => Some(bytes),
        },
        |path, bytes| if path == "hub.keys" { Some(Vec::new()) } else { Some(bytes) },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let web = Web::serve(&stage.path("copy"), Arc::new(change)).await;
        let dir = stage.path(&format!("unproven-{number}"));
        mirror(&dir, &web.url, &stage.trust(), &[]).await.fault("NOT_SIGNED");
        assert!(!dir.join("checkpoint").exists());
    }
    // With the proofs at hand the site need not have them.
    let web = Web::serve(&stage.path("copy"), Arc::new(changes[0])).await;
    let given = stage.path("copy/hub.keys");
    let more = ["--log-keys", given.to_str().unwrap()];
    mirror(&stage.path("by-given"), &web.url, &stage.trust(), &more).await.good();
    assert_eq!(fs::read_to_string(stage.path("by-given/hub.keys")).unwrap(), proofs);
    let web = Web::serve(&stage.path("copy"), Arc::new(|_: &str, bytes| Some(bytes))).await;
    mirror(&stage.path("of-the-copy"), &web.url, &stage.trust(), &[]).await.good();
}

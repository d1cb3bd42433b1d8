//! What the door serves, and what it does not.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use prost::Message;
use truc::{
    proto::{Evidence, GetConsistencyRequest, GetReceiptRequest},
    tlog::merkle,
};

use super::{
    reader::{Reader, audit_path, consistency_path, leaf, mth, open, path, tiles},
    stage::Stage,
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_follows_from_the_tiles() {
    let stage = Stage::open().await;
    let (reader, vkey) = (Reader::new(stage.port, Some(&stage.ca())), stage.key().await);
    let (small, small_root, small_note) = reader.checkpoint(&vkey).await;
    stage.grow(0..700).await;
    let (size, root, _) = reader.checkpoint(&vkey).await;
    assert!(size >= small + 700);

    let leaves = reader.leaves(size).await;
    assert_eq!(mth(&leaves), root);
    assert_eq!(mth(&leaves[..small as usize]), small_root, "the older checkpoint is its beginning");
    assert_eq!(open(&small_note, &vkey), (small, small_root));

    let full = size / 256;
    let above = reader.get(&path("1", 0, full)).await;
    for (number, hash) in above.chunks(32).enumerate() {
        assert_eq!(mth(&leaves[number * 256..][..256]), hash, "level 1, {number}");
    }
    let entries = reader.entries(size).await;
    assert!(entries.iter().map(|entry| leaf(entry)).eq(leaves.iter().copied()));
    assert!(entries.iter().all(|entry| Evidence::decode(&entry[..]).is_ok()));

    the_services_say_the_same(&stage, &leaves, &entries).await;
    every_partial_tile_of_the_past_is_there(&reader, small, &leaves).await;
    what_does_not_exist_is_not_found(&reader, size).await;
    caches_are_told_what_they_may_keep(&reader, size).await;
    it_speaks_http_2(&reader, size).await;
    stage.rig.unharmed().await;
}

/// Over HTTP/2 the same bytes, many at a time.
async fn it_speaks_http_2(reader: &Reader, size: u64) {
    let mut requests = reader.http_2().await;
    let mut answers = tokio::task::JoinSet::new();
    for (index, width) in tiles(size) {
        let path = path("entries", index, width);
        let request = hyper::Request::get(format!("https://localhost/{path}"));
        let answer = requests.send_request(request.body(Empty::<Bytes>::new()).unwrap());
        answers.spawn(async move {
            (path, answer.await.unwrap().into_body().collect().await.unwrap().to_bytes())
        });
    }
    while let Some(answer) = answers.join_next().await {
        let (path, bytes) = answer.unwrap();
        assert_eq!(bytes, reader.get(&path).await);
    }
}

/// Proofs of the gRPC services are those that follow from the tiles.
async fn the_services_say_the_same(stage: &Stage, leaves: &[[u8; 32]], entries: &[Vec<u8>]) {
    let auditor = stage.operator().await;
    for index in [0, 17, 255, 256, leaves.len() - 1] {
        let request = GetReceiptRequest { index: index as u64 };
        let receipt = auditor.audit().get_receipt(request).await.unwrap().into_inner().receipt.unwrap();
        assert_eq!(receipt.evidence, entries[index]);
        let size = open(&receipt.checkpoint, &stage.key().await).0 as usize;
        assert_eq!(
            receipt.path,
            audit_path(index, &leaves[..size]).iter().map(|hash| hash.to_vec()).collect::<Vec<_>>()
        );
        let included = audit_path(index, leaves);
        assert!(merkle::verify_inclusion(
            &leaves[index],
            index as u64,
            leaves.len() as u64,
            &included,
            &mth(leaves)
        ));
    }
    for first in [1, 200, 256, leaves.len() as u64 - 1] {
        let request = GetConsistencyRequest { first, second: leaves.len() as u64 };
        let proof = auditor.audit().get_consistency(request).await.unwrap().into_inner();
        let expected = consistency_path(first as usize, leaves);
        assert_eq!(proof.path, expected.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>(), "{first}");
    }
}

async fn every_partial_tile_of_the_past_is_there(reader: &Reader, small: u64, leaves: &[[u8; 32]]) {
    for (index, width) in tiles(small) {
        let tile = reader.get(&path("0", index, width)).await;
        assert_eq!(tile, leaves[index as usize * 256..][..width as usize].concat());
        assert!(!reader.get(&path("entries", index, width)).await.is_empty());
    }
}

async fn what_does_not_exist_is_not_found(reader: &Reader, size: u64) {
    let (last, width) = tiles(size).last().unwrap();
    let absent = [
        path("0", last, width + 1),
        path("0", last, 256),
        path("0", last + 1, 1),
        path("entries", last, width + 1),
        path("1", 0, last + 1),
        path("2", 0, 1),
        "tile/63/000".into(),
        "tile/64/000".into(),
        "tile/0/0".into(),
        "tile/0/x000/000".into(),
        "tile/0/000.p/0".into(),
        "tile/0/000.p/256".into(),
        "tile/0/000/".into(),
        "tile/0/x018/x446/x744/x073/x709/x551/615".into(),
        "tile/entries/".into(),
        "checkpoint/".into(),
        "../truc.toml".into(),
        String::new(),
    ];
    for path in absent {
        assert_eq!(reader.status("GET", &path).await, 404, "{path}");
    }
    assert_eq!(reader.status("POST", "checkpoint").await, 405);
    assert_eq!(reader.status("DELETE", "tile/0/000").await, 405);
    let long = format!("X-Long: {}\r\n", "x".repeat(64 << 10));
    assert_eq!(reader.ask("GET", "checkpoint", &long).await.status, 431);
}

async fn caches_are_told_what_they_may_keep(reader: &Reader, size: u64) {
    let checkpoint = reader.ask("GET", "checkpoint", "").await;
    assert_eq!(checkpoint.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(checkpoint.headers["cache-control"], "no-cache");
    let tag = &checkpoint.headers["etag"];
    let known = reader.ask("GET", "checkpoint", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let other = reader.ask("GET", "checkpoint", "If-None-Match: \"other\"\r\n").await;
    assert_eq!((other.status, &other.body), (200, &checkpoint.body));
    let head = reader.ask("HEAD", "checkpoint", "").await;
    assert_eq!((head.status, head.body.len(), &head.headers["etag"]), (200, 0, tag));
    assert_eq!(head.headers["content-length"], checkpoint.body.len().to_string());

    let full = reader.ask("GET", "tile/0/000", "").await;
    assert_eq!(full.headers["content-type"], "application/octet-stream");
    assert_eq!(full.headers["cache-control"], "public, max-age=31536000, immutable");
    let (last, width) = tiles(size).last().unwrap();
    let partial = reader.ask("GET", &path("0", last, width), "").await;
    assert_eq!(partial.headers["cache-control"], "public, max-age=3600, immutable");
    let head = reader.ask("HEAD", "tile/0/000", "").await;
    assert_eq!((head.body.len(), &head.headers["content-length"][..]), (0, "8192"));
    let absent = reader.ask("GET", "tile/0/999", "").await;
    assert_eq!(absent.headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_and_without_entries() {
    let stage = Stage::open_with("plain = true\nentries = false\n").await;
    let reader = Reader::new(stage.port, None);
    let (size, root, _) = reader.checkpoint(&stage.key().await).await;
    assert_eq!(mth(&reader.leaves(size).await), root);
    assert_eq!(reader.status("GET", &path("entries", 0, 1)).await, 404);

    let (url, trust) = (format!("http://localhost:{}", stage.port), stage.trust());
    let missing = super::stage::mirror(&stage.path("all"), &url, &trust, &[]).await;
    missing.fault("MISSING");
    let copied = super::stage::mirror(&stage.path("hashes"), &url, &trust, &["--hashes-only"]).await.good();
    assert_eq!((&copied["event"], &copied["size"]), (&"grown".into(), &size.into()));
    assert!(!stage.path("hashes/tile/entries").exists());
}

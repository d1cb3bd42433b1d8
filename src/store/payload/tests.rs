//! The way of a body: put or uploaded, adopted, read, swept.

use std::{
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn store() -> (TempDir, Payload) {
    let dir = tempfile::tempdir().expect("temp");
    let payload = Payload::open(&dir.path().join("bodies"), PayloadOptions::default()).expect("open");
    (dir, payload)
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("legal")
}

fn body(len: u32) -> (Vec<u8>, Digest) {
    let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

fn upload(payload: &Payload, node: &NodeName, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let mut upload = payload.begin(node, &digest, bytes.len() as u64, 0).expect("begin");
    bytes.chunks(100_000).for_each(|chunk| upload.write(chunk).expect("write"));
    assert!(upload.finish().expect("finish"));
    digest
}

#[test]
fn a_small_body_is_read_back_whole_and_in_parts() {
    let (_dir, payload) = store();
    let record = payload.put_small(b"envelope").expect("put");
    payload.put_small(b"another").expect("put");
    payload.sync().expect("sync");
    assert_eq!(&payload.read(&record).expect("read")[..], b"envelope");
    let mut rest = String::new();
    payload.open_body(&record, 3).expect("open").read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "elope");
    payload.verify(&record).expect("whole");
    payload.open_body(&record, 9).expect_err("beyond the end");
    let empty = payload.put_small(b"").expect("put");
    assert!(payload.read(&empty).expect("read").is_empty());
}

#[test]
fn a_large_body_goes_from_upload_to_body() {
    let (dir, payload) = store();
    let (bytes, digest) = body(300_000);
    let sender = node("dms.h53");
    assert_eq!(payload.query(&sender, &digest).expect("query"), (0, false));
    assert_eq!(payload.adopt(&sender, &digest).expect("adopt"), None);
    upload(&payload, &sender, &bytes);
    assert_eq!(payload.query(&sender, &digest).expect("query"), (300_000, true));
    assert_eq!(payload.adopt(&node("other"), &digest).expect("adopt"), None, "it is another node's");
    let record = payload.adopt(&sender, &digest).expect("adopt").expect("staged");
    assert_eq!(payload.adopt(&sender, &digest).expect("again"), Some(record.clone()));
    payload.release(&sender, &digest).expect("release");
    assert_eq!(payload.query(&sender, &digest).expect("query"), (0, false));
    assert_eq!(payload.read(&record).expect("read"), bytes);
    let mut tail = Vec::new();
    payload.open_body(&record, 299_990).expect("open").read_to_end(&mut tail).expect("read");
    assert_eq!(tail, bytes[299_990..]);
    payload.verify(&record).expect("whole");
    assert_eq!(payload.bytes_on_disk().expect("walk"), 300_000);

    let path = dir.path().join("bodies/files").join(&digest.to_string()[..2]).join(digest.to_string());
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let mut damaged = bytes;
    damaged[150_000] ^= 1;
    fs::write(&path, &damaged).expect("write");
    assert!(matches!(payload.verify(&record), Err(StoreError::Damaged(_))));
    assert!(matches!(payload.read(&record), Err(StoreError::Damaged(_))));
    fs::write(&path, &damaged[..9]).expect("write");
    assert!(matches!(payload.open_body(&record, 0), Err(StoreError::Damaged(_))));
}

#[test]
fn a_body_that_became_shorter_is_healed_by_the_next_upload() {
    let (dir, payload) = store();
    let (bytes, digest) = body(100_000);
    upload(&payload, &node("a"), &bytes);
    payload.adopt(&node("a"), &digest).expect("adopt");
    payload.release(&node("a"), &digest).expect("release");
    let path = dir.path().join("bodies/files").join(&digest.to_string()[..2]).join(digest.to_string());
    fs::write(&path, b"short").expect("write");
    upload(&payload, &node("b"), &bytes);
    let record = payload.adopt(&node("b"), &digest).expect("adopt").expect("staged");
    payload.verify(&record).expect("whole again");
}

#[test]
fn an_upload_is_resumed_where_it_was_cut() {
    let (dir, payload) = store();
    let (bytes, digest) = body(300_000);
    let a = node("a");
    let mut first = payload.begin(&a, &digest, 300_000, 0).expect("begin");
    first.write(&bytes[..120_000]).expect("write");
    assert!(matches!(payload.begin(&a, &digest, 300_000, 0), Err(PayloadError::Busy)));
    payload.begin(&node("b"), &digest, 300_000, 0).map(drop).expect("another node's is another upload");
    drop(first);

    let payload = Payload::open(&dir.path().join("bodies"), PayloadOptions::default()).expect("reopen");
    assert_eq!(payload.query(&a, &digest).expect("query"), (120_000, false));
    let wrong = payload.begin(&a, &digest, 300_000, 0).err();
    assert!(matches!(wrong, Some(PayloadError::WrongOffset { received: 120_000 })));
    let mut second = payload.begin(&a, &digest, 300_000, 120_000).expect("resume");
    second.write(&bytes[120_000..200_000]).expect("write");
    assert!(!second.finish().expect("bytes are missing"));
    let mut third = payload.begin(&a, &digest, 300_000, 200_000).expect("resume");
    third.write(&bytes[200_000..]).expect("write");
    assert!(third.finish().expect("complete"));
    let again = payload.begin(&a, &digest, 300_000, 300_000).expect("complete already");
    assert!(again.finish().expect("complete"));
    payload.verify(&payload.adopt(&a, &digest).expect("adopt").expect("staged")).expect("whole");
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let (_dir, payload) = store();
    let (bytes, digest) = body(100_000);
    let a = node("a");
    let mut upload = payload.begin(&a, &digest, 100_000, 0).expect("begin");
    upload.write(&[0; 100_000]).expect("write");
    assert!(matches!(upload.finish(), Err(PayloadError::DigestMismatch)));
    assert_eq!(payload.query(&a, &digest).expect("query"), (0, false));
    let mut upload = payload.begin(&a, &digest, 100_000, 0).expect("begins anew");
    assert!(matches!(upload.write(&[0; 100_001]), Err(PayloadError::TooLarge { limit: 100_000 })));
    upload.write(&bytes).expect("write");
    assert!(upload.finish().expect("complete"));
}

#[test]
fn sizes_are_bounded_and_may_be_corrected() {
    let dir = tempfile::tempdir().expect("temp");
    let options = PayloadOptions { max_body_bytes: 1000, ..PayloadOptions::default() };
    let payload = Payload::open(dir.path(), options).expect("open");
    let a = node("a");
    let (bytes, digest) = body(500);
    assert!(matches!(payload.begin(&a, &digest, 1001, 0), Err(PayloadError::TooLarge { limit: 1000 })));
    payload.begin(&a, &digest, 1000, 0).expect("begin").write(&[1; 700]).expect("write");
    let mut upload = payload.begin(&a, &digest, 500, 0).expect("the held bytes are more than the body has");
    upload.write(&bytes).expect("write");
    assert!(upload.finish().expect("complete"));
}

const FOR_EVER: Duration = Duration::from_secs(1 << 33);

#[test]
fn a_sweep_takes_what_is_old_and_unreachable() {
    let (_dir, payload) = store();
    let a = node("a");
    let (kept, orphan, staged) = (vec![1; 100_000], vec![2; 100_000], vec![3; 100_000]);
    for bytes in [&kept, &orphan] {
        let digest = upload(&payload, &a, bytes);
        payload.adopt(&a, &digest).expect("adopt");
        payload.release(&a, &digest).expect("release");
    }
    let staged = upload(&payload, &a, &staged);
    let (_, partial) = body(200_000);
    payload.begin(&a, &partial, 200_000, 0).expect("begin").write(&[4; 1000]).expect("write");
    let (_, busy) = body(200_001);
    let mut writing = payload.begin(&a, &busy, 200_001, 0).expect("begin");
    writing.write(&[5; 1000]).expect("write");
    let small = payload.put_small(b"packed").expect("put");

    let reachable = |digest: &Digest| *digest == Digest::of(&kept);
    let nothing = payload.sweep(&reachable, SystemTime::UNIX_EPOCH).expect("sweep");
    assert_eq!(nothing, Swept::default(), "all is younger");
    let swept = payload.sweep(&reachable, SystemTime::UNIX_EPOCH + FOR_EVER).expect("sweep");
    assert_eq!(swept, Swept { files: 3, bytes: 201_000 });
    assert_eq!(payload.query(&a, &staged).expect("query"), (0, false));
    assert_eq!(payload.query(&a, &partial).expect("query"), (0, false));
    assert_eq!(payload.query(&a, &busy).expect("query"), (1000, false));
    assert_eq!(&payload.read(&small).expect("read")[..], b"packed");
    let record = BodyRecord { sha256: Digest::of(&kept).to_bytes(), size: 100_000, ..BodyRecord::default() };
    payload.verify(&record).expect("kept");
}

#[test]
fn adopting_an_old_body_again_makes_it_young() {
    let (dir, payload) = store();
    let (bytes, digest) = body(100_000);
    upload(&payload, &node("a"), &bytes);
    payload.adopt(&node("a"), &digest).expect("adopt");
    payload.release(&node("a"), &digest).expect("release");
    upload(&payload, &node("b"), &bytes);
    let path = dir.path().join("bodies/files").join(&digest.to_string()[..2]).join(digest.to_string());
    let before = std::os::unix::fs::MetadataExt::ctime_nsec(&path.metadata().expect("there"));
    std::thread::sleep(Duration::from_millis(20));
    payload.adopt(&node("b"), &digest).expect("adopt");
    let after = std::os::unix::fs::MetadataExt::ctime_nsec(&path.metadata().expect("there"));
    assert_ne!(before, after);
}

#[test]
fn names_on_disk_are_hashes_only() {
    let (dir, payload) = store();
    let (bytes, _) = body(100_000);
    upload(&payload, &node("..").clone(), &bytes);
    let folders: Vec<_> = fs::read_dir(dir.path().join("bodies/staged")).expect("list").collect();
    let name = folders[0].as_ref().expect("entry").file_name();
    assert_eq!(name.to_str(), Some(Digest::of(b"..").to_string().as_str()));
    assert_eq!(folders.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// However an upload is cut into calls and chunks, the body is the same.
    #[test]
    fn any_cuts_make_the_same_body(
        len in 1_u32..5_000, cuts in prop::collection::vec(1_usize..2_000, 1..8), drops: Vec<bool>,
    ) {
        let (_dir, payload) = store();
        let (bytes, digest) = body(len);
        let a = node("a");
        let (mut at, mut turn) = (0, 0);
        let mut upload = payload.begin(&a, &digest, len.into(), 0).expect("begin");
        while at < bytes.len() {
            let end = bytes.len().min(at + cuts[turn % cuts.len()]);
            upload.write(&bytes[at..end]).expect("write");
            at = end;
            if drops.get(turn) == Some(&true) && at < bytes.len() {
                drop(upload);
                upload = payload.begin(&a, &digest, len.into(), at as u64).expect("resume");
            }
            turn += 1;
        }
        prop_assert!(upload.finish().expect("finish"));
        let record = payload.adopt(&a, &digest).expect("adopt").expect("staged");
        prop_assert_eq!(payload.read(&record).expect("read"), bytes);
    }
}

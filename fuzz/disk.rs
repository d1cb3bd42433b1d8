//! Files that a hub finds on its disk, with bytes that it never wrote.

use std::{fs, path::Path, sync::Arc};

use truc::{
    domain::id::Digest,
    store::{
        Store,
        embedded::{
            Embedded, EmbeddedOptions, check,
            journal::{self, Journal, JournalOptions},
        },
        payload::{Payload, PayloadOptions},
        records::BodyRecord,
    },
};

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 4_096 };

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A journal's segments, cut from the bytes: it opens or refuses. What opens opens again with the same frames, and can
/// be written to.
pub fn journal(data: &[u8]) {
    let dir = folder();
    for (number, part) in (1..).zip(data.chunks(4_096).take(4)) {
        let mut segment = part.to_vec();
        segment.resize(4_096, 0);
        fs::write(dir.path().join(format!("{number:08}.seg")), segment).expect("a file");
    }
    let _ = journal::layout(dir.path());
    let _ = journal::check(dir.path(), &mut |_| Ok(()));
    let Some(first) = frames(dir.path()) else { return };
    let second = frames(dir.path()).expect("what was opened opens again");
    assert!(second.starts_with(&first), "frames are gone");
    let (mut journal, _) =
        Journal::open(dir.path(), OPTIONS, None, &mut |_| Ok(())).expect("it opened before");
    journal.append(b"one more").expect("room for it");
    drop(journal);
    let third = frames(dir.path()).expect("it opens");
    assert!(third.starts_with(&first) && third.last().is_some_and(|frame| frame.1 == b"one more"));
}

type Frames = Vec<(u64, Vec<u8>)>;

fn frames(dir: &Path) -> Option<Frames> {
    let mut found = Frames::new();
    let opened = Journal::open(dir, OPTIONS, None, &mut |frame| {
        found.push((frame.seq, frame.payload.to_vec()));
        Ok(())
    });
    let (_, recovery) = opened.ok()?;
    assert_eq!(recovery.frames, found.len() as u64);
    Some(found)
}

/// Commits with good checksums and any content, as a hub of another version or a bad disk controller would leave them.
pub fn commits(data: &[u8]) {
    let dir = folder();
    let options = EmbeddedOptions { segment_bytes: 64 << 10, ..EmbeddedOptions::new(dir.path()) };
    let journal_dir = dir.path().join("journal");
    fs::create_dir(&journal_dir).expect("a folder");
    let layout = JournalOptions { segment_bytes: options.segment_bytes };
    let (mut journal, _) = Journal::open(&journal_dir, layout, None, &mut |_| Ok(())).expect("a new journal");
    for payload in split(data) {
        journal.append(payload).expect("room for it");
    }
    drop(journal);
    let payload =
        Arc::new(Payload::open(&dir.path().join("bodies"), PayloadOptions::default()).expect("a store"));
    let _ = check::check(&options, &payload, None, &mut |_, _| {}, &mut |_| {});
    let Ok(opened) = Embedded::open(&options, payload, &mut |_| {}) else { return };
    let head = opened.store.head();
    for leaf in 0..head.size.min(8) {
        let _ = opened.store.leaf(leaf);
        let _ = opened.store.document(leaf);
    }
    let _ = (opened.store.waiting(None, 10), opened.store.expansions(), opened.store.directory_changes());
}

/// Frames: each begins with its length in two bytes.
fn split(mut data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>()
        && parts.len() < 4
    {
        let (part, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*len))));
        if !part.is_empty() {
            parts.push(part);
        }
        data = rest;
    }
    parts
}

/// A pack of bodies: any record that points into it is answered with the bytes of its digest, or refused.
pub fn pack(data: &[u8]) {
    let dir = folder();
    let payload = Payload::open(dir.path(), PayloadOptions::default()).expect("an empty store");
    let put = payload.put_small(b"a body").expect("room for it");
    payload.sync().expect("a disk");
    drop(payload);
    let (place, bytes) = data.split_at(data.len().min(16));
    let mut place: [u8; 16] = std::array::from_fn(|at| place.get(at).copied().unwrap_or(0));
    if place[0].is_multiple_of(2) {
        place[8..].fill(0);
        let pack =
            fs::read_dir(dir.path().join("packs")).expect("packs").flatten().next().expect("a pack").path();
        fs::write(pack, bytes).expect("a file");
    }
    let Ok(payload) = Payload::open(dir.path(), PayloadOptions::default()) else { return };
    let number = |at: usize| u64::from_le_bytes(place[at..at + 8].try_into().expect("eight bytes"));
    for record in [
        put.clone(),
        BodyRecord { size: number(0), ..put.clone() },
        BodyRecord { offset: number(8), ..put.clone() },
        BodyRecord {
            pack_plus_one: place[3].into(),
            sha256: Digest::of(bytes).to_bytes(),
            size: bytes.len() as u64,
            offset: number(8),
        },
    ] {
        if let Ok(read) = payload.read(&record) {
            assert_eq!(Digest::of(&read).to_bytes(), record.sha256);
        }
    }
    let again = payload.put_small(b"another body").expect("room for it");
    assert_eq!(payload.read(&again).expect("it was just put"), b"another body"[..]);
}

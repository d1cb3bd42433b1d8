//! Files on disk: what is true passes, and every flipped byte is noticed.

use std::{fs, path::Path};

use prost::Message;
use tempfile::TempDir;

use super::*;
use crate::{
    cli::receipt_files,
    client::{
        folder::{ACCEPTANCE, HANDOVER, MANIFEST, PARTS},
        readable,
    },
    domain::{
        id::Digest,
        signature::{Algorithm, SigningKey},
    },
    proto::Manifest,
    tlog::note::Signer,
    verify::testing::{ORIGIN, RECIPIENT, Story, log},
};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A document as `truc receive` leaves it.
fn received(story: &Story) -> TempDir {
    let folder = folder();
    let dir = folder.path();
    receipt_files::write_vkey(dir, &story.verifier()).unwrap();
    write_document(dir, story);
    fs::write(dir.join(ACCEPTANCE), story.acceptance.encode_to_vec()).unwrap();
    fs::write(dir.join(HANDOVER), story.handover.encode_to_vec()).unwrap();
    folder
}

fn write_document(dir: &Path, story: &Story) {
    fs::write(dir.join(ENVELOPE), story.envelope.encode_to_vec()).unwrap();
    let manifest = Manifest::decode(story.envelope.payload.clone()).unwrap();
    let view = readable::manifest(&manifest, &Digest::of(&story.envelope.payload));
    fs::write(dir.join(MANIFEST), serde_json::to_vec_pretty(&view).unwrap()).unwrap();
    fs::create_dir(dir.join(PARTS)).unwrap();
    for (name, (_, bytes)) in
        ["Công văn.pdf", "empty.txt", "twin.txt", "twin-2.txt"].iter().zip(&story.bodies)
    {
        fs::write(dir.join(PARTS).join(name), bytes).unwrap();
    }
}

/// Proofs as `truc receipt` writes them.
fn proofs(story: &Story) -> TempDir {
    let folder = folder();
    receipt_files::write_vkey(folder.path(), &story.verifier()).unwrap();
    for receipt in [&story.acceptance, &story.consignment, &story.handover] {
        receipt_files::write(folder.path(), receipt, &story.verifier()).unwrap();
    }
    folder
}

fn run(path: &Path) -> Report {
    verify(path, None, &[]).unwrap()
}

fn with_keys(path: &Path, keys: &[&SigningKey]) -> Report {
    let keys: Vec<_> = keys.iter().map(|key| (PathBuf::from("a.pub"), key.public_key())).collect();
    verify(path, None, &keys).unwrap()
}

/// All files in a folder and below.
fn files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Flips each byte of each file in turn.
fn assert_every_flip_is_noticed(dir: &Path) {
    assert!(run(dir).ok);
    let mut flips = 0;
    for file in files(dir) {
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= [0x01, 0x80, 0x20, 0xff][at % 4];
            fs::write(&file, &bent).unwrap();
            assert!(!run(dir).ok, "{} byte {at} of {}", file.display(), bytes.len());
            flips += 1;
        }
        let short = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let short = &short[..short.len().saturating_sub(1)];
        for wrong in [short, &[&bytes[..], b"\n"].concat()] {
            fs::write(&file, wrong).unwrap();
            assert!(wrong == bytes || !run(dir).ok, "{}: {} bytes", file.display(), wrong.len());
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(flips > 1000 && run(dir).ok);
}

#[test]
fn every_flipped_byte_of_a_received_document_is_noticed() {
    assert_every_flip_is_noticed(received(&Story::new()).path());
}

#[test]
fn every_flipped_byte_of_a_folder_of_proofs_is_noticed() {
    assert_every_flip_is_noticed(proofs(&Story::new()).path());
}

#[test]
fn bytes_that_a_reader_would_skip_are_noticed() {
    let folder = received(&Story::new());
    for name in [ENVELOPE, ACCEPTANCE, HANDOVER] {
        let (path, unknown_field) = (folder.path().join(name), [0x78, 0x01]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..], &unknown_field].concat()).unwrap();
        assert!(!run(folder.path()).ok, "{name}");
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_received_document_is_proven() {
    let story = Story::new();
    let folder = received(&story);
    let report = run(folder.path());
    assert!(report.ok, "{}", report.to_text());
    let names: Vec<_> = report.checks.iter().map(|check| &check.name[..]).collect();
    assert_eq!(names, ["hub.vkey", ACCEPTANCE, HANDOVER, ENVELOPE, MANIFEST, PARTS, "recipient's receipt"]);
    assert!(report.proven[1].contains(&format!("{RECIPIENT} took")), "{:?}", report.proven);
    assert!(report.not_proven[0].contains(&story.verifier().to_string()));
    assert!(report.not_proven.iter().any(|line| line.contains("envelope are good")));

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["checks"][0]["name"], "hub.vkey");
    assert_eq!(json["events"][0]["event"], "SUBMISSION_ACCEPTANCE");
    assert_eq!(json["events"][1]["recipients"][0], RECIPIENT);
    assert_eq!(json["verifier_key_source"], "beside_the_files");
}

#[test]
fn signatures_are_verified_with_the_keys_that_are_given() {
    let story = Story::new();
    let folder = received(&story);
    let [seal, person] = &story.sender_keys;
    let report = with_keys(folder.path(), &[seal, person, &story.recipient_key]);
    assert!(report.ok, "{}", report.to_text());
    assert!(report.not_proven.iter().all(|line| !line.contains("are good")), "{:?}", report.not_proven);
    let stranger = SigningKey::generate(Algorithm::Ed25519).unwrap();
    assert!(!with_keys(folder.path(), &[&stranger]).ok);
    // The recipient's receipt is in the evidence, so it is found in a folder of proofs too.
    assert!(with_keys(proofs(&story).path(), &[&story.recipient_key]).ok);
}

#[test]
fn a_document_without_its_acceptance_is_not_proven() {
    let folder = received(&Story::new());
    fs::remove_file(folder.path().join(HANDOVER)).unwrap();
    let report = run(folder.path());
    assert!(report.ok && report.not_proven.contains(&"That the recipient took it over.".to_owned()));
    fs::remove_file(folder.path().join(ACCEPTANCE)).unwrap();
    assert!(!run(folder.path()).ok);
}

#[test]
fn another_document_s_proofs_prove_nothing_here() {
    let (one, other) = (Story::new(), Story::new());
    let folder = received(&one);
    fs::write(folder.path().join(ACCEPTANCE), other.acceptance.encode_to_vec()).unwrap();
    assert!(!run(folder.path()).ok);
    fs::write(folder.path().join(ACCEPTANCE), one.acceptance.encode_to_vec()).unwrap();
    fs::write(folder.path().join(HANDOVER), other.handover.encode_to_vec()).unwrap();
    let report = run(folder.path());
    // Both stories are proven by the same key in two logs of one size.
    let failed: Vec<_> =
        report.checks.iter().filter(|check| !check.ok).map(|check| &check.name[..]).collect();
    assert_eq!(failed, ["recipient's receipt", "checkpoints"]);
}

#[test]
fn files_are_recognised() {
    let story = Story::new();
    let folder = proofs(&story);
    let base = folder.path().join(format!("000003-CONTENT_HANDOVER-{RECIPIENT}"));
    for ending in ["evidence", "tlog-proof"] {
        let report = run(&base.with_added_extension(ending));
        assert!(report.ok && report.events.len() == 1, "{}", report.to_text());
        assert!(report.not_proven.iter().any(|line| line.contains("before leaf 3")));
    }
    let single = folder.path().join("any.receipt");
    fs::write(&single, story.acceptance.encode_to_vec()).unwrap();
    assert!(run(&single).ok);
    assert_eq!(run(folder.path()).events.len(), 4);

    let renamed = folder.path().join("proof.txt");
    fs::copy(base.with_added_extension("tlog-proof"), &renamed).unwrap();
    assert_eq!(verify(&renamed, None, &[]).unwrap_err().exit, Exit::File);
    assert_eq!(verify(&folder.path().join("missing"), None, &[]).unwrap_err().exit, Exit::File);
    fs::remove_file(base.with_added_extension("evidence")).unwrap();
    assert!(!run(folder.path()).ok);
}

#[test]
fn a_key_that_was_given_stands_above_the_one_beside_the_files() {
    let story = Story::new();
    let folder = proofs(&story);
    let given = |key: Verifier| verify(folder.path(), Some(key), &[]).unwrap();
    let report = given(story.verifier());
    assert!(report.ok && report.verifier_key_source == Some(KeySource::Given));
    assert!(report.not_proven.iter().all(|line| !line.contains("beside the files")));
    assert!(!given(Signer::from_seed(ORIGIN, &[1; 32]).unwrap().verifier()).ok);

    fs::remove_file(folder.path().join("hub.vkey")).unwrap();
    assert_eq!(verify(folder.path(), None, &[]).unwrap_err().exit, Exit::Usage);
    assert!(given(story.verifier()).ok);
}

#[test]
fn two_histories_of_one_log_are_noticed() {
    let (story, folder) = (Story::new(), folder());
    let event = crate::proto::EventKind::DirectoryChange.into();
    for (name, version) in [("one", 1), ("other", 2)] {
        let evidence =
            crate::proto::Evidence { event, event_time_us: version, ..crate::verify::testing::base() };
        let receipt = &log(&story.hub, &[evidence])[0];
        fs::write(folder.path().join(format!("{name}.receipt")), receipt.encode_to_vec()).unwrap();
    }
    let report = verify(folder.path(), Some(story.verifier()), &[]).unwrap();
    assert_eq!(report.checks.last().unwrap().detail, "the hub signed two histories of 1 leaves");
    assert!(!report.ok);
}

#[test]
fn an_empty_folder_proves_nothing() {
    let report = verify(folder().path(), Some(Story::new().verifier()), &[]).unwrap();
    assert!(!report.ok && report.proven.is_empty());
}

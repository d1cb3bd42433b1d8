//! `truc fsck` and `truc rebuild` against a data folder that a real hub wrote, and everything that can happen to it.

mod folder;

use std::{fs, path::Path, sync::Arc};

use folder::{Desk, Folder, Kind, copy, flip, origin};
use truc::{
    store::{
        Store, StoreError,
        embedded::{
            Embedded,
            check::{self, Finding, Severity, What},
        },
    },
    tlog::{keys::LogKeys, note::Signer},
};

/// Numbers that look random and are the same in every run.
fn seeded(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        // splitmix64
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

#[test]
fn a_whole_folder_has_no_findings_and_stays_as_it_was_closed() {
    let folder = copy();
    for _ in 0..2 {
        let (counts, findings) = folder.check();
        assert_eq!(findings, []);
        assert_eq!(counts, folder.made.counts);
    }
    let opened = folder.open().expect("opens");
    assert_eq!((opened.replayed, opened.rebuilt, opened.torn_bytes), (0, None, 0));
}

#[test]
fn every_flipped_byte_of_the_journal_is_found_where_it_lies() {
    let mut random = seeded(1);
    for segment in folder::made().segments() {
        let unused = segment.unused();
        let frames = segment.frames.iter();
        // Headers and ends, and a handful anywhere.
        let mut positions: Vec<u64> =
            frames.flat_map(|frame| [frame.start, frame.start + 8, frame.end - 1]).collect();
        positions.extend([0, 12, 63, segment.len - 1]);
        positions.extend((0..40).map(|_| random.next().expect("endless") % segment.len));
        positions.sort_unstable();
        positions.dedup();
        let folder = copy();
        for at in thin(positions, 60) {
            let findings = folder.check_flipped(&segment.path, at);
            let at_fault = segment.frames.iter().find(|frame| (frame.start..frame.end).contains(&at));
            match at_fault {
                Some(frame) if frame.last => {
                    // The seal of the clean stop: it holds nothing, and looks like an unfinished write.
                    assert_eq!(kinds(&findings), [(Severity::Rebuildable, What::JournalTail)], "{at}");
                }
                Some(frame) => {
                    let found = &findings[0];
                    assert_eq!(
                        (found.severity, found.what),
                        (Severity::Loss, What::JournalFrame),
                        "{at}: {findings:?}"
                    );
                    let place =
                        format!("segment {} offset {}, frame {}", segment.number, frame.start, frame.seq);
                    assert_eq!(found.place, place, "{at}");
                }
                None if at < 64 && !segment.frames.is_empty() => {
                    assert_eq!(findings[0].severity, Severity::Loss, "{at}: {findings:?}");
                    assert!(
                        findings[0].place.contains(&format!("segment {}", segment.number)),
                        "{at}: {findings:?}"
                    );
                }
                None if unused.contains(&at) && segment.is_last_used => {
                    assert_eq!(kinds(&findings), [(Severity::Rebuildable, What::JournalTail)], "{at}");
                }
                None if segment.frames.is_empty() => {
                    assert_eq!(kinds(&findings), [(Severity::Rebuildable, What::JournalTail)], "{at}");
                }
                // Zeros behind the last frame of a full segment: never read, by anything.
                None => {
                    assert!(unused.contains(&at), "{at} belongs to no frame, yet is not behind all of them");
                    assert_eq!(findings, [], "{at}");
                }
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_a_body_is_found_with_the_documents_that_need_it() {
    let made = folder::made();
    for (number, file) in made.files(|kind| matches!(kind, Kind::Pack | Kind::Body)).into_iter().enumerate() {
        let len = made.len(&file);
        let mut random = seeded(10 + number as u64);
        let mut positions: Vec<u64> = made.bodies.iter().flat_map(|body| body.edges_in(&file)).collect();
        positions.extend((0..40).map(|_| random.next().expect("endless") % len));
        let folder = copy();
        for at in thin(positions, 60) {
            let findings = folder.check_flipped(&file, at);
            let Some(body) = made.bodies.iter().find(|body| body.covers(&file, at)) else {
                // Zeros that align the entries of a pack.
                assert_eq!(findings, [], "{file:?} {at}");
                assert_eq!(fs::read(made.path(&file)).expect("read")[usize::try_from(at).expect("small")], 0);
                continue;
            };
            assert_eq!(
                kinds(&findings),
                vec![(Severity::Loss, What::Body); body.documents.len()],
                "{file:?} {at}"
            );
            for (finding, document) in findings.iter().zip(&body.documents) {
                assert!(finding.place.contains(&body.digest), "{finding:?}");
                assert!(finding.place.contains(document), "{finding:?}");
            }
        }
    }
}

/// One whole round, in small steps.
fn scrub(store: &Embedded) -> Vec<Finding> {
    let (keys, mut findings) = (LogKeys::from(folder::verifier()), Vec::new());
    for step in 0..10_000 {
        let step_done = store.scrub(Some(&keys), 256, &mut |finding| findings.push(finding));
        if step_done.unwrap_or_else(|error| panic!("step {step}: {error}")).ended {
            return findings;
        }
    }
    panic!("it does not end");
}

#[test]
fn the_scrub_of_a_running_store_names_what_the_check_of_a_closed_one_names() {
    let made = folder::made();
    let folder = copy();
    assert_eq!(scrub(&folder.open().expect("opens").store), []);
    for file in made.files(|kind| matches!(kind, Kind::Pack | Kind::Body)) {
        let edges: Vec<u64> = made.bodies.iter().flat_map(|body| body.edges_in(&file)).collect();
        for at in thin(edges, 8) {
            let expected = folder.check_flipped(&file, at);
            let store = folder.open().expect("opens").store;
            flip(&folder.path(&file), at);
            assert_eq!(scrub(&store), expected, "{file:?} {at}");
            flip(&folder.path(&file), at);
            assert_eq!(scrub(&store), [], "what is good again is told no more");
        }
    }
    let segments = made.segments();
    let frames = segments.iter().flat_map(|segment| segment.frames.iter().map(move |frame| (segment, frame)));
    // Seals are shorter than the place that is flipped.
    let frames: Vec<_> = frames.filter(|(_, frame)| !frame.last && frame.end - frame.start > 70).collect();
    for (segment, frame) in frames.iter().step_by(frames.len() / 8) {
        let store = folder.open().expect("opens").store;
        flip(&folder.path(&segment.path), frame.start + 70);
        let found = scrub(&store);
        let place = format!("segment {} offset {}, frame {}", segment.number, frame.start, frame.seq);
        let damage = found.iter().find(|finding| finding.what == What::JournalFrame).expect("found");
        assert_eq!((damage.severity, &damage.place), (Severity::Loss, &place));
        flip(&folder.path(&segment.path), frame.start + 70);
        assert_eq!(scrub(&store), []);
    }
}

/// What the first step finds that finds something.
fn first_found(store: &Embedded) -> Vec<Finding> {
    let mut findings = Vec::new();
    while findings.is_empty() {
        store.scrub(None, 256, &mut |finding| findings.push(finding)).expect("a step");
    }
    findings
}

#[test]
fn the_scrub_names_files_of_the_index_that_are_not_what_was_written() {
    let made = folder::made();
    let tables = made.files(|kind| kind == Kind::Index);
    let tables: Vec<_> =
        tables.into_iter().filter(|file| file.to_string_lossy().contains("/tables/")).collect();
    assert!(!tables.is_empty(), "the index was closed with files");
    let folder = copy();
    let store = folder.open().expect("opens").store;
    for file in tables {
        let (path, len) = (folder.path(&file), made.len(&file));
        let named = |found: &[Finding], detail: &str| {
            assert_eq!(kinds(found), [(Severity::Rebuildable, What::Index)], "{file:?}: {found:?}");
            assert!(found[0].stands() && found[0].place.ends_with(&*file.to_string_lossy()), "{found:?}");
            assert!(
                found[0].detail.contains(detail) && found[0].detail.contains("truc rebuild"),
                "{found:?}"
            );
        };
        for at in [0, len / 2, len - 1] {
            flip(&path, at);
            named(&first_found(&store), "is not what was written");
            flip(&path, at);
            assert_eq!(scrub(&store), [], "what is good again is told no more");
        }
        let bytes = fs::read(&path).expect("read");
        fs::remove_file(&path).expect("remove");
        named(&first_found(&store), "can't be read");
        fs::write(&path, bytes).expect("write");
        assert_eq!(scrub(&store), []);
    }
}

#[test]
fn the_scrub_writes_wrong_records_of_arrays_again_and_goes_on_after_a_restart() {
    let folder = copy();
    let store = folder.open().expect("opens").store;
    for array in ["history/leaves", "history/nodes"] {
        flip(&folder.dir().join(array), 100);
    }
    let found = scrub(&store);
    let mut places: Vec<_> = found.iter().map(|finding| (finding.severity, finding.place.as_str())).collect();
    places.sort_unstable_by_key(|(_, place)| *place);
    let mended = [(Severity::Rebuildable, "history/leaves"), (Severity::Rebuildable, "history/nodes")];
    assert_eq!(places, mended);
    assert_eq!(scrub(&store), []);
    let step = || store.scrub(None, 256, &mut |finding| panic!("{finding:?}")).expect("a step");
    let first = std::iter::repeat_with(step).find(|step| step.frames > 0).expect("endless");
    assert!(!first.ended);
    drop(store);
    let store = folder.open().expect("opens").store;
    let second = store.scrub(None, 256, &mut |finding| panic!("{finding:?}")).expect("a step");
    assert!(second.frames > first.frames, "{first:?} {second:?}");
    drop(store);
    assert_eq!(folder.check().1, []);
}

#[test]
fn every_flipped_byte_of_the_projections_is_found_and_rebuilt_by_the_next_start() {
    let made = folder::made();
    for (number, file) in
        made.files(|kind| matches!(kind, Kind::Array | Kind::Index | Kind::Mark)).into_iter().enumerate()
    {
        let mut random = seeded(100 + number as u64);
        for _ in 0..6 {
            let at = random.next().expect("endless") % made.len(&file);
            let folder = copy();
            flip(&folder.path(&file), at);
            let (_, findings) = folder.check();
            assert!(!findings.is_empty(), "{file:?} {at}");
            for finding in &findings {
                assert_eq!(finding.severity, Severity::Rebuildable, "{file:?} {at}: {finding:?}");
            }
            let opened = folder.open().expect("opens");
            assert!(opened.rebuilt.is_some(), "{file:?} {at}");
            opened.store.close().expect("closes");
            assert_eq!(folder.check(), (made.counts, vec![]), "{file:?} {at}");
        }
    }
}

#[test]
fn cut_files_are_found() {
    let made = folder::made();
    for (number, file) in made.files(|kind| kind != Kind::Lock).into_iter().enumerate() {
        let len = made.len(&file);
        let mut random = seeded(200 + number as u64);
        let anywhere = random.next().expect("endless") % len;
        for to in [0, 1, anywhere, len / 2, len - 1] {
            let folder = copy();
            let open = fs::File::options().write(true).open(folder.path(&file)).expect("open");
            open.set_len(to).expect("cut");
            let (_, findings) = folder.check();
            let nothing = made.cuts_nothing(&file, to);
            assert_eq!(findings.is_empty(), nothing, "{file:?} to {to} of {len}: {findings:?}");
            let expected = match made.kind(&file) {
                Kind::Journal | Kind::Pack | Kind::Body => Severity::Loss,
                _ => Severity::Rebuildable,
            };
            assert!(
                nothing || findings.iter().any(|f| f.severity == expected),
                "{file:?} to {to}: {findings:?}"
            );
        }
    }
}

#[test]
fn longer_files_are_found() {
    let made = folder::made();
    for file in made.files(|kind| kind != Kind::Lock) {
        let folder = copy();
        let longer = [fs::read(folder.path(&file)).expect("read"), vec![1; 64]].concat();
        fs::write(folder.path(&file), longer).expect("write");
        let (_, findings) = folder.check();
        // What follows the last entry of a pack may be left of a crash: no record leads there.
        assert_eq!(findings.is_empty(), made.kind(&file) == Kind::Pack, "{file:?}: {findings:?}");
    }
}

#[test]
fn missing_files_are_found() {
    let made = folder::made();
    for file in made.files(|kind| kind != Kind::Lock) {
        let folder = copy();
        fs::remove_file(folder.path(&file)).expect("remove");
        let (_, findings) = folder.check();
        let kind = made.kind(&file);
        if kind == Kind::Journal && made.is_unused_segment(&file) {
            // Made ahead of use, all zeros: made again when it is needed.
            assert_eq!(findings, []);
            continue;
        }
        let expected = match kind {
            Kind::Journal | Kind::Pack | Kind::Body => Severity::Loss,
            _ => Severity::Rebuildable,
        };
        assert!(
            !findings.is_empty() && findings.iter().any(|f| f.severity == expected),
            "{file:?}: {findings:?}"
        );
    }
    for (dir, expected) in
        [("bodies", Severity::Loss), ("journal", Severity::Loss), ("history", Severity::Rebuildable)]
    {
        let folder = copy();
        fs::remove_dir_all(folder.dir().join(dir)).expect("remove");
        let (_, findings) = folder.check();
        assert!(
            !findings.is_empty() && findings.iter().all(|f| f.severity == expected),
            "{dir}: {findings:?}"
        );
    }
}

#[test]
fn the_index_remembers_what_a_shorter_journal_had() {
    let made = folder::made();
    let folder = copy();
    let last = made.segments().into_iter().rfind(|segment| !segment.frames.is_empty()).expect("one");
    fs::remove_file(folder.path(&last.path)).expect("remove");
    for later in made.segments().iter().filter(|segment| segment.number > last.number) {
        fs::remove_file(folder.path(&later.path)).expect("remove");
    }
    let (_, findings) = folder.check();
    let lost = findings.iter().find(|finding| finding.what == What::LostLeaves).expect("told");
    assert!(lost.detail.contains(made.documents.last().expect("some")), "{lost:?}");
    // Refused again and again: a restart does not make the loss good.
    for _ in 0..2 {
        let refused = folder.open().map(drop);
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "a shorter journal: {refused:?}");
    }
}

#[test]
fn a_damaged_frame_names_its_documents() {
    let made = folder::made();
    let mut named = 0;
    for segment in made.segments() {
        for frame in segment.frames.iter().filter(|frame| !frame.documents.is_empty()) {
            let folder = copy();
            // The first entry is the head: the records behind it can still be read.
            flip(&folder.path(&segment.path), frame.start + 64 + 12);
            let (_, findings) = folder.check();
            assert_eq!(findings[0].what, What::JournalFrame);
            let Err(StoreError::Damaged(refusal)) = reopened(&folder) else { panic!("it started") };
            for document in &frame.documents {
                assert!(findings[0].detail.contains(document), "{document}: {findings:?}");
                assert!(refusal.contains(document) && refusal.contains("truc fsck"), "{refusal}");
                named += 1;
            }
            let lost =
                findings.iter().find(|finding| finding.what == What::LostLeaves).expect("leaves are lost");
            assert!(lost.place.starts_with(&format!("leaves {} to", frame.leaves.start)), "{lost:?}");
            // Everything behind the damage still fits the signed heads.
            assert!(
                !findings.iter().any(|f| matches!(f.what, What::Tree | What::Checkpoint)),
                "{findings:?}"
            );
        }
    }
    assert_eq!(named, made.documents.len());
}

/// Opens without the index, so that the whole journal is read.
fn reopened(folder: &Folder) -> Result<(), StoreError> {
    fs::remove_dir_all(folder.dir().join("history")).expect("remove");
    folder.open().map(drop)
}

#[test]
fn another_log_key_is_found() {
    let folder = copy();
    let other = Signer::from_seed(origin(), &[9; 32]).expect("a signer");
    let mut findings = Vec::new();
    let result = check::check(
        &folder.options(),
        &folder.payload(),
        Some(&other.verifier()),
        &mut |_, _| {},
        &mut |finding| findings.push(finding),
    );
    result.expect("checked");
    assert!(!findings.is_empty() && findings.iter().all(|f| f.what == What::Checkpoint), "{findings:?}");
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = copy();
    let opened = folder.open().expect("opens");
    let error = check::check(&folder.options(), &folder.payload(), None, &mut |_, _| {}, &mut |_| {});
    assert!(error.expect_err("in use").to_string().contains("in use"));
    let error = Embedded::rebuild(&folder.options(), Arc::new(folder.payload()), &mut |_| {});
    assert!(error.err().expect("in use").to_string().contains("in use"));
    drop(opened);
    assert_eq!(folder.check().1, []);
}

#[test]
fn receipts_after_a_rebuild_are_the_same_bytes() {
    let made = folder::made();
    let spoil: [fn(&Path); 3] = [
        |history| fs::remove_dir_all(history).expect("remove"),
        |history| fs::remove_file(history.join("leaves")).expect("remove"),
        |history| fs::write(history.join("fjall/current"), b"nonsense").expect("write"),
    ];
    for spoil in spoil {
        let folder = copy();
        spoil(&folder.dir().join("history"));
        assert_eq!(folder.receipts(), made.receipts);
        assert_eq!(folder.check(), (made.counts, vec![]));
    }
    let folder = copy();
    let opened =
        Embedded::rebuild(&folder.options(), Arc::new(folder.payload()), &mut |_| {}).expect("rebuilt");
    assert_eq!(opened.store.head().size, made.counts.leaves);
    opened.store.close().expect("closes");
    assert_eq!(folder.receipts(), made.receipts);
    assert!(!folder.dir().join("history.damaged-1").exists(), "removed, not kept");
}

#[test]
fn a_rebuild_keeps_the_index_of_a_damaged_journal() {
    let folder = copy();
    let segments = folder::made().segments();
    let frame = segments[0].frames.iter().find(|frame| !frame.documents.is_empty()).expect("one");
    flip(&folder.path(&segments[0].path), frame.start + 70);
    let error = Embedded::rebuild(&folder.options(), Arc::new(folder.payload()), &mut |_| {});
    assert!(matches!(error.err().expect("refused"), StoreError::Damaged(_)));
    let (_, findings) = folder.check();
    let lost = findings.iter().find(|finding| finding.what == What::LostLeaves).expect("told");
    assert!(lost.detail.contains(&frame.documents[0]), "{lost:?}");
}

#[test]
fn an_index_without_its_journal_starts_no_new_log() {
    let folder = copy();
    fs::remove_dir_all(folder.dir().join("journal")).expect("remove");
    for _ in 0..2 {
        let Err(StoreError::Damaged(what)) = folder.open() else { panic!("it began an empty log") };
        assert!(what.contains("no journal"), "{what}");
        Embedded::rebuild(&folder.options(), Arc::new(folder.payload()), &mut |_| {}).err().expect("refused");
    }
}

#[tokio::test]
async fn tree_hashes_that_changed_are_made_again_before_anything_is_signed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let desk = Desk::start(dir.path());
    desk.register().await;
    desk.send_bare(1).await.expect("accepted");
    let size = desk.hub.size();
    let nodes = dir.path().join("history/nodes");
    let len = nodes.metadata().expect("metadata").len();
    (0..len).for_each(|at| flip(&nodes, at));
    desk.send_bare(2).await.expect("what is read of the tree is made again from the leaves");
    assert!(desk.hub.size() > size);
    desk.stop().await;
    assert!(!dir.path().join("history.damaged-1").exists());
    let (_, found) = folder::check(dir.path());
    assert!(found.iter().all(|finding| finding.place == "history/nodes"), "{found:?}");
}

#[test]
fn the_commands_answer_in_json_and_exit_codes() {
    let folder = copy();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("truc"));
        let data = folder.dir().to_owned();
        let output = command.args(args).arg("--data").arg(data).arg("--json").output().expect("runs");
        let answer: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        (output.status.code(), answer)
    };
    let key = folder::verifier().to_string();
    let (code, answer) = run(&["fsck", "--log-key", &key]);
    let answer = answer.expect("JSON");
    assert_eq!((code, &answer["ok"], &answer["signatures_checked"]), (Some(0), &true.into(), &true.into()));
    assert_eq!(answer["leaves"], folder.made.counts.leaves);
    assert_eq!(answer["findings"], serde_json::json!([]));

    let opened = folder.open().expect("opens");
    assert_eq!(run(&["fsck"]).0, Some(4));
    assert_eq!(run(&["rebuild"]).0, Some(4));
    drop(opened);

    fs::remove_file(folder.dir().join("history/nodes")).expect("remove");
    let (code, answer) = run(&["fsck"]);
    let answer = answer.expect("JSON");
    assert_eq!((code, &answer["ok"], &answer["signatures_checked"]), (Some(1), &false.into(), &false.into()));
    assert_eq!(answer["findings"][0]["severity"], "rebuildable");
    assert_eq!(answer["findings"][0]["what"], "array");
    assert_eq!(answer["findings"][0]["where"], "history/nodes");

    let (code, answer) = run(&["rebuild"]);
    let answer = answer.expect("JSON");
    assert_eq!((code, &answer["leaves"]), (Some(0), &folder.made.counts.leaves.into()));
    assert!(answer["commits"].as_u64() > Some(0) && answer["seconds"].is_number());
    assert_eq!(run(&["fsck"]).0, Some(0));
}

fn kinds(findings: &[Finding]) -> Vec<(Severity, What)> {
    findings.iter().map(|finding| (finding.severity, finding.what)).collect()
}

/// At most `count` of them, spread evenly.
fn thin(mut positions: Vec<u64>, count: usize) -> Vec<u64> {
    positions.sort_unstable();
    positions.dedup();
    let step = positions.len().div_ceil(count).max(1);
    positions.into_iter().step_by(step).collect()
}

//! What both engines promise to the store above them.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use super::*;
use crate::store::embedded::keys as names;

#[test]
fn two_damaged_folders_are_kept() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = temp.path().join("history");
    for number in 1..=4 {
        fs::create_dir(&dir).expect("mkdir");
        fs::write(dir.join("db"), format!("{number}")).expect("write");
        let aside = set_aside(&dir).expect("rename");
        assert_eq!(aside, temp.path().join(format!("history.damaged-{number}")));
    }
    let mut left: Vec<_> =
        fs::read_dir(temp.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["history.damaged-3", "history.damaged-4"]);
    set_aside(&dir).expect_err("there is none");
}

const ENGINES: [Engine; 2] = [Engine::Fjall, Engine::Sled];

fn applied(seq: u64) -> Applied {
    Applied { seq, position: FramePosition { segment: 1, offset: 64 * seq as u32 }, root: [7; 32] }
}

fn opened(engine: Engine, history: &Path) -> Result<Box<dyn Index>, Distrust> {
    fs::create_dir_all(history).expect("mkdir");
    engine.open(history, 1_000, Arc::new(|| Ok(())))
}

fn put(key: &str, value: &str) -> Put {
    (key.into(), Some(value.into()))
}

fn keys(found: Vec<Entry>) -> Vec<String> {
    found.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
}

#[test]
fn entries_and_what_was_applied_come_back() {
    for engine in ENGINES {
        let temp = tempfile::tempdir().expect("temp");
        let mut index = opened(engine, temp.path()).expect("open");
        assert_eq!(index.applied(), None);
        let mut published = 0;
        index
            .apply(applied(7), vec![put("a1", "x"), put("a2", "y"), put("b1", "z")], &mut || published += 1)
            .expect("apply");
        index.apply(applied(8), vec![("a1".into(), None)], &mut || published += 1).expect("apply");
        index.apply(applied(9), vec![], &mut || published += 1).expect("apply");
        assert_eq!(published, 3);
        for round in 0..3 {
            assert_eq!(index.get(b"a1").expect("read"), None, "{engine:?} {round}");
            assert_eq!(index.get(b"a2").expect("read").as_deref(), Some(&b"y"[..]), "{engine:?} {round}");
            let too_long = ["a", "1".repeat(100_000).as_str()].concat();
            assert_eq!(index.get(too_long.as_bytes()).expect("read"), None, "{engine:?} {round}");
            assert_eq!(keys(index.scan(too_long.as_bytes(), b"a", 9).expect("read")), ["a2"], "{engine:?}");
            assert_eq!(index.scan(b"a", too_long.as_bytes(), 9).expect("read"), [], "{engine:?}");
            assert_eq!(keys(index.scan(b"", b"", 9).expect("scan")), ["a2", "b1"], "{engine:?} {round}");
            index.close().expect("close");
            assert!(index.is_closed());
            drop(index);
            index = opened(engine, temp.path()).expect("open");
            assert_eq!(index.applied(), Some(applied(9)));
        }
    }
}

#[test]
fn scans_stay_within_prefix_start_and_limit() {
    for engine in ENGINES {
        let temp = tempfile::tempdir().expect("temp");
        let index = opened(engine, temp.path()).expect("open");
        let puts = ["a1", "a2", "a3", "b1"].map(|key| put(key, "")).to_vec();
        index.apply(applied(1), puts, &mut || ()).expect("apply");
        assert_eq!(keys(index.scan(b"", b"a", 9).expect("scan")), ["a1", "a2", "a3"]);
        assert_eq!(keys(index.scan(b"a2", b"a", 9).expect("scan")), ["a2", "a3"]);
        assert_eq!(keys(index.scan(b"a2\0", b"a", 1).expect("scan")), ["a3"]);
        assert_eq!(keys(index.scan(b"", b"", 9).expect("scan")), ["a1", "a2", "a3", "b1"]);
        assert!(index.scan(b"b", b"a", 9).expect("scan").is_empty());
    }
}

#[test]
fn a_watch_is_read_on_from_any_leaf() {
    let watched = names::feed_of("H53");
    for engine in ENGINES {
        let temp = tempfile::tempdir().expect("temp");
        let mut index = opened(engine, temp.path()).expect("open");
        for leaf in 1..=200_u64 {
            let agency = if leaf % 3 == 0 { "H53.1" } else { "H53" };
            // Enough to fill some tables, which are written behind the scenes.
            let filler = put(&format!("z{leaf}"), &"x".repeat(3_000));
            let puts = vec![(names::feed(agency, leaf), Some(Vec::new())), filler];
            index.apply(applied(leaf), puts, &mut || ()).expect("apply");
            if leaf % 70 == 0 {
                index.close().expect("close");
                drop(index);
                index = opened(engine, temp.path()).expect("open");
            }
            for from in (0..=leaf + 1).filter(|_| leaf % 7 == 0) {
                let found = index.scan(&names::feed("H53", from), &watched, 300).expect("scan");
                let found: Vec<_> = found.iter().filter_map(|(key, _)| names::feed_leaf(key)).collect();
                let expected: Vec<_> = (from.max(1)..=leaf).filter(|leaf| leaf % 3 != 0).collect();
                assert_eq!(found, expected, "{engine:?}: from {from} of {leaf}");
            }
        }
    }
}

#[test]
fn what_failed_is_not_asked_again_and_not_trusted() {
    for engine in ENGINES {
        let temp = tempfile::tempdir().expect("temp");
        let mut index = opened(engine, temp.path()).expect("open");
        assert!(index.is_fit());
        index.fail();
        assert!(!index.is_fit());
        index.get(b"a").expect_err("failed before");
        index.scan(b"", b"a", 9).expect_err("failed before");
        index.close().expect_err("failed before");
        drop(index);
        assert!(opened(engine, temp.path()).is_err());
    }
}

/// Fills an index over several files and returns what it holds.
fn well_filled(engine: Engine, history: &Path) -> Vec<Entry> {
    let mut index = opened(engine, history).expect("open");
    let mut held = BTreeMap::new();
    for batch in 0..60_u64 {
        let puts = (0..16).map(|i| put(&format!("key {}", (batch * 7919 + i) % 500), &"v".repeat(1500)));
        let puts: Vec<Put> = puts.collect();
        held.extend(puts.clone().into_iter().map(|(key, value)| (key, value.expect("a value"))));
        index.apply(applied(batch), puts, &mut || ()).expect("apply");
    }
    assert_eq!(index.scan(b"", b"", 10_000).expect("scan").len(), held.len());
    index.close().expect("close");
    held.into_iter().collect()
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").path());
    let mut found: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

#[derive(Clone, Debug)]
enum Harm {
    Truncate,
    Noise(u16),
    Zero(u16),
    Remove,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens to its files: the right answer or damage, never a panic and never a wrong answer.
    #[test]
    fn damaged_files_end_in_the_right_answer_or_in_damage(
        harm in prop_oneof![
            Just(Harm::Truncate), any::<u16>().prop_map(Harm::Noise), any::<u16>().prop_map(Harm::Zero),
            Just(Harm::Remove), (1..4_u16).prop_map(Harm::Noise),
        ],
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
    ) {
        let temp = tempfile::tempdir().expect("temp");
        let held = well_filled(Engine::Fjall, temp.path());
        let files = files_of(temp.path());
        let path = &files[which.index(files.len())];
        let mut bytes = fs::read(path).expect("read");
        let at = at.index(bytes.len() + 1);
        match harm {
            Harm::Truncate | Harm::Remove => bytes.truncate(at),
            Harm::Noise(len) => {
                let harmed = bytes.iter_mut().skip(at).take(len.into());
                harmed.enumerate().for_each(|(i, byte)| *byte ^= (i * 37 + 1) as u8);
            }
            Harm::Zero(len) => bytes.iter_mut().skip(at).take(len.into()).for_each(|b| *b = 0),
        }
        match harm {
            Harm::Remove => fs::remove_file(path).expect("remove"),
            _ => fs::write(path, bytes).expect("write"),
        }
        if let Ok(mut index) = opened(Engine::Fjall, temp.path()) {
            let single = held.iter().map(|(key, _)| index.get(key)).collect::<Result<Vec<_>, _>>();
            if let Ok(single) = single {
                let right = held.iter().map(|(_, value)| Some(value.clone())).collect::<Vec<_>>();
                prop_assert!(single == right, "{path:?} {at}");
            }
            let found = index.scan(b"", b"", 10_000);
            prop_assert!(found.is_err() || found.as_ref() == Ok(&held), "{path:?} {at}");
            let _ = index.apply(applied(1_000), vec![put("new", "value")], &mut || ());
            let _ = index.close();
        }
    }
}

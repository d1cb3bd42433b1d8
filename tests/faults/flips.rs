//! Damage between two starts: a flipped bit in every kind of file, and a history index that is missing, wrong or old.
//! Each is named, contained or made good by the next start; never answered with other bytes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    crash::{CrashRig, copy_folder},
    number,
    rig::Chance,
};

/// What a flip may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The hub refuses to start and says why, or it does not read so far back and what lies there is contained.
    Named(&'static str),
    /// It serves; at most the document with this body is lost, and says so.
    Contained,
}

const KINDS: [(&str, Outcome); 7] = [
    ("hub/journal", Outcome::Named("segment")),
    ("hub/bodies/packs", Outcome::Contained),
    ("hub/bodies/files", Outcome::Contained),
    // Arrays and index have checksums, and all that they say can be made again from the journal.
    ("hub/history", Outcome::Contained),
    ("certs/log.key", Outcome::Named("log")),
    ("certs/hub.key", Outcome::Named("hub.")),
    ("truc.toml", Outcome::Named("truc.toml")),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_named_contained_or_made_good() {
    let mut chance = Chance::new();
    let mut rig = filled().await;
    rig.hub.stop().await;
    let folder = rig.folder();
    for round in 0..KINDS.len() as u64 * number("TRUC_FLIPS", 1) {
        let (kind, outcome) = KINDS[usize::try_from(round).unwrap() % KINDS.len()];
        let whole = folder.join("whole");
        copy_folder(&folder.join("hub"), &whole);
        let (file, at, before) = flip(&folder.join(kind), &mut chance);
        let place = format!("{} at {at}", file.strip_prefix(&folder).unwrap().display());
        let started = rig.hub.try_start().await;
        let (refused, lost) = match &started {
            Ok(_) => (None, lost(&mut rig, kind).await),
            Err(refusal) => (Some(refusal.words.clone()), 0),
        };
        println!("{place}: {outcome:?}, refused {refused:?}, lost {lost}");
        rig.hub.kill().await;
        match (outcome, refused) {
            (Outcome::Named(word), Some(words)) => assert!(words.contains(word), "{place}: {words}"),
            // All leaves of a commit have its head in common.
            (Outcome::Named("segment"), None) => assert!(lost <= 64, "{place}: {lost} are lost"),
            (_, None) => assert!(lost <= 2, "{place}: {lost} are lost"),
            (_, Some(words)) => panic!("{place}: {words}"),
        }
        fs::write(&file, before).unwrap_or_default();
        fs::remove_dir_all(folder.join("hub")).unwrap();
        fs::rename(&whole, folder.join("hub")).unwrap();
    }
    rig.hub.start().await;
    assert_eq!(rig.outside.lost().await, 0);
}

/// What is lost. An index that can't be read stops the hub, and its next start makes it again.
async fn lost(rig: &mut CrashRig, kind: &str) -> usize {
    let outside = Arc::clone(&rig.outside);
    let asked = tokio::spawn(async move { outside.lost().await }).await;
    match asked {
        Ok(lost) => lost,
        Err(panic) if kind == "hub/history" => {
            assert!(!rig.hub.ended().await.success(), "{panic}");
            let ready = rig.hub.start().await;
            assert!(ready["rebuilt"].is_string(), "{ready}: {panic}");
            rig.outside.lost().await
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_wrong_or_old_index_is_made_good() {
    let mut chance = Chance::new();
    let mut rig = filled().await;
    rig.hub.stop().await;
    let (history, old) = (rig.folder().join("hub/history"), rig.folder().join("old"));
    copy_folder(&history, &old);
    for (round, way) in
        ["deleted", "old after a stop", "old after a kill", "noise", "cut"].into_iter().enumerate()
    {
        rig.hub.start().await;
        let load = rig.outside.load().await;
        rig.outside.deeds_reach(rig.outside.deeds() + 40).await;
        if round % 2 == 0 {
            rig.hub.kill().await;
            load.end().await;
            rig.hub.start().await;
        } else {
            load.end().await;
        }
        if way == "old after a kill" {
            rig.hub.kill().await
        } else {
            rig.hub.stop().await
        };
        match way {
            "noise" => each_file(&history, &mut |file| fs::write(file, chance.bytes(5_000)).unwrap()),
            "cut" => each_file(&history, &mut |file| {
                let len = fs::metadata(file).unwrap().len();
                fs::File::options().write(true).open(file).unwrap().set_len(len / 2).unwrap();
            }),
            _ => fs::remove_dir_all(&history).unwrap(),
        }
        if way.starts_with("old") {
            copy_folder(&old, &history);
        }
        let ready = rig.hub.start().await;
        let lost = rig.outside.lost().await;
        println!("index {way}: rebuilt {}, lost {lost}", ready["rebuilt"]);
        assert_eq!(lost, 0, "{way}");
        rig.hub.stop().await;
    }
}

/// A hub that has something of everything.
async fn filled() -> CrashRig {
    let rig = CrashRig::start(None).await;
    let load = rig.outside.load().await;
    rig.outside.deeds_reach(120).await;
    while rig.outside.ledger().uploads == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    load.end().await;
    rig
}

/// Flips a bit that is not in a row of zeros, in a file below; tells where, and what the file held.
fn flip(below: &Path, chance: &mut Chance) -> (PathBuf, usize, Vec<u8>) {
    let mut files = Vec::new();
    each_file(below, &mut |file| files.push(file.to_owned()));
    files.retain(|file| fs::read(file).unwrap().iter().any(|byte| *byte != 0));
    files.sort();
    let file = files.swap_remove(usize::try_from(chance.below(files.len() as u64)).unwrap());
    let before = fs::read(&file).unwrap();
    let mut full: Vec<usize> = (0..before.len()).filter(|at| before[*at] != 0).collect();
    if file.extension().is_some_and(|name| name == "toml") {
        // Another value may be as good: another port, another folder. Another name never is.
        full.retain(|at| {
            before[..*at].rsplit(|byte| *byte == b'\n').next().is_some_and(|line| !line.contains(&b'='))
        });
    }
    let at = full[usize::try_from(chance.below(full.len() as u64)).unwrap()];
    let mut bytes = before.clone();
    bytes[at] ^= 1 << chance.below(8);
    fs::write(&file, bytes).unwrap();
    (file, at, before)
}

fn each_file(path: &Path, act: &mut dyn FnMut(&Path)) {
    if path.is_file() {
        return act(path);
    }
    for entry in fs::read_dir(path).unwrap() {
        each_file(&entry.unwrap().path(), act);
    }
}

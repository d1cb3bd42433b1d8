//! The store over a folder, for both engines: contract, clean and unclean stops, damage.

use std::fs;

use super::{apply::Place, *};
use crate::{
    store::{
        Store,
        contract::{self, samples},
        payload::PayloadOptions,
    },
    tlog::merkle::Edge,
};

const ENGINES: [Engine; 2] = [Engine::Fjall, Engine::Sled];

struct Bench(tempfile::TempDir, Engine);

impl Bench {
    fn new(engine: Engine) -> Self {
        Self(tempfile::tempdir().unwrap(), engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn opened(&self) -> Result<Opened, StoreError> {
        let payload = Payload::open(&self.0.path().join("bodies"), PayloadOptions::default()).unwrap();
        let options =
            EmbeddedOptions { segment_bytes: 1 << 16, engine: self.1, ..EmbeddedOptions::new(self.0.path()) };
        Embedded::open(&options, Arc::new(payload), &mut |_| {})
    }

    fn filled(&self, documents: u64) -> Edge {
        let store = self.opened().unwrap().store;
        let mut edge = Edge::empty();
        for document in 0..documents {
            let mut commit = samples::accept(document * 3);
            edge = samples::grow(edge, &mut commit);
            store.commit(&commit).unwrap();
        }
        edge
    }
}

impl contract::Bench for Bench {
    fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(self.opened().unwrap().store)
    }
}

#[test]
fn keeps_the_contract() {
    for engine in ENGINES {
        contract::run(&mut Bench::new(engine));
    }
}

#[test]
fn a_clean_start_replays_nothing() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        bench.filled(20);
        let opened = bench.opened().unwrap();
        assert_eq!((opened.replayed, opened.rebuilt), (0, None));
    }
}

/// Bytes of a leaf's place on the disk.
const PLACE_STEP: usize = FixedArray::<{ apply::PLACE }>::STEP;

/// How a folder is spoiled, and whether what was there is kept aside.
type Spoil = (&'static str, fn(&Bench), bool);

const SPOIL_ANY: [Spoil; 5] = [
    ("deleted", |bench| fs::remove_dir_all(bench.path("history")).unwrap(), false),
    ("without index", |bench| fs::remove_dir_all(bench.1.dir(&bench.path("history"))).unwrap(), false),
    ("tree hashes empty", |bench| fs::write(bench.path("history/nodes"), []).unwrap(), true),
    ("without tree hashes", |bench| fs::remove_file(bench.path("history/nodes")).unwrap(), true),
    ("without leaf places", |bench| fs::remove_file(bench.path("history/leaves")).unwrap(), true),
];

const SPOIL_SLED: [Spoil; 3] = [
    ("not closed", |bench| fs::remove_file(bench.path("history/sled/clean")).unwrap(), false),
    ("overwritten", |bench| overwrite(&bench.path("history/sled/db")), true),
    ("made by the other engine", |bench| other_engine(bench, "fjall"), false),
];

const SPOIL_FJALL: [Spoil; 5] = [
    ("without mark", |bench| fs::remove_file(bench.path("history/mark")).unwrap(), true),
    ("damaged mark", |bench| overwrite(&bench.path("history/mark")), true),
    ("without list of files", |bench| fs::remove_file(bench.path("history/fjall/current")).unwrap(), true),
    ("overwritten", |bench| tables(bench).iter().for_each(|table| overwrite(table)), true),
    ("made by the other engine", |bench| other_engine(bench, "sled"), false),
];

fn overwrite(path: &Path) {
    let len = usize::try_from(fs::metadata(path).unwrap().len()).unwrap();
    fs::write(path, vec![0xA5; len]).unwrap();
}

fn other_engine(bench: &Bench, name: &str) {
    fs::rename(bench.1.dir(&bench.path("history")), bench.path("history").join(name)).unwrap();
}

fn tables(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.path("history/fjall/tables")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_deleted_or_damaged_index_is_made_again() {
    let sled = SPOIL_ANY.iter().chain(&SPOIL_SLED).map(|spoil| (Engine::Sled, spoil));
    let fjall = SPOIL_ANY.iter().chain(&SPOIL_FJALL).map(|spoil| (Engine::Fjall, spoil));
    for (engine, (how, spoil, kept_aside)) in sled.chain(fjall) {
        let (bench, how) = (Bench::new(engine), format!("{} {how}", engine.name()));
        let edge = bench.filled(20);
        spoil(&bench);
        let opened = bench.opened().unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(opened.replayed, 20, "{how}");
        whole(&opened.store, &edge, &how);
        assert_eq!(bench.path("history.damaged-1").exists(), *kept_aside, "{how}");
        let mut next = samples::accept(60);
        samples::grow(edge, &mut next);
        opened.store.commit(&next).unwrap();
        assert!(opened.store.leaf(62).unwrap().is_some(), "{how}");
    }
}

/// Holds what `filled` made.
fn whole(store: &Embedded, edge: &Edge, how: &str) {
    let documents = edge.size() / 3;
    assert_eq!(store.head().root[..], edge.root()[..], "{how}");
    assert_eq!(store.waiting(None, usize::MAX).unwrap().len() as u64, 2 * documents, "{how}");
    for index in (0..edge.size()).step_by(3) {
        assert_eq!(store.documents_with_id(&format!("doc-{index}"), 9).unwrap(), [index], "{how}");
        assert_eq!(store.timeline(index, 0, 9).unwrap(), [index, index + 1, index + 2], "{how}");
        assert_eq!(store.document(index).unwrap(), Some(samples::document(index).0), "{how}");
    }
    let agency = crate::domain::id::AgencyId::parse("H53.1").unwrap();
    assert_eq!(store.feed(&agency, 0, usize::MAX).unwrap(), (0..edge.size()).collect::<Vec<_>>(), "{how}");
}

/// A folder with some hundred documents whose hub was killed, and what was in it when `early` of them were there.
fn killed(engine: Engine, early: u64, documents: u64) -> (Bench, Bench, Edge) {
    let (bench, older) = (Bench::new(engine), Bench::new(engine));
    let mut edge = Edge::empty();
    for (from, to) in [(0, early), (early, documents)] {
        copy(&bench.path(""), &older.path(""));
        let store = bench.opened().unwrap().store;
        for document in from..to {
            let mut commit = samples::accept(document * 3);
            edge = samples::grow(edge, &mut commit);
            store.commit(&commit).unwrap();
        }
        match to == documents {
            true => store.kill(),
            false => store.close().unwrap(),
        }
    }
    (bench, older, edge)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn put_back(older: &Bench, bench: &Bench, name: &str) {
    fs::remove_dir_all(bench.path(name)).unwrap();
    copy(&older.path(name), &bench.path(name));
}

#[test]
fn after_a_kill_only_the_end_of_the_journal_is_read() {
    let (bench, _, edge) = killed(Engine::Fjall, 300, 700);
    let opened = bench.opened().unwrap();
    assert_eq!(opened.rebuilt, None);
    assert!((1..400).contains(&opened.replayed), "{}", opened.replayed);
    whole(&opened.store, &edge, "killed");
    let again = opened.replayed;
    opened.store.kill();
    let opened = bench.opened().unwrap();
    assert!(opened.replayed <= again, "a start that was killed leaves a good start");
    whole(&opened.store, &edge, "killed twice");
    opened.store.close().unwrap();
    assert_eq!(bench.opened().unwrap().replayed, 0);
}

#[test]
fn after_a_kill_sled_is_made_again() {
    let (bench, _, edge) = killed(Engine::Sled, 30, 70);
    let opened = bench.opened().unwrap();
    assert_eq!((opened.replayed, opened.rebuilt.is_some()), (70, true));
    whole(&opened.store, &edge, "killed");
}

#[test]
fn an_older_copy_of_the_tree_is_seen_and_an_older_folder_is_caught_up_with() {
    let (bench, older, edge) = killed(Engine::Fjall, 100, 700);
    put_back(&older, &bench, "history/fjall");
    let opened = bench.opened().unwrap();
    assert!(opened.rebuilt.is_some_and(|why| why.contains("older than its mark")));
    assert_eq!(opened.replayed, 700);
    whole(&opened.store, &edge, "older tree");
    drop(opened.store);
    put_back(&older, &bench, "history");
    let opened = bench.opened().unwrap();
    assert_eq!((opened.replayed, opened.rebuilt), (600, None));
    whole(&opened.store, &edge, "older folder");
}

#[test]
fn an_older_mark_is_good_and_older_arrays_are_seen() {
    let (bench, older, edge) = killed(Engine::Fjall, 100, 700);
    fs::copy(older.path("history/mark"), bench.path("history/mark")).unwrap();
    let opened = bench.opened().unwrap();
    assert_eq!(opened.rebuilt, None, "killed between the tree's files and the mark");
    whole(&opened.store, &edge, "older mark");
    drop(opened.store);
    for name in ["history/leaves", "history/nodes"] {
        fs::copy(older.path(name), bench.path(name)).unwrap();
        let opened = bench.opened().unwrap();
        assert!(opened.rebuilt.is_some_and(|why| why.contains("are missing")), "{name}");
        whole(&opened.store, &edge, name);
    }
}

#[test]
fn an_index_of_another_log_is_seen() {
    let bench = Bench::new(Engine::Fjall);
    let edge = bench.filled(20);
    let other = Bench::new(Engine::Fjall);
    let store = other.opened().unwrap().store;
    let mut grown = Edge::empty();
    for document in 0..20 {
        let mut commit = samples::accept(document * 3);
        commit.leaves[1].evidence = bytes::Bytes::from(format!("CONSIGNMENT {} a", document * 3));
        grown = samples::grow(grown, &mut commit);
        store.commit(&commit).unwrap();
    }
    store.close().unwrap();
    put_back(&other, &bench, "history");
    let opened = bench.opened().unwrap();
    assert!(opened.rebuilt.is_some_and(|why| why.contains("another log")));
    whole(&opened.store, &edge, "another log");
}

#[test]
fn a_journal_that_lost_its_end_is_not_taken_for_a_short_one() {
    let (bench, older, _) = killed(Engine::Fjall, 100, 700);
    put_back(&older, &bench, "journal");
    assert!(matches!(bench.opened(), Err(StoreError::Damaged(_))));
    assert!(!bench.path("history.damaged-1").exists(), "the witness stays");
    assert!(matches!(bench.opened(), Err(StoreError::Damaged(_))));
}

#[test]
fn longer_arrays_are_cut_to_what_the_index_has() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let edge = bench.filled(3);
        for (name, len) in [("leaves", PLACE_STEP), ("nodes", FixedArray::<32>::STEP)] {
            let path = bench.0.path().join("history").join(name);
            let longer = [fs::read(&path).unwrap(), vec![7; 5 * len]].concat();
            fs::write(path, longer).unwrap();
        }
        let opened = bench.opened().unwrap();
        assert_eq!((opened.replayed, opened.rebuilt), (0, None));
        assert_eq!(opened.store.shared.leaves.len(), 9);
        assert_eq!(opened.store.shared.nodes.len(), merkle::stored_count(edge.size()));
    }
}

#[test]
fn a_failed_index_stops_the_store_and_the_next_start_rebuilds() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let store = bench.opened().unwrap().store;
        let mut first = samples::accept(0);
        let edge = samples::grow(Edge::empty(), &mut first);
        store.commit(&first).unwrap();
        store.health().unwrap();
        store.fail_index();
        let document = crate::domain::id::Digest::of(b"unknown");
        let read = store.body(&document).unwrap_err();
        assert!(matches!(read, StoreError::Io { .. }), "not damage: it is in the journal");
        store.health().unwrap_err();
        let mut second = samples::accept(3);
        samples::grow(edge.clone(), &mut second);
        for _ in 0..2 {
            let refused = store.commit(&second).unwrap_err();
            assert!(matches!(refused, CommitError::Unknown(_)));
        }
        drop(store);
        let opened = bench.opened().unwrap();
        assert!(opened.rebuilt.is_some());
        assert_eq!(opened.store.head().size, 3, "nothing was written after the failure");
        opened.store.commit(&second).unwrap();
    }
}

#[test]
fn a_reader_that_meets_damage_stops_the_store() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let store = bench.opened().unwrap().store;
        store.health().unwrap();
        store.fail_index();
        store.health().unwrap_err();
        store.close().unwrap_err();
        assert!(bench.opened().unwrap().rebuilt.is_some());
    }
}

#[test]
fn what_replay_would_refuse_is_not_written_and_nothing_follows() {
    let bench = Bench::new(Engine::Fjall);
    bench.filled(1);
    let store = bench.opened().unwrap().store;
    let mut good = samples::accept(3);
    let mut first = samples::accept(0);
    let edge = samples::grow(Edge::empty(), &mut first);
    samples::grow(edge, &mut good);
    let mut wrong = good.clone();
    wrong.nodes.pop();
    assert!(matches!(store.commit(&wrong), Err(CommitError::Unknown(_))));
    assert!(matches!(store.commit(&good), Err(CommitError::Unknown(_))), "the store has stopped");
    store.health().unwrap_err();
    drop(store);
    let store = bench.opened().unwrap().store;
    assert_eq!(store.head().size, 3);
    store.commit(&good).unwrap();
}

#[test]
fn a_wrong_place_is_mended_when_it_is_read() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let edge = bench.filled(400);
        let path = bench.0.path().join("history/leaves");
        let mut places = fs::read(&path).unwrap();
        // Leaves 0 and 3 are the acceptances of two documents, in frames of one shape.
        places.copy_within(3 * PLACE_STEP..4 * PLACE_STEP, 0);
        // All of one commit, and single bits of others: the frame, where in it, the record beside it.
        places[300 * PLACE_STEP..303 * PLACE_STEP].fill(0xA5);
        for (leaf, byte) in [(600, 3), (603, 7), (606, 11), (609, 15), (612, 17), (615, 23), (900, 0)] {
            places[leaf * PLACE_STEP + byte] ^= 0x40;
        }
        fs::write(&path, places).unwrap();
        let store = bench.opened().unwrap().store;
        for leaf in 0..edge.size() {
            let text = if leaf % 3 == 0 { format!("acceptance {leaf}") } else { String::new() };
            let stored = store.leaf(leaf).unwrap().unwrap();
            assert!(text.is_empty() || stored.evidence == text.as_bytes(), "{leaf}");
        }
        whole(&store, &edge, engine.name());
    }
}

#[test]
fn a_wrong_tree_hash_is_mended_when_it_is_read() {
    let bench = Bench::new(Engine::Fjall);
    let edge = bench.filled(400);
    let path = bench.0.path().join("history/nodes");
    let mut hashes = fs::read(&path).unwrap();
    let right = hashes.clone();
    // Three of a leaf and of what is above it, and all between the hundredth and the two hundredth.
    for at in [0, 2, 6] {
        hashes[at * FixedArray::<32>::STEP + 5] ^= 1;
    }
    hashes[100 * FixedArray::<32>::STEP..200 * FixedArray::<32>::STEP].fill(0xA5);
    fs::write(&path, hashes).unwrap();
    let store = bench.opened().unwrap().store;
    assert_eq!(store.evidence(0..3).unwrap().len(), 3);
    whole(&store, &edge, "mended");
    for at in 0..merkle::stored_count(edge.size()) {
        store.node(at).unwrap();
    }
    drop(store);
    assert!(fs::read(&path).unwrap() == right, "the same as before");
}

#[test]
fn a_leaf_that_is_damaged_in_the_journal_stays_so() {
    let bench = Bench::new(Engine::Fjall);
    bench.filled(40);
    let place = Place::decode(fs::read(bench.path("history/leaves")).unwrap()[..].first_chunk().unwrap());
    let (segment, at) = (bench.path("journal/00000001.seg"), place.frame.1 + 64 + place.leaf.0 + 12);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let store = bench.opened().unwrap().store;
    assert!(matches!(store.leaf(0), Err(StoreError::Damaged(_))));
    assert!(store.leaf(1).unwrap().is_some());
}

#[test]
fn who_finds_a_document_finds_its_leaf() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        let store = bench.opened().unwrap().store;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in (0..600).step_by(3) {
                    let id = format!("doc-{index}");
                    while store.documents_with_id(&id, 1).unwrap().is_empty() {}
                    assert!(store.leaf(index).unwrap().is_some(), "{id}");
                }
            });
            let mut edge = Edge::empty();
            for index in (0..600).step_by(3) {
                let mut commit = samples::accept(index);
                edge = samples::grow(edge, &mut commit);
                store.commit(&commit).unwrap();
            }
        });
    }
}

#[test]
fn no_lag_at_all_is_a_lag_of_one() {
    let bench = Bench::new(Engine::Fjall);
    let payload = Payload::open(&bench.0.path().join("bodies"), PayloadOptions::default()).unwrap();
    let options = EmbeddedOptions { max_index_lag: 0, ..EmbeddedOptions::new(bench.0.path()) };
    let store = Embedded::open(&options, Arc::new(payload), &mut |_| {}).unwrap().store;
    let mut edge = Edge::empty();
    for index in [0, 3, 6] {
        let mut commit = samples::accept(index);
        edge = samples::grow(edge, &mut commit);
        store.commit(&commit).unwrap();
    }
    assert_eq!(store.head().size, 9);
}

#[test]
fn a_flipped_byte_in_the_journal_refuses_the_start() {
    let bench = Bench::new(Engine::Fjall);
    bench.filled(20);
    let segment = bench.0.path().join("journal/00000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(bench.0.path().join("history")).unwrap();
    let Err(StoreError::Damaged(what)) = bench.opened() else { panic!("damage was not seen") };
    assert!(what.contains("segment 1"), "{what}");
}

#[test]
fn a_second_process_is_kept_out() {
    let bench = Bench::new(Engine::Fjall);
    let _first = bench.opened().unwrap();
    assert!(matches!(bench.opened(), Err(StoreError::Io { .. })));
}

#[test]
fn readers_see_all_of_a_long_scan() {
    for engine in ENGINES {
        let bench = Bench::new(engine);
        bench.filled(700);
        let store = bench.opened().unwrap().store;
        assert_eq!(store.waiting(None, usize::MAX).unwrap().len(), 1_400);
        let agency = crate::domain::id::AgencyId::parse("H53.1").unwrap();
        assert_eq!(store.feed(&agency, 0, usize::MAX).unwrap(), (0..2_100).collect::<Vec<_>>());
    }
}

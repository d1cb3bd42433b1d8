//! The index against a filter that looks at every leaf.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::search::{Clause, term};

/// A leaf as the filter sees it.
#[derive(Clone, Debug)]
struct Plain {
    time: i64,
    sender: u8,
    words: BTreeSet<String>,
}

fn leaves() -> impl Strategy<Value = Vec<Plain>> {
    let plain = (0..1_000_i64, 0..5_u8, proptest::collection::btree_set("[ab]{1,3}", 0..4));
    let plain = plain.prop_map(|(time, sender, words)| Plain { time, sender, words });
    proptest::collection::vec(plain, 0..700)
}

fn hash(leaf: u64) -> [u8; 32] {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&leaf.to_be_bytes());
    hash
}

fn fill(index: &SearchIndex, leaves: &[Plain]) {
    for (at, leaf) in (0..).zip(leaves).skip(usize::try_from(index.covers()).unwrap()) {
        let mut terms = vec![term(b's', &leaf.sender.to_string())];
        terms.extend(leaf.words.iter().map(|word| term(b'w', word)));
        index.add(Leaf { time_us: leaf.time, terms }, hash(at)).unwrap();
    }
}

/// What is asked: senders, a word, the beginning of a word, times.
#[derive(Clone, Debug)]
struct Question {
    senders: Option<BTreeSet<u8>>,
    word: Option<String>,
    prefix: Option<String>,
    not: Option<String>,
    times: Option<(i64, i64)>,
    many: bool,
}

fn question() -> impl Strategy<Value = Question> {
    let senders = proptest::option::of(proptest::collection::btree_set(0..6_u8, 0..4));
    let word = || proptest::option::of("[ab]{1,3}");
    let times = proptest::option::of((0..1_000_i64, 0..1_000_i64));
    let all = (senders, word(), word(), word(), times, any::<bool>());
    all.prop_map(|(senders, word, prefix, not, times, many)| Question {
        senders,
        word,
        prefix,
        not,
        times,
        many,
    })
}

impl Question {
    fn query(&self) -> Query {
        let mut clauses = Vec::new();
        clauses.extend(self.word.as_ref().map(|word| Clause::Any(vec![term(b'w', word)])));
        clauses.extend(self.senders.as_ref().map(|senders| {
            let mut values: BTreeSet<String> = senders.iter().map(ToString::to_string).collect();
            if self.many {
                values.extend((0..300).map(|n| format!("other-{n}")));
            }
            Clause::In(b's', Arc::new(values))
        }));
        clauses.extend(self.prefix.as_ref().map(|prefix| Clause::Prefix(term(b'w', prefix))));
        clauses.extend(self.not.as_ref().map(|word| Clause::Not(term(b'w', word))));
        Query { clauses, times: self.times.map(|(from, to)| from..=to) }
    }

    fn is_answered_by(&self, leaf: &Plain) -> bool {
        self.senders.as_ref().is_none_or(|senders| senders.contains(&leaf.sender))
            && self.word.as_ref().is_none_or(|word| leaf.words.contains(word))
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| leaf.words.iter().any(|word| word.starts_with(prefix)))
            && self.not.as_ref().is_none_or(|word| !leaf.words.contains(word))
            && self.times.is_none_or(|(from, to)| (from..=to).contains(&leaf.time))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn it_finds_what_a_filter_finds(
        leaves in leaves(),
        questions in proptest::collection::vec(question(), 8),
        range in (0..750_u64, 0..750_u64),
        limit in 1..40_usize,
    ) {
        let temp = tempfile::tempdir().unwrap();
        let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
        fill(&index, &leaves);
        prop_assert_eq!(index.covers(), leaves.len() as u64);
        for question in questions {
            let all = (0..).zip(&leaves).filter(|(at, leaf)| {
                (range.0..range.1).contains(at) && question.is_answered_by(leaf)
            });
            let mut expected: Vec<u64> = all.map(|(at, _)| at).collect();
            let query = question.query();
            prop_assert_eq!(index.count(&query, range.0..range.1).unwrap(), expected.len() as u64);
            let first = &expected[..expected.len().min(limit)];
            prop_assert_eq!(index.find(&query, range.0..range.1, Order::Oldest, limit).unwrap(), first);
            expected.reverse();
            let last = &expected[..expected.len().min(limit)];
            prop_assert_eq!(index.find(&query, range.0..range.1, Order::Newest, limit).unwrap(), last);
        }
    }
}

fn plain(count: u64) -> Vec<Plain> {
    let one = |at: u64| Plain { time: at.cast_signed(), sender: (at % 5) as u8, words: BTreeSet::new() };
    (0..count).map(one).collect()
}

/// What is in files after some time; the threads of the engine write behind.
fn reopened(temp: &tempfile::TempDir, at_least: u64) -> SearchIndex {
    for _ in 0..500 {
        let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
        if index.covers() >= at_least {
            return index;
        }
        drop(index);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("full blocks do not reach the disk");
}

/// True if a text stands in any file below a folder.
fn holds(folder: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        // The engine renames its files while we look.
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

const SECRET: &str = "quite-a-secret";

/// Leaves of which every tenth has a word that must go, and an index with it on the disk.
fn with_secrets(temp: &tempfile::TempDir) -> (Vec<Plain>, Vec<Plain>, SearchIndex) {
    let clean = plain(8 * BLOCK as u64 + 10);
    let mut secret = clean.clone();
    secret.iter_mut().step_by(10).for_each(|leaf| _ = leaf.words.insert(SECRET.into()));
    let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    fill(&index, &secret);
    for _ in 0..500 {
        if holds(temp.path(), SECRET) {
            return (secret, clean, index);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the words do not reach the disk");
}

fn secrets(index: &SearchIndex) -> u64 {
    let query = Query { clauses: vec![Clause::Any(vec![term(b'w', SECRET)])], times: None };
    index.count(&query, 0..u64::MAX).unwrap()
}

#[test]
fn words_go_from_the_disk_while_questions_are_answered() {
    let temp = tempfile::tempdir().unwrap();
    let (secret, clean, mut old) = with_secrets(&temp);
    // Two times: each folder takes its turn.
    for _ in 0..2 {
        old.make_again().unwrap();
        let new = old.beside().unwrap();
        fill(&new, &clean);
        assert_eq!(old.covers(), secret.len() as u64, "the old one answers still");
        assert!(old.waits() && new.waits());
        old.retire().unwrap();
        new.made_again().unwrap();
        assert!(!new.waits() && !holds(temp.path(), SECRET));
        assert_eq!((secrets(&new), new.covers()), (0, clean.len() as u64));
        old = new;
    }
    drop(old);
    let reopened = reopened(&temp, BLOCK as u64);
    fill(&reopened, &clean);
    assert_eq!(secrets(&reopened), 0);
}

#[test]
fn a_file_that_is_not_what_was_written_is_told() {
    let temp = tempfile::tempdir().unwrap();
    drop(with_secrets(&temp));
    // Nothing is written or merged after an opening.
    let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    let read = |index: &SearchIndex| {
        let (mut pass, mut found) = (index.pass().unwrap(), Vec::new());
        while !pass.is_over() {
            index.read_on(&mut pass, 100, &mut |finding| found.push(finding)).unwrap();
        }
        found
    };
    assert_eq!(read(&index), []);
    let mut pass = index.pass().unwrap();
    let tables = temp.path().join("search/fjall/tables");
    let file = std::fs::read_dir(tables).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let found = read(&index);
    assert!(found.len() == 1 && found[0].place == file.display().to_string(), "{found:?}");
    assert!(!found[0].stands(), "it is made again");
    // Of files of an index that is gone nothing is told.
    let new = index.beside().unwrap();
    index.retire().unwrap();
    while !pass.is_over() {
        new.read_on(&mut pass, u64::MAX, &mut |finding| panic!("{finding:?}")).unwrap();
    }
}

#[test]
fn a_new_index_that_was_not_finished_leaves_no_words_behind() {
    let temp = tempfile::tempdir().unwrap();
    let (_, clean, old) = with_secrets(&temp);
    old.make_again().unwrap();
    let new = old.beside().unwrap();
    fill(&new, &clean);
    // As after a kill: both folders stand there, and the note.
    drop((old, new));
    assert!(holds(temp.path(), SECRET));
    let again = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    assert_eq!((again.covers(), again.waits()), (0, false));
    assert!(!holds(temp.path(), SECRET));
}

#[test]
fn full_blocks_are_kept_and_the_rest_is_read_again() {
    let temp = tempfile::tempdir().unwrap();
    let leaves = plain(3 * BLOCK as u64 + 10);
    let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    fill(&index, &leaves);
    // The threads that write files end when it is dropped: they get their time first.
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(index);
    let index = reopened(&temp, 0);
    assert_eq!(index.covers() % BLOCK as u64, 0, "the newest block was in memory only");
    fill(&index, &leaves);
    let query = Query { clauses: vec![Clause::Any(vec![term(b's', "3")])], times: Some(100..=999) };
    let expected: Vec<u64> = (100..leaves.len() as u64).filter(|at| at % 5 == 3).collect();
    assert_eq!(index.find(&query, 0..u64::MAX, Order::Oldest, 1_000).unwrap(), expected);
}

#[test]
fn an_index_of_another_log_or_a_damaged_one_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let leaves = plain(2 * BLOCK as u64);
    let index = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    fill(&index, &leaves);
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(index);
    let other = SearchIndex::open(temp.path(), |_| Ok(Some([9; 32]))).unwrap();
    assert_eq!(other.covers(), 0, "another log");
    fill(&other, &leaves);
    drop(other);
    std::fs::write(temp.path().join("search/mark"), b"damaged").unwrap();
    let again = SearchIndex::open(temp.path(), |leaf| Ok(Some(hash(leaf)))).unwrap();
    assert_eq!(again.covers(), 0);
    fill(&again, &leaves);
    assert_eq!(again.covers(), leaves.len() as u64);
}

//! The index and the arrays against what replay gives.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;

use super::{
    Report, What,
    commits::{End, Known},
    salvage::Names,
};
use crate::{
    store::{
        Commit, StoreError,
        embedded::{
            apply::{self, PLACE},
            array::FixedArray,
            frame,
            index::{self, Applied, Damage, Engine, Index},
            journal::{self, Kind},
            keys,
            open::Nodes,
        },
        records::BodyRecord,
    },
    tlog::{
        Hash,
        merkle::{self, Edge},
    },
};

/// Expected entries in memory at a time.
const MAX_EXPECTED: u64 = if cfg!(test) { 50 } else { 1_000_000 };
/// Entries read from the index at a time.
const PAGE: usize = 512;
/// Keys that are named one by one; further ones are counted.
const MAX_NAMED: u64 = 20;

/// The index, open, and the arrays.
pub struct Projections {
    dir: PathBuf,
    index: Box<dyn Index>,
    applied: Option<Applied>,
    places: Array<PLACE>,
    nodes: Array<32>,
    /// Leaves after the frame that the index ends with.
    size: u64,
    /// Found to be wrong: it must be made again.
    wrong: bool,
}

struct Array<const N: usize> {
    name: &'static str,
    records: FixedArray<N>,
    differing: u64,
    first: Option<u64>,
}

impl Projections {
    /// `None` if they can't be trusted: that is reported.
    pub fn open(dir: &Path, report: &mut Report<'_>) -> Option<Self> {
        let mut wrong = |what, place: &str, why: String| {
            report.rebuildable(what, place, format!("{why}: the next start makes the index again"));
        };
        let Some(engine) = Engine::of(dir) else {
            wrong(What::Index, "history", "there is no index".into());
            return None;
        };
        let places = Array::open(dir, "leaves").map_err(|why| wrong(What::Array, "history/leaves", why));
        let nodes = Array::open(dir, "nodes").map_err(|why| wrong(What::Array, "history/nodes", why));
        let opened = engine.open(dir, usize::MAX, Arc::new(|| Ok(())));
        let place = format!("history/{}", engine.name());
        let index = opened.map_err(|why| wrong(What::Index, &place, why.to_string())).ok()?;
        let applied = index.applied();
        let dir = dir.to_owned();
        Some(Self { dir, index, applied, places: places.ok()?, nodes: nodes.ok()?, size: 0, wrong: false })
    }

    /// True if the index has this frame.
    fn covers(&self, seq: u64) -> bool {
        self.applied.is_some_and(|applied| seq <= applied.seq)
    }

    /// Compares the index with a whole journal, and closes it if nothing was found.
    pub fn finish(mut self, journal: &Path, end: &End, report: &mut Report<'_>, progress: &mut dyn FnMut()) {
        let last = self.applied.map_or(0, |applied| applied.seq);
        if last > end.last_commit && !end.gap {
            let detail =
                format!("the index was closed with frame {last}: what the journal had behind is missing");
            report.loss(What::JournalFrame, format!("journal behind frame {}", end.last_commit), detail);
            let names = self.names(end.size..self.size()).unwrap_or_else(|| "none".into());
            let leaves = format!("leaves from {} on", end.size);
            report.loss(
                What::LostLeaves,
                leaves,
                format!("documents that the index knows among them: {names}"),
            );
        }
        if report.losses == 0 || last <= end.last_commit {
            let stored = merkle::stored_count(self.size);
            // An index that is behind is caught up with, and what the arrays have beyond it is written again.
            let exact = last == end.last_commit;
            self.wrong |=
                self.places.report(self.size, exact, report) | self.nodes.report(stored, exact, report);
        }
        if report.losses == 0 {
            let mut compared = Compared { report, found: 0 };
            if let Err(damage) = self.index.verify() {
                compared.tell("history", damage);
            }
            let result = self.compare_index(journal, end.puts, &mut compared, progress);
            if let Err(error) = result {
                compared.tell("history", error);
            }
            self.wrong |= compared.finish() > 0;
        }
        let ended = match self.wrong {
            true => index::distrust(&self.dir).map_err(|error| error.to_string()),
            false => self.index.close().map_err(|damage| damage.to_string()),
        };
        if let Err(damage) = ended {
            report.rebuildable(What::Index, "history", damage);
        }
    }

    fn compare_index(
        &self,
        journal: &Path,
        puts: u64,
        compared: &mut Compared<'_, '_>,
        progress: &mut dyn FnMut(),
    ) -> Result<(), StoreError> {
        let parts = u32::try_from(puts.div_ceil(MAX_EXPECTED).max(1)).unwrap_or(u32::MAX);
        for part in 0..parts {
            let is_mine = |key: &[u8]| crc32c::crc32c(key) % parts == part;
            let mut expected = self.replay(journal, &is_mine, progress)?;
            each(&*self.index, &[], &mut |key, value| {
                if !is_mine(key) {
                    return;
                }
                match expected.remove(key) {
                    Some(right) if right == value => {}
                    Some(_) => compared.tell(&describe(key), "another value than the journal gives"),
                    None => compared.tell(&describe(key), "the journal gives no such entry"),
                }
                progress();
            })?;
            expected.keys().for_each(|key| compared.tell(&describe(key), "missing"));
        }
        Ok(())
    }

    /// What replay gives for a part of all keys. The journal was found whole just before.
    fn replay(
        &self,
        journal: &Path,
        is_mine: &dyn Fn(&[u8]) -> bool,
        progress: &mut dyn FnMut(),
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let mut expected = BTreeMap::new();
        journal::check(journal, &mut |finding| {
            progress();
            let journal::Finding::Frame(frame) = finding else { return Ok(()) };
            if frame.kind != Kind::Commit || !self.covers(frame.seq) {
                return Ok(());
            }
            let (commit, _) = frame::decode(&Bytes::copy_from_slice(frame.payload))?;
            let taken = |key: &[u8]| Ok::<_, Infallible>(expected.contains_key(key));
            let Ok(puts) = apply::puts(&commit, taken);
            for (key, value) in puts.into_iter().filter(|(key, _)| is_mine(key)) {
                match value {
                    Some(value) => expected.insert(key, value),
                    None => expected.remove(&key),
                };
            }
            Ok(())
        })?;
        Ok(expected)
    }
}

impl Known for Projections {
    fn size(&self) -> u64 {
        self.places.records.len()
    }

    fn edge(&self, size: u64) -> Option<Edge> {
        Edge::load(size, &Nodes(&self.nodes.records)).ok()
    }

    fn body(&self, sha256: &[u8]) -> Option<BodyRecord> {
        BodyRecord::decode(&self.index.get(&keys::body_of(sha256)).ok()??[..]).ok()
    }

    fn names(&self, leaves: Range<u64>) -> Option<String> {
        let mut names = Names::default();
        let read = each(&*self.index, &keys::all_names(), &mut |key, value| {
            if keys::number(value).is_some_and(|index| leaves.contains(&index))
                && let Some((document_id, sender, revision)) = keys::parse_name(key)
            {
                names.add(document_id, sender, revision);
            }
        });
        read.ok().and_then(|()| names.text())
    }

    fn compare_arrays(&mut self, seq: u64, commit: &Commit, places: &[[u8; PLACE]], nodes: Option<&[Hash]>) {
        if !self.covers(seq) {
            return;
        }
        self.size = commit.head.size;
        self.places.compare(commit.base_size, places);
        self.nodes.compare(merkle::stored_count(commit.base_size), nodes.unwrap_or_default());
    }
}

/// Calls `visit` with every entry whose key begins with `prefix`.
fn each(index: &dyn Index, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Damage> {
    let mut from = prefix.to_vec();
    loop {
        let page = index.scan(&from, prefix, PAGE)?;
        page.iter().for_each(|(key, value)| visit(key, value));
        match page.into_iter().nth(PAGE - 1) {
            Some((last, _)) => from = [&last[..], &[0]].concat(),
            None => return Ok(()),
        }
    }
}

fn describe(key: &[u8]) -> String {
    format!("history key {}", key.escape_ascii())
}

/// Names the first differences and counts all.
struct Compared<'r, 's> {
    report: &'r mut Report<'s>,
    found: u64,
}

impl Compared<'_, '_> {
    fn tell(&mut self, place: &str, detail: impl ToString) {
        self.found += 1;
        if self.found <= MAX_NAMED {
            self.report.rebuildable(What::Index, place, detail);
        }
    }

    fn finish(self) -> u64 {
        if self.found > MAX_NAMED {
            let more = format!("{} more entries differ", self.found - MAX_NAMED);
            self.report.rebuildable(What::Index, "history", more);
        }
        self.found
    }
}

impl<const N: usize> Array<N> {
    fn open(dir: &Path, name: &'static str) -> Result<Self, String> {
        let path = dir.join(name);
        let records = FixedArray::open_to_read(&path).map_err(|error| error.to_string())?;
        let len = path.metadata().map_err(|error| error.to_string())?.len();
        if !len.is_multiple_of(FixedArray::<N>::STEP as u64) {
            return Err(format!("it has {len} bytes, which are no whole records"));
        }
        Ok(Self { name, records, differing: 0, first: None })
    }

    fn compare(&mut self, from: u64, right: &[[u8; N]]) {
        for (record, index) in right.iter().zip(from..) {
            if self.records.get(index).ok().flatten() != Some(*record) {
                self.differing += 1;
                self.first.get_or_insert(index);
            }
        }
    }

    fn report(&self, len: u64, exact: bool, report: &mut Report<'_>) -> bool {
        let place = format!("history/{}", self.name);
        let has = self.records.len();
        let wrong = has < len || exact && has != len;
        if wrong {
            report.rebuildable(What::Array, &place, format!("it has {has} records, not {len}"));
        }
        if let Some(first) = self.first {
            let detail = format!("{} records differ, the first at {first}", self.differing);
            report.rebuildable(What::Array, &place, detail);
        }
        wrong || self.first.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::id::Digest,
        store::{
            Store,
            contract::samples,
            embedded::{Embedded, EmbeddedOptions, check::Finding},
            payload::{Payload, PayloadOptions},
        },
    };

    fn filled(options: &EmbeddedOptions, documents: u64) {
        let payload = Payload::open(&options.dir.join("bodies"), PayloadOptions::default()).unwrap();
        let store = Embedded::open(options, Arc::new(payload), &mut |_| {}).unwrap().store;
        let mut edge = Edge::empty();
        for document in 0..documents {
            let mut commit =
                if document == 0 { samples::rich_commit() } else { samples::accept(document * 3) };
            edge = samples::grow(edge, &mut commit);
            store.commit(&commit).unwrap();
        }
        store.close().unwrap();
    }

    fn compare(options: &EmbeddedOptions, puts: u64, spoil: impl FnOnce(&dyn Index)) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut report = Report { sink: &mut |finding| findings.push(finding), losses: 0 };
        let projections = Projections::open(&options.history_dir(), &mut report).unwrap();
        spoil(&*projections.index);
        let mut compared = Compared { report: &mut report, found: 0 };
        projections.compare_index(&options.journal_dir(), puts, &mut compared, &mut || {}).unwrap();
        compared.finish();
        findings
    }

    #[test]
    fn the_index_is_compared_key_by_key_in_one_part_or_many() {
        for puts in [1, 600] {
            let temp = tempfile::tempdir().unwrap();
            let options = EmbeddedOptions::new(temp.path());
            filled(&options, 30);
            let findings = compare(&options, puts, |index| {
                let name = keys::name_of("doc-9", "H53.1", 0);
                let puts = vec![
                    (name, Some(77_u64.to_be_bytes().to_vec())),
                    (keys::body(&Digest::of(b"b")), None),
                    (b"zzz".to_vec(), Some(Vec::new())),
                ];
                index.apply(index.applied().unwrap(), puts, &mut || ()).unwrap();
            });
            let mut details: Vec<_> = findings.iter().map(|finding| &finding.detail[..]).collect();
            details.sort_unstable();
            assert_eq!(
                details,
                ["another value than the journal gives", "missing", "the journal gives no such entry"],
                "{puts}"
            );
            assert!(findings.iter().any(|finding| finding.place.contains("doc-9")), "{findings:?}");
        }
    }

    #[test]
    fn a_sound_index_differs_in_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::new(temp.path());
        filled(&options, 30);
        assert_eq!(compare(&options, 600, |_| ()), []);
    }
}

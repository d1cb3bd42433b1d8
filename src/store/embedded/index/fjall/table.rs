//! Entries in memory: found by hash, and sorted only among their neighbours, which costs a third of an ordered map.
//! Their bytes stand behind each other in large pieces, so that none is allocated or freed alone.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::super::Put;
use crate::store::embedded::keys;

/// What an entry takes beside its key and its value, about.
const OVERHEAD: usize = 64;
/// Bytes of a piece; an entry that is larger gets one of its own.
const PIECE: usize = 1 << 20;
/// Parts of the hash table. Each grows alone: all at once, a commit would wait some fifty milliseconds for it.
const SHARDS: usize = 64;
/// Length of the value of an entry that is removed.
const REMOVED: u32 = u32::MAX;

/// The newest entries, removed ones included. Keys are cut where [`keys::group`] says: those that are read one after
/// another stand together, sorted. Most arrive in that order.
pub struct Table {
    shards: [HashTable<Group>; SHARDS],
    /// Seeded anew for each table. Who writes keys is a node that the registrar knows.
    hasher: DefaultHashBuilder,
    pieces: Pieces,
    bytes: usize,
    newest_feed: u64,
}

/// The entries of a group; most have one.
enum Group {
    One(At),
    Many(Vec<At>),
}

/// Where an entry stands: its piece, and the offset there.
#[derive(Clone, Copy)]
struct At(u32, u32);

/// Entries, each as the lengths of key and value, key, value. What was replaced stays until the end.
#[derive(Default)]
struct Pieces(Vec<Vec<u8>>);

impl Default for Table {
    fn default() -> Self {
        Self {
            shards: [const { HashTable::new() }; SHARDS],
            hasher: DefaultHashBuilder::default(),
            pieces: Pieces::default(),
            bytes: 0,
            newest_feed: 0,
        }
    }
}

impl Table {
    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest leaf that an entry of a watch is about; 0 where there is none.
    pub fn newest_feed(&self) -> u64 {
        self.newest_feed
    }

    /// An empty one with room for as many entries as this one has: no commit waits while it grows.
    pub fn successor(&self) -> Self {
        let shards = self.shards.each_ref().map(|shard| HashTable::with_capacity(shard.len()));
        Self { shards, ..Self::default() }
    }

    /// Takes an entry; one with the same key is replaced.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes += key.len() + value.map_or(0, <[u8]>::len) + OVERHEAD;
        self.newest_feed = self.newest_feed.max(keys::feed_leaf(key).unwrap_or(0));
        let at = self.pieces.push(key, value);
        let (pieces, hasher) = (&self.pieces, &self.hasher);
        let group = &key[..keys::group(key)];
        let hash = hasher.hash_one(group);
        let shard = &mut self.shards[shard_of(hash)];
        match shard.find_mut(hash, |other| pieces.is_of(other, group)) {
            Some(entries) => entries.put(pieces, key, at),
            None => {
                let rehash = |group: &Group| hasher.hash_one(pieces.name(group));
                shard.insert_unique(hash, Group::One(at), rehash);
            }
        }
    }

    /// The value here: `Some(None)` means removed, `None` means look further.
    pub fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let entries = self.group(&key[..keys::group(key)])?.entries();
        let at = self.pieces.find(entries, key).ok()?;
        Some(self.pieces.value(entries[at]).map(<[u8]>::to_vec))
    }

    /// Entries from `from` on that begin with `prefix`, at most `limit`, removed ones included.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Vec<Put> {
        let groups = match keys::is_grouped(prefix) {
            true => self.group(&prefix[..keys::group(prefix)]).into_iter().collect(),
            false => self.sorted(|group| {
                (group.starts_with(prefix) || prefix.starts_with(group))
                    && (group >= from || from.starts_with(group))
            }),
        };
        let mut found = Vec::new();
        for entries in groups.into_iter().map(Group::entries) {
            let start = self.pieces.find(entries, from).unwrap_or_else(|at| at);
            let whole = entries[start..].iter().map(|at| self.pieces.entry(*at));
            let mine = whole.take_while(|(key, _)| key.starts_with(prefix) || *key < prefix);
            let mine = mine.filter(|(key, _)| key.starts_with(prefix)).take(limit - found.len());
            found.extend(mine.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))));
            if found.len() == limit {
                break;
            }
        }
        found
    }

    /// All entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let groups = self.sorted(|_| true).into_iter();
        groups.flat_map(|group| group.entries().iter().map(|at| self.pieces.entry(*at)))
    }

    fn group(&self, group: &[u8]) -> Option<&Group> {
        let hash = self.hasher.hash_one(group);
        self.shards[shard_of(hash)].find(hash, |other| self.pieces.is_of(other, group))
    }

    fn sorted(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<&Group> {
        let groups = self.shards.iter().flatten().map(|group| (self.pieces.name(group), group));
        let wanted = groups.filter(|(name, _)| wanted(name));
        let mut groups: Vec<_> = wanted.map(|(name, group)| (first_bytes(name), group)).collect();
        // Most names differ in their first bytes: those of the others are not looked up.
        groups.sort_unstable_by(|(first, group), (other_first, other)| {
            first.cmp(other_first).then_with(|| self.pieces.name(group).cmp(self.pieces.name(other)))
        });
        groups.into_iter().map(|(_, group)| group).collect()
    }
}

impl Group {
    fn entries(&self) -> &[At] {
        match self {
            Self::One(at) => std::slice::from_ref(at),
            Self::Many(entries) => entries,
        }
    }

    fn put(&mut self, pieces: &Pieces, key: &[u8], at: At) {
        let place = pieces.find(self.entries(), key);
        match (self, place) {
            (Self::One(old), Ok(_)) => *old = at,
            (Self::Many(entries), Ok(place)) => entries[place] = at,
            (Self::Many(entries), Err(place)) => entries.insert(place, at),
            (group @ Self::One(_), Err(place)) => {
                let mut entries = group.entries().to_vec();
                entries.insert(place, at);
                *group = Self::Many(entries);
            }
        }
    }
}

impl Pieces {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> At {
        let len = |bytes: &[u8]| bytes.len() as u32;
        let needed = 8 + key.len() + value.map_or(0, <[u8]>::len);
        if self.0.last().is_none_or(|piece| piece.capacity() - piece.len() < needed) {
            self.0.push(Vec::with_capacity(PIECE.max(needed)));
        }
        let number = self.0.len() - 1;
        let piece = &mut self.0[number];
        let at = At(number as u32, piece.len() as u32);
        piece.extend_from_slice(&len(key).to_le_bytes());
        piece.extend_from_slice(&value.map_or(REMOVED, len).to_le_bytes());
        piece.extend_from_slice(key);
        piece.extend_from_slice(value.unwrap_or_default());
        at
    }

    fn entry(&self, At(piece, offset): At) -> (&[u8], Option<&[u8]>) {
        let entry = &self.0[piece as usize][offset as usize..];
        let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let (key, rest) = entry[8..].split_at(word(0) as usize);
        let value = word(4);
        (key, (value != REMOVED).then(|| &rest[..value as usize]))
    }

    fn key(&self, at: At) -> &[u8] {
        self.entry(at).0
    }

    fn value(&self, at: At) -> Option<&[u8]> {
        self.entry(at).1
    }

    fn name(&self, group: &Group) -> &[u8] {
        let key = group.entries().first().map_or(&[][..], |at| self.key(*at));
        &key[..keys::group(key)]
    }

    fn is_of(&self, entries: &Group, group: &[u8]) -> bool {
        let first = entries.entries().first().map(|at| self.key(*at));
        first.is_some_and(|key| key.starts_with(group) && keys::group(key) == group.len())
    }

    fn find(&self, entries: &[At], key: &[u8]) -> Result<usize, usize> {
        match entries.last() {
            Some(last) if self.key(*last) < key => Err(entries.len()),
            _ => entries.binary_search_by(|other| self.key(*other).cmp(key)),
        }
    }
}

/// Bits that the hash table itself does not look at first.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

/// Sorts as the bytes do, as far as it goes.
fn first_bytes(name: &[u8]) -> u128 {
    let mut first = [0; 16];
    let len = name.len().min(first.len());
    first[..len].copy_from_slice(&name[..len]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let agency = "[ab]{1,2}";
        prop_oneof![
            (agency, 0..3_u64).prop_map(|(id, revision)| keys::name_of(&id, "s", revision)),
            (0..3_u64, agency).prop_map(|(document, to)| keys::delivery(document, &to)),
            (agency, 0..3_u8, 0..9_u64).prop_map(|(to, rank, document)| keys::waiting(&to, rank, document)),
            (0..3_u64, 0..300_u64).prop_map(|(document, leaf)| keys::timeline(document, leaf)),
            (agency, 0..300_u64).prop_map(|(agency, leaf)| keys::feed(&agency, leaf)),
            (0..9_u64).prop_map(keys::expansion),
            (0..9_u64).prop_map(keys::directory),
            (agency, 0..3_u64).prop_map(|(id, leaf)| keys::parked(&id, "s", 256, "r", leaf)),
            prop::collection::vec(0..3_u8, 1..3).prop_map(|digest| keys::message(&digest)),
            agency.prop_map(|agency| keys::cursor(&agency)),
        ]
    }

    fn any_prefix() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any_key(),
            (any_key(), any::<prop::sample::Index>())
                .prop_map(|(key, at)| key[..at.index(key.len() + 1)].to_vec()),
            Just(Vec::new()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// It answers as an ordered map does.
        #[test]
        fn it_is_an_ordered_map(
            puts in prop::collection::vec((any_key(), any::<Option<u8>>()), 0..200),
            prefix in any_prefix(), from in any_prefix(), limit in 0..40_usize,
        ) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (key, value) in puts {
                let value = value.map(|value| vec![value]);
                table.put(&key, value.as_deref());
                model.insert(key, value);
            }
            prop_assert!(table.entries().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).eq(model.clone()));
            prop_assert_eq!(table.get(&from), model.get(&from).cloned());
            model.iter().for_each(|(key, value)| assert_eq!(table.get(key).as_ref(), Some(value)));
            let from = from.max(prefix.clone());
            let expected = model.range(from.clone()..).filter(|(key, _)| key.starts_with(&prefix));
            let expected: Vec<_> = expected.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(table.scan(&from, &prefix, limit), expected);
        }
    }
}

//! Entries in memory: found by hash, and sorted only among their neighbours, which costs a third of an ordered map.

use std::collections::HashMap;

use super::super::Put;
use crate::store::embedded::keys;

/// What an entry takes beside its key and its value, about.
const OVERHEAD: usize = 96;

/// The newest entries, removed ones included. Keys are cut where [`keys::group`] says: those that are read one after
/// another stand together, sorted by their rest. Most arrive in that order.
#[derive(Default)]
pub struct Table {
    groups: HashMap<Box<[u8]>, Vec<Rest>>,
    bytes: usize,
}

/// The rest of a key, and the value.
type Rest = (Box<[u8]>, Option<Box<[u8]>>);

impl Table {
    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An empty one with room for as many entries as this one has: no commit waits while it grows.
    pub fn successor(&self) -> Self {
        Self { groups: HashMap::with_capacity(self.groups.len()), bytes: 0 }
    }

    /// Takes an entry; one with the same key is replaced.
    pub fn put(&mut self, (key, value): Put) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + OVERHEAD;
        let (group, rest) = key.split_at(keys::group(&key));
        let value = value.map(Vec::into_boxed_slice);
        let Some(entries) = self.groups.get_mut(group) else {
            self.groups.insert(group.into(), vec![(rest.into(), value)]);
            return;
        };
        match find(entries, rest) {
            Ok(at) => entries[at].1 = value,
            Err(at) => entries.insert(at, (rest.into(), value)),
        }
    }

    /// The value here: `Some(None)` means removed, `None` means look further.
    pub fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let (group, rest) = key.split_at(keys::group(key));
        let entries = self.groups.get(group)?;
        let at = find(entries, rest).ok()?;
        Some(entries[at].1.as_deref().map(<[u8]>::to_vec))
    }

    /// Entries from `from` on that begin with `prefix`, at most `limit`, removed ones included.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Vec<Put> {
        let groups = match keys::is_grouped(prefix) {
            true => self.of(&prefix[..keys::group(prefix)]),
            false => self.sorted(|group| {
                (group.starts_with(prefix) || prefix.starts_with(group))
                    && (group >= from || from.starts_with(group))
            }),
        };
        let mut found = Vec::new();
        for (group, entries) in groups {
            let start = match from.strip_prefix(group) {
                Some(rest) => find(entries, rest).unwrap_or_else(|at| at),
                // No group begins with another one's name: all of it lies before `from`, or behind.
                None if group < from => continue,
                None => 0,
            };
            let whole = entries[start..].iter().map(|(rest, value)| (key(group, rest), value));
            let mine = whole.take_while(|(key, _)| key.starts_with(prefix) || **key < *prefix);
            let mine = mine.filter(|(key, _)| key.starts_with(prefix)).take(limit - found.len());
            found.extend(mine.map(|(key, value)| (key, value.as_deref().map(<[u8]>::to_vec))));
            if found.len() == limit {
                break;
            }
        }
        found
    }

    /// All entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, Option<&[u8]>)> {
        let groups = self.sorted(|_| true).into_iter();
        groups.flat_map(|(group, entries)| {
            entries.iter().map(move |(rest, value)| (key(group, rest), value.as_deref()))
        })
    }

    fn of<'a>(&'a self, group: &'a [u8]) -> Vec<(&'a [u8], &'a Vec<Rest>)> {
        self.groups.get(group).map(|entries| (group, entries)).into_iter().collect()
    }

    fn sorted(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<(&[u8], &Vec<Rest>)> {
        let groups = self.groups.iter().map(|(group, entries)| (&**group, entries));
        let mut groups: Vec<_> = groups.filter(|(group, _)| wanted(group)).collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        groups
    }
}

fn find(entries: &[Rest], rest: &[u8]) -> Result<usize, usize> {
    match entries.last() {
        Some((last, _)) if **last < *rest => Err(entries.len()),
        _ => entries.binary_search_by(|(other, _)| (**other).cmp(rest)),
    }
}

fn key(group: &[u8], rest: &[u8]) -> Vec<u8> {
    [group, rest].concat()
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
                table.put((key.clone(), value.clone()));
                model.insert(key, value);
            }
            prop_assert!(table.entries().map(|(key, value)| (key, value.map(<[u8]>::to_vec))).eq(model.clone()));
            prop_assert_eq!(table.get(&from), model.get(&from).cloned());
            model.iter().for_each(|(key, value)| assert_eq!(table.get(key).as_ref(), Some(value)));
            let from = from.max(prefix.clone());
            let expected = model.range(from.clone()..).filter(|(key, _)| key.starts_with(&prefix));
            let expected: Vec<_> = expected.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(table.scan(&from, &prefix, limit), expected);
        }
    }
}

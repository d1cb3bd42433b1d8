//! One ordered answer out of layers, where a newer layer hides what an older one has.

use super::{Damage, Entry, Put};

/// Entries read at a time: beginning to read costs as much as some hundred entries.
const PAGE: usize = 4096;

/// The first `limit` entries from `from` on. `read` gives a page of each layer, newest layer first: its entries from
/// a key on, removed ones included, at most so many.
pub fn scan(
    from: &[u8],
    limit: usize,
    mut read: impl FnMut(&[u8], usize) -> Result<Vec<Vec<Put>>, Damage>,
) -> Result<Vec<Entry>, Damage> {
    let mut found = Vec::new();
    let mut from = from.to_vec();
    while found.len() < limit {
        let page = PAGE.min((limit - found.len()).saturating_add(1));
        let layers = read(&from, page)?;
        let end = page_end(&layers, page);
        merge(layers, end.as_deref(), &mut found);
        match end {
            Some(end) => from = successor(end),
            None => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// The key up to which all pages are complete; `None` when all reached the end.
fn page_end(layers: &[Vec<Put>], page: usize) -> Option<Vec<u8>> {
    let full = layers.iter().filter(|layer| layer.len() >= page);
    full.filter_map(|layer| layer.last()).map(|(key, _)| key).min().cloned()
}

/// Appends what stands in the layers up to `end`.
fn merge(mut layers: Vec<Vec<Put>>, end: Option<&[u8]>, found: &mut Vec<Entry>) {
    layers.retain(|layer| !layer.is_empty());
    let mut entries: Vec<(Vec<u8>, usize, Option<Vec<u8>>)> = Vec::new();
    for (age, layer) in layers.into_iter().enumerate() {
        entries.extend(layer.into_iter().map(|(key, value)| (key, age, value)));
    }
    entries.retain(|(key, ..)| end.is_none_or(|end| key.as_slice() <= end));
    // Stable, because that is quick with layers that are sorted already.
    entries.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    entries.dedup_by(|older, newer| older.0 == newer.0);
    found.extend(entries.into_iter().filter_map(|(key, _, value)| Some((key, value?))));
}

/// The smallest key after `key`.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn layer() -> impl Strategy<Value = BTreeMap<u16, Option<u8>>> {
        prop::collection::btree_map(0..15_000_u16, any::<Option<u8>>(), 0..9000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn newer_layers_hide_older_ones(layers in prop::collection::vec(layer(), 1..4), from in 0..15_000_u16, limit in 0..15_000_usize) {
            let key = |number: u16| number.to_be_bytes().to_vec();
            let mut expected = BTreeMap::new();
            layers.iter().rev().for_each(|layer| expected.extend(layer.clone()));
            let expected = expected.range(from..).filter_map(|(number, value)| Some((key(*number), vec![(*value)?])));
            let expected: Vec<_> = expected.take(limit).collect();
            let found = scan(&key(from), limit, |from, page| {
                let read = |layer: &BTreeMap<u16, Option<u8>>| {
                    let puts = layer.iter().map(|(number, value)| (key(*number), value.map(|value| vec![value])));
                    puts.filter(|(key, _)| key.as_slice() >= from).take(page).collect()
                };
                Ok(layers.iter().map(read).collect())
            });
            prop_assert_eq!(found, Ok(expected));
        }
    }
}

//! Reads: the overlay first, then sled; records from the journal by their place.

use std::{io, sync::PoisonError};

use bytes::Bytes;
use prost::Message;

use super::{
    Embedded, Shared,
    apply::{Place, Put, parse_place},
    frame, keys,
};
use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    proto,
    store::{
        Commit, CommitError, Store, StoreError, StoredLeaf, Waiting,
        records::{
            BodyRecord, DeliveryRecord, DocumentRecord, ExpansionRecord, Head, ParkedRecord, RecipientList,
        },
    },
    tlog::{Hash, merkle},
};

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Entries read from the index at a time.
const PAGE: usize = 512;

impl Shared {
    /// Value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let hot = self.overlay.read().unwrap_or_else(PoisonError::into_inner).get(key);
        match hot {
            Some(value) => Ok(value),
            None => Ok(self.history.get(key)?),
        }
    }

    /// Up to `limit` entries from `from` on that begin with `prefix`: overlay and sled merged.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let mut from = from.to_vec();
        while found.len() < limit {
            let page = PAGE.min((limit - found.len()).saturating_add(1));
            let (hot, cold) = self.scan_both(&from, prefix, page)?;
            let end = page_end(&hot, &cold, page);
            let next = merge(hot, cold, end.as_deref(), &mut found);
            match (end, next) {
                (Some(_), Some(last)) => from = successor(last),
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn scan_both(
        &self,
        from: &[u8],
        prefix: &[u8],
        page: usize,
    ) -> Result<(Vec<Put>, Vec<Entry>), StoreError> {
        // The overlay is read first: an entry that moves to sled in between is then seen twice, never missed.
        let hot = self.overlay.read().unwrap_or_else(PoisonError::into_inner).scan(from, prefix, page);
        Ok((hot, self.history.scan(from, prefix, page)?))
    }
}

/// The key up to which both pages are complete; `None` when both reached the end.
fn page_end(hot: &[Put], cold: &[Entry], page: usize) -> Option<Vec<u8>> {
    let hot_end = (hot.len() == page).then(|| hot.last().map(|(key, _)| key.clone())).flatten();
    let cold_end = (cold.len() == page).then(|| cold.last().map(|(key, _)| key.clone())).flatten();
    match (hot_end, cold_end) {
        (Some(hot), Some(cold)) => Some(hot.min(cold)),
        (hot, cold) => hot.or(cold),
    }
}

/// Appends the merged entries up to `end` and returns the last key looked at.
fn merge(hot: Vec<Put>, cold: Vec<Entry>, end: Option<&[u8]>, found: &mut Vec<Entry>) -> Option<Vec<u8>> {
    let mut merged: std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>> =
        cold.into_iter().map(|(key, value)| (key, Some(value))).collect();
    merged.extend(hot);
    let mut last = None;
    for (key, value) in merged {
        if end.is_some_and(|end| key.as_slice() > end) {
            break;
        }
        last = Some(key.clone());
        if let Some(value) = value {
            found.push((key, value));
        }
    }
    last
}

/// The smallest key after `key`.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

impl Embedded {
    fn record<M: Message + Default>(&self, place: &[u8]) -> Result<M, StoreError> {
        let place: &Place =
            place.try_into().map_err(|_| StoreError::Damaged("index entry is not a place".into()))?;
        frame::decode_entry(&self.entry(place)?)
    }

    fn entry(&self, place: &Place) -> Result<Bytes, StoreError> {
        let (frame, (at, len)) = parse_place(place);
        self.reader.read_part(frame, at, len)
    }

    fn index_number(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.shared.get(key)? else { return Ok(None) };
        keys::number(&value)
            .map(Some)
            .ok_or_else(|| StoreError::Damaged("index entry is not a number".into()))
    }

    fn numbers(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<u64>, StoreError> {
        let entries = self.shared.scan(from, prefix, limit)?;
        Ok(entries.iter().filter_map(|(key, _)| keys::last_number(key)).collect())
    }

    fn records<M: Message + Default>(
        &self,
        from: &[u8],
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<M>, StoreError> {
        self.shared.scan(from, prefix, limit)?.iter().map(|(_, value)| decode(value)).collect()
    }
}

fn decode<M: Message + Default>(value: &[u8]) -> Result<M, StoreError> {
    M::decode(value).map_err(|error| StoreError::Damaged(format!("index entry: {error}")))
}

fn same_index(what: &str, wanted: u64, found: u64) -> Result<(), StoreError> {
    match wanted == found {
        true => Ok(()),
        false => Err(StoreError::Damaged(format!("the index gives {what} {found} for {wanted}"))),
    }
}

impl Store for Embedded {
    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.write(commit)
    }

    fn idle(&self) -> Result<(), CommitError> {
        self.rest()
    }

    fn health(&self) -> Result<(), StoreError> {
        self.fit()?;
        if self.payload.has_failed() {
            let source = io::Error::other("an earlier write or sync failed");
            return Err(StoreError::Io { what: "the packs have stopped".into(), source });
        }
        Ok(())
    }

    fn head(&self) -> Head {
        self.shared.head()
    }

    fn node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        let node = self.shared.nodes.get(stored_index)?;
        node.ok_or_else(|| StoreError::Damaged(format!("tree hash {stored_index} is missing")))
    }

    fn leaf(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
        if index >= self.shared.head().size {
            return Ok(None);
        }
        let place = self.shared.leaves.get(index)?;
        let place = place.ok_or_else(|| StoreError::Damaged(format!("place of leaf {index} is missing")))?;
        let leaf = frame::decode_leaf(&self.entry(&place)?)?;
        // The place comes from an array without checksums: it may name another leaf.
        if merkle::leaf_hash(&leaf.evidence) != self.node(merkle::stored_index(0, index))? {
            return Err(StoreError::Damaged(format!("leaf {index} is not the one that was hashed")));
        }
        let (frame, _) = parse_place(&place);
        let start = self.reader.read_start(frame, frame::MAX_HEAD_ENTRY)?;
        Ok(Some(StoredLeaf { evidence: leaf.evidence, head: frame::decode_head(&start)? }))
    }

    fn find_document(&self, name: &DocumentName) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::name(name))
    }

    fn documents_with_id(&self, document_id: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let prefix = keys::names_with_id(document_id);
        let entries = self.shared.scan(&prefix, &prefix, limit)?;
        Ok(entries.iter().filter_map(|(_, value)| keys::number(value)).collect())
    }

    fn natural_key(
        &self,
        sender: &AgencyId,
        year: u32,
        number: &str,
        notation: &str,
    ) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::natural(sender.as_str(), year, number, notation))
    }

    fn document(&self, index: u64) -> Result<Option<DocumentRecord>, StoreError> {
        let Some(place) = self.shared.get(&keys::document(index))? else { return Ok(None) };
        let document: DocumentRecord = self.record(&place)?;
        same_index("document", index, document.index)?;
        Ok(Some(document))
    }

    fn recipient_list(&self, index: u64) -> Result<Option<RecipientList>, StoreError> {
        let Some(place) = self.shared.get(&keys::list(index))? else { return Ok(None) };
        let list: RecipientList = self.record(&place)?;
        same_index("recipient list", index, list.index)?;
        Ok(Some(list))
    }

    fn expansions(&self) -> Result<Vec<ExpansionRecord>, StoreError> {
        let prefix = keys::all_expansions();
        self.records(&prefix, &prefix, usize::MAX)
    }

    fn delivery(&self, document: u64, recipient: &AgencyId) -> Result<Option<DeliveryRecord>, StoreError> {
        let value = self.shared.get(&keys::delivery(document, recipient.as_str()))?;
        value.map(|value| decode(&value)).transpose()
    }

    fn deliveries(
        &self,
        document: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let prefix = keys::deliveries(document);
        let from = after.map_or_else(|| prefix.clone(), |after| successor(keys::delivery(document, after)));
        self.records(&from, &prefix, limit)
    }

    fn waiting(&self, after: Option<&Waiting>, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let prefix = keys::all_waiting();
        let from = after.map_or_else(
            || prefix.clone(),
            |after| successor(keys::waiting(&after.recipient, after.rank, after.document)),
        );
        let entries = self.shared.scan(&from, &prefix, limit)?;
        let damaged = || StoreError::Damaged("index entry of a waiting delivery".into());
        entries.iter().map(|(key, value)| keys::parse_waiting(key, value).ok_or_else(damaged)).collect()
    }

    fn timeline(&self, document: u64, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.numbers(&keys::timeline(document, from), &keys::timeline_of(document), limit)
    }

    fn feed(&self, agency: &AgencyId, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.numbers(&keys::feed(agency.as_str(), from), &keys::feed_of(agency.as_str()), limit)
    }

    fn answered(&self, payload: &Digest) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::message(payload.as_bytes()))
    }

    fn parked(&self, name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError> {
        let prefix = keys::parked_for(name, recipient);
        self.records(&prefix, &prefix, PAGE)
    }

    fn body(&self, digest: &Digest) -> Result<Option<BodyRecord>, StoreError> {
        self.shared.get(&keys::body(digest))?.map(|value| decode(&value)).transpose()
    }

    fn cursor(&self, agency: &AgencyId) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::cursor(agency.as_str()))
    }

    fn directory_changes(&self) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let prefix = keys::all_directory();
        let leaves = self.numbers(&prefix, &prefix, usize::MAX)?;
        leaves.into_iter().map(|leaf| Ok((leaf, self.directory_change(leaf)?))).collect()
    }

    fn index_lag(&self) -> u64 {
        self.indexer.lag()
    }
}

impl Embedded {
    fn directory_change(&self, leaf: u64) -> Result<Bytes, StoreError> {
        let stored = self.leaf(leaf)?;
        let stored = stored.ok_or_else(|| StoreError::Damaged(format!("leaf {leaf} is missing")))?;
        let evidence = proto::Evidence::decode(stored.evidence)
            .map_err(|error| StoreError::Damaged(format!("leaf {leaf}: {error}")))?;
        Ok(evidence.directory_change)
    }
}

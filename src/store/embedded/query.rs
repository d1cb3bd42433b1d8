//! Reads: numbers and small records from the index, leaves and documents from the journal by their place.

use std::{io, ops::Range};

use bytes::Bytes;
use prost::Message;

use super::{
    Embedded, Shared,
    apply::{Place, Span},
    frame,
    index::Entry,
    journal::FramePosition,
    keys,
};
use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    proto,
    store::{
        Commit, CommitError, Finding, ScrubStep, Space, Store, StoreError, StoredLeaf, Waiting, files,
        meters::{Sizes, StoreMeters},
        one_by_one,
        records::{
            ActionRecord, BodyRecord, DeliveryRecord, DigestRecord, DocumentRecord, ErasureRecord,
            ExpansionRecord, Head, HoldRecord, PairRecord, ParkedRecord, RecipientList, SentRecord,
        },
    },
    tlog::{Hash, keys::LogKeys, merkle},
};

/// Parked statuses of one delivery that are read at most.
const PAGE: usize = 512;
/// Groups of leaves that are read at a time.
const GROUPS: usize = 64;

impl Shared {
    /// Value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.index.get(key)?)
    }

    /// Up to `limit` entries from `from` on that begin with `prefix`.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.index.scan(from, prefix, limit)?)
    }
}

/// The smallest key after `key`.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

impl Embedded {
    /// Where a leaf lies; `None` beyond the head.
    fn place(&self, leaf: u64) -> Result<Option<Place>, StoreError> {
        if leaf >= self.shared.head().size {
            return Ok(None);
        }
        let missing = || StoreError::Damaged(format!("place of leaf {leaf} is missing"));
        self.shared.leaves.get(leaf)?.as_ref().map(Place::decode).ok_or_else(missing).map(Some)
    }

    /// An entry of the frame in which a leaf lies; `None` if there is none of the kind.
    fn beside<M: Message + Default>(
        &self,
        leaf: u64,
        span: impl Fn(&Place) -> Span,
    ) -> Result<Option<M>, StoreError> {
        let read = || {
            let Some(place) = self.place(leaf)? else { return Ok(None) };
            let (at, len) = span(&place);
            if len == 0 {
                return Ok(None);
            }
            let entry = self.reader.read_part(place.position(), at, len)?;
            frame::decode_entry(&entry).map(Some).map_err(|error| error.within(in_journal(place.position())))
        };
        self.mending(leaf, read)
    }

    fn index_number(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let Some(value) = self.shared.get(key)? else { return Ok(None) };
        keys::number(&value)
            .map(Some)
            .ok_or_else(|| StoreError::Damaged("index entry is not a number".into()))
    }

    /// Leaves in groups, from the leaf `from` on; `key` is the key of a group by its last leaf.
    fn leaves(
        &self,
        key: impl Fn(u64) -> Vec<u8>,
        prefix: &[u8],
        from: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let damaged = || StoreError::Damaged("index entry of a timeline or a watch".into());
        let (mut found, mut next) = (Vec::new(), key(from));
        while found.len() < limit {
            let groups = self.shared.scan(&next, prefix, GROUPS)?;
            for (key, gaps) in &groups {
                let leaves = keys::numbers(key, gaps).ok_or_else(damaged)?;
                found.extend(leaves.into_iter().filter(|leaf| *leaf >= from));
            }
            match groups.into_iter().nth(GROUPS - 1) {
                Some((last, _)) => next = successor(last),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
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

fn in_journal(position: FramePosition) -> String {
    format!("journal {position}")
}

fn decode<M: Message + Default>(value: &[u8]) -> Result<M, StoreError> {
    M::decode(value).map_err(|error| StoreError::Damaged(format!("index entry: {error}")))
}

fn decode_pair(key: &[u8], value: &[u8]) -> Result<PairRecord, StoreError> {
    let damaged = || StoreError::Damaged("index entry of a counting".into());
    let (recipient, sender) = keys::parse_pair(key).ok_or_else(damaged)?;
    Ok(PairRecord { recipient: recipient.into(), sender: sender.into(), ..decode(value)? })
}

fn same_index(what: &str, wanted: u64, found: u64) -> Result<(), StoreError> {
    match wanted == found {
        true => Ok(()),
        false => Err(StoreError::Damaged(format!("the index gives {what} {found} for {wanted}"))),
    }
}

impl Store for Embedded {
    fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
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
        let missing = || StoreError::Damaged(format!("tree hash {stored_index} is missing"));
        match self.shared.nodes.get(stored_index) {
            Err(StoreError::Damaged(_)) => self.mend_node(stored_index),
            read => read?.ok_or_else(missing),
        }
    }

    fn leaf(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
        self.mending(index, || self.leaf_at_its_place(index))
    }

    fn evidence(&self, leaves: Range<u64>) -> Result<Vec<(Hash, Bytes)>, StoreError> {
        match self.evidence_in_a_row(leaves.clone()) {
            // What can be mended is, one by one.
            Err(StoreError::Damaged(_)) => one_by_one(self, leaves),
            other => other,
        }
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
        let Some(document) = self.beside::<DocumentRecord>(index, |place| place.document)? else {
            return Ok(None);
        };
        same_index("document", index, document.index)?;
        Ok(Some(document))
    }

    fn recipient_list(&self, index: u64) -> Result<Option<RecipientList>, StoreError> {
        let Some(list) = self.beside::<RecipientList>(index, |place| place.list)? else { return Ok(None) };
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
        self.leaves(|last| keys::timeline(document, last), &keys::timeline_of(document), from, limit)
    }

    fn feed(&self, agency: &AgencyId, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let agency = agency.as_str();
        self.leaves(|last| keys::feed(agency, last), &keys::feed_of(agency), from, limit)
    }

    fn answered(&self, payload: &Digest) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::message(payload.as_bytes()))
    }

    fn parked(&self, name: &DocumentName, recipient: &AgencyId) -> Result<Vec<ParkedRecord>, StoreError> {
        let prefix = keys::parked_for(name, recipient);
        self.records(&prefix, &prefix, PAGE)
    }

    fn all_parked(&self, limit: usize) -> Result<Vec<ParkedRecord>, StoreError> {
        let prefix = keys::all_parked();
        self.records(&prefix, &prefix, limit)
    }

    fn body(&self, digest: &Digest) -> Result<Option<BodyRecord>, StoreError> {
        self.shared.get(&keys::body(digest))?.map(|value| decode(&value)).transpose()
    }

    fn envelope(&self, document: &DocumentRecord) -> Result<Option<BodyRecord>, StoreError> {
        if let Some(body) = self.beside::<BodyRecord>(document.index, |place| place.envelope)? {
            let right = body.sha256 == document.envelope_sha256;
            let wrong =
                || StoreError::Damaged(format!("the index gives another envelope for {}", document.index));
            return if right { Ok(Some(body)) } else { Err(wrong()) };
        }
        Digest::from_slice(&document.envelope_sha256).map_or(Ok(None), |digest| self.body(&digest))
    }

    fn cursor(&self, agency: &AgencyId) -> Result<Option<u64>, StoreError> {
        self.index_number(&keys::cursor(agency.as_str()))
    }

    fn action(&self, id: u64) -> Result<Option<ActionRecord>, StoreError> {
        self.shared.get(&keys::action(id))?.map(|value| decode(&value)).transpose()
    }

    fn actions(&self, before: Option<u64>, limit: usize) -> Result<Vec<ActionRecord>, StoreError> {
        let prefix = keys::all_actions();
        let from = before.map_or_else(|| prefix.clone(), |before| successor(keys::action(before)));
        self.records(&from, &prefix, limit)
    }

    fn open_actions(&self) -> Result<Vec<ActionRecord>, StoreError> {
        let prefix = keys::all_open_actions();
        let missing = |id: u64| StoreError::Damaged(format!("the record of action {id} is missing"));
        let entries = self.shared.scan(&prefix, &prefix, usize::MAX)?;
        let ids = entries.iter().filter_map(|(key, _)| keys::last_number(key));
        ids.map(|id| self.action(id)?.ok_or_else(|| missing(id))).collect()
    }

    fn pair(&self, recipient: &AgencyId, sender: &AgencyId) -> Result<Option<PairRecord>, StoreError> {
        let key = keys::pair(recipient.as_str(), sender.as_str());
        self.shared.get(&key)?.map(|value| decode_pair(&key, &value)).transpose()
    }

    fn received(&self, recipient: &AgencyId) -> Result<Option<PairRecord>, StoreError> {
        let prefix = keys::pairs_of(recipient.as_str());
        let entries = self.shared.scan(&prefix, &prefix, usize::MAX)?;
        let pairs = entries.iter().map(|(key, value)| decode_pair(key, value));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        Ok(pairs.into_iter().max_by_key(|pair| pair.received))
    }

    fn sent(&self, sender: &AgencyId) -> Result<Option<SentRecord>, StoreError> {
        self.shared.get(&keys::sent(sender.as_str()))?.map(|value| decode(&value)).transpose()
    }

    fn digests(&self, from_day: u32, limit: usize) -> Result<Vec<DigestRecord>, StoreError> {
        self.records(&keys::digest(from_day), &keys::all_digests(), limit)
    }

    fn digest_agencies(&self, leaf: u64) -> Result<Option<Vec<Bytes>>, StoreError> {
        let Some(digest) = self.beside::<DigestRecord>(leaf, |place| place.list)? else { return Ok(None) };
        same_index("digest", leaf, digest.leaf)?;
        Ok(Some(digest.agencies))
    }

    fn directory_changes(&self) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let prefix = keys::all_directory();
        let entries = self.shared.scan(&prefix, &prefix, usize::MAX)?;
        let leaves = entries.iter().filter_map(|(key, _)| keys::last_number(key));
        leaves.map(|leaf| Ok((leaf, self.directory_change(leaf)?))).collect()
    }

    fn documents(&self, leaves: Range<u64>) -> Result<Vec<DocumentRecord>, StoreError> {
        let leaves = leaves.start..leaves.end.min(self.shared.head().size);
        leaves.filter_map(|leaf| self.document(leaf).transpose()).collect()
    }

    fn erasure(&self, document: u64) -> Result<Option<ErasureRecord>, StoreError> {
        self.shared.get(&keys::erased(document))?.map(|value| decode(&value)).transpose()
    }

    fn erasing(&self, from: u64, limit: usize) -> Result<Vec<ErasureRecord>, StoreError> {
        self.records(&keys::erasing(from), &keys::all_erasing(), limit)
    }

    fn holds(&self) -> Result<Vec<HoldRecord>, StoreError> {
        let prefix = keys::all_holds();
        self.records(&prefix, &prefix, usize::MAX)
    }

    fn scrub(
        &self,
        keys: Option<&LogKeys>,
        bytes: u64,
        report: &mut dyn FnMut(Finding),
    ) -> Result<ScrubStep, StoreError> {
        self.scrub_part(keys, bytes, report)
    }

    fn index_lag(&self) -> u64 {
        self.shared.index.lag()
    }

    fn meters(&self) -> Option<&StoreMeters> {
        Some(&self.meters)
    }

    fn sizes(&self) -> Sizes {
        let bytes = |dir: &str| files::bytes_below(&self.dir.join(dir));
        Sizes {
            journal: bytes("journal"),
            index: bytes("history"),
            packs: files::bytes_below(&self.payload.dir().join("packs")),
        }
    }

    fn space(&self) -> Option<Space> {
        // Bodies may lie on another disk.
        let spaces = [files::space(&self.dir)?, files::space(self.payload.dir())?];
        spaces.into_iter().min_by_key(|space| space.free)
    }
}

impl Embedded {
    fn leaf_at_its_place(&self, index: u64) -> Result<Option<StoredLeaf>, StoreError> {
        let Some(place) = self.place(index)? else { return Ok(None) };
        let (frame, (at, len)) = (place.position(), place.leaf);
        let named = |error: StoreError| error.within(in_journal(frame));
        let leaf = frame::decode_leaf(&self.reader.read_part(frame, at, len)?).map_err(named)?;
        // Whatever the arrays say, nobody is shown another leaf.
        if merkle::leaf_hash(&leaf.evidence) != self.node(merkle::stored_index(0, index))? {
            return Err(StoreError::Damaged(format!("leaf {index} is not the one that was hashed")));
        }
        Ok(Some(StoredLeaf { evidence: leaf.evidence, head: self.head_of(frame).map_err(named)? }))
    }

    /// Evidence of a leaf, known by its checksum alone: to make its tree hash again.
    pub(super) fn evidence_at_its_place(&self, leaf: u64) -> Result<Bytes, StoreError> {
        let missing = || StoreError::Damaged(format!("leaf {leaf} is missing"));
        let place = self.place(leaf)?.ok_or_else(missing)?;
        let (frame, (at, len)) = (place.position(), place.leaf);
        let entry = self.reader.read_part(frame, at, len)?;
        let leaf = frame::decode_leaf(&entry).map_err(|error| error.within(in_journal(frame)))?;
        Ok(leaf.evidence)
    }

    /// Head of a frame's commit. Most are short.
    fn head_of(&self, frame: FramePosition) -> Result<Head, StoreError> {
        let short = self.reader.read_start(frame, frame::SHORT_HEAD_ENTRY)?;
        frame::decode_head(&short)
            .or_else(|_| frame::decode_head(&self.reader.read_start(frame, frame::MAX_HEAD_ENTRY)?))
    }

    fn directory_change(&self, leaf: u64) -> Result<Bytes, StoreError> {
        let stored = self.leaf(leaf)?;
        let stored = stored.ok_or_else(|| StoreError::Damaged(format!("leaf {leaf} is missing")))?;
        let evidence = proto::Evidence::decode(stored.evidence)
            .map_err(|error| StoreError::Damaged(format!("leaf {leaf}: {error}")))?;
        Ok(evidence.directory_change)
    }
}

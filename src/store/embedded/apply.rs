//! What a commit means to the index: one function for live commits, replay and rebuild.

use hashbrown::{HashMap, HashSet};
use prost::Message;

use super::{frame::Layout, index::Put, journal::FramePosition, keys};
use crate::{
    proto::TransportState,
    store::{
        Commit,
        records::{BodyRecord, DeliveryRecord, DigestRecord, ErasureRecord, PairRecord},
    },
};

/// Leaves in one entry at most: it stays below what sled takes.
const GROUP: usize = 512;

/// Where an entry lies in its frame: offset and length, checks included. Length 0 is no entry.
pub type Span = (u32, u32);

/// What a leaf's record in the array of places takes.
pub const PLACE: usize = 40;

/// Where a leaf lies, and what belongs to the acceptance that it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Segment of the journal and offset of the frame.
    pub frame: (u32, u32),
    /// The leaf.
    pub leaf: Span,
    /// The record of the document with this index.
    pub document: Span,
    /// The recipient list with this index, or what the digest that it is says about agencies.
    pub list: Span,
    /// The body record of the document's envelope, if it was written with it.
    pub envelope: Span,
}

impl Place {
    /// The record in the array.
    pub fn encode(&self) -> [u8; PLACE] {
        let pairs = [self.frame, self.leaf, self.document, self.list, self.envelope];
        let mut bytes = [0; PLACE];
        for (chunk, word) in bytes.chunks_mut(4).zip(pairs.into_iter().flat_map(|(a, b)| [a, b])) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// Reads it back.
    pub fn decode(bytes: &[u8; PLACE]) -> Self {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let pair = |at: usize| (word(8 * at), word(8 * at + 4));
        Self { frame: pair(0), leaf: pair(1), document: pair(2), list: pair(3), envelope: pair(4) }
    }

    /// The frame.
    pub fn position(&self) -> FramePosition {
        FramePosition { segment: self.frame.0, offset: self.frame.1 }
    }
}

/// Places of the commit's leaves, in order. `None` if a document or list of it is not one of its leaves.
pub fn places(commit: &Commit, frame: FramePosition, layout: &Layout) -> Option<Vec<[u8; PLACE]>> {
    let frame = (frame.segment, frame.offset);
    let mut places: Vec<_> =
        layout.leaves.iter().map(|leaf| Place { frame, leaf: *leaf, ..Place::default() }).collect();
    let at = |index: u64| usize::try_from(index.checked_sub(commit.base_size)?).ok();
    let bodies: HashMap<&[u8], Span> =
        commit.bodies.iter().map(|body| &body.sha256[..]).zip(layout.bodies.iter().copied()).collect();
    for (document, span) in commit.documents.iter().zip(&layout.documents) {
        let place = places.get_mut(at(document.index)?)?;
        place.document = *span;
        place.envelope = bodies.get(&document.envelope_sha256[..]).copied().unwrap_or_default();
    }
    for (list, span) in commit.lists.iter().zip(&layout.lists) {
        places.get_mut(at(list.index)?)?.list = *span;
    }
    for (digest, span) in commit.digests.iter().zip(&layout.digests) {
        places.get_mut(at(digest.leaf)?)?.list = *span;
    }
    Some(places.iter().map(Place::encode).collect())
}

/// The index entries that a commit adds, changes or removes. Applying them twice is the same as once.
/// `natural_taken` tells whether an older document has this number and notation.
pub fn puts<E>(commit: &Commit, natural_taken: impl Fn(&[u8]) -> Result<bool, E>) -> Result<Vec<Put>, E> {
    let mut puts = Vec::with_capacity(commit.documents.len() * 8 + commit.deliveries.len() * 6 + 16);
    put_leaves(&mut puts, commit);
    let mut new_naturals = HashSet::new();
    for document in &commit.documents {
        let name = keys::name_of(&document.document_id, &document.sender, document.revision);
        puts.push((name, Some(number(document.index))));
        if document.test {
            continue;
        }
        let natural = keys::natural(&document.sender, document.year, &document.number, &document.notation);
        let first = match &commit.firsts {
            Some(firsts) => firsts.contains(&document.index),
            None => !natural_taken(&natural)?,
        };
        if first && new_naturals.insert(natural.clone()) {
            puts.push((natural, Some(number(document.index))));
        }
    }
    let new_lists: HashSet<u64> = commit.lists.iter().map(|list| list.index).collect();
    for expansion in &commit.expansions {
        let open = expansion.next < expansion.total;
        // What begins and ends here never was in the index.
        if open || !new_lists.contains(&expansion.list) {
            puts.push((keys::expansion(expansion.list), open.then(|| expansion.encode_to_vec())));
        }
    }
    for delivery in &commit.deliveries {
        put_delivery(&mut puts, delivery);
    }
    for message in &commit.messages {
        puts.push((keys::message(&message.payload_sha256), Some(number(message.leaf))));
    }
    for parked in &commit.parked {
        let key = keys::parked(
            &parked.document_id,
            &parked.sender,
            parked.revision,
            &parked.recipient,
            parked.leaf,
        );
        puts.push((key, (!parked.applied).then(|| parked.encode_to_vec())));
    }
    for change in &commit.directory {
        puts.push((keys::directory(change.leaf), Some(Vec::new())));
    }
    for body in bodies_by_digest(commit) {
        puts.push((keys::body_of(&body.sha256), Some(body.encode_to_vec())));
    }
    for action in &commit.actions {
        puts.push((keys::action(action.id), Some(action.encode_to_vec())));
        puts.push((keys::open_action(action.id), action.is_open().then(Vec::new)));
    }
    for pair in &commit.pairs {
        puts.push((keys::pair(&pair.recipient, &pair.sender), Some(pair_value(pair))));
    }
    for sent in &commit.sent {
        puts.push((keys::sent(&sent.sender), Some(sent.encode_to_vec())));
    }
    for digest in &commit.digests {
        let plain = DigestRecord { agencies: Vec::new(), ..*digest };
        puts.push((keys::digest(digest.day), Some(plain.encode_to_vec())));
    }
    for cursor in &commit.cursors {
        puts.push((keys::cursor(&cursor.agency), Some(number(cursor.next))));
    }
    for erasure in &commit.erasures {
        put_erasure(&mut puts, erasure);
    }
    for hold in &commit.holds {
        puts.push((keys::hold(hold.leaf), (!hold.lifted).then(|| hold.encode_to_vec())));
    }
    Ok(puts)
}

/// Small bodies that are envelopes and nothing else are found by their document.
fn bodies_by_digest(commit: &Commit) -> impl Iterator<Item = &BodyRecord> {
    let envelopes: HashSet<&[u8]> =
        commit.documents.iter().map(|document| &document.envelope_sha256[..]).collect();
    let parts: HashSet<&[u8]> =
        commit.documents.iter().flat_map(|document| &document.parts).map(|part| &part[..]).collect();
    commit.bodies.iter().filter(move |body| {
        let digest = &body.sha256[..];
        body.pack_plus_one == 0 || !envelopes.contains(digest) || parts.contains(digest)
    })
}

/// One entry for all leaves of a timeline or a watch, so that a circular does not cost one for each.
fn put_leaves(puts: &mut Vec<Put>, commit: &Commit) {
    let mut timelines: Vec<(u64, u64)> = Vec::with_capacity(commit.leaves.len());
    let mut feeds: Vec<(&str, u64)> = Vec::with_capacity(commit.leaves.len() * 2);
    for (leaf, index) in commit.leaves.iter().zip(commit.base_size..) {
        timelines.extend(leaf.document_plus_one.checked_sub(1).map(|document| (document, index)));
        feeds.extend(leaf.feeds.iter().map(|agency| (agency.as_str(), index)));
    }
    put_groups(puts, timelines, |document, last| keys::timeline(*document, last));
    put_groups(puts, feeds, |agency, last| keys::feed(agency, last));
}

fn put_groups<T: Ord>(puts: &mut Vec<Put>, mut leaves: Vec<(T, u64)>, key: impl Fn(&T, u64) -> Vec<u8>) {
    leaves.sort_unstable();
    // One leaf may name an agency twice.
    leaves.dedup();
    for of_one in leaves.chunk_by(|a, b| a.0 == b.0) {
        for group in of_one.chunks(GROUP) {
            let Some((owner, last)) = group.last() else { continue };
            let leaves: Vec<u64> = group.iter().map(|(_, leaf)| *leaf).collect();
            puts.push((key(owner, *last), Some(keys::gaps(&leaves))));
        }
    }
}

/// What readers need of an erasure stays; what the removal needs goes when it is done.
fn put_erasure(puts: &mut Vec<Put>, erasure: &ErasureRecord) {
    let lasting = ErasureRecord { remove: Vec::new(), ..erasure.clone() };
    puts.push((keys::erased(erasure.document), Some(lasting.encode_to_vec())));
    puts.push((keys::erasing(erasure.document), (!erasure.removed).then(|| erasure.encode_to_vec())));
    puts.extend(erasure.remove.iter().map(|body| (keys::body_of(&body.sha256), None)));
}

fn put_delivery(puts: &mut Vec<Put>, delivery: &DeliveryRecord) {
    let state = delivery.transport_state();
    let held = state == TransportState::Held;
    let waits = held || state == TransportState::Ready;
    let rank = crate::store::rank(delivery.urgency);
    puts.push((keys::delivery(delivery.document, &delivery.recipient), Some(delivery.encode_to_vec())));
    puts.push((
        keys::waiting(&delivery.recipient, rank, delivery.document),
        waits.then(|| keys::waiting_value(delivery.deadline_us, held)),
    ));
}

/// The names stand in the key.
fn pair_value(pair: &PairRecord) -> Vec<u8> {
    PairRecord { recipient: String::new(), sender: String::new(), ..*pair }.encode_to_vec()
}

fn number(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

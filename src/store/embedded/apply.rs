//! What a commit means to the index: one function for live commits, replay and rebuild.

use std::collections::HashSet;

use prost::Message;

use super::{frame::Layout, journal::FramePosition, keys};
use crate::{
    proto::TransportState,
    store::{
        Commit,
        records::{DeliveryRecord, LeafRecord},
    },
};

/// A key with its new value; `None` removes it.
pub type Put = (Vec<u8>, Option<Vec<u8>>);

/// A checked entry of a journal frame: segment, frame offset, entry offset, entry length.
pub type Place = [u8; 16];

/// The place of an entry.
pub fn place(frame: FramePosition, (at, len): (u32, u32)) -> Place {
    let mut place = [0; 16];
    place[..4].copy_from_slice(&frame.segment.to_be_bytes());
    place[4..8].copy_from_slice(&frame.offset.to_be_bytes());
    place[8..12].copy_from_slice(&at.to_be_bytes());
    place[12..].copy_from_slice(&len.to_be_bytes());
    place
}

/// The frame and the entry's offset and length.
pub fn parse_place(place: &Place) -> (FramePosition, (u32, u32)) {
    let word = |at: usize| u32::from_be_bytes([place[at], place[at + 1], place[at + 2], place[at + 3]]);
    (FramePosition { segment: word(0), offset: word(4) }, (word(8), word(12)))
}

/// Places of the commit's leaves, in order.
pub fn leaf_places(frame: FramePosition, layout: &Layout) -> Vec<Place> {
    layout.leaves.iter().map(|entry| place(frame, *entry)).collect()
}

/// The index entries that a commit adds, changes or removes. Applying them twice is the same as once.
/// `natural_taken` tells whether an older document has this number and notation.
pub fn puts<E>(
    commit: &Commit,
    frame: FramePosition,
    layout: &Layout,
    natural_taken: impl Fn(&[u8]) -> Result<bool, E>,
) -> Result<Vec<Put>, E> {
    let mut puts = Vec::with_capacity(commit.leaves.len() * 3 + commit.deliveries.len() * 2 + 16);
    for (leaf, index) in commit.leaves.iter().zip(commit.base_size..) {
        put_leaf(&mut puts, leaf, index);
    }
    let mut new_naturals = HashSet::new();
    for (document, entry) in commit.documents.iter().zip(&layout.documents) {
        puts.push((keys::document(document.index), Some(place(frame, *entry).to_vec())));
        let name = keys::name_of(&document.document_id, &document.sender, document.revision);
        puts.push((name, Some(number(document.index))));
        let natural = keys::natural(&document.sender, document.year, &document.number, &document.notation);
        if !natural_taken(&natural)? && new_naturals.insert(natural.clone()) {
            puts.push((natural, Some(number(document.index))));
        }
    }
    for (list, entry) in commit.lists.iter().zip(&layout.lists) {
        puts.push((keys::list(list.index), Some(place(frame, *entry).to_vec())));
    }
    for expansion in &commit.expansions {
        let open = expansion.next < expansion.total;
        puts.push((keys::expansion(expansion.list), open.then(|| expansion.encode_to_vec())));
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
    for body in &commit.bodies {
        puts.push((keys::body_of(&body.sha256), Some(body.encode_to_vec())));
    }
    for cursor in &commit.cursors {
        puts.push((keys::cursor(&cursor.agency), Some(number(cursor.next))));
    }
    Ok(puts)
}

fn put_leaf(puts: &mut Vec<Put>, leaf: &LeafRecord, index: u64) {
    if let Some(document) = leaf.document_plus_one.checked_sub(1) {
        puts.push((keys::timeline(document, index), Some(Vec::new())));
    }
    for agency in &leaf.feeds {
        puts.push((keys::feed(agency, index), Some(Vec::new())));
    }
}

fn put_delivery(puts: &mut Vec<Put>, delivery: &DeliveryRecord) {
    let waits = delivery.transport == i32::from(TransportState::Ready);
    let rank = crate::store::rank(delivery.urgency);
    puts.push((keys::delivery(delivery.document, &delivery.recipient), Some(delivery.encode_to_vec())));
    puts.push((
        keys::waiting(&delivery.recipient, rank, delivery.document),
        waits.then(|| delivery.deadline_us.to_be_bytes().to_vec()),
    ));
}

fn number(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

//! How a commit lies in a journal frame: checked entries, each readable on its own.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;

use crate::store::{
    Commit, StoreError,
    records::{ErasureRecord, Head, LeafRecord},
};

/// Kind (1), length (4), CRC-32C of kind and bytes (4).
pub const ENTRY_HEADER: usize = 9;

/// Upper bound of a serialized [`Head`] entry: a checkpoint with a few signatures.
pub const MAX_HEAD_ENTRY: u32 = 8 * 1024;

/// What most of them fit in: a checkpoint with a cosignature or two.
pub const SHORT_HEAD_ENTRY: u32 = 1024;

/// Entries that are longer are not searched for in a damaged payload: the list of 20,000 recipients is shorter.
const MAX_SALVAGED: usize = 1 << 20;
/// Bytes that the search may check: what looks like an entry is mostly none.
const SALVAGE_BUDGET: usize = 1 << 30;

/// What an entry holds. Numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Base = 1,
    Head = 2,
    Leaf = 3,
    Document = 4,
    List = 5,
    Expansion = 6,
    Delivery = 7,
    Message = 8,
    Parked = 9,
    Directory = 10,
    Body = 11,
    Cursor = 12,
    Action = 13,
    Erasure = 14,
    Hold = 15,
    Pair = 20,
    Sent = 21,
    Digest = 22,
}

impl Kind {
    /// True for the number of a kind.
    fn is_known(kind: u8) -> bool {
        (Self::Base as u8..=Self::Hold as u8).contains(&kind)
            || (Self::Pair as u8..=Self::Digest as u8).contains(&kind)
    }
}

/// Where the entries that are read on their own lie in the frame's payload.
#[derive(Debug, Default)]
pub struct Layout {
    /// Offset and length, header included, of each leaf.
    pub leaves: Vec<(u32, u32)>,
    /// Same for documents.
    pub documents: Vec<(u32, u32)>,
    /// Same for recipient lists.
    pub lists: Vec<(u32, u32)>,
    /// Same for body records.
    pub bodies: Vec<(u32, u32)>,
    /// Same for digests.
    pub digests: Vec<(u32, u32)>,
}

/// The size that a commit extends, as an entry.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Base {
    #[prost(uint64, tag = "1")]
    size: u64,
}

/// Serializes a commit behind what `out` holds. The head comes first, so that it can be read without the rest.
pub fn encode(commit: &Commit, out: &mut Vec<u8>) -> Layout {
    out.reserve(512 + commit.leaves.len() * 400);
    let mut out = Payload { start: out.len(), bytes: out };
    out.put(Kind::Head, &commit.head);
    out.put(Kind::Base, &Base { size: commit.base_size });
    let mut layout = Layout {
        leaves: out.put_all(Kind::Leaf, &commit.leaves),
        documents: out.put_all(Kind::Document, commit.documents.iter().map(|document| &**document)),
        lists: out.put_all(Kind::List, commit.lists.iter().map(|list| &**list)),
        ..Layout::default()
    };
    out.put_all(Kind::Expansion, &commit.expansions);
    out.put_all(Kind::Delivery, &commit.deliveries);
    out.put_all(Kind::Message, &commit.messages);
    out.put_all(Kind::Parked, &commit.parked);
    out.put_all(Kind::Directory, &commit.directory);
    layout.bodies = out.put_all(Kind::Body, &commit.bodies);
    out.put_all(Kind::Cursor, &commit.cursors);
    out.put_all(Kind::Action, &commit.actions);
    out.put_all(Kind::Erasure, &commit.erasures);
    out.put_all(Kind::Hold, &commit.holds);
    out.put_all(Kind::Pair, &commit.pairs);
    out.put_all(Kind::Sent, &commit.sent);
    layout.digests = out.put_all(Kind::Digest, &commit.digests);
    layout
}

/// Reads a commit back. Tree nodes are not in it.
pub fn decode(payload: &Bytes) -> Result<(Commit, Layout), StoreError> {
    let mut commit = Commit::default();
    let mut layout = Layout::default();
    let mut at = 0;
    while at < payload.len() {
        let (kind, body, len) = entry_at(payload, at)?;
        let place = (position(at), position(len));
        match kind {
            k if k == Kind::Head as u8 => commit.head = message(body)?,
            k if k == Kind::Base as u8 => commit.base_size = message::<Base>(body)?.size,
            k if k == Kind::Leaf as u8 => {
                commit.leaves.push(message(body)?);
                layout.leaves.push(place);
            }
            k if k == Kind::Document as u8 => {
                commit.documents.push(Arc::new(message(body)?));
                layout.documents.push(place);
            }
            k if k == Kind::List as u8 => {
                commit.lists.push(Arc::new(message(body)?));
                layout.lists.push(place);
            }
            k if k == Kind::Expansion as u8 => commit.expansions.push(message(body)?),
            k if k == Kind::Delivery as u8 => commit.deliveries.push(message(body)?),
            k if k == Kind::Message as u8 => commit.messages.push(message(body)?),
            k if k == Kind::Parked as u8 => commit.parked.push(message(body)?),
            k if k == Kind::Directory as u8 => commit.directory.push(message(body)?),
            k if k == Kind::Body as u8 => {
                commit.bodies.push(message(body)?);
                layout.bodies.push(place);
            }
            k if k == Kind::Cursor as u8 => commit.cursors.push(message(body)?),
            k if k == Kind::Action as u8 => commit.actions.push(message(body)?),
            k if k == Kind::Erasure as u8 => commit.erasures.push(message(body)?),
            k if k == Kind::Hold as u8 => commit.holds.push(message(body)?),
            k if k == Kind::Pair as u8 => commit.pairs.push(message(body)?),
            k if k == Kind::Sent as u8 => commit.sent.push(message(body)?),
            k if k == Kind::Digest as u8 => {
                commit.digests.push(message(body)?);
                layout.digests.push(place);
            }
            other => {
                return Err(StoreError::Damaged(format!(
                    "journal entry of unknown kind {other}: written by a newer version?"
                )));
            }
        }
        at += len;
    }
    Ok((commit, layout))
}

/// The erasures in a payload; its other entries are passed over.
pub fn erasures(payload: &Bytes) -> Result<Vec<ErasureRecord>, StoreError> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some([kind, l0, l1, l2, l3]) = payload.get(at..).and_then(|rest| rest.first_chunk().copied()) {
        if kind == Kind::Erasure as u8 {
            let (_, body, _) = entry_at(payload, at)?;
            found.push(message(body)?);
        }
        at += ENTRY_HEADER + u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    }
    Ok(found)
}

/// Decodes one entry that was read on its own.
pub fn decode_entry<M: Message + Default>(entry: &Bytes) -> Result<M, StoreError> {
    let (_, body, _) = entry_at(entry, 0)?;
    message(body)
}

/// The head from the beginning of a frame's payload.
pub fn decode_head(start: &Bytes) -> Result<Head, StoreError> {
    decode_entry(start)
}

/// The evidence of a leaf entry.
pub fn decode_leaf(entry: &Bytes) -> Result<LeafRecord, StoreError> {
    decode_entry(entry)
}

/// Entries that can still be read out of a damaged payload, with their offset, kind and content. A damaged header
/// hides where the next entry begins: it is searched for.
pub fn salvage(payload: &Bytes, found: &mut dyn FnMut(usize, u8, Bytes)) {
    let (mut at, mut budget) = (0, SALVAGE_BUDGET);
    while at + ENTRY_HEADER <= payload.len() && budget > 0 {
        let Some(len) = plausible(payload, at) else {
            at += 1;
            continue;
        };
        budget = budget.saturating_sub(len);
        match entry_at(payload, at) {
            Ok((kind, body, len)) => {
                found(at, kind, body);
                at += len;
            }
            Err(_) => at += 1,
        }
    }
}

/// Length of the entry that may begin here.
fn plausible(payload: &Bytes, at: usize) -> Option<usize> {
    let [kind, l0, l1, l2, l3] = *payload.get(at..)?.first_chunk()?;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    (Kind::is_known(kind) && len <= MAX_SALVAGED).then_some(len)
}

/// A payload in the making, at the end of a buffer.
struct Payload<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Payload<'_> {
    fn put_all<'a, M: Message + 'a>(
        &mut self,
        kind: Kind,
        records: impl IntoIterator<Item = &'a M>,
    ) -> Vec<(u32, u32)> {
        records.into_iter().map(|record| self.put(kind, record)).collect()
    }

    fn put<M: Message>(&mut self, kind: Kind, record: &M) -> (u32, u32) {
        let at = self.bytes.len();
        let len = record.encoded_len();
        self.bytes.put_u8(kind as u8);
        self.bytes.put_u32_le(position(len));
        self.bytes.put_u32_le(0);
        record.encode_raw(self.bytes);
        let crc = crc(kind as u8, &self.bytes[at + ENTRY_HEADER..]);
        self.bytes[at + 5..at + ENTRY_HEADER].copy_from_slice(&crc.to_le_bytes());
        (position(at - self.start), position(ENTRY_HEADER + len))
    }
}

fn entry_at(payload: &Bytes, at: usize) -> Result<(u8, Bytes, usize), StoreError> {
    let cut = || StoreError::Damaged(format!("journal entry at {at} is cut short"));
    let header: [u8; ENTRY_HEADER] =
        payload.get(at..at + ENTRY_HEADER).and_then(|bytes| bytes.try_into().ok()).ok_or_else(cut)?;
    let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let start = at + ENTRY_HEADER;
    let end = start.checked_add(len).filter(|end| *end <= payload.len()).ok_or_else(cut)?;
    if crc(kind, &payload[start..end]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(StoreError::Damaged(format!("journal entry at {at} fails its checksum")));
    }
    Ok((kind, payload.slice(start..end), ENTRY_HEADER + len))
}

fn message<M: Message + Default>(body: Bytes) -> Result<M, StoreError> {
    M::decode(body).map_err(|error| StoreError::Damaged(format!("journal entry: {error}")))
}

fn crc(kind: u8, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), body)
}

/// Frames are bounded far below 4 GiB by the journal.
fn position(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::samples;

    #[test]
    fn a_commit_reads_back() {
        let commit = samples::rich_commit();
        let mut payload = b"before".to_vec();
        let layout = encode(&commit, &mut payload);
        let payload = payload.split_off(6);
        let (back, back_layout) = decode(&payload.clone().into()).expect("whole");
        assert_eq!(Commit { nodes: Vec::new(), ..commit.clone() }, back);
        assert_eq!(layout.leaves, back_layout.leaves);
        let (at, len) = layout.leaves[1];
        let entry = Bytes::from(payload).slice(at as usize..(at + len) as usize);
        assert_eq!(decode_leaf(&entry).expect("leaf"), commit.leaves[1]);
    }

    #[test]
    fn what_one_damaged_byte_does_not_touch_is_salvaged() {
        let mut payload = Vec::new();
        encode(&samples::rich_commit(), &mut payload);
        let entries = |payload: Vec<u8>| {
            let mut entries = Vec::new();
            salvage(&payload.into(), &mut |at, kind, body| entries.push((at, kind, body)));
            entries
        };
        let whole = entries(payload.clone());
        assert_eq!(whole.iter().map(|(_, _, body)| ENTRY_HEADER + body.len()).sum::<usize>(), payload.len());
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 0x20;
            let mut expected = whole.clone();
            expected.retain(|(start, _, body)| !(*start..start + ENTRY_HEADER + body.len()).contains(&at));
            assert_eq!(entries(damaged), expected, "byte {at}");
        }
    }

    #[test]
    fn any_flipped_byte_is_seen() {
        let mut payload = Vec::new();
        encode(&samples::rich_commit(), &mut payload);
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 0x20;
            assert!(decode(&damaged.into()).is_err(), "byte {at}");
        }
    }
}

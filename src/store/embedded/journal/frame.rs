//! The bytes of frames and segment headers. Both headers are one 64-byte block, so neither straddles a disk
//! sector.

use std::fmt;

/// Everything in a segment begins at a multiple of this.
pub(super) const BLOCK: usize = 64;
/// Largest payload of a frame.
pub const MAX_PAYLOAD: usize = 64 << 20;

const FRAME_MAGIC: [u8; 4] = *b"TRF1";
const SEGMENT_MAGIC: [u8; 8] = *b"TRUCJRN1";
/// Where both headers keep the CRC-32C of the bytes before it.
const CRC_AT: usize = BLOCK - 4;

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FramePosition {
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Offset of the frame's header in the segment, a multiple of 64.
    pub offset: u32,
}

impl FramePosition {
    /// Of the first frame of a journal.
    #[must_use]
    pub fn first() -> Self {
        Self { segment: 1, offset: BLOCK as u32 }
    }
}

impl fmt::Display for FramePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Holds a commit.
    Commit,
    /// Empty: says that the frame before it was synced, so that damage there can't be taken for a torn tail.
    Seal,
}

/// Header of a frame: magic, kind, payload length and CRC, sequence, journal, CRC of the header itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub kind: Kind,
    pub len: u32,
    pub payload_crc: u32,
    pub seq: u64,
    /// Random number of the journal: bytes inside a payload can't pose as a frame without knowing it.
    pub journal: u64,
}

impl FrameHeader {
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(&FRAME_MAGIC);
        block[4] = match self.kind {
            Kind::Commit => 1,
            Kind::Seal => 2,
        };
        block[8..12].copy_from_slice(&self.len.to_le_bytes());
        block[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        block[16..24].copy_from_slice(&self.seq.to_le_bytes());
        block[24..32].copy_from_slice(&self.journal.to_le_bytes());
        close(block)
    }

    /// `None` unless every byte of the header is right.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let block = opened(block)?;
        let kind = match block[4] {
            1 => Kind::Commit,
            2 => Kind::Seal,
            _ => return None,
        };
        let len = u32_at(block, 8);
        let known = Self::begins(block) && len as usize <= MAX_PAYLOAD;
        known.then(|| Self {
            kind,
            len,
            payload_crc: u32_at(block, 12),
            seq: u64_at(block, 16),
            journal: u64_at(block, 24),
        })
    }

    /// True if a frame may begin here: the quick test of a search.
    pub fn begins(block: &[u8]) -> bool {
        block.starts_with(&FRAME_MAGIC)
    }

    /// Bytes from this frame's header to the next frame's.
    pub fn span(&self) -> u64 {
        span(self.len as usize)
    }
}

/// Bytes that a frame with a payload of `len` bytes takes.
pub(super) fn span(len: usize) -> u64 {
    (BLOCK + len.next_multiple_of(BLOCK)) as u64
}

/// First block of a segment, written together with the segment's first frame. Before that it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub number: u32,
    pub journal: u64,
    pub first_seq: u64,
    /// Length of the file as it was made.
    pub len: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&self.number.to_le_bytes());
        block[16..24].copy_from_slice(&self.journal.to_le_bytes());
        block[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        block[32..40].copy_from_slice(&self.len.to_le_bytes());
        close(block)
    }

    /// `None` unless every byte of the header is right.
    pub fn decode(block: &[u8]) -> Option<Self> {
        let block = opened(block)?;
        block.starts_with(&SEGMENT_MAGIC).then(|| Self {
            number: u32_at(block, 8),
            journal: u64_at(block, 16),
            first_seq: u64_at(block, 24),
            len: u64_at(block, 32),
        })
    }
}

fn close(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    let crc = crc32c::crc32c(&block[..CRC_AT]);
    block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    block
}

fn opened(block: &[u8]) -> Option<&[u8; BLOCK]> {
    let block = block.first_chunk::<BLOCK>()?;
    (crc32c::crc32c(&block[..CRC_AT]) == u32_at(block, CRC_AT)).then_some(block)
}

fn u32_at(block: &[u8; BLOCK], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&block[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(block: &[u8; BLOCK], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&block[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_every_bit_counts() {
        let frame = FrameHeader { kind: Kind::Seal, len: 7, payload_crc: 8, seq: 1 << 40, journal: u64::MAX };
        let segment = SegmentHeader { number: 3, journal: 9, first_seq: 5, len: 1 << 26 };
        assert_eq!(FrameHeader::decode(&frame.encode()), Some(frame));
        assert_eq!(SegmentHeader::decode(&segment.encode()), Some(segment));
        for bit in 0..BLOCK * 8 {
            let (mut one, mut other) = (frame.encode(), segment.encode());
            one[bit / 8] ^= 1 << (bit % 8);
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!((FrameHeader::decode(&one), SegmentHeader::decode(&other)), (None, None), "bit {bit}");
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let frame = FrameHeader { kind: Kind::Commit, len: 3, payload_crc: 0x0102_0304, seq: 5, journal: 6 };
        assert_eq!(
            hex::encode(frame.encode()),
            "5452463101000000030000000403020105000000000000000600000000000000\
             000000000000000000000000000000000000000000000000000000003d4ba230"
        );
    }

    #[test]
    fn short_or_zero_blocks_are_nothing() {
        assert_eq!(FrameHeader::decode(&[0; BLOCK]), None);
        assert_eq!(SegmentHeader::decode(&[0; BLOCK]), None);
        assert_eq!(FrameHeader::decode(b"TRF1"), None);
    }
}

//! One block of leaves: what the newest has in memory, what a full one has on disk, and how both are asked.

use std::{collections::BTreeMap, ops::RangeInclusive};

use prost::encoding::{decode_varint, encode_varint};

use super::bits::{self, BLOCK, Bits};
use crate::{
    domain::search::{Clause, Leaf, Query, Term, term},
    store::embedded::index::{Damage, Index, Put},
};

/// First byte of every key: 0 belongs to the engine.
const OURS: u8 = 1;
/// Least and greatest time of a block.
const SPAN: u8 = 1;
/// Times of its leaves.
const TIMES: u8 = 2;
/// More agencies than this are looked for by reading all that the block has.
const FEW: usize = 256;

/// Least and greatest time.
pub type Span = (i64, i64);

/// Key of an entry of a block.
fn key(block: u32, rest: &[u8]) -> Vec<u8> {
    [&[OURS][..], &block.to_be_bytes(), rest].concat()
}

/// Reads a block's span.
pub fn span(index: &dyn Index, block: u32) -> Result<Span, Damage> {
    let bytes = index.get(&key(block, &[SPAN]))?;
    let parsed = bytes.and_then(|bytes| {
        let (least, greatest) = bytes.split_first_chunk()?;
        Some((i64::from_be_bytes(*least), i64::from_be_bytes(greatest.try_into().ok()?)))
    });
    parsed.ok_or_else(|| damaged(block))
}

fn damaged(block: u32) -> Damage {
    Damage(format!("search: block {block} is not what was written"))
}

/// The newest block, which is not full.
#[derive(Default)]
pub struct Tail {
    /// Its number.
    pub block: u32,
    times: Vec<i64>,
    postings: BTreeMap<Term, Vec<u16>>,
}

impl Tail {
    /// An empty block.
    pub fn new(block: u32) -> Self {
        Self { block, ..Self::default() }
    }

    /// Leaves in it.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Takes the next leaf; the caller keeps it from getting more than [`BLOCK`].
    pub fn push(&mut self, leaf: Leaf) {
        let Ok(at) = u16::try_from(self.times.len()) else { return };
        self.times.push(leaf.time_us);
        for term in leaf.terms {
            let leaves = self.postings.entry(term).or_default();
            if leaves.last() != Some(&at) {
                leaves.push(at);
            }
        }
    }

    /// Least and greatest time.
    pub fn span(&self) -> Span {
        let least = self.times.iter().min().copied().unwrap_or(0);
        (least, self.times.iter().max().copied().unwrap_or(0))
    }

    /// What a full block is on disk.
    pub fn puts(&self) -> Vec<Put> {
        let (least, greatest) = self.span();
        let span = [least.to_be_bytes(), greatest.to_be_bytes()].concat();
        let mut puts = vec![
            (key(self.block, &[SPAN]), Some(span)),
            (key(self.block, &[TIMES]), Some(encode_times(&self.times))),
        ];
        let postings = self.postings.iter();
        puts.extend(postings.map(|(term, leaves)| (key(self.block, term), Some(bits::encode(leaves)))));
        puts
    }
}

/// A block that can be asked.
pub trait Postings {
    /// Adds the leaves that have this term.
    fn add(&self, term: &[u8], bits: &mut Bits) -> Result<(), Damage>;

    /// Adds the leaves that have a term which begins so and which is wanted; `wanted` gets the whole term.
    fn add_where(&self, prefix: &[u8], wanted: &dyn Fn(&[u8]) -> bool, bits: &mut Bits)
    -> Result<(), Damage>;

    /// Least and greatest time.
    fn span(&self) -> Span;

    /// Times of all leaves.
    fn times(&self) -> Result<Vec<i64>, Damage>;
}

impl Postings for Tail {
    fn add(&self, term: &[u8], bits: &mut Bits) -> Result<(), Damage> {
        let leaves = self.postings.get(term);
        leaves.into_iter().flatten().for_each(|leaf| bits.set((*leaf).into()));
        Ok(())
    }

    fn add_where(
        &self,
        prefix: &[u8],
        wanted: &dyn Fn(&[u8]) -> bool,
        bits: &mut Bits,
    ) -> Result<(), Damage> {
        let from = self.postings.range(prefix.to_vec()..);
        for (_, leaves) in from.take_while(|(term, _)| term.starts_with(prefix)).filter(|(t, _)| wanted(t)) {
            leaves.iter().for_each(|leaf| bits.set((*leaf).into()));
        }
        Ok(())
    }

    fn span(&self) -> Span {
        Self::span(self)
    }

    fn times(&self) -> Result<Vec<i64>, Damage> {
        Ok(self.times.clone())
    }
}

/// A full block.
pub struct Sealed<'a> {
    pub index: &'a dyn Index,
    pub block: u32,
    pub span: Span,
}

impl Postings for Sealed<'_> {
    fn add(&self, term: &[u8], bits: &mut Bits) -> Result<(), Damage> {
        let Some(leaves) = self.index.get(&key(self.block, term))? else { return Ok(()) };
        bits.add(&leaves).ok_or_else(|| damaged(self.block))
    }

    fn add_where(
        &self,
        prefix: &[u8],
        wanted: &dyn Fn(&[u8]) -> bool,
        bits: &mut Bits,
    ) -> Result<(), Damage> {
        let (prefix, own) = (key(self.block, prefix), key(self.block, &[]).len());
        // A block has a bounded number of leaves, and each a bounded number of terms.
        for (key, leaves) in self.index.scan(&prefix, &prefix, usize::MAX)? {
            if wanted(&key[own..]) {
                bits.add(&leaves).ok_or_else(|| damaged(self.block))?;
            }
        }
        Ok(())
    }

    fn span(&self) -> Span {
        self.span
    }

    fn times(&self) -> Result<Vec<i64>, Damage> {
        let times = self.index.get(&key(self.block, &[TIMES]))?;
        times.and_then(|times| decode_times(&times)).ok_or_else(|| damaged(self.block))
    }
}

/// Those of `bits` that answer the query. Cheap conditions first; nothing more is read when nothing is left.
pub fn matching(block: &dyn Postings, query: &Query, mut bits: Bits) -> Result<Bits, Damage> {
    if let Some(times) = &query.times {
        within(block, times, &mut bits)?;
    }
    for clause in &query.clauses {
        if bits.is_empty() {
            break;
        }
        let mut found = Bits::none();
        match clause {
            Clause::Any(terms) => terms.iter().try_for_each(|term| block.add(term, &mut found))?,
            Clause::In(field, values) if values.len() <= FEW => {
                values.iter().try_for_each(|value| block.add(&term(*field, value), &mut found))?;
            }
            Clause::In(field, values) => {
                let wanted =
                    |term: &[u8]| std::str::from_utf8(&term[1..]).is_ok_and(|value| values.contains(value));
                block.add_where(&[*field], &wanted, &mut found)?;
            }
            Clause::Prefix(term) => block.add_where(term, &|_| true, &mut found)?,
            Clause::Not(term) => {
                block.add(term, &mut found)?;
                bits.without(&found);
                continue;
            }
        }
        bits.keep(&found);
    }
    Ok(bits)
}

fn within(block: &dyn Postings, wanted: &RangeInclusive<i64>, bits: &mut Bits) -> Result<(), Damage> {
    let (least, greatest) = block.span();
    if wanted.contains(&least) && wanted.contains(&greatest) {
        return Ok(());
    }
    let mut found = Bits::none();
    if *wanted.start() <= greatest && least <= *wanted.end() {
        let times = block.times()?;
        let inside = times.iter().enumerate().filter(|(_, time)| wanted.contains(time));
        inside.take(BLOCK).for_each(|(leaf, _)| found.set(leaf));
    }
    bits.keep(&found);
    Ok(())
}

fn encode_times(times: &[i64]) -> Vec<u8> {
    let (mut bytes, mut before) = (Vec::with_capacity(times.len() * 3), 0_i64);
    for time in times {
        let step = time.wrapping_sub(before);
        // Zigzag: steps back are rare and small.
        encode_varint(((step << 1) ^ (step >> 63)).cast_unsigned(), &mut bytes);
        before = *time;
    }
    bytes
}

fn decode_times(mut bytes: &[u8]) -> Option<Vec<i64>> {
    let (mut times, mut before) = (Vec::with_capacity(BLOCK), 0_i64);
    while !bytes.is_empty() && times.len() < BLOCK {
        let zigzag = decode_varint(&mut bytes).ok()?;
        let step = (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed());
        before = before.wrapping_add(step);
        times.push(before);
    }
    bytes.is_empty().then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for times in [vec![], vec![1_790_000_000_000_000, 1_790_000_000_000_007, 5, -3, i64::MAX, i64::MIN]] {
            assert_eq!(decode_times(&encode_times(&times)), Some(times));
        }
        assert_eq!(decode_times(&[0x80]), None);
    }
}

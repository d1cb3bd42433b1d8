//! Which leaves of a block: a set of numbers below [`BLOCK`].

use std::ops::Range;

/// Leaves of a block.
pub const BLOCK: usize = if cfg!(test) { 256 } else { 32_768 };
const WORDS: usize = BLOCK / 64;
/// Bytes of a set that is written bit by bit; smaller sets are written as numbers of two bytes.
const DENSE: usize = BLOCK / 8;

/// A set of leaves of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits(Box<[u64]>);

impl Bits {
    /// No leaf.
    pub fn none() -> Self {
        Self(vec![0; WORDS].into())
    }

    /// All leaves of a range.
    pub fn of(range: Range<usize>) -> Self {
        let mut bits = Self::none();
        for (at, word) in bits.0.iter_mut().enumerate() {
            let clip = |leaf: usize| leaf.clamp(at * 64, at * 64 + 64) - at * 64;
            let (from, to) = (clip(range.start), clip(range.end));
            let below = |end: usize| if end == 64 { u64::MAX } else { (1 << end) - 1 };
            *word = below(to) & !below(from);
        }
        bits
    }

    /// Adds a leaf; beyond the block is nothing.
    pub fn set(&mut self, leaf: usize) {
        if let Some(word) = self.0.get_mut(leaf / 64) {
            *word |= 1 << (leaf % 64);
        }
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Keeps what is in both.
    pub fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine &= other);
    }

    /// Keeps what is not in the other.
    pub fn without(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine &= !other);
    }

    /// The leaves in order, from either end.
    pub fn leaves(&self) -> impl DoubleEndedIterator<Item = usize> {
        let words = self.0.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(|(at, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        })
    }

    /// Adds what [`encode`] wrote; `None` if that is something else.
    pub fn add(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() == DENSE {
            let (words, _) = bytes.as_chunks::<8>();
            self.0.iter_mut().zip(words).for_each(|(mine, word)| *mine |= u64::from_le_bytes(*word));
            return Some(());
        }
        let (numbers, rest) = bytes.as_chunks::<2>();
        numbers.iter().for_each(|number| self.set(u16::from_le_bytes(*number).into()));
        rest.is_empty().then_some(())
    }
}

/// Leaves of a block, ascending, as bytes.
pub fn encode(leaves: &[u16]) -> Vec<u8> {
    if leaves.len() * 2 < DENSE {
        return leaves.iter().flat_map(|leaf| leaf.to_le_bytes()).collect();
    }
    let mut bits = Bits::none();
    leaves.iter().for_each(|leaf| bits.set((*leaf).into()));
    bits.0.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = BTreeSet<u16>> {
        let below = u16::try_from(BLOCK - 1).unwrap();
        prop_oneof![
            proptest::collection::btree_set(0..=below, 0..50),
            (0..=below, 0..=below).prop_map(|(a, b)| (a.min(b)..=a.max(b)).collect()),
        ]
    }

    proptest! {
        #[test]
        fn sets_come_back_and_meet(a in numbers(), b in numbers()) {
            let read = |set: &BTreeSet<u16>| {
                let bytes = encode(&set.iter().copied().collect::<Vec<_>>());
                assert!(bytes.len() <= DENSE);
                let mut bits = Bits::none();
                bits.add(&bytes).unwrap();
                bits
            };
            let (mut x, y) = (read(&a), read(&b));
            let all = |set: &BTreeSet<u16>| set.iter().map(|leaf| usize::from(*leaf)).collect::<Vec<_>>();
            prop_assert_eq!(x.leaves().collect::<Vec<_>>(), all(&a));
            prop_assert_eq!(x.count(), a.len() as u64);
            x.keep(&y);
            let both: BTreeSet<u16> = a.intersection(&b).copied().collect();
            let mut backwards: Vec<_> = x.leaves().rev().collect();
            backwards.reverse();
            prop_assert_eq!(backwards, all(&both));
            prop_assert_eq!(x.is_empty(), both.is_empty());
        }
    }

    #[test]
    fn a_range_is_all_its_leaves() {
        for range in [0..0, 0..1, 3..64, 63..65, 64..128, 5..BLOCK, 0..BLOCK, BLOCK..BLOCK] {
            assert_eq!(Bits::of(range.clone()).leaves().collect::<Vec<_>>(), range.collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_odd_byte_is_no_set() {
        assert_eq!(Bits::none().add(&[1, 0, 2]), None);
        let mut bits = Bits::none();
        assert_eq!(bits.add(&[255, 255]), Some(()), "beyond the block");
        assert!(bits.is_empty());
    }
}

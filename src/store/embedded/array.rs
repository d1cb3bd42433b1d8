//! A flat file of records of one length: tree hashes, leaf places. A projection of the journal.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::store::{
    StoreError,
    files::{self, failed},
    written,
};

/// Bytes of a record's checksum, which stands behind it.
const SUM: usize = 4;

/// An array of `N`-byte records, each with a checksum over its index and itself. One writer; reads are one `pread` each and
/// may come from any thread.
///
/// Not durable by itself: after a start, truncate it to what is known to be synced and replay the journal.
pub struct FixedArray<const N: usize> {
    file: File,
    len: AtomicU64,
}

impl<const N: usize> FixedArray<N> {
    /// Bytes of a record on the disk.
    pub const STEP: usize = N + SUM;

    /// Opens or creates the file. Half a record at its end, left by a crash, is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        const { assert!(N > 0, "a record has at least one byte") };
        let file = files::open_private(path)?;
        let len = file.metadata()?.len() / Self::STEP as u64;
        file.set_len(len * Self::STEP as u64)?;
        Ok(Self { file, len: AtomicU64::new(len) })
    }

    /// Opens an existing file for reading and changes nothing; half a record at its end is not seen.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len() / Self::STEP as u64;
        Ok(Self { file, len: AtomicU64::new(len) })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes records from `index` on, over existing ones or right behind them; the same write may be
    /// repeated. A gap is `InvalidInput`.
    pub fn append_at(&self, index: u64, records: &[[u8; N]]) -> io::Result<()> {
        let len = self.len();
        if index > len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("record {index} of {len}")));
        }
        let mut bytes = Vec::with_capacity(records.len() * Self::STEP);
        for (record, index) in records.iter().zip(index..) {
            bytes.extend_from_slice(record);
            bytes.extend_from_slice(&sum(index, record));
        }
        written::write_all_at(&self.file, &bytes, index * Self::STEP as u64)?;
        self.len.fetch_max(index + records.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// One record; `None` beyond the end. One that is not what was written is damage.
    pub fn get(&self, index: u64) -> Result<Option<[u8; N]>, StoreError> {
        if index >= self.len() {
            return Ok(None);
        }
        Ok(self.range(index..index + 1)?.pop())
    }

    /// Records of a range; those that are missing are damage, as those that are not what was written.
    pub fn range(&self, range: Range<u64>) -> Result<Vec<[u8; N]>, StoreError> {
        let short = || StoreError::Damaged(format!("an array file ends before its record {}", range.end));
        if range.end > self.len() {
            return Err(short());
        }
        let count = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| short())?;
        let mut bytes = vec![0; count * Self::STEP];
        match self.file.read_exact_at(&mut bytes, range.start * Self::STEP as u64) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(short()),
            Err(error) => return Err(failed(format!("reading records {range:?}"))(error)),
        }
        let wrong =
            |index| StoreError::Damaged(format!("record {index} of an array is not what was written"));
        let whole = bytes.chunks_exact(Self::STEP).zip(range.clone());
        whole
            .map(|(stored, index)| match stored.split_first_chunk() {
                Some((record, check)) if *check == sum(index, record) => Ok(*record),
                _ => Err(wrong(index)),
            })
            .collect()
    }

    /// Forgets the records from `len` on; no effect if there are fewer.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        if len >= self.len() {
            return Ok(());
        }
        self.len.store(len, Ordering::Release);
        self.file.set_len(len * Self::STEP as u64)
    }

    /// Makes what was written durable. The name in the directory is the owner's business.
    pub fn sync(&self) -> io::Result<()> {
        written::sync_data(&self.file)
    }
}

/// The index is in it, so that a record that stands elsewhere is noticed.
fn sum(index: u64, record: &[u8]) -> [u8; SUM] {
    crc32c::crc32c_append(crc32c::crc32c(&index.to_be_bytes()), record).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_writes_may_be_repeated() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("array");
        let array = FixedArray::<4>::open(&path).expect("open");
        assert!(array.is_empty());
        array.append_at(0, &[*b"aaaa", *b"bbbb"]).expect("write");
        array.append_at(1, &[*b"bbbb", *b"cccc"]).expect("overlapping");
        array.append_at(0, &[*b"aaaa"]).expect("repeated");
        assert_eq!(array.len(), 3);
        assert_eq!(array.append_at(4, &[*b"eeee"]).expect_err("gap").kind(), io::ErrorKind::InvalidInput);
        array.append_at(3, &[]).expect("nothing");
        array.sync().expect("sync");
        drop(array);
        let array = FixedArray::<4>::open(&path).expect("open");
        let all: Vec<_> = (0..5).map(|index| array.get(index).expect("read")).collect();
        assert_eq!(all, [Some(*b"aaaa"), Some(*b"bbbb"), Some(*b"cccc"), None, None]);
        assert_eq!(array.get(u64::MAX).expect("read"), None);
        assert_eq!(array.range(1..3).expect("read"), [*b"bbbb", *b"cccc"]);
        assert_eq!(array.range(3..3).expect("read").len(), 0);
        assert!(matches!(array.range(2..5), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn it_is_truncated_to_whole_records() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("array");
        let array = FixedArray::<4>::open(&path).expect("open");
        array.append_at(0, &[*b"aaaa", *b"bbbb", *b"cccc"]).expect("write");
        drop(array);
        let whole = std::fs::read(&path).expect("read");
        assert_eq!(whole.len(), 3 * FixedArray::<4>::STEP);
        std::fs::write(&path, &whole[..whole.len() - 2]).expect("write");
        let array = FixedArray::<4>::open(&path).expect("open");
        assert_eq!(array.len(), 2);
        array.truncate(5).expect("no effect");
        array.truncate(1).expect("truncate");
        assert_eq!((array.len(), array.get(1).expect("read")), (1, None));
        array.append_at(1, &[*b"bbbb"]).expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), whole[..2 * FixedArray::<4>::STEP]);
    }

    #[test]
    fn a_file_that_became_shorter_is_damage() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("array");
        let array = FixedArray::<4>::open(&path).expect("open");
        array.append_at(0, &[*b"aaaa", *b"bbbb"]).expect("write");
        std::fs::write(&path, b"aaaab").expect("write");
        assert!(matches!(array.get(1), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn a_flipped_bit_and_a_record_that_stands_elsewhere_are_damage() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("array");
        let array = FixedArray::<4>::open(&path).expect("open");
        array.append_at(0, &[*b"aaaa", *b"bbbb"]).expect("write");
        let whole = std::fs::read(&path).expect("read");
        let (first, second) = whole.split_at(FixedArray::<4>::STEP);
        std::fs::write(&path, [second, first].concat()).expect("write");
        assert!(matches!(array.get(0), Err(StoreError::Damaged(_))));
        for at in 0..first.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).expect("write");
            assert!(matches!(array.get(0), Err(StoreError::Damaged(_))), "{at}");
            assert_eq!(array.get(1).expect("read"), Some(*b"bbbb"));
        }
    }
}

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

/// An array of `N`-byte records. One writer; reads are one `pread` each and may come from any thread.
///
/// Not durable by itself: after a start, truncate it to what is known to be synced and replay the journal.
pub struct FixedArray<const N: usize> {
    file: File,
    len: AtomicU64,
}

impl<const N: usize> FixedArray<N> {
    /// Opens or creates the file. Half a record at its end, left by a crash, is cut off.
    pub fn open(path: &Path) -> io::Result<Self> {
        const { assert!(N > 0, "a record has at least one byte") };
        let file = files::open_private(path)?;
        let len = file.metadata()?.len() / N as u64;
        file.set_len(len * N as u64)?;
        Ok(Self { file, len: AtomicU64::new(len) })
    }

    /// Opens an existing file for reading and changes nothing; half a record at its end is not seen.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len() / N as u64;
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
        written::write_all_at(&self.file, records.as_flattened(), index * N as u64)?;
        self.len.fetch_max(index + records.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// One record; `None` beyond the end.
    pub fn get(&self, index: u64) -> Result<Option<[u8; N]>, StoreError> {
        if index >= self.len() {
            return Ok(None);
        }
        let mut record = [0; N];
        match self.file.read_exact_at(&mut record, index * N as u64) {
            Ok(()) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(StoreError::Damaged(format!("an array file ends before its record {index}")))
            }
            Err(error) => Err(failed(format!("reading record {index}"))(error)),
        }
    }

    /// Records of a range; those that are missing are damage.
    pub fn range(&self, range: Range<u64>) -> Result<Vec<[u8; N]>, StoreError> {
        let short = || StoreError::Damaged(format!("an array file ends before its record {}", range.end));
        if range.end > self.len() {
            return Err(short());
        }
        let count = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| short())?;
        let mut records = vec![[0; N]; count];
        match self.file.read_exact_at(records.as_flattened_mut(), range.start * N as u64) {
            Ok(()) => Ok(records),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(short()),
            Err(error) => Err(failed(format!("reading records {range:?}"))(error)),
        }
    }

    /// Forgets the records from `len` on; no effect if there are fewer.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        if len >= self.len() {
            return Ok(());
        }
        self.len.store(len, Ordering::Release);
        self.file.set_len(len * N as u64)
    }

    /// Makes what was written durable. The name in the directory is the owner's business.
    pub fn sync(&self) -> io::Result<()> {
        written::sync_data(&self.file)
    }
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
        std::fs::write(&path, b"aaaabbbbcc").expect("write");
        let array = FixedArray::<4>::open(&path).expect("open");
        assert_eq!(array.len(), 2);
        array.truncate(5).expect("no effect");
        array.truncate(1).expect("truncate");
        assert_eq!((array.len(), array.get(1).expect("read")), (1, None));
        array.append_at(1, &[*b"xxxx"]).expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"aaaaxxxx");
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
}

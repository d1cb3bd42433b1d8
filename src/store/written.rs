//! What this process's stores have written and made durable since it started: for operators, and for who measures.
//!
//! Counted for the process, because every file of every store counts and none decides anything by it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static SYNCS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Times that a file or a directory was made durable.
#[must_use]
pub fn syncs() -> u64 {
    SYNCS.load(Relaxed)
}

/// Bytes written to journal, bodies and arrays. What the library of the index writes by itself is not seen here.
#[must_use]
pub fn bytes() -> u64 {
    BYTES.load(Relaxed)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    BYTES.fetch_add(bytes.len() as u64, Relaxed);
    file.write_all_at(bytes, offset)
}

/// Makes a file's content durable, and of what describes it only what is needed to read it.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    SYNCS.fetch_add(1, Relaxed);
    file.sync_data()
}

/// Makes a file, or the names in a directory, durable.
pub(super) fn sync_all(file: &File) -> io::Result<()> {
    SYNCS.fetch_add(1, Relaxed);
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted() {
        let file = tempfile::tempfile().expect("a file");
        let before = (syncs(), bytes());
        write_all_at(&file, b"12345", 0).expect("writes");
        sync_data(&file).expect("syncs");
        sync_all(&file).expect("syncs");
        // Other tests write too.
        assert!(syncs() >= before.0 + 2 && bytes() >= before.1 + 5);
    }
}

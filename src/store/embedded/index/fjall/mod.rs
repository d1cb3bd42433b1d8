//! The index in an LSM tree: fjall's, without fjall's own log and memory table. Our journal is that log: what is in
//! memory only is replayed from there, so a commit costs no second write.
//!
//! Entries go into a table in memory. When that is full, a thread writes it into files, durably and at once as a
//! whole, and then writes the mark. A second thread merges files. So the tree on disk is always the state after one
//! frame, and after a power cut the journal is read from that frame on.

mod disk;
mod table;
mod tree;

use std::{io, path::Path, sync::Arc, thread::JoinHandle};

use self::tree::{Inner, MAX_KEY};
use super::{Applied, Damage, Distrust, Entry, Index, Put, RESERVED, SealedFile, Sync, mark::Mark};
use crate::{store::files, threads::give_way};

/// See the module.
pub struct Fjall {
    inner: Arc<Inner>,
    applied: Option<Applied>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Fjall {
    /// Opens or makes the tree in `dir`. `mark` is the witness of how far it was durable.
    pub fn open(dir: &Path, mark: &Path, sync: Sync) -> Result<Self, Distrust> {
        let io = |error: io::Error| Distrust::Damaged(format!("opening: {error}"));
        let fresh = !dir.exists();
        if fresh {
            // The mark first: a tree without one has lost it.
            Mark { applied: None }.write(mark).map_err(io)?;
            files::make_dir(dir).map_err(io)?;
        }
        let Some(marked) = Mark::read(mark) else {
            return Err(Distrust::Damaged("its mark is missing or damaged".into()));
        };
        disk::check_list(dir).map_err(io)?;
        let inner = Arc::new(Inner::open(dir, mark, sync)?);
        let (has, was) = (inner.begin()?, marked.applied);
        if has.map(|applied| applied.seq) < was.map(|applied| applied.seq) {
            return Err(Distrust::Damaged(
                "it is older than its mark: another copy was put in its place".into(),
            ));
        }
        if has.map(|applied| applied.seq) == was.map(|applied| applied.seq) && has != was {
            return Err(Distrust::Damaged("it does not fit its mark".into()));
        }
        let mut opened = Self { inner, applied: has, threads: Vec::new(), closed: false };
        opened.start().map_err(io)?;
        Ok(opened)
    }

    fn start(&mut self) -> io::Result<()> {
        self.spawn("truc-index", Inner::flush_next)?;
        self.spawn("truc-merge", Inner::merge_next)
    }

    fn spawn(&mut self, name: &str, job: fn(&Inner) -> bool) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name(name.into());
        let work = move || {
            give_way();
            while job(&inner) {}
        };
        self.threads.push(thread.spawn(work)?);
        Ok(())
    }

    fn end_threads(&mut self) {
        self.inner.end();
        for thread in self.threads.drain(..) {
            // A panic in the tree was caught, and has marked it as damaged.
            let _ = thread.join();
        }
    }
}

impl Index for Fjall {
    fn apply(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage> {
        self.inner.write(applied, puts, publish)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        if key.first().is_none_or(|first| *first == RESERVED) {
            return Ok(None);
        }
        self.inner.get(key)
    }

    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Damage> {
        let start = from.max(prefix).max(&[RESERVED + 1]);
        let end = end_of(prefix);
        // A cursor may stand behind everything; the tree does not take a range that ends before it begins.
        if prefix.len() > MAX_KEY || end.as_deref().is_some_and(|end| end <= start) {
            return Ok(Vec::new());
        }
        self.inner.scan(start, prefix, end.as_deref(), limit)
    }

    fn applied(&self) -> Option<Applied> {
        self.applied
    }

    fn is_fit(&self) -> bool {
        self.inner.is_sound()
    }

    fn verify(&self) -> Result<(), Damage> {
        self.inner.verify()
    }

    fn sealed(&self) -> Result<Vec<SealedFile>, Damage> {
        self.inner.sealed()
    }

    fn close(&mut self) -> Result<(), Damage> {
        self.end_threads();
        self.inner.flush_all()?;
        self.closed = true;
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    #[cfg(test)]
    fn fail(&self) {
        self.inner.damage("by a test".into());
    }

    #[cfg(test)]
    fn abandon(&mut self) {
        self.end_threads();
        self.closed = true;
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// The first key behind all that begin with `prefix`; `None` if there is no end.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(end_of(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(end_of(&[7, 255, 255]), Some(vec![8]));
        assert_eq!((end_of(&[255]), end_of(&[])), (None, None));
    }
}

//! What a witness cosigned last of each log. Losing it would let a log show this witness a second history, so it is
//! durable before the cosignature leaves, and damage is told instead of read as "nothing yet".

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    StoreError,
    files::{failed, make_dir, replace_file},
};
use crate::{domain::id::Digest, tlog::note::MAX_NOTE};

/// A file for each log: the digest of what follows, then the signed note.
pub struct Witnessed {
    dir: PathBuf,
}

impl Witnessed {
    /// The folder `dir`, made if need be.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make_dir(dir).map_err(failed(format!("making {}", dir.display())))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The note that was kept last for this log.
    pub fn last(&self, origin: &str) -> Result<Option<String>, StoreError> {
        let path = self.path(origin);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(format!("reading {}", path.display()))(error)),
        };
        let damaged = || StoreError::Damaged(format!("{}: not what was written", path.display()));
        let text = String::from_utf8(bytes).map_err(|_| damaged())?;
        let (digest, note) = text.split_once('\n').ok_or_else(damaged)?;
        if note.len() > MAX_NOTE || Digest::of(note.as_bytes()).to_string() != digest {
            return Err(damaged());
        }
        Ok(Some(note.to_owned()))
    }

    /// Keeps a note in place of the one before: durable when this returns. After an error nobody knows which of the two
    /// stands there.
    pub fn keep(&self, origin: &str, note: &str) -> Result<(), StoreError> {
        let path = self.path(origin);
        let content = format!("{}\n{note}", Digest::of(note.as_bytes()));
        replace_file(&path, content.as_bytes()).map_err(failed(format!("writing {}", path.display())))
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.dir.join(format!("{}.note", Digest::of(origin.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_of_each_log_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("witness");
        let witnessed = Witnessed::open(&dir).unwrap();
        assert_eq!(witnessed.last("a").unwrap(), None);
        witnessed.keep("a", "one\n").unwrap();
        witnessed.keep("a", "two\n").unwrap();
        witnessed.keep("../b", "other\n").unwrap();
        let again = Witnessed::open(&dir).unwrap();
        assert_eq!(again.last("a").unwrap().as_deref(), Some("two\n"));
        assert_eq!(again.last("../b").unwrap().as_deref(), Some("other\n"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }

    #[test]
    fn damage_is_not_read_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let witnessed = Witnessed::open(folder.path()).unwrap();
        witnessed.keep("a", "origin\n20\nroot\n").unwrap();
        let path = witnessed.path("a");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(matches!(witnessed.last("a"), Err(StoreError::Damaged(_))), "byte {at}");
        }
        fs::write(&path, "").unwrap();
        assert!(matches!(witnessed.last("a"), Err(StoreError::Damaged(_))));
    }
}

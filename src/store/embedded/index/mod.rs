//! The index: an ordered map of what the journal means, which can always be made again from the journal.
//!
//! Two engines behind one seam. Both run guarded: an error or a panic inside is damage, after which the engine is
//! not asked again, the store stops, and the next start makes the index again.

mod fjall;
mod mark;
mod merge;
mod sealed;
mod sled;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::mark::Mark;
pub use self::sealed::{Pass, SealedFile};
use super::journal::FramePosition;
use crate::store::{StoreError, files};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);
/// A key with its new value; `None` removes it.
pub type Put = (Vec<u8>, Option<Vec<u8>>);
/// Makes durable what must be on disk before the index says so.
pub type Sync = Arc<dyn Fn() -> io::Result<()> + Send + std::marker::Sync>;

/// Keys that begin with this byte belong to the engine.
const RESERVED: u8 = 0;
/// Damaged folders kept for inspection.
const KEPT_ASIDE: usize = 2;

/// Which engine keeps the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// fjall's LSM tree; the journal is its log.
    #[default]
    Fjall,
    /// sled 0.34, trusted only after a clean stop.
    Sled,
}

/// The newest frame of the journal that an index holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its sequence number.
    pub seq: u64,
    /// Where it lies.
    pub position: FramePosition,
    /// Root of its signed head, which tells one log from another; zeros for an empty log.
    pub root: [u8; 32],
}

/// The index is damaged or its disk failed: set it aside and make it again from the journal. Nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history index can't be used: {0}")]
pub struct Damage(pub String);

/// Not [`StoreError::Damaged`]: what was written is in the journal, and the next start brings it back.
impl From<Damage> for StoreError {
    fn from(damage: Damage) -> Self {
        Self::Io { what: "asking the history index".into(), source: io::Error::other(damage) }
    }
}

/// What an engine does. One writer calls `apply`; reads may come from any thread at any time.
pub trait Index: Send + std::marker::Sync {
    /// Takes a frame's entries over, in the order of frames. Readers see all of them or none: all from the moment
    /// of `publish` on, which is called once, and in which no reader gets an answer.
    ///
    /// May wait while the engine is behind by more than its bound.
    fn apply(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage>;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage>;

    /// Entries whose keys begin with `prefix`, in order, from the key `from` on (inclusive), at most `limit`.
    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Damage>;

    /// The newest frame that was applied when it was opened, or `None` in an empty index.
    fn applied(&self) -> Option<Applied>;

    /// Frames that were applied and are not in the engine yet.
    fn lag(&self) -> u64 {
        0
    }

    /// False once it failed: no commit may follow.
    fn is_fit(&self) -> bool;

    /// Reads all its files and compares them with their checksums.
    fn verify(&self) -> Result<(), Damage> {
        Ok(())
    }

    /// Files that never change, with their checksums; none where an engine has none.
    fn sealed(&self) -> Result<Vec<SealedFile>, Damage> {
        Ok(Vec::new())
    }

    /// Leaves it so that the next start has nothing to replay, and ends its threads. Once.
    fn close(&mut self) -> Result<(), Damage>;

    /// True after [`close`](Self::close).
    fn is_closed(&self) -> bool;

    /// Lets the engine fail.
    #[cfg(test)]
    fn fail(&self);

    /// Ends as if the process were killed: nothing more is written.
    #[cfg(test)]
    fn abandon(&mut self);
}

/// Why an index on disk is not used.
#[derive(Debug)]
pub enum Distrust {
    /// It was not closed in order, and its engine is not trusted then; or another engine made it.
    Stale(String),
    /// It is not what was left there: to be kept for a look.
    Damaged(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Stale(why) | Self::Damaged(why)) = self;
        f.write_str(why)
    }
}

impl From<Damage> for Distrust {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage.to_string())
    }
}

impl Engine {
    /// The name in the configuration, which is also the name of the engine's folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }

    /// The engine that made the index in the folder of the history, if there is one.
    #[must_use]
    pub fn of(history: &Path) -> Option<Self> {
        [Self::Fjall, Self::Sled].into_iter().find(|engine| engine.dir(history).exists())
    }

    /// The engine's folder in the folder of the history.
    #[must_use]
    pub fn dir(self, history: &Path) -> PathBuf {
        history.join(self.name())
    }

    /// Opens or makes the index in the folder `history`. `sync` is called before anything becomes durable that must
    /// not be ahead of it; `max_lag` bounds the entries that wait for an engine that lags.
    pub fn open(self, history: &Path, max_lag: usize, sync: Sync) -> Result<Box<dyn Index>, Distrust> {
        if let Some(other) = Self::of(history).filter(|other| *other != self) {
            return Err(Distrust::Stale(format!(
                "the index was made by {}, not {}",
                other.name(),
                self.name()
            )));
        }
        let dir = self.dir(history);
        Ok(match self {
            Self::Fjall => Box::new(fjall::Fjall::open(&dir, &Mark::path(history), sync)?),
            Self::Sled => Box::new(sled::Sled::open(&dir, max_lag)?),
        })
    }
}

/// Says durably that the folder of the history can't be trusted: the next start makes it again.
pub fn distrust(history: &Path) -> io::Result<()> {
    sled::distrust(&Engine::Sled.dir(history))?;
    files::remove_if_there(&Mark::path(history))?;
    if history.exists() { files::sync_dir(history) } else { Ok(()) }
}

/// Removes the folder of the history. What makes it trusted goes first: half of it must not be.
pub fn discard(history: &Path) -> io::Result<()> {
    distrust(history)?;
    match fs::remove_dir_all(history) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Renames a folder that can't be trusted to `<name>.damaged-<n>` beside it and returns that path. The newest two
/// such folders are kept, older ones are removed.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or("history");
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = |number: u64| parent.join(format!("{name}.damaged-{number}"));
    let mut aside = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(name)?.strip_prefix(".damaged-"));
        aside.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    aside.sort_unstable();
    let number = aside.last().map_or(1, |newest| newest.saturating_add(1));
    fs::rename(dir, path(number))?;
    files::sync_dir(parent)?;
    aside.push(number);
    for old in aside.iter().rev().skip(KEPT_ASIDE) {
        fs::remove_dir_all(path(*old))?;
    }
    Ok(path(number))
}

impl Applied {
    const BYTES: usize = 48;

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.position.segment.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.position.offset.to_be_bytes());
        bytes[16..].copy_from_slice(&self.root);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (offset, root) = rest.split_first_chunk()?;
        let position =
            FramePosition { segment: u32::from_be_bytes(*segment), offset: u32::from_be_bytes(*offset) };
        Some(Self { seq: u64::from_be_bytes(*seq), position, root: root.try_into().ok()? })
    }
}

/// The words of a panic inside an engine.
fn panic_text(engine: Engine, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("{} panicked: {}", engine.name(), text.unwrap_or("without a word"))
}

//! The projection for look-ups into the past: sled, guarded. It can always be rebuilt from the journal.
//!
//! sled 0.34 can panic on damaged files, at open or at any later read, and its `flush` is not an fsync. So
//! every call is guarded (a panic is damage, and after damage sled is not called again), and its state is
//! trusted only after a clean close, which syncs the files itself and leaves a marker.

use std::{
    any::Any,
    fs::{self, File},
    io::{self, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::journal::FramePosition;
use crate::store::{StoreError, files};

/// Largest value. Far larger ones would go to side files that sled never syncs.
pub const MAX_VALUE: usize = 4096;
/// Largest key.
pub const MAX_KEY: usize = 1024;

/// sled's page cache; small, because hot state lives elsewhere.
const CACHE_BYTES: u64 = 32 << 20;
/// Keys that begin with this byte are ours.
const RESERVED: u8 = 0;
const APPLIED: [u8; 1] = [RESERVED];
const MARKER: &str = "clean";
const MARKER_MAGIC: &[u8; 8] = b"TRUCHST1";
/// Damaged folders kept for inspection.
const KEPT_ASIDE: usize = 2;
/// Bytes read at a time for the checksum of the files.
const CHECKSUM_CHUNK: usize = 1 << 20;
/// How often, and how long in between, sled's file lock is tried: its threads let go a little after the
/// close.
const LOCK_TRIES: usize = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);
/// A key and its new value; `None` removes it.
pub type Put = (Vec<u8>, Option<Vec<u8>>);

/// The history is damaged or its disk failed: set it aside and rebuild it from the journal. Nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history index can't be used: {0}")]
pub struct HistoryDamage(String);

/// Not [`StoreError::Damaged`]: what was written is in the journal, and the next start brings it back.
impl From<HistoryDamage> for StoreError {
    fn from(damage: HistoryDamage) -> Self {
        Self::Io { what: "asking the history index".into(), source: io::Error::other(damage) }
    }
}

/// Why writes were not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// See there.
    #[error(transparent)]
    Damage(#[from] HistoryDamage),
    /// Our own mistake; nothing was written.
    #[error("the history index takes no such entry: {0}")]
    Refused(&'static str),
}

impl From<HistoryError> for StoreError {
    fn from(error: HistoryError) -> Self {
        Self::Io { what: "writing the history index".into(), source: io::Error::other(error) }
    }
}

/// The newest frame of the journal that the history holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its sequence number.
    pub seq: u64,
    /// Where it lies.
    pub position: FramePosition,
}

/// An ordered map of small values. Reads and writes may come from any thread.
pub struct History {
    dir: PathBuf,
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
    damaged: AtomicBool,
    was_clean: bool,
}

impl History {
    /// True if the folder in `dir` was closed cleanly or holds nothing: only then is it worth opening.
    /// Otherwise [`set_aside`](Self::set_aside) it and rebuild.
    #[must_use]
    pub fn is_clean(dir: &Path) -> bool {
        is_fresh(dir) || Marker::read(dir).is_some()
    }

    /// Opens or creates the history in `dir` and removes its clean-close marker, durably. Reads all files
    /// once to compare them with the marker's checksum.
    pub fn open(dir: &Path) -> Result<Self, HistoryDamage> {
        let fresh = is_fresh(dir);
        let marker = Marker::read(dir);
        let prepared = files::make_dir(dir)
            .and_then(|()| files::remove_if_there(&dir.join(MARKER)))
            .and_then(|()| files::sync_dir(dir));
        prepared.map_err(|error| HistoryDamage(format!("preparing its folder: {error}")))?;
        if let Some(marker) = &marker
            && marker.checksum != checksum(dir).map_err(|error| HistoryDamage(format!("reading: {error}")))?
        {
            return Err(HistoryDamage("its files are not as they were closed".into()));
        }
        let db = open_sled(dir)?;
        let history = Self {
            dir: dir.to_owned(),
            db: Some(db),
            damaged: AtomicBool::new(false),
            was_clean: fresh || marker.is_some(),
        };
        let applied = history.applied()?;
        if marker.is_some_and(|marker| marker.applied != applied) {
            return Err(history.damage("what was applied last is missing".into()));
        }
        Ok(history)
    }

    /// False if the process did not close it the last time: what it holds can't be trusted.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// True after [`close`](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.db.is_none()
    }

    /// True once sled failed: it is not asked again, and must be made again.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// The newest frame that was applied, or `None` in an empty history.
    pub fn applied(&self) -> Result<Option<Applied>, HistoryDamage> {
        let Some(bytes) = self.guarded(|db| Ok(db.get(APPLIED)?.map(|bytes| bytes.to_vec())))? else {
            return Ok(None);
        };
        let applied =
            Applied::decode(&bytes).ok_or_else(|| self.damage("what was applied is unreadable".into()));
        applied.map(Some)
    }

    /// Writes or (`None`) removes entries and notes what was applied, if told: all of it or nothing. Not durable by
    /// itself. Keep it small (about 16 documents): sled's memory grows with the batch.
    pub fn apply(&self, puts: Vec<Put>, applied: impl Into<Option<Applied>>) -> Result<(), HistoryError> {
        let mut batch = sled::Batch::default();
        for (key, value) in puts {
            if key.first().is_none_or(|first| *first == RESERVED) {
                return Err(HistoryError::Refused("the key is empty or begins with a zero byte"));
            }
            if key.len() > MAX_KEY {
                return Err(HistoryError::Refused("the key is too long"));
            }
            match value {
                Some(value) if value.len() > MAX_VALUE => {
                    return Err(HistoryError::Refused("the value is too long"));
                }
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        if let Some(applied) = applied.into() {
            batch.insert(&APPLIED, &applied.encode());
        }
        Ok(self.guarded(|db| db.apply_batch(batch))?)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, HistoryDamage> {
        if key.first().is_none_or(|first| *first == RESERVED) {
            return Ok(None);
        }
        self.guarded(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Entries whose keys begin with `prefix`, in order, from the key `from` on (inclusive), at most `limit`.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, HistoryDamage> {
        let start = from.max(prefix).max(&[RESERVED + 1]);
        self.guarded(|db| {
            let mut found = Vec::new();
            for entry in db.range(start..).take(limit) {
                let (key, value) = entry?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key.to_vec(), value.to_vec()));
            }
            Ok(found)
        })
    }

    /// Bytes that its files take.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for_each_file(&self.dir, &mut |path| {
            bytes += path.metadata()?.len();
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Closes it so that the next start can trust it: flushes, syncs the files, leaves the marker.
    pub fn close(&mut self) -> Result<(), HistoryDamage> {
        let applied = self.applied()?;
        self.guarded(|db| db.flush().map(drop))?;
        let Some(db) = self.db.take() else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| drop(db))).map_err(|panic| HistoryDamage(panic_text(&*panic)))?;
        self.leave_marker(applied).map_err(|error| HistoryDamage(format!("closing: {error}")))
    }

    fn leave_marker(&self, applied: Option<Applied>) -> io::Result<()> {
        wait_until_released(&self.dir)?;
        for_each_file(&self.dir, &mut |path| File::open(path)?.sync_all())?;
        files::sync_dir(&self.dir)?;
        let marker = Marker { applied, checksum: checksum(&self.dir)? };
        files::replace_file(&self.dir.join(MARKER), &marker.encode())
    }

    /// Says durably that the folder in `dir`, if it exists, can't be trusted: before it is removed.
    pub fn distrust(dir: &Path) -> io::Result<()> {
        files::remove_if_there(&dir.join(MARKER))?;
        if dir.exists() { files::sync_dir(dir) } else { Ok(()) }
    }

    /// Renames a folder that can't be trusted to `<name>.damaged-<n>` beside it and returns that path. The
    /// newest two such folders are kept, older ones are removed.
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

    /// Calls sled, unless it failed before. Any failure is damage.
    fn guarded<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, HistoryDamage> {
        let Some(db) = self.db.as_ref().filter(|_| !self.damaged.load(Ordering::Acquire)) else {
            return Err(HistoryDamage("it failed before".into()));
        };
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.damage(error.to_string())),
            Err(panic) => Err(self.damage(panic_text(&*panic))),
        }
    }

    /// Lets sled fail, for tests of what is above it.
    #[cfg(test)]
    pub fn fail(&self) {
        self.damage("by a test".into());
    }

    fn damage(&self, why: String) -> HistoryDamage {
        self.damaged.store(true, Ordering::Release);
        HistoryDamage(why)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.damaged.load(Ordering::Acquire) {
            // Its destructor flushes, and could panic or wait for ever on what a panic left behind.
            std::mem::forget(db);
        } else {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}

impl Applied {
    fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.position.segment.to_be_bytes());
        bytes[12..].copy_from_slice(&self.position.offset.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk()?;
        let (segment, offset) = rest.split_first_chunk()?;
        let position = FramePosition {
            segment: u32::from_be_bytes(*segment),
            offset: u32::from_be_bytes(offset.try_into().ok()?),
        };
        Some(Self { seq: u64::from_be_bytes(*seq), position })
    }
}

/// What the file `clean` says about the history beside it.
struct Marker {
    applied: Option<Applied>,
    /// Over all files. sled may take a zeroed stretch of its log for the end of it and open without a word.
    checksum: u32,
}

impl Marker {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MARKER_MAGIC.to_vec();
        bytes.extend(self.checksum.to_be_bytes());
        bytes.extend(self.applied.into_iter().flat_map(Applied::encode));
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// `None` if it is missing or unreadable.
    fn read(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join(MARKER)).ok()?;
        let (content, crc) = bytes.split_last_chunk()?;
        let (checksum, applied) = content.strip_prefix(MARKER_MAGIC)?.split_first_chunk()?;
        let applied = (!applied.is_empty()).then(|| Applied::decode(applied));
        let whole = crc32c::crc32c(content) == u32::from_be_bytes(*crc) && applied != Some(None);
        whole.then(|| Self { applied: applied.flatten(), checksum: u32::from_be_bytes(*checksum) })
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, HistoryDamage> {
    wait_until_released(dir).map_err(|error| HistoryDamage(format!("opening: {error}")))?;
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| HistoryDamage(format!("opening: {error}"))),
        Err(panic) => Err(HistoryDamage(panic_text(&*panic))),
    }
}

/// Waits, within a bound, until no thread of sled holds its file any more.
fn wait_until_released(dir: &Path) -> io::Result<()> {
    let file = match File::open(db_path(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "its file is in use"))
}

fn db_path(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// CRC-32C over names and content of all files but the marker.
fn checksum(dir: &Path) -> io::Result<u32> {
    let mut paths = Vec::new();
    for_each_file(dir, &mut |path| {
        paths.push(path.to_owned());
        Ok(())
    })?;
    paths.retain(|path| *path != dir.join(MARKER));
    paths.sort();
    let mut buffer = vec![0; CHECKSUM_CHUNK];
    let mut crc = 0;
    for path in paths {
        let name = path.strip_prefix(dir).unwrap_or(&path).as_os_str().as_encoded_bytes();
        crc = crc32c::crc32c_append(crc, name);
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => crc = crc32c::crc32c_append(crc, &buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(crc)
}

fn is_fresh(dir: &Path) -> bool {
    match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn for_each_file(dir: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            for_each_file(&entry.path(), visit)?;
        } else {
            visit(&entry.path())?;
        }
    }
    Ok(())
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("sled panicked: {}", text.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn applied(seq: u64) -> Applied {
        Applied { seq, position: FramePosition { segment: 1, offset: 64 * seq as u32 } }
    }

    fn put(key: &str, value: &str) -> Put {
        (key.into(), Some(value.into()))
    }

    fn keys(found: Vec<Entry>) -> Vec<String> {
        found.into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
    }

    #[test]
    fn entries_and_what_was_applied_come_back_after_a_clean_close() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = temp.path().join("history");
        assert!(History::is_clean(&dir));
        let mut history = History::open(&dir).expect("open");
        assert_eq!((history.was_clean(), history.applied().expect("read")), (true, None));
        assert!(!History::is_clean(&dir), "while it is open there is no marker");
        history.apply(vec![put("a1", "x"), put("a2", "y"), put("b1", "z")], applied(7)).expect("apply");
        history.apply(vec![("a1".into(), None)], applied(8)).expect("apply");
        history.close().expect("close");

        assert!(History::is_clean(&dir));
        let history = History::open(&dir).expect("open");
        assert_eq!((history.was_clean(), history.applied().expect("read")), (true, Some(applied(8))));
        assert_eq!(history.get(b"a1").expect("read"), None);
        assert_eq!(history.get(b"a2").expect("read").as_deref(), Some(&b"y"[..]));
        assert!(history.bytes_on_disk().expect("read") > 0);
        drop(history);
        assert!(!History::is_clean(&dir), "dropped, not closed");
        assert!(!History::open(&dir).expect("open").was_clean());
    }

    #[test]
    fn scans_stay_within_prefix_start_and_limit() {
        let temp = tempfile::tempdir().expect("temp");
        let history = History::open(&temp.path().join("history")).expect("open");
        let puts = ["a1", "a2", "a3", "b1"].map(|key| put(key, "")).to_vec();
        history.apply(puts, applied(1)).expect("apply");
        assert_eq!(keys(history.scan(b"", b"a", 9).expect("scan")), ["a1", "a2", "a3"]);
        assert_eq!(keys(history.scan(b"a2", b"a", 9).expect("scan")), ["a2", "a3"]);
        assert_eq!(keys(history.scan(b"a2\0", b"a", 1).expect("scan")), ["a3"]);
        assert_eq!(keys(history.scan(b"", b"", 9).expect("scan")), ["a1", "a2", "a3", "b1"]);
        assert!(history.scan(b"b", b"a", 9).expect("scan").is_empty());
    }

    #[test]
    fn entries_that_are_too_large_or_reserved_are_refused_whole() {
        let temp = tempfile::tempdir().expect("temp");
        let history = History::open(&temp.path().join("history")).expect("open");
        let wrong = [
            (vec![b'k'], Some(vec![0; MAX_VALUE + 1])),
            (vec![b'k'; MAX_KEY + 1], Some(vec![])),
            (vec![], Some(vec![])),
            (vec![0, 1], None),
        ];
        for entry in wrong {
            let refused = history.apply(vec![put("good", ""), entry], applied(1));
            assert!(matches!(refused, Err(HistoryError::Refused(_))));
        }
        assert_eq!((history.get(b"good").expect("read"), history.applied().expect("read")), (None, None));
        history.apply(vec![(vec![b'k'; MAX_KEY], Some(vec![1; MAX_VALUE]))], applied(1)).expect("apply");
    }

    #[test]
    fn a_marker_that_does_not_match_is_damage() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = temp.path().join("history");
        let mut history = History::open(&dir).expect("open");
        history.apply(vec![put("a", "")], applied(1)).expect("apply");
        history.close().expect("close");
        let other = Marker { applied: Some(applied(2)), checksum: checksum(&dir).expect("read") };
        fs::write(dir.join(MARKER), other.encode()).expect("write");
        let error = History::open(&dir).err().expect("sled lost what was applied last");
        assert!(error.to_string().contains("applied"), "{error}");
        let other = Marker { applied: Some(applied(1)), checksum: 0 };
        fs::write(dir.join(MARKER), other.encode()).expect("write");
        let error = History::open(&dir).err().expect("the files changed");
        assert!(error.to_string().contains("files"), "{error}");
        fs::write(dir.join(MARKER), b"TRUCHST1 torn").expect("write");
        assert!(!History::is_clean(&dir), "an unreadable marker is none");
    }

    #[test]
    fn a_history_that_failed_is_not_called_again() {
        let temp = tempfile::tempdir().expect("temp");
        let mut history = History::open(&temp.path().join("history")).expect("open");
        let damage = history.guarded(|_| -> sled::Result<()> { panic!("inside sled") });
        assert!(damage.expect_err("caught").to_string().contains("inside sled"));
        history.get(b"a").expect_err("failed before");
        history.apply(vec![], applied(1)).expect_err("failed before");
        history.close().expect_err("failed before");
    }

    #[test]
    fn two_damaged_folders_are_kept() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = temp.path().join("history");
        for number in 1..=4 {
            fs::create_dir(&dir).expect("mkdir");
            fs::write(dir.join("db"), format!("{number}")).expect("write");
            let aside = History::set_aside(&dir).expect("rename");
            assert_eq!(aside, temp.path().join(format!("history.damaged-{number}")));
        }
        let mut left: Vec<_> =
            fs::read_dir(temp.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["history.damaged-3", "history.damaged-4"]);
        History::set_aside(&dir).expect_err("there is none");
    }

    fn files_of(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for_each_file(dir, &mut |path| {
            found.push(path.to_owned());
            Ok(())
        })
        .expect("list");
        found.sort();
        found
    }

    /// Fills a history and returns what it holds.
    fn well_filled(dir: &Path) -> Vec<Entry> {
        let mut history = History::open(dir).expect("open");
        let mut held = BTreeMap::new();
        for batch in 0..60_u64 {
            let puts = (0..16).map(|i| put(&format!("key {}", (batch * 7919 + i) % 500), &"v".repeat(1500)));
            let puts: Vec<Put> = puts.collect();
            held.extend(puts.clone().into_iter().map(|(key, value)| (key, value.expect("a value"))));
            history.apply(puts, applied(batch)).expect("apply");
        }
        history.close().expect("close");
        held.into_iter().collect()
    }

    #[derive(Clone, Debug)]
    enum Harm {
        Truncate,
        Noise(u16),
        Zero(u16),
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Whatever happens to its files: the right answer or damage, never a panic. (Without the marker the
        /// answer may be wrong: that is why it is asked for.)
        #[test]
        fn damaged_files_end_in_an_answer_or_in_damage(
            harm in prop_oneof![
                Just(Harm::Truncate), any::<u16>().prop_map(Harm::Noise), any::<u16>().prop_map(Harm::Zero),
            ],
            which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), keep_marker: bool,
        ) {
            let temp = tempfile::tempdir().expect("temp");
            let dir = temp.path().join("history");
            let held = well_filled(&dir);
            if !keep_marker {
                fs::remove_file(dir.join(MARKER)).expect("remove");
            }
            let files = files_of(&dir);
            let path = &files[which.index(files.len())];
            let mut bytes = fs::read(path).expect("read");
            let at = at.index(bytes.len() + 1);
            match harm {
                Harm::Truncate => bytes.truncate(at),
                Harm::Noise(len) => {
                    let harmed = bytes.iter_mut().skip(at).take(len.into());
                    harmed.enumerate().for_each(|(i, byte)| *byte ^= (i * 37 + 1) as u8);
                }
                Harm::Zero(len) => bytes.iter_mut().skip(at).take(len.into()).for_each(|b| *b = 0),
            }
            fs::write(path, bytes).expect("write");
            if let Ok(mut history) = History::open(&dir) {
                let found = history.scan(b"", b"", 10_000);
                prop_assert!(!history.was_clean() || found.is_err() || found == Ok(held));
                let _ = history.get(b"key 77");
                let _ = history.apply(vec![put("new", "value")], applied(1_000));
                let _ = history.close();
            }
        }
    }
}

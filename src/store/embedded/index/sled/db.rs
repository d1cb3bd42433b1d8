//! sled, guarded.
//!
//! sled 0.34 can panic on damaged files, at open or at any later read, and its `flush` is not an fsync. So
//! every call is guarded (a panic is damage, and after damage sled is not called again), and its state is
//! trusted only after a clean close, which syncs the files itself and leaves a marker.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    super::{Engine, RESERVED, panic_text},
    Applied, Damage, Entry, Put,
};
use crate::store::files;

/// Largest value. Far larger ones would go to side files that sled never syncs.
pub const MAX_VALUE: usize = 4096;
/// Largest key.
pub const MAX_KEY: usize = 1024;

/// sled's page cache; small, because hot state lives elsewhere.
const CACHE_BYTES: u64 = 32 << 20;
const APPLIED: [u8; 1] = [RESERVED];
const MARKER: &str = "clean";
const MARKER_MAGIC: &[u8; 8] = b"TRUCHST2";
/// Bytes read at a time for the checksum of the files.
const CHECKSUM_CHUNK: usize = 1 << 20;
/// How often, and how long in between, sled's file lock is tried: its threads let go a little after the
/// close.
const LOCK_TRIES: usize = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An ordered map of small values. Reads and writes may come from any thread.
pub struct Db {
    dir: PathBuf,
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
    damaged: AtomicBool,
}

impl Db {
    /// True if the folder in `dir` was closed cleanly or holds nothing: only then is it worth opening.
    #[must_use]
    pub fn is_clean(dir: &Path) -> bool {
        is_fresh(dir) || Marker::read(dir).is_some()
    }

    /// Opens or creates the history in `dir` and removes its clean-close marker, durably. Reads all files
    /// once to compare them with the marker's checksum.
    pub fn open(dir: &Path) -> Result<Self, Damage> {
        let marker = Marker::read(dir);
        let prepared = files::make_dir(dir)
            .and_then(|()| files::remove_if_there(&dir.join(MARKER)))
            .and_then(|()| files::sync_dir(dir));
        prepared.map_err(|error| Damage(format!("preparing its folder: {error}")))?;
        if let Some(marker) = &marker
            && marker.checksum != checksum(dir).map_err(|error| Damage(format!("reading: {error}")))?
        {
            return Err(Damage("its files are not as they were closed".into()));
        }
        let db = open_sled(dir)?;
        let history = Self { dir: dir.to_owned(), db: Some(db), damaged: AtomicBool::new(false) };
        let applied = history.applied()?;
        if marker.is_some_and(|marker| marker.applied != applied) {
            return Err(history.damage("what was applied last is missing".into()));
        }
        Ok(history)
    }

    /// True once sled failed: it is not asked again, and must be made again.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// The newest frame that was applied, or `None` in an empty history.
    pub fn applied(&self) -> Result<Option<Applied>, Damage> {
        let Some(bytes) = self.guarded(|db| Ok(db.get(APPLIED)?.map(|bytes| bytes.to_vec())))? else {
            return Ok(None);
        };
        let applied =
            Applied::decode(&bytes).ok_or_else(|| self.damage("what was applied is unreadable".into()));
        applied.map(Some)
    }

    /// Writes or (`None`) removes entries and notes what was applied, if told: all of it or nothing. Not durable by
    /// itself. Keep it small (about 16 documents): sled's memory grows with the batch.
    pub fn apply(&self, puts: Vec<Put>, applied: impl Into<Option<Applied>>) -> Result<(), Damage> {
        let mut batch = sled::Batch::default();
        for (key, value) in puts {
            if key.first().is_none_or(|first| *first == RESERVED) {
                return Err(refused("the key is empty or begins with a zero byte"));
            }
            if key.len() > MAX_KEY {
                return Err(refused("the key is too long"));
            }
            match value {
                Some(value) if value.len() > MAX_VALUE => {
                    return Err(refused("the value is too long"));
                }
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        if let Some(applied) = applied.into() {
            batch.insert(&APPLIED, &applied.encode()[..]);
        }
        self.guarded(|db| db.apply_batch(batch))
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        if key.first().is_none_or(|first| *first == RESERVED) {
            return Ok(None);
        }
        self.guarded(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Entries whose keys begin with `prefix`, in order, from the key `from` on (inclusive), at most `limit`.
    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Damage> {
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

    /// Closes it so that the next start can trust it: flushes, syncs the files, leaves the marker.
    pub fn close(&mut self) -> Result<(), Damage> {
        let applied = self.applied()?;
        self.guarded(|db| db.flush().map(drop))?;
        let Some(db) = self.db.take() else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| drop(db)))
            .map_err(|panic| Damage(panic_text(Engine::Sled, &*panic)))?;
        self.leave_marker(applied).map_err(|error| Damage(format!("closing: {error}")))
    }

    fn leave_marker(&self, applied: Option<Applied>) -> io::Result<()> {
        wait_until_released(&self.dir)?;
        for_each_file(&self.dir, &mut |path| File::open(path)?.sync_all())?;
        files::sync_dir(&self.dir)?;
        let marker = Marker { applied, checksum: checksum(&self.dir)? };
        files::replace_file(&self.dir.join(MARKER), &marker.encode())
    }

    /// Calls sled, unless it failed before. Any failure is damage.
    fn guarded<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Damage> {
        let Some(db) = self.db.as_ref().filter(|_| !self.damaged.load(Ordering::Acquire)) else {
            return Err(Damage("it failed before".into()));
        };
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.damage(error.to_string())),
            Err(panic) => Err(self.damage(panic_text(Engine::Sled, &*panic))),
        }
    }

    /// Lets sled fail, for tests of what is above it.
    #[cfg(test)]
    pub fn fail(&self) {
        self.damage("by a test".into());
    }

    fn damage(&self, why: String) -> Damage {
        self.damaged.store(true, Ordering::Release);
        Damage(why)
    }
}

impl Drop for Db {
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

/// Says durably that the folder in `dir`, if it exists, can't be trusted: before it is removed.
pub fn distrust(dir: &Path) -> io::Result<()> {
    files::remove_if_there(&dir.join(MARKER))?;
    if dir.exists() { files::sync_dir(dir) } else { Ok(()) }
}

/// Our own mistake; nothing was written.
fn refused(why: &str) -> Damage {
    Damage(format!("it takes no such entry: {why}"))
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
        bytes.extend(self.applied.iter().flat_map(Applied::encode));
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

fn open_sled(dir: &Path) -> Result<sled::Db, Damage> {
    wait_until_released(dir).map_err(|error| Damage(format!("opening: {error}")))?;
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| Damage(format!("opening: {error}"))),
        Err(panic) => Err(Damage(panic_text(Engine::Sled, &*panic))),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::embedded::journal::FramePosition;

    fn applied(seq: u64) -> Applied {
        Applied { seq, position: FramePosition { segment: 1, offset: 64 * seq as u32 }, root: [7; 32] }
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
        assert!(Db::is_clean(&dir));
        let mut history = Db::open(&dir).expect("open");
        assert_eq!(history.applied().expect("read"), None);
        assert!(!Db::is_clean(&dir), "while it is open there is no marker");
        history.apply(vec![put("a1", "x"), put("a2", "y"), put("b1", "z")], applied(7)).expect("apply");
        history.apply(vec![("a1".into(), None)], applied(8)).expect("apply");
        history.close().expect("close");

        assert!(Db::is_clean(&dir));
        let history = Db::open(&dir).expect("open");
        assert_eq!(history.applied().expect("read"), Some(applied(8)));
        assert_eq!(history.get(b"a1").expect("read"), None);
        assert_eq!(history.get(b"a2").expect("read").as_deref(), Some(&b"y"[..]));
        drop(history);
        assert!(!Db::is_clean(&dir), "dropped, not closed");
    }

    #[test]
    fn scans_stay_within_prefix_start_and_limit() {
        let temp = tempfile::tempdir().expect("temp");
        let history = Db::open(&temp.path().join("history")).expect("open");
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
        let history = Db::open(&temp.path().join("history")).expect("open");
        let wrong = [
            (vec![b'k'], Some(vec![0; MAX_VALUE + 1])),
            (vec![b'k'; MAX_KEY + 1], Some(vec![])),
            (vec![], Some(vec![])),
            (vec![0, 1], None),
        ];
        for entry in wrong {
            let refused = history.apply(vec![put("good", ""), entry], applied(1));
            assert!(refused.is_err_and(|damage| damage.to_string().contains("takes no such entry")));
        }
        assert_eq!((history.get(b"good").expect("read"), history.applied().expect("read")), (None, None));
        history.apply(vec![(vec![b'k'; MAX_KEY], Some(vec![1; MAX_VALUE]))], applied(1)).expect("apply");
    }

    #[test]
    fn a_marker_that_does_not_match_is_damage() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = temp.path().join("history");
        let mut history = Db::open(&dir).expect("open");
        history.apply(vec![put("a", "")], applied(1)).expect("apply");
        history.close().expect("close");
        let other = Marker { applied: Some(applied(2)), checksum: checksum(&dir).expect("read") };
        fs::write(dir.join(MARKER), other.encode()).expect("write");
        let error = Db::open(&dir).err().expect("sled lost what was applied last");
        assert!(error.to_string().contains("applied"), "{error}");
        let other = Marker { applied: Some(applied(1)), checksum: 0 };
        fs::write(dir.join(MARKER), other.encode()).expect("write");
        let error = Db::open(&dir).err().expect("the files changed");
        assert!(error.to_string().contains("files"), "{error}");
        fs::write(dir.join(MARKER), b"TRUCHST2 torn").expect("write");
        assert!(!Db::is_clean(&dir), "an unreadable marker is none");
    }

    #[test]
    fn a_history_that_failed_is_not_called_again() {
        let temp = tempfile::tempdir().expect("temp");
        let mut history = Db::open(&temp.path().join("history")).expect("open");
        let damage = history.guarded(|_| -> sled::Result<()> { panic!("inside sled") });
        assert!(damage.expect_err("caught").to_string().contains("inside sled"));
        history.get(b"a").expect_err("failed before");
        history.apply(vec![], applied(1)).expect_err("failed before");
        history.close().expect_err("failed before");
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
        let mut history = Db::open(dir).expect("open");
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
            let was_clean = Db::is_clean(&dir);
            if let Ok(mut history) = Db::open(&dir) {
                let found = history.scan(b"", b"", 10_000);
                prop_assert!(!was_clean || found.is_err() || found == Ok(held));
                let _ = history.get(b"key 77");
                let _ = history.apply(vec![put("new", "value")], applied(1_000));
                let _ = history.close();
            }
        }
    }
}

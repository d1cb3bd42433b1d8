//! `truc backup`: copies a data folder, also while its hub runs.
//!
//! Only the journal and the bodies are copied: all else is made again from them. The order is what makes a copy of a
//! running hub whole:
//!
//! - A frame is written only after the sync of the one before it. So the journal is copied from its end to its
//!   beginning, in small pieces: whatever is missing in the copy, everything behind it is missing too. At worst the last
//!   frame is half there, as after a power cut, and is cut at the next start.
//! - A body is durable before the frame that needs it. So bodies are copied after the journal: all that it needs are there.

use std::{
    fs::{self, File, FileTimes, Metadata},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::{Exit, Failure, Output};
use crate::{config::Config, hub::clock::Clock};

/// The journal is copied in pieces of a page, from the end: no later page is older than an earlier one.
const PAGE: usize = 4 * 1024;
/// File systems count time in ticks: a file that changed so lately may change again within the same.
const TICK: Duration = Duration::from_secs(2);
/// What a hub makes again, or what is under way: not copied.
const LEFT_OUT: [&str; 4] = ["history", "lock", "bodies/staged", "bodies/uploads"];

/// Copies the data folder of a hub, which may run. A second backup into the same folder copies only what changed.
///
/// The copy holds everything that was acknowledged before the backup began. Keys, certificates and configuration are
/// not in it: keep copies of them elsewhere. Then `truc rebuild --data DIR` makes its index, and `truc fsck` checks it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hub's configuration, which names the data folder.
    #[arg(long, env = "TRUC_CONFIG", default_value = "truc.toml")]
    config: PathBuf,
    /// Folder of the backup; made if missing. On another disk, better in another building.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Copied {
    files: u64,
    bytes: u64,
    /// As they were at the last backup.
    unchanged: u64,
}

impl Args {
    /// Runs the backup.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let data = Config::load(&self.config)?.data_dir;
        if !data.join("journal").is_dir() {
            let message = format!("{} is no data folder: it holds no journal", data.display());
            return Err(Failure::new(Exit::File, message));
        }
        let out = self.out.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&data, &out)).await;
        let copied = copied.map_err(|error| Failure::new(Exit::File, error))?;
        let copied = copied.map_err(|(path, error)| {
            Failure::new(Exit::File, format!("{}: {error}", path.display())).with_help(
                "Make room or mend what is named, then run the backup again: it goes on where it was.",
            )
        })?;
        output.print(&copied, |copied| {
            let Copied { files, bytes, unchanged } = copied;
            format!("{files} files copied ({bytes} bytes), {unchanged} unchanged")
        });
        Ok(())
    }
}

type Failed = (PathBuf, io::Error);

fn at(path: &Path) -> impl FnOnce(io::Error) -> Failed {
    let path = path.to_owned();
    move |error| (path, error)
}

fn copy(data: &Path, out: &Path) -> Result<Copied, Failed> {
    let mut copied = Copied::default();
    let mut segments = names(&data.join("journal"))?;
    segments.sort();
    for segment in segments.iter().rev() {
        let name = Path::new("journal").join(segment);
        copied.file(&data.join(&name), &out.join(&name), backwards)?;
    }
    copied.folder(data, out, Path::new(""))?;
    Ok(copied)
}

fn names(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    entries.map(|entry| entry.map(|entry| entry.file_name().into()).map_err(at(folder))).collect()
}

impl Copied {
    fn folder(&mut self, data: &Path, out: &Path, below: &Path) -> Result<(), Failed> {
        let target = out.join(below);
        fs::create_dir_all(&target).map_err(at(&target))?;
        for name in names(&data.join(below))? {
            let name = below.join(name);
            if name == Path::new("journal") || LEFT_OUT.iter().any(|left_out| name == Path::new(left_out)) {
                continue;
            }
            let (from, to) = (data.join(&name), out.join(&name));
            match fs::symlink_metadata(&from) {
                Ok(about) if about.is_dir() => self.folder(data, out, &name)?,
                Ok(about) if about.is_file() => self.file(&from, &to, forwards)?,
                // Sockets and the like hold nothing; what is gone was swept.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((from, error)),
            }
        }
        sync(&target)
    }

    /// Copies a file, unless the last backup has it as it is.
    fn file(
        &mut self,
        from: &Path,
        to: &Path,
        pour: fn(&File, &File, u64) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let source = match File::open(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(at(from))?,
        };
        let about = source.metadata().map_err(at(from))?;
        if fs::metadata(to).is_ok_and(|kept| same(&kept, &about)) {
            self.unchanged += 1;
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        // Under another name, so that a backup that is cut short leaves the last one's file.
        let unfinished = to.with_added_extension("unfinished");
        let target = File::create(&unfinished).map_err(at(&unfinished))?;
        let poured = pour(&source, &target, about.len()).and_then(|()| {
            target.set_times(FileTimes::new().set_modified(stamp(&about)?))?;
            target.sync_all()?;
            fs::rename(&unfinished, to)
        });
        poured.map_err(at(to))?;
        self.files += 1;
        self.bytes += about.len();
        to.parent().map_or(Ok(()), sync)
    }
}

/// The time that a copy bears: none that a later look could take for unchanged, where it may have changed meanwhile.
fn stamp(about: &Metadata) -> io::Result<SystemTime> {
    let now = crate::hub::clock::system_time(Clock::system().now());
    let changed = about.modified()?;
    let settled = now.duration_since(changed).is_ok_and(|ago| ago > TICK);
    Ok(if settled { changed } else { SystemTime::UNIX_EPOCH })
}

fn same(kept: &Metadata, now: &Metadata) -> bool {
    let times = kept.modified().ok().zip(now.modified().ok());
    kept.len() == now.len() && times.is_some_and(|(kept, now)| kept == now)
}

fn sync(folder: &Path) -> Result<(), Failed> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

fn forwards(mut source: &File, mut target: &File, _: u64) -> io::Result<()> {
    io::copy(&mut source, &mut target).map(drop)
}

fn backwards(source: &File, target: &File, len: u64) -> io::Result<()> {
    target.set_len(len)?;
    let mut page = [0; PAGE];
    for number in (0..len.div_ceil(PAGE as u64)).rev() {
        let offset = number * PAGE as u64;
        let wanted = usize::try_from((len - offset).min(PAGE as u64)).unwrap_or(PAGE);
        source.read_exact_at(&mut page[..wanted], offset)?;
        // Pages of zeros stay holes.
        if page[..wanted].iter().any(|byte| *byte != 0) {
            target.write_all_at(&page[..wanted], offset)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_change_is_not_copied_again() {
        let (data, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in ["journal", "bodies/packs", "bodies/uploads/x", "history/y"] {
            fs::create_dir_all(data.path().join(folder)).unwrap();
        }
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let write = |name: &str, bytes: &[u8], time: Option<SystemTime>| {
            let file = File::create(data.path().join(name)).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            if let Some(time) = time {
                file.set_times(FileTimes::new().set_modified(time)).unwrap();
            }
        };
        let odd = [vec![7; PAGE], vec![0; PAGE], vec![8; 100]].concat();
        write("journal/00000001.seg", &odd, Some(long_ago));
        write("journal/00000002.seg", &[1; 10], None);
        write("bodies/packs/00000001.pack", &[2; 10], Some(long_ago));
        write("bodies/uploads/x/half", &[3; 10], None);
        write("history/y/table", &[4; 10], None);
        let first = copy(data.path(), out.path()).unwrap();
        assert_eq!((first.files, first.unchanged), (3, 0));
        assert_eq!(fs::read(out.path().join("journal/00000001.seg")).unwrap(), odd);
        assert!(!out.path().join("history").exists() && !out.path().join("bodies/uploads").exists());
        // What was written a moment ago may have changed since without another time.
        let second = copy(data.path(), out.path()).unwrap();
        assert_eq!((second.files, second.unchanged), (1, 2));
        write("bodies/packs/00000001.pack", &[5; 10], None);
        assert_eq!(copy(data.path(), out.path()).unwrap().files, 2);
        assert_eq!(fs::read(out.path().join("bodies/packs/00000001.pack")).unwrap(), [5; 10]);
    }
}

//! Removes what no commit reaches: bodies without a commit, uploads that nobody went on with.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Payload, upload::Claims};
use crate::{domain::id::Digest, store::files};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files removed.
    pub files: u64,
    /// Their bytes. A complete upload and the body made of it are one file on disk.
    pub bytes: u64,
}

impl Payload {
    /// Removes bodies in files of their own that are not reachable, and uploads, complete or not; all only if
    /// they were not changed or adopted since `older_than`. That moment must lie so far back that every call
    /// of that time has ended, with its commit. Packs are not swept.
    pub fn sweep(&self, is_reachable: &dyn Fn(&Digest) -> bool, older_than: SystemTime) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for_each_in_folders(&self.dir.join("files"), &mut |path, digest| {
            if digest.is_some_and(|digest| is_reachable(&digest)) {
                return Ok(());
            }
            let _held = files::lock(&self.links);
            swept.remove(path, older_than)
        })?;
        for_each_in_folders(&self.dir.join("staged"), &mut |path, _| {
            let _held = files::lock(&self.links);
            swept.remove(path, older_than)
        })?;
        for_each_in_folders(&self.dir.join("uploads"), &mut |path, _| {
            // One that is being written is left alone.
            let Ok(_claim) = Claims::claim(&self.claims, path) else { return Ok(()) };
            swept.remove(path, older_than)
        })?;
        Ok(swept)
    }
}

impl Swept {
    fn remove(&mut self, path: &Path, older_than: SystemTime) -> io::Result<()> {
        let metadata = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if !metadata.is_file() || changed(&metadata) >= older_than {
            return Ok(());
        }
        files::remove_if_there(path)?;
        self.files += 1;
        self.bytes += metadata.len();
        Ok(())
    }
}

/// When content or links of a file changed last: adopting an old upload counts.
fn changed(metadata: &Metadata) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default());
    let nanos = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).unwrap_or_default());
    SystemTime::UNIX_EPOCH + seconds + nanos
}

/// Every file two levels down, with the digest that is its name.
fn for_each_in_folders(
    dir: &Path,
    visit: &mut dyn FnMut(&Path, Option<Digest>) -> io::Result<()>,
) -> io::Result<()> {
    for folder in fs::read_dir(dir)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder.path())? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(|name| hex::decode(name).ok());
            visit(&entry.path(), digest.and_then(|bytes| Digest::from_slice(&bytes)))?;
        }
    }
    Ok(())
}

pub(super) fn bytes_on_disk(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir.join("packs"))? {
        bytes += entry?.metadata()?.len();
    }
    for folder in ["files", "staged", "uploads"] {
        for_each_in_folders(&dir.join(folder), &mut |path, _| {
            // One that went away meanwhile takes no room. One with two names is counted as a body.
            let counted = |metadata: &Metadata| folder == "files" || metadata.nlink() == 1;
            bytes += path.metadata().ok().filter(counted).map_or(0, |metadata| metadata.len());
            Ok(())
        })?;
    }
    Ok(bytes)
}

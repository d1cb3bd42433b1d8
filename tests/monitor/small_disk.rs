//! A disk of its own for a hub, small enough to be filled. Needs root, for `mount`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Bytes of the disk.
const SIZE: u64 = 320 * MIB;
/// What `monitor.disk_reserve` is set to. The last quarter of it is the hub's own.
const RESERVE: u64 = 96 * MIB;

/// Ends with its value; the hub has to be gone before.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and a clear word, for who may not mount.
    pub fn make() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"])
            .arg(dir.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            println!("SKIPPED: a small disk needs `mount` as root");
            return None;
        }
        Some(Self(dir))
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("hub")
    }

    /// Keys of `[monitor]` for a hub on it.
    pub fn limits() -> String {
        format!("disk_reserve = \"{} MiB\"\ndisk_warning = \"{} MiB\"", RESERVE / MIB, RESERVE / MIB)
    }

    /// Into the reserve: the hub may hand over what it has.
    pub fn fill(&self) {
        self.fill_until(RESERVE / 2);
    }

    /// The reserve is nearly spent as well.
    pub fn fill_up(&self) {
        self.fill_until(RESERVE / 8);
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn fill_until(&self, left: u64) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        let block = vec![0; MIB as usize];
        while free(self.0.path()) > left {
            file.write_all(&block).unwrap();
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("something-else")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn free(path: &Path) -> u64 {
    let told = rustix::fs::statvfs(path).unwrap();
    told.f_bavail * told.f_frsize
}

//! ext4 on a loop device on the volatile disk, and the way to pull its plug.

#![allow(dead_code)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::disk::Disk;

/// Sparse: it takes only what is written.
const DISK_BYTES: u64 = 3 << 30;

/// The folders and the image of one disk; it keeps what survived from power-on to power-on.
pub struct Machine {
    dir: PathBuf,
    pub on: Option<Powered>,
}

/// While it has power. Dropping it takes everything apart again.
pub struct Powered {
    pub disk: Disk,
    device: Option<String>,
    folder: PathBuf,
}

impl Machine {
    /// A new disk in `dir`.
    pub fn new(dir: &Path) -> Self {
        for name in ["fuse", "mnt"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let machine = Self { dir: dir.to_owned(), on: None };
        File::create(machine.platter()).unwrap().set_len(DISK_BYTES).unwrap();
        let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
        run("mkfs.ext4", &["-q", "-F", "-J", "size=16", "-E", options, text(&machine.platter())]);
        machine
    }

    fn platter(&self) -> PathBuf {
        self.dir.join("platter")
    }

    /// Where the file system is mounted.
    pub fn folder(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// Power on: ext4 recovers by its journal, as after any cut.
    pub fn power_on(&mut self) -> &Disk {
        assert!(self.on.is_none(), "it has power");
        let disk = Disk::mount(&self.platter(), &self.dir.join("fuse")).unwrap();
        let image = disk.image();
        let mut powered = Powered { disk, device: None, folder: self.folder() };
        let device = run("losetup", &["--find", "--show", text(&image)]);
        let device = powered.device.insert(device.trim().to_owned());
        run("mount", &["-t", "ext4", "-o", "noatime", device, text(&self.folder())]);
        &self.on.insert(powered).disk
    }

    pub fn disk(&self) -> &Disk {
        &self.on.as_ref().unwrap().disk
    }

    /// Takes everything apart; a disk that still works is unmounted in order.
    pub fn power_off(&mut self) {
        self.on = None;
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        let folder = text(&self.folder);
        if !Command::new("umount").arg(folder).output().is_ok_and(|done| done.status.success()) {
            let _ = Command::new("umount").args(["-l", folder]).output();
        }
        if let Some(device) = self.device.take() {
            let _ = Command::new("losetup").args(["-d", &device]).output();
        }
    }
}

/// Runs a tool that must succeed; returns what it says.
pub fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

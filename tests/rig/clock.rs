//! A hub whose wall clock a test moves while it runs. Needs `cc`, which Rust's linker is.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The clock of one hub.
pub struct MovedClock(PathBuf);

impl MovedClock {
    /// Makes the clock in `dir`, and a program that runs the hub by it.
    pub fn make(dir: &Path) -> (Self, PathBuf) {
        let (clock, library, program) = (dir.join("clock"), dir.join("clock.so"), dir.join("truc"));
        std::fs::write(&clock, 0i64.to_ne_bytes()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/moved_clock.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap().success());
        let script = format!(
            "#!/bin/sh\nMOVED_CLOCK='{}' LD_PRELOAD='{}' exec '{}' \"$@\"\n",
            clock.display(),
            library.display(),
            env!("CARGO_BIN_EXE_truc")
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        (Self(clock), program)
    }

    /// Off by so many seconds from now on. In place: the hub has the file mapped.
    pub fn set(&self, seconds: i64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&self.0).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}

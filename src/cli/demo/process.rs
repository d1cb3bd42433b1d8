//! The hub of the demo: this very binary in a process of its own, so that it can be killed.

use std::path::{Path, PathBuf};

pub use crate::cli::hub_process::{HubProcess, free_port};
use crate::cli::{Exit, Failure};

/// Writes the hub's configuration and returns its path.
pub fn configure(dir: &Path, port: u16) -> Result<PathBuf, Failure> {
    let path = dir.join("truc.toml");
    let text = format!(
        "origin = \"demo.truc.example/log\"\n\
         data_dir = \"hub\"\n\
         [listen]\naddress = \"127.0.0.1:{port}\"\n\
         [monitor]\naddress = \"127.0.0.1:0\"\n\
         [delivery]\nlease = \"3s\"\nretry_first = \"100ms\"\nretry_max = \"1s\"\n\
         [logging]\nfilter = \"warn,truc::store::embedded::open=error\"\n"
    );
    std::fs::write(&path, text).map_err(|error| Failure::new(Exit::File, error))?;
    Ok(path)
}

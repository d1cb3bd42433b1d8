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

/// Opens the web console of a configuration on a free port, which it returns. In so small a country two documents are
/// many: what moves them needs a second person.
pub fn open_console(config: &Path) -> Result<u16, Failure> {
    let file = |error: std::io::Error| Failure::new(Exit::File, error);
    let port = free_port()?;
    let text = std::fs::read_to_string(config).map_err(file)?;
    let console = format!("[console]\naddress = \"127.0.0.1:{port}\"\n[operator]\nfour_eyes_above = 1\n");
    std::fs::write(config, format!("{text}{console}")).map_err(file)?;
    Ok(port)
}

//! Whether this machine can break a disk.

use std::{
    fs::{self, File},
    process::Command,
};

/// True when root, /dev/fuse and these tools are there; else prints what is missing.
pub fn able(what: &str, tools: &[&str]) -> bool {
    let missing = missing(tools);
    if let Some(missing) = &missing {
        println!("SKIPPED: {what} need {missing}");
    }
    missing.is_none()
}

fn missing(tools: &[&str]) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    if uid.and_then(|ids| ids.split_whitespace().nth(1)) != Some("0") {
        return Some("root".into());
    }
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return Some("/dev/fuse".into());
    }
    let tool = tools.iter().find(|tool| Command::new(tool).arg("--version").output().is_err());
    tool.map(|tool| (*tool).to_owned())
}

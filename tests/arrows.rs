//! Guards the rings: which folder may know which. A forbidden arrow fails here, with file and line.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folder or file under `src/`, and the modules of this crate that it may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("tlog", &["tlog"]),
    ("domain", &["domain", "proto"]),
    ("daily", &["daily", "domain", "tlog", "proto"]),
    ("verify", &["verify", "daily", "domain", "tlog", "proto"]),
    ("store", &["store", "daily", "domain", "tlog", "proto", "threads"]),
    ("hub", &["hub", "store", "daily", "domain", "tlog", "proto", "threads"]),
    ("edge", &["edge", "hub", "domain", "tlog", "proto", "rpc"]),
    ("console", &["console", "edge", "hub", "verify", "domain", "proto"]),
    ("client", &["client", "verify", "domain", "tlog", "proto", "rpc"]),
    ("config", &["config", "edge", "tlog"]),
    ("telemetry", &["telemetry", "config", "hub", "domain"]),
    ("threads", &[]),
];

/// Words that only some places may use, outside tests.
const WORDS: &[(&str, &[&str])] = &[
    ("sled::", &["store/embedded"]),
    ("lsm_tree::", &["store/embedded/index"]),
    ("tonic::", &["edge", "client", "cli", "rpc"]),
    ("axum::", &["console"]),
    ("askama::", &["console"]),
    ("tokio::spawn", &["hub", "edge/tls", "cli"]),
    ("SystemTime::now", &["hub/clock.rs", "cli", "client"]),
    ("std::fs", &["store", "cli", "client", "config", "edge/tls", "verify"]),
    ("tokio::", &["hub", "edge", "console", "client", "cli", "telemetry"]),
    ("prometheus_client::", &["edge/monitor"]),
    ("opentelemetry", &["telemetry"]),
    ("tracing::", &["store", "hub", "edge", "console", "client", "cli", "telemetry", "threads"]),
];

#[test]
fn arrows_point_inward() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let Some((_, allowed)) = ARROWS.iter().find(|(place, _)| is_in(&file, place)) else { continue };
        for (number, line) in (1..).zip(without_tests(&text).lines()) {
            for named in modules_named(line) {
                if !allowed.contains(&named.as_str()) {
                    broken.push(format!("src/{}:{number}: names crate::{named}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "forbidden arrows:\n{}", broken.join("\n"));
}

#[test]
fn tools_stay_where_they_belong() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        for (number, line) in (1..).zip(without_tests(&text).lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for (word, places) in WORDS {
                if code.contains(word) && !places.iter().any(|place| is_in(&file, place)) {
                    broken.push(format!("src/{}:{number}: uses {word}", file.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "out of place:\n{}", broken.join("\n"));
}

#[test]
fn every_ring_is_really_read() {
    for (place, _) in ARROWS {
        assert!(sources().iter().any(|(file, _)| is_in(file, place)), "src/{place} is gone: mend this list");
    }
    assert_eq!(
        modules_named("use crate::{domain::id, store::{Commit, X}, tlog};"),
        ["domain", "store", "tlog"]
    );
    assert_eq!(modules_named("let x = crate::hub::Hub::new(); // crate::edge"), ["hub"]);
}

/// Modules after `crate::` on a line; `use crate::{` lists that go over lines are joined before.
fn modules_named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut named = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => named.extend(top_level(list)),
            None => named.extend(word(rest)),
        }
    }
    named
}

/// First words of a `use` list's entries.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut entry, mut words) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.extend(word(&std::mem::take(&mut entry))),
            c if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    words.extend(word(&entry));
    words
}

fn word(text: &str) -> Option<String> {
    let word: String = text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The code before the tests of a file, with `use` statements on one line each.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut joined = String::new();
    let mut inside_use = false;
    for line in code.lines() {
        inside_use |= line.trim_start().starts_with("use ") || line.trim_start().starts_with("pub use ");
        joined.push_str(line);
        if inside_use && !line.trim_end().ends_with(';') {
            joined.push(' ');
            continue;
        }
        inside_use = false;
        joined.push('\n');
    }
    joined
}

fn is_in(file: &Path, place: &str) -> bool {
    file.starts_with(place) || file == Path::new(&format!("{place}.rs"))
}

/// Every source file but those that hold only tests, with its path under `src/`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    let relative = |path: PathBuf| path.strip_prefix(&root).expect("below src").to_owned();
    let files =
        found.into_iter().map(|path| (relative(path.clone()), fs::read_to_string(path).expect("text")));
    files.filter(|(file, _)| !is_test_file(file)).collect()
}

fn is_test_file(file: &Path) -> bool {
    file.ends_with("tests.rs")
        || file.ends_with("contract.rs")
        || file.components().any(|c| c.as_os_str() == "tests")
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

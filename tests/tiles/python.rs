//! `examples/python/check_log.py` against a hub: not a line of it is the hub's own code.

use std::{path::Path, process::Command};

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_checks_the_log() {
    let Some(python) = python() else {
        println!("skipped: there is no python3 with the package cryptography");
        return;
    };
    let mut stage = Stage::open().await;
    let saved = stage.path("saved");
    let saved = saved.to_str().unwrap();
    stage.grow(0..10).await;
    assert_eq!(check(&stage, &python, &["--everything", "--save", saved]), Ok(()));
    stage.back_up().await;
    stage.grow(10..600).await;
    for index in ["0", "255", "256", "300", "599"] {
        assert_eq!(check(&stage, &python, &["--old", saved, "--index", index]), Ok(()));
    }
    assert_eq!(check(&stage, &python, &["--old", saved, "--everything", "--save", saved]), Ok(()));

    stage.restore().await;
    let words = check(&stage, &python, &["--old", saved]).unwrap_err();
    assert!(words.contains("went back"), "{words}");
    stage.grow(601..1400).await;
    let words = check(&stage, &python, &["--old", saved]).unwrap_err();
    assert!(words.contains("forked"), "{words}");
    assert_eq!(check(&stage, &python, &["--everything"]), Ok(()));
    let words = check(&stage, &python, &["--index", "100000"]).unwrap_err();
    assert!(words.contains("no leaf"), "{words}");
}

/// Its words when it ends with 1.
fn check(stage: &Stage, python: &str, more: &[&str]) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/check_log.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args(["--url", &stage.url()])
        .arg("--ca")
        .arg(stage.ca())
        .arg("--vkey")
        .arg(stage.trust());
    let output = command.args(more).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(words),
        code => panic!("{code:?}: {words}"),
    }
}

/// The system's interpreter, or the one of `tests/python_client.rs`, whichever has the one package that is needed.
fn python() -> Option<String> {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client/bin/python");
    let has = |python: &String| {
        Command::new(python)
            .args(["-c", "import cryptography"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    ["python3".to_owned(), made.to_str()?.to_owned()].into_iter().find(has)
}

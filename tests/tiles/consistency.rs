//! `truc audit checkpoint` and `truc audit consistency`: what an auditor kept is held against what the hub has now.

use std::{fs, process::Command};

use serde_json::Value;

use super::stage::Stage;

/// The program as the auditor of this hub: exit code, answer, words on standard error.
fn audit(stage: &Stage, args: &[&str]) -> (Option<i32>, Value, String) {
    let hub = format!("https://localhost:{}", stage.rig.port);
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(args).arg("--json").env_clear().env("TRUC_HUB", hub).env("TRUC_PKI", stage.rig.certs());
    let output = command.env("TRUC_AS", "auditor").output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), told, String::from_utf8(output.stderr).unwrap())
}

/// Asks for the verdict; its word and the exit code.
fn verdict(stage: &Stage, args: &[&str]) -> (Option<i32>, String) {
    let (code, told, error) = audit(stage, &[&["audit", "consistency"], args].concat());
    (code, told["verdict"].as_str().unwrap_or_else(|| panic!("{error}")).to_owned())
}

fn same() -> (Option<i32>, String) {
    (Some(0), "SAME_HISTORY".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_checkpoint_shows_what_became_of_the_log() {
    let mut stage = Stage::open().await;
    let root = stage.path("");
    let text = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let (early, kept, proof, trust) = (text("early"), text("kept"), text("proof"), text("trusted"));
    let (code, first, _) = audit(&stage, &["audit", "checkpoint", "-o", &early]);
    assert_eq!(
        (code, first["checkpoint"].as_str()),
        (Some(0), Some(&fs::read_to_string(&early).unwrap()[..]))
    );
    stage.grow(0..5).await;
    stage.back_up().await;
    stage.grow(5..20).await;
    audit(&stage, &["audit", "checkpoint", "-o", &kept]);

    assert_eq!(verdict(&stage, &[&early, "-o", &proof]), same());
    assert_eq!(verdict(&stage, &[&early, &kept]), same());
    assert_eq!(verdict(&stage, &["1"]), same());
    assert_eq!(verdict(&stage, &["3", "9", "--lang", "vi"]), same());
    assert_eq!(verdict(&stage, &[&kept, &early]), (Some(1), "WENT_BACK".into()));
    assert_eq!(audit(&stage, &["audit", "consistency", "9", "3"]).0, Some(2));
    assert_eq!(audit(&stage, &["audit", "consistency", "missing"]).0, Some(4));

    // Without the hub: by the older checkpoint beside the proof, or one that the reader holds.
    let verify = ["verify", &proof[..], "--trust", &trust];
    assert_eq!(audit(&stage, &verify).1["verdict"], "SAME_HISTORY");
    let held = [&verify[..], &["--checkpoint", &early]].concat();
    fs::remove_file(text("proof.old")).unwrap();
    assert_eq!(audit(&stage, &verify).0, Some(4), "the older checkpoint is missing");
    assert_eq!(audit(&stage, &held).1["verdict"], "SAME_HISTORY");
    let whole = fs::read_to_string(&proof).unwrap();
    let (first, rest) = whole.split_once('\n').unwrap();
    let bent = if rest.starts_with('A') { "B" } else { "A" };
    fs::write(&proof, format!("{first}\n{bent}{}", &rest[1..])).unwrap();
    let (code, told, _) = audit(&stage, &held);
    assert_eq!((code, &told["verdict"]), (Some(1), &"FORKED".into()), "a hash was changed");

    // An old copy of the folder: first it is too short, then it is another history.
    stage.restore().await;
    assert_eq!(verdict(&stage, &[&kept]), (Some(1), "WENT_BACK".into()));
    stage.grow(100..200).await;
    assert_eq!(verdict(&stage, &[&kept, "-o", &proof]), (Some(1), "FORKED".into()));
    let (code, told, _) = audit(&stage, &verify);
    assert_eq!((code, &told["verdict"]), (Some(1), &"FORKED".into()), "the evidence holds without the hub");
    assert_eq!(verdict(&stage, &[&early]), same(), "that much is in both");
}

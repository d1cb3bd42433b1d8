//! The binary itself: answers on standard output, failures on standard error, and exit codes.

use assert_cmd::Command;
use serde_json::Value;
use truc::config::Config;

fn truc(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(arguments).env_clear();
    command
}

/// Exit code, and what standard output and standard error hold.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = truc(arguments).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON object")
}

#[test]
fn certificates_are_made_issued_and_revoked() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let out = at("certs");

    let (code, made, _) = run(&["pki", "init", "--out", &out, "--dns", "hub.example.vn", "--json"]);
    assert_eq!((code, json(&made)["crl"].as_str()), (0, Some(at("certs/crl.pem").as_str())));
    assert!(!made.contains("PRIVATE"));

    let (code, _, error) = run(&["pki", "init", "--out", &out]);
    assert_eq!(code, 4);
    assert!(error.contains("ca.pem exists already") && error.contains("move it away first"), "{error}");

    let (code, issued, _) =
        run(&["--json", "pki", "issue", "--out", &out, "--role", "node", "--name", "h53"]);
    assert_eq!((code, json(&issued)["key"].as_str()), (0, Some(at("certs/h53.key").as_str())));
    let (code, _, error) =
        run(&["--json", "pki", "issue", "--out", &out, "--role", "node", "--name", "H 53"]);
    assert_eq!((code, &json(&error)["exit"]), (2, &Value::from(2)));

    let (code, revoked, _) = run(&["pki", "revoke", "--out", &out, &at("certs/h53.pem"), "--json"]);
    assert_eq!((code, &json(&revoked)["revoked"]), (0, &Value::from(1)));
}

#[test]
fn a_key_is_named_by_its_id() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let key = folder.path().join("h53.key").display().to_string();
    let (code, id, _) = run(&["keygen", "--out", &key, "--algorithm", "p256"]);
    assert_eq!((code, id.trim().len()), (0, 64));
    assert_eq!(run(&["keygen", "--out", &key]).0, 4, "never overwritten");
}

#[test]
fn the_sample_becomes_a_good_configuration() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (code, sample, _) = run(&["config", "default"]);
    assert_eq!((code, sample), (0, Config::default_toml()));
    std::fs::write(at("truc.toml"), Config::default_toml()).expect("writes");

    let (code, checked, error) = run(&["config", "check", &at("truc.toml"), "--json"]);
    assert_eq!((code, &json(&checked)["ok"]), (1, &Value::from(false)));
    assert_eq!(json(&checked)["problems"][0]["field"], "origin");
    assert!(error.contains("tls.key"), "{error}");

    assert_eq!(run(&["pki", "init", "--out", &at("certs")]).0, 0);
    let good = truc(&["config", "check", &at("truc.toml")]).env("TRUC__ORIGIN", "hub.example.vn/log").ok();
    assert!(good.is_ok(), "{good:?}");

    assert_eq!(run(&["config", "check", &at("missing.toml")]).0, 4);
    std::fs::write(at("truc.toml"), "\noriginn = 1").expect("writes");
    let (code, _, error) = run(&["config", "check", &at("truc.toml")]);
    assert!(code == 1 && error.contains("line 2"), "{code} {error}");
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(run(&["no-such-command"]).0, 2);
    assert_eq!(run(&[]).0, 2);
    assert_eq!(run(&["--version"]).0, 0);
}

//! `truc bench` against a hub of its own, for a moment: what it says, never how fast.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use rig::Rig;
use serde_json::Value;
use truc::cli::demo::world::{COMMUNE, DISTRICT};

/// Keys that programs rely on.
const KEYS: [&str; 9] = [
    "acks_per_second",
    "ack_ms",
    "deliveries_per_second",
    "end_to_end_ms",
    "cpu_us_per_document",
    "fsyncs_per_document",
    "bytes_per_document",
    "rss_mb",
    "machine",
];

/// Runs it and returns its answer; a wrong or lost acknowledgement would end it with an error.
fn bench(flags: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(["bench", "--json"]).args(flags);
    let done = command.output().expect("it runs");
    let (out, words) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{flags:?}: {words}{out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report}"))
}

fn assert_sound(report: &Value) {
    for key in KEYS {
        assert!(report.get(key).is_some(), "{key} is missing: {report}");
    }
    for key in ["acks_per_second", "fsyncs_per_document", "rss_mb", "documents", "verified_sample"] {
        assert!(number(report, key) > 0.0, "{key}: {report}");
    }
    for key in ["wrong", "unanswered", "undelivered"] {
        assert_eq!(number(report, key), 0.0, "{key}: {report}");
    }
    for at in ["p50", "p99", "p999"] {
        assert!(report["ack_ms"][at].as_f64().is_some_and(|ms| ms > 0.0), "{at}: {report}");
    }
    assert!(report["machine"]["cores"].as_u64() > Some(0));
}

#[test]
fn by_stream_from_end_to_end() {
    let report = bench(&["--duration", "2s", "--in-flight", "32", "--sample", "4"]);
    assert_sound(&report);
    assert_eq!(number(&report, "deliveries"), number(&report, "documents"));
    assert!(report["end_to_end_ms"]["p50"].as_f64() >= report["ack_ms"]["p50"].as_f64());
}

#[test]
fn by_calls_without_receiving() {
    let report = bench(&["--duration", "2s", "--mode", "unary", "--in-flight", "8", "--no-receive"]);
    assert_sound(&report);
    assert!(report["deliveries_per_second"].is_null() && report["end_to_end_ms"].is_null());
    assert!(report["waiting"].as_u64() > Some(0), "{report}");
}

#[test]
fn so_many_documents_to_several_recipients_each() {
    let report = bench(&["--documents", "50", "--recipients", "5", "--fan-out", "3", "--in-flight", "4"]);
    assert_sound(&report);
    assert_eq!((number(&report, "documents"), number(&report, "deliveries")), (50.0, 150.0));
}

#[test]
fn questions_of_auditors_after_the_load() {
    let report =
        bench(&["--documents", "150", "--recipients", "5", "--in-flight", "16", "--questions", "27"]);
    assert_sound(&report);
    let questions = &report["questions"];
    for group in ["single_ms", "page_ms", "proof_ms", "count_ms"] {
        assert!(questions[group]["p99"].as_f64() > Some(0.0), "{group}: {questions}");
    }
    assert_eq!(questions["kinds"].as_object().map(|kinds| kinds.len()), Some(22), "{questions}");
    assert!(
        questions["leaves"].as_u64() >= Some(450) && questions["rows"].as_u64() > Some(500),
        "{questions}"
    );
    assert!(questions["rss_mb"].as_f64() > Some(1.0), "{questions}");
}

#[test]
fn at_a_fixed_rate_with_circulars_meanwhile() {
    let flags = ["--duration", "2s", "--rate", "50", "--circular", "100", "--no-receive"];
    let report = bench(&flags);
    assert_sound(&report);
    assert!(report["circular"]["circulars"].as_u64() > Some(0), "{report}");
    assert!(report["circular"]["queued_per_second"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn the_floor_is_measured_in_the_same_run() {
    let report =
        bench(&["--duration", "1s", "--floor", "--mode", "unary", "--in-flight", "8", "--no-receive"]);
    assert_sound(&report);
    for key in ["of_ceiling", "of_bare"] {
        assert!(number(&report, key) > 0.0, "{key}: {report}");
    }
    for key in ["stream_message_us", "unary_call_us", "bare_per_second", "ceiling", "sync_ms"] {
        assert!(number(&report["floor"], key) > 0.0, "{key}: {report}");
    }
}

#[test]
fn idle_sessions_an_attachment_and_a_killed_hub() {
    let idle = bench(&["--idle-sessions", "70"]);
    assert_eq!(number(&idle, "idle_sessions"), 70.0);
    assert!(idle["rss_kib_per_session"].is_number(), "{idle}");

    let attachment = bench(&["--attachment", "5MiB"]);
    assert_eq!(number(&attachment, "attachment_bytes"), 5.0 * 1024.0 * 1024.0);
    assert!(number(&attachment, "mb_per_second") > 0.0, "{attachment}");

    let killed = bench(&["--waiting", "200", "--recipients", "4", "--fan-out", "4", "--looks", "1"]);
    let looks = &killed["looks"];
    assert!(looks["commands_ms"]["truc why"]["p50"].as_f64() > Some(0.0), "{looks}");
    assert!(looks["pages_ms"]["queue"]["p50"].as_f64() > Some(0.0), "{looks}");
    assert!(looks["largest_page_kib"].as_f64() > Some(1.0), "{looks}");
    assert_eq!((number(&killed, "waiting"), number(&killed, "documents")), (200.0, 50.0));
    assert!(number(&killed, "ready_seconds") > 0.0 && number(&killed, "rebuild_seconds") > 0.0);
}

#[tokio::test]
async fn a_hub_that_runs_already_is_measured_too() {
    let rig = Rig::start().await;
    let (certs, endpoint) = (rig.certs(), rig.world.endpoint().to_owned());
    let certs = certs.to_str().expect("a path");
    let hub = ["--endpoint", endpoint.as_str(), "--pki", certs, "--documents", "20", "--in-flight", "4"];
    let report = bench(&hub);
    assert_eq!((number(&report, "documents"), number(&report, "deliveries")), (20.0, 20.0));
    assert!(report["rss_mb"].is_null() && report["cpu_us_per_document"].is_null(), "{report}");
    assert!(number(&report, "fsyncs_per_document") > 0.0 && number(&report, "bytes_per_document") > 0.0);
    // A second load finds its agencies there.
    bench(&hub);

    let key = |agency: &str| rig.dir.path().join("keys").join(format!("{agency}.key"));
    let (key, to_key) = (key(DISTRICT), key(COMMUNE));
    let (key, to_key) = (key.to_str().expect("a path"), to_key.to_str().expect("a path"));
    let given = ["--as", "sapa", "--from", DISTRICT, "--key", key, "--to", COMMUNE, "--to-key", to_key];
    let report = bench(&[&hub[..], &given[..]].concat());
    assert_eq!((number(&report, "documents"), number(&report, "deliveries")), (20.0, 20.0));
}

#[test]
fn told_to_end_it_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(temporary.path()).unwrap().count();
    let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
    command.args(["bench", "--duration", "1h"]).env("TMPDIR", temporary.path());
    let mut bench = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while entries() == 0 && bench.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-TERM", &bench.id().to_string()]).status().unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(1));
    assert_eq!(entries(), 0);
}

#[test]
fn a_load_that_makes_no_sense_is_refused() {
    let refused = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.arg("bench").args(flags).output().expect("it runs").status.code()
    };
    assert_eq!(refused(&["--fan-out", "3", "--recipients", "2"]), Some(2));
    assert_eq!(refused(&["--in-flight", "0"]), Some(2));
    assert_eq!(refused(&["--endpoint", "https://localhost:1"]), Some(2), "no certificates");
    assert_eq!(refused(&["--waiting", "5", "--attachment", "5MiB"]), Some(2));
}

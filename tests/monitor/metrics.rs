//! `/metrics` of a hub that has worked: complete, explained, and the numbers are the real ones.

use std::{collections::BTreeSet, path::Path};

use tonic::Code;

use crate::{
    door::{ask, ask_for},
    rig::{Rig, letter, reason, submit},
};
use truc::cli::demo::world::{COMMUNE, DISTRICT};

/// A sample by its name and some of its labels.
pub fn value(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = page.lines().filter(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap_or_default();
        let is_named = series == name || series.starts_with(&format!("{name}{{"));
        is_named && labels.iter().all(|label| series.contains(label))
    });
    let line = found.next()?;
    assert!(found.next().is_none(), "{name} {labels:?} is not one");
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Names of metrics by their TYPE lines.
fn names(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_what_happened() {
    let rig = Rig::start().await;
    let sender = rig.connect("tavan").await;
    let waiting = submit(&letter("waits", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    sender.submission().submit(waiting).await.unwrap();
    let refused = submit(&letter("", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    let refused = sender.submission().submit(refused).await.unwrap_err();
    let code = reason(&refused).as_str_name();
    drop(sender);

    let page = ask(&rig, "GET /metrics").await.body;
    let number = |name: &str, labels: &[&str]| value(&page, name, labels);
    let submitted = ["method=\"Submit\"", "SubmissionService"];
    assert_eq!(number("truc_rpc_started_total", &submitted), Some(3.0), "{page}");
    let ended = |code: &str| {
        number("truc_rpc_handled_total", &[submitted[0], submitted[1], &format!("code=\"{code}\"")])
    };
    assert_eq!(ended("OK"), Some(2.0));
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(ended("INVALID_ARGUMENT"), Some(1.0));
    assert_eq!(number("truc_rpc_running", &submitted), Some(0.0));
    assert_eq!(number("truc_rpc_duration_seconds_count", &submitted), Some(3.0));
    assert_eq!(number("truc_refusals_total", &[&format!("reason=\"{code}\"")]), Some(1.0));
    let event = |kind: &str| number("truc_events_total", &[&format!("event=\"{kind}\"")]);
    assert_eq!(event("SUBMISSION_ACCEPTANCE"), Some(2.0));
    assert_eq!(event("SUBMISSION_REJECTION"), Some(1.0));
    assert_eq!(event("CONTENT_HANDOVER"), Some(1.0));
    assert_eq!(number("truc_documents_accepted_total", &[]), Some(2.0));
    assert_eq!(number("truc_handover_time_seconds_count", &[]), Some(1.0));
    let queue = |level: &str| number("truc_queue_deliveries", &[&format!("level=\"{level}\"")]);
    assert_eq!((queue("district"), queue("commune")), (Some(1.0), Some(0.0)));
    assert!(number("truc_queue_oldest_age_seconds", &["district"]) > Some(0.0));
    assert_eq!(number("truc_queue_oldest_age_seconds", &["commune"]), Some(0.0));
    assert_eq!(number("truc_queue_urgency_deliveries", &["\"normal\""]), Some(1.0));
    let commits = number("truc_commit_leaves_count", &[]).unwrap();
    assert_eq!(number("truc_commit_duration_seconds_count", &[]), Some(commits));
    assert_eq!(number("truc_sync_duration_seconds_count", &["journal"]), Some(commits));
    assert_eq!(number("truc_log_leaves", &[]), number("truc_commit_leaves_sum", &[]));
    assert!(number("truc_verify_duration_seconds_count", &[]) >= Some(4.0));
    assert!(number("truc_store_bytes", &["journal"]) > Some(1e6));
    assert!(number("truc_disk_free_bytes", &[]) > Some(1e6));
    assert!(number("truc_certificate_left_seconds", &["server"]) > Some(86_400.0));
    assert!(number("process_resident_memory_bytes", &[]) > Some(1e6));
    assert_eq!(number("truc_ready", &[]), Some(1.0));
    let began = number("process_start_time_seconds", &[]);
    let later = ask(&rig, "GET /metrics").await.body;
    assert_eq!(value(&later, "process_start_time_seconds", &[]), began, "a hub starts once");
    assert!(number("truc_search_lag", &[]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_are_served_and_every_metric_is_explained() {
    let rig = Rig::start().await;
    let classic = ask(&rig, "GET /metrics").await;
    assert!(classic.head.to_ascii_lowercase().contains("text/plain; version=0.0.4"), "{}", classic.head);
    assert!(!classic.body.contains("# EOF"));
    let open =
        ask_for(rig.hub.monitor().unwrap(), "GET /metrics", "application/openmetrics-text; version=1.0.0")
            .await;
    assert!(open.head.to_ascii_lowercase().contains("application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let names = names(&classic.body);
    assert!(names.len() > 40, "{names:?}");
    for name in &names {
        assert!(docs.contains(&format!("`{name}`")), "docs/observability.md does not explain {name}");
        let help = format!("# HELP {name} ");
        assert!(classic.body.contains(&help), "{name} has no help");
    }
    for line in classic.body.lines().filter(|line| !line.starts_with('#')) {
        // Bounded label sets: no agency, node or document may become a label.
        assert!(!line.contains(COMMUNE) && !line.contains("tavan"), "{line}");
    }
}

/// What dashboard and rules ask for must exist.
#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_rules_ask_for_what_is_there() {
    let rig = Rig::start().await;
    let page = ask(&rig, "GET /metrics").await.body;
    let there = names(&page);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in ["grafana/truc.json", "prometheus/truc.rules.yml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: BTreeSet<_> =
            words.filter(|word| word.starts_with("truc_") || word.starts_with("process_")).collect();
        assert!(asked.len() > 10, "{asked:?}");
        for name in asked {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(
                there.contains(name) || base.is_some_and(|base| there.contains(base)),
                "{file} asks for {name}, which the hub does not tell"
            );
        }
    }
    let dashboard = std::fs::read_to_string(root.join("grafana/truc.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

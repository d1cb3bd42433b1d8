//! The log of a hub at its most talkative: JSON, with names of calls, and nothing of a document or a person in it.

use serde_json::Value;
use tonic::metadata::MetadataValue;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    proto::*,
};

use crate::rig::{Rig, letter, submit};

/// Words of a document that must stand in no line.
const SECRET: [&str; 5] =
    ["Điều động cán bộ xã", "Nguyễn Văn Bí", "0912345678", "ke-hoach-x.pdf", "NOI-DUNG-RIENG"];

#[tokio::test(flavor = "multi_thread")]
async fn no_line_tells_of_content_or_persons() {
    let filter = "[logging]\nformat = \"json\"\nfilter = \"trace,h2=info,tokio=info,hyper=info,tower=info,rustls=info\"\n";
    let rig = Rig::start_replaced("[logging]", filter).await;
    let mut manifest = letter("talks", &[DISTRICT]);
    let body = bytes::Bytes::from(SECRET[4].repeat(100));
    manifest.parts = vec![crate::rig::part(SECRET[3], &body)];
    if let Some(document) = &mut manifest.document {
        document.subject = format!("{} {}", SECRET[0], SECRET[2]);
        document.signer = Some(SignerInfo { full_name: SECRET[1].into(), ..SignerInfo::default() });
    }
    let sender = rig.connect("tavan").await;
    let mut request = tonic::Request::new(submit(&manifest, rig.seal(COMMUNE), std::slice::from_ref(&body)));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", MetadataValue::try_from(parent).unwrap());
    request.metadata_mut().insert("x-request-id", MetadataValue::from_static("dms-17"));
    let answer = sender.submission().submit(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "dms-17");
    // The same again with other content, and one that is refused for a field.
    if let Some(document) = &mut manifest.document {
        document.type_name = SECRET[1].repeat(100);
    }
    sender.submission().submit(submit(&manifest, rig.seal(COMMUNE), &[])).await.unwrap_err();
    let recipient = rig.connect("sapa").await;
    for offer in rig.fetch(&recipient, DISTRICT).await {
        rig.take(&recipient, &offer).await;
    }
    rig.connect("operator").await.directory().list_agencies(ListAgenciesRequest::default()).await.unwrap();

    let words = std::fs::read_to_string(rig.dir.path().join("words")).unwrap();
    let lines: Vec<Value> = words.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.len() > 5, "{words}");
    for secret in SECRET {
        assert!(!words.contains(secret), "{secret} stands in the log");
    }
    let call = |line: &&Value| line["message"] == "a call ended" && line["span"]["request_id"] == "dms-17";
    let call = lines.iter().find(call).unwrap_or_else(|| panic!("the call is not logged: {words}"));
    assert_eq!(call["span"]["trace_id"], trace);
    assert_eq!((call["span"]["rpc"].as_str(), call["caller"].as_str()), (Some("Submit"), Some("node tavan")));
    // Persons are told by what they do, not by name.
    assert!(
        lines.iter().any(|line| line["caller"] == "registrar" || line["caller"] == "operator"),
        "{words}"
    );
    assert!(!words.contains("\"caller\":\"operator operator\""));
}

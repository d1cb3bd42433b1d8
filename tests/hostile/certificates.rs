//! Who has no certificate, or the wrong one.

use std::path::Path;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use truc::{
    cli::pki::{self, InitOptions, Paths, Role},
    client::{Client, ClientOptions, connect},
    domain::reason::ReasonCode,
    proto::*,
};

use crate::{
    raw,
    rig::{Rig, reason},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_certificate_opens_nothing() {
    let rig = Rig::start().await;
    refused(anonymous(&rig).await).await;

    let elsewhere = rig.dir.path().join("elsewhere");
    pki::init(&elsewhere, &InitOptions::default()).unwrap();
    let foreign = pki::issue(&elsewhere, Role::Node, "tavan").unwrap();
    refused(channel(&rig, &foreign).await).await;

    let server = pki::issue(&rig.certs(), Role::Hub, "other-hub").unwrap();
    refused(channel(&rig, &server).await).await;

    let revoked = pki::issue(&rig.certs(), Role::Node, "revoked").unwrap();
    pki::revoke(&rig.certs(), &revoked.certificate).unwrap();
    reload(&rig).await;
    refused(channel(&rig, &revoked).await).await;

    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_calls_only_what_is_its_own() {
    let rig = Rig::start().await;
    let nodes_only =
        |path: &str| ["Submission", "Delivery", "Status"].iter().any(|service| path.contains(service));
    let for_all = ["GetCapabilities", "GetTimeline", "GetCheckpoint", "GetConsistency"];
    let for_operators = [
        "/Change",
        "/ImportAgencies",
        "/GetOverview",
        "/Why",
        "/QueueSummary",
        "/QueueList",
        "/Act",
        "/ListActions",
        "/Approve",
        "/Undo",
    ];
    let for_readers = ["/GetReceipt"];

    for name in ["auditor", "operator"] {
        let client = rig.connect(name).await;
        for path in raw::methods() {
            if nodes_only(&path) && !for_all.iter().any(|open| path.ends_with(open)) {
                let status = raw::call(&client, &path, vec![Default::default()]).await.unwrap_err();
                assert_eq!(reason(&status), ReasonCode::RoleRequired, "{name} {path}");
            }
        }
    }
    for (name, forbidden) in
        [("tavan", [&for_operators[..], &for_readers[..]].concat()), ("auditor", for_operators.to_vec())]
    {
        let client = rig.connect(name).await;
        for path in raw::methods().iter().filter(|path| forbidden.iter().any(|end| path.ends_with(end))) {
            let status = raw::call(&client, path, vec![Default::default()]).await.unwrap_err();
            assert_eq!(reason(&status), ReasonCode::RoleRequired, "{name} {path}");
        }
    }

    // Certificates of our CA that name no role, two roles, or a role that does not exist.
    let names: [&[&str]; 4] =
        [&[], &["urn:truc:node:tavan", "urn:truc:operator:x"], &["urn:truc:king:x"], &["urn:truc:node:"]];
    for (number, uris) in names.into_iter().enumerate() {
        let client = Client::from(channel(&rig, &issue(&rig.certs(), number, uris)).await.unwrap());
        for path in raw::methods() {
            let status = raw::call(&client, &path, vec![Default::default()]).await.unwrap_err();
            assert_eq!(reason(&status), ReasonCode::RoleRequired, "{uris:?} {path}");
        }
    }
    rig.unharmed().await;
}

/// A connection that is closed, or whose first call fails without an answer of the hub.
async fn refused(outcome: Result<Channel, String>) {
    let Ok(channel) = outcome else { return };
    let answer = Client::from(channel).submission().get_capabilities(GetCapabilitiesRequest {}).await;
    let status: Status = answer.expect_err("let in");
    assert!(status.details().is_empty(), "{status:?}");
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
}

async fn channel(rig: &Rig, pair: &Paths) -> Result<Channel, String> {
    let options = ClientOptions {
        endpoint: rig.world.endpoint().to_owned(),
        ca: rig.certs().join("ca.pem"),
        cert: pair.certificate.clone(),
        key: pair.key.clone(),
        domain: None,
    };
    connect(&options).await.map_err(|error| error.to_string())
}

async fn anonymous(rig: &Rig) -> Result<Channel, String> {
    let ca = Certificate::from_pem(std::fs::read(rig.certs().join("ca.pem")).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(ca);
    let endpoint = Endpoint::from_shared(rig.world.endpoint().to_owned()).unwrap().tls_config(tls).unwrap();
    endpoint.connect().await.map_err(|error| error.to_string())
}

fn issue(certs: &Path, number: usize, uris: &[&str]) -> Paths {
    let read = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();
    let ca_key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    let key = KeyPair::generate().unwrap();
    let paths = Paths::of(certs, &format!("odd-{number}"));
    std::fs::write(&paths.certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(&paths.key, key.serialize_pem()).unwrap();
    paths
}

/// The hub reads its files again on SIGHUP.
async fn reload(rig: &Rig) {
    let pid = rig.hub.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}

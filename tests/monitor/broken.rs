//! Things that break, and a document of the commune that waits for the district because of it.

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use time::{Duration, OffsetDateTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    proto::{deliver_request::Step as Say, deliver_response::Step as Hear, directory_change::Change, *},
};

use crate::{
    door::ask,
    metrics::value,
    rig::{Rig, letter, soon, submit},
};

/// The document that waits.
pub const WAITS: &str = "waits";
/// Room for a machine that builds something else meanwhile.
pub const NO_DISK: &str = "disk_warning = \"0 B\"\ndisk_reserve = \"0 B\"";
/// Breaks that make a node one that flaps.
const BREAKS: usize = 5;
/// Seconds that a certificate lives here: long enough to connect with it.
const SHORT_LIFE: i64 = 10;

/// Hands in a document.
pub async fn send(rig: &Rig, id: &str) -> Result<SubmitResponse, tonic::Status> {
    hand_in(rig, message(rig, id)).await
}

pub fn message(rig: &Rig, id: &str) -> SubmitRequest {
    submit(&letter(id, &[DISTRICT]), rig.seal(COMMUNE), &[])
}

pub async fn hand_in(rig: &Rig, request: SubmitRequest) -> Result<SubmitResponse, tonic::Status> {
    let sender = rig.connect("tavan").await;
    Ok(soon(sender.submission().submit(request)).await?.into_inner())
}

/// The recipient's key is revoked.
pub async fn revoke_key(rig: &Rig) {
    let keepers = rig.world.keepers().await.unwrap();
    for key in rig.world.keys(DISTRICT) {
        let key_id = key.public_key().key_id().to_bytes();
        keepers.change(Change::RevokeKey(RevokeKey { key_id }), "lost").await.unwrap();
    }
}

/// The recipient's node came with a certificate that ends in some seconds.
pub async fn let_node_lapse(rig: &Rig) {
    let certs = rig.certs();
    let text = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(&text("ca.pem"), KeyPair::from_pem(&text("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = OffsetDateTime::now_utc() - Duration::minutes(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::seconds(SHORT_LIFE);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::URI("urn:truc:node:sapa".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(certs.join("sapa.key"), key.serialize_pem()).unwrap();
    std::fs::write(certs.join("sapa.pem"), certificate.pem()).unwrap();
    let node = rig.connect("sapa").await;
    assert!(open(&node).await.is_some());
}

/// The recipient's node connects and breaks off, again and again.
pub async fn flap(rig: &Rig) {
    for _ in 0..BREAKS {
        let node = rig.connect("sapa").await;
        assert!(open(&node).await.is_some());
        drop(node);
        soon(async {
            while value(&ask(rig, "GET /metrics").await.body, "truc_sessions", &[]) != Some(0.0) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

pub type Open = (mpsc::Sender<DeliverRequest>, tonic::Streaming<DeliverResponse>);

/// A session of the district; it asks for nothing yet.
pub async fn open(client: &Client) -> Option<Open> {
    let (steps, receiver) = mpsc::channel(4);
    let hello = Hello { agencies: vec![DISTRICT.into()] };
    steps.send(DeliverRequest { step: Some(Say::Hello(hello)) }).await.ok()?;
    let mut answers = client.delivery().deliver(ReceiverStream::new(receiver)).await.ok()?.into_inner();
    let welcome = soon(answers.message()).await.ok()??;
    matches!(welcome.step, Some(Hear::Welcome(_))).then_some((steps, answers))
}

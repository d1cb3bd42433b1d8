//! Nodes that ask for what is not theirs.

use prost::Message;
use truc::{
    cli::{
        demo::world::{COMMUNE, DISTRICT, PROVINCE},
        pki::{self, Role},
    },
    client::Client,
    domain::{id::Digest, reason::ReasonCode},
    proto::*,
};

use crate::rig::{Rig, acknowledge, letter, part, reason, receipt_for, soon, submit};

const BODY: &[u8] = b"for the district alone";

/// A document from the commune to the district; the offer as the district has it.
async fn deliver(rig: &Rig) -> Offer {
    let manifest = Manifest { parts: vec![part("a.pdf", BODY)], ..letter("secret", &[DISTRICT]) };
    let request = submit(&manifest, rig.seal(COMMUNE), &[BODY.into()]);
    rig.connect("tavan").await.submission().submit(request).await.unwrap();
    rig.fetch(&rig.connect("sapa").await, DISTRICT).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_node_is_told_so() {
    let rig = Rig::start().await;
    pki::issue(&rig.certs(), Role::Node, "stranger").unwrap();
    let client = rig.connect("stranger").await;
    let offer = deliver(&rig).await;
    let request = submit(&letter("s", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    let receipt = receipt_for(&offer.envelope.as_ref().unwrap().payload, DISTRICT);
    let (delivery_id, lease_id) = (offer.delivery_id.clone(), offer.lease_id);
    let sha256 = Digest::of(BODY).to_bytes();
    let begin = UploadBegin { sha256: sha256.clone(), size: 5, offset: 0 };
    let begin = UploadRequest { step: Some(upload_request::Step::Begin(begin)) };
    let hello = DeliverRequest { step: Some(deliver_request::Step::Hello(Hello::default())) };
    let answers = [
        client.submission().validate(request.clone()).await.map(drop),
        client.submission().submit(request).await.map(drop),
        client.submission().upload(tokio_stream::once(begin)).await.map(drop),
        client.delivery().deliver(tokio_stream::once(hello)).await.map(drop),
        client.delivery().fetch(FetchRequest::default()).await.map(drop),
        client.delivery().acknowledge(acknowledge(&receipt, rig.seal(DISTRICT))).await.map(drop),
        client
            .delivery()
            .release(ReleaseRequest { delivery_id: delivery_id.clone(), lease_id })
            .await
            .map(drop),
        client
            .delivery()
            .extend_lease(ExtendLeaseRequest { delivery_id: delivery_id.clone(), lease_id })
            .await
            .map(drop),
        client.delivery().download(DownloadRequest { delivery_id, sha256, offset: 0 }).await.map(drop),
        client.status().watch(WatchRequest { agency: COMMUNE.into(), ..Default::default() }).await.map(drop),
        client
            .status()
            .save_cursor(SaveCursorRequest { agency: COMMUNE.into(), cursor: "c0".into() })
            .await
            .map(drop),
        client.status().get_timeline(timeline("secret")).await.map(drop),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(reason(&answer.expect_err("let in")), ReasonCode::UnknownNode, "call {number}");
    }
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_documents_stay_theirs() {
    let rig = Rig::start().await;
    let offer = deliver(&rig).await;
    let other = rig.connect("bacha").await;
    let sha256 = Digest::of(BODY);

    let not_ours = [
        download(&other, &offer.delivery_id, &sha256, 0).await,
        release(&other, &offer.delivery_id, offer.lease_id).await,
        extend(&other, &offer.delivery_id, offer.lease_id).await,
        other.status().get_timeline(timeline("secret")).await.map(drop),
        other.status().watch(WatchRequest { agency: COMMUNE.into(), ..Default::default() }).await.map(drop),
        other
            .delivery()
            .fetch(FetchRequest { agencies: vec![DISTRICT.into()], ..Default::default() })
            .await
            .map(drop),
    ];
    for (number, answer) in not_ours.into_iter().enumerate() {
        assert_eq!(reason(&answer.expect_err("let in")), ReasonCode::NotAuthorised, "call {number}");
    }

    // An agency of its own, but no delivery of it.
    let document = offer.delivery_id.split('/').next().unwrap();
    let ours = format!("{document}/000.00.22.H38");
    let status = download(&other, &ours, &sha256, 0).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::NotARecipient);
    assert_eq!(reason(&release(&other, &ours, 1).await.unwrap_err()), ReasonCode::LeaseLost);
    // Its signature under a receipt for the district's delivery.
    let receipt = receipt_for(&offer.envelope.as_ref().unwrap().payload, DISTRICT);
    let foreign = acknowledge(&receipt, rig.seal("000.00.22.H38"));
    let status = other.delivery().acknowledge(foreign.clone()).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::NotAuthorised);
    let status = rig.connect("sapa").await.delivery().acknowledge(foreign).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::UnknownKey);
    let own = RecipientReceipt { recipient: "000.00.22.H38".into(), ..receipt };
    let status =
        other.delivery().acknowledge(acknowledge(&own, rig.seal("000.00.22.H38"))).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::NotARecipient);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_out_of_bounds() {
    let rig = Rig::start().await;
    let offer = deliver(&rig).await;
    let client = rig.connect("sapa").await;
    let sha256 = Digest::of(BODY);
    let end = BODY.len() as u64;

    download(&client, &offer.delivery_id, &sha256, end).await.expect("the end is a place");
    for offset in [end + 1, u64::MAX] {
        let status = download(&client, &offer.delivery_id, &sha256, offset).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::WrongOffset, "{status:?}");
    }
    let status = download(&client, &offer.delivery_id, &Digest::of(b"else"), 0).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::BodyMissing);
    for id in ["", "/", "x/y", "-1/H38", "99999999999999999999/000.00.21.H38", &"9/".repeat(50_000)] {
        let status = download(&client, id, &sha256, 0).await.unwrap_err();
        assert!(
            matches!(reason(&status), ReasonCode::InvalidField | ReasonCode::BadIdentifier),
            "{status:?}"
        );
    }
    let status = download(&client, "18446744073709551615/000.00.21.H38", &sha256, 0).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::NotARecipient);

    for cursor in ["x", "c", "c-1", "cz", "cffffffffffffffff", "c1ffffffffffffffff", &"c".repeat(100_000)] {
        let (agency, cursor) = (DISTRICT.to_owned(), cursor.to_owned());
        let watch =
            WatchRequest { agency: agency.clone(), cursor: cursor.clone(), once: true, from_now: false };
        let status = client.status().watch(watch).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::BadCursor, "{status:?}");
        let status = client.status().save_cursor(SaveCursorRequest { agency, cursor }).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::BadCursor, "{status:?}");
    }

    for (request, code) in [
        (timeline(""), ReasonCode::UnknownDocument),
        (timeline(&"x".repeat(100_000)), ReasonCode::UnknownDocument),
        (GetTimelineRequest { sender: "x".into(), ..timeline("secret") }, ReasonCode::BadIdentifier),
        (GetTimelineRequest { sender: PROVINCE.into(), ..timeline("secret") }, ReasonCode::UnknownDocument),
        (GetTimelineRequest { page_token: "x".into(), ..timeline("secret") }, ReasonCode::BadCursor),
    ] {
        let status = soon(client.status().get_timeline(request)).await.unwrap_err();
        assert_eq!(reason(&status), code, "{status:?}");
    }
    let beyond =
        GetTimelineRequest { page_token: u64::MAX.to_string(), page_size: u32::MAX, ..timeline("secret") };
    let page = client.status().get_timeline(beyond).await.expect("an empty page").into_inner();
    assert!(page.events.is_empty());

    let auditor = rig.connect("auditor").await;
    let newest = auditor.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap().into_inner();
    assert!(newest.encoded_len() > 0);
    for index in [1 << 40, u64::MAX] {
        let status = auditor.audit().get_receipt(GetReceiptRequest { index }).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::UnknownDocument);
    }
    for (first, second) in [(0, 0), (0, 5), (5, 4), (1, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        let status =
            auditor.audit().get_consistency(GetConsistencyRequest { first, second }).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::InvalidField);
    }
    rig.unharmed().await;
}

fn timeline(document_id: &str) -> GetTimelineRequest {
    GetTimelineRequest { document_id: document_id.into(), ..GetTimelineRequest::default() }
}

async fn download(client: &Client, id: &str, sha256: &Digest, offset: u64) -> Result<(), tonic::Status> {
    let request = DownloadRequest { delivery_id: id.into(), sha256: sha256.to_bytes(), offset };
    let mut chunks = soon(client.delivery().download(request)).await?.into_inner();
    while soon(chunks.message()).await?.is_some() {}
    Ok(())
}

async fn release(client: &Client, id: &str, lease_id: u64) -> Result<(), tonic::Status> {
    let request = ReleaseRequest { delivery_id: id.into(), lease_id };
    soon(client.delivery().release(request)).await.map(drop)
}

async fn extend(client: &Client, id: &str, lease_id: u64) -> Result<(), tonic::Status> {
    let request = ExtendLeaseRequest { delivery_id: id.into(), lease_id };
    soon(client.delivery().extend_lease(request)).await.map(drop)
}

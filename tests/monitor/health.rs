//! Alive, ready, and the named cause where it is not.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use truc::cli::demo::world::{COMMUNE, DISTRICT};

use crate::{
    door::{ask, readiness, until},
    rig::{Rig, letter, soon, submit},
    small_disk::SmallDisk,
};

/// What the gRPC health service tells.
async fn serving(rig: &Rig) -> ServingStatus {
    let client = rig.connect("tavan").await;
    let request = HealthCheckRequest::default();
    let answer = soon(HealthClient::new(client.channel()).check(request)).await.unwrap();
    answer.into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_hub_is_alive_and_ready() {
    let rig = Rig::start_with("").await;
    let alive = ask(&rig, "GET /healthz").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
    let (ready, conditions) = readiness(&rig).await;
    assert!(ready, "{conditions:?}");
    assert_eq!(serving(&rig).await, ServingStatus::Serving);
    assert_eq!(ask(&rig, "GET /secrets").await.status, 404);
    let refused = ask(&rig, "POST /readyz").await;
    assert_eq!(refused.status, 405);
    assert!(refused.head.to_ascii_lowercase().contains("allow: get, head"));
    let head = ask(&rig, "HEAD /healthz").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_takes_readiness_until_there_is_room() {
    let Some(disk) = SmallDisk::make() else { return };
    let rig = Rig::start_on(&disk.data(), &SmallDisk::limits()).await;
    disk.fill();
    until(&rig, |ready, conditions| !ready && conditions == ["disk-full"]).await;
    assert_eq!(serving(&rig).await, ServingStatus::NotServing);
    let told = ask(&rig, "GET /readyz").await.json();
    let condition = &told["conditions"][0];
    assert_eq!((condition["severity"].as_str(), told["stopping"].as_bool()), (Some("critical"), Some(false)));
    assert!(condition["cause"].as_str().unwrap().contains("MiB"), "{condition}");
    assert!(condition["next_step_vi"].as_str().unwrap().contains("đĩa"), "{condition}");
    disk.make_room();
    until(&rig, |ready, conditions| ready && conditions.is_empty()).await;
    rig.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_that_is_away_is_told_until_it_comes() {
    let keys = "queue_age = \"1ms\"\ndisk_warning = \"0 B\"\ndisk_reserve = \"0 B\"";
    let rig = Rig::start_monitored(keys).await;
    let sender = rig.connect("tavan").await;
    let request = submit(&letter("waits", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    let receipt = sender.submission().submit(request).await.unwrap().into_inner().receipt.unwrap();
    until(&rig, |ready, conditions| ready && conditions == ["queue-age"]).await;
    let told = ask(&rig, "GET /readyz").await.json();
    let cause = told["conditions"][0]["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains(&format!("leaf {}", receipt.index)), "{cause}");
    let recipient = rig.connect("sapa").await;
    for offer in rig.fetch(&recipient, DISTRICT).await {
        rig.take(&recipient, &offer).await;
    }
    until(&rig, |_, conditions| conditions.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_end_are_told_and_bad_files_are_too() {
    let rig = Rig::start_monitored(
        "certificate_warning = \"36000d\"\ndisk_warning = \"0 B\"\ndisk_reserve = \"0 B\"",
    )
    .await;
    until(&rig, |ready, conditions| ready && conditions == ["certificate-expires"]).await;
    let list = rig.certs().join("crl.pem");
    let good = std::fs::read(&list).unwrap();
    std::fs::write(&list, "no list").unwrap();
    let unusable = |name: &String| name == "certificate-unusable";
    until(&rig, |ready, conditions| ready && conditions.iter().any(unusable)).await;
    rig.serves().await;
    std::fs::write(&list, good).unwrap();
    until(&rig, |_, conditions| !conditions.iter().any(unusable)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_takes_readiness_until_a_new_one_is_there() {
    let rig = Rig::start_monitored("disk_warning = \"0 B\"\ndisk_reserve = \"0 B\"").await;
    let of = |name: &str| std::fs::read(rig.certs().join(name)).unwrap();
    let (key, certificate) = (of("hub.key"), of("hub.pem"));
    crate::certificate::let_expire(&rig);
    until(&rig, |ready, conditions| !ready && conditions == ["certificate-expired"]).await;
    let told = ask(&rig, "GET /readyz").await.json();
    let cause = told["conditions"][0]["cause"].as_str().unwrap();
    assert!(cause.contains("ended 2 days ago"), "{cause}");
    std::fs::write(rig.certs().join("hub.key"), key).unwrap();
    std::fs::write(rig.certs().join("hub.pem"), certificate).unwrap();
    until(&rig, |ready, conditions| ready && conditions.is_empty()).await;
    rig.serves().await;
}

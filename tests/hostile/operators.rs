//! Operators who make mistakes.

use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::{
        reason::ReasonCode,
        signature::{Algorithm, SigningKey as Secret},
    },
    proto::{directory_change::Change, *},
};

use crate::rig::{Rig, reason, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_changes_nothing() {
    let rig = Rig::start().await;
    let operator = rig.connect("operator").await;
    let keepers = rig.world.keepers().await.unwrap();
    let before = operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner();
    for (number, change) in wrong_changes(&rig).into_iter().enumerate() {
        let told = format!("{number}: {change:?}").chars().take(200).collect::<String>();
        let status = change_directory(keepers.of(&change), Some(change), "").await.expect_err(&told);
        println!("{told}: {}", reason(&status).as_str_name());
    }
    let good = Change::SetAgencyState(SetAgencyState { organ_id: DISTRICT.into(), state: 0 });
    for reason_text in ["a".repeat(100_000), "a\nb".into(), "ệ".repeat(201)] {
        let status =
            change_directory(&keepers.registrar, Some(good.clone()), &reason_text).await.expect_err("reason");
        assert!(matches!(reason(&status), ReasonCode::InvalidField | ReasonCode::TooLarge), "{status:?}");
    }
    assert_eq!(
        reason(&change_directory(&keepers.registrar, None, "").await.unwrap_err()),
        ReasonCode::InvalidField
    );
    let none = keepers.registrar.directory().change(ChangeRequest { change: None }).await.unwrap_err();
    assert_eq!(reason(&none), ReasonCode::InvalidField);

    let after = operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner();
    assert_eq!((before.agencies, before.nodes, before.leaves), (after.agencies, after.nodes, after.leaves));
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_import_is_quarantined_row_by_row() {
    let rig = Rig::start().await;
    let operator = rig.connect("registrar").await;
    let row = |organ_id: &str| Agency { organ_id: organ_id.into(), name: "x".into(), ..Agency::default() };
    let many = (0..2_001).map(|number| row(&format!("H50.{number}"))).collect();
    let request = ImportAgenciesRequest { agencies: many, dry_run: false };
    let status = soon(operator.directory().import_agencies(request)).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::TooLarge);

    let mut rows = vec![row(""), row("h50"), row(&"H50.".repeat(10_000)), row("H50"), row("H50"), row("H51")];
    rows.push(Agency { name: "ệ".repeat(300_000), ..row("H52") });
    rows.push(Agency { aliases: vec!["H51".into()], ..row("H53") });
    rows.push(Agency { parent: "H54".into(), ..row("H54") });
    rows.push(Agency { level: 77, ..row("H55") });
    rows.push(Agency { state: -5, ..row("H56") });
    rows.push(Agency { aliases: (0..1_000).map(|n| format!("H57.{n}")).collect(), ..row("H57") });
    for dry_run in [true, false] {
        let request = ImportAgenciesRequest { agencies: rows.clone(), dry_run };
        let imported = soon(operator.directory().import_agencies(request)).await.unwrap().into_inner();
        assert_eq!(imported.imported, 2, "dry_run {dry_run}: {:?}", imported.quarantined);
        assert_eq!(imported.unchanged as usize + imported.quarantined.len(), rows.len() - 2);
        for row in &imported.quarantined {
            let reason = row.reason.as_ref().unwrap();
            assert_ne!(reason.code(), ReasonCode::Unspecified);
            assert!(reason.detail.len() < 1_000 && row.organ_id.len() < 1_000, "{row:?}");
        }
    }
    let request = ListAgenciesRequest { page_token: "x".repeat(9_999), ..ListAgenciesRequest::default() };
    let status = operator.directory().list_agencies(request).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::BadIdentifier);
    let request = ListAgenciesRequest { level: -1, page_size: u32::MAX, ..ListAgenciesRequest::default() };
    assert_eq!(
        reason(&operator.directory().list_agencies(request).await.unwrap_err()),
        ReasonCode::InvalidField
    );
    rig.unharmed().await;
}

async fn change_directory(
    client: &Client,
    change: Option<Change>,
    reason: &str,
) -> Result<(), tonic::Status> {
    let change = DirectoryChange { change, reason: reason.into() };
    soon(client.directory().change(ChangeRequest { change: Some(change) })).await.map(drop)
}

fn wrong_changes(rig: &Rig) -> Vec<Change> {
    let agency = |organ_id: &str| Agency { organ_id: organ_id.into(), name: "x".into(), ..Agency::default() };
    let node = |name: &str, agencies: &[&str]| {
        let agencies = agencies.iter().map(ToString::to_string).collect();
        Change::PutNode(Node { name: name.into(), agencies, revoked: false })
    };
    let key = |spki_der: &[u8]| SigningKey {
        agency: COMMUNE.into(),
        spki_der: spki_der.to_vec().into(),
        signer_kind: SignerKind::Agency.into(),
        ..SigningKey::default()
    };
    let fresh = || Secret::generate(Algorithm::Ed25519).unwrap().public_key().spki_der().to_vec();
    let raw = |point: [u8; 32]| [&fresh()[..12], &point].concat();
    let one = |first: u8| {
        let mut point = [0; 32];
        point[0] = first;
        point
    };
    let seal = rig.seal(COMMUNE).public_key().spki_der().clone();
    vec![
        Change::PutAgency(Agency::default()),
        Change::PutAgency(agency("x")),
        Change::PutAgency(Agency { name: String::new(), ..agency("H50") }),
        Change::PutAgency(Agency { name: "x".repeat(50_000), ..agency("H50") }),
        Change::PutAgency(Agency { parent: "H50.1".into(), ..agency("H50") }),
        Change::PutAgency(Agency { aliases: vec![COMMUNE.into()], ..agency("H50") }),
        Change::PutAgency(Agency { level: 99, ..agency("H50") }),
        Change::PutAgency(Agency { state: 99, ..agency("H50") }),
        Change::SetAgencyState(SetAgencyState::default()),
        Change::SetAgencyState(SetAgencyState { organ_id: "H99".into(), state: 1 }),
        Change::SetAgencyState(SetAgencyState { organ_id: COMMUNE.into(), state: 99 }),
        node("", &[]),
        node("A", &[]),
        node("../x", &[]),
        node(&"a".repeat(64), &[]),
        node("new", &["H99"]),
        node("new", &["nonsense"]),
        Change::RevokeNode(RevokeNode::default()),
        Change::RevokeNode(RevokeNode { name: "nobody".into() }),
        Change::AddKey(SigningKey::default()),
        Change::AddKey(key(b"")),
        Change::AddKey(key(&[0x30; 40_000])),
        Change::AddKey(key(&fresh()[..43])),
        Change::AddKey(key(&[fresh(), vec![0]].concat())),
        // Identity, order 2, order 4, y = 2 (no point), and all ones.
        Change::AddKey(key(&raw(one(1)))),
        Change::AddKey(key(&raw([0; 32]))),
        Change::AddKey(key(&raw(one(2)))),
        Change::AddKey(key(&raw([0xff; 32]))),
        Change::AddKey(SigningKey { signer_kind: 99, ..key(&fresh()) }),
        Change::AddKey(SigningKey { signer_kind: 0, ..key(&fresh()) }),
        Change::AddKey(SigningKey { agency: "H99".into(), ..key(&fresh()) }),
        Change::AddKey(SigningKey { agency: DISTRICT.into(), ..key(&seal) }),
        Change::AddKey(SigningKey { valid_from_us: 9, valid_until_us: 8, ..key(&fresh()) }),
        Change::AddKey(SigningKey { valid_from_us: i64::MIN, ..key(&fresh()) }),
        Change::AddKey(SigningKey { revoked_at_us: 5, ..key(&fresh()) }),
        Change::RevokeKey(RevokeKey::default()),
        Change::RevokeKey(RevokeKey { key_id: vec![7; 32].into() }),
        Change::RevokeKey(RevokeKey { key_id: vec![7; 50_000].into() }),
    ]
}

//! Those who keep the directory: agencies come and are suspended, keys and nodes come and are revoked.

use std::{sync::Arc, time::Duration};

use truc::{
    cli::demo::world::Keepers,
    client::Client,
    domain::{
        role::Duty,
        signature::{Algorithm, SigningKey},
    },
    proto::{directory_change::Change, *},
};

use super::{Asked, CROWD, CROWD_SIZE, Outside};

/// Where new agencies are made; no circular goes there.
const NEW: &str = "H61";

/// Agencies of the new form, whose level is given.
pub async fn register_crowd(registrar: &Client) {
    let root = |id: &str| Agency { organ_id: id.into(), name: "UBND tỉnh".into(), ..Agency::default() };
    let communes = (0..CROWD_SIZE).map(|number| commune(CROWD, number as u64));
    let agencies = [root(CROWD), root(NEW)].into_iter().chain(communes).collect();
    let request = ImportAgenciesRequest { agencies, dry_run: false };
    let imported = registrar.directory().import_agencies(request).await.unwrap().into_inner();
    assert_eq!(imported.imported as usize, CROWD_SIZE + 2);
}

/// Changes of every kind, each on an agency, key or node of its own, so that asking again changes nothing.
pub async fn changes(outside: Arc<Outside>, keepers: Keepers, round: u64) {
    for number in 0.. {
        if more(&outside, &keepers, round * 10_000 + number * 2).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn more(outside: &Outside, keepers: &Keepers, number: u64) -> Option<()> {
    let keep = async |change: Change| {
        let by = Duty::for_change(&change).name();
        outside.ask(by, keepers.of(&change), Asked::Change(request(change))).await
    };
    let (active, suspended) = (commune(NEW, number), commune(NEW, number + 1));
    let id = active.organ_id.clone();
    keep(Change::PutAgency(active)).await?;
    pass(keepers, Change::PutAgency(suspended.clone())).await?;
    let state = AgencyState::Suspended.into();
    keep(Change::SetAgencyState(SetAgencyState { organ_id: suspended.organ_id, state })).await?;

    let node = |name: String| Node { name, agencies: vec![id.clone()], revoked: false };
    keep(Change::PutNode(node(format!("n-{number}")))).await?;
    let revoked = format!("r-{number}");
    pass(keepers, Change::PutNode(node(revoked.clone()))).await?;
    keep(Change::RevokeNode(RevokeNode { name: revoked })).await?;

    keep(Change::AddKey(key(&id))).await?;
    let second = key(&id);
    let key_id = truc::domain::id::Digest::of(&second.spki_der).to_bytes();
    pass(keepers, Change::AddKey(second)).await?;
    keep(Change::RevokeKey(RevokeKey { key_id })).await?;
    Some(())
}

/// Makes something that the next change takes away: asking again would not be the same.
async fn pass(keepers: &Keepers, change: Change) -> Option<()> {
    keepers.of(&change).directory().change(request(change)).await.ok().map(drop)
}

fn request(change: Change) -> ChangeRequest {
    ChangeRequest { change: Some(DirectoryChange { change: Some(change), reason: "rig".into() }) }
}

fn key(agency: &str) -> truc::proto::SigningKey {
    truc::proto::SigningKey {
        agency: agency.into(),
        spki_der: SigningKey::generate(Algorithm::Ed25519).unwrap().public_key().spki_der().clone(),
        signer_kind: SignerKind::Agency.into(),
        ..truc::proto::SigningKey::default()
    }
}

fn commune(root: &str, number: u64) -> Agency {
    Agency {
        organ_id: format!("{root}.{}.{}", number / 90 + 1, number % 90 + 1),
        name: format!("UBND xã {number}"),
        level: Level::Commune.into(),
        parent: root.into(),
        ..Agency::default()
    }
}

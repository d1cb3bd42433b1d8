//! Directories for tests, in a line each.

use super::{Directory, Prepared};
use crate::{
    domain::{reason::Reason, time::Timestamp},
    proto::{self, AgencyState, DirectoryChange, SignerKind, directory_change::Change},
};

pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

/// A directory of active agencies with these identifiers.
pub(crate) fn directory(organ_ids: &[&str]) -> Directory {
    let mut directory = Directory::default();
    for organ_id in organ_ids {
        change(&mut directory, put_agency(organ_id));
    }
    directory
}

/// Prepares and applies a change that has an effect, as the next leaf.
pub(crate) fn change(directory: &mut Directory, change: DirectoryChange) -> u64 {
    let leaf = directory.version();
    match directory.prepare(&change, NOW).expect("legal change") {
        Prepared::Change(complete) => directory.apply(leaf, &complete).expect("prepared change"),
        Prepared::Unchanged { leaf } => panic!("{change:?} was made by leaf {leaf} before"),
    }
    leaf
}

pub(crate) fn try_change(directory: &Directory, change: DirectoryChange) -> Result<Prepared, Reason> {
    directory.prepare(&change, NOW)
}

pub(crate) fn put_agency(organ_id: &str) -> DirectoryChange {
    put_agency_with(organ_id, |_| ())
}

pub(crate) fn put_agency_with(organ_id: &str, edit: impl FnOnce(&mut proto::Agency)) -> DirectoryChange {
    let mut agency = proto::Agency {
        organ_id: organ_id.into(),
        name: format!("Cơ quan {organ_id}"),
        ..Default::default()
    };
    edit(&mut agency);
    because(Change::PutAgency(agency))
}

pub(crate) fn set_state(organ_id: &str, state: AgencyState) -> DirectoryChange {
    because(Change::SetAgencyState(proto::SetAgencyState { organ_id: organ_id.into(), state: state.into() }))
}

pub(crate) fn put_node(name: &str, agencies: &[&str]) -> DirectoryChange {
    let agencies = agencies.iter().map(ToString::to_string).collect();
    because(Change::PutNode(proto::Node { name: name.into(), agencies, revoked: false }))
}

pub(crate) fn revoke_node(name: &str) -> DirectoryChange {
    because(Change::RevokeNode(proto::RevokeNode { name: name.into() }))
}

/// SubjectPublicKeyInfo of the Ed25519 key with this seed.
pub(crate) fn spki(seed: u8) -> bytes::Bytes {
    let public = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key();
    spki_of(public.as_bytes())
}

pub(crate) fn spki_of(raw: &[u8; 32]) -> bytes::Bytes {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(raw);
    der.into()
}

pub(crate) fn add_key(agency: &str, seed: u8) -> DirectoryChange {
    add_key_with(agency, seed, |_| ())
}

pub(crate) fn add_key_with(
    agency: &str,
    seed: u8,
    edit: impl FnOnce(&mut proto::SigningKey),
) -> DirectoryChange {
    let mut key = proto::SigningKey {
        agency: agency.into(),
        spki_der: spki(seed),
        signer_kind: SignerKind::Agency.into(),
        ..Default::default()
    };
    edit(&mut key);
    because(Change::AddKey(key))
}

pub(crate) fn revoke_key(key_id: bytes::Bytes) -> DirectoryChange {
    because(Change::RevokeKey(proto::RevokeKey { key_id }))
}

fn because(change: Change) -> DirectoryChange {
    DirectoryChange { change: Some(change), reason: "kiểm thử".into() }
}

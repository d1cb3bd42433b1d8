//! The demo's world: a small directory of four levels, nodes, keys. Place names are real, codes are examples.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    cli::{Failure, keygen, pki},
    client::{Client, ClientOptions},
    domain::{
        role::Duty,
        signature::{Algorithm, SigningKey},
    },
    proto::{
        Agency, ChangeRequest, DirectoryChange, ImportAgenciesRequest, Node, SignerKind,
        SigningKey as RegisteredKey, directory_change::Change,
    },
};

/// A ministry.
pub const MINISTRY: &str = "000.00.00.G10";
/// A province's People's Committee.
pub const PROVINCE: &str = "000.00.00.H38";
/// A district of the province.
pub const DISTRICT: &str = "000.00.21.H38";
/// A commune of the district, which has a node of its own.
pub const COMMUNE: &str = "000.01.21.H38";
/// A commune whose system is switched off.
pub const SILENT_COMMUNE: &str = "000.04.23.H38";

/// Identifier and name; level and parent follow from the identifier.
const AGENCIES: &[(&str, &str)] = &[
    (MINISTRY, "Bộ Nông nghiệp và Môi trường"),
    (PROVINCE, "UBND tỉnh Lào Cai"),
    (DISTRICT, "UBND thị xã Sa Pa"),
    (COMMUNE, "UBND xã Tả Van"),
    ("000.02.21.H38", "UBND xã Bản Hồ"),
    ("000.03.21.H38", "UBND xã Ngũ Chỉ Sơn"),
    ("000.04.21.H38", "UBND phường Cầu Mây"),
    ("000.00.22.H38", "UBND huyện Bắc Hà"),
    ("000.01.22.H38", "UBND xã Bản Phố"),
    ("000.02.22.H38", "UBND xã Tả Củ Tỷ"),
    ("000.03.22.H38", "UBND xã Na Hối"),
    ("000.00.23.H38", "UBND huyện Bát Xát"),
    ("000.01.23.H38", "UBND xã Y Tý"),
    ("000.02.23.H38", "UBND xã Trịnh Tường"),
    ("000.03.23.H38", "UBND xã Mường Hum"),
    (SILENT_COMMUNE, "UBND xã A Mú Sung"),
];

/// Node, and how its agencies' identifiers end; `=` for one exact agency.
const NODES: &[(&str, &str)] = &[
    ("monre", "=000.00.00.G10"),
    ("laocai", "=000.00.00.H38"),
    ("tavan", "=000.01.21.H38"),
    ("sapa", ".21.H38"),
    ("bacha", ".22.H38"),
    ("batxat", ".23.H38"),
];

/// Name of a person's key of an agency.
const PERSON: &str = "person";

/// Everything outside the hub.
pub struct World {
    certs: PathBuf,
    folder: PathBuf,
    endpoint: String,
    keys: BTreeMap<String, Vec<SigningKey>>,
}

impl World {
    /// Makes certificates and agency keys under `dir`.
    pub fn make(dir: &Path, endpoint: &str) -> Result<Self, Failure> {
        let certs = dir.join("certs");
        pki::init(&certs, &pki::InitOptions::default())?;
        for (node, _) in NODES {
            pki::issue(&certs, pki::Role::Node, node)?;
        }
        let folder = dir.join("keys");
        std::fs::create_dir_all(&folder).map_err(|error| Failure::new(crate::cli::Exit::File, error))?;
        let mut keys = BTreeMap::new();
        for (agency, _) in AGENCIES {
            keys.insert((*agency).to_owned(), make_keys(&folder, agency)?);
        }
        Ok(Self { certs, folder, endpoint: endpoint.to_owned(), keys })
    }

    /// Where the hub is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// An agency's seal, read from its file.
    pub fn load_seal(&self, agency: &str) -> Result<Vec<SigningKey>, Failure> {
        Ok(vec![keygen::read_signing_key(&self.folder.join(format!("{agency}.key")))?])
    }

    /// A connection as the holder of a certificate.
    pub async fn connect(&self, name: &str) -> Result<Client, Failure> {
        let paths = pki::Paths::of(&self.certs, name);
        let options = ClientOptions {
            endpoint: self.endpoint.clone(),
            ca: self.certs.join("ca.pem"),
            cert: paths.certificate,
            key: paths.key,
            domain: None,
        };
        Ok(Client::connect(&options).await?)
    }

    /// Keys of an agency: its seal, then a person's where there is one.
    pub fn keys(&self, agency: &str) -> &[SigningKey] {
        self.keys.get(agency).map_or(&[], Vec::as_slice)
    }

    /// The seal alone.
    pub fn seal(&self, agency: &str) -> &[SigningKey] {
        let keys = self.keys(agency);
        &keys[..keys.len().min(1)]
    }

    /// Connections of those who keep the directory.
    pub async fn keepers(&self) -> Result<Keepers, Failure> {
        Ok(Keepers { registrar: self.connect("registrar").await?, security: self.connect("security").await? })
    }

    /// Registers agencies, nodes and keys; returns how many directory changes that made.
    pub async fn register(&self) -> Result<usize, Failure> {
        let keepers = self.keepers().await?;
        let agencies = AGENCIES.iter().map(|(organ_id, name)| Agency {
            organ_id: (*organ_id).into(),
            name: (*name).into(),
            ..Agency::default()
        });
        let request = ImportAgenciesRequest { agencies: agencies.collect(), dry_run: false };
        let imported = keepers.registrar.directory().import_agencies(request).await?.into_inner();
        let mut changes = imported.imported as usize;
        for (node, pattern) in NODES {
            let agencies = agencies_of(pattern).map(str::to_owned).collect();
            let node = Node { name: (*node).into(), agencies, revoked: false };
            keepers.change(Change::PutNode(node), "demo").await?;
            changes += 1;
        }
        for (agency, keys) in &self.keys {
            for (key, kind) in keys.iter().zip([SignerKind::Agency, SignerKind::Person]) {
                let key = RegisteredKey {
                    agency: agency.clone(),
                    spki_der: key.public_key().spki_der().clone(),
                    signer_kind: kind.into(),
                    ..RegisteredKey::default()
                };
                keepers.change(Change::AddKey(key), "demo").await?;
                changes += 1;
            }
        }
        Ok(changes)
    }
}

/// Those who keep the directory.
#[derive(Clone)]
pub struct Keepers {
    /// Agencies.
    pub registrar: Client,
    /// Nodes and keys.
    pub security: Client,
}

impl Keepers {
    /// The one whose duty a change is.
    #[must_use]
    pub fn of(&self, change: &Change) -> &Client {
        if Duty::for_change(change) == Duty::Security { &self.security } else { &self.registrar }
    }

    /// Applies one directory change.
    pub async fn change(&self, change: Change, reason: &str) -> Result<(), Failure> {
        let keeper = self.of(&change);
        let change = DirectoryChange { change: Some(change), reason: reason.into() };
        keeper.directory().change(ChangeRequest { change: Some(change) }).await?;
        Ok(())
    }
}

/// A seal for everyone; the commune, the district and the province also have the key of a person. One
/// district seals with ECDSA P-256.
fn make_keys(folder: &Path, agency: &str) -> Result<Vec<SigningKey>, Failure> {
    let algorithm = if agency == "000.00.22.H38" { Algorithm::EcdsaP256Sha256 } else { Algorithm::Ed25519 };
    let mut keys = vec![make_key(&folder.join(format!("{agency}.key")), algorithm)?];
    if [COMMUNE, DISTRICT, PROVINCE].contains(&agency) {
        keys.push(make_key(&folder.join(format!("{agency}.{PERSON}.key")), Algorithm::Ed25519)?);
    }
    Ok(keys)
}

fn make_key(path: &Path, algorithm: Algorithm) -> Result<SigningKey, Failure> {
    keygen::generate(path, algorithm)?;
    Ok(keygen::read_signing_key(path)?)
}

/// The communes of the sample, the circular's recipients.
pub fn communes() -> impl Iterator<Item = &'static str> {
    AGENCIES.iter().map(|(id, _)| *id).filter(|id| !id.starts_with("000.00."))
}

/// All agencies that a node acts for.
pub fn agencies_of_node(node: &str) -> Vec<String> {
    let pattern = NODES.iter().find(|(name, _)| *name == node).map(|(_, pattern)| *pattern);
    pattern.into_iter().flat_map(agencies_of).map(str::to_owned).collect()
}

fn agencies_of(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    AGENCIES.iter().map(|(id, _)| *id).filter(move |id| match pattern.strip_prefix('=') {
        Some(exact) => *id == exact,
        None => id.ends_with(pattern),
    })
}

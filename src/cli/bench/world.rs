//! Agencies of the load, their keys, and the nodes that act for them.

use std::{collections::HashMap, sync::Arc};

use tokio::task::JoinSet;

use super::{
    check::Keys,
    options::{Load, Target},
    site::Site,
};
use crate::{
    cli::{Failure, demo::world::Keepers},
    client::{Client, Terms},
    domain::signature::{Algorithm, SigningKey},
    proto::{
        Agency, ImportAgenciesRequest, Level, Node, SignerKind, SigningKey as RegisteredKey,
        directory_change::Change,
    },
};

/// Above all senders of the load; no real agency has a code like this.
pub const SENDERS: &str = "Z90";
/// Above all its recipients.
pub const RECIPIENTS: &str = "Z91";
/// Above those that get circulars.
const CROWD: &str = "Z92";
/// Above those of idle sessions.
const IDLE: &str = "Z93";
/// Connections of each side, so that the load itself stays cheap.
const OFFICES: usize = 2;
/// Agencies of one call.
const IMPORT: usize = 2_000;
/// Changes of the directory at a time.
const AT_ONCE: usize = 64;

/// Everybody outside the hub.
pub struct World {
    /// What the hub announces.
    pub terms: Terms,
    /// The operator's connection, where there is one.
    pub operator: Option<Client>,
    /// Who sends.
    pub senders: Vec<Arc<Office>>,
    /// Who receives.
    pub recipients: Vec<Arc<Office>>,
    /// Identifiers of all recipients.
    pub addresses: Arc<[String]>,
    /// Who gets circulars, and who sends them.
    pub crowd: Option<Crowd>,
}

/// Very many agencies that only get circulars.
pub struct Crowd {
    /// The agency that is above all of them.
    pub root: String,
    /// How many.
    pub size: usize,
    /// The sender of the circulars.
    pub office: Office,
}

/// Nodes with an agency each, for what needs no signatures.
pub struct Nodes {
    /// Their names.
    pub names: Vec<String>,
}

impl Nodes {
    /// Registers them.
    pub async fn found(site: &Site, name: &str, count: usize) -> Result<Self, Failure> {
        let keepers = site.keepers().await?;
        let agencies: Vec<_> = (0..count).map(|at| format!("{IDLE}.{at}")).collect();
        import(&keepers, IDLE, agencies.iter().map(String::as_str)).await?;
        let mut names = Vec::with_capacity(count);
        for (at, agency) in agencies.into_iter().enumerate() {
            let name = format!("{name}-{at}");
            let node = Node { name: name.clone(), agencies: vec![agency], revoked: false };
            change(&keepers, Change::PutNode(node)).await?;
            site.certify(&name)?;
            names.push(name);
        }
        Ok(Self { names })
    }
}

/// One connection, and the agencies that it acts for.
pub struct Office {
    /// The connection.
    pub client: Client,
    /// Its agencies.
    pub seats: Vec<Seat>,
    by_agency: HashMap<String, usize>,
}

impl Office {
    /// Agencies behind a connection.
    pub fn new(client: Client, seats: Vec<Seat>) -> Self {
        let by_agency = seats.iter().enumerate().map(|(at, seat)| (seat.agency.clone(), at)).collect();
        Self { client, seats, by_agency }
    }

    /// The agency of this identifier.
    pub fn seat(&self, agency: &str) -> Option<&Seat> {
        self.by_agency.get(agency).map(|at| &self.seats[*at])
    }
}

/// An agency with the key that signs for it.
pub struct Seat {
    /// Identifier.
    pub agency: String,
    /// Its key.
    pub key: SigningKey,
}

impl World {
    /// Registers everybody with the hub and connects.
    pub async fn found(site: &Site, target: &Target, load: &Load) -> Result<Self, Failure> {
        if let Some(given) = Self::given(target).await? {
            return Ok(given);
        }
        let (operator, keepers) = (site.operator().await?, site.keepers().await?);
        let senders = seats(SENDERS, load.senders)?;
        let recipients = seats(RECIPIENTS, load.recipients)?;
        let addresses = recipients.iter().map(|seat| seat.agency.clone()).collect();
        import(&keepers, SENDERS, names(&senders)).await?;
        import(&keepers, RECIPIENTS, names(&recipients)).await?;
        add_keys(&keepers, &senders).await?;
        if !load.no_receive {
            add_keys(&keepers, &recipients).await?;
        }
        let world = Self {
            terms: operator.terms().await?,
            senders: offices(site, &keepers, "bench-out", senders).await?,
            recipients: offices(site, &keepers, "bench-in", recipients).await?,
            crowd: match load.circular {
                Some(size) => Some(Crowd::found(site, &keepers, size).await?),
                None => None,
            },
            operator: Some(operator),
            addresses,
        };
        Ok(world)
    }
}

fn seats(root: &str, count: usize) -> Result<Vec<Seat>, Failure> {
    let seat =
        |at| Ok(Seat { agency: format!("{root}.{at}"), key: SigningKey::generate(Algorithm::Ed25519)? });
    (0..count).map(seat).collect()
}

impl World {
    /// Public keys of senders and recipients.
    pub fn keys(&self) -> Keys {
        let offices = self.senders.iter().chain(&self.recipients);
        let seats = offices.flat_map(|office| &office.seats);
        seats.map(|seat| (seat.agency.clone(), seat.key.public_key())).collect()
    }
}

impl Crowd {
    async fn found(site: &Site, keepers: &Keepers, size: usize) -> Result<Self, Failure> {
        let crowd: Vec<_> = (0..size).map(|at| format!("{CROWD}.{at}")).collect();
        import(keepers, CROWD, crowd.iter().map(String::as_str)).await?;
        // The sender of circulars is the agency above all who get them.
        let seat = Seat { agency: CROWD.into(), key: SigningKey::generate(Algorithm::Ed25519)? };
        let seats = vec![seat];
        add_keys(keepers, &seats).await?;
        let name = "bench-circular".to_owned();
        let node = Node { name: name.clone(), agencies: vec![CROWD.into()], revoked: false };
        change(keepers, Change::PutNode(node)).await?;
        let office = Office::new(site.node(&name).await?, seats);
        Ok(Self { root: CROWD.into(), size, office })
    }
}

fn names(seats: &[Seat]) -> impl Iterator<Item = &str> {
    seats.iter().map(|seat| seat.agency.as_str())
}

async fn import<'a>(
    keepers: &Keepers,
    root: &str,
    agencies: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    let level = i32::from(Level::Commune);
    let agency =
        |id: &str| Agency { organ_id: id.into(), name: format!("Load {id}"), level, ..Agency::default() };
    let root = Agency { level: Level::Province.into(), ..agency(root) };
    let mut all = vec![root];
    all.extend(agencies.map(agency));
    for part in all.chunks(IMPORT) {
        let request = ImportAgenciesRequest { agencies: part.to_vec(), dry_run: false };
        keepers.registrar.directory().import_agencies(request).await?;
    }
    Ok(())
}

async fn add_keys(keepers: &Keepers, seats: &[Seat]) -> Result<(), Failure> {
    let mut work = JoinSet::new();
    for seat in seats {
        if work.len() >= AT_ONCE {
            joined(work.join_next().await)?;
        }
        let key = RegisteredKey {
            agency: seat.agency.clone(),
            spki_der: seat.key.public_key().spki_der().clone(),
            signer_kind: SignerKind::Agency.into(),
            ..RegisteredKey::default()
        };
        let keepers = keepers.clone();
        work.spawn(async move { change(&keepers, Change::AddKey(key)).await });
    }
    while let Some(done) = work.join_next().await {
        joined(Some(done))?;
    }
    Ok(())
}

fn joined(done: Option<Result<Result<(), Failure>, tokio::task::JoinError>>) -> Result<(), Failure> {
    done.map_or(Ok(()), |done| {
        done.unwrap_or_else(|error| Err(Failure::new(crate::cli::Exit::Refused, error)))
    })
}

async fn offices(
    site: &Site,
    keepers: &Keepers,
    name: &str,
    seats: Vec<Seat>,
) -> Result<Vec<Arc<Office>>, Failure> {
    let count = seats.len().min(OFFICES);
    let mut parts: Vec<Vec<Seat>> = (0..count).map(|_| Vec::new()).collect();
    for (at, seat) in seats.into_iter().enumerate() {
        parts[at % count].push(seat);
    }
    let mut offices = Vec::with_capacity(count);
    for (at, seats) in parts.into_iter().enumerate() {
        let name = format!("{name}-{at}");
        let agencies = seats.iter().map(|seat| seat.agency.clone()).collect();
        change(keepers, Change::PutNode(Node { name: name.clone(), agencies, revoked: false })).await?;
        offices.push(Arc::new(Office::new(site.node(&name).await?, seats)));
    }
    Ok(offices)
}

async fn change(keepers: &Keepers, change: Change) -> Result<(), Failure> {
    keepers.change(change, "load").await
}

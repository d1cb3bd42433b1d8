//! A load by agencies that are registered already: for hubs where nothing may be registered for it.

use std::sync::Arc;

use super::{
    options::Target,
    world::{Office, Seat, World},
};
use crate::{
    cli::{Connection, Exit, Failure, keygen::read_signing_key},
    client::Client,
};

impl World {
    /// The world that the command line names; `None` when it names none.
    pub async fn given(target: &Target) -> Result<Option<Self>, Failure> {
        let (Some(endpoint), Some(from)) = (&target.endpoint, &target.from) else { return Ok(None) };
        let missing = |flag: &str| Failure::new(Exit::Usage, format!("{flag} is missing"));
        let key = target.key.as_ref().ok_or_else(|| missing("--key"))?;
        let to = target.to.clone().ok_or_else(|| missing("--to"))?;
        let client = connection(target, endpoint).client().await?;
        let sender = Seat { agency: from.clone(), key: read_signing_key(key)? };
        let recipients = match &target.to_key {
            Some(key) => {
                let seat = Seat { agency: to.clone(), key: read_signing_key(key)? };
                vec![Arc::new(Office::new(client.clone(), vec![seat]))]
            }
            None => Vec::new(),
        };
        Ok(Some(Self {
            terms: client.terms().await?,
            operator: operator(target, endpoint).await,
            senders: vec![Arc::new(Office::new(client, vec![sender]))],
            recipients,
            addresses: Arc::from([to]),
            crowd: None,
        }))
    }
}

/// Where an operator's certificate is at hand, the hub's own counts are read too.
async fn operator(target: &Target, endpoint: &str) -> Option<Client> {
    let connection = Connection { name: Some("operator".into()), ..connection(target, endpoint) };
    Connection { cert: None, cert_key: None, ..connection }.client().await.ok()
}

fn connection(target: &Target, endpoint: &str) -> Connection {
    Connection {
        hub: endpoint.to_owned(),
        ca: target.ca.clone(),
        cert: target.cert.clone(),
        cert_key: target.cert_key.clone(),
        pki: target.pki.clone(),
        name: target.name.clone(),
    }
}

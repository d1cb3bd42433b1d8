//! Taking one document over: check it, make it safe, and only then sign for it.

mod offer;
mod receipt;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use offer::Opened;
use prost::Message;

use super::{
    Client, ClientError, Patience, Terms,
    download::{Fetched, fetch},
    folder::{self, Folder},
    readable,
    timeline::is_consigned,
};
use crate::{
    domain::{
        id::{AgencyId, Digest, DocumentName},
        signature::SigningKey,
    },
    proto::{ExtendLeaseRequest, Manifest, Offer, Outcome, Receipt, ReleaseRequest},
};

/// Where documents of some agencies are taken over.
pub struct Desk {
    /// The hub.
    pub client: Client,
    /// Its terms.
    pub terms: Terms,
    /// Agencies with the keys that sign for them.
    pub keys: BTreeMap<AgencyId, Vec<SigningKey>>,
    /// Documents come to `folder/AGENCY/…`.
    pub folder: PathBuf,
    /// Refuse everything, for this reason.
    pub refuse: Option<String>,
    /// With a broken connection.
    pub patience: Patience,
}

/// A document that was answered, with the hub's proof of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Whose document it is now.
    pub recipient: AgencyId,
    /// Which.
    pub name: DocumentName,
    /// What the sender says about it.
    pub manifest: Manifest,
    /// Accepted, or refused.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: String,
    /// Where it lies, when it was accepted and is no test.
    pub folder: Option<PathBuf>,
    /// Which time it was offered.
    pub attempt: u32,
    /// True when it had been taken over before, and was only signed for again.
    pub repeat: bool,
    /// Proof of the handover or of the refusal.
    pub receipt: Receipt,
}

/// What is to be answered.
enum Answer {
    Accept(Folder),
    /// A test document: signed for, and not kept.
    AcceptTest,
    Refuse(String),
}

impl Desk {
    /// Takes an offer over, or refuses it where it is not what was sent. The lease, of which a part may be over, is
    /// prolonged while this works. When this fails, the lease was given back: the hub offers it again later.
    pub async fn take(&self, offer: Offer, lease: Duration) -> Result<Taken, ClientError> {
        let (delivery_id, lease_id) = (offer.delivery_id.clone(), offer.lease_id);
        let outcome = match Opened::read(offer) {
            Ok(opened) => self.work_on(opened, lease).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // If this fails too, the lease ends by itself.
            let _ = self.client.delivery().release(ReleaseRequest { delivery_id, lease_id }).await;
        }
        outcome
    }

    async fn work_on(&self, opened: Opened, lease: Duration) -> Result<Taken, ClientError> {
        let work = self.answer(&opened);
        tokio::pin!(work);
        loop {
            tokio::select! {
                taken = &mut work => return taken,
                () = tokio::time::sleep((lease / 3).max(Duration::from_secs(1))) => self.extend(&opened).await,
            }
        }
    }

    /// A lost lease is no reason to stop: whoever signs first has taken it.
    async fn extend(&self, opened: &Opened) {
        let request =
            ExtendLeaseRequest { delivery_id: opened.delivery_id.clone(), lease_id: opened.lease_id };
        let _ = self.client.delivery().extend_lease(request).await;
    }

    async fn answer(&self, opened: &Opened) -> Result<Taken, ClientError> {
        let keys = self.keys.get(&opened.recipient).ok_or_else(|| {
            ClientError::answer(format!("the hub offered a document for {}, not ours", opened.recipient))
        })?;
        let answer = match self.objection(opened).await? {
            Some(reason) => Answer::Refuse(reason),
            None if opened.manifest.test => Answer::AcceptTest,
            None => self.keep(opened).await?,
        };
        match answer {
            Answer::Accept(folder) => self.accept(opened, keys, folder).await,
            Answer::AcceptTest => self.accept_test(opened, keys).await,
            Answer::Refuse(reason) => self.refuse(opened, keys, reason).await,
        }
    }

    /// Why it has to be refused before anything is fetched.
    async fn objection(&self, opened: &Opened) -> Result<Option<String>, ClientError> {
        if self.refuse.is_some() {
            return Ok(self.refuse.clone());
        }
        let newer = self.terms.newer_for(&self.client, opened.acceptance.as_ref()).await;
        if let Err(problem) = opened.check(newer.as_deref().unwrap_or(&self.terms)) {
            return Ok(Some(problem));
        }
        if opened.names_us() {
            return Ok(None);
        }
        // Added later, or under another identifier: then the log says so.
        let (name, manifest, recipient) = (&opened.name, &opened.manifest_sha256, opened.recipient.as_str());
        let consigned =
            is_consigned(&self.client, &self.terms, name, manifest, recipient, &self.patience).await?;
        Ok((!consigned).then(|| format!("not addressed to {recipient}")))
    }

    /// Makes everything safe below the folder.
    async fn keep(&self, opened: &Opened) -> Result<Answer, ClientError> {
        let folder = self.open_folder(opened).await?;
        let targets = folder.part_paths(&opened.manifest.parts);
        for (at, (part, target)) in opened.manifest.parts.iter().zip(targets).enumerate() {
            let partial = folder.partial_path(&Digest::from_slice(&part.sha256).unwrap_or(Digest([0; 32])));
            let fetched =
                fetch(&self.client, &opened.delivery_id, part, &target, &partial, &self.patience).await?;
            if let Fetched::Mismatch(problem) = fetched {
                blocking(move || folder.discard()).await?;
                return Ok(Answer::Refuse(format!("parts[{at}]: {problem}")));
            }
        }
        Ok(Answer::Accept(folder))
    }

    async fn open_folder(&self, opened: &Opened) -> Result<Folder, ClientError> {
        let root = self.folder.join(opened.recipient.as_str());
        let (name, sha256) = (opened.name.clone(), opened.manifest_sha256);
        let readable = readable::manifest(&opened.manifest, &sha256);
        let readable = serde_json::to_vec_pretty(&readable).unwrap_or_default();
        let envelope = opened.envelope.encode_to_vec();
        let acceptance = opened.acceptance.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let verifier = format!("{}\n", self.terms.verifier);
        let log_keys = self.terms.log_keys();
        blocking(move || {
            let folder = Folder::open(&root, &name, &sha256)?;
            let mut files: Vec<(&str, &[u8])> = vec![
                (folder::ENVELOPE, &envelope),
                (folder::MANIFEST, &readable),
                (folder::ACCEPTANCE, &acceptance),
                (folder::VERIFIER, verifier.as_bytes()),
            ];
            if !log_keys.is_empty() {
                files.push((folder::LOG_KEYS, log_keys.as_bytes()));
            }
            folder.put(&files)?;
            Ok(folder)
        })
        .await
    }
}

/// Runs disk work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let ended = |error| ClientError::answer(format!("a worker ended unexpectedly: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

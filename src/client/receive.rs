//! Taking one document over: check it, make it safe, and only then sign for it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use prost::Message;

use super::{
    Client, ClientError, Patience, Terms,
    calendar::now,
    download::{Fetched, fetch},
    folder::{self, Folder},
    readable,
    send::signed,
    timeline::is_consigned,
};
use crate::{
    domain::{
        envelope::{MANIFEST, RECEIPT, signature_digests},
        id::{AgencyId, Digest, DocumentName},
        signature::SigningKey,
    },
    proto::{
        AcknowledgeRequest, EventKind, Evidence, ExtendLeaseRequest, Manifest, Offer, Outcome, Receipt,
        RecipientReceipt, ReleaseRequest, SignedEnvelope,
    },
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
    /// Where it lies, when it was accepted.
    pub folder: Option<PathBuf>,
    /// Which time it was offered.
    pub attempt: u32,
    /// True when it had been taken over before, and was only signed for again.
    pub repeat: bool,
    /// Proof of the handover or of the refusal.
    pub receipt: Receipt,
}

/// An offer as far as it can be answered at all.
struct Opened {
    recipient: AgencyId,
    name: DocumentName,
    manifest: Manifest,
    manifest_sha256: Digest,
    envelope: SignedEnvelope,
    acceptance: Option<Receipt>,
    delivery_id: String,
    lease_id: u64,
    attempt: u32,
}

/// What is to be answered.
enum Answer {
    Accept(Folder),
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
            None => self.keep(opened).await?,
        };
        let (outcome, reason) = match &answer {
            Answer::Accept(_) => (Outcome::Accepted, String::new()),
            Answer::Refuse(reason) => (Outcome::Refused, reason.chars().take(500).collect()),
        };
        let receipt = self.acknowledge(opened, keys, outcome, &reason).await?;
        let mut taken = opened.taken(outcome, reason, receipt);
        if let Answer::Accept(folder) = answer {
            taken.repeat = folder.is_complete();
            taken.folder = Some(folder.path().to_owned());
            let bytes = taken.receipt.encode_to_vec();
            blocking(move || folder.put(&[(folder::HANDOVER, &bytes)])).await?;
        }
        Ok(taken)
    }

    /// Why it has to be refused before anything is fetched.
    async fn objection(&self, opened: &Opened) -> Result<Option<String>, ClientError> {
        if self.refuse.is_some() {
            return Ok(self.refuse.clone());
        }
        if let Err(problem) = opened.check(&self.terms) {
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
        blocking(move || {
            let folder = Folder::open(&root, &name, &sha256)?;
            folder.put(&[
                (folder::ENVELOPE, &envelope),
                (folder::MANIFEST, &readable),
                (folder::ACCEPTANCE, &acceptance),
                (folder::VERIFIER, verifier.as_bytes()),
            ])?;
            Ok(folder)
        })
        .await
    }

    async fn acknowledge(
        &self,
        opened: &Opened,
        keys: &[SigningKey],
        outcome: Outcome,
        reason: &str,
    ) -> Result<Receipt, ClientError> {
        let receipt = RecipientReceipt {
            document_id: opened.name.document_id.to_string(),
            sender: opened.name.sender.to_string(),
            revision: opened.name.revision,
            manifest_sha256: opened.manifest_sha256.to_bytes(),
            recipient: opened.recipient.to_string(),
            outcome: outcome.into(),
            reason: reason.to_owned(),
            received_at_us: now().0,
            hub_origin: self.terms.origin().to_owned(),
        };
        let envelope = signed(RECEIPT, receipt.encode_to_vec().into(), keys)?;
        let request = AcknowledgeRequest { envelope: Some(envelope) };
        let answer = self.patience.call(self.client.delivery(), request, |mut hub, request| async move {
            hub.acknowledge(request).await
        });
        let receipt = answer.await?.into_inner().receipt;
        let (name, sha256) = (&opened.name, &opened.manifest_sha256);
        let evidence = self.terms.check_about(receipt.as_ref(), name, Some(sha256))?;
        let expected = match outcome {
            Outcome::Accepted => EventKind::ContentHandover,
            _ => EventKind::ConsignmentRejection,
        };
        let ours = evidence.recipients.iter().any(|party| party.agency == opened.recipient.as_str());
        if evidence.event() != expected || !ours {
            let event = evidence.event().as_str_name();
            return Err(ClientError::answer(format!("the hub's answer is evidence of {event}")));
        }
        Ok(receipt.unwrap_or_default())
    }
}

impl Opened {
    /// Reads what an answer needs. An offer without it can't even be refused.
    fn read(offer: Offer) -> Result<Self, ClientError> {
        let wrong = |problem: String| ClientError::answer(format!("offer {}: {problem}", offer.delivery_id));
        let envelope = offer.envelope.ok_or_else(|| wrong("no envelope".into()))?;
        if envelope.payload_type != MANIFEST {
            return Err(wrong("the envelope holds no manifest".into()));
        }
        let manifest =
            Manifest::decode(envelope.payload.clone()).map_err(|error| wrong(error.to_string()))?;
        let name = DocumentName::parse(&manifest.sender, &manifest.document_id, manifest.revision)
            .map_err(|reason| wrong(reason.to_string()))?;
        Ok(Self {
            recipient: AgencyId::parse(&offer.recipient).map_err(|reason| wrong(reason.to_string()))?,
            name,
            manifest_sha256: Digest::of(&envelope.payload),
            manifest,
            envelope,
            acceptance: offer.acceptance,
            delivery_id: offer.delivery_id,
            lease_id: offer.lease_id,
            attempt: offer.attempt,
        })
    }

    /// The envelope is the one that the hub accepted from the sender, and the log proves it.
    fn check(&self, terms: &Terms) -> Result<(), String> {
        let evidence = terms
            .check_about(self.acceptance.as_ref(), &self.name, Some(&self.manifest_sha256))
            .map_err(|error| format!("acceptance: {error}"))?;
        if evidence.event() != EventKind::SubmissionAcceptance {
            return Err("acceptance: it proves another event".into());
        }
        if evidence.signature_sha256 != signature_digests(&self.envelope) {
            return Err("acceptance: it is about other signatures".into());
        }
        if !signed_by(&evidence, self.name.sender.as_str()) {
            return Err("acceptance: no valid signature of the sender".into());
        }
        if self.manifest.hub_origin != terms.origin() {
            return Err("hub_origin: the manifest was made for another hub".into());
        }
        Ok(())
    }

    /// By identifier, or through a group: the acceptance covers what groups came to.
    fn names_us(&self) -> bool {
        !self.manifest.groups.is_empty()
            || self.manifest.recipients.iter().any(|to| to == self.recipient.as_str())
    }

    fn taken(&self, outcome: Outcome, reason: String, receipt: Receipt) -> Taken {
        Taken {
            recipient: self.recipient.clone(),
            name: self.name.clone(),
            manifest: self.manifest.clone(),
            outcome,
            reason,
            folder: None,
            attempt: self.attempt,
            repeat: false,
            receipt,
        }
    }
}

fn signed_by(evidence: &Evidence, agency: &str) -> bool {
    let verdict = evidence.verdict.as_ref();
    verdict.is_some_and(|verdict| {
        verdict.signatures.iter().any(|report| report.valid && report.agency == agency)
    })
}

/// Runs disk work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    let ended = |error| ClientError::answer(format!("a worker ended unexpectedly: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{
            draft::testing::{draft, issue},
            terms::testing::*,
        },
        domain::{envelope::sign, signature::Algorithm},
        proto::{Party, SignatureReport, Verdict},
        tlog::note::Signer,
    };

    struct Case {
        terms: Terms,
        signer: Signer,
        evidence: Evidence,
        offer: Offer,
    }

    fn case() -> Case {
        let (terms, signer) = terms();
        let manifest = draft().manifest(issue(Vec::new()));
        let key = SigningKey::generate(Algorithm::Ed25519).expect("a key");
        let envelope = sign(MANIFEST, manifest.encode_to_vec().into(), &[&key]);
        let report = SignatureReport { valid: true, agency: manifest.sender.clone(), ..Default::default() };
        let evidence = Evidence {
            event: EventKind::SubmissionAcceptance.into(),
            document_id: manifest.document_id,
            sender: Some(Party { agency: manifest.sender, ..Party::default() }),
            manifest_sha256: Digest::of(&envelope.payload).to_bytes(),
            signature_sha256: signature_digests(&envelope),
            verdict: Some(Verdict { signatures: vec![report], ..Verdict::default() }),
            ..Evidence::default()
        };
        let offer = Offer {
            delivery_id: "0/H54".into(),
            recipient: "H54".into(),
            acceptance: Some(receipt(&evidence, &signer)),
            envelope: Some(envelope),
            ..Offer::default()
        };
        Case { terms, signer, evidence, offer }
    }

    #[test]
    fn a_true_offer_passes() {
        let Case { terms, offer, .. } = case();
        let opened = Opened::read(offer).expect("readable");
        opened.check(&terms).expect("true");
        assert!(opened.names_us());
    }

    #[test]
    fn what_the_log_does_not_prove_is_refused() {
        type Changes = fn(&mut Evidence);
        let changes: [Changes; 5] = [
            |e| e.set_event(EventKind::SubmissionRejection),
            |e| e.manifest_sha256 = Digest([1; 32]).to_bytes(),
            |e| e.signature_sha256.clear(),
            |e| e.verdict.as_mut().expect("there").signatures[0].valid = false,
            |e| e.verdict.as_mut().expect("there").signatures[0].agency = "H54".into(),
        ];
        for change in changes {
            let Case { terms, signer, mut evidence, mut offer } = case();
            change(&mut evidence);
            offer.acceptance = Some(receipt(&evidence, &signer));
            let problem = Opened::read(offer).expect("readable").check(&terms).expect_err("untrue");
            assert!(problem.starts_with("acceptance: "), "{problem}");
        }
        let Case { terms, mut offer, .. } = case();
        offer.acceptance = None;
        assert!(Opened::read(offer).expect("readable").check(&terms).is_err());
    }

    #[test]
    fn another_envelope_than_the_accepted_one_is_refused() {
        let Case { terms, mut offer, .. } = case();
        let mut manifest = draft().manifest(issue(Vec::new()));
        manifest.recipients.push("H55".into());
        offer.envelope.as_mut().expect("there").payload = manifest.encode_to_vec().into();
        assert!(Opened::read(offer).expect("readable").check(&terms).is_err());

        let Case { mut terms, offer, .. } = case();
        terms.announced.origin = "elsewhere".into();
        let problem = Opened::read(offer).expect("readable").check(&terms).expect_err("elsewhere");
        assert!(problem.starts_with("hub_origin: "), "{problem}");
    }

    #[test]
    fn offers_without_a_readable_manifest_are_no_offers() {
        type Changes = fn(&mut Offer);
        let changes: [Changes; 4] = [
            |o| o.envelope = None,
            |o| o.envelope.as_mut().expect("there").payload_type = RECEIPT.into(),
            |o| o.envelope.as_mut().expect("there").payload = vec![0xff].into(),
            |o| o.recipient = "../H54".into(),
        ];
        for change in changes {
            let mut offer = case().offer;
            change(&mut offer);
            assert!(matches!(Opened::read(offer), Err(ClientError::Answer(_))));
        }
    }

    #[test]
    fn others_are_not_named() {
        let mut offer = case().offer;
        offer.recipient = "H55".into();
        assert!(!Opened::read(offer).expect("readable").names_us());
    }
}

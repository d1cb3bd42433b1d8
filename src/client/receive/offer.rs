//! An offer: read as far as it can be answered, and checked against the log.

use prost::Message;

use super::Taken;
use crate::{
    client::{ClientError, Terms},
    domain::{
        envelope::{MANIFEST, signature_digests},
        id::{AgencyId, Digest, DocumentName},
    },
    proto::{EventKind, Evidence, Manifest, Offer, Outcome, Receipt, SignedEnvelope},
};

/// An offer as far as it can be answered at all.
pub struct Opened {
    pub recipient: AgencyId,
    pub name: DocumentName,
    pub manifest: Manifest,
    pub manifest_sha256: Digest,
    pub envelope: SignedEnvelope,
    pub acceptance: Option<Receipt>,
    pub delivery_id: String,
    pub lease_id: u64,
    attempt: u32,
}

impl Opened {
    /// Reads what an answer needs. An offer without it can't even be refused.
    pub fn read(offer: Offer) -> Result<Self, ClientError> {
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
    pub fn check(&self, terms: &Terms) -> Result<(), String> {
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
    pub fn names_us(&self) -> bool {
        !self.manifest.groups.is_empty()
            || self.manifest.recipients.iter().any(|to| to == self.recipient.as_str())
    }

    pub fn taken(&self, outcome: Outcome, reason: String, receipt: Receipt) -> Taken {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{
            draft::testing::{draft, issue},
            terms::testing::*,
        },
        domain::{
            envelope::{RECEIPT, sign},
            signature::{Algorithm, SigningKey},
        },
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

//! Receipts are verified: what each says and that its checkpoint is signed by the hub; a sample whole, offline.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prost::Message;

use crate::{
    client::Terms,
    domain::{id::Digest, signature::PublicKey},
    proto::{EventKind, Evidence, Receipt, SignedEnvelope},
    tlog::{checkpoint::Checkpoint, note::Verifier},
    verify,
};

/// Public keys by agency.
pub type Keys = HashMap<String, PublicKey>;

/// Checkpoints whose signatures were verified: receipts of one commit share theirs, in all streams.
#[derive(Default)]
pub struct Checkpoints(Mutex<HashMap<String, u64>>);

impl Checkpoints {
    /// So many are remembered.
    const MOST: usize = 4096;

    /// Size of the tree of a checkpoint that the hub has signed.
    fn size(&self, note: &str, verifier: &Verifier) -> Result<u64, String> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(size) = known().get(note) {
            return Ok(*size);
        }
        let size = Checkpoint::open(note, verifier).map_err(|error| error.to_string())?.size;
        let mut known = known();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(note.to_owned(), size);
        Ok(size)
    }
}

/// Verifies the receipts of one stream.
pub struct Check {
    verifier: Verifier,
    checkpoints: Arc<Checkpoints>,
    every: u64,
    seen: u64,
    /// Counts receipts that were verified whole.
    sampled: Arc<AtomicU64>,
    /// The newest is one of these.
    whole: bool,
}

impl Check {
    /// One of `every` receipts is verified whole, and counted.
    pub fn new(terms: &Terms, every: u64, checkpoints: &Arc<Checkpoints>, sampled: &Arc<AtomicU64>) -> Self {
        Self {
            verifier: terms.verifier.clone(),
            checkpoints: Arc::clone(checkpoints),
            every: every.max(1),
            seen: 0,
            sampled: Arc::clone(sampled),
            whole: false,
        }
    }

    /// The evidence of a receipt, or what is wrong with it.
    pub fn read(&mut self, receipt: &Receipt) -> Result<Evidence, String> {
        self.whole = self.seen.is_multiple_of(self.every);
        if self.whole {
            verify::receipt(receipt, &self.verifier).map_err(|error| error.to_string())?;
            self.sampled.fetch_add(1, Relaxed);
        }
        self.seen += 1;
        let size = self.checkpoints.size(&receipt.checkpoint, &self.verifier)?;
        if receipt.index >= size {
            return Err(format!("leaf {} is not in a tree of {size}", receipt.index));
        }
        Evidence::decode(receipt.evidence.clone()).map_err(|error| error.to_string())
    }

    /// The signature by this agency on the message that the newest receipt is about, when that one was verified whole.
    pub fn signature(
        &self,
        message: Option<&SignedEnvelope>,
        keys: &Keys,
        agency: &str,
    ) -> Result<(), String> {
        if !self.whole {
            return Ok(());
        }
        let message = message.ok_or("no signed message")?;
        let key = keys.get(agency).ok_or_else(|| format!("no key of {agency}"))?;
        verify::verify_signed_by(message, key).map_err(|error| error.to_string())
    }

    /// A receipt of this event, about this manifest.
    pub fn proves(
        &mut self,
        receipt: &Receipt,
        event: EventKind,
        manifest: &Digest,
    ) -> Result<Evidence, String> {
        let evidence = self.read(receipt)?;
        if evidence.event() != event {
            return Err(format!("a receipt of {}", evidence.event().as_str_name()));
        }
        if evidence.manifest_sha256 != manifest.as_bytes()[..] {
            return Err("a receipt of another document".into());
        }
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{proto::GetCapabilitiesResponse, tlog::note::Signer};

    /// A receipt without a path, which only a whole check asks for.
    fn receipt(evidence: &Evidence, signer: &Signer) -> Receipt {
        let head = Checkpoint { origin: signer.name().into(), size: 2, root: [0; 32] };
        let evidence = evidence.encode_to_vec().into();
        Receipt { evidence, index: 1, path: Vec::new(), checkpoint: head.sign(signer) }
    }

    #[test]
    fn a_receipt_is_refused_for_its_signature_its_place_its_event_and_its_document() {
        let signer = |seed| Signer::from_seed("hub.test/log", &[seed; 32]).expect("a name");
        let terms =
            Terms::new(GetCapabilitiesResponse::default(), &signer(7).verifier()).expect("good terms");
        let sampled = Arc::default();
        // Only the first is verified whole: what is found then is found cheaply.
        let mut check = Check::new(&terms, u64::MAX, &Arc::default(), &sampled);
        let manifest = Digest([1; 32]);
        let evidence = Evidence {
            event: EventKind::SubmissionAcceptance.into(),
            manifest_sha256: manifest.to_bytes(),
            ..Evidence::default()
        };
        let good = receipt(&evidence, &signer(7));
        check.read(&good).expect_err("its path leads nowhere");
        check.seen = 1;
        let mut proves = |receipt: &Receipt, event, manifest| check.proves(receipt, event, manifest).is_ok();
        let event = EventKind::SubmissionAcceptance;
        assert!(proves(&good, event, &manifest));
        assert!(!proves(&receipt(&evidence, &signer(8)), event, &manifest), "another key");
        assert!(!proves(&Receipt { index: 2, ..good.clone() }, event, &manifest), "outside the tree");
        assert!(!proves(&good, EventKind::ContentHandover, &manifest));
        assert!(!proves(&good, event, &Digest([2; 32])));
    }
}

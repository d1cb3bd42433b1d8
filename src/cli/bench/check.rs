//! Receipts are verified: what each says and that its checkpoint is signed by the hub; a sample whole, offline.

use std::{
    collections::HashMap,
    sync::{
        Arc,
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

/// Verifies the receipts of one stream.
pub struct Check {
    verifier: Verifier,
    /// The last checkpoint whose signature was verified: receipts of one commit share it.
    known: (String, u64),
    every: u64,
    seen: u64,
    /// Counts receipts that were verified whole.
    sampled: Arc<AtomicU64>,
    /// The newest is one of these.
    whole: bool,
}

impl Check {
    /// One of `every` receipts is verified whole, and counted.
    pub fn new(terms: &Terms, every: u64, sampled: &Arc<AtomicU64>) -> Self {
        Self {
            verifier: terms.verifier.clone(),
            known: (String::new(), 0),
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
        if receipt.checkpoint != self.known.0 {
            let checkpoint = Checkpoint::open(&receipt.checkpoint, &self.verifier);
            let size = checkpoint.map_err(|error| error.to_string())?.size;
            self.known = (receipt.checkpoint.clone(), size);
        }
        if receipt.index >= self.known.1 {
            return Err(format!("leaf {} is not in a tree of {}", receipt.index, self.known.1));
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

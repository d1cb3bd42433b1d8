//! Receipts are verified: what each says and that its checkpoint is signed by the hub; a sample whole, offline.

use prost::Message;

use crate::{
    client::Terms,
    domain::id::Digest,
    proto::{EventKind, Evidence, Receipt},
    tlog::{checkpoint::Checkpoint, note::Verifier},
    verify,
};

/// Verifies the receipts of one stream.
pub struct Check {
    verifier: Verifier,
    /// The last checkpoint whose signature was verified: receipts of one commit share it.
    known: (String, u64),
    every: u64,
    seen: u64,
    /// Receipts that were verified whole.
    pub sampled: u64,
}

impl Check {
    /// One of `every` receipts is verified whole.
    pub fn new(terms: &Terms, every: u64) -> Self {
        Self {
            verifier: terms.verifier.clone(),
            known: (String::new(), 0),
            every: every.max(1),
            seen: 0,
            sampled: 0,
        }
    }

    /// The evidence of a receipt, or what is wrong with it.
    pub fn read(&mut self, receipt: &Receipt) -> Result<Evidence, String> {
        if self.seen.is_multiple_of(self.every) {
            verify::receipt(receipt, &self.verifier).map_err(|error| error.to_string())?;
            self.sampled += 1;
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

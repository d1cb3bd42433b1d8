//! What the hub acknowledged, kept outside of it, and the one way to ask it for something.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use prost::Message as _;
use tonic::Status;
use tonic_types::StatusExt as _;
use truc::{client::Client, domain::id::Digest, proto::*, tlog::checkpoint::Checkpoint};

/// What can be asked again, and must then give the same receipt.
#[derive(Clone, Debug)]
pub enum Asked {
    Submit(SubmitRequest),
    Add(AddRecipientsRequest),
    Acknowledge(AcknowledgeRequest),
    Report(ReportRequest),
    Change(ChangeRequest),
}

/// Something acknowledged.
pub struct Deed {
    /// Whose certificate asked.
    pub by: &'static str,
    pub asked: Asked,
    /// The receipt's bytes.
    pub receipt: Vec<u8>,
}

/// Name of a delivery: document and recipient.
pub type Pair = (String, String);

#[derive(Default)]
pub struct Ledger {
    pub deeds: Vec<Arc<Deed>>,
    /// Asked, and the answer never came: done or not.
    pub open: BTreeMap<u64, (&'static str, Asked)>,
    /// Digest of every leaf ever shown.
    pub leaves: HashMap<u64, Digest>,
    /// Handed out since the last check, by size.
    pub checkpoints: BTreeMap<u64, Checkpoint>,
    /// Deliveries offered, with their names in the hub and the digests of their parts.
    pub offered: HashMap<Pair, (String, Vec<bytes::Bytes>)>,
    /// Deliveries whose end was acknowledged.
    pub ended: HashMap<Pair, EventKind>,
    /// Attachments that the hub said are complete and no document uses yet, by uploading node.
    pub staged: HashSet<(&'static str, bytes::Bytes)>,
    /// Attachments that a document uses.
    pub uploads: usize,
    /// How far the watch was read, and how far the hub was told so.
    pub watched: String,
    pub saved: String,
    asked: u64,
}

impl Ledger {
    pub fn begin(&mut self, by: &'static str, asked: &Asked) -> u64 {
        self.asked += 1;
        self.open.insert(self.asked, (by, asked.clone()));
        self.asked
    }

    /// Takes out a submission that was asked for and not answered, to ask for it again.
    pub fn take_open(&mut self, document_id: &str) -> Option<SubmitRequest> {
        let of_document = |asked: &Asked| match asked {
            Asked::Submit(request) => {
                let payload = request.envelope.as_ref().unwrap().payload.clone();
                Manifest::decode(payload).unwrap().document_id == document_id
            }
            _ => false,
        };
        let number = *self.open.iter().find(|(_, (_, asked))| of_document(asked))?.0;
        match self.open.remove(&number)?.1 {
            Asked::Submit(request) => Some(request),
            _ => None,
        }
    }

    pub fn done(&mut self, number: u64, receipt: &Receipt) {
        let (by, asked) = self.open.remove(&number).unwrap();
        if let Asked::Acknowledge(_) = asked {
            let evidence = Evidence::decode(receipt.evidence.clone()).unwrap();
            let pair = (evidence.document_id.clone(), evidence.recipients[0].agency.clone());
            let before = self.ended.insert(pair.clone(), evidence.event());
            assert!(before.is_none_or(|before| before == evidence.event()), "two ends of {pair:?}");
        }
        self.deeds.push(Arc::new(Deed { by, asked, receipt: receipt.encode_to_vec() }));
    }

    /// A leaf never changes.
    pub fn saw(&mut self, receipt: &Receipt, checkpoint: Checkpoint) {
        let digest = Digest::of(&receipt.evidence);
        let before = self.leaves.insert(receipt.index, digest);
        assert!(before.is_none_or(|before| before == digest), "leaf {} has changed", receipt.index);
        let root = checkpoint.root;
        let before = self.checkpoints.insert(checkpoint.size, checkpoint);
        assert!(before.is_none_or(|before| before.root == root), "two roots of one size");
    }
}

/// Asks; tells also whether the hub called it a repeat.
pub async fn ask(client: &Client, asked: &Asked) -> Result<(Receipt, bool), Status> {
    let asked = asked.clone();
    let (receipt, repeat) = match asked {
        Asked::Submit(request) => {
            let answer = client.submission().submit(request).await?;
            let repeat = answer.metadata().contains_key("truc-repeat");
            (answer.into_inner().receipt, repeat)
        }
        Asked::Add(request) => {
            (client.submission().add_recipients(request).await?.into_inner().receipt, false)
        }
        Asked::Acknowledge(request) => {
            (client.delivery().acknowledge(request).await?.into_inner().receipt, false)
        }
        Asked::Report(request) => (client.status().report(request).await?.into_inner().receipt, false),
        Asked::Change(request) => (client.directory().change(request).await?.into_inner().receipt, false),
    };
    Ok((receipt.expect("an answer has a receipt"), repeat))
}

/// The hub is gone or says that asking again helps: the outcome is open. Anything else is a verdict.
pub fn is_open(status: &Status) -> bool {
    let Some(info) = status.get_details_error_info() else { return true };
    ["BUSY", "SHUTTING_DOWN", "STORE_FAILED"].contains(&info.reason.as_str())
}

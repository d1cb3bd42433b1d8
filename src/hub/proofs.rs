//! Proofs for auditors: any leaf in any later signed head, and all that proves the story of one document.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc;

use super::{
    Hub,
    pages::{self, Pages},
    query::{Nodes, damaged},
    refused::{Refused, blocking},
    witnesses::CosignedHead,
};
use crate::{
    domain::{directory::Directory, reason::ReasonCode},
    proto::{
        BundleHashes, BundleHead, BundleLeaves, DirectoryChange, Evidence, GetBundleRequest,
        GetBundleResponse, GetTimelineRequest, ProofLeaf, Receipt, SignedEnvelope, WitnessSignature,
        directory_change::Change, get_bundle_response::Page,
    },
    store::{StoredLeaf, records::Head},
    tlog::{Hash, checkpoint::Checkpoint, merkle},
};

/// Bundles under way at the same time: each holds the indexes of its leaves in memory.
pub const MAX_BUNDLES: usize = 4;
/// Leaves of one bundle: a circular to 20,000 agencies with some fifty events each.
pub const MAX_LEAVES: usize = 1_000_000;
/// Indexes read at a time.
const STEP: usize = 1_000;
/// A page with so many bytes ends.
const PAGE_BYTES: usize = 512 * 1024;
/// Hashes of one page.
const PAGE_HASHES: usize = 8 * 1024;

impl Hub {
    /// A leaf in the smallest signed head of at least `tree_size` leaves, or in the newest for 0.
    pub async fn proof(self: &Arc<Self>, index: u64, tree_size: u64) -> Result<Receipt, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.proof_in(index, hub.head_of(index, tree_size)?)).await?
    }

    /// A leaf in the newest head that enough witnesses cosigned.
    pub async fn cosigned_proof(self: &Arc<Self>, index: u64) -> Result<Receipt, Refused> {
        let hub = Arc::clone(self);
        blocking(move || {
            let cosigned = hub.cosigned_with(index)?;
            hub.proof_in(index, head(&cosigned, cosigned.note())?)
        })
        .await?
    }

    fn head_of(&self, index: u64, tree_size: u64) -> Result<Head, Refused> {
        let newest = self.store.head();
        if index >= newest.size {
            let detail = format!("index: the log has no leaf {index}");
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        if tree_size != 0 && !(index + 1..=newest.size).contains(&tree_size) {
            let detail = format!("tree_size: needs {} to {}, or 0", index + 1, newest.size);
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        // The head of the commit that wrote the last leaf asked for is the first one that has it.
        match tree_size {
            0 => Ok(newest),
            size => Ok(self.leaf(size - 1)?.head),
        }
    }

    fn proof_in(&self, index: u64, head: Head) -> Result<Receipt, Refused> {
        let evidence = self.leaf(index)?.evidence;
        let path = merkle::inclusion_path(index, head.size, &Nodes(&*self.store))?;
        let path = path.ok_or_else(|| damaged(index))?;
        let leaf = merkle::leaf_hash(&evidence);
        if !merkle::verify_inclusion(&leaf, index, head.size, &path, &root(&head)?) {
            return Err(damaged(index));
        }
        let path = path.iter().map(|hash| Bytes::copy_from_slice(hash)).collect();
        Ok(Receipt { evidence, index, path, checkpoint: head.checkpoint })
    }

    pub(super) fn leaf(&self, index: u64) -> Result<StoredLeaf, Refused> {
        self.store.leaf(index)?.ok_or_else(|| damaged(index))
    }

    /// Pages of a bundle, in the order that the proto promises. They end with an error if something can't be read.
    /// `BUSY` when [`MAX_BUNDLES`] are under way.
    pub async fn bundle(
        self: &Arc<Self>,
        request: GetBundleRequest,
    ) -> Result<mpsc::Receiver<Result<GetBundleResponse, Refused>>, Refused> {
        let place = Arc::clone(&self.bundles).try_acquire_owned().map_err(|_| {
            Refused::because(ReasonCode::Busy, format!("{MAX_BUNDLES} bundles are being read already"))
        })?;
        let hub = Arc::clone(self);
        let bundle = blocking(move || Bundle::begin(hub, &request)).await??;
        let (sender, receiver) = pages::channel();
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            pages::tell(bundle, stopping, sender).await;
            drop(place);
        });
        Ok(receiver)
    }
}

/// What is left to be told of one document.
struct Bundle {
    hub: Arc<Hub>,
    head: Head,
    cosignatures: Vec<WitnessSignature>,
    /// `None` where it was erased: the evidence of that is among the leaves.
    envelope: Option<SignedEnvelope>,
    head_told: bool,
    document: u64,
    /// Where the timeline goes on; `None` at its end.
    next: Option<u64>,
    /// Events that were found and are not told yet.
    found: Vec<u64>,
    /// Leaves that were told or are about to be.
    told: BTreeSet<u64>,
    agencies: HashSet<String>,
    keys: HashSet<Bytes>,
    /// Leaves beside the document's own; `None` before they were looked for.
    others: Option<Vec<u64>>,
    hashes: Option<std::vec::IntoIter<Hash>>,
}

impl Pages for Bundle {
    type Page = GetBundleResponse;

    fn page(&mut self) -> Result<Option<GetBundleResponse>, Refused> {
        let page = match std::mem::replace(&mut self.head_told, true) {
            false => Some(Page::Head(BundleHead {
                verifier_key: self.hub.keys.signer_of(&self.head.checkpoint),
                checkpoint: self.head.checkpoint.clone(),
                envelope: self.envelope.take(),
                log_keys: self.hub.keys.proofs.clone(),
                cosignatures: std::mem::take(&mut self.cosignatures),
            })),
            true => match self.leaves()? {
                leaves if leaves.is_empty() => self.next_hashes()?,
                leaves => Some(Page::Leaves(BundleLeaves { leaves })),
            },
        };
        Ok(page.map(|page| GetBundleResponse { page: Some(page) }))
    }
}

impl Bundle {
    fn begin(hub: Arc<Hub>, request: &GetBundleRequest) -> Result<Self, Refused> {
        let name = GetTimelineRequest {
            document_id: request.document_id.clone(),
            sender: request.sender.clone(),
            revision: request.revision,
            ..GetTimelineRequest::default()
        };
        let index = hub.find(&name)?;
        let record = hub.document_record(index)?;
        let envelope = match hub.document(index) {
            Ok(document) => Some(document.envelope.clone()),
            Err(refused) if refused.code() == ReasonCode::ContentsErased => None,
            Err(refused) => return Err(refused),
        };
        let cosigned = if request.cosigned { Some(hub.cosigned_with(index)?) } else { None };
        let head = match &cosigned {
            Some(cosigned) => head(cosigned, cosigned.checkpoint.clone())?,
            None => hub.store.head(),
        };
        let lines = cosigned.iter().flat_map(|head| &head.lines);
        let cosignatures = lines
            .map(|(key, line)| WitnessSignature { verifier_key: key.to_string(), line: line.clone() })
            .collect();
        if index >= head.size {
            let detail = "the document is being accepted at this moment: ask again";
            return Err(Refused::because(ReasonCode::Busy, detail));
        }
        let keys = envelope.iter().flat_map(keys_of).collect();
        Ok(Self {
            hub,
            head,
            envelope,
            head_told: false,
            cosignatures,
            document: index,
            next: Some(0),
            found: Vec::new(),
            told: BTreeSet::new(),
            agencies: HashSet::from([record.sender]),
            keys,
            others: None,
            hashes: None,
        })
    }

    /// The next leaves: events first, since they say which others belong to them.
    fn leaves(&mut self) -> Result<Vec<ProofLeaf>, Refused> {
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(index) = self.next_leaf()?
        {
            let evidence = self.hub.leaf(index)?.evidence;
            if self.others.is_none() {
                self.look_into(index, &evidence)?;
            }
            bytes += evidence.len();
            let leaf_hash = Bytes::copy_from_slice(&merkle::leaf_hash(&evidence));
            leaves.push(ProofLeaf { index, evidence, leaf_hash });
        }
        Ok(leaves)
    }

    fn next_leaf(&mut self) -> Result<Option<u64>, Refused> {
        while self.found.is_empty()
            && let Some(from) = self.next
        {
            let mut page = self.hub.store.timeline(self.document, from, STEP)?;
            self.next = if page.len() == STEP { page.last().map(|leaf| leaf + 1) } else { None };
            page.retain(|leaf| *leaf < self.head.size);
            page.reverse();
            self.found = page;
        }
        if let Some(event) = self.found.pop() {
            self.tell(event)?;
            return Ok(Some(event));
        }
        if self.others.is_none() {
            self.others = Some(self.directory_leaves()?);
        }
        let Some(other) = self.others.as_mut().and_then(Vec::pop) else { return Ok(None) };
        self.tell(other)?;
        Ok(Some(other))
    }

    fn tell(&mut self, leaf: u64) -> Result<(), Refused> {
        self.told.insert(leaf);
        if self.told.len() > MAX_LEAVES {
            let detail = format!("the document has more than {MAX_LEAVES} events");
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        Ok(())
    }

    /// Notes who acts and which keys signed; finds the leaf of a status that was parked before.
    fn look_into(&mut self, index: u64, evidence: &Bytes) -> Result<(), Refused> {
        let evidence = Evidence::decode(evidence.clone()).map_err(|_| damaged(index))?;
        self.agencies.extend(evidence.recipients.into_iter().map(|party| party.agency));
        self.keys.extend(evidence.recipient_receipt.iter().flat_map(keys_of));
        let judged = evidence.verdict.map_or(index, |verdict| verdict.as_of_index);
        if judged < index && !self.told.contains(&judged) && !self.found.contains(&judged) {
            self.found.push(judged);
        }
        Ok(())
    }

    /// Leaves about the agencies concerned, and about the keys that signed.
    fn directory_leaves(&self) -> Result<Vec<u64>, Refused> {
        let mut directory = Directory::default();
        let mut leaves = Vec::new();
        for (leaf, bytes) in self.hub.store.directory_changes()? {
            if leaf >= self.head.size {
                break;
            }
            let change = DirectoryChange::decode(bytes).map_err(|_| damaged(leaf))?;
            directory.apply(leaf, &change)?;
            if self.concerns(&directory, &change) {
                leaves.push(leaf);
            }
        }
        leaves.reverse();
        Ok(leaves)
    }

    fn concerns(&self, directory: &Directory, change: &DirectoryChange) -> bool {
        match &change.change {
            Some(Change::PutAgency(agency)) => self.agencies.contains(&agency.organ_id),
            Some(Change::SetAgencyState(set)) => directory
                .resolve(&set.organ_id)
                .is_some_and(|agency| self.agencies.contains(agency.id.as_str())),
            Some(Change::AddKey(key)) => self.keys.contains(&key.key_id),
            _ => false,
        }
    }

    fn next_hashes(&mut self) -> Result<Option<Page>, Refused> {
        if self.hashes.is_none() {
            self.hashes = Some(self.all_hashes()?.into_iter());
        }
        let Some(rest) = self.hashes.as_mut() else { return Ok(None) };
        let hashes: Vec<_> = rest.take(PAGE_HASHES).map(|hash| Bytes::copy_from_slice(&hash)).collect();
        Ok((!hashes.is_empty()).then_some(Page::Hashes(BundleHashes { hashes })))
    }

    fn all_hashes(&self) -> Result<Vec<Hash>, Refused> {
        let leaves: Vec<u64> = self.told.iter().copied().collect();
        let hashes = merkle::several_hashes(&leaves, self.head.size, &Nodes(&*self.hub.store))?;
        hashes.ok_or_else(|| damaged(self.document))
    }
}

fn keys_of(envelope: &SignedEnvelope) -> impl Iterator<Item = Bytes> + '_ {
    envelope.signatures.iter().map(|signature| signature.key_id.clone())
}

/// A cosigned head, with its note in the form that is asked for.
pub(super) fn head(cosigned: &CosignedHead, checkpoint: String) -> Result<Head, Refused> {
    let opened = Checkpoint::unverified(&cosigned.checkpoint).map_err(|_| damaged(cosigned.size))?;
    let root = Bytes::copy_from_slice(&opened.root);
    Ok(Head { size: opened.size, root, checkpoint, documents: 0 })
}

fn root(head: &Head) -> Result<Hash, Refused> {
    head.root[..].try_into().map_err(|_| damaged(head.size))
}

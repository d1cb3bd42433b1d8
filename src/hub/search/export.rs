//! All leaves of a range with what proves an export of them, page by page, in memory that does not grow.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use prost::Message;
use tokio::sync::mpsc;

use super::{
    facts::{self, Facts},
    filter::{self, Plain},
    scope::{Reader, Scope},
    trace::Question,
};
use crate::{
    domain::{id::Digest, reason::ReasonCode, search::Remembered},
    hub::{
        Hub, pages,
        query::{Nodes, damaged},
        refused::{Refused, blocking},
    },
    proto::{
        AgencySet, AuditCall, ExportDocument, ExportErased, ExportHashes, ExportHead, ExportItem, ExportLeaf,
        ExportRequest, ExportResponse, SearchFilter, SignedEnvelope, export_item::Item,
    },
    store::{StoreError, records::Head, search::Order},
    tlog::merkle::{self, Edge},
};

/// Rows that are looked for at a time.
const STEP: usize = 8_192;
/// A page with so many bytes ends.
const PAGE_BYTES: usize = 512 * 1024;
/// Hashes of one item.
const HASHES: u64 = 8 * 1024;

type Page = Result<ExportResponse, Refused>;

impl Hub {
    /// Pages of an export. They end with an error if something can't be read. `BUSY` when too many are under way.
    pub async fn export(
        self: &Arc<Self>,
        reader: &Reader,
        request: ExportRequest,
    ) -> Result<mpsc::Receiver<Page>, Refused> {
        let filter = request.filter.clone().unwrap_or_default();
        let question = Question::about(reader, AuditCall::Export, &filter);
        let begun = self.begin_export(reader, request).await;
        let (export, rows) = self.record(question, begun, |(_, rows)| *rows)?;
        tracing::debug!(rows, "an export begins");
        let (sender, receiver) = pages::channel();
        self.tasks.spawn(pages::tell(export, self.stopping.clone(), sender));
        Ok(receiver)
    }

    async fn begin_export(
        self: &Arc<Self>,
        reader: &Reader,
        request: ExportRequest,
    ) -> Result<(Export, u64), Refused> {
        let place = Arc::clone(&self.bundles).try_acquire_owned();
        let place = place.map_err(|_| {
            Refused::because(ReasonCode::Busy, "as many bundles and exports as may be are being read already")
        })?;
        let (hub, root) = (Arc::clone(self), reader.scope.clone());
        let newest = self.size();
        let filter = request.filter.unwrap_or_default();
        if filter.tree_size > newest || filter.from_index > newest {
            let detail = format!("tree_size, from_index: the log has {newest} leaves");
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        if let Some(follower) = self.search.get() {
            follower.reach(if filter.tree_size == 0 { newest } else { filter.tree_size }).await;
        }
        let what = What { complete: request.complete, cosigned: request.cosigned };
        let made = move || Export::begin(hub, &filter, root.as_ref(), what);
        let (mut export, rows) = blocking(made).await??;
        export.place = Some(place);
        Ok((export, rows))
    }
}

/// What an export is of, beside its filter.
#[derive(Clone, Copy)]
struct What {
    complete: bool,
    cosigned: bool,
}

/// What is left to be told.
struct Export {
    hub: Arc<Hub>,
    plain: Plain,
    head: Head,
    complete: bool,
    place: Option<tokio::sync::OwnedSemaphorePermit>,
    reader: facts::Reader,
    is_begun: bool,
    /// The leaf that comes next.
    next: u64,
    /// Rows that were found, and from where on to look for more.
    found: VecDeque<u64>,
    looked: u64,
    documents: Remembered<()>,
    erased: Remembered<()>,
}

impl pages::Pages for Export {
    type Page = ExportResponse;

    fn page(&mut self) -> Result<Option<ExportResponse>, Refused> {
        let page = self.next_page()?;
        Ok((!page.items.is_empty()).then_some(page))
    }
}

impl Export {
    /// With the number of rows.
    fn begin(
        hub: Arc<Hub>,
        filter: &SearchFilter,
        root: Option<&crate::domain::id::AgencyId>,
        What { complete, cosigned }: What,
    ) -> Result<(Self, u64), Refused> {
        let directory = hub.directory();
        let scope = Scope::of(root, &directory);
        if complete && root.is_some() {
            return Err(scope.outside("complete").into());
        }
        let plain = filter::plain(filter, &scope, &directory)?;
        hub.is_known_inside(filter, &scope)?;
        // The head of the commit that wrote the last leaf asked for is the first one that has it.
        let head = match filter.tree_size {
            0 => hub.head_for(cosigned)?,
            _ if cosigned => {
                let detail = "tree_size: must be 0 with cosigned";
                return Err(Refused::because(ReasonCode::InvalidField, detail));
            }
            size => hub.leaf(size - 1)?.head,
        };
        let from = filter.from_index.min(head.size);
        let mut rows = head.size - from;
        if !plain.query.is_empty() {
            let index = hub.searched()?.index();
            if index.covers() < head.size {
                let detail = format!("the search knows {} leaves: ask again", index.covers());
                return Err(Refused::because(ReasonCode::Busy, detail));
            }
            rows = index.count(&plain.query, from..head.size)?;
        }
        let reader = hub.facts();
        let export = Self {
            plain,
            head,
            complete,
            place: None,
            reader,
            is_begun: false,
            next: from,
            found: VecDeque::new(),
            looked: from,
            documents: Remembered::default(),
            erased: Remembered::default(),
            hub,
        };
        Ok((export, rows))
    }

    /// The next page; empty at the end.
    fn next_page(&mut self) -> Page {
        let (mut items, mut bytes) = (Vec::new(), 0);
        if !self.is_begun {
            self.is_begun = true;
            items.push(ExportItem { item: Some(Item::Head(self.first()?)) });
        }
        while bytes < PAGE_BYTES && self.next < self.head.size {
            let told = items.len();
            self.tell(&mut items)?;
            bytes += items[told..].iter().map(Message::encoded_len).sum::<usize>();
        }
        Ok(ExportResponse { items })
    }

    fn first(&self) -> Result<ExportHead, StoreError> {
        let edge = Edge::load(self.next, &Nodes(&*self.hub.store))?;
        let set = |set: &filter::Set| AgencySet { agencies: set.iter().cloned().collect() };
        let filter =
            SearchFilter { from_index: self.next, tree_size: self.head.size, ..self.plain.filter.clone() };
        Ok(ExportHead {
            verifier_key: self.hub.keys.signer_of(&self.head.checkpoint),
            checkpoint: self.head.checkpoint.clone(),
            filter: Some(filter),
            within: self.plain.within.iter().map(set).collect(),
            complete: self.complete,
            log_keys: self.hub.keys.proofs.clone(),
            left: edge.subtrees().iter().map(|hash| Bytes::copy_from_slice(hash)).collect(),
        })
    }

    /// Tells the next leaf, or the hashes of some.
    fn tell(&mut self, items: &mut Vec<ExportItem>) -> Result<(), Refused> {
        let row = self.next_row()?;
        let is_row = row == Some(self.next);
        if !is_row && !self.complete {
            let until = row.unwrap_or(self.head.size).min(self.next + HASHES);
            items.push(ExportItem { item: Some(Item::Hashes(self.hashes(until)?)) });
            self.next = until;
            return Ok(());
        }
        if is_row {
            self.found.pop_front();
        }
        let facts = self.reader.facts(self.next)?;
        let about = match self.document(&facts)? {
            Some(document) => Some(Item::Document(document)),
            None => self.erasure(&facts)?.map(Item::Erased),
        };
        items.extend(about.map(|about| ExportItem { item: Some(about) }));
        items.push(ExportItem { item: Some(Item::Leaf(self.leaf(facts, is_row))) });
        self.next += 1;
        Ok(())
    }

    fn next_row(&mut self) -> Result<Option<u64>, Refused> {
        if self.plain.query.is_empty() {
            return Ok((self.next < self.head.size).then_some(self.next));
        }
        if self.found.is_empty() && self.looked < self.head.size {
            let range = self.looked..self.head.size;
            let index = self.hub.searched()?.index();
            let found = index.find(&self.plain.query, range, Order::Oldest, STEP)?;
            self.looked = match found.last() {
                Some(last) if found.len() == STEP => last + 1,
                _ => self.head.size,
            };
            self.found = found.into();
        }
        Ok(self.found.front().copied())
    }

    fn hashes(&self, until: u64) -> Result<ExportHashes, StoreError> {
        let mut hashes = BytesMut::new();
        for leaf in self.next..until {
            hashes.extend_from_slice(&self.hub.store.node(merkle::stored_index(0, leaf))?);
        }
        Ok(ExportHashes { first: self.next, hashes: hashes.freeze() })
    }

    fn leaf(&self, facts: Facts, row: bool) -> ExportLeaf {
        let named = if self.plain.within.is_empty() { Vec::new() } else { facts.named };
        let leaf_hash = Bytes::copy_from_slice(&facts.hash);
        ExportLeaf { index: facts.index, evidence: facts.bytes, leaf_hash, row, named }
    }

    /// Why nothing is told of what the leaf's document says: its erasure, as far as this tree has it, unless it was told
    /// lately.
    fn erasure(&mut self, facts: &Facts) -> Result<Option<ExportErased>, Refused> {
        let Some(index) = facts.erased().filter(|leaf| *leaf < self.head.size) else { return Ok(None) };
        let Some(digest) = Digest::from_slice(facts.manifest_sha256()) else { return Ok(None) };
        if self.documents.get(&digest).is_some() || self.erased.get(&digest).is_some() {
            return Ok(None);
        }
        self.erased.put(digest, ());
        let (evidence, path) = self.proven(index)?;
        Ok(Some(ExportErased { index, evidence, path }))
    }

    /// A leaf with its audit path.
    fn proven(&self, index: u64) -> Result<(Bytes, Vec<Bytes>), Refused> {
        let evidence = self.hub.leaf(index)?.evidence;
        let path = merkle::inclusion_path(index, self.head.size, &Nodes(&*self.hub.store))?;
        let path = path.ok_or_else(|| damaged(index))?;
        Ok((evidence, path.iter().map(|hash| Bytes::copy_from_slice(hash)).collect()))
    }

    /// What the leaf's document says, unless it was told lately.
    fn document(&mut self, facts: &Facts) -> Result<Option<ExportDocument>, Refused> {
        let Some(index) = facts.document() else { return Ok(None) };
        let Some(digest) = Digest::from_slice(facts.manifest_sha256()) else { return Ok(None) };
        if self.documents.get(&digest).is_some() {
            return Ok(None);
        }
        // An envelope that can't be read any more hides what the document says, not the evidence.
        let Some(manifest) = self.manifest(index)?.filter(|manifest| Digest::of(manifest) == digest) else {
            return Ok(None);
        };
        self.documents.put(digest, ());
        if index == facts.index {
            return Ok(Some(ExportDocument { manifest, index, ..ExportDocument::default() }));
        }
        let (acceptance, path) = self.proven(index)?;
        Ok(Some(ExportDocument { manifest, index, acceptance, path }))
    }

    fn manifest(&self, index: u64) -> Result<Option<Bytes>, StoreError> {
        if let Some(document) = self.hub.recent.document(index) {
            return Ok(Some(document.envelope.payload.clone()));
        }
        let Some(record) = self.hub.store.document(index)? else { return Ok(None) };
        let body = self.hub.store.envelope(&record)?;
        let bytes = body.and_then(|body| self.hub.payload.read(&body).ok());
        Ok(bytes.and_then(|bytes| SignedEnvelope::decode(bytes).ok()).map(|envelope| envelope.payload))
    }
}

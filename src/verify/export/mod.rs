//! An export of evidence: every row is made again from a leaf that is proven to be in the signed tree, leaf after leaf,
//! in memory that does not grow. `docs/audit-search.md` says what is proven when.

mod document;
mod file;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc};

use prost::Message;

use self::document::{Gone, Known};
pub use self::file::{Items, MAGIC, Writer};
use crate::{
    domain::{
        evidence,
        id::Digest,
        search::{self, Accepted, Query, Remembered},
    },
    proto::{
        EventKind, Evidence, EvidenceRow, ExportDocument, ExportErased, ExportHashes, ExportHead, ExportItem,
        ExportLeaf, SearchFilter, export_item::Item,
    },
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        keys::LogKeys,
        merkle::{self, Edge},
        note::Verifier,
    },
    verify::{HeadFault, MAX_LEAF, Opened, Trusted},
};

/// Which part of a proof is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its form.
    File,
    /// The hub's key is not one that the reader trusts.
    HubKey,
    /// The signed head.
    Checkpoint,
    /// What was asked.
    Head,
    /// This leaf.
    Leaf(u64),
    /// All leaves together: which one is wrong can't be told.
    Root,
}

impl Place {
    /// A stable word for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File => "proof",
            Self::HubKey => "hub_key",
            Self::Checkpoint => "checkpoint",
            Self::Head => "head",
            Self::Leaf(_) => "leaf",
            Self::Root => "root",
        }
    }

    fn problem(self, problem: impl Into<String>) -> ExportError {
        ExportError { place: self, problem: problem.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the proof"),
            Self::HubKey => f.write_str("the hub's key"),
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::Head => f.write_str("the head of the proof"),
            Self::Leaf(index) => write!(f, "leaf {index}"),
            Self::Root => f.write_str("the tree"),
        }
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ExportError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: String,
}

/// What a proof proves about the rows that were made from it.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Key of the hub's log that signed the head: trusted, or tied to a trusted one by proven changes.
    pub verifier: Verifier,
    /// What the reader's policy asks of witnesses, and they did; `None` without a policy.
    pub quorum: Option<String>,
    /// The head that everything is proven in.
    pub checkpoint: Checkpoint,
    /// What was asked.
    pub filter: SearchFilter,
    /// A party of each row is in each of as many sets of agencies; which agencies these are is the hub's word.
    pub sets: usize,
    /// Every leaf of the range is a row.
    pub unfiltered: bool,
    /// Rows.
    pub rows: u64,
    /// Leaves that are told by their hash alone: what they say is not known.
    pub hidden: u64,
    /// Leaves whose evidence is here, but not what the filter asks about.
    pub undecided: u64,
    /// Rows about an accepted document whose manifest is not here, and nothing says why: what it says is empty in them.
    pub without_document: u64,
    /// Rows about a document whose contents were erased: they name the leaf that says so.
    pub erased: u64,
}

impl Proven {
    /// No row was left out: what is not a row does not answer the filter.
    #[must_use]
    pub fn nothing_left_out(&self) -> bool {
        self.hidden == 0 && self.undecided == 0
    }
}

/// Takes a proof item by item and gives the rows.
pub struct Checker {
    proven: Proven,
    keys: LogKeys,
    query: Query,
    complete: bool,
    edge: Edge,
    documents: Remembered<Arc<Known>>,
    gone: Remembered<Arc<Gone>>,
    /// A document whose acceptance is the next leaf.
    expected: Option<Known>,
}

impl Checker {
    /// Begins with the head, which has to be signed by a trusted key, or one that proven changes tie to it.
    pub fn begin(head: ExportHead, trusted: &Trusted) -> Result<Self, ExportError> {
        let opened = trusted.head(&head.verifier_key, &head.log_keys, &head.checkpoint);
        let Opened { verifier, keys, checkpoint, quorum } = opened.map_err(|fault| match fault {
            HeadFault::Key(problem) => Place::HubKey.problem(problem),
            HeadFault::Checkpoint(problem) => Place::Checkpoint.problem(problem),
        })?;
        let wrong = |problem: &str| Place::Head.problem(problem);
        let filter = head.filter.unwrap_or_default();
        if filter.tree_size != checkpoint.size || filter.from_index > checkpoint.size {
            return Err(wrong("its range of leaves is not one of the checkpoint's tree"));
        }
        let sets: Vec<Arc<BTreeSet<String>>> =
            head.within.into_iter().map(|set| Arc::new(set.agencies.into_iter().collect())).collect();
        let needed = usize::from(!filter.below.is_empty() || filter.level != 0);
        if sets.len() < needed {
            return Err(wrong("the agencies that it asks for are not told"));
        }
        let query = search::query(&filter, sets.iter().map(Arc::clone))
            .map_err(|reason| wrong(&reason.to_string()))?;
        let left = head.left.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
        let edge = left.and_then(|left| Edge::from_subtrees(filter.from_index, left));
        let edge = edge.ok_or_else(|| wrong("the hashes left of its range are not those of a tree"))?;
        let proven = Proven {
            verifier,
            quorum,
            checkpoint,
            filter,
            sets: sets.len(),
            unfiltered: query.is_empty(),
            rows: 0,
            hidden: 0,
            undecided: 0,
            without_document: 0,
            erased: 0,
        };
        Ok(Self {
            proven,
            keys,
            query,
            complete: head.complete,
            edge,
            documents: Remembered::default(),
            gone: Remembered::default(),
            expected: None,
        })
    }

    /// Leaves of the range.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.proven.checkpoint.size - self.proven.filter.from_index
    }

    /// Index of the leaf that comes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.edge.size()
    }

    /// The checkpoint that everything has to be in. Nothing is proven before the end.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.proven.checkpoint
    }

    /// All keys of the log, as far as they are known.
    #[must_use]
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// Takes the next item; the row, if it is one.
    pub fn take(&mut self, item: ExportItem) -> Result<Option<EvidenceRow>, ExportError> {
        match item.item {
            Some(Item::Leaf(leaf)) => self.leaf(leaf),
            Some(Item::Hashes(hashes)) => self.hashes(&hashes).map(|()| None),
            Some(Item::Document(document)) => self.document(&document).map(|()| None),
            Some(Item::Erased(erased)) => self.erased(&erased).map(|()| None),
            Some(Item::Head(_)) => Err(Place::File.problem("has two heads")),
            Some(Item::End(_)) => Err(Place::File.problem("goes on behind its end")),
            None => Err(Place::File.problem("an item is of no kind that is known")),
        }
    }

    /// Nothing comes any more: the leaves have to give the signed root.
    pub fn end(self) -> Result<Proven, ExportError> {
        let (size, checkpoint) = (self.edge.size(), &self.proven.checkpoint);
        if size < checkpoint.size {
            return Err(Place::Leaf(size).problem("is left out, with all behind it"));
        }
        if self.edge.root() != checkpoint.root {
            let problem = "the leaves do not give the root that the hub signed: one was altered, added or left out, or \
                           it is another checkpoint";
            return Err(Place::Root.problem(problem));
        }
        Ok(self.proven)
    }

    /// The next leaf is this one.
    fn expect(&self, index: u64) -> Result<(), ExportError> {
        let next = self.next();
        if next >= self.proven.checkpoint.size {
            return Err(Place::Leaf(index).problem("is added: the range ends before"));
        }
        match index.cmp(&next) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Place::Leaf(next).problem("is left out of the proof")),
            std::cmp::Ordering::Less => Err(Place::Leaf(index).problem("comes twice")),
        }
    }

    fn hashes(&mut self, told: &ExportHashes) -> Result<(), ExportError> {
        self.expect(told.first)?;
        if self.proven.unfiltered || self.complete {
            return Err(Place::Leaf(told.first).problem("is left out: its evidence is not here"));
        }
        let (hashes, rest) = told.hashes.as_chunks::<32>();
        if hashes.is_empty() || !rest.is_empty() || self.expected.is_some() {
            return Err(Place::Leaf(told.first).problem("is not told by a hash"));
        }
        for hash in hashes {
            self.expect(self.next())?;
            self.edge.append(*hash);
            self.proven.hidden += 1;
        }
        Ok(())
    }

    fn document(&mut self, told: &ExportDocument) -> Result<(), ExportError> {
        let wrong = |problem: String| Place::Leaf(told.index).problem(problem);
        if self.expected.is_some() {
            return Err(wrong("is not followed by the acceptance that it names".into()));
        }
        let mut known = Known::read(told).map_err(wrong)?;
        if told.acceptance.is_empty() {
            self.expect(told.index)?;
            self.expected = Some(known);
            return Ok(());
        }
        known.prove(told, &self.proven.checkpoint).map_err(wrong)?;
        self.documents.put(known.digest, Arc::new(known));
        Ok(())
    }

    fn erased(&mut self, told: &ExportErased) -> Result<(), ExportError> {
        let wrong = |problem: String| Place::Leaf(told.index).problem(problem);
        if self.expected.is_some() {
            return Err(wrong("stands where an acceptance has to follow its document".into()));
        }
        let gone = Gone::prove(told, &self.proven.checkpoint).map_err(wrong)?;
        self.gone.put(gone.digest, Arc::new(gone));
        Ok(())
    }

    fn leaf(&mut self, told: ExportLeaf) -> Result<Option<EvidenceRow>, ExportError> {
        self.expect(told.index)?;
        let wrong = |problem: &str| Place::Leaf(told.index).problem(problem);
        if told.evidence.len() > MAX_LEAF {
            return Err(wrong("larger than a leaf can be"));
        }
        let hash = merkle::leaf_hash(&told.evidence);
        if hash[..] != told.leaf_hash {
            return Err(wrong("altered: its bytes do not have the hash that stands beside them"));
        }
        let evidence = Evidence::decode(told.evidence.clone()).map_err(|error| wrong(&error.to_string()))?;
        if let Some(mut known) = self.expected.take() {
            known.accept(told.index, &evidence).map_err(|problem| wrong(&problem))?;
            self.documents.put(known.digest, Arc::new(known));
        }
        self.edge.append(hash);
        let known = self.about(&evidence);
        let accepted = known.as_deref().map(Known::accepted);
        self.judge(&told, &evidence, accepted).map_err(|problem| wrong(&problem))?;
        if !told.row {
            return Ok(None);
        }
        self.proven.rows += 1;
        let erased = self.erasure_of(&evidence);
        let is_missing = accepted.is_none() && erased.is_none() && document::is_needed(&evidence);
        self.proven.without_document += u64::from(is_missing);
        self.proven.erased += u64::from(erased.is_some());
        Ok(Some(search::row(told.index, &hash, &evidence, accepted, erased)))
    }

    /// The accepted document that evidence is about, as far as it was told.
    fn about(&self, evidence: &Evidence) -> Option<Arc<Known>> {
        let digest = Digest::from_slice(&evidence.manifest_sha256)?;
        self.documents.get(&digest).filter(|known| known.is_named_by(evidence)).map(Arc::clone)
    }

    /// The leaf that says that the contents of the document were erased, as far as it was told. What was refused is about
    /// no document, whatever name it claims.
    fn erasure_of(&self, evidence: &Evidence) -> Option<u64> {
        let digest =
            Digest::from_slice(&evidence.manifest_sha256).filter(|_| document::is_needed(evidence))?;
        self.gone.get(&digest).filter(|gone| gone.is_named_by(evidence)).map(|gone| gone.leaf)
    }

    /// A row answers the filter; what is no row does not.
    fn judge(
        &mut self,
        told: &ExportLeaf,
        evidence: &Evidence,
        accepted: Option<&Accepted>,
    ) -> Result<(), String> {
        let is_list = evidence.event() == EventKind::SubmissionAcceptance && self.proven.sets > 0;
        if !told.named.is_empty() {
            let digest = evidence::recipients_digest(told.named.iter().map(String::as_str));
            if !is_list || digest.as_bytes()[..] != evidence.recipients_sha256 {
                return Err("names other recipients than the hub accepted the document for".into());
            }
        }
        let holds = self.query.holds(&search::leaf(evidence, accepted, &told.named));
        let unknown_document =
            self.query.asks_the_document() && accepted.is_none() && document::is_needed(evidence);
        let unknown_names = is_list && told.named.is_empty() && evidence.recipient_count > 0;
        match (told.row, holds) {
            (true, true) => Ok(()),
            (_, false) if unknown_document || unknown_names => {
                self.proven.undecided += 1;
                Ok(())
            }
            (true, false) => Err("is a row, but does not answer the filter".into()),
            (false, _) if !self.complete => Err("is told with its evidence, but is no row".into()),
            (false, false) => Ok(()),
            (false, true) => Err("is left out: it answers the filter, but is no row".into()),
        }
    }
}

//! The offline check of a data folder: reads everything, compares everything, changes nothing that counts.
//!
//! The journal and the bodies are held against each other and against the signed checkpoints, frame by frame, in
//! constant memory. Then the projections are held against what replay gives: the arrays along the way, the
//! index key by key, with at most a million expected entries in memory: one more reading of the journal for each
//! further million.

mod commits;
mod days;
mod erased;
mod keys;
mod projections;
pub mod salvage;

use self::projections::Projections;
pub(super) use self::{
    commits::{Commits, Known},
    erased::Erased,
    keys::Keys,
};
use super::{EmbeddedOptions, journal, open::lock};
use crate::{
    store::{StoreError, files::failed, payload::Payload},
    tlog::note::Verifier,
};

/// What a finding means for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something that was acknowledged is damaged: bring it back from a copy.
    Loss,
    /// Nothing that was acknowledged is touched: the next start, or `truc rebuild`, makes it good.
    Rebuildable,
    /// What was to be gone is still there: remove it.
    Left,
}

/// What is damaged. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A journal file is missing or has a wrong length.
    JournalLayout,
    /// A frame of the journal.
    JournalFrame,
    /// An unfinished write at the end of the journal.
    JournalTail,
    /// An entry in a frame whose checksum is right.
    JournalEntry,
    /// Leaves that stood in damaged or missing frames.
    LostLeaves,
    /// Leaves, tree and head do not fit.
    Tree,
    /// The signed head.
    Checkpoint,
    /// A leaf does not hold what it must.
    Evidence,
    /// A record names something that does not exist, or other than it is.
    Record,
    /// A body: an envelope or an attachment.
    Body,
    /// Contents that were erased.
    Erased,
    /// A body is whole, but is not the envelope or attachment that the document names.
    Envelope,
    /// The history index.
    Index,
    /// The auditors' search index.
    Search,
    /// Leaf places or tree hashes.
    Array,
}

/// One damage, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is damaged.
    pub what: What,
    /// Which one: segment, offset and frame, leaf, document, digest, key.
    pub place: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Finding {
    /// False for what is made good as soon as it is found.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.severity != Severity::Rebuildable || self.what == What::Index
    }
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Good frames of the journal, seals included.
    pub frames: u64,
    /// Leaves in them.
    pub leaves: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bodies that were read and hashed.
    pub bodies: u64,
    /// Documents whose contents were erased, as the log says.
    pub erased: u64,
    /// Erasures among them whose bytes the next start goes on removing.
    pub removing: u64,
}

/// What a check is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Journal, bodies and arrays.
    Journal,
    /// The index.
    Index,
}

/// Called often during a check.
pub type Progress<'a> = &'a mut dyn FnMut(Stage, &Counts);

/// Checks a data folder that no hub uses, and reports all damage as it is found. Without a verifier the
/// checkpoints' signatures are not checked.
///
/// The index is opened for it. If it is sound it is closed as it was; if not, or if the process is killed
/// meanwhile, the next start makes it again. An error means that there was nothing to check, or that a hub runs.
pub fn check(
    options: &EmbeddedOptions,
    payload: &Payload,
    verifier: Option<&Verifier>,
    progress: Progress<'_>,
    report: &mut dyn FnMut(Finding),
) -> Result<Counts, StoreError> {
    let _lock = lock(&options.dir)?;
    let journal = options.journal_dir();
    let mut report = Report::to(report);
    if !journal::exists(&journal).map_err(failed("opening the journal"))? {
        report.loss(What::JournalLayout, "journal", "there is no segment: bring them back from a copy");
        return Ok(Counts::default());
    }
    if let Err(error) = journal::layout(&journal) {
        report.loss(What::JournalLayout, "journal", error);
    }
    let mut projections = Projections::open(&options.history_dir(), &mut report);
    // What a later frame erased must not be looked for. Damage is told by the second reading.
    let erased = Erased::read(&journal).unwrap_or_default();
    let known = projections.as_mut().map(|projections| projections as &mut dyn Known);
    let keys = Keys::new(&journal, verifier);
    let mut commits = Commits::new(&journal, payload, keys, known, erased);
    let read = journal::check(&journal, &mut |finding| {
        commits.visit(finding, &mut report);
        progress(Stage::Journal, &commits.counts);
        Ok(())
    });
    if let Err(error) = read {
        report.loss(What::JournalFrame, "journal", format!("reading it ended early: {error}"));
    }
    commits.tell_left(&mut report);
    let (counts, end) = commits.finish(&mut report);
    if let Some(projections) = projections {
        projections.finish(&journal, &end, &mut report, &mut || progress(Stage::Index, &counts));
    }
    Ok(counts)
}

/// Removes contents of a data folder that no hub uses which its log says are gone, and which are there again, as after a
/// copy was put back.
pub fn remove_erased(options: &EmbeddedOptions, payload: &Payload) -> Result<(), StoreError> {
    let _lock = lock(&options.dir)?;
    let journal = options.journal_dir();
    Erased::read(&journal)?.remove_left(&journal, payload)
}

/// Where findings go.
pub(super) struct Report<'a> {
    sink: &'a mut dyn FnMut(Finding),
    losses: u64,
}

impl<'a> Report<'a> {
    /// To a sink.
    pub fn to(sink: &'a mut dyn FnMut(Finding)) -> Self {
        Self { sink, losses: 0 }
    }

    fn loss(&mut self, what: What, place: impl ToString, detail: impl ToString) {
        self.losses += 1;
        self.tell(Severity::Loss, what, place, detail);
    }

    fn rebuildable(&mut self, what: What, place: impl ToString, detail: impl ToString) {
        self.tell(Severity::Rebuildable, what, place, detail);
    }

    fn left(&mut self, place: impl ToString, detail: impl ToString) {
        self.tell(Severity::Left, What::Erased, place, detail);
    }

    fn tell(&mut self, severity: Severity, what: What, place: impl ToString, detail: impl ToString) {
        (self.sink)(Finding { severity, what, place: place.to_string(), detail: detail.to_string() });
    }
}

impl Severity {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Rebuildable => "rebuildable",
            Self::Left => "left",
        }
    }
}

impl What {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JournalLayout => "journal-layout",
            Self::JournalFrame => "journal-frame",
            Self::JournalTail => "journal-tail",
            Self::JournalEntry => "journal-entry",
            Self::LostLeaves => "lost-leaves",
            Self::Tree => "tree",
            Self::Checkpoint => "checkpoint",
            Self::Evidence => "evidence",
            Self::Record => "record",
            Self::Body => "body",
            Self::Erased => "erased",
            Self::Envelope => "envelope",
            Self::Index => "index",
            Self::Search => "search",
            Self::Array => "array",
        }
    }
}

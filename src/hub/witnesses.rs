//! Cosignatures for this log's heads: asked of every witness in rounds, beside the traffic and never before it.
//!
//! One head goes to all witnesses at a time. Once enough of them cosigned it, it is kept durably with their lines, and is
//! what auditors are shown. A witness that is away costs nobody a moment; after a set time it raises an alarm.

mod ask;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

pub use self::ask::{Asked, Peer, Posted, Wire};
use self::ask::{Outcome, Trouble};
use super::{
    Hub, StartError,
    clock::Clock,
    health::Condition,
    query::Nodes,
    refused::{Refused, blocking},
};
use crate::{
    domain::{reason::ReasonCode, time::Timestamp},
    proto,
    store::{Store, records::Head, witnessed::Witnessed},
    tlog::{
        checkpoint::Checkpoint,
        cosignature::WitnessKey,
        keys::{LogKeys, Trust},
        merkle::{self, empty_root},
    },
};

/// Most witnesses that are asked.
pub const MAX_WITNESSES: usize = 32;
/// A cosigned head is shown in place of a newer one until it is so many rounds old.
const FRESH_ROUNDS: u32 = 10;
/// A log that does not grow is cosigned again so often before an alarm.
const RENEWALS: u32 = 3;

/// How witnesses are asked.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Pause between two heads.
    pub every: Duration,
    /// A witness that has not cosigned for so long raises an alarm.
    pub alarm: Duration,
    /// So many cosignatures are enough.
    pub quorum: usize,
}

/// A head with cosignatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedHead {
    /// The note as the hub signed it.
    pub checkpoint: String,
    /// Witness and line of each cosignature.
    pub lines: Vec<(WitnessKey, String)>,
    /// Leaves.
    pub size: u64,
    /// When the round ended, by the hub's clock.
    pub at: Timestamp,
}

impl CosignedHead {
    /// The note with all lines.
    #[must_use]
    pub fn note(&self) -> String {
        self.lines.iter().fold(self.checkpoint.clone(), |note, (_, line)| note + line)
    }
}

/// One witness, as it was found last.
#[derive(Clone, Debug)]
struct State {
    key: WitnessKey,
    url: String,
    size: u64,
    at: Option<Timestamp>,
    trouble: Option<Trouble>,
}

/// The witnesses of a log.
pub struct Witnesses {
    rounds: Rounds,
    clock: Clock,
    began: Timestamp,
    kept: Witnessed,
    newest: Mutex<Option<Arc<CosignedHead>>>,
    states: Mutex<Vec<State>>,
    /// Leaves of the largest head that was shown: nobody is ever shown a smaller one after it.
    shown: AtomicU64,
}

impl Witnesses {
    /// What was kept before, in the folder `dir`: it has to be a head of this very log.
    fn open(
        dir: &Path,
        peers: &[Peer],
        rounds: Rounds,
        clock: Clock,
        store: &dyn Store,
        keys: &LogKeys,
    ) -> Result<Self, StartError> {
        let kept = Witnessed::open(dir)?;
        let newest = kept.last(keys.origin())?.map(|note| read(&note, peers, store, keys)).transpose()?;
        let states = peers.iter().map(|peer| State {
            key: peer.key.clone(),
            url: peer.url.clone(),
            size: 0,
            at: None,
            trouble: None,
        });
        Ok(Self {
            rounds,
            began: clock.now(),
            clock,
            kept,
            newest: Mutex::new(newest.map(Arc::new)),
            states: Mutex::new(states.collect()),
            shown: AtomicU64::new(store.head().size),
        })
    }

    fn newest(&self) -> Option<Arc<CosignedHead>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The cosigned head where it is fresh and not behind what was shown, else `newest`.
    fn choose(&self, newest: String, size: u64) -> String {
        let fresh = i64::try_from((self.rounds.every * FRESH_ROUNDS).as_micros()).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let cosigned = self.newest().filter(|head| head.size >= self.shown.load(Ordering::SeqCst));
        let cosigned = cosigned.filter(|head| head.size == size || now.0 - head.at.0 <= fresh);
        let (note, size) = cosigned.map_or((newest, size), |head| (head.note(), head.size));
        self.shown.fetch_max(size, Ordering::SeqCst);
        note
    }

    /// Takes in what a round brought.
    fn take(&self, checkpoint: &str, size: u64, asked: &[(usize, Outcome)]) {
        let now = self.clock.now();
        let mut lines = Vec::new();
        {
            let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, outcome) in asked {
                let Some(state) = states.get_mut(*at) else { continue };
                match outcome {
                    Ok(line) => {
                        lines.push((state.key.clone(), line.clone()));
                        (state.size, state.at, state.trouble) = (size, Some(now), None);
                    }
                    Err(trouble) => state.trouble = Some(trouble.clone()),
                }
            }
        }
        if lines.len() < self.rounds.quorum {
            return;
        }
        let head = CosignedHead { checkpoint: checkpoint.to_owned(), lines, size, at: now };
        let origin = Checkpoint::unverified(checkpoint).map(|head| head.origin).unwrap_or_default();
        // Who was shown it must find it again after a crash.
        match self.kept.keep(&origin, &head.note()) {
            Ok(()) => {
                *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(head));
            }
            Err(error) => tracing::error!(%error, "the cosigned head could not be kept"),
        }
    }

    /// Why somebody has to look; `None` while all is well.
    fn alarm(&self) -> Option<String> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<_> = states
            .iter()
            .filter(|state| self.is_alarm(state))
            .map(|state| match &state.trouble {
                Some(trouble) => format!("{}: {trouble}", state.key.name()),
                None => format!("{}: has not cosigned", state.key.name()),
            })
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn is_alarm(&self, state: &State) -> bool {
        let since = state.at.unwrap_or(self.began);
        let patience = i64::try_from(self.rounds.alarm.as_micros()).unwrap_or(i64::MAX);
        let forked = state.trouble.as_ref().is_some_and(|trouble| trouble.is_fork());
        forked || self.clock.now().0 - since.0 > patience
    }

    fn told(&self) -> Vec<proto::WitnessState> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let told = states.iter().map(|state| proto::WitnessState {
            verifier_key: state.key.to_string(),
            url: state.url.clone(),
            size: state.size,
            cosigned_at_us: state.at.map_or(0, |at| at.0),
            problem: state.trouble.as_ref().map(ToString::to_string).unwrap_or_default(),
            alarm: self.is_alarm(state),
        });
        told.collect()
    }
}

impl Hub {
    /// Begins to ask witnesses for cosignatures, and keeps the newest cosigned head in the folder `dir`. To be called once,
    /// after the start. Refused where that folder knows a head that this log does not have: then the log is an old copy.
    pub fn ask_witnesses(
        self: &Arc<Self>,
        peers: Vec<Peer>,
        rounds: Rounds,
        dir: &Path,
    ) -> Result<(), StartError> {
        let clock = self.clock.clone();
        let witnesses = Witnesses::open(dir, &peers, rounds, clock, &*self.store, &self.keys.ring)?;
        let witnesses = Arc::new(witnesses);
        if self.witnesses.set(Arc::clone(&witnesses)).is_ok() {
            self.tasks.spawn(go_round(Arc::clone(self), witnesses, peers));
        }
        Ok(())
    }

    /// The newest head that enough witnesses cosigned.
    #[must_use]
    pub fn cosigned(&self) -> Option<Arc<CosignedHead>> {
        self.witnesses.get()?.newest()
    }

    /// The same for a request that needs it to hold this leaf.
    pub(super) fn cosigned_with(&self, leaf: u64) -> Result<Arc<CosignedHead>, Refused> {
        let head = self.cosigned();
        let size = head.as_ref().map_or(0, |head| head.size);
        head.filter(|head| leaf < head.size).ok_or_else(|| {
            let detail = format!("leaf {leaf}; the newest cosigned checkpoint has {size} leaves");
            Refused::because(ReasonCode::NotCosigned, detail)
        })
    }

    /// The head for an answer about many leaves: the newest one, or the newest that enough witnesses cosigned, with their
    /// lines.
    pub(super) fn head_for(&self, cosigned: bool) -> Result<Head, Refused> {
        if !cosigned {
            return Ok(self.store.head());
        }
        let head = self.cosigned().ok_or_else(|| {
            let detail = "no checkpoint is cosigned yet: ask again, or without it";
            Refused::because(ReasonCode::NotCosigned, detail)
        })?;
        super::proofs::head(&head, head.note())
    }

    /// What everyone is shown: the newest head, or one that is a moment older and cosigned. Sizes never go back.
    pub(super) fn shown(&self, newest: String, size: u64) -> String {
        match self.witnesses.get() {
            Some(witnesses) => witnesses.choose(newest, size),
            None => newest,
        }
    }

    /// The witnesses of this log, and the logs that this hub is a witness of.
    #[must_use]
    pub fn witness_states(&self) -> proto::GetWitnessesResponse {
        let asked = self.witnesses.get();
        let own = self.witness.get();
        let followed = own.iter().flat_map(|witness| witness.followed());
        proto::GetWitnessesResponse {
            witnesses: asked.map(|witnesses| witnesses.told()).unwrap_or_default(),
            tree_size: self.size(),
            quorum: asked.map_or(0, |witnesses| u32::try_from(witnesses.rounds.quorum).unwrap_or(u32::MAX)),
            own_key: own.map(|witness| witness.key().to_string()).unwrap_or_default(),
            followed: followed
                .map(|log| proto::FollowedLog { origin: log.origin, size: log.size.unwrap_or(0) })
                .collect(),
        }
    }
}

/// Round after round until the hub stops.
async fn go_round(hub: Arc<Hub>, witnesses: Arc<Witnesses>, mut peers: Vec<Peer>) {
    let Rounds { every, alarm, .. } = witnesses.rounds;
    peers.truncate(MAX_WITNESSES);
    while hub.stopping.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        let head = hub.store.head();
        if !head.checkpoint.is_empty() {
            let now = hub.clock.monotonic();
            let asked =
                hub.stopping.run_until_cancelled(round(&hub, peers, &head, now, alarm / RENEWALS)).await;
            let Some((back, outcomes)) = asked else { return };
            peers = back;
            let (witnesses, checkpoint) = (Arc::clone(&witnesses), head.checkpoint);
            // What can't be kept is tried again in the next round.
            let _ = blocking(move || witnesses.take(&checkpoint, head.size, &outcomes)).await;
        }
        hub.health.set(Condition::WitnessAway, witnesses.alarm());
    }
}

/// Asks all witnesses whose turn it is, at the same time.
async fn round(
    hub: &Arc<Hub>,
    peers: Vec<Peer>,
    head: &crate::store::records::Head,
    now: Duration,
    renew: Duration,
) -> (Vec<Peer>, Vec<(usize, Outcome)>) {
    let due = peers.iter().any(|peer| peer.is_due(head.size, now, renew));
    let mut asking = JoinSet::new();
    for (at, mut peer) in peers.into_iter().enumerate() {
        let (hub, checkpoint, size) = (Arc::clone(hub), head.checkpoint.clone(), head.size);
        asking.spawn(async move {
            // One head is cosigned by all: where one is due, the others join, unless they have to rest.
            let outcome = match due && peer.may_be_asked(now) {
                true => Some(peer.ask(&Proofs(hub), &checkpoint, size, now).await),
                false => None,
            };
            (at, peer, outcome)
        });
    }
    let (mut back, mut outcomes) = (Vec::new(), Vec::new());
    for (at, peer, outcome) in asking.join_all().await {
        back.push((at, peer));
        outcomes.extend(outcome.map(|outcome| (at, outcome)));
    }
    back.sort_by_key(|(at, _)| *at);
    (back.into_iter().map(|(_, peer)| peer).collect(), outcomes)
}

/// Consistency proofs out of the store.
struct Proofs(Arc<Hub>);

impl Asked for Proofs {
    async fn consistency(&self, from: u64, to: u64) -> Option<Vec<crate::tlog::Hash>> {
        let hub = Arc::clone(&self.0);
        let path = blocking(move || merkle::consistency_path(from, to, &Nodes(&*hub.store)));
        path.await.ok()?.ok()?
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

/// A kept head, held against the log.
fn read(note: &str, peers: &[Peer], store: &dyn Store, keys: &LogKeys) -> Result<CosignedHead, StartError> {
    let head =
        keys.open(note).map_err(|error| StartError::ForeignLog(format!("the cosigned head: {error}")))?;
    let log = store.head();
    if head.size > log.size {
        let (known, here) = (head.size, log.size);
        return Err(StartError::OldCopy { known, here });
    }
    let root = if head.size == 0 { empty_root() } else { merkle::root(head.size, &Nodes(store))? };
    if root != head.root {
        return Err(StartError::ForeignLog("the cosigned head is of another history".into()));
    }
    let split = crate::tlog::note::unverified_text(note).map_or(0, str::len);
    let first_line = note[split + 1..].find('\n').map_or(note.len(), |at| split + 1 + at + 1);
    let mut lines = Vec::new();
    for peer in peers {
        // What a witness that is not asked any more said is of no use.
        lines.extend(peer.key.find(note).ok().flatten().map(|found| (peer.key.clone(), found.line)));
    }
    Ok(CosignedHead { checkpoint: note[..first_line].to_owned(), lines, size: head.size, at: Timestamp(0) })
}

#[cfg(test)]
mod tests;

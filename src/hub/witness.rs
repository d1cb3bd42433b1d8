//! The hub as a witness of other logs: cosigns a head that continues the last one that it cosigned, and no other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::clock::Clock;
use crate::{
    store::{StoreError, witnessed::Witnessed},
    tlog::{
        checkpoint::Checkpoint,
        cosignature::{Cosigner, WitnessKey},
        note::{self, NoteError, Verifier},
        witness::{AddCheckpoint, NotCosigned},
    },
};

impl super::Hub {
    /// Tells of a witness that this hub is, beside its own log. To be called once.
    pub fn be_witness(&self, witness: Arc<Witness>) {
        let _ = self.witness.set(witness);
    }
}

/// What the witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The line of the cosignature. What it vouches for is durable.
    Cosigned(String),
    /// This witness does not follow a log of this origin.
    UnknownOrigin,
    /// By the rules of the protocol.
    NotCosigned(NotCosigned),
    /// The witness's own folder failed: it cosigns nothing of this log until it is started again.
    Failed,
}

/// What a witness knows of a log that it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Which log.
    pub origin: String,
    /// Leaves that were cosigned last; `None` before the first time.
    pub size: Option<u64>,
}

/// A witness of some logs. Requests about one log wait for each other.
pub struct Witness {
    cosigner: Cosigner,
    logs: BTreeMap<String, Log>,
    kept: Witnessed,
    clock: Clock,
}

struct Log {
    keys: Vec<Verifier>,
    last: Mutex<Last>,
}

enum Last {
    Nothing,
    Head(Checkpoint),
    /// A write failed: nobody knows what stands on the disk.
    Unknown,
}

impl Witness {
    /// A witness with its memory in the folder `dir`, for the logs that these keys are named for. Keys of one name are of
    /// one log.
    pub fn open(
        dir: &Path,
        cosigner: Cosigner,
        keys: Vec<Verifier>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let kept = Witnessed::open(dir)?;
        let mut by_origin: BTreeMap<String, Vec<Verifier>> = BTreeMap::new();
        for key in keys {
            by_origin.entry(key.name().to_owned()).or_default().push(key);
        }
        let logs = by_origin.into_iter().map(|(origin, keys)| {
            let last = Mutex::new(load(&kept, &origin)?);
            Ok((origin, Log { keys, last }))
        });
        let logs = logs.collect::<Result<_, StoreError>>()?;
        Ok(Self { cosigner, logs, kept, clock })
    }

    /// The key that checks this witness's cosignatures.
    #[must_use]
    pub fn key(&self) -> WitnessKey {
        self.cosigner.verifier()
    }

    /// The logs that it follows.
    pub fn followed(&self) -> impl Iterator<Item = Followed> {
        self.logs.iter().map(|(origin, log)| {
            let last = log.last.lock().unwrap_or_else(PoisonError::into_inner);
            let size = if let Last::Head(head) = &*last { Some(head.size) } else { None };
            Followed { origin: origin.clone(), size }
        })
    }

    /// Judges the body of an `add-checkpoint` and cosigns. Waits for the disk, and for other requests about this log.
    pub async fn add_checkpoint(self: &Arc<Self>, body: String) -> Reply {
        let witness = Arc::clone(self);
        let done = super::refused::blocking(move || witness.add(&body)).await;
        done.unwrap_or(Reply::Failed)
    }

    fn add(&self, body: &str) -> Reply {
        let malformed = |error| Reply::NotCosigned(NotCosigned::Malformed(error));
        let asked = match AddCheckpoint::parse(body).and_then(|asked| Ok((asked.origin()?, asked))) {
            Ok(asked) => asked,
            Err(error) => return malformed(error),
        };
        let (origin, asked) = asked;
        let Some(log) = self.logs.get(&origin) else { return Reply::UnknownOrigin };
        let mut last = log.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match &*last {
            Last::Nothing => None,
            Last::Head(head) => Some(head),
            Last::Unknown => return Reply::Failed,
        };
        let head = match asked.judge(&log.keys, known) {
            Ok(head) => head,
            Err(refused) => {
                self.tell_refused(&origin, &asked, &refused);
                return Reply::NotCosigned(refused);
            }
        };
        let text = match note::unverified_text(&asked.note) {
            Ok(text) => text.to_owned(),
            Err(error) => return malformed(error),
        };
        // If we crash after this, the log asks again with the size that we now know: nothing is cosigned twice over.
        if known != Some(&head)
            && let Err(error) = self.remember(&mut last, &origin, &asked.note, head)
        {
            tracing::error!(%error, %origin, "the witness's folder failed: it cosigns nothing more of this log");
            return Reply::Failed;
        }
        let seconds = self.clock.now().0 / 1_000_000;
        Reply::Cosigned(self.cosigner.cosign(&text, u64::try_from(seconds).unwrap_or(0)))
    }

    fn remember(
        &self,
        last: &mut Last,
        origin: &str,
        note: &str,
        head: Checkpoint,
    ) -> Result<(), StoreError> {
        *last = Last::Unknown;
        self.kept.keep(origin, note)?;
        *last = Last::Head(head);
        Ok(())
    }

    /// A signed head that does not continue the last one is evidence against the log: it is told in full.
    fn tell_refused(&self, origin: &str, asked: &AddCheckpoint, refused: &NotCosigned) {
        let forked = match refused {
            NotCosigned::NotConsistent { known } => *known > 0,
            NotCosigned::Conflict { known } => asked.old == *known,
            _ => false,
        };
        if forked {
            tracing::warn!(%origin, %refused, request = %asked.encode(), "a signed head does not continue this log");
        } else {
            tracing::debug!(%origin, %refused, "not cosigned");
        }
    }
}

fn load(kept: &Witnessed, origin: &str) -> Result<Last, StoreError> {
    let Some(note) = kept.last(origin)? else { return Ok(Last::Nothing) };
    let head = note::unverified_text(&note).and_then(Checkpoint::parse_any);
    let damaged =
        |error: NoteError| StoreError::Damaged(format!("what was cosigned last of {origin}: {error}"));
    let head = head.map_err(damaged)?;
    if head.origin != origin {
        return Err(StoreError::Damaged(format!("cosigned last of {origin}: a head of {}", head.origin)));
    }
    Ok(Last::Head(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::time::Timestamp,
        tlog::{
            merkle::{Edge, Growth, leaf_hash},
            note::Signer,
        },
    };

    const ORIGIN: &str = "other.example/log";

    fn log() -> Signer {
        Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
    }

    fn open(dir: &Path) -> Witness {
        let cosigner = Cosigner::from_seed("w.example", &[1; 32]).unwrap();
        Witness::open(dir, cosigner, vec![log().verifier()], Clock::manual(Timestamp(5_000_000))).unwrap()
    }

    /// Asks for a head of so many leaves, as a log that always knows what to prove: sizes are powers of two.
    fn ask(old: u64, size: u64, leaf: &str) -> String {
        let mut growth = Growth::new(Edge::empty());
        let mut proof = Vec::new();
        for index in 0..size {
            growth.push(leaf_hash(if index < old { b"" } else { leaf.as_bytes() }));
        }
        if old > 0 && size == 2 * old {
            let mut right = Growth::new(Edge::empty());
            (0..old).for_each(|_| _ = right.push(leaf_hash(leaf.as_bytes())));
            proof.push(right.root());
        }
        let head = Checkpoint { origin: ORIGIN.into(), size, root: growth.root() };
        AddCheckpoint { old, proof, note: head.sign(&log()) }.encode()
    }

    #[test]
    fn what_continues_is_cosigned_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let witness = open(folder.path());
        for (old, size) in [(0, 1), (1, 2), (2, 2), (2, 4)] {
            let asked = ask(old, size, "");
            let Reply::Cosigned(line) = witness.add(&asked) else { panic!("{:?}", witness.add(&asked)) };
            let note = AddCheckpoint::parse(&asked).unwrap().note + &line;
            assert_eq!(witness.key().find(&note).unwrap().unwrap().time, 5);
        }
        drop(witness);
        let witness = open(folder.path());
        assert_eq!(witness.followed().next().unwrap().size, Some(4));
        let conflict = NotCosigned::Conflict { known: 4 };
        assert_eq!(witness.add(&ask(0, 1, "")), Reply::NotCosigned(conflict));
        let forked = NotCosigned::NotConsistent { known: 4 };
        let mut other = AddCheckpoint::parse(&ask(4, 8, "")).unwrap();
        other.note = AddCheckpoint::parse(&ask(0, 8, "x")).unwrap().note;
        assert_eq!(witness.add(&other.encode()), Reply::NotCosigned(forked));
        assert!(matches!(witness.add(&ask(4, 8, "")), Reply::Cosigned(_)), "a fork does no harm");
    }

    #[test]
    fn strangers_and_nonsense_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let witness = open(folder.path());
        assert_eq!(witness.add(&ask(0, 1, "").replace(ORIGIN, "third.example")), Reply::UnknownOrigin);
        let malformed = Reply::NotCosigned(NotCosigned::Malformed(NoteError::Malformed("no empty line")));
        assert_eq!(witness.add("hello"), malformed);
        assert_eq!(witness.followed().next().unwrap().size, None);
    }

    #[test]
    fn without_its_folder_nothing_is_cosigned() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("witness");
        let witness = open(&dir);
        std::fs::remove_dir(&dir).unwrap();
        assert_eq!(witness.add(&ask(0, 1, "")), Reply::Failed);
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(witness.add(&ask(0, 1, "")), Reply::Failed, "until the next start");
        assert!(matches!(open(&dir).add(&ask(0, 1, "")), Reply::Cosigned(_)));
    }

    #[test]
    fn a_damaged_memory_is_no_empty_memory() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).add(&ask(0, 1, ""));
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "nothing\n").unwrap();
        let cosigner = Cosigner::from_seed("w.example", &[1; 32]).unwrap();
        let opened = Witness::open(folder.path(), cosigner, vec![log().verifier()], Clock::system());
        assert!(matches!(opened, Err(StoreError::Damaged(_))));
    }
}

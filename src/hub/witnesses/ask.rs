//! One witness is asked for one cosignature (C2SP tlog-witness, the log's side).

use std::{fmt, pin::Pin, time::Duration};

use crate::tlog::{Hash, cosignature::WitnessKey, witness::AddCheckpoint};

/// A witness that did not answer rests, twice as long each time, within these.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(5 * 60);
/// Its size may have to be learnt first, and may move meanwhile.
const TRIES: u32 = 3;

/// Status and text of an answer, or why there is none.
pub type Posted<'a> = Pin<Box<dyn Future<Output = Result<(u16, String), String>> + Send + 'a>>;

/// The way to a witness: posts the body of `add-checkpoint`, bounded in time and size; status and text of the answer.
pub trait Wire: Send + 'static {
    /// Asks once.
    fn post(&mut self, body: String) -> Posted<'_>;
}

/// What the log has to know when a witness is asked.
pub trait Asked: Sync {
    /// Consistency path between two sizes.
    fn consistency(&self, from: u64, to: u64) -> impl Future<Output = Option<Vec<Hash>>> + Send;
    /// Leaves of the newest head.
    fn size(&self) -> u64;
}

/// Why a witness did not cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It can't be reached or does not do its work.
    Away(String),
    /// It does not follow this log, or not with this key.
    Refused(String),
    /// It cosigned a longer log than there is here: this one is an old copy.
    Ahead(u64),
    /// It cosigned another history of this log.
    OtherHistory(u64),
}

impl Trouble {
    /// True when it says that somebody was shown another history.
    pub fn is_fork(&self) -> bool {
        matches!(self, Self::Ahead(_) | Self::OtherHistory(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => write!(f, "can't be asked: {why}"),
            Self::Refused(why) => write!(f, "does not cosign: {why}"),
            Self::Ahead(size) => {
                write!(f, "cosigned {size} leaves, more than this log has: this hub runs on an old copy")
            }
            Self::OtherHistory(size) => {
                write!(f, "cosigned another history of {size} leaves: this log forked")
            }
        }
    }
}

/// A line of a cosignature, or why there is none.
pub type Outcome = Result<String, Trouble>;

/// A witness and what is known of it.
pub struct Peer {
    /// Its key.
    pub key: WitnessKey,
    /// Where it is asked, to be shown.
    pub url: String,
    wire: Box<dyn Wire>,
    /// Size that it cosigned last, as far as is known.
    size: u64,
    cosigned: Option<Duration>,
    rest: Duration,
    rests_until: Duration,
}

impl Peer {
    /// A witness of which nothing is known yet.
    #[must_use]
    pub fn new(key: WitnessKey, url: String, wire: Box<dyn Wire>) -> Self {
        Self { key, url, wire, size: 0, cosigned: None, rest: FIRST_REST, rests_until: Duration::ZERO }
    }

    /// There is a new head, or its last word grows old.
    pub fn is_due(&self, size: u64, now: Duration, renew: Duration) -> bool {
        let old = self.cosigned.is_none_or(|at| now.saturating_sub(at) >= renew);
        self.may_be_asked(now) && (old || self.size != size)
    }

    /// It does not rest.
    pub fn may_be_asked(&self, now: Duration) -> bool {
        now >= self.rests_until
    }

    /// Asks for a cosignature on this head, and lets it rest for a while when it gives none.
    pub async fn ask(&mut self, log: &impl Asked, checkpoint: &str, size: u64, now: Duration) -> Outcome {
        let outcome = self.cosignature(log, checkpoint, size).await;
        match &outcome {
            Ok(_) => {
                (self.cosigned, self.rest) = (Some(now), FIRST_REST);
            }
            Err(trouble) => {
                tracing::debug!(witness = self.key.name(), %trouble, "no cosignature");
                self.rests_until = now + self.rest;
                self.rest = (self.rest * 2).min(LONGEST_REST);
            }
        }
        outcome
    }

    async fn cosignature(&mut self, log: &impl Asked, checkpoint: &str, size: u64) -> Outcome {
        for _ in 0..TRIES {
            let old = self.size.min(size);
            let proof = if old == 0 { Some(Vec::new()) } else { log.consistency(old, size).await };
            let proof = proof.ok_or_else(|| Trouble::Away("the log's own hashes can't be read".into()))?;
            let body = AddCheckpoint { old, proof, note: checkpoint.to_owned() }.encode();
            let (status, text) = self.wire.post(body).await.map_err(Trouble::Away)?;
            match status {
                200 => return self.line(checkpoint, size, &text),
                409 => {
                    let known = text.strip_suffix('\n').unwrap_or(&text).parse::<u64>();
                    let known = known.map_err(|_| Trouble::Away("its answer 409 names no size".into()))?;
                    if known == old {
                        return Err(Trouble::OtherHistory(known));
                    }
                    if known > log.size() {
                        return Err(Trouble::Ahead(known));
                    }
                    self.size = known;
                    if known > size {
                        return Err(Trouble::Away("cosigned a newer head meanwhile".into()));
                    }
                }
                422 if old > 0 => return Err(Trouble::OtherHistory(old)),
                400 | 403 | 404 | 422 => return Err(Trouble::Refused(words(status, &text))),
                _ => return Err(Trouble::Away(words(status, &text))),
            }
        }
        Err(Trouble::Away("its size moves while it is asked".into()))
    }

    /// The cosignature in an answer; lines of other keys are of no interest.
    fn line(&mut self, checkpoint: &str, size: u64, text: &str) -> Outcome {
        let found = self.key.find(&format!("{checkpoint}{text}"));
        match found {
            Ok(Some(cosignature)) => {
                self.size = size;
                Ok(cosignature.line)
            }
            Ok(None) => Err(Trouble::Away("its answer has no cosignature by its key".into())),
            Err(error) => Err(Trouble::Away(format!("its cosignature is not good: {error}"))),
        }
    }
}

/// The first line of an answer that is no cosignature.
fn words(status: u16, text: &str) -> String {
    let line: String =
        text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(120).collect();
    format!("{status} {line}")
}

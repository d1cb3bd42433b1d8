//! The steps of a document's way, told to whoever follows them.
//!
//! What belongs together is found without being stored: the trace of a document is named by its digest, so that a step
//! that happens days later, in another process after a restart, or in another hub, joins the same trace.

use std::sync::OnceLock;

use super::clock::Clock;
use crate::domain::{
    id::{Digest, NodeName},
    time::Timestamp,
};

/// A step that ended. Holds identifiers and times, never content.
#[derive(Clone, Debug)]
pub struct Step {
    /// SHA-256 of the document's manifest payload.
    pub document: Digest,
    /// What was done; one of few words.
    pub name: &'static str,
    /// True for the one step that the others are part of: the submission that was accepted.
    pub first: bool,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Node that asked for it.
    pub node: Option<String>,
    /// Agency that it is for.
    pub recipient: Option<String>,
    /// Its leaf in the log.
    pub leaf: Option<u64>,
    /// How often an offer was made.
    pub attempt: Option<u32>,
    /// Reason code, where it failed.
    pub failed: Option<&'static str>,
    /// The caller's own trace.
    pub caller: Option<TraceParent>,
}

/// Who follows documents. Called on the threads that do the work: it must never wait.
pub trait Observer: Send + Sync + 'static {
    /// Whether this document is followed.
    fn follows(&self, document: &Digest) -> bool;

    /// Takes a step.
    fn step(&self, step: Step);
}

/// The observer of a hub, where there is one.
pub struct Steps {
    clock: Clock,
    observer: OnceLock<Box<dyn Observer>>,
}

impl Steps {
    /// Nobody follows.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, observer: OnceLock::new() }
    }

    /// From now on `observer` hears of every step. The first one stays.
    pub fn observe(&self, observer: impl Observer) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// True when somebody follows.
    #[must_use]
    pub fn are_followed(&self) -> bool {
        self.observer.get().is_some()
    }

    /// Begins a step, which ends when it is dropped; `None` where nobody follows this document, or it has no digest.
    pub fn begin(
        &self,
        name: &'static str,
        document: impl FnOnce() -> Option<Digest>,
    ) -> Option<Running<'_>> {
        self.begin_at(name, document, self.now())
    }

    /// When a step begins that is told later; zero where nobody follows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.observer.get().map_or(Timestamp(0), |_| self.clock.now())
    }

    /// As [`begin`](Self::begin) for a step that began before.
    pub fn begin_at(
        &self,
        name: &'static str,
        document: impl FnOnce() -> Option<Digest>,
        began: Timestamp,
    ) -> Option<Running<'_>> {
        let observer = self.observer.get()?;
        let document = document().filter(|document| observer.follows(document))?;
        let step = Step {
            document,
            name,
            first: false,
            began,
            ended: began,
            node: None,
            recipient: None,
            leaf: None,
            attempt: None,
            failed: None,
            caller: None,
        };
        Some(Running { steps: self, step: Some(step) })
    }
}

/// A step under way.
pub struct Running<'a> {
    steps: &'a Steps,
    step: Option<Step>,
}

impl Running<'_> {
    /// Adds what is known of it.
    pub fn tell(&mut self, edit: impl FnOnce(&mut Step)) {
        if let Some(step) = &mut self.step {
            edit(step);
        }
    }

    /// As [`tell`](Self::tell), in a row.
    #[must_use]
    pub fn with(mut self, edit: impl FnOnce(&mut Step)) -> Self {
        self.tell(edit);
        self
    }

    /// For this agency.
    #[must_use]
    pub fn to(self, recipient: impl Into<String>) -> Self {
        self.with(|step| step.recipient = Some(recipient.into()))
    }

    /// At the request of this node.
    #[must_use]
    pub fn by(self, node: &NodeName) -> Self {
        self.with(|step| step.node = Some(node.to_string()))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let (Some(mut step), Some(observer)) = (self.step.take(), self.steps.observer.get()) {
            step.ended = self.steps.clock.now().max(step.began);
            observer.step(step);
        }
    }
}

/// Name of a document's trace: the first half of its digest.
#[must_use]
pub fn trace_id(document: &Digest) -> [u8; 16] {
    let (trace, _) = halves(document);
    trace
}

/// Name of the first step within the trace.
#[must_use]
pub fn first_span_id(document: &Digest) -> [u8; 8] {
    let (_, rest) = halves(document);
    let mut span = [0; 8];
    span.copy_from_slice(&rest[..8]);
    span
}

fn halves(document: &Digest) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    let (one, other) = document.as_bytes().split_at(16);
    first.copy_from_slice(one);
    second.copy_from_slice(other);
    (first, second)
}

/// The trace of a caller, as W3C Trace Context writes it: `00-<trace id>-<span id>-<flags>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Its trace.
    pub trace: [u8; 16],
    /// Its span.
    pub span: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a `traceparent` header; `None` for what is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let [version, trace, span, flags] = [(); 4].map(|()| fields.next());
        let (version, flags) = (lower_hex::<1>(version?)?[0], lower_hex::<1>(flags?)?[0]);
        // Later versions may add fields; version ff is forbidden.
        if version == u8::MAX || (version == 0 && fields.next().is_some()) {
            return None;
        }
        let parent = Self { trace: lower_hex(trace?)?, span: lower_hex(span?)?, sampled: flags & 1 == 1 };
        (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    hex::decode_to_slice(text, &mut bytes).ok().filter(|()| lower).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<Step>>>);

    impl Observer for Notes {
        fn follows(&self, document: &Digest) -> bool {
            document.as_bytes()[0].is_multiple_of(2)
        }

        fn step(&self, step: Step) {
            self.0.lock().unwrap().push(step);
        }
    }

    #[test]
    fn a_step_ends_when_it_is_dropped() {
        let (clock, notes) = (Clock::manual(Timestamp(10)), Notes::default());
        let steps = Steps::new(clock.clone());
        assert!(steps.begin("early", || unreachable!("nobody follows")).is_none());
        steps.observe(notes.clone());
        assert!(steps.begin("other", || Some(Digest([1; 32]))).is_none());
        assert!(steps.begin("nameless", || None).is_none());
        let step = steps.begin("verify", || Some(Digest([2; 32])));
        clock.advance_us(5);
        drop(step.map(|step| step.to("H53").with(|step| step.leaf = Some(7))));
        let noted = notes.0.lock().unwrap();
        assert_eq!(noted.len(), 1);
        let step = &noted[0];
        assert_eq!((step.name, step.began.0, step.ended.0, step.leaf), ("verify", 10, 15, Some(7)));
    }

    #[test]
    fn a_trace_is_named_by_the_digest() {
        let digest = Digest(std::array::from_fn(|at| at as u8));
        assert_eq!(trace_id(&digest), std::array::from_fn(|at| at as u8));
        assert_eq!(first_span_id(&digest), std::array::from_fn(|at| 16 + at as u8));
    }

    #[test]
    fn trace_parents_are_read_as_the_standard_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(good).expect("legal");
        assert_eq!(hex::encode(parent.trace), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((hex::encode(parent.span).as_str(), parent.sampled), ("00f067aa0ba902b7", true));
        assert!(TraceParent::parse(&good.replace("00-4", "01-4").replace("-01", "-00-more")).is_some());
        for bad in [
            "",
            "00",
            &good.replace("00-4", "ff-4"),
            &good.to_uppercase(),
            &format!("{good}-00"),
            &good.replace("00f067aa0ba902b7", "0000000000000000"),
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("b7-", "b-"),
            &"-".repeat(100_000),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad:.80}");
        }
    }
}

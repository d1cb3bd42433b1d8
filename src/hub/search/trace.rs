//! What auditors asked, on its way into the log: gathered, so that a leaf holds many questions.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use prost::Message;
use tokio::sync::Notify;

use super::scope::Reader;
use crate::{
    domain::{id::Digest, reason::ReasonCode},
    hub::{Hub, refused::Refused, sequencer::Proposal},
    proto::{AuditCall, AuditQueries, AuditQuery, SearchFilter},
};

/// Questions gather so long.
const GATHER: Duration = Duration::from_secs(1);
/// Questions of one leaf.
const MAX_QUERIES: usize = 100;
/// Bytes of one leaf's questions: a leaf has at most 65,535.
const MAX_BYTES: usize = 48 * 1024;
/// Questions that may wait for the log. Behind them none is answered: what can't be recorded is not told.
const MAX_WAITING: usize = 10_000;

/// Questions that are not in the log yet.
#[derive(Default)]
pub struct Trace {
    waiting: Mutex<Vec<AuditQuery>>,
    /// A leaf is full.
    full: Notify,
}

/// One question, as it will be recorded.
pub struct Question(Option<AuditQuery>);

impl Question {
    /// A question about a filter.
    pub fn about(reader: &Reader, call: AuditCall, filter: &SearchFilter) -> Self {
        let subject = &filter.subject;
        let digest = (!subject.is_empty()).then(|| Digest::of(subject.as_bytes()).to_bytes());
        Self::of(reader, call, |query| AuditQuery {
            filter: Some(bounded(SearchFilter { subject: String::new(), ..filter.clone() })),
            subject_sha256: digest.unwrap_or_default(),
            ..query
        })
    }

    /// A question about one leaf.
    pub fn leaf(reader: &Reader, index: u64) -> Self {
        Self::of(reader, AuditCall::Receipt, |query| AuditQuery { index, ..query })
    }

    fn of(reader: &Reader, call: AuditCall, tell: impl FnOnce(AuditQuery) -> AuditQuery) -> Self {
        Self(reader.recorded.then(|| {
            tell(AuditQuery {
                auditor: reader.name.clone(),
                scope: reader.scope.as_ref().map(ToString::to_string).unwrap_or_default(),
                call: call.into(),
                ..AuditQuery::default()
            })
        }))
    }
}

/// What is too long to be legal is cut before it is recorded.
fn bounded(mut filter: SearchFilter) -> SearchFilter {
    const MAX_TEXT: usize = 256;
    const MAX_VALUES: usize = 16;
    for text in [
        &mut filter.document_id,
        &mut filter.number,
        &mut filter.notation,
        &mut filter.sender,
        &mut filter.recipient,
        &mut filter.below,
    ] {
        *text = crate::domain::reason::cut(text, MAX_TEXT).to_owned();
    }
    filter.events.truncate(MAX_VALUES);
    filter.reasons.truncate(MAX_VALUES);
    filter.status_codes.truncate(MAX_VALUES);
    filter.urgencies.truncate(MAX_VALUES);
    filter
}

impl Trace {
    fn waiting(&self) -> MutexGuard<'_, Vec<AuditQuery>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, query: AuditQuery) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            let detail = "questions of auditors wait to be recorded";
            return Err(Refused::because(ReasonCode::Busy, detail));
        }
        waiting.push(query);
        if waiting.len() >= MAX_QUERIES {
            self.full.notify_one();
        }
        Ok(())
    }

    /// The questions of the next leaf; `None` when none wait.
    fn next(&self) -> Option<AuditQueries> {
        let waiting = self.waiting();
        let (mut count, mut bytes) = (0, 0);
        for query in waiting.iter().take(MAX_QUERIES) {
            bytes += query.encoded_len() + 8;
            if count > 0 && bytes > MAX_BYTES {
                break;
            }
            count += 1;
        }
        (count > 0).then(|| AuditQueries { queries: waiting[..count].to_vec() })
    }

    fn recorded(&self, count: usize) {
        self.waiting().drain(..count);
    }
}

impl Hub {
    /// Takes a question down with its answer, which it passes on. A question that can't be taken down is not answered.
    pub(super) fn record<T>(
        &self,
        question: Question,
        answer: Result<T, Refused>,
        rows: impl FnOnce(&T) -> u64,
    ) -> Result<T, Refused> {
        let Some(query) = question.0 else { return answer };
        let (told, refused) = match &answer {
            Ok(answer) => (rows(answer), ReasonCode::Unspecified),
            Err(refused) => (0, refused.code()),
        };
        let time_us = self.clock.now().0;
        self.trace.put(AuditQuery { time_us, rows: told, refused: refused.into(), ..query })?;
        answer
    }

    /// Records all that waits. What the writer has no room for stays.
    pub(in crate::hub) async fn record_questions(&self) {
        while let Some(queries) = self.trace.next() {
            let count = queries.queries.len();
            match self.sequencer.propose(Proposal::Note(Box::new(queries))).await {
                Ok(_) => self.trace.recorded(count),
                // Traffic goes first.
                Err(refused) if refused.code() == ReasonCode::Busy => return,
                Err(refused) => {
                    tracing::error!(%refused, "questions of auditors could not be recorded");
                    return;
                }
            }
        }
    }
}

/// Records now and then until the hub stops, which records the last ones itself.
pub async fn gather(hub: Weak<Hub>, stopping: tokio_util::sync::CancellationToken) {
    loop {
        let Some(trace) = hub.upgrade().map(|hub| Arc::clone(&hub.trace)) else { return };
        let gathered = async {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = trace.full.notified() => {}
            }
        };
        if stopping.run_until_cancelled(gathered).await.is_none() {
            return;
        }
        let Some(hub) = hub.upgrade() else { return };
        hub.record_questions().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> AuditQuery {
        let reader = Reader { name: name.into(), recorded: true, scope: None };
        let filter = SearchFilter {
            subject: "Kế hoạch".into(),
            sender: "x".repeat(100_000),
            events: vec![1; 1_000],
            ..SearchFilter::default()
        };
        Question::about(&reader, AuditCall::Search, &filter).0.unwrap()
    }

    #[test]
    fn the_log_holds_no_words_of_a_subject() {
        let query = asked("an");
        assert_eq!(query.subject_sha256, Digest::of("Kế hoạch".as_bytes()).to_bytes());
        assert!(!query.encode_to_vec().windows(4).any(|part| part == "hoạch".as_bytes().split_at(4).0));
        assert!(query.encoded_len() < 600, "{} bytes", query.encoded_len());
    }

    #[test]
    fn a_leaf_is_never_too_large_and_nothing_is_lost() {
        let trace = Trace::default();
        for number in 0..MAX_WAITING {
            trace.put(asked(&number.to_string())).unwrap();
        }
        assert_eq!(trace.put(asked("one more")).unwrap_err().code(), ReasonCode::Busy);
        let mut seen = Vec::new();
        while let Some(queries) = trace.next() {
            assert!(queries.encoded_len() <= MAX_BYTES && queries.queries.len() <= MAX_QUERIES);
            trace.recorded(queries.queries.len());
            seen.extend(queries.queries.into_iter().map(|query| query.auditor));
        }
        assert!(seen.into_iter().eq((0..MAX_WAITING).map(|number| number.to_string())));
    }

    #[test]
    fn operators_are_not_recorded() {
        let reader = Reader { name: "o".into(), recorded: false, scope: None };
        assert!(Question::leaf(&reader, 1).0.is_none());
    }
}

//! The business state of one delivery. Only signed statuses of the agency concerned move it (DOMAIN 1.6).

use super::reason::{Reason, ReasonCode};
use crate::proto::{EventKind, Operation};

/// 01: the recipient's system has it.
pub const ARRIVED: u32 = 1;
/// 02: refused by the clerk. Ends.
pub const REJECTED: u32 = 2;
/// 03: registered by the clerk.
pub const ACCEPTED: u32 = 3;
/// 04: assigned.
pub const ASSIGNED: u32 = 4;
/// 05: being processed; may repeat.
pub const PROCESSING: u32 = 5;
/// 06: finished.
pub const FINISHED: u32 = 6;
/// 13: the sender asks for the document back.
pub const RECALL_ASKED: u32 = 13;
/// 15: recall or update agreed. Ends: an update goes on as a document of its own.
pub const CHANGE_AGREED: u32 = 15;
/// 16: recall or update refused; the work goes on where it was.
pub const CHANGE_REFUSED: u32 = 16;

/// True for the nine codes in use.
#[must_use]
pub fn is_known(code: u32) -> bool {
    matches!(code, ARRIVED..=FINISHED | RECALL_ASKED | CHANGE_AGREED | CHANGE_REFUSED)
}

/// Where a delivery stands in the recipient's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Business {
    /// 0 at first, then 01 to 06 or 15. Never goes back. 13 and 16 show in `change_pending` only, so that
    /// the work goes on from its old place when a change is refused.
    pub code: u32,
    /// A recall or update is asked and not yet answered.
    pub change_pending: bool,
}

/// What one status does. Every status yields exactly one evidence event: nothing is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The delivery stands in `state` from now on.
    Moves {
        /// The state after it.
        state: Business,
        /// Event that proves it.
        event: EventKind,
    },
    /// The state stays; the status goes into the history.
    Recorded {
        /// Why it did not move.
        reason: Reason,
        /// `STATUS_RECORDED`.
        event: EventKind,
    },
}

/// Applies a status code. Codes may be skipped forward.
#[must_use]
pub fn on_status(business: &Business, code: u32) -> Effect {
    if !is_known(code) {
        return recorded(ReasonCode::UnknownStatusCode, format!("{code} is not one of the nine codes"));
    }
    match code {
        RECALL_ASKED => on_recall(business),
        CHANGE_AGREED | CHANGE_REFUSED => on_answer(business, code),
        _ => on_progress(business, code),
    }
}

/// Where a delivery begins. A recall or update asks its recipient for 15 or 16 at once.
#[must_use]
pub fn begin(operation: Operation) -> Business {
    Business { code: 0, change_pending: matches!(operation, Operation::Recall | Operation::Update) }
}

fn on_progress(business: &Business, code: u32) -> Effect {
    let now = business.code;
    if code == now && code != PROCESSING {
        return out_of_order(format!("{code:02} was reported before"));
    }
    let crosses_a_refusal = code == REJECTED && now >= ACCEPTED || now == REJECTED && code > REJECTED;
    if crosses_a_refusal {
        return out_of_order(format!("conflict: {code:02} after {now:02}"));
    }
    if code < now {
        return out_of_order(format!("{code:02} after {now:02}"));
    }
    match code {
        REJECTED => moves(Business { code, change_pending: false }, EventKind::ConsignmentRejection),
        ACCEPTED => moves(Business { code, ..*business }, EventKind::ConsignmentAcceptance),
        _ => moves(Business { code, ..*business }, EventKind::BusinessStatus),
    }
}

fn on_recall(business: &Business) -> Effect {
    if has_ended(business) {
        return out_of_order(format!("13 after {:02}", business.code));
    }
    if business.change_pending {
        return out_of_order("13 while a change is already asked".to_owned());
    }
    moves(Business { change_pending: true, ..*business }, EventKind::RecallRequested)
}

fn on_answer(business: &Business, code: u32) -> Effect {
    if !business.change_pending {
        return out_of_order(format!("{code} and no change is asked"));
    }
    let code = if code == CHANGE_AGREED { CHANGE_AGREED } else { business.code };
    moves(Business { code, change_pending: false }, EventKind::BusinessStatus)
}

fn has_ended(business: &Business) -> bool {
    matches!(business.code, REJECTED | FINISHED | CHANGE_AGREED)
}

fn moves(state: Business, event: EventKind) -> Effect {
    Effect::Moves { state, event }
}

fn out_of_order(detail: String) -> Effect {
    recorded(ReasonCode::OutOfOrder, detail)
}

fn recorded(code: ReasonCode, detail: String) -> Effect {
    Effect::Recorded { reason: Reason::new(code, detail), event: EventKind::StatusRecorded }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The state after `codes`, and the event of each.
    fn run(codes: &[u32]) -> (Business, Vec<EventKind>) {
        let mut business = Business::default();
        let events = codes.iter().map(|code| match on_status(&business, *code) {
            Effect::Moves { state, event } => {
                business = state;
                event
            }
            Effect::Recorded { event, .. } => event,
        });
        let events = events.collect();
        (business, events)
    }

    fn last_detail(codes: &[u32]) -> String {
        let (last, before) = codes.split_last().expect("codes");
        match on_status(&run(before).0, *last) {
            Effect::Recorded { reason, .. } => reason.detail,
            Effect::Moves { .. } => panic!("moved"),
        }
    }

    use EventKind::{
        BusinessStatus as Moved, ConsignmentAcceptance as Accepted, ConsignmentRejection as Rejected,
        RecallRequested as Recall, StatusRecorded as Kept,
    };

    #[test]
    fn the_whole_course() {
        let (business, events) = run(&[1, 3, 4, 5, 5, 6]);
        assert_eq!(business, Business { code: 6, change_pending: false });
        assert_eq!(events, [Moved, Accepted, Moved, Moved, Moved, Moved]);
    }

    #[test]
    fn codes_may_be_skipped_forward_and_never_go_back() {
        assert_eq!(
            run(&[5, 3, 1, 4]),
            (Business { code: 5, change_pending: false }, vec![Moved, Kept, Kept, Kept])
        );
        assert_eq!(run(&[3, 3]).1, [Accepted, Kept]);
        assert_eq!(run(&[6, 5]).1, [Moved, Kept]);
        assert_eq!(last_detail(&[6, 5]), "05 after 06");
    }

    #[test]
    fn refusal_ends_the_course_and_a_late_one_is_a_conflict() {
        assert_eq!(
            run(&[1, 2, 3, 13]),
            (Business { code: 2, change_pending: false }, vec![Moved, Rejected, Kept, Kept])
        );
        assert_eq!(run(&[3, 2]), (Business { code: 3, change_pending: false }, vec![Accepted, Kept]));
        assert_eq!(last_detail(&[3, 2]), "conflict: 02 after 03");
        assert_eq!(last_detail(&[2, 3]), "conflict: 03 after 02");
        assert_eq!(last_detail(&[2, 1]), "01 after 02");
    }

    #[test]
    fn a_recall_is_answered_once() {
        assert_eq!(run(&[3, 13]), (Business { code: 3, change_pending: true }, vec![Accepted, Recall]));
        assert_eq!(run(&[3, 13, 15, 15]).1, [Accepted, Recall, Moved, Kept]);
        assert_eq!(run(&[3, 13, 15, 5]).0, Business { code: 15, change_pending: false }, "withdrawn");
        assert_eq!(run(&[3, 13, 16, 5]).0, Business { code: 5, change_pending: false }, "the work goes on");
        assert_eq!(run(&[3, 13, 13]).1, [Accepted, Recall, Kept]);
        assert_eq!(run(&[3, 13, 16, 13]).1, [Accepted, Recall, Moved, Recall]);
    }

    #[test]
    fn answers_without_a_question_and_late_recalls_are_kept() {
        assert_eq!(run(&[3, 15]), (Business { code: 3, change_pending: false }, vec![Accepted, Kept]));
        assert_eq!(run(&[16]).1, [Kept]);
        assert_eq!(run(&[6, 13]), (Business { code: 6, change_pending: false }, vec![Moved, Kept]));
    }

    #[test]
    fn work_that_goes_on_during_a_recall_counts() {
        assert_eq!(run(&[3, 13, 5]).0, Business { code: 5, change_pending: true });
        assert_eq!(run(&[3, 13, 6, 15]).0, Business { code: 15, change_pending: false });
    }

    #[test]
    fn a_recall_or_update_document_asks_for_an_answer() {
        assert!(begin(Operation::Recall).change_pending && begin(Operation::Update).change_pending);
        assert_eq!(begin(Operation::New), Business::default());
        assert_eq!(begin(Operation::Replacement), Business::default());
    }

    proptest! {
        #[test]
        fn every_status_yields_one_event_and_the_code_never_goes_back(codes in prop::collection::vec(0..20u32, 0..40)) {
            let mut business = Business::default();
            for code in codes {
                match on_status(&business, code) {
                    Effect::Moves { state, event } => {
                        prop_assert!(is_known(code));
                        prop_assert!(state.code >= business.code);
                        prop_assert!(event != EventKind::StatusRecorded && event != EventKind::Unspecified);
                        prop_assert!(state != business || code == PROCESSING, "{} changed nothing", code);
                        business = state;
                    }
                    Effect::Recorded { reason, event } => {
                        prop_assert_eq!(event, EventKind::StatusRecorded);
                        prop_assert!(!reason.detail.is_empty());
                    }
                }
                prop_assert!(matches!(business.code, 0..=6 | 15));
            }
        }
    }
}

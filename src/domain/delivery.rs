//! The transport state of one delivery: moved by the hub, on a recipient's signed receipt or by the clock.

use super::{
    reason::{Reason, ReasonCode},
    time::Timestamp,
};
use crate::proto::{EventKind, Outcome, TransportState};

/// Where the transport of one document to one recipient stands. Never `UNSPECIFIED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport(TransportState);

/// One step and the event that proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The state after it.
    pub state: Transport,
    /// The event.
    pub event: EventKind,
}

/// What a recipient's receipt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The delivery ends.
    Moved(Moved),
    /// It ended with this very outcome before: answer with the first receipt.
    Repeated,
}

impl Transport {
    /// In the queue, not yet at the recipient's disposal.
    pub const SCHEDULED: Self = Self(TransportState::Scheduled);
    /// At the recipient's disposal.
    pub const READY: Self = Self(TransportState::Ready);
    /// The recipient's system took it.
    pub const HANDED_OVER: Self = Self(TransportState::HandedOver);
    /// The recipient's system refused it.
    pub const REFUSED: Self = Self(TransportState::Refused);
    /// The deadline passed.
    pub const EXPIRED: Self = Self(TransportState::Expired);
    /// Taken out of the queue.
    pub const CANCELLED: Self = Self(TransportState::Cancelled);
    /// In the queue and not offered: an operator holds it.
    pub const HELD: Self = Self(TransportState::Held);

    /// From a stored number; `None` for what is no state.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        TransportState::try_from(number).ok().filter(|state| *state != TransportState::Unspecified).map(Self)
    }

    /// As on the wire.
    #[must_use]
    pub fn to_proto(self) -> TransportState {
        self.0
    }

    /// True when nothing can move it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::SCHEDULED | Self::READY | Self::HELD)
    }
}

/// Puts a scheduled delivery at the recipient's disposal. `None` when that was done before.
#[must_use]
pub fn on_consigned(state: Transport) -> Option<Moved> {
    (state == Transport::SCHEDULED)
        .then_some(Moved { state: Transport::READY, event: EventKind::ContentConsignment })
}

/// Applies a recipient's signed receipt.
///
/// The same outcome again is [`Taken::Repeated`], another one `ALREADY_FINAL`. From the deadline on it is
/// `DEADLINE_PASSED`, whether or not the expiry was written yet. A delivery that is still scheduled was shown to
/// nobody: its receipt is `UNKNOWN_DOCUMENT`. One that is held may have been offered before: its receipt counts.
pub fn on_receipt(
    state: Transport,
    outcome: Outcome,
    now: Timestamp,
    deadline: Timestamp,
) -> Result<Taken, Reason> {
    let end = match outcome {
        Outcome::Accepted => Moved { state: Transport::HANDED_OVER, event: EventKind::ContentHandover },
        Outcome::Refused => Moved { state: Transport::REFUSED, event: EventKind::ConsignmentRejection },
        Outcome::Unspecified => return Err(Reason::invalid("outcome", "is required")),
    };
    match state {
        Transport::READY | Transport::HELD if now < deadline => Ok(Taken::Moved(end)),
        Transport::READY | Transport::HELD | Transport::EXPIRED => {
            Err(Reason::new(ReasonCode::DeadlinePassed, format!("it had to be taken over before {deadline}")))
        }
        Transport::SCHEDULED => Err(Reason::new(
            ReasonCode::UnknownDocument,
            "not at this recipient's disposal yet: wait for the offer",
        )),
        ended if ended == end.state => Ok(Taken::Repeated),
        ended => Err(Reason::new(
            ReasonCode::AlreadyFinal,
            format!("the delivery ended as {}", ended.0.as_str_name()),
        )),
    }
}

/// Ends a delivery whose deadline has come. `None` while there is time, and after any end.
#[must_use]
pub fn on_deadline(state: Transport, now: Timestamp, deadline: Timestamp) -> Option<Moved> {
    if now < deadline {
        return None;
    }
    let event = match state {
        Transport::READY | Transport::HELD => EventKind::ContentHandoverFailure,
        Transport::SCHEDULED => EventKind::ContentConsignmentFailure,
        _ => return None,
    };
    Some(Moved { state: Transport::EXPIRED, event })
}

/// What an operator's word does to one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Not to be offered; also when another hold takes it over.
    Hold,
    /// To be offered again.
    Release,
    /// Out of the queue.
    Cancel,
    /// As if the deadline had passed.
    Expire,
    /// What ended without the recipient waits again.
    Resend,
}

/// Applies an operator's word. `None` where it changes nothing: what the recipient ended stays ended.
#[must_use]
pub fn on_word(state: Transport, word: Word) -> Option<Moved> {
    let waits = matches!(state, Transport::READY | Transport::HELD);
    let ended = matches!(state, Transport::EXPIRED | Transport::CANCELLED);
    let (applies, state, event) = match word {
        Word::Hold => (waits, Transport::HELD, EventKind::DeliveryHeld),
        Word::Release => (state == Transport::HELD, Transport::READY, EventKind::DeliveryReleased),
        Word::Cancel => (waits, Transport::CANCELLED, EventKind::DeliveryCancelled),
        Word::Expire => (waits, Transport::EXPIRED, EventKind::ContentHandoverFailure),
        Word::Resend => (ended, Transport::READY, EventKind::DeliveryReleased),
    };
    applies.then_some(Moved { state, event })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEADLINE: Timestamp = Timestamp(1_000);
    const IN_TIME: Timestamp = Timestamp(999);

    fn code(state: Transport, outcome: Outcome, now: Timestamp) -> ReasonCode {
        on_receipt(state, outcome, now, DEADLINE).expect_err("refused").code
    }

    #[test]
    fn a_receipt_ends_a_ready_delivery() {
        for (outcome, state, event) in [
            (Outcome::Accepted, Transport::HANDED_OVER, EventKind::ContentHandover),
            (Outcome::Refused, Transport::REFUSED, EventKind::ConsignmentRejection),
        ] {
            let taken = on_receipt(Transport::READY, outcome, IN_TIME, DEADLINE);
            assert_eq!(taken, Ok(Taken::Moved(Moved { state, event })));
            assert_eq!(on_receipt(state, outcome, Timestamp(5_000), DEADLINE), Ok(Taken::Repeated));
        }
    }

    #[test]
    fn an_end_stays() {
        assert_eq!(code(Transport::HANDED_OVER, Outcome::Refused, IN_TIME), ReasonCode::AlreadyFinal);
        assert_eq!(code(Transport::REFUSED, Outcome::Accepted, IN_TIME), ReasonCode::AlreadyFinal);
        assert_eq!(code(Transport::CANCELLED, Outcome::Accepted, IN_TIME), ReasonCode::AlreadyFinal);
        assert_eq!(code(Transport::EXPIRED, Outcome::Accepted, Timestamp(5_000)), ReasonCode::DeadlinePassed);
    }

    #[test]
    fn the_deadline_counts_even_before_its_expiry_is_written() {
        assert_eq!(code(Transport::READY, Outcome::Accepted, DEADLINE), ReasonCode::DeadlinePassed);
        assert!(on_deadline(Transport::READY, DEADLINE, DEADLINE).is_some());
        assert!(on_deadline(Transport::READY, IN_TIME, DEADLINE).is_none());
    }

    #[test]
    fn nobody_can_answer_what_was_not_offered() {
        assert_eq!(code(Transport::SCHEDULED, Outcome::Accepted, IN_TIME), ReasonCode::UnknownDocument);
        assert_eq!(code(Transport::READY, Outcome::Unspecified, IN_TIME), ReasonCode::InvalidField);
    }

    #[test]
    fn silence_says_how_far_it_came() {
        let late = Timestamp(1_001);
        let event = |state| on_deadline(state, late, DEADLINE).map(|moved| moved.event);
        assert_eq!(event(Transport::READY), Some(EventKind::ContentHandoverFailure));
        assert_eq!(event(Transport::SCHEDULED), Some(EventKind::ContentConsignmentFailure));
        assert_eq!(event(Transport::HANDED_OVER), None);
        assert_eq!(on_consigned(Transport::SCHEDULED).map(|moved| moved.state), Some(Transport::READY));
        assert_eq!(on_consigned(Transport::EXPIRED), None);
    }

    #[test]
    fn a_held_delivery_can_end_and_a_recipients_word_stays() {
        let taken = on_receipt(Transport::HELD, Outcome::Accepted, IN_TIME, DEADLINE);
        assert!(matches!(taken, Ok(Taken::Moved(moved)) if moved.state == Transport::HANDED_OVER));
        assert_eq!(code(Transport::HELD, Outcome::Accepted, DEADLINE), ReasonCode::DeadlinePassed);
        let expired = on_deadline(Transport::HELD, DEADLINE, DEADLINE).map(|moved| moved.event);
        assert_eq!(expired, Some(EventKind::ContentHandoverFailure));
        let words = [Word::Hold, Word::Release, Word::Cancel, Word::Expire, Word::Resend];
        let after = |state, word| on_word(state, word).map(|moved| moved.state);
        for ended in [Transport::HANDED_OVER, Transport::REFUSED, Transport::SCHEDULED] {
            assert!(words.iter().all(|word| on_word(ended, *word).is_none()), "{ended:?}");
        }
        assert_eq!(after(Transport::READY, Word::Hold), Some(Transport::HELD));
        assert_eq!(after(Transport::READY, Word::Release), None);
        assert_eq!(after(Transport::HELD, Word::Release), Some(Transport::READY));
        assert_eq!(after(Transport::HELD, Word::Cancel), Some(Transport::CANCELLED));
        assert_eq!(after(Transport::READY, Word::Resend), None);
        for ended in [Transport::EXPIRED, Transport::CANCELLED] {
            assert_eq!(after(ended, Word::Resend), Some(Transport::READY));
            assert_eq!(after(ended, Word::Cancel), None);
        }
    }

    #[test]
    fn stored_numbers_are_checked() {
        assert_eq!(Transport::from_wire(2), Some(Transport::READY));
        assert_eq!(Transport::from_wire(0), None);
        assert_eq!(Transport::from_wire(99), None);
    }

    proptest! {
        /// Whatever comes in whatever order, a delivery ends at most once and stays ended.
        #[test]
        fn one_end_only(steps in prop::collection::vec((0..4u8, 0..2_000i64), 0..30)) {
            let mut state = Transport::SCHEDULED;
            let mut ends = 0;
            let mut now = Timestamp(0);
            for (step, wait) in steps {
                now = now.plus_us(wait / 10);
                let moved = match step {
                    0 => on_consigned(state),
                    1 => on_deadline(state, now, DEADLINE),
                    _ => {
                        let outcome = if step == 2 { Outcome::Accepted } else { Outcome::Refused };
                        match on_receipt(state, outcome, now, DEADLINE) {
                            Ok(Taken::Moved(moved)) => Some(moved),
                            _ => None,
                        }
                    }
                };
                let Some(moved) = moved else { continue };
                prop_assert!(!state.is_final());
                state = moved.state;
                ends += u32::from(state.is_final());
            }
            prop_assert!(ends <= 1);
        }
    }
}

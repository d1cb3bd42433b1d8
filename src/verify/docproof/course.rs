//! The course of one delivery, replayed by the rules that the hub itself follows.

use prost::Message;

use crate::{
    domain::{
        delivery::{self, Taken, Transport, Word},
        envelope,
        id::AgencyId,
        status::{self, Business, Effect},
        time::Timestamp,
    },
    proto::{BusinessStatus, EventKind, Manifest, Outcome, SignedEnvelope},
    tlog::Hash,
    verify::{self, Facts},
};

/// How a delivery ended, as far as the file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The recipient's system refused it, with its own signature.
    RefusedBySystem,
    /// Taken over, then refused by the recipient's clerk (status 02).
    RefusedByClerk,
    /// Not taken over by the deadline, or ended by an operator as if it had passed.
    Expired,
    /// Taken out of the queue by an operator, for good or for another agency.
    Cancelled,
    /// At the recipient's disposal.
    Waiting,
    /// The recipient's system took it over, with its own signature.
    TakenOver,
}

impl End {
    /// A stable word for scripts.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RefusedBySystem => "REFUSED_BY_SYSTEM",
            Self::RefusedByClerk => "REFUSED_BY_CLERK",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Waiting => "WAITING",
            Self::TakenOver => "TAKEN_OVER",
        }
    }
}

/// One proven event of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its leaf.
    pub leaf: u64,
    /// What happened.
    pub event: EventKind,
    /// When, by the hub's clock.
    pub at: Timestamp,
    /// Business status, 0 where the event carries none.
    pub status_code: u32,
}

/// What happened to the document at one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// The recipient.
    pub recipient: AgencyId,
    /// How it ended.
    pub end: End,
    /// When, by the hub's clock: of `end`.
    pub at: Timestamp,
    /// The recipient's own words, where it refused.
    pub reason: String,
    /// By when it had to be taken over.
    pub deadline: Timestamp,
    /// The recipient's work on it.
    pub business: Business,
    /// All its events, in the order of the log.
    pub steps: Vec<Step>,
    /// Hash of the acceptance that named the recipient.
    pub list: Hash,
    transport: Transport,
    last: Hash,
}

/// A signed message inside an event: who must have signed it, as what.
#[derive(Debug)]
pub struct Speech<'f> {
    /// The message, as received.
    pub envelope: &'f SignedEnvelope,
    /// Its payload type.
    pub kind: &'static str,
    /// The agency in whose name it speaks.
    pub agency: AgencyId,
}

impl Course {
    /// Begins with the consignment.
    pub fn begin(consigned: &Facts, manifest: &Manifest) -> Result<Self, String> {
        let recipient = only_recipient(consigned)?;
        let list = consigned.previous().ok_or("names no acceptance before it")?;
        Ok(Self {
            recipient,
            end: End::Waiting,
            at: consigned.time(),
            reason: String::new(),
            deadline: Timestamp(consigned.evidence().delivery_deadline_us),
            business: status::begin(manifest.operation()),
            steps: vec![step(consigned)],
            list,
            transport: Transport::READY,
            last: consigned.leaf_hash(),
        })
    }

    /// Goes on with the next event, which has to follow the one before and from the rules.
    pub fn go_on<'f>(&mut self, event: &'f Facts, acceptance: &Facts) -> Result<Option<Speech<'f>>, String> {
        if event.previous() != Some(self.last) {
            let last = self.steps.last().map_or(0, |step| step.leaf);
            return Err(format!("does not follow leaf {last}: an event between them is not in the file"));
        }
        let speech = match event.message() {
            None => self.without_message(event).map(|()| None)?,
            Some(message) if message.payload_type == envelope::RECEIPT => {
                Some(self.receipt(event, message, acceptance)?)
            }
            Some(message) => Some(self.status(event, message)?),
        };
        self.last = event.leaf_hash();
        self.steps.push(step(event));
        Ok(speech)
    }

    /// The clock's, or an operator's word, which is the hub's own: it names the action and who asked for it.
    fn without_message(&mut self, event: &Facts) -> Result<(), String> {
        let by_hand = event.evidence().action_plus_one > 0 && event.evidence().actor.is_some();
        let word = match event.event() {
            EventKind::DeliveryHeld => Word::Hold,
            EventKind::DeliveryReleased if self.transport == Transport::HELD => Word::Release,
            EventKind::DeliveryReleased => Word::Resend,
            EventKind::DeliveryCancelled => Word::Cancel,
            EventKind::ContentHandoverFailure if by_hand => Word::Expire,
            _ => return self.expire(event),
        };
        if !by_hand {
            return Err("names no operator and no action".into());
        }
        let moved = delivery::on_word(self.transport, word).ok_or_else(|| unexpected(event))?;
        match word {
            Word::Hold | Word::Release => self.transport = moved.state,
            Word::Cancel => self.end_with(moved.state, End::Cancelled, event),
            Word::Expire => self.end_with(moved.state, End::Expired, event),
            Word::Resend => {
                self.deadline = Timestamp(event.evidence().delivery_deadline_us);
                self.end_with(moved.state, End::Waiting, event);
            }
        }
        Ok(())
    }

    fn expire(&mut self, event: &Facts) -> Result<(), String> {
        let moved = delivery::on_deadline(self.transport, event.time(), self.deadline);
        let moved = moved.filter(|moved| moved.event == event.event()).ok_or_else(|| unexpected(event))?;
        self.end_with(moved.state, End::Expired, event);
        Ok(())
    }

    fn receipt<'f>(
        &mut self,
        event: &Facts,
        envelope: &'f SignedEnvelope,
        acceptance: &Facts,
    ) -> Result<Speech<'f>, String> {
        let receipt = verify::handover(event, acceptance).map_err(|error| error.to_string())?;
        let outcome = receipt.outcome();
        match delivery::on_receipt(self.transport, outcome, event.time(), self.deadline) {
            Ok(Taken::Moved(moved)) if moved.event == event.event() => {
                let end = if outcome == Outcome::Refused { End::RefusedBySystem } else { End::TakenOver };
                self.end_with(moved.state, end, event);
            }
            _ => return Err(unexpected(event)),
        }
        if outcome == Outcome::Refused {
            self.reason = receipt.reason;
        }
        Ok(Speech { envelope, kind: envelope::RECEIPT, agency: self.recipient.clone() })
    }

    fn status<'f>(&mut self, event: &Facts, envelope: &'f SignedEnvelope) -> Result<Speech<'f>, String> {
        let said = status_of(event, envelope)?;
        if said.recipient() != self.recipient.as_str() {
            return Err("the signed status is about another recipient".into());
        }
        let agency = AgencyId::parse(&said.0.from).map_err(|reason| reason.to_string())?;
        let needed = match status::on_status(&self.business, said.0.code) {
            Effect::Moves { state, event } => {
                self.business = state;
                event
            }
            Effect::Recorded { event, .. } => event,
        };
        if needed != event.event() {
            return Err(unexpected(event));
        }
        if needed == EventKind::ConsignmentRejection {
            self.end = End::RefusedByClerk;
            self.at = event.time();
            self.reason = said.0.description;
        }
        Ok(Speech { envelope, kind: envelope::STATUS, agency })
    }

    fn end_with(&mut self, transport: Transport, end: End, event: &Facts) {
        self.transport = transport;
        // A clerk's refusal that was parked or came first is the recipient's last word.
        if self.end != End::RefusedByClerk {
            self.end = end;
            self.at = event.time();
        }
    }
}

/// A signed status that agrees with the event around it.
pub struct Said(BusinessStatus);

impl Said {
    /// The recipient whose delivery it is about.
    fn recipient(&self) -> &str {
        if self.0.code == status::RECALL_ASKED { &self.0.to } else { &self.0.from }
    }
}

/// Reads the signed status inside an event and compares it with the event's own words.
pub fn status_of(event: &Facts, envelope: &SignedEnvelope) -> Result<Said, String> {
    if envelope.payload_type != envelope::STATUS {
        return Err(format!("holds a message of type {:?}", envelope.payload_type));
    }
    let status = BusinessStatus::decode(envelope.payload.clone()).map_err(|error| error.to_string())?;
    let evidence = event.evidence();
    let agrees = status.document_id == evidence.document_id
        && status.revision == evidence.revision
        && status.sender == event.sender()
        && status.code == evidence.status_code
        && status.hub_origin == event.checkpoint().origin
        && (status.code != status::RECALL_ASKED || status.from == status.sender);
    if !agrees {
        return Err("the signed status inside says something else than the event".into());
    }
    Ok(Said(status))
}

/// The one recipient of an event after fan-out.
pub fn only_recipient(event: &Facts) -> Result<AgencyId, String> {
    let mut recipients = event.recipients();
    match (recipients.next(), recipients.next()) {
        (Some(only), None) => AgencyId::parse(only).map_err(|reason| reason.to_string()),
        _ => Err("does not name exactly one recipient".into()),
    }
}

fn step(event: &Facts) -> Step {
    let (leaf, status_code) = (event.index(), event.evidence().status_code);
    Step { leaf, event: event.event(), at: event.time(), status_code }
}

fn unexpected(event: &Facts) -> String {
    format!("{} can't follow from what was before", event.event().as_str_name())
}

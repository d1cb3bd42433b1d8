//! One delivery moved on an operator's word, and the evidence of it.

use super::{Actions, Draft, Expansions};
use crate::{
    domain::{
        delivery::{Moved, Word, on_word},
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::{
        reach::{Spot, is_held_to_end, takes},
        refused::Refused,
        sequencer::{expansion, receipt::transport},
    },
    proto::{ActionKind, ActionPhase, Actor, Evidence},
    store::records::{ActionRecord, DeliveryRecord, DocumentRecord},
};

/// Time for delivery that a resent document gets at least.
const SHORTEST: i64 = 3_600_000_000;

impl Actions {
    /// Moves one delivery as the phase says, if it still can be moved. One that can't be read stops no other.
    pub(super) fn move_one(
        &self,
        draft: &mut Draft<'_>,
        record: &mut ActionRecord,
        spot: &Spot,
        expansions: &Expansions,
    ) {
        record.at_recipient.clone_from(&spot.recipient);
        (record.at_rank, record.at_document) = (spot.rank.into(), spot.document);
        match self.try_move(draft, record, spot, expansions) {
            Ok(moved) => record.done += u64::from(moved),
            Err(refused) => {
                let (action, document, recipient) = (record.id, spot.document, &spot.recipient);
                tracing::error!(%refused, action, document, %recipient, "a delivery can't be moved");
            }
        }
    }

    fn try_move(
        &self,
        draft: &mut Draft<'_>,
        record: &ActionRecord,
        spot: &Spot,
        expansions: &Expansions,
    ) -> Result<bool, Refused> {
        let recipient = spot.agency()?;
        let Some(mut delivery) = draft.delivery(spot.document, &recipient)? else { return Ok(false) };
        let own = delivery.held_by_plus_one == record.id + 1;
        let moves = match record.action_phase() {
            // Contents that were erased can't be sent again.
            ActionPhase::Applying
                if record.action_kind() == ActionKind::Resend && draft.erasure(spot.document)?.is_some() =>
            {
                false
            }
            ActionPhase::Applying => {
                let to_end = is_held_to_end(&delivery, |id| self.kind_of(id));
                takes(record.action_kind(), &delivery, to_end) && !own
            }
            _ => own,
        };
        if !moves {
            return Ok(false);
        }
        let document = draft.document(spot.document)?;
        match (record.action_phase(), record.action_kind()) {
            (ActionPhase::Applying, ActionKind::Release) => {
                release(draft, record, &document, &recipient, &mut delivery)?
            }
            (ActionPhase::Applying, ActionKind::Resend) => {
                resend(draft, record, &document, &recipient, &mut delivery)?
            }
            (ActionPhase::Applying, _) => record.hold(draft, &document, &recipient, &mut delivery)?,
            (ActionPhase::Effecting, ActionKind::Redirect) => {
                self.redirect(draft, record, &document, &recipient, &mut delivery, expansions)?;
            }
            (ActionPhase::Effecting, ActionKind::Expire) => {
                let reason = Reason::new(ReasonCode::EndedByOperator, named(record));
                end(draft, record, &document, &recipient, &mut delivery, Word::Expire, reason)?;
            }
            (ActionPhase::Effecting, _) => {
                let reason = Reason::new(ReasonCode::EndedByOperator, named(record));
                end(draft, record, &document, &recipient, &mut delivery, Word::Cancel, reason)?;
            }
            _ => self.give_back(draft, record, &document, &recipient, &mut delivery)?,
        }
        draft.put_delivery(recipient, delivery);
        Ok(true)
    }

    /// Gives a delivery back to the hold that was in force before, if that still is; else it is released.
    fn give_back(
        &self,
        draft: &mut Draft<'_>,
        record: &ActionRecord,
        document: &DocumentRecord,
        recipient: &AgencyId,
        delivery: &mut DeliveryRecord,
    ) -> Result<(), Refused> {
        let before = delivery.held_before_plus_one.checked_sub(1).and_then(|id| self.open.get(&id));
        let in_force =
            |hold: &&ActionRecord| matches!(hold.action_phase(), ActionPhase::Applying | ActionPhase::Active);
        match before.filter(in_force) {
            Some(hold) => {
                delivery.held_by_plus_one = 0;
                hold.hold(draft, document, recipient, delivery)
            }
            None => release(draft, record, document, recipient, delivery),
        }
    }

    /// Ends the delivery and puts the document at the disposal of the other agency, unless that has it already.
    fn redirect(
        &self,
        draft: &mut Draft<'_>,
        record: &ActionRecord,
        document: &DocumentRecord,
        recipient: &AgencyId,
        delivery: &mut DeliveryRecord,
        expansions: &Expansions,
    ) -> Result<(), Refused> {
        let other = AgencyId::parse(&record.redirect_to)?;
        let has_it = draft.delivery(document.index, &other)?.is_some()
            || expansions.is_pending(document.index, &other);
        let reason = Reason::new(ReasonCode::Redirected, format!("to {other}, {}", named(record)));
        let deadline = Timestamp(delivery.deadline_us);
        end(draft, record, document, recipient, delivery, Word::Cancel, reason)?;
        if has_it {
            return Ok(());
        }
        let after = delivery.last_leaf_hash.clone();
        let told = |evidence| by(evidence, record);
        expansion::consign(draft, document, other, &after, deadline, self, told)
    }
}

impl ActionRecord {
    /// Holds a delivery that waits, or takes it over from another hold.
    pub(in crate::hub::sequencer) fn hold(
        &self,
        draft: &mut Draft<'_>,
        document: &DocumentRecord,
        recipient: &AgencyId,
        delivery: &mut DeliveryRecord,
    ) -> Result<(), Refused> {
        let moved = moved(delivery, Word::Hold)?;
        let mut evidence = about(draft, self, moved, document, recipient, delivery)?;
        evidence = evidence.because(&[Reason::new(ReasonCode::HeldByOperator, named(self))]);
        let (_, hash) = draft.add_leaf(&evidence, Some(document.index), Vec::new())?;
        delivery.held_before_plus_one = delivery.held_by_plus_one;
        delivery.held_by_plus_one = self.id + 1;
        stand(delivery, moved, &hash);
        Ok(())
    }
}

fn release(
    draft: &mut Draft<'_>,
    record: &ActionRecord,
    document: &DocumentRecord,
    recipient: &AgencyId,
    delivery: &mut DeliveryRecord,
) -> Result<(), Refused> {
    let moved = moved(delivery, Word::Release)?;
    let evidence = about(draft, record, moved, document, recipient, delivery)?;
    let (_, hash) = draft.add_leaf(&evidence, Some(document.index), Vec::new())?;
    (delivery.held_by_plus_one, delivery.held_before_plus_one) = (0, 0);
    stand(delivery, moved, &hash);
    Ok(())
}

fn resend(
    draft: &mut Draft<'_>,
    record: &ActionRecord,
    document: &DocumentRecord,
    recipient: &AgencyId,
    delivery: &mut DeliveryRecord,
) -> Result<(), Refused> {
    let moved = moved(delivery, Word::Resend)?;
    let first_time = document.deadline_us.saturating_sub(document.accepted_at_us).max(SHORTEST);
    let deadline = Timestamp::given(record.until_us).unwrap_or_else(|| draft.now.plus_us(first_time));
    let mut evidence = about(draft, record, moved, document, recipient, delivery)?;
    evidence.delivery_deadline_us = deadline.0;
    let (_, hash) = draft.add_leaf(&evidence, Some(document.index), Vec::new())?;
    delivery.deadline_us = deadline.0;
    delivery.final_leaf_plus_one = 0;
    stand(delivery, moved, &hash);
    Ok(())
}

fn end(
    draft: &mut Draft<'_>,
    record: &ActionRecord,
    document: &DocumentRecord,
    recipient: &AgencyId,
    delivery: &mut DeliveryRecord,
    word: Word,
    reason: Reason,
) -> Result<(), Refused> {
    let moved = moved(delivery, word)?;
    let mut evidence = about(draft, record, moved, document, recipient, delivery)?.because(&[reason]);
    if record.action_kind() == ActionKind::Redirect {
        evidence.redirected_to.clone_from(&record.redirect_to);
    }
    let feeds = vec![document.sender.clone()];
    let (leaf, hash) = draft.add_leaf(&evidence, Some(document.index), feeds)?;
    delivery.end(moved.state, leaf, &hash);
    Ok(())
}

fn moved(delivery: &DeliveryRecord, word: Word) -> Result<Moved, Refused> {
    let state = transport(delivery)?;
    on_word(state, word).ok_or_else(|| {
        let name = state.to_proto().as_str_name();
        Refused::because(ReasonCode::AlreadyFinal, format!("the delivery is {name}"))
    })
}

fn about(
    draft: &Draft<'_>,
    record: &ActionRecord,
    moved: Moved,
    document: &DocumentRecord,
    recipient: &AgencyId,
    delivery: &DeliveryRecord,
) -> Result<Evidence, Refused> {
    let name = DocumentName::parse(&document.sender, &document.document_id, document.revision)?;
    let manifest = Digest::from_slice(&document.manifest_sha256).unwrap_or(Digest([0; 32]));
    let evidence = draft.event(moved.event)?.about(&name, &manifest).to(recipient).tested(document.test);
    let mut evidence = by(evidence.after(&delivery.last_leaf_hash), record);
    evidence.submission_time_us = document.accepted_at_us;
    evidence.delivery_deadline_us = delivery.deadline_us;
    Ok(evidence)
}

/// Names the action, and whose word it was.
fn by(mut evidence: Evidence, record: &ActionRecord) -> Evidence {
    evidence.action_plus_one = record.id + 1;
    evidence.actor = Some(Actor { name: record.actor.clone(), role: record.role });
    evidence
}

fn stand(delivery: &mut DeliveryRecord, moved: Moved, hash: &crate::tlog::Hash) {
    delivery.transport = moved.state.to_proto().into();
    delivery.last_leaf_hash = bytes::Bytes::copy_from_slice(hash);
}

fn named(record: &ActionRecord) -> String {
    format!("action {}", record.id)
}

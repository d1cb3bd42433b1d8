//! The chapter of wrong documents: forged, repeated, contradicting, secret, and from a stranger's certificate.

use prost::Message;

use super::{
    exchange::{draft, stranger},
    report::Report,
    stage::Stage,
    world::{COMMUNE, DISTRICT},
};
use crate::{
    cli::Failure,
    client::{Draft, refusal::Refusal},
    domain::reason::ReasonCode,
    proto::EventKind,
};

/// Each wrong document gets its own answer, and the answer is evidence.
pub async fn forged_repeated_conflicting(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter("Wrong documents get their answers");
    let letter = Draft { recipients: vec![DISTRICT.into()], ..draft(stage, COMMUNE) };
    let forged = stage.pack(&letter, &stranger()?).await?;
    let status = stage.refused("tavan", &forged.request).await?;
    let refusal = status.as_ref().map(Refusal::of);
    let code = refusal.as_ref().and_then(Refusal::code);
    report.check(
        "forged_is_refused",
        "a stranger's signature: UNKNOWN_KEY",
        code == Some(ReasonCode::UnknownKey),
    );
    let proof = refusal.and_then(|refusal| refusal.receipt).map(|receipt| stage.terms.check(&receipt));
    let recorded = matches!(proof, Some(Ok(evidence)) if evidence.event() == EventKind::SubmissionRejection);
    report.check("refusal_is_evidence", "the refusal itself is evidence with a proof", recorded);
    report.count("refusals", 1);

    let package = stage.pack(&letter, stage.world.seal(COMMUNE)).await?;
    let mut altered = package.request.clone();
    if let Some(envelope) = &mut altered.envelope {
        let mut bytes = envelope.payload.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        envelope.payload = bytes.into();
    }
    let answer = stage.refused("tavan", &altered).await?;
    report.check("altered_is_refused", "one flipped bit is refused", answer.is_some());
    report.count("refusals", 1);

    let first = stage.send("tavan", &package).await?;
    let again = stage.send("tavan", &package).await?;
    report.count("documents", 1);
    let same = first.receipt.encode_to_vec() == again.receipt.encode_to_vec();
    report.check(
        "repeat_returns_same_bytes",
        "the same document again: the same receipt, byte for byte",
        same && again.repeat,
    );

    let other = Draft { subject: "Nội dung khác".into(), ..letter };
    let other = stage.pack(&other, stage.world.seal(COMMUNE)).await?;
    let status = stage.refused("tavan", &other.request).await?;
    let code = status.as_ref().map(Refusal::of).as_ref().and_then(Refusal::code);
    report.check(
        "conflict_is_refused",
        "the same name, other content: CONFLICT, nothing overwritten",
        code == Some(ReasonCode::Conflict),
    );
    report.count("refusals", 1);

    let status = stage.refused("bacha", &package.request).await?;
    let code = status.as_ref().map(Refusal::of).as_ref().and_then(Refusal::code);
    report.check(
        "wrong_node_is_refused",
        "another node may not speak for the commune: NOT_AUTHORISED",
        code == Some(ReasonCode::NotAuthorised),
    );
    report.count("refusals", 1);
    Ok(())
}

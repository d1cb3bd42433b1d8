//! The chapter of exceptions: a recipient's system refuses a document, and an operator holds what goes to a commune.

use std::sync::Arc;

use super::{audit::timeline, exchange::draft, report::Report, stage::Stage, world::PROVINCE};
use crate::{
    cli::Failure,
    client::{
        Draft,
        calendar::now,
        send::Sent,
        session::{self, Until},
    },
    proto::{ActRequest, ActionKind, ActionTarget, TransportState},
};

/// A district whose clerk refuses.
const REFUSING: &str = "000.00.22.H38";
/// A commune whose system is being renewed.
const HELD: &str = "000.01.23.H38";
/// Letters that wait for it.
const LETTERS: usize = 2;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// A refusal that the recipient signs, and a hold that an operator answers for.
pub async fn refused_and_held(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter(
        "Huyện Bắc Hà refuses a letter; an operator holds what goes to xã Y Tý while its system is renewed",
    );
    let refused = letter(stage, report, REFUSING, "Góp ý dự thảo kế hoạch phòng, chống thiên tai").await?;
    refuse_all(stage, "bacha").await?;
    let state = state_of(stage, &refused).await?;
    report.check(
        "refusal_is_the_recipients_own",
        "the recipient's system refused it, and signed that",
        state == Some(TransportState::Refused),
    );
    hold(stage).await?;
    let mut held = true;
    for _ in 0..LETTERS {
        let sent = letter(stage, report, HELD, "Rà soát hộ nghèo, hộ cận nghèo năm 2026").await?;
        held &= state_of(stage, &sent).await? == Some(TransportState::Held);
    }
    report.check("held_until_released", "what comes for the commune is held, and says who holds it", held);
    Ok(())
}

async fn letter(stage: &mut Stage, report: &mut Report, to: &str, subject: &str) -> Result<Sent, Failure> {
    let letter = Draft { recipients: vec![to.into()], subject: subject.into(), ..draft(stage, PROVINCE) };
    let package = stage.pack(&letter, stage.world.keys(PROVINCE)).await?;
    report.count("documents", 1);
    stage.send("laocai", &package).await
}

async fn state_of(stage: &Stage, sent: &Sent) -> Result<Option<TransportState>, Failure> {
    let timeline = timeline(stage, &sent.name.document_id).await?;
    Ok(timeline.recipients.first().map(|recipient| recipient.transport()))
}

/// Refuses all that waits for a node's agencies.
async fn refuse_all(stage: &Stage, node: &str) -> Result<(), Failure> {
    let mut desk = stage.desk(node, stage.world.connect(node).await?)?;
    desk.refuse = Some("Không thuộc thẩm quyền giải quyết của đơn vị".into());
    session::receive(Arc::new(desk), 1, Until::Empty, |_| {}).await?;
    Ok(())
}

async fn hold(stage: &Stage) -> Result<(), Failure> {
    let request = ActRequest {
        kind: ActionKind::Hold.into(),
        target: Some(ActionTarget { agency: HELD.into(), ..ActionTarget::default() }),
        reason: "Nâng cấp hệ thống quản lý văn bản của xã".into(),
        until_us: now().0 + DAY_US,
        ..ActRequest::default()
    };
    stage.world.connect("operator").await?.operator().act(request).await?;
    Ok(())
}

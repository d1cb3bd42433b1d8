//! The chapters of everyday exchange: a report upwards, a circular downwards, a recipient that stays silent.

use std::time::{Duration, Instant};

use super::{
    report::Report,
    stage::Stage,
    world::{COMMUNE, DISTRICT, PROVINCE, SILENT_COMMUNE, communes},
};
use crate::{
    cli::Failure,
    client::{Draft, Terms, calendar::now, draft::communes_of, report::report as report_status},
    domain::signature::SigningKey,
    proto::{BusinessStatus, EventKind, Evidence, LegalValue, SignerInfo, TransportState, WatchRequest},
};

/// Bytes of the report's attachment.
const MEGABYTE: usize = 1 << 20;

/// A commune reports to its district, with copy to the province; receipts and statuses come back.
pub async fn commune_reports(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter("Xã Tả Van reports to thị xã Sa Pa, copy to tỉnh Lào Cai: one megabyte, two signatures");
    let draft = Draft {
        recipients: vec![DISTRICT.into(), PROVINCE.into()],
        type_name: "Báo cáo".into(),
        subject: "Kết quả khắc phục thiên tai tháng 11".into(),
        notation: "BC-UBND".into(),
        signer: Some(SignerInfo {
            competence: "TM.".into(),
            position: "Chủ tịch".into(),
            ..SignerInfo::default()
        }),
        files: vec![stage.attachment("bao-cao.pdf", MEGABYTE)?],
        ..draft(stage, COMMUNE)
    };
    let package = stage.pack(&draft, stage.world.keys(COMMUNE)).await?;
    let since = Instant::now();
    let sent = stage.send("tavan", &package).await?;
    report.time("submit_with_proof", since);
    report.count("documents", 1);
    stage.report_id = sent.name.document_id.to_string();
    let original = sent.evidence.verdict.as_ref().is_some_and(|v| v.legal_value() == LegalValue::Original);
    report.check(
        "acknowledgement_is_proof",
        "the acknowledgement carries evidence, path and signed checkpoint",
        sent.evidence.event() == EventKind::SubmissionAcceptance,
    );
    report.check(
        "signed_by_person_and_agency",
        "signed by a person and by the agency: it replaces paper",
        original,
    );

    let since = Instant::now();
    let (district, province) = (stage.receive("sapa", 16).await?, stage.receive("laocai", 16).await?);
    report.time("handover_to_both", since);
    let taken: Vec<_> = district.iter().chain(&province).collect();
    let handed = taken.iter().filter(|taken| taken.name == sent.name && taken.folder.is_some()).count();
    report.check(
        "both_recipients_signed",
        "both recipients took it over and signed for it themselves",
        handed == 2,
    );
    report.check(
        "attachment_arrived_whole",
        "the megabyte arrived byte for byte",
        attachment_is_whole(&taken, &draft),
    );
    report.count("handovers", handed);
    answer(stage, report, &sent.name.document_id).await
}

/// The district reports what it does; the commune hears of it.
async fn answer(stage: &Stage, report: &mut Report, document_id: &str) -> Result<(), Failure> {
    let client = stage.world.connect("sapa").await?;
    let seal = stage.world.seal(DISTRICT);
    for (code, text) in [(1, "đã đến"), (3, "đã tiếp nhận"), (5, "đang xử lý"), (6, "đã hoàn thành")]
    {
        let status = status(&stage.terms, document_id, COMMUNE, DISTRICT, code, text);
        report_status(&client, &stage.terms, status, seal, &super::stage::patience()).await?;
        report.count("statuses", 1);
    }
    let heard = watch(stage, "tavan", COMMUNE).await?;
    let codes: Vec<_> = heard.iter().map(|evidence| evidence.status_code).filter(|code| *code > 0).collect();
    report.check(
        "sender_hears_statuses",
        "the commune's watch tells: handed over, arrived, accepted, processing, finished",
        codes == [1, 3, 5, 6],
    );
    let handovers = heard.iter().filter(|evidence| evidence.event() == EventKind::ContentHandover);
    let signed = handovers.filter(|evidence| evidence.recipient_receipt.is_some()).count();
    report.check(
        "receipts_are_the_recipients_own",
        "each handover holds the recipient's own signed receipt",
        signed == 2,
    );
    Ok(())
}

/// The province sends an urgent circular to all communes of its districts.
pub async fn province_circular(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter("Tỉnh Lào Cai sends an urgent circular (hỏa tốc) to all communes");
    let ordinary = Draft { recipients: vec!["000.02.21.H38".into()], ..draft(stage, DISTRICT) };
    let circular = Draft {
        groups: vec![communes_of(PROVINCE)],
        type_name: "Công điện".into(),
        subject: "Ứng phó rét đậm, rét hại".into(),
        notation: "CĐ-UBND".into(),
        urgency: 3,
        files: vec![stage.attachment("cong-dien.pdf", 40_000)?],
        ..draft(stage, PROVINCE)
    };
    let ordinary = stage.pack(&ordinary, stage.world.seal(DISTRICT)).await?;
    stage.send("sapa", &ordinary).await?;
    let package = stage.pack(&circular, stage.world.keys(PROVINCE)).await?;
    let sent = stage.send("laocai", &package).await?;
    report.count("documents", 2);
    let all = communes().count() as u64;
    report.check(
        "group_expanded",
        "the group became every commune of the directory",
        sent.evidence.recipient_count == all,
    );

    let since = Instant::now();
    let mut taken = Vec::new();
    for node in ["tavan", "sapa", "bacha", "batxat"] {
        // One at a time, so that the order shows.
        taken.extend(stage.receive(node, 1).await?);
    }
    report.time("circular_to_all_communes", since);
    let first = taken.iter().find(|taken| taken.recipient.as_str() == "000.02.21.H38");
    report.check(
        "urgent_goes_first",
        "urgent overtakes ordinary at the same recipient",
        first.is_some_and(|taken| taken.name == sent.name),
    );
    let handed = taken.iter().filter(|taken| taken.name == sent.name).count() as u64;
    // One commune's system is switched off: it holds up nobody.
    report.check(
        "silent_recipient_holds_up_nobody",
        "one commune is offline, the others have it",
        handed == all - 1,
    );
    report.count("handovers", taken.len());
    Ok(())
}

/// A recipient that stays silent: the deadline passes, and that is signed too.
pub async fn silence_has_a_clock(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter("Xã A Mú Sung stays silent; the sender gave it two seconds");
    let draft = Draft {
        recipients: vec![SILENT_COMMUNE.into()],
        deadline: Some(now().plus_us(2_000_000)),
        ..draft(stage, PROVINCE)
    };
    let package = stage.pack(&draft, stage.world.seal(PROVINCE)).await?;
    let sent = stage.send("laocai", &package).await?;
    report.count("documents", 1);
    let id = sent.name.document_id.to_string();
    let expired = stage
        .until(Duration::from_secs(8), async || {
            let heard = watch(stage, "laocai", PROVINCE).await?;
            Ok(heard.iter().any(|e| e.document_id == id && e.event() == EventKind::ContentHandoverFailure))
        })
        .await?;
    report.check(
        "silence_becomes_evidence",
        "the missed deadline is signed negative evidence in the sender's watch",
        expired,
    );
    let timeline = super::audit::timeline(stage, &id).await?;
    let state = timeline.recipients.first().map(|recipient| recipient.transport());
    report.check("expired_is_final", "the delivery ended as expired", state == Some(TransportState::Expired));
    Ok(())
}

/// A plain official letter.
pub fn draft(stage: &mut Stage, sender: &str) -> Draft {
    Draft {
        sender: sender.into(),
        number: stage.number(),
        notation: "CV".into(),
        type_name: "Công văn".into(),
        subject: "Phối hợp công tác".into(),
        ..Draft::default()
    }
}

/// Everything in an agency's watch so far.
pub async fn watch(stage: &Stage, node: &str, agency: &str) -> Result<Vec<Evidence>, Failure> {
    let client = stage.world.connect(node).await?;
    let request = WatchRequest { agency: agency.into(), cursor: "c0".into(), once: true, from_now: false };
    let mut entries = client.status().watch(request).await?.into_inner();
    let mut heard = Vec::new();
    while let Some(entry) = entries.message().await? {
        heard.push(stage.terms.check(&entry.receipt.unwrap_or_default())?);
    }
    Ok(heard)
}

fn status(
    terms: &Terms,
    document_id: &str,
    sender: &str,
    from: &str,
    code: u32,
    text: &str,
) -> BusinessStatus {
    BusinessStatus {
        document_id: document_id.into(),
        sender: sender.into(),
        from: from.into(),
        code,
        description: text.into(),
        occurred_at_us: now().0,
        hub_origin: terms.origin().into(),
        ..BusinessStatus::default()
    }
}

fn attachment_is_whole(taken: &[&crate::client::receive::Taken], draft: &Draft) -> bool {
    let Some(Ok(sent)) = draft.files.first().map(std::fs::read) else { return false };
    let copies = taken.iter().filter_map(|taken| {
        let name = taken.manifest.parts.first()?.name.clone();
        std::fs::read(taken.folder.as_ref()?.join("parts").join(name)).ok()
    });
    let mut count = 0;
    copies.inspect(|_| count += 1).all(|copy| copy == sent) && taken.len() >= 2
}

/// Keys for a forged signature.
pub fn stranger() -> Result<Vec<SigningKey>, Failure> {
    let key = SigningKey::generate(crate::domain::signature::Algorithm::Ed25519)?;
    Ok(vec![key])
}

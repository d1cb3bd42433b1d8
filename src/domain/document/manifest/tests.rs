use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::proto::{RecipientGroup, SignerInfo};

/// 2026-09-21T14:13:20Z: 21:13 in Vietnam.
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
const HUB: &str = "hub.example";

fn manifest() -> Manifest {
    Manifest {
        document_id: "000.00.00.H53,2026,17".into(),
        nonce: Bytes::from_static(&[1; 16]),
        sender: "000.00.00.H53".into(),
        recipients: vec!["H54".into()],
        issued_at_us: NOW.0 - 1_000_000,
        hub_origin: HUB.into(),
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-09-21".into(),
            type_name: "Báo cáo".into(),
            subject: "Về tình hình thực hiện nhiệm vụ quý III".into(),
            signer: Some(SignerInfo { competence: "TM.".into(), ..Default::default() }),
            ..Default::default()
        }),
        parts: vec![Part {
            name: "báo cáo.pdf".into(),
            media_type: "application/pdf".into(),
            size: 10,
            sha256: Bytes::from_static(&[2; 32]),
        }],
        ..Default::default()
    }
}

fn reference(kind: ReferenceKind) -> Reference {
    Reference { kind: kind.into(), number: "16".into(), ..Default::default() }
}

fn info(manifest: &mut Manifest) -> &mut DocumentInfo {
    manifest.document.as_mut().expect("a document")
}

fn check(manifest: &Manifest) -> Result<CheckedManifest, Vec<Reason>> {
    check_manifest(&manifest.encode_to_vec().into(), &Limits::default(), HUB, NOW)
}

#[test]
fn a_plain_manifest_passes() {
    let checked = check(&manifest()).expect("legal");
    assert_eq!(checked.name.to_string(), "000.00.00.H53,2026,17 of 000.00.00.H53");
    assert_eq!(checked.year, 2026);
    assert_eq!(checked.deadline, NOW.plus_us(7 * 24 * 3_600_000_000));
    assert_eq!(checked.manifest, manifest());
    assert!(checked.warnings.is_empty());
}

type Breaks = fn(&mut Manifest);

fn expect_each(cases: &[(Breaks, ReasonCode, &str)]) {
    for (breaks, code, field) in cases {
        let mut manifest = manifest();
        breaks(&mut manifest);
        let reasons = check(&manifest).expect_err(field);
        assert_eq!(reasons.len(), 1, "{field}: {reasons:?}");
        assert_eq!(reasons[0].code, *code, "{reasons:?}");
        assert!(reasons[0].detail.starts_with(&format!("{field}:")), "{field}: {reasons:?}");
    }
}

#[test]
fn broken_frames_are_told() {
    use ReasonCode::{BadIdentifier, ClockSkew, InvalidField, NoRecipients, TooLarge, WrongHub};
    expect_each(&[
        (|m| m.document_id.clear(), InvalidField, "document_id"),
        (|m| m.document_id = "x".repeat(201), InvalidField, "document_id"),
        (|m| m.nonce.clear(), InvalidField, "nonce"),
        (|m| m.sender = "28.22.H17".into(), BadIdentifier, "sender"),
        (|m| m.recipients.clear(), NoRecipients, "recipients, groups"),
        (|m| m.recipients = vec![String::new(); 20_001], TooLarge, "recipients"),
        (|m| m.groups = vec![RecipientGroup::default(); 101], TooLarge, "groups"),
        (
            |m| m.groups = vec![RecipientGroup { root: "H53".into(), level: 5 }],
            InvalidField,
            "groups[0].level",
        ),
        (|m| m.issued_at_us = NOW.0 + 86_400_000_001, ClockSkew, "issued_at_us"),
        (|m| m.issued_at_us = 0, ClockSkew, "issued_at_us"),
        (|m| m.issued_at_us = i64::MIN, ClockSkew, "issued_at_us"),
        (|m| m.delivery_deadline_us = NOW.0, InvalidField, "delivery_deadline_us"),
        (|m| m.delivery_deadline_us = NOW.0 + 401 * 86_400_000_000, InvalidField, "delivery_deadline_us"),
        (|m| m.hub_origin = "other.example".into(), WrongHub, "hub_origin"),
        (|m| m.document = None, InvalidField, "document"),
    ]);
}

#[test]
fn a_test_document_can_carry_nothing_that_counts() {
    use ReasonCode::InvalidField;
    fn test() -> Manifest {
        Manifest { test: true, parts: Vec::new(), ..manifest() }
    }
    assert_eq!(check(&test()).expect("legal").deadline, NOW.plus_us(10 * 60_000_000));
    let cases: [(Breaks, &str); 6] = [
        (|m| m.parts = manifest().parts, "parts"),
        (|m| m.groups = vec![RecipientGroup { root: "H53".into(), level: 0 }], "groups"),
        (|m| m.references = vec![reference(ReferenceKind::ResponseFor)], "references"),
        (|m| m.recipients = (10..27).map(|n| format!("H{n}")).collect(), "recipients"),
        (|m| m.delivery_deadline_us = NOW.0 + 3_600_000_001, "delivery_deadline_us"),
        (|m| m.delivery_deadline_us = NOW.0, "delivery_deadline_us"),
    ];
    for (breaks, field) in cases {
        let mut broken = test();
        breaks(&mut broken);
        let reasons = check(&broken).expect_err(field);
        assert_eq!((reasons.len(), reasons[0].code), (1, InvalidField), "{reasons:?}");
        assert!(reasons[0].detail.starts_with(&format!("{field}:")), "{reasons:?}");
    }
    let recall = Manifest { operation: Operation::Recall.into(), operation_reason: "sai".into(), ..test() };
    assert!(
        check(&recall).expect_err("a recall").iter().any(|reason| reason.detail.starts_with("operation:"))
    );
}

#[test]
fn broken_document_fields_are_told() {
    use ReasonCode::{InvalidField, TooLarge};
    expect_each(&[
        (|m| info(m).number.clear(), InvalidField, "document.number"),
        (|m| info(m).number = "1".repeat(12), InvalidField, "document.number"),
        (|m| info(m).notation = "Đ".repeat(31), InvalidField, "document.notation"),
        (|m| info(m).promulgation_date.clear(), InvalidField, "document.promulgation_date"),
        (|m| info(m).promulgation_date = "2026-02-30".into(), InvalidField, "document.promulgation_date"),
        (|m| info(m).promulgation_date = "2026/02/20".into(), InvalidField, "document.promulgation_date"),
        (|m| info(m).promulgation_date = "2026-09-22".into(), InvalidField, "document.promulgation_date"),
        (|m| info(m).place = "ơ".repeat(51), InvalidField, "document.place"),
        (|m| info(m).type_name = " ".into(), InvalidField, "document.type_name"),
        (|m| info(m).type_name = "ơ".repeat(101), InvalidField, "document.type_name"),
        (|m| info(m).subject.clear(), InvalidField, "document.subject"),
        (|m| info(m).subject = "ơ".repeat(501), InvalidField, "document.subject"),
        (|m| info(m).content = "a\u{0}".into(), InvalidField, "document.content"),
        (|m| info(m).content = "ơ".repeat(501), InvalidField, "document.content"),
        (
            |m| info(m).signer = Some(SignerInfo { competence: "ơ".repeat(101), ..Default::default() }),
            InvalidField,
            "document.signer.competence",
        ),
        (
            |m| info(m).signer = Some(SignerInfo { position: "ơ".repeat(101), ..Default::default() }),
            InvalidField,
            "document.signer.position",
        ),
        (
            |m| info(m).signer = Some(SignerInfo { full_name: "ơ".repeat(51), ..Default::default() }),
            InvalidField,
            "document.signer.full_name",
        ),
        (|m| info(m).urgency = 5, InvalidField, "document.urgency"),
        (|m| info(m).due_date = "mai".into(), InvalidField, "document.due_date"),
        (|m| info(m).sphere = "ơ".repeat(101), InvalidField, "document.sphere"),
        (|m| info(m).appendixes = vec![String::new(); 101], TooLarge, "document.appendixes"),
        (|m| info(m).appendixes = vec!["ơ".repeat(201)], InvalidField, "document.appendixes[0]"),
        (|m| info(m).to_places = vec![String::new(); 101], TooLarge, "document.to_places"),
        (|m| info(m).to_places = vec!["ơ".repeat(151)], InvalidField, "document.to_places[0]"),
        (|m| info(m).steering_type = 4, InvalidField, "document.steering_type"),
    ]);
}

#[test]
fn broken_parts_and_references_are_told() {
    use ReasonCode::{BadIdentifier, InvalidField, ReasonRequired, TooLarge};
    expect_each(&[
        (|m| m.parts = vec![m.parts[0].clone(); 101], TooLarge, "parts"),
        (|m| m.parts[0].name.clear(), InvalidField, "parts[0].name"),
        (|m| m.parts[0].name = "ơ".repeat(128), InvalidField, "parts[0].name"),
        (|m| m.parts[0].name = "../x".into(), InvalidField, "parts[0].name"),
        (|m| m.parts[0].name = "..".into(), InvalidField, "parts[0].name"),
        (|m| m.parts[0].name = "a\\b".into(), InvalidField, "parts[0].name"),
        (|m| m.parts[0].name = "a\u{9}b".into(), InvalidField, "parts[0].name"),
        (|m| m.parts[0].media_type = "x".repeat(101), InvalidField, "parts[0].media_type"),
        (|m| m.parts[0].size = (2 << 30) + 1, TooLarge, "parts[0].size"),
        (|m| m.parts[0].sha256.clear(), InvalidField, "parts[0].sha256"),
        (|m| m.references = vec![reference(ReferenceKind::ResponseFor); 101], TooLarge, "references"),
        (|m| m.references = vec![reference(ReferenceKind::Unspecified)], InvalidField, "references[0].kind"),
        (
            |m| {
                m.references = vec![reference(ReferenceKind::ResponseFor)];
                m.references[0].kind = 9;
            },
            InvalidField,
            "references[0].kind",
        ),
        (
            |m| {
                m.references = vec![reference(ReferenceKind::ResponseFor)];
                m.references[0].number.clear();
            },
            InvalidField,
            "references[0]",
        ),
        (
            |m| {
                m.references = vec![reference(ReferenceKind::ResponseFor)];
                m.references[0].organ_id = "h53".into();
            },
            BadIdentifier,
            "references[0].organ_id",
        ),
        (
            |m| {
                m.references = vec![reference(ReferenceKind::ResponseFor)];
                m.references[0].promulgation_date = "2014-02-30".into();
            },
            InvalidField,
            "references[0].promulgation_date",
        ),
        (|m| m.operation = 4, InvalidField, "operation"),
        (|m| m.operation_reason = "ơ".repeat(501), InvalidField, "operation_reason"),
        (
            |m| {
                m.set_operation(Operation::Recall);
                m.references = vec![reference(ReferenceKind::Recalls)];
            },
            ReasonRequired,
            "operation_reason",
        ),
        (
            |m| {
                m.set_operation(Operation::Replacement);
                m.operation_reason = "Sai số liệu".into();
                m.references = vec![reference(ReferenceKind::Updates)];
            },
            InvalidField,
            "references",
        ),
    ]);
}

#[test]
fn operations_with_reason_and_reference_pass() {
    for (operation, kind) in [
        (Operation::Recall, ReferenceKind::Recalls),
        (Operation::Update, ReferenceKind::Updates),
        (Operation::Replacement, ReferenceKind::Replaces),
    ] {
        let mut manifest = manifest();
        manifest.set_operation(operation);
        manifest.operation_reason = "Sai số liệu".into();
        manifest.references = vec![reference(ReferenceKind::ResponseFor), reference(kind)];
        assert!(check(&manifest).is_ok(), "{operation:?}");
    }
}

#[test]
fn a_state_secret_is_refused_without_a_word_about_it() {
    for secrecy in [1, 2, 3, 99] {
        let mut manifest = manifest();
        info(&mut manifest).secrecy = secrecy;
        info(&mut manifest).subject = "nội dung mật".repeat(100);
        manifest.sender = "nơi gửi".into();
        let reasons = check(&manifest).expect_err("secret");
        assert_eq!(reasons, [Reason::new(ReasonCode::StateSecret, "document.secrecy: needs to be NONE")]);
    }
}

#[test]
fn all_problems_come_at_once_and_repeat_no_content() {
    let mut manifest = manifest();
    manifest.nonce.clear();
    manifest.hub_origin.clear();
    info(&mut manifest).subject = "tuyệt đối riêng\n".into();
    info(&mut manifest).urgency = 9;
    let reasons = check(&manifest).expect_err("four problems");
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons.iter().all(|reason| !reason.detail.contains("riêng")), "{reasons:?}");
}

#[test]
fn days_are_vietnamese() {
    let mut manifest = manifest();
    let late_evening_utc = Timestamp(NOW.0 + 4 * 3_600_000_000);
    info(&mut manifest).promulgation_date = "2026-09-22".into();
    let payload: Bytes = manifest.encode_to_vec().into();
    assert!(check_manifest(&payload, &Limits::default(), HUB, late_evening_utc).is_ok());
    assert!(check_manifest(&payload, &Limits::default(), HUB, NOW).is_err());
}

#[test]
fn a_deadline_may_be_given_and_a_due_date_may_be_past() {
    let mut manifest = manifest();
    manifest.delivery_deadline_us = NOW.0 + 1;
    info(&mut manifest).due_date = "2025-01-01".into();
    assert_eq!(check(&manifest).expect("legal").deadline, NOW.plus_us(1));
}

#[test]
fn the_largest_payload_is_bounded() {
    let limits = Limits { max_manifest_bytes: 10, ..Limits::default() };
    let reasons = check_manifest(&manifest().encode_to_vec().into(), &limits, HUB, NOW).expect_err("large");
    assert_eq!(reasons[0].code, ReasonCode::TooLarge);
    let torn: Bytes = manifest().encode_to_vec()[..40].to_vec().into();
    assert_eq!(
        check_manifest(&torn, &Limits::default(), HUB, NOW).expect_err("torn")[0].code,
        ReasonCode::Malformed
    );
}

#[test]
fn an_addressing_is_checked_alike() {
    let addressing = Addressing {
        document_id: "17".into(),
        sender: "H53".into(),
        manifest_sha256: Bytes::from_static(&[3; 32]),
        groups: vec![RecipientGroup { root: "H53".into(), level: 0 }],
        issued_at_us: NOW.0,
        hub_origin: HUB.into(),
        ..Default::default()
    };
    let check = |addressing: &Addressing| {
        check_addressing(&addressing.encode_to_vec().into(), &Limits::default(), HUB, NOW)
    };
    assert_eq!(check(&addressing).expect("legal").manifest_sha256, Digest([3; 32]));
    let broken = Addressing { sender: "x".into(), ..Default::default() };
    let codes: Vec<ReasonCode> =
        check(&broken).expect_err("broken").into_iter().map(|reason| reason.code).collect();
    use ReasonCode::{BadIdentifier, ClockSkew, InvalidField, NoRecipients, WrongHub};
    assert_eq!(codes, [BadIdentifier, InvalidField, InvalidField, NoRecipients, ClockSkew, WrongHub]);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400), now: i64) {
        let payload = Bytes::from(bytes);
        for reasons in [
            check_manifest(&payload, &Limits::default(), HUB, Timestamp(now)).err(),
            check_addressing(&payload, &Limits::default(), HUB, Timestamp(now)).err(),
        ] {
            prop_assert!(reasons.is_some_and(|reasons| !reasons.is_empty()));
        }
    }

    /// A manifest with one byte changed is judged without a panic, whenever that is.
    #[test]
    fn damaged_manifests_are_answered(at: prop::sample::Index, byte: u8, now: i64) {
        let mut payload = manifest().encode_to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = check_manifest(&payload.into(), &Limits::default(), HUB, Timestamp(now));
    }

    #[test]
    fn dates_are_written_in_one_way(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}|.{0,12}") {
        if let Some(date) = parse_date(&text) {
            prop_assert_eq!(date.to_string(), text);
        }
    }
}

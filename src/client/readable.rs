//! Messages as JSON for people and scripts. The signed bytes stand beside; nothing is proven by these.

use serde_json::{Value, json};

use super::calendar::rfc3339;
use crate::{
    domain::{id::Digest, time::Timestamp},
    proto::{Manifest, Part, RecipientGroup, Reference},
};

/// A manifest with its digest.
#[must_use]
pub fn manifest(manifest: &Manifest, sha256: &Digest) -> Value {
    let info = manifest.document.clone().unwrap_or_default();
    let signer = info.signer.unwrap_or_default();
    json!({
        "document_id": manifest.document_id,
        "revision": manifest.revision,
        "sender": manifest.sender,
        "recipients": manifest.recipients,
        "groups": manifest.groups.iter().map(group).collect::<Vec<_>>(),
        "issued_at": moment(manifest.issued_at_us),
        "delivery_deadline": moment(manifest.delivery_deadline_us),
        "hub_origin": manifest.hub_origin,
        "manifest_sha256": sha256.to_string(),
        "document": {
            "number": info.number,
            "notation": info.notation,
            "promulgation_date": info.promulgation_date,
            "place": info.place,
            "type_name": info.type_name,
            "subject": info.subject,
            "content": info.content,
            "signer": {
                "competence": signer.competence,
                "position": signer.position,
                "full_name": signer.full_name,
            },
            "urgency": info.urgency,
            "due_date": info.due_date,
            "paper": info.paper,
            "sphere": info.sphere,
            "page_count": info.page_count,
            "copy_count": info.copy_count,
            "appendixes": info.appendixes,
            "to_places": info.to_places,
            "steering_type": info.steering_type,
        },
        "operation": tail(manifest.operation().as_str_name(), "OPERATION_"),
        "operation_reason": manifest.operation_reason,
        "references": manifest.references.iter().map(reference).collect::<Vec<_>>(),
        "parts": manifest.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

/// A moment in RFC 3339, Vietnam time; `null` for the wire's zero.
#[must_use]
pub fn moment(us: i64) -> Option<String> {
    Timestamp::given(us).map(rfc3339)
}

/// The name of an enum's value without the enum's name.
#[must_use]
pub fn tail<'n>(name: &'n str, prefix: &str) -> &'n str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn group(group: &RecipientGroup) -> Value {
    json!({ "root": group.root, "level": tail(group.level().as_str_name(), "LEVEL_") })
}

fn reference(reference: &Reference) -> Value {
    json!({
        "kind": tail(reference.kind().as_str_name(), "REFERENCE_KIND_"),
        "organ_id": reference.organ_id,
        "document_id": reference.document_id,
        "number": reference.number,
        "notation": reference.notation,
        "promulgation_date": reference.promulgation_date,
    })
}

fn part(part: &Part) -> Value {
    json!({
        "name": part.name,
        "media_type": part.media_type,
        "size": part.size,
        "sha256": hex::encode(&part.sha256),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::draft::testing::{draft, issue};

    #[test]
    fn a_manifest_is_readable() {
        let part = Part { name: "a.pdf".into(), size: 3, sha256: vec![1; 32].into(), ..Part::default() };
        let value = manifest(&draft().manifest(issue(vec![part])), &Digest([2; 32]));
        assert_eq!(value["document"]["subject"], "Kết quả quý III");
        assert_eq!(value["issued_at"], "2026-11-22T03:00:00.000000+07:00");
        assert_eq!(value["delivery_deadline"], Value::Null);
        assert_eq!(value["operation"], "NEW");
        assert_eq!(value["parts"][0]["sha256"], "01".repeat(32));
        assert_eq!(value["manifest_sha256"], "02".repeat(32));
    }
}

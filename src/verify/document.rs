//! A document beside its evidence: manifest, attachments, and the recipient's own receipt.

use prost::Message;

use super::{Facts, VerifyError, facts::same_digest};
use crate::{
    domain::{
        envelope::{self, MAX_PAYLOAD},
        id::Digest,
    },
    proto::{
        EventKind, Manifest, Outcome, ReasonCode, RecipientReceipt, Signature, SignatureReport,
        SignedEnvelope, signature::Value,
    },
};

/// An attachment at hand, hashed by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPart {
    /// Its name in the manifest.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
}

/// Proves that the hub accepted exactly this document: [`manifest`] and [`parts`].
pub fn document(
    envelope: &SignedEnvelope,
    acceptance: &Facts,
    found: impl IntoIterator<Item = FoundPart>,
) -> Result<Manifest, VerifyError> {
    let manifest = manifest(envelope, acceptance)?;
    parts(&manifest, found)?;
    Ok(manifest)
}

/// Checks the envelope against the acceptance: the manifest's digest, its names, each signature's digest and who made
/// it. That the signatures are good, the hub says; [`super::verify_signed_by`] finds it out anew.
pub fn manifest(envelope: &SignedEnvelope, acceptance: &Facts) -> Result<Manifest, VerifyError> {
    acceptance.require(EventKind::SubmissionAcceptance)?;
    has_type(envelope, "envelope", envelope::MANIFEST)?;
    let evidence = acceptance.evidence();
    same_digest("manifest", &envelope.payload, &evidence.manifest_sha256)?;
    signatures(envelope, acceptance)?;

    let manifest: Manifest = decode("manifest", envelope)?;
    same("document id", &manifest.document_id, &evidence.document_id)?;
    same("revision", manifest.revision, evidence.revision)?;
    same("sender", &manifest.sender, acceptance.sender())?;
    same("hub", &manifest.hub_origin, &acceptance.checkpoint().origin)?;
    Ok(manifest)
}

/// Checks that each attachment of the manifest was found, with its size and digest, and nothing beside them. Two
/// attachments of one name are both looked for.
pub fn parts(manifest: &Manifest, found: impl IntoIterator<Item = FoundPart>) -> Result<(), VerifyError> {
    let mut found: Vec<_> = found.into_iter().collect();
    for part in &manifest.parts {
        let same_name = |at: &usize| found[*at].name == part.name;
        let candidates: Vec<_> = (0..found.len()).filter(same_name).collect();
        let exact = |at: &&usize| found[**at].sha256.as_bytes()[..] == part.sha256;
        let best = candidates.iter().find(exact).or(candidates.first());
        let best = *best.ok_or_else(|| VerifyError::PartMissing(part.name.clone()))?;
        check_part(part, &found.swap_remove(best))?;
    }
    match found.pop() {
        Some(part) => Err(VerifyError::PartUnknown(part.name)),
        None => Ok(()),
    }
}

/// Checks that the recipient's own signed receipt stands inside the evidence of the end of a delivery, and is about
/// the accepted document. Who signed it, [`super::verify_signed_by`] finds out with [`Facts::message`].
pub fn handover(end: &Facts, acceptance: &Facts) -> Result<RecipientReceipt, VerifyError> {
    let needed = match end.event() {
        EventKind::ConsignmentRejection => Outcome::Refused,
        _ => Outcome::Accepted,
    };
    if needed == Outcome::Accepted {
        end.require(EventKind::ContentHandover)?;
    }
    acceptance.require(EventKind::SubmissionAcceptance)?;
    let envelope = end.message().ok_or_else(|| wrong("recipient's receipt", "is not in the evidence"))?;
    has_type(envelope, "recipient's receipt", envelope::RECEIPT)?;
    let receipt: RecipientReceipt = decode("recipient's receipt", envelope)?;

    let evidence = end.evidence();
    same("recipient's outcome", receipt.outcome().as_str_name(), needed.as_str_name())?;
    same("recipient", &receipt.recipient, end.recipients().next().unwrap_or_default())?;
    same("hub of the recipient's receipt", &receipt.hub_origin, &end.checkpoint().origin)?;
    for (said, by) in [(evidence, end), (acceptance.evidence(), acceptance)] {
        same("document id of the recipient's receipt", &receipt.document_id, &said.document_id)?;
        same("revision of the recipient's receipt", receipt.revision, said.revision)?;
        same("sender of the recipient's receipt", &receipt.sender, by.sender())?;
        let (digest, needed) = (hex::encode(&receipt.manifest_sha256), hex::encode(&said.manifest_sha256));
        same("manifest digest of the recipient's receipt", digest, needed)?;
    }
    Ok(receipt)
}

fn check_part(part: &crate::proto::Part, found: &FoundPart) -> Result<(), VerifyError> {
    if found.size != part.size {
        return Err(VerifyError::PartSize { name: part.name.clone(), found: found.size, said: part.size });
    }
    if found.sha256.as_bytes()[..] != part.sha256 {
        return Err(VerifyError::WrongDigest {
            what: format!("attachment {:?}", part.name),
            found: found.sha256.to_string(),
            said: hex::encode(&part.sha256),
        });
    }
    Ok(())
}

/// The evidence knows the signatures' values; which keys made them stands in the verdict, in the same order.
fn signatures(envelope: &SignedEnvelope, acceptance: &Facts) -> Result<(), VerifyError> {
    let said = &acceptance.evidence().signature_sha256;
    let reports = acceptance.verdict().map_or(&[][..], |verdict| &verdict.signatures);
    let count = envelope.signatures.len();
    if said.len() != count || reports.len() != count {
        let (found, said) = (count.to_string(), said.len().to_string());
        return Err(VerifyError::Differs { what: "number of signatures", found, said });
    }
    for (at, digest) in envelope::signature_digests(envelope).iter().enumerate() {
        if *digest != said[at] {
            let (found, said) = (hex::encode(digest), hex::encode(&said[at]));
            return Err(VerifyError::WrongDigest { what: format!("signature {}", at + 1), found, said });
        }
        same_signer(&envelope.signatures[at], &reports[at])?;
    }
    Ok(())
}

/// The digest of a signature covers its value, but neither key id nor kind.
fn same_signer(signature: &Signature, report: &SignatureReport) -> Result<(), VerifyError> {
    same("key of a signature", hex::encode(&signature.key_id), hex::encode(&report.key_id))?;
    let kind_fits = match &signature.value {
        Some(Value::Ed25519(value)) => value.len() == 64 || !report.valid,
        Some(Value::EcdsaP256Sha256(value)) => is_der_sequence(value) || !report.valid,
        Some(Value::CmsDetached(_)) => !report.valid && report.problem() != ReasonCode::BadSignature,
        None => !report.valid,
    };
    if kind_fits {
        return Ok(());
    }
    Err(wrong("signature", "is of another kind than the one that the hub judged"))
}

/// As ECDSA signatures are written, which have less than 128 bytes.
fn is_der_sequence(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, rest @ ..] if usize::from(*length) == rest.len())
}

fn has_type(envelope: &SignedEnvelope, what: &'static str, needed: &str) -> Result<(), VerifyError> {
    if envelope.payload_type == needed {
        return Ok(());
    }
    Err(wrong(what, &format!("is not of type {needed}")))
}

fn decode<M: Message + Default>(what: &'static str, envelope: &SignedEnvelope) -> Result<M, VerifyError> {
    if envelope.payload.len() > MAX_PAYLOAD {
        return Err(wrong(what, "is larger than 2 MiB"));
    }
    M::decode(envelope.payload.clone()).map_err(|error| wrong(what, &error.to_string()))
}

fn same(what: &'static str, found: impl ToString, said: impl ToString) -> Result<(), VerifyError> {
    let (found, said) = (found.to_string(), said.to_string());
    if found == said {
        return Ok(());
    }
    Err(VerifyError::Differs { what, found, said })
}

fn wrong(what: &'static str, problem: &str) -> VerifyError {
    VerifyError::Message { what, problem: problem.to_owned() }
}

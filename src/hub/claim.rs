//! What a signed message says of itself, before anything of it is believed: for refusals and repeats.

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        envelope::{ADDRESSING, MANIFEST, RECEIPT, STATUS},
        id::{AgencyId, DocumentName},
    },
    proto::SignedEnvelope,
};

/// The document that a message names and the agency in whose name it speaks, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The document.
    pub name: Option<DocumentName>,
    /// The agency.
    pub agency: Option<AgencyId>,
    /// A manifest that says that it is a test.
    pub test: bool,
}

/// The fields of a `Manifest` that name things. The others are skipped, so no message takes more memory than it
/// has bytes; texts are read as bytes, so a bad one does not hide the others.
#[derive(Clone, PartialEq, prost::Message)]
struct ManifestNames {
    #[prost(bytes = "bytes", tag = "1")]
    document_id: Bytes,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bytes = "bytes", tag = "4")]
    sender: Bytes,
    #[prost(bool, tag = "15")]
    test: bool,
}

/// The same of `Addressing`, `RecipientReceipt` and `BusinessStatus`, which number the first three alike.
#[derive(Clone, PartialEq, prost::Message)]
struct ReportNames {
    #[prost(bytes = "bytes", tag = "1")]
    document_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    sender: Bytes,
    #[prost(uint64, tag = "3")]
    revision: u64,
    /// `from` of a status.
    #[prost(bytes = "bytes", tag = "4")]
    fourth: Bytes,
    /// `recipient` of a receipt.
    #[prost(bytes = "bytes", tag = "5")]
    fifth: Bytes,
}

impl Claim {
    /// Reads what can be read.
    #[must_use]
    pub fn of(envelope: &SignedEnvelope) -> Self {
        let payload = envelope.payload.clone();
        if envelope.payload_type == MANIFEST {
            let Ok(names) = ManifestNames::decode(payload) else { return Self::default() };
            let claim = Self::new(&names.document_id, &names.sender, names.revision, &names.sender);
            return Self { test: names.test, ..claim };
        }
        let Ok(names) = ReportNames::decode(payload) else { return Self::default() };
        let agency = match envelope.payload_type.as_str() {
            ADDRESSING => &names.sender,
            RECEIPT => &names.fifth,
            STATUS => &names.fourth,
            _ => return Self::default(),
        };
        Self::new(&names.document_id, &names.sender, names.revision, agency)
    }

    fn new(document_id: &[u8], sender: &[u8], revision: u64, agency: &[u8]) -> Self {
        let texts = (std::str::from_utf8(document_id), std::str::from_utf8(sender));
        let name = match texts {
            (Ok(id), Ok(sender)) => DocumentName::parse(sender, id, revision).ok(),
            _ => None,
        };
        let agency = std::str::from_utf8(agency).ok().and_then(|text| AgencyId::parse(text).ok());
        Self { name, agency, test: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Addressing, BusinessStatus, Manifest, Part, RecipientReceipt};

    fn claim(payload_type: &str, payload: &impl Message) -> Claim {
        let payload = payload.encode_to_vec().into();
        Claim::of(&SignedEnvelope { payload_type: payload_type.into(), payload, signatures: Vec::new() })
    }

    fn expected(agency: &str) -> Claim {
        let name = DocumentName::parse("H53", "d", 7).unwrap();
        Claim { name: Some(name), agency: Some(AgencyId::parse(agency).unwrap()), test: false }
    }

    #[test]
    fn each_kind_of_message_is_read_by_its_own_numbers() {
        let (document_id, sender, revision) = ("d".to_owned(), "H53".to_owned(), 7);
        let parts = vec![Part::default(); 1_000];
        let manifest = Manifest {
            document_id: document_id.clone(),
            sender: sender.clone(),
            revision,
            parts,
            ..Default::default()
        };
        assert_eq!(claim(MANIFEST, &manifest), expected("H53"));
        let addressing = Addressing {
            document_id: document_id.clone(),
            sender: sender.clone(),
            revision,
            recipients: vec!["H54".into(), "H55".into()],
            ..Default::default()
        };
        assert_eq!(claim(ADDRESSING, &addressing), expected("H53"));
        let receipt = RecipientReceipt {
            document_id: document_id.clone(),
            sender: sender.clone(),
            revision,
            manifest_sha256: vec![0xff; 32].into(),
            recipient: "H54".into(),
            ..Default::default()
        };
        assert_eq!(claim(RECEIPT, &receipt), expected("H54"));
        let status =
            BusinessStatus { document_id, sender, revision, from: "H55".into(), ..Default::default() };
        assert_eq!(claim(STATUS, &status), expected("H55"));
    }

    #[test]
    fn what_can_not_be_read_is_left_out() {
        let garbage = SignedEnvelope {
            payload_type: STATUS.into(),
            payload: vec![0xff; 9].into(),
            signatures: Vec::new(),
        };
        assert_eq!(Claim::of(&garbage), Claim::default());
        let nameless = BusinessStatus { from: "H55".into(), sender: "h".into(), ..Default::default() };
        assert_eq!(claim(STATUS, &nameless).agency, AgencyId::parse("H55").ok());
        assert_eq!(claim("text/plain", &nameless), Claim::default());
    }
}

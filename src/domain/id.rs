//! Names of things. Each identifier has its own type, and can't be made from text that breaks its rule.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::reason::{Reason, ReasonCode, cut};

/// Longest agency identifier (Decision 20/2020/QĐ-TTg art. 4).
pub const MAX_AGENCY_ID: usize = 35;
/// Longest document id in bytes.
pub const MAX_DOCUMENT_ID: usize = 200;
/// Longest node name, as a DNS label.
pub const MAX_NODE_NAME: usize = 63;

/// SHA-256 of exact bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut digest = [0; 32];
        digest.copy_from_slice(hash.as_ref());
        Self(digest)
    }

    /// From the wire: exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As an owned buffer for messages.
    #[must_use]
    pub fn to_bytes(self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

text_id! {
    /// Identifier of an agency, in the old form of QCVN 102:2016 (`000.21.31.H53`) or the new one of
    /// Decision 20/2020 (`H53.31.21`). Kept as given: one form is never turned into the other.
    AgencyId
}

impl AgencyId {
    /// Accepts both forms; anything else is `BAD_IDENTIFIER`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        if is_old_form(text) || is_new_form(text) {
            return Ok(Self(text.into()));
        }
        Err(Reason::new(
            ReasonCode::BadIdentifier,
            format!("{:?} is neither 000.00.00.A00 nor A00.group…", shorten(text)),
        ))
    }

    /// True for the 13-character form, which reads from right to left.
    #[must_use]
    pub fn is_old_form(&self) -> bool {
        is_old_form(&self.0)
    }
}

text_id! {
    /// Name of a node: one installation that connects to the hub.
    NodeName
}

impl NodeName {
    /// Lower-case letters, digits, `-` and `.`, 1 to 63 characters.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if (1..=MAX_NODE_NAME).contains(&text.len()) && text.chars().all(legal) {
            return Ok(Self(text.into()));
        }
        Err(Reason::new(
            ReasonCode::BadIdentifier,
            format!("node name {:?} needs 1 to 63 of a-z 0-9 - .", shorten(text)),
        ))
    }
}

/// What names a document for ever: sender, the sender's id for it, and the revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentName {
    /// Sending agency.
    pub sender: AgencyId,
    /// Opaque text of the sender.
    pub document_id: Arc<str>,
    /// 0 for the first issue.
    pub revision: u64,
}

impl DocumentName {
    /// Checks the parts; the document id is 1 to 200 bytes without control characters.
    pub fn parse(sender: &str, document_id: &str, revision: u64) -> Result<Self, Reason> {
        if !(1..=MAX_DOCUMENT_ID).contains(&document_id.len()) || document_id.chars().any(char::is_control) {
            return Err(Reason::new(
                ReasonCode::InvalidField,
                "document_id: needs 1 to 200 bytes without control characters",
            ));
        }
        Ok(Self { sender: AgencyId::parse(sender)?, document_id: document_id.into(), revision })
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.document_id, self.sender)?;
        if self.revision > 0 {
            write!(f, " (revision {})", self.revision)?;
        }
        Ok(())
    }
}

fn is_old_form(text: &str) -> bool {
    let shape = b"999.99.99.A99";
    text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'9' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            _ => byte == *shape,
        })
}

fn is_new_form(text: &str) -> bool {
    let mut groups = text.split('.');
    let first = groups.next().unwrap_or_default().as_bytes();
    let first_is_level_1 =
        first.len() == 3 && first[0].is_ascii_uppercase() && first[1..].iter().all(u8::is_ascii_digit);
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.len() <= MAX_AGENCY_ID
        && first_is_level_1
        && groups.all(|group| !group.is_empty() && group.bytes().all(legal))
}

/// Text from a stranger, cut so that it can stand in an error.
#[must_use]
pub fn shorten(text: &str) -> &str {
    cut(text, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_accepted_and_kept() {
        for text in ["000.21.31.H53", "000.00.00.G01", "H53.31.21", "H37.DN.001", "G12", "H55.242"] {
            assert_eq!(AgencyId::parse(text).expect("legal").as_str(), text);
        }
    }

    #[test]
    fn dirt_is_refused_not_repaired() {
        for text in
            ["000.1137.H53", "28.22.H17", "", "H5", "h53.31", "H53.", "H53..1", " H53", "000.21.31.H5٣"]
        {
            assert_eq!(AgencyId::parse(text).expect_err(text).code, ReasonCode::BadIdentifier);
        }
        let long = format!("H53.{}", "1".repeat(32));
        assert!(AgencyId::parse(&long).is_err());
    }

    #[test]
    fn document_ids_are_opaque_but_bounded() {
        assert!(DocumentName::parse("H53", "000.21.31.H53,2014/02/30,7816/VPCP-TTĐT", 0).is_ok());
        assert!(DocumentName::parse("H53", "", 0).is_err());
        assert!(DocumentName::parse("H53", "a\nb", 0).is_err());
        assert!(DocumentName::parse("H53", &"x".repeat(201), 0).is_err());
    }
}

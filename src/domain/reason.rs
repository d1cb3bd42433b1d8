//! Why something was refused: one table maps each code to gRPC status, retry class and help text.

use std::fmt;

mod table;

pub use crate::proto::ReasonCode;
pub use table::entry;

/// Reasons told of one refusal; more say nothing more. A refusal travels in HTTP/2 trailers with its receipt, and common
/// clients take 8 KiB of these.
pub const MAX_TOLD: usize = 10;
/// Longest detail told, in bytes.
pub const MAX_DETAIL: usize = 120;

/// A reason with what it is about. This is the error of the `domain` ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Reason {
    /// The stable code.
    pub code: ReasonCode,
    /// What exactly: field, recipient, limit. Never content of a document.
    pub detail: String,
}

impl Reason {
    /// A reason with its detail.
    #[must_use]
    pub fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// `INVALID_FIELD` for a named field and the rule that it breaks.
    #[must_use]
    pub fn invalid(field: impl fmt::Display, rule: impl fmt::Display) -> Self {
        Self::new(ReasonCode::InvalidField, format!("{field}: {rule}"))
    }

    /// The same reason with the field's name in front of its detail.
    #[must_use]
    pub fn of_field(self, field: impl fmt::Display) -> Self {
        Self { detail: format!("{field}: {}", self.detail), ..self }
    }

    /// What the code means for the caller.
    #[must_use]
    pub fn entry(&self) -> Entry {
        entry(self.code)
    }

    /// As on the wire, the detail cut at [`MAX_DETAIL`].
    #[must_use]
    pub fn to_proto(&self) -> crate::proto::Reason {
        crate::proto::Reason { code: self.code.into(), detail: cut(&self.detail, MAX_DETAIL).to_owned() }
    }
}

/// The first `max` bytes of a text, or less where that would split a character.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str_name(), self.detail)
    }
}

/// What one reason code means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether the same message can succeed later.
    pub retry: Retry,
    /// Status of the refused call.
    pub grpc: GrpcCode,
    /// What to do next, in English.
    pub help_en: &'static str,
    /// What to do next, in Vietnamese.
    pub help_vi: &'static str,
}

/// Whether a retry of the same message can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The answer will stay the same.
    Never,
    /// Once an operator has changed the directory.
    AfterDirectoryChange,
    /// Once the missing attachment was uploaded.
    AfterUpload,
    /// After a pause; the hub says how long.
    Later,
    /// At the offset that QueryUpload answers.
    AtOffset,
}

/// The gRPC status codes that the hub answers with. Names and numbers are gRPC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCode {
    /// The reason stands in evidence and refuses no call.
    Ok = 0,
    /// For a code that should never be sent.
    Unknown = 2,
    /// The message breaks a rule whatever the state of the hub.
    InvalidArgument = 3,
    /// The thing named does not exist.
    NotFound = 5,
    /// The name is taken by something else.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// The hub is full.
    ResourceExhausted = 8,
    /// The state of the hub does not allow it.
    FailedPrecondition = 9,
    /// Beyond what is there.
    OutOfRange = 11,
    /// The hub can't for now.
    Unavailable = 14,
    /// Stored data is damaged.
    DataLoss = 15,
}

impl GrpcCode {
    /// gRPC's name of the code, e.g. `INVALID_ARGUMENT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: &str = include_str!("../../proto/truc/v1/reason.proto");

    /// Codes of the `.proto` with the brackets of their comments: `(name, Some([status, retry]))`.
    fn codes_of_the_proto() -> Vec<(String, Option<String>)> {
        let body = PROTO.split_once("enum ReasonCode {").expect("the enum").1;
        let mut comment = String::new();
        let mut codes = Vec::new();
        for line in body.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
            } else if let Some((name, _)) = line.split_once(" = ") {
                let bracket = comment.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                codes.push((name.to_owned(), bracket.map(|(inside, _)| inside.to_owned())));
                comment.clear();
            }
        }
        codes
    }

    fn retry_word(retry: Retry) -> &'static str {
        match retry {
            Retry::Never => "never",
            Retry::AfterDirectoryChange => "after a directory change",
            Retry::AfterUpload => "after the upload",
            Retry::Later => "later",
            Retry::AtOffset => "at that offset",
        }
    }

    #[test]
    fn the_table_says_what_the_proto_says() {
        let codes = codes_of_the_proto();
        assert!(codes.len() > 40, "{}", codes.len());
        for (name, bracket) in codes {
            let code = ReasonCode::from_str_name(&name).expect(&name);
            let entry = entry(code);
            match bracket {
                Some(bracket) => {
                    assert_eq!(
                        bracket,
                        format!("{}, {}", entry.grpc.name(), retry_word(entry.retry)),
                        "{name}"
                    )
                }
                None if code == ReasonCode::Unspecified => assert_eq!(entry.grpc, GrpcCode::Unknown),
                None => assert_eq!(entry.grpc, GrpcCode::Ok, "{name} refuses no call"),
            }
        }
    }

    #[test]
    fn every_code_helps_in_two_languages() {
        for (name, _) in codes_of_the_proto() {
            let entry = entry(ReasonCode::from_str_name(&name).expect(&name));
            for help in [entry.help_en, entry.help_vi] {
                assert!(help.ends_with('.') && help.len() > 30, "{name}: {help}");
                assert_eq!(help, help.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
            }
            assert!(entry.help_en.is_ascii(), "{name}");
            assert!(!entry.help_vi.is_ascii(), "{name}");
            let decomposed = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
            assert!(!entry.help_vi.chars().any(decomposed), "{name}: precomposed letters, please");
        }
    }

    #[test]
    fn numbers_are_grpcs() {
        assert_eq!(GrpcCode::InvalidArgument as i32, 3);
        assert_eq!(GrpcCode::FailedPrecondition as i32, 9);
        assert_eq!(GrpcCode::DataLoss as i32, 15);
    }
}

//! How a command fails: what the person reads, and with which code the process ends.

use std::{error::Error, fmt::Write, process::ExitCode, time::Duration};

use serde::Serialize;
use tonic::Code;

use super::{files::FileError, pki::PkiError, presence::say, verify::docproof::Language};
use crate::{
    client::{ClientError, ConnectError, refusal::Refusal},
    config::ConfigError,
    domain::reason::Reason,
    edge::tls::TlsError,
};

/// What a failure says where the hub gave reasons.
const REFUSED: &str = "the hub refused";

fn help_of(reason: &Reason, lang: Language) -> &'static str {
    let entry = reason.entry();
    say(lang, entry.help_en, entry.help_vi)
}

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The hub or a rule refused, or a check failed.
    Refused = 1,
    /// The command line is wrong. clap uses the same code.
    Usage = 2,
    /// The hub can't be reached, or the connection broke.
    Unreachable = 3,
    /// A local file is missing, unreadable or in the way.
    File = 4,
}

/// Why a command did not do its work. Printed once, by [`Failure::report`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// With what the process ends.
    pub exit: Exit,
    /// One sentence.
    pub message: String,
    /// The hub's stable codes, when it gave any.
    pub reasons: Vec<Reason>,
    /// What to do next.
    pub help: Option<String>,
    /// When the hub says that waiting helps: how long.
    pub retry_after: Option<Duration>,
    /// Leaf of the hub's log that records the refusal.
    pub leaf: Option<u64>,
}

impl Failure {
    /// A failure with one sentence.
    pub fn new(exit: Exit, message: impl ToString) -> Self {
        Self {
            exit,
            message: message.to_string(),
            reasons: Vec::new(),
            help: None,
            retry_after: None,
            leaf: None,
        }
    }

    /// With the next step.
    #[must_use]
    pub fn with_help(mut self, help: impl ToString) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Tells it on standard error, as text or as one JSON object, and gives the process's exit code.
    pub fn report(&self, json: bool, lang: Language) -> ExitCode {
        eprintln!("{}", if json { self.to_json(lang) } else { self.to_text(lang) });
        ExitCode::from(self.exit as u8)
    }

    fn to_text(&self, lang: Language) -> String {
        let message =
            if self.message == REFUSED { say(lang, REFUSED, "Trục từ chối") } else { &self.message };
        let mut text = format!("{}: {message}", say(lang, "error", "lỗi"));
        // Writing to a string can't fail.
        for reason in &self.reasons {
            let _ = write!(text, "\n  {reason}\n    {}", help_of(reason, lang));
        }
        if let Some(leaf) = self.leaf {
            let words =
                say(lang, "The refusal is on record as leaf", "Việc từ chối được ghi trong sổ tại mục");
            let _ = write!(text, "\n  {words} {leaf}.");
        }
        if let Some(help) = &self.help {
            let _ = write!(text, "\n  {help}");
        }
        if let Some(wait) = self.retry_after {
            let (words, unit) = (say(lang, "try again in", "thử lại sau"), say(lang, "s", "giây"));
            let _ = write!(text, "\n  {words} {} {unit}", wait.as_secs_f32());
        }
        text
    }

    fn to_json(&self, lang: Language) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            error: &'a str,
            exit: u8,
            reasons: Vec<serde_json::Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            help: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after_ms: Option<u128>,
            #[serde(skip_serializing_if = "Option::is_none")]
            leaf: Option<u64>,
        }
        let reasons = self.reasons.iter().map(|reason| {
            serde_json::json!({
                "code": reason.code.as_str_name(), "detail": reason.detail, "help": help_of(reason, lang),
            })
        });
        let line = Line {
            error: &self.message,
            exit: self.exit as u8,
            reasons: reasons.collect(),
            help: self.help.as_deref(),
            retry_after_ms: self.retry_after.map(|wait| wait.as_millis()),
            leaf: self.leaf,
        };
        serde_json::to_string(&line).unwrap_or_else(|error| error.to_string())
    }
}

/// An answer of the hub, or of the transport when the hub gave none.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        // A status that came over the wire has no local source.
        if let Some(source) = status.source() {
            return Self::new(
                Exit::Unreachable,
                format!("the connection to the hub failed: {}", chain(source)),
            );
        }
        let exit = if status.code() == Code::Unavailable { Exit::Unreachable } else { Exit::Refused };
        let refusal = Refusal::of(&status);
        let message = match (refusal.reasons.is_empty(), status.message()) {
            (false, _) => REFUSED.to_owned(),
            (true, message) if exit == Exit::Unreachable => format!("the hub can't be reached: {message}"),
            (true, "") => format!("the hub refused: {}", status.code().description()),
            (true, message) => format!("the hub refused: {message}"),
        };
        let leaf = refusal.receipt.map(|receipt| receipt.index);
        Self { reasons: refusal.reasons, retry_after: refusal.retry_after, leaf, ..Self::new(exit, message) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Call(status) => status.into(),
            ClientError::Reason(reason) => reason.into(),
            ClientError::File { .. } => Self::new(Exit::File, error),
            ClientError::Answer(_) => Self::new(Exit::Refused, error)
                .with_help("This hub can't be trusted as it is: keep the files and tell its operator."),
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self { reasons: vec![reason], ..Self::new(Exit::Refused, "refused") }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self { help: error.help().map(str::to_owned), ..Self::new(Exit::File, error) }
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Self {
        match error {
            PkiError::File(error) => error.into(),
            PkiError::Reason(reason) => Self::new(Exit::Usage, reason.detail),
            PkiError::Certificate(_) | PkiError::Lifetime(_) => Self::new(Exit::Usage, error),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::new(Exit::File, error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let exit = match error {
            ConfigError::File { .. } => Exit::File,
            ConfigError::Syntax { .. } | ConfigError::Environment { .. } | ConfigError::Check { .. } => {
                Exit::Refused
            }
        };
        Self::new(exit, error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::File { .. } | ConnectError::Identity(_) => Exit::File,
            ConnectError::Endpoint { .. } => Exit::Usage,
            ConnectError::Unreachable { .. } | ConnectError::Silent { .. } => Exit::Unreachable,
        };
        Self::new(exit, chain(&error))
    }
}

/// The sentence of an error and of everything that caused it, without repeating itself.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::{client::refusal::testing::refused, domain::reason::ReasonCode, proto::Receipt};

    fn refusal(codes: &[ReasonCode]) -> Status {
        let reasons: Vec<_> = codes.iter().map(|code| Reason::new(*code, "recipient H53")).collect();
        let receipt = Receipt { index: 7, ..Receipt::default() };
        refused(Code::FailedPrecondition, &reasons, Some(&receipt))
    }

    #[test]
    fn all_reasons_of_the_hub_are_told() {
        let failure = Failure::from(refusal(&[ReasonCode::UnknownRecipient, ReasonCode::ClockSkew]));
        assert_eq!(failure.exit, Exit::Refused);
        let text = failure.to_text(Language::En);
        assert!(text.contains("UNKNOWN_RECIPIENT: recipient H53") && text.contains("CLOCK_SKEW"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&failure.to_json(Language::En)).expect("JSON");
        assert_eq!((&json["exit"], &json["leaf"]), (&1.into(), &7.into()));
        assert_eq!(json["reasons"][1]["code"], "CLOCK_SKEW");
        assert_eq!(json["reasons"][1]["detail"], "recipient H53");
    }

    #[test]
    fn the_next_step_comes_in_the_language_that_was_asked_for() {
        let failure =
            Failure { retry_after: Some(Duration::from_secs(2)), ..refusal(&[ReasonCode::DiskFull]).into() };
        let help = ReasonCode::DiskFull;
        let text = failure.to_text(Language::Vi);
        assert!(text.starts_with("lỗi: Trục từ chối") && text.contains("thử lại sau 2 giây"), "{text}");
        assert!(
            text.contains(crate::domain::reason::entry(help).help_vi) && text.contains("mục 7"),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.to_json(Language::Vi)).expect("JSON");
        assert_eq!(json["reasons"][0]["help"], crate::domain::reason::entry(help).help_vi);
    }

    #[test]
    fn error_info_alone_is_enough() {
        let mut details = ErrorDetails::with_error_info(
            "BUSY",
            "truc",
            [("a", "b")].map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        details.set_retry_info(Some(Duration::from_millis(1500)));
        let failure =
            Failure::from(Status::with_error_details(Code::ResourceExhausted, "queue full", details));
        assert_eq!(failure.reasons, [Reason::new(ReasonCode::Busy, "queue full")]);
        assert!(
            failure.to_text(Language::En).ends_with("try again in 1.5 s"),
            "{}",
            failure.to_text(Language::En)
        );
    }

    #[test]
    fn a_status_without_details_is_told_as_it_is() {
        let failure = Failure::from(Status::new(Code::Unimplemented, "no such call"));
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Refused, "the hub refused: no such call")
        );
        assert_eq!(Failure::from(Status::unavailable("stopping")).exit, Exit::Unreachable);
        assert_eq!(
            Failure::from(Status::with_details(Code::Internal, "x", Bytes::from_static(b"\xff"))).reasons,
            []
        );
    }

    #[test]
    fn what_broke_here_is_unreachable() {
        let broken: Box<dyn Error + Send + Sync> = Box::new(std::io::Error::other("cable cut"));
        let failure = Failure::from(Status::from_error(broken));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.contains("cable cut"));
    }
}

//! Flags that say which evidence.

use crate::{
    cli::{Exit, Failure},
    client::calendar::parse_moment,
    domain::reason::ReasonCode,
    proto::{EventKind, LegalValue, Level, SearchFilter},
};

/// A day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// Which evidence. All that is given must hold; a flag that may be repeated wants one of its values.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which evidence")]
pub struct Filter {
    /// Document id, as its sender named it.
    #[arg(long, value_name = "ID")]
    document: Option<String>,
    /// Number of the document.
    #[arg(long)]
    number: Option<String>,
    /// Notation of the document, such as BC-UBND.
    #[arg(long)]
    notation: Option<String>,
    /// Year of promulgation.
    #[arg(long)]
    year: Option<u32>,
    /// Sending agency.
    #[arg(long, value_name = "AGENCY")]
    sender: Option<String>,
    /// Receiving agency.
    #[arg(long, value_name = "AGENCY")]
    recipient: Option<String>,
    /// Sent or received by this agency or one below it.
    #[arg(long, value_name = "AGENCY")]
    below: Option<String>,
    /// Sent or received by an agency of this level: central, province, district, commune.
    #[arg(long)]
    level: Option<String>,
    /// Kind of event, such as content-handover; may be repeated.
    #[arg(long, value_name = "EVENT")]
    event: Vec<String>,
    /// Business status, such as 3; may be repeated.
    #[arg(long, value_name = "CODE")]
    status: Vec<u32>,
    /// Reason code, such as deadline-passed; may be repeated.
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// 0 normal to 4 most urgent; may be repeated.
    #[arg(long, value_name = "0-4")]
    urgency: Vec<u32>,
    /// Documents signed by a person and the agency.
    #[arg(long, conflicts_with = "information")]
    signed: bool,
    /// Documents for information only.
    #[arg(long)]
    information: bool,
    /// From this day in Vietnam on, or from this moment in RFC 3339.
    #[arg(long, value_name = "DAY|TIME")]
    from: Option<String>,
    /// To the end of this day in Vietnam, or up to this moment in RFC 3339.
    #[arg(long, value_name = "DAY|TIME")]
    until: Option<String>,
    /// Words of the subject, with or without diacritics; one that ends with * stands for all that begin so.
    #[arg(long, value_name = "WORDS")]
    subject: Option<String>,
    /// Also evidence about test documents of `truc ping`.
    #[arg(long)]
    tests: bool,
}

impl Filter {
    /// As on the wire.
    pub fn to_proto(&self) -> Result<SearchFilter, Failure> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(SearchFilter {
            document_id: text(&self.document),
            number: text(&self.number),
            notation: text(&self.notation),
            year: self.year.unwrap_or(0),
            sender: text(&self.sender),
            recipient: text(&self.recipient),
            below: text(&self.below),
            level: self.level.as_ref().map_or(Ok(0), |name| level(name))?,
            events: self.event.iter().map(|name| event(name)).collect::<Result<_, _>>()?,
            status_codes: self.status.clone(),
            reasons: self.reason.iter().map(|name| reason(name)).collect::<Result<_, _>>()?,
            urgencies: self.urgency.clone(),
            legal_value: self.legal_value().into(),
            from_us: self.from.as_ref().map_or(Ok(0), |text| time(text, 0))?,
            until_us: self.until.as_ref().map_or(Ok(0), |text| time(text, DAY_US))?,
            subject: text(&self.subject),
            tests: self.tests,
            ..SearchFilter::default()
        })
    }

    fn legal_value(&self) -> LegalValue {
        match (self.signed, self.information) {
            (true, _) => LegalValue::Original,
            (_, true) => LegalValue::Information,
            _ => LegalValue::Unspecified,
        }
    }
}

/// A name as it is written in the protocol, in small letters and with hyphens as well.
fn name(text: &str) -> String {
    text.to_ascii_uppercase().replace('-', "_")
}

fn level(text: &str) -> Result<i32, Failure> {
    let known = Level::from_str_name(&format!("LEVEL_{}", name(text)));
    known.map(Into::into).ok_or_else(|| unknown("level", text, "central, province, district or commune"))
}

fn event(text: &str) -> Result<i32, Failure> {
    let known = EventKind::from_str_name(&name(text));
    known.map(Into::into).ok_or_else(|| unknown("event", text, "a name such as content-handover"))
}

fn reason(text: &str) -> Result<i32, Failure> {
    let known = ReasonCode::from_str_name(&name(text));
    known.map(Into::into).ok_or_else(|| unknown("reason", text, "a name such as deadline-passed"))
}

/// A moment, or a day in Vietnam: its begin, and so much more.
fn time(text: &str, more: i64) -> Result<i64, Failure> {
    if let Ok(moment) = parse_moment(text) {
        return Ok(moment.0);
    }
    let day = parse_moment(&format!("{text}T00:00:00+07:00"));
    let day =
        day.map_err(|_| unknown("time", text, "a day such as 2026-12-31, or 2026-12-31T17:00:00+07:00"))?;
    Ok(day.0.saturating_add(more))
}

fn unknown(what: &str, text: &str, instead: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{text:?} is no {what}")).with_help(format!("give {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_vietnams_and_whole() {
        let filter =
            Filter { from: Some("2026-11-22".into()), until: Some("2026-11-22".into()), ..Filter::default() };
        let filter = filter.to_proto().expect("legal");
        assert_eq!(filter.from_us, 1_795_280_400_000_000, "17:00 UTC of the day before");
        assert_eq!(filter.until_us - filter.from_us, DAY_US);
        assert_eq!(time("2026-11-22T00:00:00+07:00", DAY_US).expect("legal"), filter.from_us);
        assert_eq!(time("22/11/2026", 0).expect_err("another form").exit, Exit::Usage);
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        assert_eq!(event("content-handover").expect("legal"), i32::from(EventKind::ContentHandover));
        assert_eq!(event("CONTENT_HANDOVER").expect("legal"), i32::from(EventKind::ContentHandover));
        assert_eq!(level("commune").expect("legal"), i32::from(Level::Commune));
        assert_eq!(reason("outside-scope").expect("legal"), i32::from(ReasonCode::OutsideScope));
        assert!(event("handover").is_err() && level("village").is_err() && reason("x").is_err());
    }
}

//! `truc ping`: a test document to an agency and its signed receipt back.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::{
    Connection, Exit, Failure, Output,
    presence::{say, when},
    signing::read_keys,
    table::table,
    verify::docproof::Language,
};
use crate::{
    client::{
        ping::{Course, End, LONGEST, Route, Step, ping},
        readable::moment,
    },
    config::human::parse_duration,
    domain::id::AgencyId,
};

/// Sends a signed test document to an agency, and tells how long each step took until its system's signed receipt came
/// back. It counts in no statistics, and the recipient does not register it. Ends with 1 if it does not come through.
///
/// Run it with a node's certificate and the key of an agency that this node acts for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agency.
    #[arg(value_name = "AGENCY")]
    agency: String,
    /// Sending agency.
    #[arg(long, value_name = "AGENCY")]
    from: String,
    /// Private key that signs for the sending agency (PKCS#8 PEM).
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// How long it may take, up to 9m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    within: Duration,
    /// Language of the answer.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Answer {
    through: bool,
    agency: String,
    document_id: String,
    index: u64,
    steps: Vec<StepLine>,
    /// In one word.
    end: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_receiving: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub_started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
}

#[derive(Serialize)]
struct StepLine {
    step: &'static str,
    /// "here": since it was sent. "hub": since the hub accepted it, by the hub's clock.
    clock: &'static str,
    after_ms: f64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let agency = |text: &str, what: &str| {
            AgencyId::parse(text)
                .map_err(|reason| Failure::new(Exit::Usage, format!("{what}: {}", reason.detail)))
        };
        let (sender, recipient) = (agency(&self.from, "--from")?, agency(&self.agency, "AGENCY")?);
        if self.within > LONGEST {
            return Err(Failure::new(Exit::Usage, "--within: at most 9m"));
        }
        let keys = read_keys(&self.keys)?;
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let route = Route { sender: &sender, keys: &keys, recipient: &recipient, within: self.within };
        let course = ping(&client, &terms, route).await?;
        output.print(&answer(&course, &recipient), |_| shown(&course, &recipient, self.lang));
        match &course.end {
            End::Through { .. } => Ok(()),
            end => Err(Failure::new(Exit::Refused, why(end, &recipient, self.lang))
                .with_help(help(end, &recipient, self.lang))),
        }
    }
}

fn answer(course: &Course, recipient: &AgencyId) -> Answer {
    let mut answer = Answer {
        through: matches!(course.end, End::Through { .. }),
        agency: recipient.to_string(),
        document_id: course.name.document_id.to_string(),
        index: course.index,
        steps: course.steps.iter().map(|(step, after)| line(*step, *after)).collect(),
        end: end_word(&course.end),
        node: String::new(),
        key_id: String::new(),
        last_receiving: None,
        hub_started: None,
        offered: None,
        attempts: None,
    };
    match &course.end {
        End::Through { node, key_id } => {
            (answer.node, answer.key_id) = (node.clone(), key_id.clone());
        }
        End::Refused { node } => answer.node = node.clone(),
        End::NobodyReceives { last, hub_started } => {
            answer.last_receiving = last.and_then(|last| moment(last.0));
            answer.hub_started = moment(hub_started.0);
        }
        End::NotSigned { offered, attempts } => {
            (answer.offered, answer.attempts) = (moment(offered.0), Some(*attempts));
        }
        End::NotOffered | End::NotConsigned | End::Ended(_) | End::NotWatched => {}
    }
    answer
}

fn line(step: Step, after: Duration) -> StepLine {
    let clock = if step.is_measured_here() { "here" } else { "hub" };
    StepLine { step: step_word(step), clock, after_ms: after.as_secs_f64() * 1_000.0 }
}

fn step_word(step: Step) -> &'static str {
    match step {
        Step::Acknowledged => "ACKNOWLEDGED",
        Step::Consigned => "CONSIGNED",
        Step::Offered => "OFFERED",
        Step::HandedOver => "HANDED_OVER",
        Step::Watched => "WATCHED",
    }
}

fn end_word(end: &End) -> &'static str {
    match end {
        End::Through { .. } => "THROUGH",
        End::Refused { .. } => "REFUSED",
        End::NobodyReceives { .. } => "NOBODY_RECEIVES",
        End::NotOffered => "NOT_OFFERED",
        End::NotSigned { .. } => "NOT_SIGNED",
        End::NotConsigned => "NOT_CONSIGNED",
        End::Ended(_) => "ENDED",
        End::NotWatched => "NOT_WATCHED",
    }
}

fn shown(course: &Course, recipient: &AgencyId, lang: Language) -> String {
    let mut lines = table([say(lang, "step", "bước"), say(lang, "after", "sau"), ""]);
    for (step, after) in &course.steps {
        let name = match step {
            Step::Acknowledged => {
                say(lang, "verified, durable, proven", "đã kiểm tra, lưu bền, có bằng chứng")
            }
            Step::Consigned => say(lang, "at the recipient's disposal", "sẵn sàng cho nơi nhận"),
            Step::Offered => say(lang, "offered to its system", "đã giao cho hệ thống nơi nhận"),
            Step::HandedOver => say(lang, "signed for by its system", "hệ thống nơi nhận đã ký nhận"),
            Step::Watched => say(lang, "told to the sender", "đã báo về nơi gửi"),
        };
        let clock = match step.is_measured_here() {
            true => say(lang, "since it was sent, measured here", "từ lúc gửi, đo tại đây"),
            false => say(lang, "since the acceptance, by the hub's clock", "từ lúc trục nhận, theo giờ trục"),
        };
        lines.add_row([name.to_owned(), format!("{:.1} ms", after.as_secs_f64() * 1e3), clock.to_owned()]);
    }
    let last = match (&course.end, lang) {
        (End::Through { node, .. }, Language::En) => format!("{recipient} answers, through node {node}"),
        (End::Through { node, .. }, Language::Vi) => format!("{recipient} có trả lời, qua nút {node}"),
        (_, Language::En) => format!("{recipient} does not answer"),
        (_, Language::Vi) => format!("{recipient} không trả lời"),
    };
    format!("{}\n{lines}\n{last}", course.name.document_id)
}

/// The precise word.
fn why(end: &End, recipient: &AgencyId, lang: Language) -> String {
    match (end, lang) {
        (End::Through { .. }, _) => String::new(),
        (End::Refused { node }, Language::En) => format!("node {node} refused it for {recipient}"),
        (End::Refused { node }, Language::Vi) => format!("nút {node} đã từ chối thay {recipient}"),
        (End::NobodyReceives { last: Some(last), .. }, Language::En) => {
            format!("nobody has received for {recipient} since {}", when(last.0))
        }
        (End::NobodyReceives { last: Some(last), .. }, Language::Vi) => {
            format!("không có hệ thống nào nhận cho {recipient} từ {}", when(last.0))
        }
        (End::NobodyReceives { last: None, hub_started }, Language::En) => {
            format!("nobody has received for {recipient} since the hub's start, {}", when(hub_started.0))
        }
        (End::NobodyReceives { last: None, hub_started }, Language::Vi) => {
            format!(
                "chưa có hệ thống nào nhận cho {recipient} từ khi trục khởi động, {}",
                when(hub_started.0)
            )
        }
        (End::NotOffered, Language::En) => {
            format!("somebody receives for {recipient}, but takes no more offers")
        }
        (End::NotOffered, Language::Vi) => {
            format!("có hệ thống nhận cho {recipient} nhưng không lấy thêm văn bản")
        }
        (End::NotSigned { offered, attempts }, Language::En) => {
            format!("offered to {recipient} {}, {attempts} times, and not signed for", when(offered.0))
        }
        (End::NotSigned { offered, attempts }, Language::Vi) => {
            format!(
                "đã giao cho {recipient} lúc {}, {attempts} lần, nhưng chưa được ký nhận",
                when(offered.0)
            )
        }
        (End::NotConsigned, Language::En) => "the hub has not come to it yet".into(),
        (End::NotConsigned, Language::Vi) => "trục chưa xử lý đến".into(),
        (End::Ended(event), Language::En) => format!("it was ended by {}", event.as_str_name()),
        (End::Ended(event), Language::Vi) => format!("đã bị kết thúc bởi {}", event.as_str_name()),
        (End::NotWatched, Language::En) => "signed for, but the sender's watch did not tell of it".into(),
        (End::NotWatched, Language::Vi) => "đã ký nhận, nhưng nơi gửi chưa được báo".into(),
    }
}

fn help(end: &End, recipient: &AgencyId, lang: Language) -> String {
    let (english, vietnamese) = match end {
        End::NobodyReceives { .. } => (
            "Its node has to connect: `truc nodes --agency` shows which, and since when it is away.",
            "Nút của cơ quan phải kết nối lại: xem `truc nodes --agency` để biết nút nào, mất kết nối từ lúc nào.",
        ),
        End::NotSigned { .. } | End::Refused { .. } => (
            "Its system got it: whoever runs that system has to look why it does not sign.",
            "Hệ thống nơi nhận đã nhận được: đơn vị vận hành cần kiểm tra vì sao không ký.",
        ),
        End::NotOffered => (
            "Its system has taken documents that it does not answer, or asks for none: `truc sessions` shows it.",
            "Hệ thống nơi nhận đang giữ văn bản chưa trả lời hoặc không xin thêm: xem `truc sessions`.",
        ),
        End::Through { .. } | End::NotConsigned | End::Ended(_) | End::NotWatched => (
            "`truc status` shows the document's way; the hub's operators can say more.",
            "`truc status` cho biết đường đi của văn bản; hỏi thêm người vận hành trục.",
        ),
    };
    let words = say(lang, english, vietnamese);
    words.replace("--agency", &format!("--agency {recipient}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::id::DocumentName, domain::time::Timestamp};

    #[test]
    fn every_end_has_a_word_a_sentence_and_a_next_step() {
        let agency = AgencyId::parse("H53").expect("legal");
        let at = Timestamp(1_795_291_200_000_000);
        let ends = [
            (End::NobodyReceives { last: Some(at), hub_started: at }, "NOBODY_RECEIVES"),
            (End::NobodyReceives { last: None, hub_started: at }, "NOBODY_RECEIVES"),
            (End::NotSigned { offered: at, attempts: 3 }, "NOT_SIGNED"),
            (End::Refused { node: "a".into() }, "REFUSED"),
            (End::NotOffered, "NOT_OFFERED"),
            (End::NotConsigned, "NOT_CONSIGNED"),
            (End::NotWatched, "NOT_WATCHED"),
        ];
        for (end, word) in ends {
            let name = DocumentName::parse("H54", "x", 0).expect("legal");
            let steps = vec![(Step::Acknowledged, Duration::from_millis(12))];
            let course = Course { name, index: 7, steps, end };
            let told = answer(&course, &agency);
            assert_eq!((told.end, told.through, told.steps[0].clock), (word, false, "here"));
            for lang in [Language::En, Language::Vi] {
                assert!(!why(&course.end, &agency, lang).is_empty());
                assert!(!help(&course.end, &agency, lang).is_empty());
                assert!(shown(&course, &agency, lang).contains("12.0 ms"));
            }
        }
        let since = why(&End::NobodyReceives { last: Some(at), hub_started: at }, &agency, Language::Vi);
        assert!(since.ends_with("từ 2026-11-22 03:00:00"), "{since}");
    }
}

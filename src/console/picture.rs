//! The way of a document as a picture: a row for each recipient, a column for each stage.

use std::collections::BTreeMap;

use super::{format, labels, people::Who, words::Lang};
use crate::{
    domain::directory::Directory,
    proto::{EventKind, Evidence, RecipientState, TransportState},
};

/// Recipients in one picture.
pub(crate) const MAX_ROWS: usize = 25;

const LEFT: usize = 220;
const STEP: usize = 94;
const TOP: usize = 46;
const HIGH: usize = 54;
const STAGES: usize = 8;

/// The picture; lengths are SVG units.
pub(crate) struct Timeline {
    pub width: usize,
    pub height: usize,
    pub stages: Vec<Stage>,
    pub rows: Vec<Row>,
}

/// Name of a column.
pub(crate) struct Stage {
    pub x: usize,
    pub name: &'static str,
}

/// One recipient.
pub(crate) struct Row {
    pub y: usize,
    pub who: Who,
    /// Name, cut to what fits.
    pub label: String,
    pub dots: Vec<Dot>,
    /// Where the line of what was reached ends.
    pub from: usize,
    pub until: usize,
    pub class: &'static str,
    /// What a screen reader says.
    pub told: String,
}

/// One stage of one recipient.
pub(crate) struct Dot {
    pub x: usize,
    /// `done`, `bad`, `waits` or `open`.
    pub class: &'static str,
    pub text: String,
}

/// When each stage was reached.
#[derive(Default)]
struct Way {
    reached: [i64; STAGES],
    /// The stage at which it ended badly, and how that is called.
    failed: Option<(usize, i64, EventKind)>,
}

impl Timeline {
    /// Of these recipients, in this order, from the events of the document.
    pub fn draw(
        lang: Lang,
        directory: &Directory,
        accepted_us: i64,
        events: &[Evidence],
        states: &[&RecipientState],
    ) -> Self {
        let words = lang.words();
        let names = [
            words.stage_accepted,
            words.stage_ready,
            words.stage_handed,
            words.stage_arrived,
            words.stage_registered,
            words.stage_assigned,
            words.stage_processing,
            words.stage_finished,
        ];
        let mut ways: BTreeMap<&str, Way> =
            states.iter().map(|state| (state.recipient.as_str(), Way::default())).collect();
        for event in events {
            for party in &event.recipients {
                if let Some(way) = ways.get_mut(party.agency.as_str()) {
                    way.note(event);
                }
            }
        }
        let rows = states.iter().take(MAX_ROWS).enumerate().filter_map(|(at, state)| {
            let way = ways.get(state.recipient.as_str())?;
            Some(row(lang, directory, accepted_us, at, state, way))
        });
        let rows: Vec<Row> = rows.collect();
        Self {
            width: LEFT + STAGES * STEP,
            height: TOP + rows.len() * HIGH + 8,
            stages: names.into_iter().enumerate().map(|(at, name)| Stage { x: column(at), name }).collect(),
            rows,
        }
    }
}

impl Way {
    fn note(&mut self, event: &Evidence) {
        let at = event.event_time_us;
        let stage = match event.event() {
            EventKind::ContentConsignment => 1,
            EventKind::ContentHandover => 2,
            EventKind::ConsignmentAcceptance => 4,
            EventKind::BusinessStatus => match event.status_code {
                1 => 3,
                4 => 5,
                5 => 6,
                6 => 7,
                _ => return,
            },
            kind @ (EventKind::ContentHandoverFailure | EventKind::ContentConsignmentFailure) => {
                self.failed = Some((2, at, kind));
                return;
            }
            kind @ EventKind::ConsignmentRejection => {
                let stage = if self.reached[2] == 0 { 2 } else { 4 };
                self.failed = Some((stage, at, kind));
                return;
            }
            _ => return,
        };
        if self.reached[stage] == 0 {
            self.reached[stage] = at;
        }
    }
}

fn column(stage: usize) -> usize {
    LEFT + stage * STEP + STEP / 2
}

fn row(
    lang: Lang,
    directory: &Directory,
    accepted_us: i64,
    at: usize,
    state: &RecipientState,
    way: &Way,
) -> Row {
    let who = Who::of(lang, directory, &state.recipient);
    let (state_name, tone) = labels::transport(lang, state.transport());
    use TransportState as T;
    let waits = matches!(state.transport(), T::Scheduled | T::Ready | T::Held);
    let mut reached = way.reached;
    reached[0] = accepted_us;
    let last = (0..STAGES).rev().find(|stage| reached[*stage] != 0).unwrap_or(0);
    let mut dots = Vec::with_capacity(STAGES);
    for (stage, time) in reached.into_iter().enumerate() {
        let (class, text) = match way.failed {
            Some((failed, when, kind)) if failed == stage => {
                ("bad", format!("{} {}", format::short_moment(lang, when), labels::event(lang, kind)))
            }
            Some((failed, ..)) if failed < stage => ("never", String::new()),
            _ if time != 0 => ("done", format::short_moment(lang, time)),
            _ if waits && stage == last + 1 => ("waits", String::new()),
            _ => ("open", String::new()),
        };
        dots.push(Dot { x: column(stage), class, text });
    }
    let end = way.failed.map_or(last, |(stage, ..)| stage.max(last));
    Row {
        y: TOP + at * HIGH + HIGH / 2,
        label: shortened(who.title(), 28),
        told: format!("{}: {state_name} {}", who.title(), labels::status(lang, state.status_code))
            .trim_end()
            .into(),
        who,
        dots,
        from: column(0),
        until: column(end),
        class: tone.class(),
    }
}

/// A text cut at a number of characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

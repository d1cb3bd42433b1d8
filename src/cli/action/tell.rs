//! Actions for people and scripts.

use serde::Serialize;

use crate::{
    cli::{
        Output,
        table::{facts, table},
        verify::docproof::Language,
    },
    client::{
        calendar::vietnam_time,
        readable::{moment, tail},
    },
    domain::time::Timestamp,
    proto::{ActResponse, Action, ActionPhase, ActionTarget},
};

#[derive(Serialize)]
struct Line {
    id: u64,
    kind: &'static str,
    document_id: String,
    sender: String,
    agency: String,
    node: String,
    redirect_to: String,
    reason: String,
    actor: String,
    asked_at: Option<String>,
    phase: &'static str,
    phase_until: Option<String>,
    planned: u64,
    done: u64,
    approved_by: String,
    undone_by: String,
    /// Leaf of the evidence of what was just asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<u64>,
    #[serde(skip)]
    told: Action,
}

#[derive(Serialize)]
struct DryRun {
    count: u64,
    needs_approval: bool,
    touched: Vec<Touched>,
}

#[derive(Serialize)]
struct Touched {
    document_id: String,
    sender: String,
    revision: u64,
    recipient: String,
    state: &'static str,
}

fn line(action: &Action, leaf: Option<u64>) -> Line {
    let target = action.target.clone().unwrap_or_default();
    let name = |actor: &Option<crate::proto::Actor>| actor.clone().unwrap_or_default().name;
    Line {
        id: action.id,
        kind: tail(action.kind().as_str_name(), "ACTION_KIND_"),
        document_id: target.document_id,
        sender: target.sender,
        agency: target.agency,
        node: target.node,
        redirect_to: action.redirect_to.clone(),
        reason: action.reason.clone(),
        actor: name(&action.actor),
        asked_at: moment(action.asked_at_us),
        phase: tail(action.phase().as_str_name(), "ACTION_PHASE_"),
        phase_until: moment(action.phase_until_us),
        planned: action.planned,
        done: action.done,
        approved_by: name(&action.approved_by),
        undone_by: name(&action.undone_by),
        leaf,
        told: action.clone(),
    }
}

/// One action as it stands now.
pub fn action(action: &Action, leaf: Option<u64>, lang: Language, output: &Output) {
    output.print(&line(action, leaf), |line| {
        let words = |en: &'static str, vi: &'static str| if lang == Language::En { en } else { vi };
        let target = action.target.clone().unwrap_or_default();
        let table = facts([
            (words("action", "thao tác"), format!("{} {}", line.id, line.kind)),
            (words("about", "đối tượng"), aim(&target)),
            (words("reason", "lý do"), line.reason.clone()),
            (words("asked by", "người yêu cầu"), format!("{}, {}", line.actor, time(action.asked_at_us))),
            (words("approved by", "người phê duyệt"), line.approved_by.clone()),
            (words("undone by", "người hủy"), line.undone_by.clone()),
            (words("deliveries", "số lượt gửi"), format!("{} / {}", line.done, line.planned)),
            (words("now", "hiện tại"), phase(action, lang)),
        ]);
        match line.leaf {
            Some(leaf) if lang == Language::En => format!("{table}\nOn record as leaf {leaf}."),
            Some(leaf) => format!("{table}\nĐã ghi sổ, bản ghi số {leaf}."),
            None => table,
        }
    });
}

/// Many actions.
pub fn actions(actions: &[Action], lang: Language, output: &Output) {
    let lines: Vec<_> = actions.iter().map(|action| line(action, None)).collect();
    output.print(&lines, |lines| {
        let mut rows = match lang {
            Language::En => table(["number", "what", "about", "by", "asked", "deliveries", "now"]),
            Language::Vi => {
                table(["số", "thao tác", "đối tượng", "người yêu cầu", "lúc", "số lượt gửi", "hiện tại"])
            }
        };
        for line in lines {
            rows.add_row([
                line.id.to_string(),
                line.kind.to_owned(),
                aim(&line.told.target.clone().unwrap_or_default()),
                line.actor.clone(),
                time(line.told.asked_at_us),
                format!("{} / {}", line.done, line.planned),
                phase(&line.told, lang),
            ]);
        }
        rows.to_string()
    });
}

/// What an action would touch.
pub fn dry_run(told: &ActResponse, lang: Language, output: &Output) {
    let touched = told.touched.iter().map(|one| Touched {
        document_id: one.document_id.clone(),
        sender: one.sender.clone(),
        revision: one.revision,
        recipient: one.recipient.clone(),
        state: tail(one.state().as_str_name(), "TRANSPORT_STATE_"),
    });
    let dry = DryRun { count: told.count, needs_approval: told.needs_approval, touched: touched.collect() };
    output.print(&dry, |dry| {
        let mut rows = match lang {
            Language::En => table(["document", "from", "recipient", "state"]),
            Language::Vi => table(["văn bản", "nơi gửi", "nơi nhận", "tình trạng"]),
        };
        for one in &dry.touched {
            rows.add_row([&*one.document_id, &*one.sender, &*one.recipient, one.state]);
        }
        let second = match (dry.needs_approval, lang) {
            (false, _) => "",
            (true, Language::En) => " A second operator has to approve it.",
            (true, Language::Vi) => " Cần người vận hành thứ hai phê duyệt.",
        };
        match lang {
            Language::En => format!("It would touch {} deliveries.{second}\n{rows}", dry.count),
            Language::Vi => format!("Thao tác sẽ tác động đến {} lượt gửi.{second}\n{rows}", dry.count),
        }
    });
}

fn aim(target: &ActionTarget) -> String {
    let parts = [&target.document_id, &target.agency, &target.node];
    parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" → ")
}

fn time(us: i64) -> String {
    Timestamp::given(us).map(vietnam_time).unwrap_or_default()
}

fn phase(action: &Action, lang: Language) -> String {
    let (en, vi) = match action.phase() {
        ActionPhase::Unspecified => ("unknown", "không rõ"),
        ActionPhase::Pending => ("waits for a second person", "chờ người thứ hai phê duyệt"),
        ActionPhase::Applying => ("being applied", "đang thực hiện"),
        ActionPhase::Waiting => {
            ("held; takes effect, can be undone until", "đang tạm giữ; có hiệu lực, hủy được đến")
        }
        ActionPhase::Active => ("in force", "đang có hiệu lực"),
        ActionPhase::Effecting => ("taking effect", "đang có hiệu lực dần"),
        ActionPhase::Undoing => ("being taken back", "đang hủy"),
        ActionPhase::Done => ("done", "đã xong"),
        ActionPhase::Undone => ("taken back", "đã hủy"),
        ActionPhase::Lapsed => ("lapsed without approval", "hết hạn, không được phê duyệt"),
    };
    let words = if lang == Language::En { en } else { vi };
    if action.phase_until_us == 0 {
        words.to_owned()
    } else {
        format!("{words}, {}", time(action.phase_until_us))
    }
}

//! What the exchange's own terms are called.

use super::words::Lang;
use crate::{
    edge::caller::{Identity, Role},
    proto::{AgencyState, EventKind, Level, TransportState},
};

/// How something stands, for its colour. Never the only sign: words always stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Waits,
    Bad,
}

impl Tone {
    /// Name of its class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Waits => "waits",
            Self::Bad => "bad",
        }
    }
}

/// An event.
pub(crate) fn event(lang: Lang, event: EventKind) -> &'static str {
    use EventKind as E;
    let (vi, en) = match event {
        E::SubmissionAcceptance => ("Tiếp nhận văn bản", "Document accepted"),
        E::SubmissionRejection => ("Từ chối tiếp nhận", "Submission refused"),
        E::ContentConsignment => ("Sẵn sàng cho nơi nhận", "At the recipient's disposal"),
        E::ContentConsignmentFailure => ("Không phân phối được", "Could not be put at disposal"),
        E::ContentHandover => ("Đã bàn giao", "Handed over"),
        E::ContentHandoverFailure => ("Quá hạn bàn giao", "Deadline passed"),
        E::ConsignmentAcceptance => ("Nơi nhận đã vào sổ", "Registered by the recipient"),
        E::ConsignmentRejection => ("Nơi nhận từ chối, trả lại", "Refused by the recipient"),
        E::AcceptanceRejectionExpiry => ("Quá hạn trả lời", "No decision in time"),
        E::RelayAcceptance => ("Trục khác đã tiếp nhận", "Taken by another hub"),
        E::RelayRejection => ("Trục khác từ chối", "Refused by another hub"),
        E::RelayFailure => ("Không chuyển được sang Trục khác", "Could not be given to another hub"),
        E::ConsignmentNotification => ("Đã thông báo nơi nhận", "Recipient told"),
        E::ConsignmentNotificationFailure => ("Không thông báo được nơi nhận", "Recipient could not be told"),
        E::BusinessStatus => ("Cập nhật trạng thái xử lý", "Business status"),
        E::StatusParked => ("Trạng thái chờ văn bản đến", "Status kept for a document to come"),
        E::RecallRequested => ("Yêu cầu thu hồi", "Recall asked"),
        E::ReportRejection => ("Từ chối báo cáo của nơi nhận", "Report refused"),
        E::DirectoryChange => ("Thay đổi danh bạ", "Directory change"),
        E::StatusRecorded => ("Trạng thái chỉ ghi nhận", "Status recorded only"),
        E::AuditQuery => ("Tra cứu của kiểm tra viên", "Auditors' questions"),
        other => return other.as_str_name(),
    };
    lang.pick(vi, en)
}

/// How good an event is.
pub(crate) fn event_tone(event: EventKind) -> Tone {
    use EventKind as E;
    match event {
        E::ContentHandover | E::ConsignmentAcceptance => Tone::Good,
        E::SubmissionRejection
        | E::ContentConsignmentFailure
        | E::ContentHandoverFailure
        | E::ConsignmentRejection
        | E::AcceptanceRejectionExpiry
        | E::RelayRejection
        | E::RelayFailure
        | E::ConsignmentNotificationFailure
        | E::ReportRejection => Tone::Bad,
        E::RecallRequested | E::StatusParked => Tone::Waits,
        _ => Tone::Plain,
    }
}

/// Where a delivery stands.
pub(crate) fn transport(lang: Lang, state: TransportState) -> (&'static str, Tone) {
    use TransportState as T;
    let (vi, en, tone) = match state {
        T::Scheduled => ("Chờ phân phối", "Scheduled", Tone::Waits),
        T::Ready => ("Chờ nơi nhận lấy", "Waits for the recipient", Tone::Waits),
        T::HandedOver => ("Đã bàn giao", "Handed over", Tone::Good),
        T::Refused => ("Nơi nhận từ chối", "Refused by the recipient", Tone::Bad),
        T::Expired => ("Quá hạn bàn giao", "Deadline passed", Tone::Bad),
        T::Cancelled => ("Đã hủy", "Cancelled", Tone::Plain),
        other => return (other.as_str_name(), Tone::Plain),
    };
    (lang.pick(vi, en), tone)
}

/// A business status code (DOMAIN 1.6); empty for 0.
pub(crate) fn status(lang: Lang, code: u32) -> String {
    let (vi, en) = match code {
        0 => return String::new(),
        1 => ("Đã đến", "Arrived"),
        2 => ("Từ chối nhận", "Returned"),
        3 => ("Đã tiếp nhận", "Registered"),
        4 => ("Phân công xử lý", "Assigned"),
        5 => ("Đang xử lý", "Being processed"),
        6 => ("Đã hoàn thành", "Finished"),
        13 => ("Yêu cầu thu hồi, lấy lại", "Recall asked"),
        15 => ("Đồng ý thu hồi, cập nhật", "Recall or update agreed"),
        16 => ("Từ chối thu hồi, cập nhật", "Recall or update refused"),
        _ => ("Trạng thái khác", "Another status"),
    };
    format!("{code:02} {}", lang.pick(vi, en))
}

/// 0 normal to 4.
pub(crate) fn urgency(lang: Lang, urgency: u32) -> (&'static str, Tone) {
    let (vi, en, tone) = match urgency {
        0 => ("Thường", "Normal", Tone::Plain),
        1 => ("Khẩn", "Urgent", Tone::Waits),
        2 => ("Thượng khẩn", "Very urgent", Tone::Waits),
        3 => ("Hỏa tốc", "Most urgent", Tone::Bad),
        _ => ("Hỏa tốc hẹn giờ", "Most urgent, timed", Tone::Bad),
    };
    (lang.pick(vi, en), tone)
}

/// Administrative level.
pub(crate) fn level(lang: Lang, level: Level) -> &'static str {
    let (vi, en) = match level {
        Level::Central => ("Trung ương", "Central"),
        Level::Province => ("Cấp tỉnh", "Province"),
        Level::District => ("Cấp huyện", "District"),
        Level::Commune => ("Cấp xã", "Commune"),
        Level::Unspecified => ("Chưa xác định", "Not told"),
    };
    lang.pick(vi, en)
}

/// State of an agency.
pub(crate) fn agency_state(lang: Lang, state: AgencyState) -> (&'static str, Tone) {
    let (vi, en, tone) = match state {
        AgencyState::Active => ("Đang hoạt động", "Active", Tone::Good),
        AgencyState::Suspended => ("Tạm dừng", "Suspended", Tone::Waits),
        AgencyState::Closed => ("Đã đóng", "Closed", Tone::Bad),
    };
    (lang.pick(vi, en), tone)
}

/// Who is signed in.
pub(crate) fn identity(lang: Lang, identity: &Identity) -> String {
    let (vi, en, name) = match &identity.role {
        Role::Node(name) => ("Nút kết nối", "Node", name.as_str()),
        Role::Operator(name) => ("Cán bộ vận hành", "Operator", name.as_str()),
        Role::Security(name) => ("Cán bộ an toàn thông tin", "Security officer", name.as_str()),
        Role::Registrar(name) => ("Cán bộ quản lý danh bạ", "Registrar", name.as_str()),
        Role::Viewer(name) => ("Người theo dõi", "Viewer", name.as_str()),
        Role::Auditor(name) | Role::ScopedAuditor(name, _) => ("Kiểm tra viên", "Auditor", name.as_str()),
    };
    let role = lang.pick(vi, en);
    match &identity.role {
        Role::ScopedAuditor(_, agency) => format!("{role} {name} ({agency})"),
        _ => format!("{role} {name}"),
    }
}

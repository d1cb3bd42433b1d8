//! What the exchange's own terms are called.

use super::words::Lang;
use crate::{
    edge::caller::{Identity, Role},
    proto::{ActionKind, ActionPhase, AgencyState, EventKind, Level, TransportState, WhyOwner},
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
        E::AdminAction => ("Thao tác của cán bộ vận hành", "Action of an operator"),
        E::PayloadErased => ("Đã xóa nội dung theo thời hạn lưu", "Content erased"),
        E::LegalHold => ("Giữ nội dung theo yêu cầu", "Content kept on order"),
        E::DailyDigest => ("Tổng hợp trong ngày", "Digest of a day"),
        E::LogKeyChange => ("Đổi khóa nhật ký", "Key of the log changed"),
        E::DeliveryHeld => ("Tạm giữ", "Held"),
        E::DeliveryReleased => ("Thôi giữ", "Released"),
        E::DeliveryCancelled => ("Đã hủy gửi", "Cancelled"),
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
        E::RecallRequested | E::StatusParked | E::DeliveryHeld => Tone::Waits,
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

/// What an operator does.
pub(crate) fn action(lang: Lang, kind: ActionKind) -> &'static str {
    let (vi, en) = match kind {
        ActionKind::Hold => ("Tạm giữ", "Hold"),
        ActionKind::Release => ("Thôi giữ", "Release"),
        ActionKind::Requeue => ("Chào lại ngay", "Offer again now"),
        ActionKind::Redirect => ("Chuyển nơi nhận", "Redirect"),
        ActionKind::Cancel => ("Hủy gửi", "Cancel"),
        ActionKind::Expire => ("Kết thúc hạn ngay", "Expire now"),
        ActionKind::Resend => ("Gửi lại", "Resend"),
        other => return other.as_str_name(),
    };
    lang.pick(vi, en)
}

/// What that means.
pub(crate) fn action_hint(lang: Lang, kind: ActionKind) -> &'static str {
    let (vi, en) = match kind {
        ActionKind::Hold => (
            "Không chào cho nơi nhận đến hết thời gian đã chọn. Hạn bàn giao vẫn tính.",
            "Not offered until the end that you choose. The deadline goes on.",
        ),
        ActionKind::Release => ("Bỏ tạm giữ, văn bản lại được chào.", "Ends a hold: it is offered again."),
        ActionKind::Requeue => (
            "Bỏ thời gian nghỉ giữa các lần chào, chào lại ngay.",
            "Ends leases and pauses: it is offered again now.",
        ),
        ActionKind::Redirect => (
            "Gửi sang cơ quan khác thay cho nơi nhận này. Hoàn tác được trong thời gian chờ.",
            "Goes to another agency instead. Can be undone within the window.",
        ),
        ActionKind::Cancel => (
            "Đưa ra khỏi hàng chờ. Hoàn tác được trong thời gian chờ.",
            "Out of the queue. Can be undone within the window.",
        ),
        ActionKind::Expire => (
            "Coi như đã quá hạn bàn giao. Hoàn tác được trong thời gian chờ.",
            "As if the deadline had passed. Can be undone within the window.",
        ),
        ActionKind::Resend => (
            "Văn bản đã quá hạn hoặc đã hủy được chờ bàn giao lại.",
            "What expired or was cancelled waits again.",
        ),
        other => return other.as_str_name(),
    };
    lang.pick(vi, en)
}

/// How far an action is.
pub(crate) fn phase(lang: Lang, phase: ActionPhase) -> (&'static str, Tone) {
    use ActionPhase as P;
    let (vi, en, tone) = match phase {
        P::Pending => ("Chờ người thứ hai phê duyệt", "Waits for a second person", Tone::Waits),
        P::Applying => ("Đang áp dụng", "Being applied", Tone::Waits),
        P::Waiting => ("Chờ có hiệu lực, hoàn tác được", "Takes effect soon, can be undone", Tone::Waits),
        P::Active => ("Đang giữ", "In force", Tone::Waits),
        P::Effecting => ("Đang có hiệu lực", "Taking effect", Tone::Waits),
        P::Undoing => ("Đang hoàn tác", "Being undone", Tone::Waits),
        P::Done => ("Đã xong", "Done", Tone::Good),
        P::Undone => ("Đã hoàn tác", "Undone", Tone::Plain),
        P::Lapsed => ("Không được phê duyệt kịp", "Lapsed", Tone::Plain),
        other => return (other.as_str_name(), Tone::Plain),
    };
    (lang.pick(vi, en), tone)
}

/// Who must act.
pub(crate) fn owner(lang: Lang, owner: WhyOwner) -> &'static str {
    let (vi, en) = match owner {
        WhyOwner::Nobody | WhyOwner::Unspecified => ("Không ai phải làm gì", "Nobody: it goes on by itself"),
        WhyOwner::Recipient => ("Nơi nhận", "The recipient"),
        WhyOwner::Sender => ("Nơi gửi", "The sender"),
        WhyOwner::Operator => ("Cán bộ vận hành", "The operator"),
        WhyOwner::Security => ("Cán bộ an toàn thông tin", "The security officer"),
        WhyOwner::Registrar => ("Cán bộ quản lý danh bạ", "The registrar"),
    };
    lang.pick(vi, en)
}

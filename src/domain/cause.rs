//! Why a delivery is where it is: one table maps each cause to who must act, what it means and the next step, in
//! English and in Vietnamese. Reasons of refusals have theirs in `reason`.

use crate::proto::{WhyCause, WhyOwner};

/// What a cause means for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who must act.
    pub owner: WhyOwner,
    /// What it means, in English. `{}` stands for whom or what it is about.
    pub says_en: &'static str,
    /// The same in Vietnamese.
    pub says_vi: &'static str,
    /// The next step, in English.
    pub help_en: &'static str,
    /// The next step, in Vietnamese.
    pub help_vi: &'static str,
}

/// All causes.
pub const ALL: [WhyCause; 25] = [
    WhyCause::Unspecified,
    WhyCause::Delivered,
    WhyCause::Offered,
    WhyCause::NodeAway,
    WhyCause::NoNode,
    WhyCause::NodeRevoked,
    WhyCause::AgencySuspended,
    WhyCause::AgencyClosed,
    WhyCause::NoValidKey,
    WhyCause::Held,
    WhyCause::Ending,
    WhyCause::Paused,
    WhyCause::InLine,
    WhyCause::Expanding,
    WhyCause::HubStopping,
    WhyCause::DeadlinePassed,
    WhyCause::Expired,
    WhyCause::Refused,
    WhyCause::Cancelled,
    WhyCause::Redirected,
    WhyCause::Returned,
    WhyCause::CertificateExpired,
    WhyCause::SessionFlaps,
    WhyCause::ClockOff,
    WhyCause::DiskFull,
];

/// The table.
#[must_use]
pub const fn entry(cause: WhyCause) -> Entry {
    match cause {
        WhyCause::Unspecified => row(
            WhyOwner::Operator,
            "the hub can't tell why",
            "Trục chưa xác định được nguyên nhân",
            "Look at the document's timeline with `truc status` and run `truc fsck` on a copy of the hub's folder.",
            "Đề nghị xem lịch sử văn bản bằng `truc status` và chạy `truc fsck` trên bản sao dữ liệu của Trục.",
        ),
        WhyCause::Delivered => row(
            WhyOwner::Nobody,
            "the recipient's system took it over and signed for it",
            "hệ thống của nơi nhận đã tiếp nhận và ký xác nhận",
            "Nothing to do; what the recipient does with it comes as statuses 01 to 06.",
            "Không cần xử lý; tình hình giải quyết của nơi nhận được thông báo bằng các mã trạng thái 01 đến 06.",
        ),
        WhyCause::Offered => row(
            WhyOwner::Recipient,
            "it was given to a session of {}, which has not answered yet",
            "đã chuyển cho phiên kết nối của {}, chưa có phản hồi",
            "Wait until the lease ends; if that repeats, ask those who run the recipient's system why it signs no receipt.",
            "Chờ hết thời gian giữ chỗ; nếu lặp lại, đề nghị đơn vị vận hành hệ thống nơi nhận kiểm tra vì sao chưa ký xác nhận.",
        ),
        WhyCause::NodeAway => row(
            WhyOwner::Recipient,
            "the recipient's node {} is not connected",
            "nút kết nối {} của nơi nhận không kết nối với Trục",
            "Ask those who run the recipient's system to start it and to check network and certificate; it goes out as soon as the node is back.",
            "Đề nghị đơn vị vận hành hệ thống nơi nhận khởi động lại, kiểm tra đường truyền và chứng thư; văn bản được chuyển ngay khi có kết nối.",
        ),
        WhyCause::NoNode => row(
            WhyOwner::Security,
            "no node acts for the recipient",
            "chưa có nút kết nối nào đại diện cho nơi nhận",
            "The security officer registers one: `truc directory node add NAME --agency AGENCY`.",
            "Đề nghị cán bộ an ninh đăng ký nút kết nối: `truc directory node add NAME --agency AGENCY`.",
        ),
        WhyCause::NodeRevoked => row(
            WhyOwner::Security,
            "the recipient's node {} was revoked",
            "nút kết nối {} của nơi nhận đã bị thu hồi",
            "The security officer issues a certificate under a new name and registers that node for the agency.",
            "Đề nghị cán bộ an ninh cấp chứng thư với tên mới và đăng ký nút kết nối đó cho cơ quan.",
        ),
        WhyCause::AgencySuspended => row(
            WhyOwner::Registrar,
            "the recipient is suspended and its system is not connected",
            "nơi nhận đang tạm ngừng hoạt động và không kết nối với Trục",
            "Ask the registrar when it returns; meanwhile an operator can redirect the document with `truc action redirect`.",
            "Đề nghị hỏi cán bộ quản lý danh bạ thời điểm hoạt động lại; trong khi chờ có thể chuyển hướng bằng `truc action redirect`.",
        ),
        WhyCause::AgencyClosed => row(
            WhyOwner::Operator,
            "the recipient is closed and its system is not connected",
            "nơi nhận đã chấm dứt hoạt động và không kết nối với Trục",
            "Redirect it to the agency that took over its tasks: `truc action redirect --to AGENCY`.",
            "Đề nghị chuyển hướng đến cơ quan tiếp nhận nhiệm vụ: `truc action redirect --to AGENCY`.",
        ),
        WhyCause::NoValidKey => row(
            WhyOwner::Security,
            "the recipient has no valid key ({}), so it can't sign a receipt",
            "nơi nhận không có khóa ký còn hiệu lực ({}) nên không ký xác nhận được",
            "The security officer registers a new key of the agency: `truc directory key add`.",
            "Đề nghị cán bộ an ninh đăng ký khóa mới của cơ quan: `truc directory key add`.",
        ),
        WhyCause::Held => row(
            WhyOwner::Operator,
            "the operator {} holds it",
            "người vận hành {} đang tạm giữ",
            "`truc action show` tells why; `truc action release` ends it. The deadline goes on meanwhile.",
            "Xem lý do bằng `truc action show`, thôi tạm giữ bằng `truc action release`. Thời hạn tiếp nhận vẫn được tính.",
        ),
        WhyCause::Ending => row(
            WhyOwner::Operator,
            "the operator {} ends it, and it is held until that takes effect",
            "người vận hành {} đã yêu cầu kết thúc, văn bản bị tạm giữ đến khi có hiệu lực",
            "If that is a mistake, take it back in time with `truc action undo`.",
            "Nếu nhầm lẫn, đề nghị hủy thao tác kịp thời bằng `truc action undo`.",
        ),
        WhyCause::Paused => row(
            WhyOwner::Recipient,
            "it was offered and not taken; the hub pauses before the next offer",
            "đã chuyển nhưng nơi nhận chưa tiếp nhận; Trục tạm chờ trước lần chuyển kế tiếp",
            "Ask those who run the recipient's system why it gives no receipt; `truc action requeue` offers it at once.",
            "Đề nghị đơn vị vận hành hệ thống nơi nhận kiểm tra vì sao chưa xác nhận; có thể chuyển lại ngay bằng `truc action requeue`.",
        ),
        WhyCause::InLine => row(
            WhyOwner::Nobody,
            "the recipient's node {} is connected; others go first, or it asks for no more just now",
            "nút kết nối {} của nơi nhận đang kết nối; văn bản đang chờ đến lượt",
            "Nothing to do if the queue gets shorter (`truc queue show`); if not, the recipient's system takes over too slowly.",
            "Không cần xử lý nếu hàng chờ giảm dần (`truc queue show`); nếu không, hệ thống nơi nhận tiếp nhận quá chậm.",
        ),
        WhyCause::Expanding => row(
            WhyOwner::Nobody,
            "the list of recipients is being worked through",
            "Trục đang lần lượt xử lý danh sách nơi nhận",
            "Nothing to do; thousands of recipients take some seconds.",
            "Không cần xử lý; danh sách hàng nghìn nơi nhận cần vài giây.",
        ),
        WhyCause::HubStopping => row(
            WhyOwner::Operator,
            "the hub is stopping",
            "Trục đang dừng",
            "It goes out after the hub has started again; nothing is lost.",
            "Văn bản được chuyển sau khi Trục khởi động lại; không bị mất.",
        ),
        WhyCause::DeadlinePassed => row(
            WhyOwner::Nobody,
            "the deadline has passed; the evidence of it is being written",
            "đã quá thời hạn tiếp nhận; Trục đang ghi bằng chứng",
            "Ask again in a moment; then the sender decides whether to send it again.",
            "Đề nghị xem lại sau giây lát; sau đó nơi gửi quyết định có gửi lại hay không.",
        ),
        WhyCause::Expired => row(
            WhyOwner::Sender,
            "it was not taken over by the deadline",
            "nơi nhận không tiếp nhận trong thời hạn",
            "The sender sends it again, or an operator does with `truc action resend`, once the recipient's system works.",
            "Đề nghị nơi gửi gửi lại, hoặc người vận hành gửi lại bằng `truc action resend` khi hệ thống nơi nhận hoạt động.",
        ),
        WhyCause::Refused => row(
            WhyOwner::Sender,
            "the recipient's system refused it and signed the refusal",
            "hệ thống của nơi nhận từ chối và đã ký xác nhận từ chối",
            "The sender reads the reason in the signed receipt (`truc receipt`), corrects the document and sends it anew.",
            "Đề nghị nơi gửi xem lý do trong xác nhận đã ký (`truc receipt`), chỉnh sửa và gửi lại văn bản.",
        ),
        WhyCause::Cancelled => row(
            WhyOwner::Sender,
            "the operator {} ended it",
            "người vận hành {} đã kết thúc việc gửi",
            "`truc action show` tells why. If it is still needed, `truc action resend` puts it into the queue again.",
            "Xem lý do bằng `truc action show`. Nếu vẫn cần gửi, dùng `truc action resend` để đưa lại vào hàng chờ.",
        ),
        WhyCause::Redirected => row(
            WhyOwner::Nobody,
            "it goes to {} instead",
            "văn bản được chuyển hướng đến {}",
            "Nothing to do here; follow the line of that agency.",
            "Không cần xử lý ở đây; đề nghị theo dõi dòng của cơ quan đó.",
        ),
        WhyCause::Returned => row(
            WhyOwner::Sender,
            "it was taken over, and a clerk of the recipient returned it (status 02)",
            "đã tiếp nhận, sau đó văn thư nơi nhận trả lại (trạng thái 02)",
            "The sender reads the reason in the signed status, corrects the document and sends it anew.",
            "Đề nghị nơi gửi xem lý do trong trạng thái đã ký, chỉnh sửa và gửi lại văn bản.",
        ),
        WhyCause::CertificateExpired => row(
            WhyOwner::Security,
            "the certificate of the recipient's node {} has expired, so it can't connect",
            "chứng thư của nút kết nối {} đã hết hạn nên nơi nhận không kết nối được",
            "The security officer issues a new certificate for the same name: `truc pki issue --role node`.",
            "Đề nghị cán bộ an ninh cấp chứng thư mới với cùng tên: `truc pki issue --role node`.",
        ),
        WhyCause::SessionFlaps => row(
            WhyOwner::Recipient,
            "the recipient's node {} connects and breaks off again and again, and takes nothing over",
            "nút kết nối {} của nơi nhận liên tục kết nối rồi ngắt mà không tiếp nhận văn bản",
            "Ask those who run the recipient's system to look at its log: it breaks off on its side, or the line between does.",
            "Đề nghị đơn vị vận hành hệ thống nơi nhận kiểm tra nhật ký phần mềm kết nối và đường truyền: kết nối bị ngắt từ phía nơi nhận hoặc trên đường truyền.",
        ),
        WhyCause::ClockOff => row(
            WhyOwner::Operator,
            "the hub's clock is not right: by it a key, a certificate or the deadline is over or not yet valid",
            "đồng hồ của Trục sai: theo đồng hồ này khóa, chứng thư hoặc thời hạn đã hết hay chưa có hiệu lực",
            "Set the clock of the hub's machine by NTP; the condition `clock-jumped` of `/readyz` tells how far off it is.",
            "Đề nghị đồng bộ giờ máy chủ Trục bằng NTP; xem độ lệch tại tình trạng `clock-jumped` trong `/readyz`.",
        ),
        WhyCause::DiskFull => row(
            WhyOwner::Operator,
            "the hub's disk is so full that no receipt would find room, so nothing is offered",
            "đĩa của Trục đầy đến mức không còn chỗ ghi xác nhận nên Trục tạm ngừng chuyển văn bản",
            "Make room on the disk of data_dir, or move it to a larger one; the hub goes on by itself. Delete nothing in it by hand.",
            "Đề nghị giải phóng dung lượng đĩa chứa data_dir hoặc chuyển sang đĩa lớn hơn; Trục tự chuyển tiếp. Không tự xóa tệp trong thư mục này.",
        ),
    }
}

/// Its name in metrics and conditions, e.g. `node-away`.
#[must_use]
pub fn name(cause: WhyCause) -> String {
    let name = cause.as_str_name();
    name.strip_prefix("WHY_CAUSE_").unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

const fn row(
    owner: WhyOwner,
    says_en: &'static str,
    says_vi: &'static str,
    help_en: &'static str,
    help_vi: &'static str,
) -> Entry {
    Entry { owner, says_en, says_vi, help_en, help_vi }
}

/// Who must act, for people: English and Vietnamese.
#[must_use]
pub const fn owner_words(owner: WhyOwner) -> (&'static str, &'static str) {
    match owner {
        WhyOwner::Unspecified | WhyOwner::Nobody => ("nobody", "không ai"),
        WhyOwner::Recipient => ("the recipient's system", "hệ thống nơi nhận"),
        WhyOwner::Sender => ("the sender", "nơi gửi"),
        WhyOwner::Operator => ("an operator of the hub", "người vận hành Trục"),
        WhyOwner::Security => ("the security officer", "cán bộ an ninh"),
        WhyOwner::Registrar => ("the registrar", "cán bộ quản lý danh bạ"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_an_owner_and_helps_in_two_languages() {
        for (number, cause) in (0..).zip(ALL) {
            assert_eq!(WhyCause::try_from(number), Ok(cause), "in order and complete");
            let entry = entry(cause);
            assert_ne!(entry.owner, WhyOwner::Unspecified, "{cause:?}");
            for (english, vietnamese) in [(entry.says_en, entry.says_vi), (entry.help_en, entry.help_vi)] {
                assert!(english.is_ascii() && !vietnamese.is_ascii(), "{cause:?}");
                assert_eq!(english.contains("{}"), vietnamese.contains("{}"), "{cause:?}");
                let decomposed = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
                assert!(!vietnamese.chars().any(decomposed), "{cause:?}: precomposed letters, please");
            }
            assert!(entry.help_en.ends_with('.') && entry.help_vi.ends_with('.'), "{cause:?}");
        }
        assert!(WhyCause::try_from(i32::try_from(ALL.len()).expect("few")).is_err(), "none is left out");
    }
}

//! The table. It repeats the brackets of `reason.proto`; a test compares the two.

use super::{
    Entry,
    GrpcCode::{self, *},
    ReasonCode,
    Retry::{self, *},
};

/// What a code means for the caller.
#[must_use]
pub const fn entry(code: ReasonCode) -> Entry {
    match code {
        ReasonCode::Unspecified => row(
            Unknown,
            Never,
            "No reason was given. Report it to the hub's operator with the time of the call.",
            "Không có lý do kèm theo. Đề nghị thông báo cho đơn vị vận hành Trục kèm thời điểm gọi.",
        ),
        ReasonCode::Malformed => row(
            InvalidArgument,
            Never,
            "The bytes are not the message that this call expects. Build it from the current .proto files and sign again.",
            "Dữ liệu không đúng cấu trúc bản tin của lệnh gọi này. Đề nghị tạo lại bản tin theo tệp .proto hiện hành và ký lại.",
        ),
        ReasonCode::InvalidField => row(
            InvalidArgument,
            Never,
            "Correct the field that the detail names, then sign and send again.",
            "Đề nghị sửa trường thông tin nêu trong phần chi tiết, sau đó ký và gửi lại.",
        ),
        ReasonCode::WrongPayloadType => row(
            InvalidArgument,
            Never,
            "Set payload_type to the type that this call takes (see envelope.proto) and sign again.",
            "Đề nghị đặt payload_type đúng loại mà lệnh gọi này tiếp nhận (xem envelope.proto) và ký lại.",
        ),
        ReasonCode::TooLarge => row(
            InvalidArgument,
            Never,
            "Ask GetCapabilities for the limits, then make the package smaller or split it.",
            "Đề nghị xem các giới hạn bằng GetCapabilities, sau đó giảm dung lượng hoặc tách gói tin.",
        ),
        ReasonCode::WrongHub => row(
            InvalidArgument,
            Never,
            "Put the origin that GetCapabilities answers into hub_origin and sign again, or send it to the hub that it was made for.",
            "Đề nghị ghi vào hub_origin giá trị origin do GetCapabilities trả về và ký lại, hoặc gửi đến đúng Trục đã định.",
        ),
        ReasonCode::ClockSkew => row(
            FailedPrecondition,
            Never,
            "Synchronise your clock with a time server, then sign and send again.",
            "Đề nghị đồng bộ đồng hồ hệ thống với máy chủ thời gian, sau đó ký và gửi lại.",
        ),
        ReasonCode::StateSecret => row(
            FailedPrecondition,
            Never,
            "State secrets must not be sent through this exchange. Use the channel that the law on protecting state secrets provides.",
            "Văn bản chứa bí mật nhà nước không được gửi qua Trục. Đề nghị gửi theo quy định của pháp luật về bảo vệ bí mật nhà nước.",
        ),
        ReasonCode::NoRecipients => row(
            InvalidArgument,
            Never,
            "Name at least one active recipient, or a group that has one, then sign and send again.",
            "Đề nghị chọn ít nhất một nơi nhận đang hoạt động hoặc một nhóm có nơi nhận đang hoạt động, sau đó ký và gửi lại.",
        ),
        ReasonCode::NotAuthorised => row(
            PermissionDenied,
            AfterDirectoryChange,
            "Ask the hub's operator to register this node for the agency, then send again.",
            "Đề nghị đơn vị vận hành Trục đăng ký cho nút kết nối này được đại diện cơ quan, sau đó gửi lại.",
        ),
        ReasonCode::RoleRequired => row(
            PermissionDenied,
            Never,
            "Use a certificate of the role that this call needs; the hub's operator issues it.",
            "Đề nghị sử dụng chứng thư có vai trò mà lệnh gọi yêu cầu; chứng thư do đơn vị vận hành Trục cấp.",
        ),
        ReasonCode::UnknownNode => row(
            PermissionDenied,
            AfterDirectoryChange,
            "Ask the hub's operator to register the node. A revoked name is never used again: register a new one.",
            "Đề nghị đơn vị vận hành Trục đăng ký nút kết nối. Tên đã thu hồi không được dùng lại, cần đăng ký tên mới.",
        ),
        ReasonCode::UnknownAgency => row(
            NotFound,
            AfterDirectoryChange,
            "Check the agency identifier; if it is right, ask the hub's operator to register the agency.",
            "Đề nghị kiểm tra mã định danh cơ quan; nếu đúng, đề nghị đơn vị vận hành Trục đăng ký cơ quan này.",
        ),
        ReasonCode::UnknownRecipient => row(
            FailedPrecondition,
            AfterDirectoryChange,
            "Check the named recipient in the directory; correct it, or ask the hub's operator to register it.",
            "Đề nghị đối chiếu nơi nhận nêu trong phần chi tiết với danh bạ; sửa lại hoặc đề nghị đơn vị vận hành Trục đăng ký.",
        ),
        ReasonCode::AgencyClosed => row(
            FailedPrecondition,
            AfterDirectoryChange,
            "Send to the agency that took over its tasks; if it is only suspended, ask the hub's operator when it returns.",
            "Đề nghị gửi đến cơ quan tiếp nhận nhiệm vụ; nếu cơ quan chỉ tạm ngừng, đề nghị hỏi đơn vị vận hành Trục về thời điểm hoạt động lại.",
        ),
        ReasonCode::UnknownKey => row(
            FailedPrecondition,
            AfterDirectoryChange,
            "Sign with a key that is registered for the agency, or ask the hub's operator to register this key.",
            "Đề nghị ký bằng khóa đã đăng ký cho cơ quan, hoặc đề nghị đơn vị vận hành Trục đăng ký khóa này.",
        ),
        ReasonCode::BadSignature => row(
            InvalidArgument,
            Never,
            "Sign exactly the bytes that you send (see envelope.proto) and check that the key belongs to key_id.",
            "Đề nghị ký đúng chuỗi byte được gửi (xem envelope.proto) và kiểm tra khóa ký khớp với key_id.",
        ),
        ReasonCode::KeyRevoked => row(
            FailedPrecondition,
            Never,
            "Sign with another key of the agency; a revoked key stays revoked.",
            "Đề nghị ký bằng khóa khác của cơ quan; khóa đã thu hồi không có hiệu lực trở lại.",
        ),
        ReasonCode::KeyNotValid => row(
            FailedPrecondition,
            Never,
            "Sign with a key that is valid now, or have a new key registered.",
            "Đề nghị ký bằng khóa đang còn hiệu lực, hoặc đăng ký khóa mới.",
        ),
        ReasonCode::UnsupportedAlgorithm => row(
            InvalidArgument,
            Never,
            "Use Ed25519 or ECDSA P-256 with SHA-256.",
            "Đề nghị sử dụng thuật toán Ed25519 hoặc ECDSA P-256 với SHA-256.",
        ),
        ReasonCode::DigestMismatch => row(
            InvalidArgument,
            Never,
            "Compute SHA-256 and size over the very bytes that you upload, and upload those bytes again.",
            "Đề nghị tính lại SHA-256 và dung lượng trên đúng tệp được tải lên, sau đó tải lại tệp đó.",
        ),
        ReasonCode::BodyMissing => row(
            FailedPrecondition,
            AfterUpload,
            "Upload the attachment that the detail names, then submit the same package again.",
            "Đề nghị tải lên tệp đính kèm nêu trong phần chi tiết, sau đó gửi lại đúng gói tin này.",
        ),
        ReasonCode::Conflict => row(
            AlreadyExists,
            Never,
            "This name already stands for other content. Use a new document id, or a new revision of this one.",
            "Tên này đã gắn với nội dung khác. Đề nghị dùng mã văn bản mới hoặc tăng số phiên bản của văn bản.",
        ),
        ReasonCode::UnknownDocument => row(
            NotFound,
            Never,
            "Check sender, document id and revision. If the document is new, wait until the hub offers it to you.",
            "Đề nghị kiểm tra cơ quan gửi, mã văn bản và số phiên bản. Nếu là văn bản mới, đề nghị chờ Trục chuyển đến.",
        ),
        ReasonCode::NotARecipient => row(
            PermissionDenied,
            Never,
            "Answer in the name of the agency that the document was sent to, or ask the sender to add yours.",
            "Đề nghị phản hồi với tư cách cơ quan được gửi văn bản, hoặc đề nghị cơ quan gửi bổ sung nơi nhận.",
        ),
        ReasonCode::AlreadyFinal => row(
            FailedPrecondition,
            Never,
            "The delivery already has another outcome, which stays. Look at the document's timeline; tell the sender by a new document if it is wrong.",
            "Việc gửi nhận đã có kết quả khác và kết quả đó không thay đổi. Đề nghị xem lịch sử văn bản; nếu chưa đúng, đề nghị thông báo cho cơ quan gửi bằng văn bản mới.",
        ),
        ReasonCode::DeadlinePassed => row(
            FailedPrecondition,
            Never,
            "The time for taking the document over has ended. Ask the sender to send it again.",
            "Đã hết thời hạn tiếp nhận văn bản. Đề nghị liên hệ cơ quan gửi để gửi lại.",
        ),
        ReasonCode::ReasonRequired => row(
            InvalidArgument,
            Never,
            "Write the reason in words, then sign and send again.",
            "Đề nghị ghi rõ lý do, sau đó ký và gửi lại.",
        ),
        ReasonCode::UnknownStatusCode => row(
            InvalidArgument,
            Never,
            "Use one of 01 to 06, 13, 15 or 16.",
            "Đề nghị sử dụng một trong các mã trạng thái từ 01 đến 06, 13, 15 hoặc 16.",
        ),
        ReasonCode::KeyWeak => row(
            InvalidArgument,
            Never,
            "Make a new key with a trusted tool and register that one.",
            "Đề nghị tạo khóa mới bằng công cụ tin cậy và đăng ký khóa đó.",
        ),
        ReasonCode::KeyAlreadyUsed => row(
            AlreadyExists,
            Never,
            "Make a new key for this agency; a key is registered once and for one agency.",
            "Đề nghị tạo khóa mới cho cơ quan này; mỗi khóa chỉ được đăng ký một lần cho một cơ quan.",
        ),
        ReasonCode::BadIdentifier => row(
            InvalidArgument,
            Never,
            "Write the identifier as in the published list: 000.00.00.H53 or H53.31.21.",
            "Đề nghị ghi mã định danh đúng theo danh sách đã công bố: dạng 000.00.00.H53 hoặc H53.31.21.",
        ),
        ReasonCode::Duplicate => row(
            AlreadyExists,
            Never,
            "Remove the row, or give it the identifier that belongs to it.",
            "Đề nghị bỏ dòng trùng lặp hoặc ghi đúng mã định danh của dòng đó.",
        ),
        ReasonCode::WrongOffset => row(
            OutOfRange,
            AtOffset,
            "Ask QueryUpload how much is there and go on at that offset.",
            "Đề nghị dùng QueryUpload để biết dung lượng đã nhận và tải tiếp từ vị trí đó.",
        ),
        ReasonCode::LeaseLost => row(
            FailedPrecondition,
            Never,
            "Wait for the next offer of this delivery and answer that one.",
            "Đề nghị chờ Trục chuyển lại văn bản này và phản hồi cho lần chuyển đó.",
        ),
        ReasonCode::Busy => row(
            ResourceExhausted,
            Later,
            "Wait as long as RetryInfo says, then send the same message again.",
            "Trục đang quá tải. Đề nghị chờ đủ thời gian nêu trong RetryInfo, sau đó gửi lại đúng bản tin này.",
        ),
        ReasonCode::RateLimited => row(
            ResourceExhausted,
            Later,
            "Send more slowly: wait as long as RetryInfo says, then send the same message again. The hub's operator can raise the limit.",
            "Nút kết nối hoặc cơ quan gửi vượt tốc độ cho phép. Đề nghị chờ đủ thời gian nêu trong RetryInfo rồi gửi lại; có thể đề nghị đơn vị vận hành Trục nâng giới hạn.",
        ),
        ReasonCode::TooSlow => row(
            Unavailable,
            Later,
            "Connect again, send each message without long pauses, and read what the hub sends.",
            "Kết nối bị ngắt do không tiếp tục gửi hoặc không đọc dữ liệu. Đề nghị kết nối lại, gửi liên tục từng bản tin và đọc dữ liệu Trục gửi về.",
        ),
        ReasonCode::OutsideScope => row(
            PermissionDenied,
            Never,
            "Ask about agencies of the subtree that your certificate names, or use a certificate that sees more.",
            "Chỉ được tra cứu các cơ quan thuộc phạm vi ghi trong chứng thư. Đề nghị thu hẹp điều kiện tra cứu hoặc dùng chứng thư có phạm vi rộng hơn.",
        ),
        ReasonCode::ContentsErased => row(
            NotFound,
            Never,
            "The contents are gone by the hub's retention rules. Receipts and proofs still hold; ask the sender or another recipient for the document.",
            "Nội dung đã được xóa theo thời hạn bảo quản của Trục. Biên nhận và chứng cứ vẫn còn giá trị; đề nghị liên hệ cơ quan gửi hoặc nơi nhận khác để lấy văn bản.",
        ),
        ReasonCode::UnknownHold => row(
            NotFound,
            Never,
            "List the holds in force with `truc retention holds` and name one of them by its leaf.",
            "Đề nghị xem danh sách lệnh giữ còn hiệu lực bằng `truc retention holds` và ghi đúng số bản ghi của lệnh giữ.",
        ),
        ReasonCode::AlreadyHeld => row(
            AlreadyExists,
            Never,
            "Nothing to do: it is kept already. Lift the hold that the detail names first if its reason has to change.",
            "Không cần xử lý: nội dung đã được giữ. Nếu cần thay đổi lý do, đề nghị gỡ lệnh giữ nêu trong phần chi tiết trước.",
        ),
        ReasonCode::ShuttingDown => row(
            Unavailable,
            Later,
            "Connect again and send the same message again.",
            "Trục đang tạm dừng. Đề nghị kết nối lại và gửi lại đúng bản tin này.",
        ),
        ReasonCode::DiskFull => row(
            Unavailable,
            Later,
            "Nothing was taken. Send the same message again later; the hub's operator makes room, and the hub goes on by itself.",
            "Trục chưa tiếp nhận. Đề nghị gửi lại đúng bản tin này sau; đơn vị vận hành giải phóng dung lượng đĩa thì Trục tự tiếp nhận lại.",
        ),
        ReasonCode::StoreFailed => row(
            Unavailable,
            Later,
            "Send the same message again until it is answered: it takes effect only once.",
            "Đề nghị gửi lại đúng bản tin này cho đến khi có phản hồi; bản tin chỉ có hiệu lực một lần.",
        ),
        ReasonCode::NotCosigned => row(
            Unavailable,
            Later,
            "Ask again in some seconds. If it stays so, `truc witnesses` shows which witness does not cosign; without \
             `cosigned` the proof comes at once.",
            "Đề nghị hỏi lại sau vài giây. Nếu vẫn chưa được, dùng `truc witnesses` để xem bên chứng kiến nào chưa ký; \
             nếu không yêu cầu `cosigned` thì có ngay bằng chứng.",
        ),
        ReasonCode::Damaged => row(
            DataLoss,
            Never,
            "Tell the hub's operator at once; the operator runs `truc fsck` and restores from the copy.",
            "Đề nghị thông báo ngay cho đơn vị vận hành Trục để chạy `truc fsck` và khôi phục từ bản sao lưu.",
        ),
        ReasonCode::RefusedByRecipient => row(
            Ok,
            Never,
            "Read the recipient's reason, correct the document and send it under a new id or revision.",
            "Đề nghị xem lý do của nơi nhận, chỉnh sửa văn bản và gửi lại với mã văn bản hoặc số phiên bản mới.",
        ),
        ReasonCode::BadCursor => row(
            InvalidArgument,
            Never,
            "Use a cursor or page token exactly as this hub gave it, or start without one.",
            "Đề nghị dùng nguyên vẹn con trỏ hoặc mã trang do Trục này cấp, hoặc bắt đầu lại từ đầu.",
        ),
        ReasonCode::HeldByOperator => row(
            Ok,
            Never,
            "Ask the hub's operator why it is held and until when; `truc why` tells it. Nothing is lost, and the deadline goes on.",
            "Đề nghị liên hệ đơn vị vận hành Trục để biết lý do và thời hạn tạm giữ (xem bằng `truc why`). Văn bản không bị mất, thời hạn tiếp nhận vẫn được tính.",
        ),
        ReasonCode::EndedByOperator => row(
            Ok,
            Never,
            "The hub's operator ended this delivery. Ask the operator for the reason; if the document is still needed, send it again.",
            "Đơn vị vận hành Trục đã kết thúc việc gửi văn bản này. Đề nghị liên hệ để biết lý do; nếu vẫn cần gửi, đề nghị gửi lại văn bản.",
        ),
        ReasonCode::Redirected => row(
            Ok,
            Never,
            "The document goes to the agency that the detail names. Nothing to do; follow its delivery there.",
            "Văn bản được chuyển đến cơ quan nêu trong phần chi tiết. Không cần xử lý; đề nghị theo dõi việc tiếp nhận tại cơ quan đó.",
        ),
        ReasonCode::NothingToDo => row(
            FailedPrecondition,
            Never,
            "Look with --dry-run what the target holds now; perhaps it was delivered or ended meanwhile.",
            "Thao tác không tác động đến văn bản nào. Đề nghị xem trước bằng --dry-run; có thể văn bản đã được tiếp nhận hoặc đã kết thúc.",
        ),
        ReasonCode::SecondPersonRequired => row(
            PermissionDenied,
            Never,
            "Let another operator approve it, with a certificate of another name.",
            "Đề nghị một người vận hành khác, dùng chứng thư có tên khác, phê duyệt thao tác này.",
        ),
        ReasonCode::UnknownAction => row(
            NotFound,
            Never,
            "Look for the number of the action with `truc action list`.",
            "Không có thao tác mang số này. Đề nghị tra số thao tác bằng `truc action list`.",
        ),
        ReasonCode::ActionClosed => row(
            FailedPrecondition,
            Never,
            "The action has ended and stays as it is; `truc action show` tells how. Ask for a new one if more is needed.",
            "Thao tác đã kết thúc và không thay đổi được nữa (xem bằng `truc action show`). Nếu cần, đề nghị tạo thao tác mới.",
        ),
        ReasonCode::LinkSpent => row(
            FailedPrecondition,
            Never,
            "A sign-in link holds once and for five minutes. Ask for a new one with `truc console login`.",
            "Liên kết đăng nhập chỉ dùng được một lần trong năm phút. Đề nghị tạo liên kết mới bằng lệnh `truc console login`.",
        ),
        ReasonCode::NoConsole => row(
            FailedPrecondition,
            Never,
            "Set [console] address in the hub's configuration and start it again.",
            "Đề nghị đặt [console] address trong cấu hình của Trục và khởi động lại.",
        ),
        ReasonCode::NaturalKeyRepeated => row(
            Ok,
            Never,
            "Check whether number and notation are right; if the document was sent twice, recall one of the two.",
            "Đề nghị kiểm tra số và ký hiệu văn bản; nếu văn bản bị gửi hai lần, đề nghị thu hồi một văn bản.",
        ),
        ReasonCode::ForInformation => row(
            Ok,
            Never,
            "The document counts for information only. To replace paper, send it signed by the competent person and the agency.",
            "Văn bản chỉ có giá trị tham khảo. Để thay cho văn bản giấy, đề nghị gửi văn bản có chữ ký số của người có thẩm quyền và của cơ quan.",
        ),
        ReasonCode::Parked => row(
            Ok,
            Never,
            "Nothing to do: the status is kept and applied when its document arrives. Check the document id if that does not happen.",
            "Không cần xử lý: trạng thái được lưu và áp dụng khi văn bản đến. Nếu lâu chưa được áp dụng, đề nghị kiểm tra mã văn bản.",
        ),
        ReasonCode::OutOfOrder => row(
            Ok,
            Never,
            "The status is kept in the history. Look at the timeline and report the state that holds now if it differs.",
            "Trạng thái đã được lưu vào lịch sử. Đề nghị xem lịch sử văn bản và báo cáo trạng thái hiện tại nếu có khác biệt.",
        ),
    }
}

const fn row(grpc: GrpcCode, retry: Retry, help_en: &'static str, help_vi: &'static str) -> Entry {
    Entry { retry, grpc, help_en, help_vi }
}

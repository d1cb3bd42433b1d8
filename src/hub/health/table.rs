//! Every condition: name, severity, what it means, and what to do about it.

/// How grave a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The hub can't accept or can't deliver: it is not ready.
    Critical,
    /// Documents still flow, but somebody has to act now.
    Serious,
    /// Somebody should act in the next days.
    Warning,
}

impl Severity {
    /// Its name in metrics and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Serious => "serious",
            Self::Warning => "warning",
        }
    }
}

/// Defines the conditions once: name, severity, and title and next step in English and Vietnamese.
macro_rules! conditions {
    ($( $(#[doc = $doc:literal])* $condition:ident = $name:literal, $severity:ident,
        $title:literal, $title_vi:literal, $step:literal, $step_vi:literal; )*) => {
        /// Something that is not as it should be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Condition {
            $( $(#[doc = $doc])* $condition, )*
        }

        /// All of them.
        pub const ALL: &[Condition] = &[ $( Condition::$condition, )* ];

        impl Condition {
            /// Its name in metrics and answers; it never changes.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Self::$condition => $name, )* }
            }

            /// How grave it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $( Self::$condition => Severity::$severity, )* }
            }

            /// What it is, in English.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $( Self::$condition => $title, )* }
            }

            /// What it is, in Vietnamese.
            #[must_use]
            pub fn title_vi(self) -> &'static str {
                match self { $( Self::$condition => $title_vi, )* }
            }

            /// What to do, in English.
            #[must_use]
            pub fn step(self) -> &'static str {
                match self { $( Self::$condition => $step, )* }
            }

            /// What to do, in Vietnamese.
            #[must_use]
            pub fn step_vi(self) -> &'static str {
                match self { $( Self::$condition => $step_vi, )* }
            }
        }
    };
}

conditions! {
    /// The store failed: the process ends and recovers at its next start.
    StoreFailed = "store-failed", Critical,
        "The store failed", "Kho lưu trữ bị lỗi",
        "Look at the disk, then start the hub again: it recovers, and nothing that was acknowledged is lost.",
        "Kiểm tra đĩa rồi khởi động lại trục: hệ thống tự phục hồi, văn bản đã xác nhận không bị mất.";
    /// Less room on the disk than the reserve.
    DiskFull = "disk-full", Critical,
        "The disk is full", "Đĩa đã đầy",
        "Make room on the disk of data_dir, or move it to a larger one. Never delete files in it by hand.",
        "Giải phóng dung lượng đĩa chứa data_dir hoặc chuyển sang đĩa lớn hơn. Không tự xóa tệp trong thư mục này.";
    /// The hub's own certificate, or a CA of its clients, has expired.
    CertificateExpired = "certificate-expired", Critical,
        "A certificate has expired", "Chứng thư đã hết hạn",
        "Put the new certificate in its place; the hub reads it within seconds.",
        "Thay chứng thư mới vào đúng chỗ; trục tự đọc lại sau vài giây.";
    /// Stored bytes are not what was written.
    Damage = "damage", Critical,
        "Stored bytes are damaged", "Dữ liệu lưu trữ bị hỏng",
        "Run `truc fsck` and restore what it names from a backup or another hub; replace the disk.",
        "Chạy `truc fsck`, khôi phục phần được nêu từ bản sao lưu hoặc trục khác, và thay đĩa.";
    /// The machine's clock was set, or goes behind the log.
    ClockJumped = "clock-jumped", Serious,
        "The clock is not right", "Đồng hồ hệ thống sai",
        "Set the machine's time by NTP: deadlines and times in the evidence follow it.",
        "Đồng bộ giờ máy chủ bằng NTP: hạn xử lý và thời điểm trong chứng cứ dựa vào đồng hồ này.";
    /// Room on the disk comes to an end.
    DiskNearlyFull = "disk-nearly-full", Serious,
        "The disk is nearly full", "Đĩa sắp đầy",
        "Make room, or move data_dir to a larger disk, before the reserve is reached.",
        "Giải phóng dung lượng hoặc chuyển data_dir sang đĩa lớn hơn trước khi hết phần dự trữ.";
    /// A revocation list is out of date: who was revoked lately may still connect.
    RevocationListOld = "revocation-list-old", Serious,
        "A revocation list is out of date", "Danh sách thu hồi chứng thư đã quá hạn",
        "Publish a new list with the CA and put it in the place of tls.crl.",
        "Phát hành danh sách thu hồi mới từ CA và đặt vào vị trí tls.crl.";
    /// TLS files changed and can't be used: the old ones stay in force.
    CertificateUnusable = "certificate-unusable", Serious,
        "New TLS files can't be used", "Không dùng được tệp TLS mới",
        "Mend the files that the cause names; until then the old ones stay in force.",
        "Sửa các tệp nêu trong nguyên nhân; trong lúc đó các tệp cũ vẫn có hiệu lực.";
    /// The hub's own certificate, or a CA of its clients, expires soon.
    CertificateExpires = "certificate-expires", Warning,
        "A certificate expires soon", "Chứng thư sắp hết hạn",
        "Order the new certificate now and put it in the place of the old one.",
        "Xin cấp chứng thư mới ngay và thay vào vị trí chứng thư cũ.";
    /// A document waits for its recipient for long.
    QueueAge = "queue-age", Warning,
        "A document waits for long", "Có văn bản chờ quá lâu",
        "Ask `truc why` for the document named in the cause, and call the agency that it waits for.",
        "Dùng `truc why` cho văn bản nêu trong nguyên nhân và liên hệ cơ quan nhận.";
    /// Documents wait for agencies that no node can receive for, or that can't sign.
    RecipientBlocked = "recipient-blocked", Serious,
        "Recipients can't receive", "Có nơi nhận không thể tiếp nhận văn bản",
        "The security officer gives the agencies that the cause names a node, a key or a certificate; `truc why` tells which.",
        "Cán bộ an ninh cấp nút kết nối, khóa hoặc chứng thư cho các cơ quan nêu trong nguyên nhân; xem bằng `truc why`.";
    /// A node connects and breaks off again and again while documents wait for it.
    SessionFlaps = "session-flaps", Warning,
        "A recipient's node breaks off again and again", "Nút kết nối của nơi nhận liên tục bị ngắt",
        "Ask those who run the recipient's system to look at its log and at the line between.",
        "Đề nghị đơn vị vận hành hệ thống nơi nhận kiểm tra nhật ký phần mềm kết nối và đường truyền.";
    /// The auditors' index does not follow the log.
    SearchBehind = "search-behind", Warning,
        "The search index is behind the log", "Chỉ mục tra cứu chậm hơn nhật ký",
        "Wait if the hub is under load; if its log says that the index stopped, start the hub again.",
        "Chờ nếu trục đang tải cao; nếu nhật ký báo chỉ mục đã dừng, hãy khởi động lại trục.";
    /// Too few witnesses cosign the log's heads.
    WitnessAway = "witness-away", Warning,
        "Witnesses do not cosign", "Bên chứng kiến không ký xác nhận",
        "Ask the operators of the witnesses that the cause names.",
        "Liên hệ đơn vị vận hành các bên chứng kiến nêu trong nguyên nhân.";
    /// The scrub of the stored bytes did not end a round in time.
    ScrubOverdue = "scrub-overdue", Warning,
        "The stored bytes were not checked in time", "Dữ liệu lưu trữ chưa được kiểm tra đúng hạn",
        "Give the scrub more speed, or find out why its disk is slow.",
        "Tăng tốc độ kiểm tra dữ liệu hoặc tìm nguyên nhân đĩa chậm.";
}

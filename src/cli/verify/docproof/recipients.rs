//! The table of recipients in words.

use super::{
    Language,
    words::{Words, agency},
};
use crate::{
    cli::table::table,
    client::calendar::vietnam_time,
    domain::status,
    verify::docproof::{Course, End, Proven},
};

impl Words {
    /// The recipients, those who did not take it over first.
    pub fn table(&self, proven: &Proven) -> String {
        let mut courses: Vec<&Course> = proven.recipients.iter().collect();
        courses.sort_by_key(|course| course.end);
        let mut rows = match self.0 {
            Language::En => table(["recipient", "outcome", "Vietnam time", "reason in its own words"]),
            Language::Vi => table(["cơ quan nhận", "kết quả", "giờ Việt Nam", "lý do (nguyên văn)"]),
        };
        for course in courses {
            let who = agency(course.recipient.as_str(), proven);
            rows.add_row([who, self.outcome(course), vietnam_time(course.at), course.reason.clone()]);
        }
        rows.to_string()
    }

    /// How it ended at a recipient.
    pub fn outcome(&self, course: &Course) -> String {
        let end = match (self.0, course.end) {
            (Language::En, End::TakenOver) => "taken over",
            (Language::En, End::RefusedBySystem) => "REFUSED",
            (Language::En, End::RefusedByClerk) => "REFUSED by the clerk",
            (Language::En, End::Expired) => "EXPIRED",
            (Language::En, End::Cancelled) => "ENDED by an operator",
            (Language::En, End::Waiting) => "no answer",
            (Language::Vi, End::TakenOver) => "đã nhận",
            (Language::Vi, End::RefusedBySystem) => "TỪ CHỐI",
            (Language::Vi, End::RefusedByClerk) => "VĂN THƯ TỪ CHỐI",
            (Language::Vi, End::Expired) => "QUÁ HẠN",
            (Language::Vi, End::Cancelled) => "NGƯỜI VẬN HÀNH KẾT THÚC",
            (Language::Vi, End::Waiting) => "chưa trả lời",
        };
        let mut text = end.to_owned();
        let code = course.business.code;
        if code != 0 && course.end != End::RefusedByClerk {
            text += &format!("; {code:02} {}", self.status(code));
        }
        if course.business.change_pending {
            text += &say!(self, "; asked back or to be changed", "; đang được yêu cầu thu hồi hoặc cập nhật");
        }
        text
    }

    fn status(&self, code: u32) -> &'static str {
        let (en, vi) = match code {
            status::ARRIVED => ("arrived", "đã đến"),
            status::REJECTED => ("refused", "từ chối tiếp nhận"),
            status::ACCEPTED => ("registered", "đã tiếp nhận"),
            status::ASSIGNED => ("assigned", "phân công xử lý"),
            status::PROCESSING => ("in work", "đang xử lý"),
            status::FINISHED => ("finished", "hoàn thành"),
            status::CHANGE_AGREED => ("change agreed", "đồng ý thu hồi, cập nhật"),
            _ => ("", ""),
        };
        if self.0 == Language::En { en } else { vi }
    }
}

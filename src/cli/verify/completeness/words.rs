//! The verdict in words. Each sentence stands in both languages side by side, so that they say the same.

use super::Language;
use crate::{
    daily::date,
    verify::completeness::{Answer, CompletenessError, Counting, Gap, Place},
};

/// Speaks one language.
pub struct Words(pub Language);

impl Words {
    /// Over the gaps, the days, what is proven and what is not.
    pub fn headings(&self) -> [&'static str; 4] {
        match self.0 {
            Language::En => {
                ["What is missing", "Days (sent / to it)", "What this proves", "What this does not prove"]
            }
            Language::Vi => [
                "Những gì còn thiếu",
                "Các ngày (gửi đi / gửi đến)",
                "Những điều được chứng minh",
                "Những điều KHÔNG được chứng minh",
            ],
        }
    }

    /// Over what the own folder says.
    pub fn inbox(&self) -> &'static str {
        match self.0 {
            Language::En => "The folder of received documents",
            Language::Vi => "Thư mục văn bản đã nhận",
        }
    }

    /// The verdict over a file that can be read.
    pub fn verdict(&self, answer: &Answer) -> String {
        let (agency, from, to) = (&answer.agency, date(answer.days.0), date(answer.days.1));
        let (leaves, gaps) = (answer.leaves, answer.gaps.len());
        match answer.is_complete() {
            true => say!(
                self,
                "complete, proven: {agency} has all its evidence of {from} to {to} here, {leaves} record(s).",
                "ĐẦY ĐỦ, ĐÃ CHỨNG MINH: toàn bộ chứng cứ của {agency} từ ngày {from} đến ngày {to} đều có ở đây, {leaves} \
                 bản ghi.",
            ),
            false => say!(
                self,
                "NOT COMPLETE: the evidence of {agency} of {from} to {to} has {gaps} gap(s).",
                "CHƯA ĐẦY ĐỦ: chứng cứ của {agency} từ ngày {from} đến ngày {to} có {gaps} chỗ thiếu.",
            ),
        }
    }

    /// The verdict over a file that says nothing.
    pub fn fault(&self, error: &CompletenessError) -> String {
        let problem = &error.problem;
        let place = match (self.0, error.place) {
            (Language::En, place) => place.to_string(),
            (_, Place::File) => "cấu trúc tệp".into(),
            (_, Place::HubKey) => "khóa của trục".into(),
            (_, Place::Checkpoint) => "điểm kiểm (checkpoint) do trục ký".into(),
        };
        say!(
            self,
            "NOT PROVEN. The file proves nothing. First fault, in {place}: {problem}.",
            "KHÔNG CHỨNG MINH ĐƯỢC. Tệp không chứng minh được điều gì. Lỗi đầu tiên tại {place}. Chi tiết kỹ thuật (tiếng \
             Anh): {problem}.",
        )
    }

    /// One gap.
    pub fn gap(&self, gap: &Gap) -> String {
        if matches!(self.0, Language::En) {
            return gap.to_string();
        }
        match gap {
            Gap::DigestMissing { day } => format!("thiếu bản tổng hợp ngày {}", date(*day)),
            Gap::DigestNotProven { day, problem } => format!(
                "bản tổng hợp ngày {} hoặc sau đó không được chứng minh (tiếng Anh: {problem})",
                date(*day)
            ),
            Gap::DaysOpen { from, to } => {
                format!("trục chưa khóa sổ các ngày từ {} đến {}", date(*from), date(*to))
            }
            Gap::AgencyNotProven { day, problem } => format!(
                "phần của cơ quan trong bản tổng hợp ngày {} không được chứng minh (tiếng Anh: {problem})",
                date(*day)
            ),
            Gap::LeafForeign { leaf, problem } => {
                format!("bản ghi số {leaf} không thuộc về đây (tiếng Anh: {problem})")
            }
            Gap::NumberMissing { counting, first, last } if first == last => {
                format!("thiếu số thứ tự {first} trong dãy {}", counting_vi(counting))
            }
            Gap::NumberMissing { counting, first, last } => {
                format!("thiếu các số thứ tự từ {first} đến {last} trong dãy {}", counting_vi(counting))
            }
            Gap::NumberWrong { counting, number, leaf } => format!(
                "bản ghi số {leaf}: số thứ tự {number} trong dãy {} không nối tiếp số trước",
                counting_vi(counting)
            ),
            Gap::CountDiffers { day, field, said, found } => {
                format!("ngày {}: bản tổng hợp ghi {field} là {said}, chứng cứ cho {found}", date(*day))
            }
            Gap::RootDiffers { day } => {
                format!("ngày {}: chứng cứ có mã gốc khác với bản tổng hợp", date(*day))
            }
            Gap::LeavesNotProven { day } => {
                format!("ngày {}: chứng cứ không nằm đúng vị trí trong sổ nhật ký", date(*day))
            }
        }
    }

    /// What is proven, one sentence a point.
    pub fn proven(&self, answer: &Answer) -> Vec<String> {
        let (days, leaves) = (answer.closed.len(), answer.leaves);
        let (size, hub) = (answer.checkpoint.size, &answer.checkpoint.origin);
        vec![
            say!(
                self,
                "The hub {hub} closed {days} day(s) of its log in this time, each with a digest that it signed before anybody \
                 asked; the digests follow each other without a gap. Other days have no records at all.",
                "Trục {hub} đã khóa sổ {days} ngày trong thời gian này, mỗi ngày có một bản tổng hợp được ký trước khi có \
                 người hỏi; các bản tổng hợp nối tiếp nhau, không thiếu bản nào. Các ngày khác không có bản ghi nào.",
            ),
            say!(
                self,
                "The {leaves} record(s) here are exactly those that the digests commit to: same roots, same counts, and the \
                 numbers of what was sent and received run through.",
                "{leaves} bản ghi ở đây đúng là những bản ghi mà các bản tổng hợp đã cam kết: cùng mã gốc, cùng số lượng, và \
                 các số thứ tự gửi, nhận liên tục.",
            ),
            say!(
                self,
                "All of it stands in the log at its size of {size}, whose head the hub signed.",
                "Tất cả đều nằm trong sổ nhật ký khi sổ có {size} bản ghi, do trục ký ở đầu sổ.",
            ),
        ]
    }

    /// What stays open.
    pub fn not_proven(&self, answer: &Answer) -> Vec<String> {
        let hub = &answer.checkpoint.origin;
        vec![
            say!(
                self,
                "That {hub} was honest when it made a digest. An agency that kept its own receipts can compare (--inbox); who \
                 mirrors the log can make every digest anew.",
                "Việc {hub} trung thực khi lập bản tổng hợp. Cơ quan có giữ biên nhận của mình có thể đối chiếu (--inbox); ai \
                 sao chép sổ nhật ký có thể tự lập lại từng bản tổng hợp.",
            ),
            say!(
                self,
                "That {hub} shows everybody the same log: compare its checkpoints with what others hold.",
                "Việc {hub} cho mọi người xem cùng một sổ nhật ký: cần đối chiếu điểm kiểm (checkpoint) với bên khác.",
            ),
            say!(
                self,
                "That a document reached the hub which it never acknowledged, or that the times of its clock are right.",
                "Việc có văn bản đã tới trục mà trục không xác nhận, hoặc tính chính xác của đồng hồ của trục.",
            ),
        ]
    }
}

fn counting_vi(counting: &Counting) -> String {
    match counting {
        Counting::Sent => "gửi đi".into(),
        Counting::Received => "nhận được".into(),
        Counting::From(agency) => format!("nhận từ {agency}"),
        Counting::To(agency) => format!("gửi tới {agency}"),
    }
}

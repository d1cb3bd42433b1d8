//! The printed certificate: the verdict over one document on paper, with a code that leads back to the log.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::words::{Words, agency, title};
use crate::{
    cli::paper::{Code, Column, Paper, Style},
    client::calendar::vietnam_time,
    domain::id::Digest,
    proto::LegalValue,
    verify::docproof::{Course, Proven},
};

/// First line of the text in the code.
pub const CODE_MARK: &str = "truc certificate v1";
/// Size of running text.
const SIZE: f32 = 9.5;
/// Side of the code in points: 42 mm.
const CODE_SIDE: f32 = 119.0;

/// The text in the code: mark, index of the acceptance and its leaf hash on a line each, an empty line, then the signed
/// checkpoint as it is. So the code alone shows which log, of which size and root, the paper speaks of.
#[must_use]
pub fn code_text(proven: &Proven) -> String {
    let (index, hash) = (proven.acceptance.index(), BASE64.encode(proven.acceptance.leaf_hash()));
    format!("{CODE_MARK}\n{index}\n{hash}\n\n{}", proven.note)
}

impl Words {
    /// The certificate as PDF; `None` if it can't be printed, which a test rules out for what a hub accepts.
    pub fn certificate(&self, proven: &Proven, verdict: &str, file: &str) -> Option<Vec<u8>> {
        let mut paper = Paper::new()?;
        self.heading(&mut paper, proven);
        paper.boxed(verdict, Style::bold(10.5));
        self.document_facts(&mut paper, proven);
        self.recipients(&mut paper, proven);
        self.points(&mut paper, proven);
        self.fingerprint(&mut paper, proven, file);
        let foot = format!("{} · {}", title(proven), proven.checkpoint.origin);
        let language = say!(self, "en", "vi");
        let name = self.paper_title();
        paper.finish(&format!("{name}: {}", title(proven)), &language, |page, pages| {
            (foot.clone(), say!(self, "page {page} of {pages}", "trang {page}/{pages}"))
        })
    }

    fn paper_title(&self) -> String {
        say!(
            self,
            "CERTIFICATE OF DISPATCH AND RECEIPT OF AN ELECTRONIC DOCUMENT",
            "GIẤY XÁC NHẬN GỬI, NHẬN VĂN BẢN ĐIỆN TỬ",
        )
    }

    fn heading(&self, paper: &mut Paper, proven: &Proven) {
        let hub = &proven.checkpoint.origin;
        paper.paragraph(
            &say!(self, "DOCUMENT INTERCONNECTION HUB", "TRỤC LIÊN THÔNG VĂN BẢN"),
            Style::bold(11.0).centered(),
        );
        paper.paragraph(hub, Style::mono(8.5).centered());
        paper.space(3.0);
        paper.short_rule();
        paper.space(6.0);
        paper.paragraph(&self.paper_title(), Style::bold(13.5).centered());
        paper.paragraph(
            &say!(
                self,
                "printed from a file of evidence that was verified without the hub",
                "in từ tệp chứng cứ đã được kiểm tra độc lập với Trục",
            ),
            Style::text(9.0).centered(),
        );
        paper.space(8.0);
    }

    fn document_facts(&self, paper: &mut Paper, proven: &Proven) {
        let (manifest, acceptance) = (&proven.manifest, &proven.acceptance);
        let info = manifest.document.clone().unwrap_or_default();
        let number = super::words::number(&info);
        self.section(paper, 1, &say!(self, "The document", "Văn bản"));
        let mut facts = vec![
            (say!(self, "Sender", "Cơ quan gửi"), agency(&manifest.sender, proven)),
            (say!(self, "Type", "Loại văn bản"), info.type_name),
            (say!(self, "Number and notation", "Số, ký hiệu"), number),
            (say!(self, "Date of issue", "Ngày ban hành"), info.promulgation_date),
            (say!(self, "Subject", "Trích yếu"), info.subject),
            (say!(self, "Document id", "Mã định danh"), manifest.document_id.clone()),
            (
                say!(self, "Accepted by the hub", "Trục tiếp nhận lúc"),
                say!(
                    self,
                    "{} (Vietnam time, record {})",
                    "{} (giờ Việt Nam, bản ghi số {})",
                    vietnam_time(acceptance.time()),
                    acceptance.index()
                ),
            ),
        ];
        if manifest.revision > 0 {
            facts.push((say!(self, "Revision", "Lần sửa đổi"), manifest.revision.to_string()));
        }
        facts.extend(self.value(proven).map(|value| (say!(self, "Legal value", "Giá trị pháp lý"), value)));
        for (name, value) in facts {
            paper.fact(&name, &value, Style::text(SIZE));
        }
        for part in &manifest.parts {
            let name = say!(self, "Attachment", "Tệp đính kèm");
            let size = say!(self, "{}, {} bytes", "{}, {} byte", part.name, part.size);
            paper.fact(&name, &size, Style::text(SIZE));
            paper.fact("SHA-256", &hex::encode(&part.sha256), Style::mono(7.5));
        }
    }

    fn value(&self, proven: &Proven) -> Option<String> {
        match proven.acceptance.verdict()?.legal_value() {
            LegalValue::Unspecified => None,
            LegalValue::Original => Some(say!(
                self,
                "signed by a person and by the agency (Decision 28/2018/QĐ-TTg, art. 4)",
                "có chữ ký số của người có thẩm quyền và của cơ quan (Quyết định 28/2018/QĐ-TTg, Điều 4)",
            )),
            LegalValue::Information => Some(say!(
                self,
                "for information (Decision 28/2018/QĐ-TTg, art. 4)",
                "để biết, tham khảo (Quyết định 28/2018/QĐ-TTg, Điều 4)",
            )),
        }
    }

    fn recipients(&self, paper: &mut Paper, proven: &Proven) {
        self.section(
            paper,
            2,
            &say!(self, "What happened at each recipient", "Kết quả tại từng cơ quan nhận"),
        );
        let headings = [
            say!(self, "No.", "TT"),
            say!(self, "Recipient", "Cơ quan nhận"),
            say!(self, "Outcome", "Kết quả"),
            say!(self, "Vietnam time", "Giờ Việt Nam"),
            say!(self, "Reason in its own words", "Lý do (nguyên văn)"),
        ];
        let mut courses: Vec<&Course> = proven.recipients.iter().collect();
        courses.sort_by_key(|course| course.end);
        let rows = (1..).zip(courses).map(|(number, course): (usize, _)| {
            let who = agency(course.recipient.as_str(), proven);
            [number.to_string(), who, self.outcome(course), vietnam_time(course.at), course.reason.clone()]
        });
        let [number, who, outcome, at, why] = &headings;
        let column = |heading, share| Column { heading, share };
        let columns = [
            column(number, 6.0),
            column(who, 36.0),
            column(outcome, 20.0),
            column(at, 18.0),
            column(why, 20.0),
        ];
        paper.table(columns, rows, 8.0);
        paper.space(4.0);
        paper.paragraph(&self.completeness(proven), Style::text(SIZE));
    }

    fn points(&self, paper: &mut Paper, proven: &Proven) {
        let [proves, _, open] = self.headings();
        self.section(paper, 3, proves);
        let mut points: Vec<String> =
            proven.signatures.iter().map(|signed| self.signature(signed, proven)).collect();
        points.extend(self.ends_in_short(proven));
        points.push(self.mathematics(proven));
        for point in points {
            paper.point("–", &point, Style::text(SIZE));
        }
        self.section(paper, 4, open);
        for point in self.not_proven(proven) {
            paper.point("–", &point, Style::text(SIZE));
        }
    }

    fn fingerprint(&self, paper: &mut Paper, proven: &Proven, file: &str) {
        let checkpoint = &proven.checkpoint;
        let (small, mono) = (Style::text(8.5), Style::mono(7.0));
        let digest = proven.acceptance.manifest_sha256().as_ref().map(Digest::to_string).unwrap_or_default();
        let line = |text: String, style| (text, style);
        let lines = [
            line(
                say!(
                    self,
                    "SHA-256 of what the sender signed:",
                    "Mã băm SHA-256 của nội dung bên gửi đã ký:"
                ),
                small,
            ),
            line(digest, mono),
            line(
                say!(
                    self,
                    "Record {} of the log, its hash:",
                    "Bản ghi số {} của sổ nhật ký, mã băm:",
                    proven.acceptance.index()
                ),
                small,
            ),
            line(BASE64.encode(proven.acceptance.leaf_hash()), mono),
            line(
                say!(
                    self,
                    "Checkpoint of {} at {} records, its root:",
                    "Điểm kiểm của {} khi sổ có {} bản ghi, gốc băm:",
                    checkpoint.origin,
                    checkpoint.size
                ),
                small,
            ),
            line(BASE64.encode(checkpoint.root), mono),
            line(say!(self, "Key of the hub:", "Khóa của Trục:"), small),
            line(proven.verifier.to_string(), mono),
            line(
                say!(
                    self,
                    "This paper proves nothing by itself: the file does, and anyone can check it without the hub with truc \
                     verify {file}. The code holds record, hash and signed checkpoint.",
                    "Bản in này tự nó không phải là chứng cứ: chứng cứ là tệp, và ai cũng có thể kiểm tra không cần đến Trục \
                     bằng lệnh truc verify {file}. Mã QR chứa số bản ghi, mã băm và điểm kiểm có chữ ký của Trục.",
                ),
                small,
            ),
        ];
        paper.keep(CODE_SIDE + 40.0);
        self.section(paper, 5, &say!(self, "Fingerprint", "Dấu vân tay số"));
        match Code::of(&code_text(proven)) {
            Some(code) => paper.code(&code, CODE_SIDE, &lines),
            None => lines.iter().for_each(|(text, style)| paper.paragraph(text, *style)),
        }
    }

    fn section(&self, paper: &mut Paper, number: usize, title: &str) {
        paper.space(9.0);
        paper.keep(40.0);
        paper.paragraph(&format!("{number}. {title}"), Style::bold(11.0));
        paper.space(3.0);
    }
}

//! The verdict over an export in words.

use std::path::Path;

use super::compare::{Fault, Faults, Kind};
use crate::{
    cli::verify::docproof::Language,
    verify::export::{ExportError, Place, Proven},
};

/// The words of one language.
pub struct Words(pub Language);

impl Words {
    /// Headings of the three lists.
    pub fn headings(&self) -> [&'static str; 3] {
        match self.0 {
            Language::En => {
                ["What is wrong with the file:", "What this proves:", "What this does not prove:"]
            }
            Language::Vi => {
                ["Sai lệch trong tệp:", "Những điều được chứng minh:", "Những điều KHÔNG được chứng minh:"]
            }
        }
    }

    /// The verdict over a file whose rows are right.
    pub fn good(&self, file: &Path, proven: &Proven) -> String {
        let (file, rows, hub) = (file.display(), proven.rows, &proven.checkpoint.origin);
        let (from, last) = range(proven);
        match (proven.nothing_left_out(), proven.unfiltered) {
            (true, true) => say!(
                self,
                "PROVEN. {file} holds {rows} rows, one for each of the leaves {from} to {last} of the log of {hub}: nothing \
                 was added, altered or left out.",
                "ĐÃ CHỨNG MINH. {file} có {rows} dòng, mỗi dòng ứng với một bản ghi từ số {from} đến số {last} trong sổ nhật \
                 ký của {hub}: không thêm, không sửa, không bỏ sót dòng nào.",
            ),
            (true, false) => say!(
                self,
                "PROVEN. {file} holds {rows} rows: all that answers the question among the leaves {from} to {last} of the log \
                 of {hub}. Nothing was added, altered or left out.",
                "ĐÃ CHỨNG MINH. {file} có {rows} dòng: toàn bộ những gì khớp điều kiện tìm trong các bản ghi từ số {from} đến \
                 số {last} trong sổ nhật ký của {hub}. Không thêm, không sửa, không bỏ sót dòng nào.",
            ),
            (false, _) => say!(
                self,
                "PROVEN, BUT NOT THAT IT IS WHOLE. Each of the {rows} rows of {file} is what the log of {hub} says: nothing \
                 was added or altered. Whether rows were left out, this proof does not show.",
                "ĐÃ CHỨNG MINH TỪNG DÒNG, CHƯA CHỨNG MINH TÍNH ĐẦY ĐỦ. Cả {rows} dòng trong {file} đều đúng với sổ nhật ký \
                 của {hub}: không thêm, không sửa dòng nào. Tệp chứng minh không cho biết có dòng nào bị bỏ sót hay không.",
            ),
        }
    }

    /// The verdict over a file or a proof that is wrong.
    pub fn bad(&self, file: &Path, faults: &Faults, problem: Option<&ExportError>) -> String {
        let file = file.display();
        if let Some(error) = problem {
            let (place, detail) = (self.place(&error.place), &error.problem);
            return say!(
                self,
                "NOT PROVEN. The proof of {file} does not hold, so it proves nothing. First fault, in {place}: {detail}.",
                "KHÔNG CHỨNG MINH ĐƯỢC. Tệp chứng minh của {file} không hợp lệ nên không chứng minh được điều gì. Lỗi đầu \
                 tiên tại {place}. Chi tiết kỹ thuật (tiếng Anh): {detail}.",
            );
        }
        let count = faults.count;
        match faults.told.first().map(|fault| fault.kind) {
            Some(Kind::OtherForm) => say!(
                self,
                "NOT PROVEN AS WRITTEN. All rows of {file} are what the log says, but its bytes are not those that were \
                 written. If a program saved it again, --resaved accepts that.",
                "KHÔNG CÒN NGUYÊN DẠNG. Mọi dòng trong {file} đều đúng với sổ nhật ký, nhưng tệp không còn đúng từng byte như \
                 khi kết xuất. Nếu tệp đã được một phần mềm khác lưu lại, dùng --resaved để chấp nhận.",
            ),
            _ => say!(
                self,
                "NOT PROVEN. {file} is not what the log says: {count} fault(s).",
                "KHÔNG CHỨNG MINH ĐƯỢC. {file} không đúng với sổ nhật ký: {count} sai lệch.",
            ),
        }
    }

    fn place(&self, place: &Place) -> String {
        match (self.0, place) {
            (Language::En, place) => place.to_string(),
            (_, Place::File) => "cấu trúc tệp chứng minh".into(),
            (_, Place::HubKey) => "khóa của Trục".into(),
            (_, Place::Checkpoint) => "điểm kiểm (checkpoint) do Trục ký".into(),
            (_, Place::Head) => "phần đầu của tệp chứng minh".into(),
            (_, Place::Leaf(leaf)) => format!("bản ghi số {leaf} của sổ nhật ký"),
            (_, Place::Root) => "cây băm của sổ nhật ký".into(),
        }
    }

    /// One fault.
    pub fn fault(&self, fault: &Fault) -> String {
        let (row, leaf) = (fault.row.unwrap_or(0), fault.leaf.unwrap_or(0));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (column, found, expected) =
            (fault.column.unwrap_or_default(), text(&fault.found), text(&fault.expected));
        match fault.kind {
            Kind::RowAltered => say!(
                self,
                "row {row} (leaf {leaf}) altered: column {column} says \"{found}\", the log says \"{expected}\"",
                "dòng {row} (bản ghi số {leaf}) đã bị sửa: cột {column} ghi \"{found}\", sổ nhật ký ghi \"{expected}\"",
            ),
            Kind::RowAdded => say!(
                self,
                "row {row} added: leaf {leaf} does not belong there",
                "dòng {row} bị thêm vào: bản ghi số {leaf} không thuộc vị trí này",
            ),
            Kind::RowLeftOut => {
                say!(
                    self,
                    "leaf {leaf} left out: it has no row",
                    "bản ghi số {leaf} bị bỏ sót: không có dòng tương ứng"
                )
            }
            Kind::RowUnreadable => {
                say!(self, "row {row} can't be read", "không đọc được dòng {row}")
            }
            Kind::OtherForm => say!(
                self,
                "the bytes are not those that were written",
                "các byte của tệp không đúng như khi kết xuất",
            ),
        }
    }

    /// What is proven, one sentence a point.
    pub fn proven(&self, proven: &Proven) -> Vec<String> {
        let (size, hub, rows) = (proven.checkpoint.size, &proven.checkpoint.origin, proven.rows);
        let root = hex::encode(proven.checkpoint.root);
        let (from, last) = range(proven);
        let mut points = vec![
            say!(
                self,
                "Every row was made again from the exact leaf of the log. The leaves give the root {root} of the {size} \
                 leaves that {hub} signed.",
                "Mỗi dòng đã được lập lại từ đúng bản ghi gốc của sổ nhật ký. Các bản ghi cho ra gốc băm {root} của {size} \
                 bản ghi mà {hub} đã ký.",
            ),
            say!(
                self,
                "Number, notation, date, type, subject and urgency are those of the manifest whose SHA-256 the leaf names; \
                 the legal value is the hub's verdict in the acceptance, which is in the same tree.",
                "Số, ký hiệu, ngày, loại, trích yếu và độ khẩn lấy từ bản kê có mã băm SHA-256 mà bản ghi nêu; giá trị pháp lý \
                 lấy từ kết luận của Trục khi tiếp nhận, nằm trong cùng cây băm.",
            ),
        ];
        if proven.nothing_left_out() {
            points.push(say!(
                self,
                "Of the leaves {from} to {last}, the {rows} rows are all that answer the question: the evidence of every \
                 other one is in the proof and does not.",
                "Trong các bản ghi từ số {from} đến số {last}, {rows} dòng này là toàn bộ những bản ghi khớp điều kiện tìm: \
                 chứng cứ của các bản ghi còn lại có trong tệp chứng minh và không khớp.",
            ));
        }
        if proven.erased > 0 {
            let erased = proven.erased;
            points.push(say!(
                self,
                "The contents of the documents of {erased} rows were erased, so the columns are empty: each row names the leaf                  that says so (erased_leaf), which is in the same tree.",
                "Nội dung văn bản của {erased} dòng đã được xóa nên các cột này để trống: mỗi dòng nêu bản ghi về việc xóa                  (erased_leaf), nằm trong cùng cây băm.",
            ));
        }
        points
    }

    /// What stays open.
    pub fn not_proven(&self, proven: &Proven) -> Vec<String> {
        let (hub, last) = (&proven.checkpoint.origin, range(proven).1);
        let mut points = Vec::new();
        if proven.hidden > 0 {
            let hidden = proven.hidden;
            points.push(say!(
                self,
                "That nothing was left out: {hidden} leaves are in the proof by their hash alone. Export with --complete.",
                "Việc không bỏ sót: {hidden} bản ghi chỉ có mã băm trong tệp chứng minh. Cần kết xuất với --complete.",
            ));
        }
        if proven.undecided > 0 {
            let undecided = proven.undecided;
            points.push(say!(
                self,
                "Whether {undecided} leaves answer the question: the hub did not tell what their document says.",
                "Việc {undecided} bản ghi có khớp điều kiện tìm hay không: Trục không cung cấp nội dung của văn bản liên quan.",
            ));
        }
        if proven.without_document > 0 {
            let without = proven.without_document;
            points.push(say!(
                self,
                "What the document of {without} rows says: the hub does not keep its envelope, so the columns are empty.",
                "Thông tin văn bản của {without} dòng: Trục không còn lưu gói văn bản nên các cột này để trống.",
            ));
        }
        if proven.sets > 0 {
            points.push(say!(
                self,
                "Which agencies lie below another, or are of a level, or may be seen by the auditor: that is the word of the \
                 directory of {hub} when it was asked.",
                "Cơ quan nào trực thuộc cơ quan nào, thuộc cấp nào, hay thuộc phạm vi được xem: đó là theo danh bạ của {hub} \
                 tại thời điểm truy vấn.",
            ));
        }
        points.push(say!(
            self,
            "What happened after leaf {last}; that the times are right: they are the word of the hub's clock; that {hub} \
             shows everybody the same log: compare its checkpoints with what others hold.",
            "Những gì xảy ra sau bản ghi số {last}; tính chính xác của thời gian (theo đồng hồ của Trục); việc {hub} cho mọi \
             người xem cùng một sổ nhật ký (cần đối chiếu điểm kiểm với bên khác).",
        ));
        points
    }
}

/// First and last leaf.
fn range(proven: &Proven) -> (u64, u64) {
    (proven.filter.from_index, proven.checkpoint.size.saturating_sub(1))
}

//! The verdict in words. Each sentence stands in both languages side by side, so that they say the same.

use super::Language;
use crate::cli::verify::trusted::{independence_words, quorum_words};
use crate::{
    client::calendar::vietnam_time,
    domain::id::Digest,
    proto::{DocumentInfo, LegalValue, SignerKind},
    verify::docproof::{Course, DocProofError, End, Erased, KeyStory, Place, Proven, Signed},
};

/// Recipients of one sentence are told by name up to this number; the table has all.
const NAMED: usize = 20;

/// Speaks one language.
pub struct Words(pub Language);

impl Words {
    /// Over what is proven, over the recipients, over what is not proven.
    pub fn headings(&self) -> [&'static str; 3] {
        match self.0 {
            Language::En => ["What this proves", "Recipients", "What this does not prove"],
            Language::Vi => {
                ["Những điều được chứng minh", "Các cơ quan nhận", "Những điều KHÔNG được chứng minh"]
            }
        }
    }

    /// The verdict over a file that holds together.
    pub fn verdict(&self, proven: &Proven) -> String {
        let (document, ends) = (self.document(proven), self.ends(proven));
        let total: u64 = proven.lists.iter().map(|list| list.count).sum();
        let to = recipients(total);
        match proven.missing() {
            0 => say!(
                self,
                "PROVEN. {document} was accepted for {to}: {ends}.",
                "ĐÃ CHỨNG MINH. {document} đã được Trục tiếp nhận để gửi tới {total} cơ quan nhận: {ends}.",
            ),
            missing => say!(
                self,
                "NOT COMPLETE. {document}: what is in the file is proven, but {missing} of the {total} recipients are not in \
                 it, and what happened there, this file does not say. Of the others: {ends}.",
                "CHƯA ĐẦY ĐỦ. {document}: nội dung có trong tệp đều đã được chứng minh, nhưng thiếu {missing} trong tổng số \
                 {total} cơ quan nhận, và tệp không cho biết kết quả tại đó. Đối với các cơ quan còn lại: {ends}.",
            ),
        }
    }

    /// The verdict over a file that does not.
    pub fn fault(&self, error: &DocProofError) -> String {
        let (place, problem) = (self.place(&error.place), &error.problem);
        if error.place == Place::HubKey {
            return say!(
                self,
                "NOT PROVEN. The file names the key of a hub that you do not trust: {problem}.",
                "KHÔNG CHỨNG MINH ĐƯỢC. Tệp ghi khóa của một Trục không nằm trong danh sách tin cậy của bạn. Chi tiết kỹ \
                 thuật (tiếng Anh): {problem}.",
            );
        }
        say!(
            self,
            "NOT PROVEN. The file is damaged, was changed or is not whole; it proves nothing. First fault, in {place}: \
             {problem}.",
            "KHÔNG CHỨNG MINH ĐƯỢC. Tệp bị hỏng, đã bị sửa đổi hoặc không nguyên vẹn và không chứng minh được điều gì. Lỗi \
             đầu tiên tại {place}. Chi tiết kỹ thuật (tiếng Anh): {problem}.",
        )
    }

    fn place(&self, place: &Place) -> String {
        match (self.0, place) {
            (Language::En, place) => place.to_string(),
            (_, Place::File) => "cấu trúc tệp".into(),
            (_, Place::HubKey) => "khóa của Trục".into(),
            (_, Place::Checkpoint) => "điểm kiểm (checkpoint) do Trục ký".into(),
            (_, Place::Proof) => "chứng cứ có mặt trong sổ nhật ký".into(),
            (_, Place::Envelope) => "gói văn bản do bên gửi ký".into(),
            (_, Place::Leaf(leaf)) => format!("bản ghi số {leaf} của sổ nhật ký"),
        }
    }

    /// What is proven, one sentence a point.
    pub fn proven(&self, proven: &Proven) -> Vec<String> {
        let mut points = vec![self.acceptance(proven)];
        points.extend(proven.erased.iter().map(|erased| self.erased(erased)));
        points.extend(self.test(proven));
        points.extend(self.parts(proven));
        points.extend(proven.signatures.iter().map(|signed| self.signature(signed, proven)));
        points.extend(self.legal_value(proven));
        points.push(self.completeness(proven));
        let ends = [
            End::TakenOver,
            End::RefusedBySystem,
            End::RefusedByClerk,
            End::Expired,
            End::Cancelled,
            End::Waiting,
        ];
        points.extend(ends.into_iter().filter_map(|end| self.end(end, proven)));
        points.push(self.mathematics(proven));
        points.extend(self.key_changes(proven));
        let quorum = proven.quorum.as_deref().filter(|rule| *rule != "none");
        points.extend(quorum.map(|rule| quorum_words(self.0, rule)));
        points
    }

    fn acceptance(&self, proven: &Proven) -> String {
        let (at, hub) = (vietnam_time(proven.acceptance.time()), &proven.checkpoint.origin);
        let sender = agency(&proven.manifest.sender, proven);
        let digest = proven.acceptance.manifest_sha256().as_ref().map(Digest::to_string).unwrap_or_default();
        let info = proven.manifest.document.clone().unwrap_or_default();
        let (subject, leaf) = (info.subject, proven.acceptance.index());
        if proven.is_whole_erased() {
            let id = &proven.manifest.document_id;
            return say!(
                self,
                "At {at} (Vietnam time, by the hub's clock) the hub {hub} accepted from {sender} the document {id}. SHA-256 of \
                 what the sender signed: {digest} (leaf {leaf}).",
                "Lúc {at} (giờ Việt Nam, theo đồng hồ của trục), trục {hub} đã tiếp nhận từ {sender} văn bản {id}. Mã băm \
                 SHA-256 của nội dung bên gửi đã ký: {digest} (bản ghi số {leaf}).",
            );
        }
        say!(
            self,
            "At {at} (Vietnam time, by the hub's clock) the hub {hub} accepted from {sender} the document with the subject \
             \"{subject}\". SHA-256 of what the sender signed: {digest} (record {leaf} of the log).",
            "Lúc {at} (giờ Việt Nam, theo đồng hồ của Trục), Trục {hub} đã tiếp nhận từ {sender} văn bản có trích yếu \
             \"{subject}\". Mã băm SHA-256 của nội dung bên gửi đã ký: {digest} (bản ghi số {leaf}).",
        )
    }

    fn erased(&self, erased: &Erased) -> String {
        let (at, leaf, rule, count) =
            (vietnam_time(erased.at), erased.leaf, &erased.policy, erased.parts.len());
        let digests: Vec<_> = erased.parts.iter().map(Digest::to_string).collect();
        let digests = if digests.is_empty() { "-".to_owned() } else { digests.join(", ") };
        match erased.envelope {
            None => say!(
                self,
                "At {at} the hub erased the {count} attachment(s) by its rule \"{rule}\" (leaf {leaf}). SHA-256: {digests}.",
                "Lúc {at}, trục đã xóa {count} tệp đính kèm theo quy tắc bảo quản \"{rule}\" (bản ghi số {leaf}). Mã băm \
                 SHA-256: {digests}.",
            ),
            Some(envelope) => say!(
                self,
                "At {at} the hub erased the document's envelope and its {count} attachment(s) by its rule \"{rule}\" (leaf \
                 {leaf}). SHA-256 of the envelope: {envelope}; of the attachments: {digests}.",
                "Lúc {at}, trục đã xóa gói văn bản và {count} tệp đính kèm theo quy tắc bảo quản \"{rule}\" (bản ghi số \
                 {leaf}). Mã băm SHA-256 của gói: {envelope}; của tệp đính kèm: {digests}.",
            ),
        }
    }

    fn test(&self, proven: &Proven) -> Option<String> {
        let words = say!(
            self,
            "The sender marked it as a test of the connection: it is no document, whatever stands in it.",
            "Bên gửi đã đánh dấu đây là gói kiểm tra kết nối: không phải là văn bản, dù ghi nội dung gì.",
        );
        proven.manifest.test.then_some(words)
    }

    fn parts(&self, proven: &Proven) -> Vec<String> {
        let part = |part: &crate::proto::Part| {
            let (name, size, digest) = (&part.name, part.size, hex::encode(&part.sha256));
            say!(
                self,
                "The sender signed for the attachment \"{name}\" of {size} bytes with the SHA-256 {digest}.",
                "Bên gửi đã ký xác nhận tệp đính kèm \"{name}\", {size} byte, mã băm SHA-256 {digest}.",
            )
        };
        proven.manifest.parts.iter().map(part).collect()
    }

    /// What one signature proves.
    pub fn signature(&self, signed: &Signed, proven: &Proven) -> String {
        let report = &signed.report;
        let key = hex::encode(&report.key_id);
        if !report.valid {
            let problem = report.problem().as_str_name();
            return say!(
                self,
                "A signature in the name of the key {key} does not count: {problem}.",
                "Một chữ ký mang mã khóa {key} không có giá trị: {problem}.",
            );
        }
        let (agency, leaf) = (agency(&report.agency, proven), registered(&report.key_id, proven));
        match report.signer_kind() {
            SignerKind::Person => say!(
                self,
                "A competent person of {agency} signed it; the key {key} was registered (record {leaf}) and valid then.",
                "Người có thẩm quyền của {agency} đã ký; khóa {key} đã được đăng ký (bản ghi số {leaf}) và có hiệu lực tại \
                 thời điểm đó.",
            ),
            _ => say!(
                self,
                "{agency} signed it with its seal; the key {key} was registered (record {leaf}) and valid then.",
                "{agency} đã ký bằng con dấu số của cơ quan; khóa {key} đã được đăng ký (bản ghi số {leaf}) và có hiệu lực \
                 tại thời điểm đó.",
            ),
        }
    }

    fn legal_value(&self, proven: &Proven) -> Option<String> {
        if proven.is_whole_erased() {
            return None;
        }
        match proven.acceptance.verdict()?.legal_value() {
            LegalValue::Unspecified => None,
            LegalValue::Original => Some(say!(
                self,
                "It carries the signatures of a person and of the agency (Decision 28/2018, art. 4: in place of paper).",
                "Gói văn bản có đủ chữ ký của người có thẩm quyền và của cơ quan (Quyết định 28/2018, Điều 4: thay cho văn \
                 bản giấy).",
            )),
            LegalValue::Information => Some(say!(
                self,
                "It does not carry the signatures of both a person and the agency (Decision 28/2018, art. 4: for \
                 information).",
                "Gói văn bản không có đủ chữ ký của người có thẩm quyền và của cơ quan (Quyết định 28/2018, Điều 4: để \
                 biết, tham khảo).",
            )),
        }
    }

    /// Whether all recipients are in the file.
    pub fn completeness(&self, proven: &Proven) -> String {
        let total: u64 = proven.lists.iter().map(|list| list.count).sum();
        let found = proven.recipients.len();
        match proven.missing() {
            0 => say!(
                self,
                "The list of recipients is complete: the hub signed that there are {total}, and exactly these are in the file.",
                "Danh sách cơ quan nhận là đầy đủ: Trục đã ký xác nhận có {total} cơ quan nhận, và tệp có đúng các cơ quan đó.",
            ),
            _ => say!(
                self,
                "The hub signed that there are {total} recipients; only {found} of them are in the file.",
                "Trục đã ký xác nhận có {total} cơ quan nhận; tệp chỉ có {found} trong số đó.",
            ),
        }
    }

    fn end(&self, end: End, proven: &Proven) -> Option<String> {
        let courses: Vec<&Course> = proven.recipients.iter().filter(|course| course.end == end).collect();
        if courses.is_empty() {
            return None;
        }
        let (count, who) = (courses.len(), self.named(&courses, proven));
        let these = recipients(count as u64);
        Some(match end {
            End::TakenOver => say!(
                self,
                "{these} took it over into their own system and signed for that with their own key: {who}.",
                "{count} cơ quan nhận đã nhận văn bản vào hệ thống của mình và ký xác nhận bằng khóa của chính mình: {who}.",
            ),
            End::RefusedBySystem => say!(
                self,
                "{these} refused it and signed the refusal with their own key: {who}.",
                "{count} cơ quan nhận đã từ chối nhận và ký vào lời từ chối bằng khóa của chính mình: {who}.",
            ),
            End::RefusedByClerk => say!(
                self,
                "{these} refused it by a signed status of the clerk (02): {who}.",
                "{count} cơ quan nhận đã từ chối tiếp nhận bằng trạng thái 02 do văn thư ký: {who}.",
            ),
            End::Expired => say!(
                self,
                "{these} did not take it over by the deadline, which the hub recorded: {who}.",
                "{count} cơ quan nhận đã không nhận văn bản trước thời hạn; Trục đã ghi nhận việc quá hạn: {who}.",
            ),
            End::Cancelled => say!(
                self,
                "{count} delivery(ies) were ended by an operator of the hub, who is named in the record: {who}.",
                "{count} lượt gửi đã được người vận hành trục kết thúc, tên người vận hành có trong bản ghi: {who}.",
            ),
            End::Waiting => say!(
                self,
                "{these} had it at their disposal, and the file holds no answer: {who}.",
                "{count} cơ quan nhận đã có văn bản chờ nhận và tệp không có câu trả lời nào: {who}.",
            ),
        })
    }

    /// How many recipients came to which end, without their names.
    pub fn ends_in_short(&self, proven: &Proven) -> Option<String> {
        let ends = self.ends(proven);
        let all = say!(
            self,
            "Of the recipients, {ends}. Who took it over or refused it signed that with its own key; what was not taken over \
             in time, the hub recorded.",
            "Trong các cơ quan nhận: {ends}. Cơ quan đã nhận hoặc từ chối đều ký bằng khóa của chính mình; việc quá hạn do \
             Trục ghi nhận.",
        );
        (!proven.recipients.is_empty()).then_some(all)
    }

    /// That the records are in the log.
    pub fn mathematics(&self, proven: &Proven) -> String {
        let (leaves, signatures) = (proven.leaves, proven.signatures_checked);
        let (size, hub) = (proven.checkpoint.size, &proven.checkpoint.origin);
        say!(
            self,
            "All {leaves} records of this file stand in the log of {hub} at its size of {size}, whose head the hub signed; \
             {signatures} signatures were verified anew, with the keys as the directory knew them at that place of the log.",
            "Toàn bộ {leaves} bản ghi trong tệp đều nằm trong sổ nhật ký của {hub} khi sổ có {size} bản ghi, do Trục ký ở \
             đầu sổ; {signatures} chữ ký đã được kiểm tra lại bằng các khóa mà danh bạ ghi nhận tại đúng vị trí đó của sổ.",
        )
    }

    /// That the reader's key and the one that signed belong to one log.
    fn key_changes(&self, proven: &Proven) -> Option<String> {
        let changes = proven.keys_of_log.handovers().len();
        let (hub, key) = (&proven.checkpoint.origin, &proven.verifier);
        (changes > 0).then(|| {
            say!(
                self,
                "The log of {hub} changed its key {changes} time(s), each time signed by the old key and the new one, as a \
                 record of the log itself; the head here is signed by {key}.",
                "Sổ nhật ký của {hub} đã đổi khóa {changes} lần, mỗi lần đều do khóa cũ và khóa mới cùng ký và được ghi thành \
                 bản ghi trong chính sổ; điểm kiểm ở đây do khóa {key} ký.",
            )
        })
    }

    /// Witnesses that no policy of the reader asked for.
    fn witnesses(&self, proven: &Proven) -> Option<String> {
        if proven.quorum.is_some() || proven.cosigned.is_empty() {
            return None;
        }
        let names: Vec<_> = proven.cosigned.iter().map(|cosigned| cosigned.key.name()).collect();
        let names = names.join(", ");
        Some(say!(
            self,
            "That others saw the same history: the file holds good cosignatures in the name of {names}, but without --policy \
             nothing says whose keys these are.",
            "Việc người khác cũng thấy cùng một lịch sử: tệp có chữ ký xác nhận hợp lệ mang tên {names}, nhưng khi không có \
             --policy thì không có gì cho biết đó là khóa của ai.",
        ))
    }

    /// What stays open.
    pub fn not_proven(&self, proven: &Proven) -> Vec<String> {
        let (last, hub) = (proven.checkpoint.size - 1, &proven.checkpoint.origin);
        let mut points = vec![
            say!(
                self,
                "That nothing came later: what happened after record {last} is not here, and a recipient's last events \
                 before it can have been left out (never one between two others, and never a recipient).",
                "Việc không có gì xảy ra sau đó: những gì sau bản ghi số {last} không có ở đây, và các sự kiện cuối cùng \
                 của một cơ quan nhận trước đó có thể đã bị bỏ ra ngoài (nhưng không thể bỏ một sự kiện ở giữa, hay bỏ cả \
                 một cơ quan nhận).",
            ),
            say!(
                self,
                "That the times are right: they are the word of the hub's clock, no independent time stamp.",
                "Tính chính xác của thời gian: đó là thời gian theo đồng hồ của Trục, không phải dấu thời gian độc lập.",
            ),
            say!(
                self,
                "That what the document says is true, or that a file at hand is its attachment: compare the SHA-256.",
                "Nội dung văn bản là đúng sự thật, hoặc một tệp đang có chính là tệp đính kèm: cần so sánh mã băm SHA-256.",
            ),
            say!(
                self,
                "That a person has read it: a system took it over, and signed with the key of its agency.",
                "Việc có người đã đọc văn bản: chỉ chứng minh hệ thống của cơ quan đã nhận và ký bằng khóa của cơ quan.",
            ),
            say!(
                self,
                "Who holds a key: that a key is an agency's is the word of the directory of {hub}. A later revocation need \
                 not be here.",
                "Ai thực sự giữ khóa: khóa thuộc về cơ quan nào là theo danh bạ của {hub}. Việc thu hồi khóa về sau có thể \
                 không có trong tệp.",
            ),
            say!(
                self,
                "That {hub} shows everybody the same log: compare its checkpoints with what others hold.",
                "Việc {hub} cho mọi người xem cùng một sổ nhật ký: cần đối chiếu điểm kiểm (checkpoint) với bên khác.",
            ),
        ];
        if proven.is_whole_erased() {
            points.push(say!(
                self,
                "What the document said, and that the signatures on it were good: its envelope was erased, and the hub's verdict \
                 of that time stands alone. Whoever still has the envelope can show both: its SHA-256 is above.",
                "Nội dung văn bản và giá trị các chữ ký trên văn bản: gói văn bản đã bị xóa, chỉ còn kết luận của trục tại thời \
                 điểm tiếp nhận. Ai còn giữ gói văn bản có thể chứng minh cả hai bằng mã băm SHA-256 nêu trên.",
            ));
        }
        points.extend(self.witnesses(proven));
        points.extend(proven.quorum.as_ref().map(|_| independence_words(self.0)));
        if proven.count(End::Expired) > 0 {
            points.push(say!(
                self,
                "Why a recipient did not take it over in time: that it was offered is the hub's word.",
                "Lý do cơ quan nhận không nhận đúng hạn: việc văn bản đã được chuyển tới là theo lời của Trục.",
            ));
        }
        points
    }

    /// Who, and when; above some, the table tells that.
    fn named(&self, courses: &[&Course], proven: &Proven) -> String {
        if courses.len() > NAMED {
            return say!(self, "see the list of recipients", "xem danh sách các cơ quan nhận");
        }
        let name = |course: &&Course| {
            format!("{}, {}", agency(course.recipient.as_str(), proven), vietnam_time(course.at))
        };
        courses.iter().map(name).collect::<Vec<_>>().join("; ")
    }

    fn document(&self, proven: &Proven) -> String {
        let info = proven.manifest.document.clone().unwrap_or_default();
        let number = number(&info);
        let (kind, id) = (info.type_name, &proven.manifest.document_id);
        let sender = agency(&proven.manifest.sender, proven);
        if proven.is_whole_erased() {
            return say!(
                self,
                "The document {id} of {sender}, whose contents were erased,",
                "Văn bản {id} của {sender} (nội dung đã được xóa)",
            );
        }
        let revision = match proven.manifest.revision {
            0 => String::new(),
            revision => say!(self, ", revision {revision}", ", lần sửa đổi {revision}"),
        };
        say!(
            self,
            "The document \"{kind}\" No. {number} of {sender} (id {id}{revision})",
            "Văn bản \"{kind}\" số {number} của {sender} (mã định danh {id}{revision})",
        )
    }

    fn ends(&self, proven: &Proven) -> String {
        let refused = proven.count(End::RefusedBySystem) + proven.count(End::RefusedByClerk);
        let counts = [
            (proven.count(End::TakenOver), "took it over", "đã nhận"),
            (refused, "refused it", "từ chối"),
            (proven.count(End::Expired), "did not take it over in time", "quá hạn không nhận"),
            (proven.count(End::Cancelled), "ended by an operator", "do người vận hành kết thúc"),
            (proven.count(End::Waiting), "without an answer in this file", "chưa có câu trả lời trong tệp"),
        ];
        let told = counts.into_iter().filter(|(count, ..)| *count > 0);
        let told = told.map(|(count, en, vi)| say!(self, "{count} {en}", "{count} {vi}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// Name and identifier.
pub(super) fn agency(id: &str, proven: &Proven) -> String {
    match proven.names.get(id) {
        Some(name) => format!("{name} ({id})"),
        None => id.to_owned(),
    }
}

fn registered(key_id: &[u8], proven: &Proven) -> u64 {
    let key = proven.keys.iter().find(|key: &&KeyStory| key.key_id.as_bytes()[..] == *key_id);
    key.map_or(0, |key| key.registered)
}

/// Number and notation of a document.
pub(super) fn number(info: &DocumentInfo) -> String {
    if info.notation.is_empty() { info.number.clone() } else { format!("{}/{}", info.number, info.notation) }
}

/// A document in a few words.
pub(super) fn title(proven: &Proven) -> String {
    let info = proven.manifest.document.clone().unwrap_or_default();
    format!("{} {}", info.type_name, number(&info))
}

fn recipients(count: u64) -> String {
    if count == 1 { "1 recipient".into() } else { format!("{count} recipients") }
}

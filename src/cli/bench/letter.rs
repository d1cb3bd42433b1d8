//! Documents of the load: each one different, each one really signed.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::{options::Load, world::Seat};
use crate::{
    client::{Terms, calendar},
    domain::{
        envelope::{self, MANIFEST},
        id::Digest,
    },
    proto::{DocumentInfo, Manifest, Part, RecipientGroup, SubmitRequest},
};

/// Longest text of the manifest's long fields.
const LONG: usize = 500;
/// Texts of the list that is filled next.
const LINES: usize = 100;
/// Longest of these.
const LINE: usize = 200;

/// Subjects that differ: one of each list, so that words are rare or common.
const KINDS: [&str; 5] = ["Kế hoạch", "Báo cáo", "Hướng dẫn", "Đề nghị", "Thông báo"];
const MATTERS: [&str; 12] = [
    "phòng chống lũ quét",
    "đầu tư công",
    "chuyển đổi số",
    "cải cách hành chính",
    "tiêm chủng mở rộng",
    "thu ngân sách",
    "giảm nghèo bền vững",
    "quy hoạch đất đai",
    "tuyển sinh lớp mười",
    "an toàn giao thông",
    "phòng cháy chữa cháy",
    "cấp nước sạch",
];
const PLACES: [&str; 13] = [
    "xã Tả Van",
    "xã Bản Hồ",
    "xã Mường Hoa",
    "phường Cầu Mây",
    "xã Liên Minh",
    "xã Thanh Bình",
    "xã Hoàng Liên",
    "xã Trung Chải",
    "phường Sa Pả",
    "phường Hàm Rồng",
    "thị xã Sơn Tây",
    "huyện Bát Xát",
    "huyện Mù Cang Chải",
];

/// Writes documents.
pub struct Letters {
    template: Manifest,
    body: Vec<u8>,
    run: String,
    fan_out: usize,
    addresses: Arc<[String]>,
    /// Subjects and urgencies differ.
    differ: bool,
}

/// A document, ready to be handed in.
pub struct Letter {
    /// What is sent.
    pub request: SubmitRequest,
    /// Digest of its manifest.
    pub manifest_sha256: Digest,
}

impl Letters {
    /// Documents for a hub. `run` tells those of this run from all others.
    pub fn new(load: &Load, terms: &Terms, addresses: Arc<[String]>, run: String) -> Self {
        let now = calendar::now();
        let document = DocumentInfo {
            notation: format!("TT-{run}"),
            promulgation_date: calendar::vietnam_date(now),
            type_name: "Công văn".into(),
            subject: "Đo tải".into(),
            ..DocumentInfo::default()
        };
        let template = Manifest {
            nonce: vec![0; 16].into(),
            hub_origin: terms.origin().to_owned(),
            document: Some(document),
            ..Manifest::default()
        };
        let body = (0..load.size).map(|at| at.wrapping_mul(167).to_le_bytes()[0]).collect();
        let differ = load.questions.is_some();
        let mut letters = Self { template, body, run, fan_out: load.fan_out, addresses, differ };
        letters.pad(load.manifest_bytes);
        letters
    }

    /// The document of this number, by this agency. Nothing of it was made before.
    pub fn write(&self, seat: &Seat, serial: u64) -> Letter {
        let body = self.body(serial);
        sign(seat, self.manifest(&seat.agency, serial, &body), body)
    }

    /// A document to a group.
    pub fn write_to(&self, seat: &Seat, serial: u64, group: RecipientGroup) -> Letter {
        let body = self.body(serial);
        let manifest = self.manifest(&seat.agency, serial, &body);
        sign(seat, Manifest { recipients: Vec::new(), groups: vec![group], ..manifest }, body)
    }

    /// What the document of this number is called.
    pub fn document_id(&self, serial: u64) -> String {
        format!("{},{serial}", self.run)
    }

    /// Number of a document of this run.
    pub fn serial(&self, document_id: &str) -> Option<u64> {
        document_id.strip_prefix(&self.run)?.strip_prefix(',')?.parse().ok()
    }

    /// Size of a manifest.
    pub fn manifest_bytes(&self) -> usize {
        self.manifest("Z90.0", 10_000, &self.body(10_000)).encoded_len()
    }

    fn body(&self, serial: u64) -> Bytes {
        let mut body = self.body.clone();
        for (byte, mark) in body.iter_mut().zip(self.run.bytes().chain(serial.to_le_bytes())) {
            *byte = mark;
        }
        body.into()
    }

    fn manifest(&self, sender: &str, serial: u64, body: &[u8]) -> Manifest {
        let mut manifest = self.template.clone();
        manifest.document_id = self.document_id(serial);
        manifest.nonce = nonce();
        manifest.sender = sender.to_owned();
        manifest.issued_at_us = calendar::now().0;
        manifest.recipients = self.recipients(serial);
        if let Some(document) = &mut manifest.document {
            document.number = (serial % 100_000_000_000).to_string();
            if self.differ {
                document.subject = subject(serial);
                document.urgency = u32::try_from(serial % 4).unwrap_or(0);
            }
        }
        if !body.is_empty() {
            manifest.parts.push(Part {
                name: "van-ban.pdf".into(),
                media_type: "application/pdf".into(),
                size: body.len() as u64,
                sha256: Digest::of(body).to_bytes(),
            });
        }
        manifest
    }

    /// All recipients get their turn.
    fn recipients(&self, serial: u64) -> Vec<String> {
        let from = usize::try_from(serial).unwrap_or(0).wrapping_mul(self.fan_out);
        let all = self.addresses.len();
        (0..self.fan_out).map(|at| self.addresses[from.wrapping_add(at) % all].clone()).collect()
    }

    /// Fills the manifest's long fields until it has this size.
    fn pad(&mut self, size: usize) {
        let mut missing = size.saturating_sub(self.manifest_bytes());
        let Some(document) = &mut self.template.document else { return };
        document.content = fill(&mut missing, LONG, 3);
        document.sphere = fill(&mut missing, LINE / 2, 2);
        while missing > 4 && document.appendixes.len() < LINES {
            document.appendixes.push(fill(&mut missing, LINE, 3));
        }
    }
}

fn subject(serial: u64) -> String {
    let pick = |list: &'static [&'static str]| list[usize::try_from(serial).unwrap_or(0) % list.len()];
    format!("{} {} tại {}", pick(&KINDS), pick(&MATTERS), pick(&PLACES))
}

fn sign(seat: &Seat, manifest: Manifest, body: Bytes) -> Letter {
    let payload = Bytes::from(manifest.encode_to_vec());
    let manifest_sha256 = Digest::of(&payload);
    let envelope = envelope::sign(MANIFEST, payload, &[&seat.key]);
    let inline_parts = if body.is_empty() { Vec::new() } else { vec![body] };
    Letter { request: SubmitRequest { envelope: Some(envelope), inline_parts }, manifest_sha256 }
}

/// Text of at most `most` bytes, which takes `head` more in the message.
fn fill(missing: &mut usize, most: usize, head: usize) -> String {
    let length = missing.saturating_sub(head).min(most);
    *missing = missing.saturating_sub(length + head);
    "n".repeat(length)
}

fn nonce() -> Bytes {
    let mut nonce = [0; 16];
    // Without randomness the hub still gets a document, whose digest could be guessed.
    let _ = getrandom::fill(&mut nonce);
    Bytes::copy_from_slice(&nonce)
}

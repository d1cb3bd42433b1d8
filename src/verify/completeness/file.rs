//! The file: pages behind their lengths, each in its one allowed form.

use bytes::{Buf, Bytes};
use prost::{Message, encoding::decode_varint};

use super::{CompletenessError, Place, wrong};
use crate::proto::{GetCompletenessResponse, get_completeness_response::Page};

/// Begins every file.
pub const MAGIC: &[u8] = b"truc completeness v1\n";
/// Largest file.
pub const MAX_FILE: usize = 512 * 1024 * 1024;
/// Leaves of one file.
pub const MAX_LEAVES: usize = 1_000_000;
/// Days of one file: ten years.
pub const MAX_DAYS: usize = 4_000;
/// Hashes of one file: 40 for each leaf would be the largest tree.
const MAX_HASHES: usize = 4 * MAX_LEAVES;

/// Adds a page to the bytes of a file, which begins with [`MAGIC`].
pub fn encode(page: &GetCompletenessResponse, file: &mut Vec<u8>) {
    prost::encoding::encode_varint(page.encoded_len() as u64, file);
    page.encode_raw(file);
}

/// The pages of a file, one after the other.
pub struct Pages {
    rest: Bytes,
    days: usize,
    leaves: usize,
    hashes: usize,
}

impl Pages {
    pub fn open(file: &Bytes) -> Result<Self, CompletenessError> {
        if file.len() > MAX_FILE {
            return Err(wrong(Place::File, format!("more than {MAX_FILE} bytes")));
        }
        if !file.starts_with(MAGIC) {
            return Err(wrong(Place::File, "does not begin with \"truc completeness v1\""));
        }
        Ok(Self { rest: file.slice(MAGIC.len()..), days: 0, leaves: 0, hashes: 0 })
    }

    fn page(&mut self) -> Result<Page, String> {
        let before = self.rest.remaining();
        let len = decode_varint(&mut self.rest).map_err(|error| error.to_string())?;
        if before - self.rest.remaining() != prost::encoding::encoded_len_varint(len) {
            return Err("a length is not in its one allowed form".into());
        }
        let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
        let bytes = self.rest.split_to(len.ok_or("a page is cut")?);
        let page = GetCompletenessResponse::decode(bytes.clone()).map_err(|error| error.to_string())?;
        if page.encode_to_vec() != bytes {
            return Err("a page is not in its one allowed form".into());
        }
        let page = page.page.ok_or("a page holds nothing")?;
        self.within_bounds(&page)?;
        Ok(page)
    }

    fn within_bounds(&mut self, page: &Page) -> Result<(), String> {
        match page {
            Page::Head(_) => {}
            Page::Day(_) => self.days += 1,
            Page::Leaves(page) => self.leaves += page.leaves.len(),
            Page::Hashes(page) => self.hashes += page.hashes.len(),
        }
        if self.days > MAX_DAYS + 1 || self.leaves > MAX_LEAVES || self.hashes > MAX_HASHES {
            return Err(format!("more than {MAX_DAYS} days, or than {MAX_LEAVES} leaves with their hashes"));
        }
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Page, CompletenessError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let page = self.page().map_err(|problem| wrong(Place::File, problem));
        if page.is_err() {
            self.rest.clear();
        }
        Some(page)
    }
}

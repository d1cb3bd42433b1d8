//! Where the next page begins. A token names a leaf, so it stays good while the log grows, and the question it belongs
//! to, so that it is not used with another one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;

use crate::{
    domain::{id::Digest, reason::ReasonCode},
    hub::refused::Refused,
    proto::SearchRequest,
};

const VERSION: u8 = 1;
/// Bytes of the question's digest.
const TAG: usize = 8;

/// The token of a page that begins with this leaf.
pub fn token(request: &SearchRequest, leaf: u64) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(leaf.to_be_bytes());
    bytes.extend(tag(request));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The leaf in the request's token; `None` for the first page.
pub fn leaf(request: &SearchRequest) -> Result<Option<u64>, Refused> {
    if request.page_token.is_empty() {
        return Ok(None);
    }
    let parsed = URL_SAFE_NO_PAD.decode(&request.page_token).ok().and_then(|bytes| {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (leaf, rest) = rest.split_first_chunk()?;
        (rest == tag(request)).then_some(u64::from_be_bytes(*leaf))
    });
    let wrong = "page_token: not one that this hub gave for this filter and order";
    parsed.map(Some).ok_or_else(|| Refused::because(ReasonCode::BadCursor, wrong))
}

fn tag(request: &SearchRequest) -> [u8; TAG] {
    let question =
        SearchRequest { filter: request.filter.clone(), order: request.order, ..Default::default() };
    let digest = Digest::of(&question.encode_to_vec());
    let mut tag = [0; TAG];
    tag.copy_from_slice(&digest.as_bytes()[..TAG]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::SearchFilter;

    #[test]
    fn a_token_belongs_to_its_question() {
        let filter = SearchFilter { sender: "H53".into(), ..SearchFilter::default() };
        let mut request = SearchRequest { filter: Some(filter), ..SearchRequest::default() };
        assert_eq!(leaf(&request).unwrap(), None);
        request.page_token = token(&request, 77);
        request.page_size = 5;
        assert_eq!(leaf(&request).unwrap(), Some(77), "the size of a page may change");
        for wrong in ["x", "AAAA", &request.page_token[1..]] {
            let request = SearchRequest { page_token: wrong.into(), ..request.clone() };
            assert_eq!(leaf(&request).unwrap_err().code(), ReasonCode::BadCursor);
        }
        request.order = 1;
        assert_eq!(leaf(&request).unwrap_err().code(), ReasonCode::BadCursor);
    }
}

//! Fetching the answer whether an agency's evidence of some days is complete.

use prost::Message;

use super::{Client, ClientError};
use crate::{
    proto::GetCompletenessRequest,
    verify::completeness::{MAGIC, MAX_FILE, encode},
};

/// Fetches the answer as the bytes of a file. Nothing is verified; more than the largest file is refused.
pub async fn fetch(client: &Client, request: GetCompletenessRequest) -> Result<Vec<u8>, ClientError> {
    let mut pages = client.audit().get_completeness(request).await?.into_inner();
    let mut file = MAGIC.to_vec();
    while let Some(page) = pages.message().await? {
        if file.len() + page.encoded_len() > MAX_FILE {
            return Err(ClientError::answer(format!("an answer of more than {MAX_FILE} bytes")));
        }
        encode(&page, &mut file);
    }
    Ok(file)
}

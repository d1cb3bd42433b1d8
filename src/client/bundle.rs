//! Fetching all that proves the story of one document.

use prost::Message;

use super::{Client, ClientError};
use crate::{
    proto::{DocProof, GetBundleRequest, get_bundle_response::Page},
    verify::docproof::MAX_FILE,
};

/// Fetches the bundle of a document and puts it in order. Nothing is verified; more than the largest file is refused.
pub async fn fetch(client: &Client, request: GetBundleRequest) -> Result<DocProof, ClientError> {
    let mut pages = client.audit().get_bundle(request).await?.into_inner();
    let (mut proof, mut bytes) = (DocProof::default(), 0);
    while let Some(answer) = pages.message().await? {
        bytes += answer.encoded_len();
        if bytes > MAX_FILE {
            return Err(ClientError::answer(format!("a bundle of more than {MAX_FILE} bytes")));
        }
        match answer.page {
            Some(Page::Head(head)) => {
                proof.verifier_key = head.verifier_key;
                proof.checkpoint = head.checkpoint;
                proof.envelope = head.envelope;
                proof.log_keys = head.log_keys;
                proof.cosignatures = head.cosignatures;
            }
            Some(Page::Leaves(page)) => proof.leaves.extend(page.leaves),
            Some(Page::Hashes(page)) => proof.hashes.extend(page.hashes),
            None => return Err(ClientError::answer("a page of the bundle is of no kind that is known")),
        }
    }
    proof.leaves.sort_by_key(|leaf| leaf.index);
    Ok(proof)
}

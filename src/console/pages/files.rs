//! Proofs to take home.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, State},
    http::{
        HeaderValue,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use prost::Message;
use serde::Deserialize;

use super::document::Asked;
use crate::{
    console::{Desk, trouble::Trouble, visitor::Signed},
    domain::reason::{Reason, ReasonCode},
    proto::{DocProof, GetBundleRequest, get_bundle_response::Page},
    verify::docproof,
};

/// Largest bundle that a browser gets; larger ones are fetched with `truc audit bundle`.
const MAX_BUNDLE: usize = 32 << 20;

/// Which leaf.
#[derive(Deserialize)]
pub(crate) struct Leaf {
    leaf: u64,
}

/// `GET /document/receipt`: a serialized `Receipt`, as `truc verify` reads it.
pub(crate) async fn receipt(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(Leaf { leaf }): Query<Leaf>,
) -> Result<Response, Trouble> {
    let receipt = desk.hub.read_receipt(&signed.caller.reader()?, leaf).await?;
    Ok(file(&format!("{leaf:06}.receipt"), receipt.encode_to_vec()))
}

/// `GET /document/bundle`: the whole story in one file, as `truc audit bundle` writes it.
pub(crate) async fn bundle(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Trouble> {
    signed.caller.require_reader()?;
    let request = GetBundleRequest {
        document_id: asked.id.clone(),
        sender: asked.sender.clone(),
        revision: asked.revision,
        cosigned: false,
    };
    let mut pages = desk.hub.bundle(request).await?;
    let (mut proof, mut bytes) = (DocProof::default(), 0);
    while let Some(page) = pages.recv().await {
        let page = page?;
        bytes += page.encoded_len();
        if bytes > MAX_BUNDLE {
            let detail = format!("more than {MAX_BUNDLE} bytes: use `truc audit bundle`");
            return Err(Reason::new(ReasonCode::TooLarge, detail).into());
        }
        match page.page {
            Some(Page::Head(head)) => {
                proof.verifier_key = head.verifier_key;
                proof.checkpoint = head.checkpoint;
                proof.envelope = head.envelope;
            }
            Some(Page::Leaves(leaves)) => proof.leaves.extend(leaves.leaves),
            Some(Page::Hashes(hashes)) => proof.hashes.extend(hashes.hashes),
            None => {}
        }
    }
    proof.leaves.sort_by_key(|leaf| leaf.index);
    let name = bundle_name(&asked.id);
    Ok(file(&name, docproof::encode(&proof).into()))
}

/// Name of a bundle's file: letters and digits only.
pub(crate) fn bundle_name(title: &str) -> String {
    let clean: String =
        title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(80).collect();
    format!("{clean}.docproof")
}

fn file(name: &str, bytes: Vec<u8>) -> Response {
    let mut answer = Body::from(bytes).into_response();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_hold_nothing_strange() {
        assert_eq!(bundle_name("17/BC-UBND\"\r\nx: y"), "17-BC-UBND---x--y.docproof");
        assert!(bundle_name(&"ệ".repeat(1_000)).len() < 100);
    }
}

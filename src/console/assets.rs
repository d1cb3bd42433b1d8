//! Style sheet, script and icon, inside the program. Their names hold their digest, so that browsers keep them for ever.

use std::sync::LazyLock;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::domain::id::Digest;

/// Path in front of all names.
pub(crate) const FOLDER: &str = "/assets/";

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    tag: String,
}

static ALL: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |name, kind, bytes: &'static [u8]| {
        let digest = Digest::of(bytes).to_string();
        Asset { name, kind, bytes, tag: digest.chars().take(12).collect() }
    };
    [
        asset("console.css", "text/css; charset=utf-8", include_bytes!("assets/console.css")),
        asset("console.js", "text/javascript; charset=utf-8", include_bytes!("assets/console.js")),
        asset("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
    ]
});

/// Where an asset is; `name` is one of ours.
pub(crate) fn path(name: &str) -> String {
    let tag = ALL.iter().find(|asset| asset.name == name).map_or("", |asset| &asset.tag);
    format!("{FOLDER}{tag}/{name}")
}

/// The asset behind [`FOLDER`].
pub(crate) fn answer(path: &str) -> Response {
    let Some(asset) = path
        .split_once('/')
        .and_then(|(tag, name)| ALL.iter().find(|asset| asset.name == name && asset.tag == tag))
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_found_under_its_own_name_only() {
        for asset in ALL.iter() {
            let path = path(asset.name);
            assert_eq!(answer(path.strip_prefix(FOLDER).expect("in the folder")).status(), StatusCode::OK);
            assert_eq!(answer(&format!("000000000000/{}", asset.name)).status(), StatusCode::NOT_FOUND);
        }
        for none in ["", "/", "console.css", "x/../console.css"] {
            assert_eq!(answer(none).status(), StatusCode::NOT_FOUND, "{none}");
        }
    }
}

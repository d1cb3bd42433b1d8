//! What answers carry and what pages show.

use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    proto::*,
};

use crate::{
    Town,
    rig::{letter, submit},
};

const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    ("strict-transport-security", "max-age=31536000"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_protected() {
    let town = Town::open("").await;
    let mut browser = town.signed_in("operator").await;
    let page = browser.page("/vi/").await;
    let style = page.body.split("href=\"").find(|part| part.starts_with("/assets/")).unwrap();
    let style = style.split('"').next().unwrap().to_owned();
    for path in ["/", "/vi/", "/vi/documents", "/vi/none", "/vi/document?id=none", "/assets/none", &style] {
        let answer = browser.get(path).await;
        for (name, value) in HEADERS {
            assert_eq!(answer.header(name), *value, "{path}: {name}");
        }
        let kept = answer.header("cache-control");
        assert_eq!(kept.contains("immutable"), path == style, "{path}: {kept}");
        assert!(kept.contains("immutable") || kept == "no-store", "{path}: {kept}");
    }
    assert_eq!(browser.get("/vi/none").await.status, 404);
    assert_eq!(browser.get("/vi/document?id=none").await.status, 404);
    assert_eq!(browser.ask("PUT", "/vi/", "", "").await.status, 405);
    let long = "x".repeat(100_000);
    let csrf = browser.page("/vi/").await.csrf();
    let answer = browser.post("/vi/settings/theme", &[("csrf", &csrf), ("place", &long)]).await;
    assert_eq!(answer.status, 413, "a form has a bound");
}

/// Subjects, ids and names are text, whatever stands in them.
#[tokio::test(flavor = "multi_thread")]
async fn what_senders_write_stays_text() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let town = Town::open("").await;
    let sender = town.rig.connect("tavan").await;
    let mut manifest = letter("evil-1", &[DISTRICT, PROVINCE]);
    if let Some(info) = &mut manifest.document {
        info.subject = EVIL.into();
        info.type_name = "<b>Báo cáo</b>".into();
    }
    sender.submission().submit(submit(&manifest, town.rig.seal(COMMUNE), &[])).await.unwrap();
    let put = Agency { organ_id: "H77".into(), name: EVIL.into(), ..Agency::default() };
    let change = DirectoryChange {
        change: Some(directory_change::Change::PutAgency(put)),
        reason: "<i>căn cứ</i>".into(),
    };
    let registrar = town.rig.connect("registrar").await;
    registrar.directory().change(ChangeRequest { change: Some(change) }).await.unwrap();

    let mut browser = town.signed_in("operator").await;
    let document = format!("/vi/document?id=evil-1&sender={COMMUNE}");
    let paths = [
        "/vi/",
        "/vi/documents",
        &document,
        "/vi/agencies",
        "/vi/agency?id=H77",
        "/vi/changes",
        "/vi/documents?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/vi/agencies?q=%22%3E%3Cscript%3E",
        "/vi/sign-in?next=%22%3E%3Cscript%3E",
        "/vi/agency?id=%3Cscript%3E",
    ];
    for path in paths {
        let answer = browser.get(path).await;
        for piece in ["<script>", "<img src=x", "<b>Báo", "<i>"] {
            assert!(!answer.body.contains(piece), "{path}: {piece}");
        }
    }
    let page = browser.page(&document).await;
    assert!(page.body.contains("&#60;script&#62;alert(1)"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_found_told_and_proven() {
    let town = Town::open("").await;
    let sender = town.rig.connect("tavan").await;
    let manifest = letter("found-1", &[DISTRICT, PROVINCE]);
    sender.submission().submit(submit(&manifest, town.rig.seal(COMMUNE), &[])).await.unwrap();
    let mut browser = town.signed_in("operator").await;
    for (query, found) in [("17%2FBC-UBND", true), ("ket+qua", true), ("found-1,", false), ("18", false)] {
        let page = browser.page(&format!("/vi/documents?q={query}&event=")).await;
        assert_eq!(page.body.contains("id=found-1"), found, "{query}");
    }
    let path = format!("document?id=found-1&sender={COMMUNE}");
    for (lang, words) in [("vi", "Chờ nơi nhận lấy"), ("en", "Waits for the recipient")] {
        let page = browser.page(&format!("/{lang}/{path}")).await;
        for text in [words, "17/BC-UBND", "UBND thị xã Sa Pa", DISTRICT, "<svg class=\"timeline\""] {
            assert!(page.body.contains(text), "{text}");
        }
    }
    let page = browser.page(&format!("/vi/{path}")).await;
    let receipt = page.body.split("href=\"").find(|part| part.contains("/document/receipt")).unwrap();
    let receipt = receipt.split('"').next().unwrap().replace("&#38;", "&");
    let answer = browser.page(&receipt).await;
    assert!(answer.header("content-disposition").ends_with(".receipt\""));
    let bundle = browser.page(&format!("/vi/{}", path.replace("document?", "document/bundle?"))).await;
    assert!(bundle.body.starts_with("truc docproof v1\n"));
    assert_eq!(bundle.header("content-disposition"), "attachment; filename=\"found-1.docproof\"");

    let mut scoped = {
        truc::cli::pki::issue_scoped_auditor(
            &town.rig.certs(),
            "bacha-auditor",
            "000.00.22.H38",
            &truc::cli::pki::ServerOptions::default(),
        )
        .unwrap();
        town.signed_in("bacha-auditor").await
    };
    assert_eq!(scoped.get(&format!("/vi/{path}")).await.status, 403, "outside of what the auditor may see");
    assert!(!scoped.page("/vi/documents").await.body.contains("id=found-1"));
}

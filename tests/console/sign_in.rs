//! Who gets in, and how.

use std::time::Duration;

use crate::{Town, browser::form, follow, rig::soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_in_once_and_leaves_no_trace_in_addresses() {
    let town = Town::open("").await;
    let link = town.link("operator");
    let mut browser = town.browser(None);

    let first = browser.get("/").await;
    assert_eq!(first.place(), "/vi/");
    let wanted = browser.get("/vi/documents?q=a").await;
    assert_eq!(wanted.place(), "/vi/sign-in?next=%2Fdocuments%3Fq%3Da");

    // To look at the link spends nothing: mail programs do.
    for _ in 0..2 {
        let page = browser.page(&format!("/vi{link}")).await;
        assert!(page.body.contains("Cán bộ vận hành operator"), "{}", page.body);
    }
    let signed = follow(&mut browser, &link).await;
    assert_eq!(signed.place(), "/vi/");
    let cookie = signed.header("set-cookie");
    assert!(cookie.starts_with("__Host-truc="), "{cookie}");
    for part in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let secret = link.rsplit('/').next().unwrap();
    let overview = browser.page("/vi/").await;
    let session = browser.cookies["__Host-truc"].clone();
    for inside in [secret, &session] {
        assert!(!overview.body.contains(inside) && !signed.header("location").contains(inside));
    }
    assert!(overview.body.contains("Tổng quan"));

    let mut late = town.browser(None);
    let spent = late.get(&format!("/vi{link}")).await;
    assert_eq!(spent.status, 400);
    assert!(spent.body.contains("LINK_SPENT"), "{}", spent.body);
    assert_eq!(late.get("/vi/").await.status, 303, "nobody is signed in here");

    let page = browser.page("/vi/help").await;
    browser.post("/vi/sign-out", &[("csrf", &page.csrf())]).await.place();
    assert!(browser.cookies.is_empty());
    browser.cookies.insert("__Host-truc".into(), session);
    assert_eq!(browser.get("/vi/").await.status, 303, "the session ended on the hub too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_signs_in_and_its_session_needs_it() {
    let town = Town::open("").await;
    let mut browser = town.browser(Some("operator"));
    let page = browser.page("/en/sign-in").await;
    assert!(page.body.contains("Operator operator"), "{}", page.body);
    let signed = browser.post("/en/sign-in/certificate", &[("csrf", &page.csrf())]).await;
    assert_eq!(signed.place(), "/en/");
    browser.page("/en/").await;

    let mut thief = town.browser(None);
    thief.cookies.clone_from(&browser.cookies);
    assert_eq!(thief.get("/en/").await.status, 303, "the cookie alone is worth nothing");
    let mut other = town.browser(Some("auditor"));
    other.cookies.clone_from(&browser.cookies);
    assert_eq!(other.get("/en/").await.status, 303, "nor with another certificate");

    let mut node = town.browser(Some("sapa"));
    let page = node.page("/en/sign-in").await;
    assert!(!page.body.contains("/sign-in/certificate"), "nodes are no people");
    assert!(!town.login("sapa").status.success());

    // A certificate that is revoked ends its session with the next request.
    truc::cli::pki::revoke(&town.rig.certs(), &town.rig.certs().join("operator.pem")).unwrap();
    let mut tries = 0;
    while browser.try_ask("GET", "/en/", "", "").await.is_some_and(|answer| answer.status == 200) {
        tries += 1;
        assert!(tries < 300, "the revocation list is not read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_see_their_pages_only() {
    let town = Town::open("").await;
    let mut auditor = town.signed_in("auditor").await;
    assert_eq!(auditor.get("/vi/").await.status, 403);
    auditor.page("/vi/documents").await;
    auditor.page("/vi/changes").await;
    let mut registrar = town.signed_in("registrar").await;
    assert_eq!(registrar.get("/vi/documents").await.status, 403);
    assert_eq!(registrar.get("/vi/").await.status, 403);
    registrar.page("/vi/agencies").await;
    registrar.page("/vi/changes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_from_elsewhere_are_refused() {
    let town = Town::open("").await;
    let mut browser = town.signed_in("operator").await;
    let csrf = browser.page("/vi/").await.csrf();
    let good = format!("Origin: https://localhost:{}\r\n", town.port);
    let cases = [
        ("no token", good.clone(), form(&[("theme", "dark")])),
        ("another token", good.clone(), form(&[("theme", "dark"), ("csrf", &"A".repeat(43))])),
        ("no origin", String::new(), form(&[("csrf", &csrf)])),
        ("a foreign origin", "Origin: https://evil.example\r\n".into(), form(&[("csrf", &csrf)])),
        ("a foreign site", good.clone() + "Sec-Fetch-Site: cross-site\r\n", form(&[("csrf", &csrf)])),
    ];
    for (what, headers, body) in cases {
        let answer = browser.ask("POST", "/vi/settings/theme", &headers, &body).await;
        assert_eq!(answer.status, 403, "{what}");
    }
    let answer =
        browser.ask("POST", "/vi/settings/theme", &good, &form(&[("csrf", &csrf), ("theme", "dark")])).await;
    assert_eq!(answer.status, 303);
    assert_eq!(browser.cookies["truc-theme"], "dark");
    // The sign-in itself is a form too.
    let link = town.link("operator");
    let mut stranger = town.browser(None);
    assert_eq!(stranger.post(&format!("/vi{link}"), &[("csrf", "00")]).await.status, 403);
    assert_eq!(follow(&mut stranger, &link).await.status, 303, "nothing was spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_themselves() {
    let town = Town::open("session_life = \"2s\"\n").await;
    let mut browser = town.signed_in("operator").await;
    browser.page("/vi/help").await;
    let mut tries = 0;
    while browser.get("/vi/help").await.status == 200 {
        tries += 1;
        assert!(tries < 300, "the session never ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let page = browser.get("/vi/help").await;
    assert_eq!(page.place(), "/vi/sign-in?next=%2Fhelp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_console_makes_no_links() {
    let rig = crate::rig::Rig::start().await;
    let client = rig.connect("operator").await;
    let status =
        client.console().create_sign_in_link(truc::proto::CreateSignInLinkRequest {}).await.unwrap_err();
    assert_eq!(crate::rig::reason(&status), truc::domain::reason::ReasonCode::NoConsole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_link_ends_with_the_certificate_that_asked_for_the_link() {
    let town = Town::open("[tls]\nreload_every = \"50ms\"\n").await;
    truc::cli::pki::issue(&town.rig.certs(), truc::cli::pki::Role::Operator, "second").unwrap();
    let mut leaves = town.signed_in("second").await;
    let mut stays = town.signed_in("operator").await;
    let unspent = town.link("second");
    leaves.page("/vi/help").await;
    truc::cli::pki::revoke(&town.rig.certs(), &town.rig.certs().join("second.pem")).unwrap();
    soon(async { while leaves.get("/vi/help").await.status == 200 {} }).await;
    assert_eq!(leaves.get("/vi/help").await.place(), "/vi/sign-in?next=%2Fhelp");
    let refused = follow(&mut town.browser(None), &unspent).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    stays.page("/vi/help").await;
}

//! The web console over real TLS: who gets in, what every answer carries, and what pages show.

#![allow(clippy::unwrap_used)]

mod actions;
mod browser;
mod four_eyes;
mod large;
#[path = "../rig/mod.rs"]
mod rig;
mod shown;
mod sign_in;

use std::{path::Path, process::Command};

use browser::{Answer, Browser};
use rig::Rig;
use truc::cli::demo::process::free_port;

/// A hub with an open console.
pub struct Town {
    pub rig: Rig,
    pub port: u16,
}

impl Town {
    pub async fn open(more: &str) -> Self {
        let port = free_port().unwrap();
        let config = format!("[console]\naddress = \"127.0.0.1:{port}\"\n{more}");
        Self { rig: Rig::start_with(&config).await, port }
    }

    pub fn browser(&self, certificate: Option<&str>) -> Browser {
        Browser::new(self.port, &self.rig.certs(), certificate)
    }

    /// A link as the command prints it: the part behind host and port.
    pub fn link(&self, who: &str) -> String {
        let link = self.login(who);
        assert!(link.status.success(), "{}", String::from_utf8_lossy(&link.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&link.stdout).unwrap();
        let url = answer["url"].as_str().unwrap();
        url.strip_prefix(&format!("https://localhost:{}", self.port)).expect(url).to_owned()
    }

    pub fn login(&self, who: &str) -> std::process::Output {
        let hub = format!("https://localhost:{}", self.rig.port);
        let certs = self.rig.certs();
        Command::new(Path::new(env!("CARGO_BIN_EXE_truc")))
            .args(["console", "login", "--json", "--hub", &hub, "--as", who, "--pki"])
            .arg(certs)
            .output()
            .unwrap()
    }

    /// A browser that signed in by a link.
    pub async fn signed_in(&self, who: &str) -> Browser {
        let mut browser = self.browser(None);
        let answer = follow(&mut browser, &self.link(who)).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        browser
    }
}

/// Opens a link and confirms; what the console answers to that.
pub async fn follow(browser: &mut Browser, link: &str) -> Answer {
    let path = format!("/vi{link}");
    let page = browser.page(&path).await;
    browser.post(&path, &[("csrf", &page.csrf())]).await
}

//! Links by which people sign in to the console: each names who may, holds once, and not for long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Hub;
use crate::{
    domain::{
        id::Digest,
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::refused::Refused,
};

/// How long a link holds.
pub const LINK_US: i64 = 5 * 60 * 1_000_000;
/// Links of one person that hold at the same time: a new one lets go of the oldest.
const MAX_OF_ONE: usize = 4;
/// Links that hold at the same time.
const MAX_LINKS: usize = 1_000;
/// Bytes of a secret.
const SECRET: usize = 32;
/// Longest text that is taken for one.
const MAX_TEXT: usize = 64;

/// Where people reach the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsolePlace {
    /// Its address for people; empty for the hub's own host.
    pub url: String,
    /// Its port.
    pub port: u16,
}

/// All links that hold. Secrets are kept as digests only.
#[derive(Default)]
pub struct SignIns {
    place: OnceLock<ConsolePlace>,
    links: Mutex<HashMap<Digest, Link>>,
}

/// Who may sign in, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The identity as certificates write it, such as `operator:an`.
    pub who: String,
    /// The link's end.
    pub until: Timestamp,
    /// The certificate that asked for it, in DER, with its intermediates: what begins with the link ends with it.
    pub certificate: Arc<[Vec<u8>]>,
}

impl SignIns {
    /// A new link's secret.
    fn create(&self, who: &str, certificate: Vec<Vec<u8>>, now: Timestamp) -> Result<(String, Link), Reason> {
        let mut secret = [0; SECRET];
        getrandom::fill(&mut secret)
            .map_err(|error| Reason::new(ReasonCode::StoreFailed, format!("no randomness: {error}")))?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let until = now.plus_us(LINK_US);
        let link = Link { who: who.to_owned(), until, certificate: certificate.into() };
        let mut links = self.lock();
        links.retain(|_, link| now < link.until);
        make_room(&mut links, who);
        if links.len() >= MAX_LINKS {
            return Err(Reason::new(ReasonCode::Busy, format!("{MAX_LINKS} sign-in links hold already")));
        }
        links.insert(Digest::of(secret.as_bytes()), link.clone());
        Ok((secret, link))
    }

    fn look(&self, secret: &str, now: Timestamp) -> Option<Link> {
        let name = name(secret)?;
        self.lock().get(&name).filter(|link| now < link.until).cloned()
    }

    fn spend(&self, secret: &str, now: Timestamp) -> Option<Link> {
        let name = name(secret)?;
        self.lock().remove(&name).filter(|link| now < link.until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(secret: &str) -> Option<Digest> {
    (secret.len() <= MAX_TEXT).then(|| Digest::of(secret.as_bytes()))
}

/// Lets go of a person's oldest links.
fn make_room(links: &mut HashMap<Digest, Link>, who: &str) {
    let mut own: Vec<(Timestamp, Digest)> =
        links.iter().filter(|(_, link)| link.who == who).map(|(name, link)| (link.until, *name)).collect();
    own.sort_unstable_by_key(|(until, _)| *until);
    let many = own.len().saturating_sub(MAX_OF_ONE - 1);
    for (_, oldest) in own.into_iter().take(many) {
        links.remove(&oldest);
    }
}

impl Hub {
    /// Says where the console is. Once; before that there are no sign-in links.
    pub fn open_console(&self, place: ConsolePlace) {
        // A second call changes nothing.
        let _ = self.sign_ins.place.set(place);
    }

    /// A sign-in link for the holder of a certificate, or `NO_CONSOLE`.
    pub fn create_sign_in(
        &self,
        who: &str,
        certificate: Vec<Vec<u8>>,
    ) -> Result<(String, Link, ConsolePlace), Refused> {
        let none = || Reason::new(ReasonCode::NoConsole, "console.address is not set");
        let place = self.sign_ins.place.get().ok_or_else(none)?;
        let (secret, link) = self.sign_ins.create(who, certificate, self.clock.now())?;
        Ok((secret, link, place.clone()))
    }

    /// Whom a link is for; it stays. `LINK_SPENT` when it does not hold.
    pub fn look_at_sign_in(&self, secret: &str) -> Result<Link, Reason> {
        self.sign_ins.look(secret, self.clock.now()).ok_or_else(spent)
    }

    /// Whom a link is for; it holds no longer. `LINK_SPENT` when it does not hold.
    pub fn spend_sign_in(&self, secret: &str) -> Result<Link, Reason> {
        self.sign_ins.spend(secret, self.clock.now()).ok_or_else(spent)
    }
}

fn spent() -> Reason {
    Reason::new(ReasonCode::LinkSpent, "sign-in link")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    #[test]
    fn a_link_holds_once_and_not_for_long() {
        let links = SignIns::default();
        let (secret, link) = links.create("operator:an", Vec::new(), NOW).expect("room");
        assert_eq!(links.look(&secret, NOW), Some(link.clone()));
        assert_eq!(links.look(&secret, NOW.plus_us(LINK_US)), None, "its end has come");
        assert_eq!(links.spend(&secret, NOW.plus_us(LINK_US - 1)), Some(link));
        assert_eq!(links.spend(&secret, NOW), None, "spent");
        let (secret, _) = links.create("operator:an", Vec::new(), NOW).expect("room");
        assert_eq!(links.spend(&secret, NOW.plus_us(LINK_US)), None, "too late");
        assert_eq!(links.spend(&secret, NOW), None, "and gone");
        for wrong in ["", "x", &"x".repeat(1_000)] {
            assert_eq!(links.look(wrong, NOW), None);
        }
    }

    #[test]
    fn one_person_has_few_links_and_all_are_bounded() {
        let links = SignIns::default();
        let secrets: Vec<_> = (0..10)
            .map(|n| links.create("operator:an", Vec::new(), NOW.plus_us(n)).expect("room").0)
            .collect();
        let holding = secrets.iter().filter(|secret| links.look(secret, NOW).is_some()).count();
        assert_eq!(holding, MAX_OF_ONE);
        assert!(links.look(&secrets[9], NOW).is_some(), "the newest holds");
        let refused =
            (0..MAX_LINKS).find_map(|n| links.create(&format!("operator:{n}"), Vec::new(), NOW).err());
        assert_eq!(refused.expect("full").code, ReasonCode::Busy);
        assert!(
            links.create("operator:bo", Vec::new(), NOW.plus_us(2 * LINK_US)).is_ok(),
            "old ones have gone"
        );
    }
}

//! Who is signed in. Sessions live in memory: a restart of the hub ends them all.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use crate::{
    domain::{
        id::Digest,
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    edge::{caller::Identity, tls::Shown},
};

/// Sessions of one person at the same time: a new one ends the one that was used least lately.
const MAX_OF_ONE: usize = 8;
/// Sessions of all.
const MAX_SESSIONS: usize = 2_000;
/// Longest text that is taken for a session's name.
const MAX_TEXT: usize = 64;

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Without use.
    pub idle_us: i64,
    /// In all.
    pub life_us: i64,
}

/// What a session began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// The certificate of the connection, which must be there for every request.
    Certificate,
    /// A sign-in link.
    Link,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub identity: Identity,
    pub began: Began,
    /// The certificate of this connection, or the one that the link was asked for with. The session ends with it.
    pub shown: Shown,
    /// Stands in every form.
    pub csrf: String,
    pub until: Timestamp,
    used: AtomicI64,
}

/// All sessions, by the digest of their name: what is in memory opens nothing.
pub(crate) struct Sessions {
    terms: Terms,
    open: Mutex<HashMap<Digest, Arc<Session>>>,
}

impl Sessions {
    pub fn new(terms: Terms) -> Self {
        Self { terms, open: Mutex::default() }
    }

    /// A new session; its name goes into the cookie.
    pub fn begin(
        &self,
        identity: Identity,
        began: Began,
        shown: Shown,
        now: Timestamp,
    ) -> Result<String, Reason> {
        let name = random()?;
        let session = Session {
            identity,
            began,
            shown,
            csrf: random()?,
            until: now.plus_us(self.terms.life_us),
            used: AtomicI64::new(now.0),
        };
        let mut open = self.lock();
        self.sweep(&mut open, now);
        make_room(&mut open, &session.identity);
        if open.len() >= MAX_SESSIONS {
            let detail = format!("{MAX_SESSIONS} people are signed in already");
            return Err(Reason::new(ReasonCode::Busy, detail));
        }
        open.insert(Digest::of(name.as_bytes()), Arc::new(session));
        Ok(name)
    }

    /// The session of this name, if it holds.
    pub fn find(&self, name: &str, now: Timestamp) -> Option<Arc<Session>> {
        if name.len() > MAX_TEXT {
            return None;
        }
        let session = self.lock().get(&Digest::of(name.as_bytes())).cloned();
        session.filter(|session| self.holds(session, now))
    }

    /// Ends the session of this name.
    pub fn end(&self, name: &str) {
        self.lock().remove(&Digest::of(name.as_bytes()));
    }

    /// Lets go of those that ended by themselves.
    pub fn tidy(&self, now: Timestamp) {
        self.sweep(&mut self.lock(), now);
    }

    fn sweep(&self, open: &mut HashMap<Digest, Arc<Session>>, now: Timestamp) {
        open.retain(|_, session| self.holds(session, now));
    }

    fn holds(&self, session: &Session, now: Timestamp) -> bool {
        now < session.until && now < session.used().plus_us(self.terms.idle_us)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// A person did something.
    pub fn touch(&self, now: Timestamp) {
        self.used.fetch_max(now.0, Ordering::Relaxed);
    }

    fn used(&self) -> Timestamp {
        Timestamp(self.used.load(Ordering::Relaxed))
    }
}

fn make_room(open: &mut HashMap<Digest, Arc<Session>>, identity: &Identity) {
    let mut own: Vec<(Timestamp, Digest)> = open
        .iter()
        .filter(|(_, session)| session.identity == *identity)
        .map(|(name, session)| (session.used(), *name))
        .collect();
    own.sort_unstable_by_key(|(used, _)| *used);
    let many = own.len().saturating_sub(MAX_OF_ONE - 1);
    for (_, name) in own.into_iter().take(many) {
        open.remove(&name);
    }
}

fn random() -> Result<String, Reason> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Reason::new(ReasonCode::StoreFailed, format!("no randomness: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A key of this process.
pub(crate) fn signing_key() -> hmac::Key {
    hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
        .expect("the system gives random bytes, or TLS would not have started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::caller::Role;

    const NOW: Timestamp = Timestamp(1_000_000);
    const TERMS: Terms = Terms { idle_us: 100, life_us: 1_000 };

    fn shown() -> Shown {
        Shown::of_chain(&[vec![0]]).expect("one")
    }

    fn an(name: &str) -> Identity {
        Identity { role: Role::Operator(name.into()) }
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_in_any_case() {
        let sessions = Sessions::new(TERMS);
        let name = sessions.begin(an("an"), Began::Link, shown(), NOW).expect("room");
        assert!(sessions.find(&name, NOW.plus_us(99)).is_some());
        assert!(sessions.find(&name, NOW.plus_us(100)).is_none());
        for step in 1..=10 {
            if let Some(session) = sessions.find(&name, NOW.plus_us(step * 99)) {
                session.touch(NOW.plus_us(step * 99));
            }
        }
        assert!(sessions.find(&name, NOW.plus_us(999)).is_some());
        assert!(sessions.find(&name, NOW.plus_us(1_000)).is_none());
        sessions.tidy(NOW.plus_us(1_000));
        assert!(sessions.lock().is_empty());
    }

    #[test]
    fn names_are_not_guessed_and_end_at_once() {
        let sessions = Sessions::new(TERMS);
        let (one, two) = (
            sessions.begin(an("an"), Began::Link, shown(), NOW).expect("room"),
            sessions.begin(an("an"), Began::Link, shown(), NOW).expect("room"),
        );
        assert_ne!(one, two);
        assert!(sessions.find("", NOW).is_none() && sessions.find(&"x".repeat(65), NOW).is_none());
        sessions.end(&one);
        assert!(sessions.find(&one, NOW).is_none() && sessions.find(&two, NOW).is_some());
    }

    #[test]
    fn sessions_are_bounded() {
        let sessions = Sessions::new(TERMS);
        let names: Vec<_> = (0..20)
            .map(|n| sessions.begin(an("an"), Began::Link, shown(), NOW.plus_us(n)).expect("room"))
            .collect();
        let held = names.iter().filter(|name| sessions.find(name, NOW.plus_us(20)).is_some()).count();
        assert_eq!(held, MAX_OF_ONE);
        let full = (0..MAX_SESSIONS)
            .find_map(|n| sessions.begin(an(&n.to_string()), Began::Link, shown(), NOW).err());
        assert_eq!(full.expect("full").code, ReasonCode::Busy);
    }
}

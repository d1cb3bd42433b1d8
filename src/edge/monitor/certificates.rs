//! Certificates that end: told long before, and when it is too late.

use std::{sync::Arc, time::Duration};

use super::Monitor;
use crate::{
    edge::tls::{Acceptor, Ending, Role},
    hub::{
        Hub,
        health::{Condition, Health},
    },
};

const DAY: i64 = 86_400;

impl Monitor {
    /// Looks at the certificates in use every so often, and tells the hub's health of those that end within `warning`.
    /// Runs until the hub stops.
    pub fn watch_certificates(
        &self,
        every: Duration,
        warning: Duration,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (hub, acceptor) = (Arc::clone(&self.hub), Arc::clone(&self.acceptor));
        async move {
            loop {
                look(&hub, &acceptor, warning);
                let pause = tokio::time::sleep(every);
                if hub.stopping().run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        }
    }
}

fn look(hub: &Hub, acceptor: &Acceptor, warning: Duration) {
    let (now, warning) =
        (hub.clock().now().0 / 1_000_000, i64::try_from(warning.as_secs()).unwrap_or(i64::MAX));
    judge(hub.health(), &acceptor.endings(), now, warning);
    hub.health().set(Condition::CertificateUnusable, acceptor.fault());
}

fn judge(health: &Health, endings: &[Ending], now: i64, warning: i64) {
    let old_list = endings.iter().find(|ending| ending.role == Role::RevocationList && ending.until < now);
    health.set(Condition::RevocationListOld, old_list.map(|ending| told(ending, now)));
    // One of several CAs may end: its clients have another by then. All of them may not.
    let of = |role| endings.iter().filter(move |ending| ending.role == role);
    let server = of(Role::Server).find(|ending| ending.until < now);
    let authority = of(Role::ClientCa).max_by_key(|ending| ending.until).filter(|last| last.until < now);
    let expired = server.or(authority);
    health.set(Condition::CertificateExpired, expired.map(|ending| told(ending, now)));
    let soon = endings.iter().filter(|ending| ending.role != Role::RevocationList);
    let soon = soon.filter(|ending| ending.until < now.saturating_add(warning)).min_by_key(|e| e.until);
    let soon = soon.filter(|_| expired.is_none());
    health.set(Condition::CertificateExpires, soon.map(|ending| told(ending, now)));
}

fn told(ending: &Ending, now: i64) -> String {
    let (left, what) = (ending.until - now, ending.role.words());
    match left {
        0.. => format!("{what} {} ends in {} days", ending.name, left / DAY),
        _ => format!("{what} {} ended {} days ago", ending.name, -left / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::time::Timestamp, hub::clock::Clock};

    fn ending(role: Role, days: i64) -> Ending {
        Ending { role, name: "CN=one".into(), until: days * DAY }
    }

    /// What stands, with its cause, at day 0.
    fn standing(endings: &[Ending]) -> Vec<(Condition, String)> {
        let health = Health::new(Clock::manual(Timestamp(0)));
        judge(&health, endings, 0, 30 * DAY);
        health.alarms().into_iter().map(|alarm| (alarm.condition, alarm.cause)).collect()
    }

    #[test]
    fn what_lasts_is_not_told() {
        let lasting = [Role::Server, Role::ClientCa, Role::RevocationList].map(|role| ending(role, 31));
        assert_eq!(standing(&lasting), []);
    }

    #[test]
    fn the_end_is_told_before_and_after() {
        let told = |role, days| standing(&[ending(Role::ClientCa, 400), ending(role, days)]);
        let soon = told(Role::Server, 29);
        assert_eq!(
            soon,
            [(Condition::CertificateExpires, "the hub's certificate CN=one ends in 29 days".into())]
        );
        let late = told(Role::Server, -2);
        assert_eq!(
            late,
            [(Condition::CertificateExpired, "the hub's certificate CN=one ended 2 days ago".into())]
        );
        assert_eq!(told(Role::RevocationList, 1), [], "lists are short-lived");
        assert_eq!(told(Role::RevocationList, -1)[0].0, Condition::RevocationListOld);
    }

    #[test]
    fn one_of_several_authorities_may_end() {
        let one = standing(&[ending(Role::ClientCa, 400), ending(Role::ClientCa, -1)]);
        assert_eq!(one[0].0, Condition::CertificateExpires);
        let all = standing(&[ending(Role::ClientCa, -9), ending(Role::ClientCa, -1)]);
        assert_eq!(all[0].0, Condition::CertificateExpired);
    }
}

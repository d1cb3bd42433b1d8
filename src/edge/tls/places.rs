//! Room for connections: in all, for one address, for one caller.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::TlsLimits;
use crate::{
    domain::reason::Reason,
    edge::{
        caller::Identity,
        shares::{Share, Shares},
    },
};

/// All places.
pub(super) struct Places {
    slots: Arc<Semaphore>,
    of_address: Shares<IpAddr>,
    of_caller: Shares<Identity>,
}

/// The place of one connection.
pub(super) struct Place {
    _address: Share<IpAddr>,
    caller: Option<Share<Identity>>,
    _slot: OwnedSemaphorePermit,
}

impl Places {
    pub fn new(limits: &TlsLimits) -> Self {
        let all = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(all)),
            of_address: Shares::new("connections", limits.max_connections_of_address, all),
            of_caller: Shares::new("connections", limits.max_connections_of_caller, all),
        }
    }

    /// Waits until one more connection may stand; what comes meanwhile waits in the kernel's queue.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// A place for a connection that comes in; `None` when its address has too many.
    pub fn place(&self, socket: &TcpStream, slot: OwnedSemaphorePermit) -> Option<Place> {
        let address = network(socket.peer_addr().ok()?.ip());
        match self.of_address.take(&address) {
            Ok(share) => Some(Place { _address: share, caller: None, _slot: slot }),
            Err(reason) => {
                tracing::debug!(%address, %reason, "connection refused");
                None
            }
        }
    }
}

impl Place {
    /// Counts the connection for its caller too, now that it is known.
    pub fn belongs_to(&mut self, places: &Places, caller: &Result<Identity, Reason>) -> io::Result<()> {
        let Ok(caller) = caller else { return Ok(()) };
        let share = places.of_caller.take(caller);
        self.caller = Some(share.map_err(|reason| io::Error::new(io::ErrorKind::QuotaExceeded, reason))?);
        Ok(())
    }
}

/// What counts as one address: in IPv6 a subscriber has a whole network of 64 bits.
pub(in crate::edge) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_address() {
        let same =
            |a: &str, b: &str| network(a.parse().expect("address")) == network(b.parse().expect("address"));
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}

//! The TLS acceptor: mutual TLS, files re-read while running, connections cut when access ends.

mod handshakes;
mod live;
mod places;
mod shown;
mod source;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use handshakes::Handshakes;
pub use live::Connection;
use live::Live;
pub(super) use places::network;
use places::{Place, Places};
use rustls::{ServerConfig, pki_types::UnixTime};
pub use shown::Shown;
pub use source::{Ending, Role, TlsError, TlsSource};
use source::{Files, Loaded};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, StreamExt};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::transport::server::TcpIncoming;

use crate::{
    domain::{
        id::Digest,
        reason::{Reason, ReasonCode},
    },
    edge::{
        caller::{Identity, PeerInfo},
        meter::Calls,
    },
};

/// Finds dead peers behind routers that forget idle connections.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Pause when the system has no descriptor or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Bounds of the acceptor. What is above them waits in the kernel's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsLimits {
    /// Connections at a time, those in their handshake included.
    pub max_connections: usize,
    /// Connections of one identity at a time, and never more than are left for all others.
    pub max_connections_of_caller: usize,
    /// Connections of one address at a time, before any handshake, and never more than are left for all others.
    pub max_connections_of_address: usize,
    /// Handshakes at a time. When there are more, the oldest makes room after a second.
    pub max_handshakes: usize,
    /// A handshake that takes longer is dropped.
    pub handshake_timeout: Duration,
    /// How often the files are looked at.
    pub reload_every: Duration,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self {
            max_connections: 32 * 1024,
            max_connections_of_caller: 16 * 1024,
            max_connections_of_address: 16 * 1024,
            max_handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
            reload_every: Duration::from_secs(5),
        }
    }
}

/// Accepts connections of clients that the configured CAs have issued a certificate to, and no others.
///
/// TLS 1.2 and 1.3 without resumption, so that every connection is judged by the newest files.
pub struct Acceptor {
    source: TlsSource,
    limits: TlsLimits,
    loaded: ArcSwap<Loaded>,
    /// What the last look at the files found, usable or not, so that one fault is logged once.
    seen: Mutex<Option<Digest>>,
    /// Why the files that lie there now are not in force.
    fault: Mutex<Option<String>>,
    /// What is called on its connections.
    calls: Arc<Calls>,
    live: Arc<Live>,
    places: Places,
}

impl Acceptor {
    /// Loads the files; fails when they don't fit together.
    pub fn new(source: TlsSource, limits: TlsLimits) -> Result<Arc<Self>, TlsError> {
        let files = source.read()?;
        let loaded = source.load(&files)?;
        Ok(Arc::new(Self {
            source,
            limits,
            loaded: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(Some(files.fingerprint())),
            fault: Mutex::default(),
            calls: Arc::default(),
            live: Arc::default(),
            places: Places::new(&limits),
        }))
    }

    /// Reads the files again. If they are usable, new handshakes use them and live connections whose
    /// certificate is now refused are cut; returns how many. Otherwise the old ones stay in force.
    ///
    /// Blocks on the disk.
    pub fn reload(&self) -> Result<usize, TlsError> {
        let outcome = self.source.read().and_then(|files| {
            self.remember(Some(files.fingerprint()));
            self.apply(&files)
        });
        self.note(&outcome);
        outcome
    }

    /// Looks at the files every [`TlsLimits::reload_every`], reloads what changed, and cuts connections
    /// whose certificate has expired, until cancelled.
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        while cancel.run_until_cancelled(sleep(self.limits.reload_every)).await.is_some() {
            let acceptor = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || acceptor.look()).await {
                tracing::error!(%error, "can't look at the TLS files");
            }
        }
    }

    /// The hub's newest certificate for doors that ask no certificate of their callers: HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn without_client_certificates(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().open)
    }

    /// The same for doors where a caller may show a certificate and need not.
    #[must_use]
    pub fn asking_for_certificates(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.load().asking)
    }

    /// Who showed this certificate, if the newest files still trust it.
    pub fn identify(&self, shown: &Shown) -> Result<Identity, Reason> {
        shown.identify(&*self.loaded.load().verifier, UnixTime::now())
    }

    /// Cuts the connections of this identity; returns how many.
    pub fn disconnect(&self, identity: &Identity) -> usize {
        self.disconnect_where(|peer| peer.identity.as_ref() == Ok(identity))
    }

    /// Cuts the connections that `pick` picks; returns how many.
    pub fn disconnect_where(&self, pick: impl Fn(&PeerInfo) -> bool) -> usize {
        self.live.cut_where(|entry| pick(&entry.peer))
    }

    /// When each certificate and list in use ends.
    #[must_use]
    pub fn endings(&self) -> Arc<[Ending]> {
        Arc::clone(&self.loaded.load().endings)
    }

    /// Why the files that lie there now can't be used, if so: then older ones are in force.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The meter of the calls on its connections.
    #[must_use]
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Connections that stand.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.live.count()
    }

    /// Accepts on `listener` until the stream is dropped. The stream never yields an error: a handshake
    /// that fails is logged and forgotten.
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn incoming(self: &Arc<Self>, listener: TcpListener) -> Incoming {
        let sockets =
            TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(TCP_KEEPALIVE));
        let (accepted, receiver) = mpsc::channel(1);
        let task = tokio::spawn(accept(self.clone(), sockets, accepted));
        Incoming { receiver, _task: AbortOnDropHandle::new(task) }
    }

    fn look(&self) {
        let now = UnixTime::now();
        let expired = self.live.cut_where(|entry| entry.expired(now));
        if expired > 0 {
            tracing::info!(connections = expired, "cut: the certificate has expired");
        }
        match self.source.read() {
            Ok(files) if !self.remember(Some(files.fingerprint())) => {}
            Ok(files) => self.report(self.apply(&files)),
            Err(error) if self.remember(None) => self.report(Err(error)),
            Err(_) => {}
        }
    }

    fn apply(&self, files: &Files) -> Result<usize, TlsError> {
        let loaded = Arc::new(self.source.load(files)?);
        self.loaded.store(loaded.clone());
        let now = UnixTime::now();
        Ok(self.live.cut_where(|entry| entry.refused_by(&loaded, now)))
    }

    fn note(&self, outcome: &Result<usize, TlsError>) {
        let fault = outcome.as_ref().err().map(ToString::to_string);
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn report(&self, outcome: Result<usize, TlsError>) {
        self.note(&outcome);
        match outcome {
            Ok(cut) => tracing::info!(cut, "TLS files reloaded"),
            Err(error) => tracing::error!(%error, "TLS files not reloaded: the old ones stay in force"),
        }
    }

    /// True if this is not what the last look found.
    fn remember(&self, found: Option<Digest>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, found) != found
    }

    async fn handshake(&self, socket: TcpStream, mut place: Place) -> io::Result<Connection> {
        let address = socket.peer_addr()?;
        let loaded = self.loaded.load_full();
        let shaking = TlsAcceptor::from(loaded.config.clone()).accept(socket);
        let stream = timeout(self.limits.handshake_timeout, shaking).await??;
        let identity = match stream.get_ref().1.peer_certificates() {
            Some([leaf, ..]) => Identity::from_certificate(leaf),
            _ => Err(Reason::new(ReasonCode::RoleRequired, "this connection has no client certificate")),
        };
        place.belongs_to(&self.places, &identity)?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate_until = leaf.and_then(|leaf| live::not_after(leaf));
        let shown =
            stream.get_ref().1.peer_certificates().filter(|_| is_person(&identity)).and_then(Shown::of);
        let peer = PeerInfo { address, identity, certificate_until, shown };
        let connection = self.live.admit(stream, peer, place);
        // A reload judges what is registered; this connection may have come too late for that.
        let newest = self.loaded.load_full();
        if !Arc::ptr_eq(&loaded, &newest) && connection.entry().refused_by(&newest, UnixTime::now()) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "refused by files loaded meanwhile",
            ));
        }
        Ok(connection)
    }
}

fn is_person(identity: &Result<Identity, Reason>) -> bool {
    identity.as_ref().is_ok_and(|identity| !matches!(identity.role, super::caller::Role::Node(_)))
}

/// Connections that passed the handshake, for tonic's `serve_with_incoming_shutdown`. Dropping it closes
/// the port.
pub struct Incoming {
    receiver: mpsc::Receiver<Connection>,
    _task: AbortOnDropHandle<()>,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

async fn accept(acceptor: Arc<Acceptor>, mut sockets: TcpIncoming, accepted: mpsc::Sender<Connection>) {
    let mut handshakes = Handshakes::new(acceptor.limits.max_handshakes);
    loop {
        let Some(slot) = acceptor.places.slot().await else { return };
        handshakes.room().await;
        match sockets.next().await {
            None => return,
            Some(Err(error)) => pause_after(&error).await,
            Some(Ok(socket)) => {
                let Some(place) = acceptor.places.place(&socket, slot) else { continue };
                let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
                handshakes.begin(async move {
                    let peer = socket.peer_addr().ok();
                    match acceptor.handshake(socket, place).await {
                        // The server that would take it may be gone: then there is nothing left to do.
                        Ok(connection) => drop(accepted.send(connection).await),
                        Err(error) => log_refusal(peer, &error),
                    }
                });
            }
        }
    }
}

async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "can't accept connections");
    sleep(ACCEPT_PAUSE).await;
}

fn log_refusal(peer: Option<SocketAddr>, error: &io::Error) {
    let peer = peer.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    tracing::debug!(peer, %error, "handshake refused");
}

//! A listener for HTTP/1.1 and HTTP/2 where client certificates are not needed: for what is read by programs that nobody
//! here wrote. What is bounded: connections in all and for one address, handshake, headers, streams, age of a connection.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    shares::Shares,
    tls::{Acceptor, Shown, network},
};

/// What is answered where answers are whole.
pub type Answer = Response<Full<Bytes>>;

/// Answers requests; called from many connections at the same time.
pub trait Door: Send + Sync + 'static {
    /// What answers are made of.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request, which has a [`Peer`] in its extensions. Never fails: what went wrong is a status.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// The other end of a request's connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The certificate that it showed, where this door asks for one.
    pub shown: Option<Shown>,
    /// Cancelled when the connection is about to end: answers that go on and on should end too.
    pub closing: CancellationToken,
}

/// How connections are protected.
#[derive(Clone)]
pub enum Security {
    /// TLS with the hub's certificate, whose files are read again when they change.
    Tls(Arc<Acceptor>),
    /// The same, and who has a client certificate may show it.
    Asking(Arc<Acceptor>),
    /// None: behind a proxy on the same machine.
    Plain,
}

const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request's header has to come within this time, and an idle connection ends after it.
const HEADER: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64;
const HEADER_BYTES: usize = 16 * 1024;
/// Requests of one HTTP/2 connection at the same time.
const MAX_STREAMS: u32 = 16;
/// So long a connection takes requests, and so long it then has to read its last answers: who reads slowly, or not at all,
/// holds nothing for longer.
const AGE: Duration = Duration::from_secs(5 * 60);
const GRACE: Duration = Duration::from_secs(30);
/// The same when the hub stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
const PING_EVERY: Duration = Duration::from_secs(30);
/// Pause when the system has no descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop`, then lets running answers end for a moment.
///
/// Above `max_connections` newcomers wait in the kernel's queue; one address gets at most what is left for all others.
pub async fn serve(
    listener: TcpListener,
    security: Security,
    max_connections: usize,
    door: Arc<impl Door>,
    stop: CancellationToken,
) {
    let max = max_connections.clamp(1, Semaphore::MAX_PERMITS);
    let (slots, of_address) = (Arc::new(Semaphore::new(max)), Shares::<IpAddr>::new("connections", max, max));
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &slots)).await {
        while connections.try_join_next().is_some() {}
        let Some((socket, address, slot)) = accepted else { continue };
        let Ok(share) = of_address.take(&network(address.ip())) else { continue };
        let (security, door, stop) = (security.clone(), Arc::clone(&door), stop.clone());
        connections.spawn(async move {
            let _held = (slot, share);
            let peer = Peer { address, shown: None, closing: stop.child_token() };
            connection(socket, security, door, peer).await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for room, then for a connection. `None` when none came of it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, slot)),
        Err(error) => {
            tracing::debug!(%error, "can't accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(socket: TcpStream, security: Security, door: Arc<impl Door>, mut peer: Peer) {
    // Answers are written whole: nothing is gained by waiting for more.
    let _ = socket.set_nodelay(true);
    let (config, acceptor) = match security {
        Security::Plain => return drive(socket, door, peer).await,
        Security::Tls(acceptor) => (acceptor.without_client_certificates(), None),
        Security::Asking(acceptor) => (acceptor.asking_for_certificates(), Some(acceptor)),
    };
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(socket)).await {
        Ok(Ok(stream)) => {
            let chain = acceptor.and_then(|_| stream.get_ref().1.peer_certificates());
            peer.shown = chain.and_then(Shown::of);
            drive(stream, door, peer).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "an HTTPS handshake failed"),
        Err(_) => tracing::debug!("an HTTPS handshake took too long"),
    }
}

async fn drive<IO>(io: IO, door: Arc<impl Door>, peer: Peer)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closing = peer.closing.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let door = Arc::clone(&door);
        request.extensions_mut().insert(peer.clone());
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let grace = tokio::select! {
        // What a stranger's connection ends with is of no interest.
        _ = connection.as_mut() => return,
        () = sleep(AGE) => GRACE,
        () = closing.cancelled() => LAST_WORDS,
    };
    connection.as_mut().graceful_shutdown();
    closing.cancel();
    let _ = timeout(grace, connection).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_header_list_size(HEADER_BYTES as u32)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

//! Live connections, so that they can be judged again and cut.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{places::Place, source::Loaded};
use crate::edge::caller::PeerInfo;

/// All connections that stand.
#[derive(Default)]
pub(super) struct Live {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// One connection as the registry sees it.
pub(super) struct Entry {
    pub(super) peer: PeerInfo,
    chain: Vec<CertificateDer<'static>>,
    not_after: i64,
    cut: CancellationToken,
}

impl Live {
    /// Enters a connection; it leaves when it is dropped.
    pub(super) fn admit(
        self: &Arc<Self>,
        io: TlsStream<TcpStream>,
        peer: PeerInfo,
        place: Place,
    ) -> Connection {
        let chain: Vec<_> = io
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let not_after = peer.certificate_until.unwrap_or(i64::MIN);
        let entry = Arc::new(Entry { peer, chain, not_after, cut: CancellationToken::new() });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, entry.clone());
        Connection {
            io,
            cut: Box::pin(entry.cut.clone().cancelled_owned()),
            entry,
            live: self.clone(),
            id,
            _place: place,
        }
    }

    /// Cuts what `judge` picks, and returns how many that were.
    pub(super) fn cut_where(&self, judge: impl Fn(&Entry) -> bool) -> usize {
        let all: Vec<_> = self.lock().values().cloned().collect();
        let picked = all.iter().filter(|entry| !entry.cut.is_cancelled() && judge(entry));
        picked.map(|entry| entry.cut.cancel()).count()
    }

    /// How many stand now.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// True when a handshake with this certificate would fail now.
    pub(super) fn refused_by(&self, loaded: &Loaded, now: UnixTime) -> bool {
        let Some((leaf, intermediates)) = self.chain.split_first() else {
            return true;
        };
        loaded.verifier.verify_client_cert(leaf, intermediates, now).is_err()
    }

    /// True when the certificate's last moment has passed.
    pub(super) fn expired(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| now > self.not_after)
    }
}

/// Last second of a certificate's life, since 1970.
pub(super) fn not_after(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// One authenticated connection. Reads and writes end with `ConnectionAborted` once it is cut.
pub struct Connection {
    io: TlsStream<TcpStream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    entry: Arc<Entry>,
    live: Arc<Live>,
    id: u64,
    _place: Place,
}

impl Connection {
    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> &PeerInfo {
        &self.entry.peer
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "access was withdrawn")),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.live.lock().remove(&self.id);
    }
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.entry.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

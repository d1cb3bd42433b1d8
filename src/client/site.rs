//! A log's site: small immutable files over HTTP/1.1, with TLS or, behind a proxy of one's own, without.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderName, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// A file of the largest size comes within this time over any line that is of use.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTING: Duration = Duration::from_secs(10);
/// A bundle of CAs of a whole system has some 250 KiB.
const MAX_CA_FILE: u64 = 4 << 20;
/// Times that a busy site or a lost connection is asked again, and the pause before.
const RETRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Not a URL of the two kinds that are spoken.
    #[error("{0:?} is not an address such as https://hub.example.gov.vn:7444")]
    Address(String),
    /// https without CAs.
    #[error("no CA is named to check the site's certificate with")]
    NoCa,
    /// The file of CAs can't be used.
    #[error("{}: {problem}", path.display())]
    Ca {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Nobody answers, or the connection broke.
    #[error("{site} can't be reached: {problem}")]
    Unreachable {
        /// Where.
        site: String,
        /// Why.
        problem: String,
    },
    /// An answer that is neither the file nor its absence.
    #[error("{path}: the site answers {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The answer.
        status: u16,
    },
    /// Larger than any such file is.
    #[error("{path}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// The bound.
        limit: usize,
    },
}

/// A site. Asks one thing after the other over one connection, which it opens again when it is lost.
pub struct Site {
    url: String,
    host: String,
    port: u16,
    authority: String,
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connection: Option<Connection>,
}

/// A connection and what moves it; dropping it ends both.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Site {
    /// A site below `url`, `https://…` (with the CAs in the PEM file `ca`) or `http://…`. Nothing is asked yet.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, SiteError> {
        let wrong = || SiteError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(host), Some(authority)) = (uri.scheme_str(), uri.host(), uri.authority())
        else {
            return Err(wrong());
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (tls, usual) = match scheme {
            "http" => (None, 80),
            "https" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
                (Some((connector(ca.ok_or(SiteError::NoCa)?)?, name)), 443)
            }
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or(usual);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let authority = authority.to_string();
        Ok(Self { url: url.to_owned(), host, port, authority, prefix, tls, connection: None })
    }

    /// The address that it was made with.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file at `path`, of at most `limit` bytes; `None` when there is none. Repeats after a lost connection, and
    /// when the site is busy, for a few seconds.
    pub async fn get(&mut self, path: &str, limit: usize) -> Result<Option<Bytes>, SiteError> {
        let mut tries = 0;
        loop {
            let answer = match timeout(PATIENCE, self.ask(path, limit)).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unreachable("no answer in time")),
            };
            if answer.is_err() {
                self.connection = None;
            }
            tries += 1;
            match answer {
                Err(error) if tries < RETRIES && is_passing(&error) => tokio::time::sleep(RETRY_PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn ask(&mut self, path: &str, limit: usize) -> Result<Option<Bytes>, SiteError> {
        let answer = self.send(Method::GET, path, &[], Bytes::new()).await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.connection = None;
                return Ok(None);
            }
            status => return Err(SiteError::Status { path: path.to_owned(), status: status.as_u16() }),
        }
        self.body_of(answer, path, limit).await
    }

    /// Posts `body` to `path` once; status and body of whatever is answered, of at most `limit` bytes.
    pub async fn post(
        &mut self,
        path: &str,
        body: Bytes,
        limit: usize,
        patience: Duration,
    ) -> Result<(u16, Bytes), SiteError> {
        let asking = async {
            let answer = self.send(Method::POST, path, &[], body).await?;
            let status = answer.status().as_u16();
            Ok((status, self.body_of(answer, path, limit).await?.unwrap_or_default()))
        };
        let answer = match timeout(patience, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("no answer in time")),
        };
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Sends one request with headers of its own; whatever is answered, with a body of at most `limit` bytes.
    pub async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
        limit: usize,
    ) -> Result<Response<Bytes>, SiteError> {
        let asking = async {
            let (parts, body) = self.send(method, path, headers, body).await?.into_parts();
            let body = self.body_of(Response::new(body), path, limit).await?.unwrap_or_default();
            Ok(Response::from_parts(parts, body))
        };
        let answer = match timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable("no answer in time")),
        };
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn body_of(
        &self,
        answer: Response<Incoming>,
        path: &str,
        limit: usize,
    ) -> Result<Option<Bytes>, SiteError> {
        match Limited::new(answer.into_body(), limit).collect().await {
            Ok(body) => Ok(Some(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(SiteError::TooLarge { path: path.to_owned(), limit })
            }
            Err(error) => Err(self.unreachable(error)),
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Bytes,
    ) -> Result<Response<Incoming>, SiteError> {
        let request =
            headers.iter().fold(Request::builder(), |request, (name, value)| request.header(name, value));
        let request = request
            .method(method)
            .uri(format!("{}/{path}", self.prefix))
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("truc/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|_| SiteError::Address(self.url.clone()))?;
        if let Some(connection) = &mut self.connection
            && connection.requests.ready().await.is_ok()
            && let Ok(answer) = connection.requests.send_request(request.clone()).await
        {
            return Ok(answer);
        }
        let mut connection = self.connect().await?;
        let answer =
            connection.requests.send_request(request).await.map_err(|error| self.unreachable(error))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Connection, SiteError> {
        let connecting = async {
            let socket = TcpStream::connect((&self.host[..], self.port)).await?;
            socket.set_nodelay(true)?;
            match &self.tls {
                None => Ok(drive(socket).await),
                Some((tls, name)) => Ok(drive(tls.connect(name.clone(), socket).await?).await),
            }
        };
        let connected: Result<std::io::Result<_>, _> = timeout(CONNECTING, connecting).await;
        connected
            .map_err(|_| self.unreachable("no answer in time"))?
            .map_err(|error| self.unreachable(error))?
            .map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, problem: impl ToString) -> SiteError {
        SiteError::Unreachable { site: self.url.clone(), problem: problem.to_string() }
    }
}

/// What another try may mend.
fn is_passing(error: &SiteError) -> bool {
    matches!(error, SiteError::Unreachable { .. } | SiteError::Status { status: 429 | 500..=599, .. })
}

async fn drive<IO>(io: IO) -> hyper::Result<Connection>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = handshake(TokioIo::new(io)).await?;
    let mut driver = JoinSet::new();
    // The request that meets a broken connection tells of it.
    driver.spawn(async move { drop(connection.await) });
    Ok(Connection { requests, _driver: driver })
}

fn connector(ca: &Path) -> Result<TlsConnector, SiteError> {
    let failed = |problem: String| SiteError::Ca { path: ca.to_owned(), problem };
    let mut pem = Vec::new();
    fs::File::open(ca)
        .and_then(|file| file.take(MAX_CA_FILE).read_to_end(&mut pem))
        .map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("no certificate in PEM form".into()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let site = Site::new("http://[::1]:8080/logs/a/", None).unwrap();
        assert_eq!((&site.host[..], site.port, &site.prefix[..]), ("::1", 8080, "/logs/a"));
        assert_eq!(Site::new("http://localhost", None).unwrap().port, 80);
        for wrong in ["", "localhost", "/checkpoint", "ftp://localhost", "https:// x"] {
            assert!(matches!(Site::new(wrong, None), Err(SiteError::Address(_))), "{wrong:?}");
        }
        assert!(matches!(Site::new("https://localhost", None), Err(SiteError::NoCa)));
        let missing = Site::new("https://localhost", Some(Path::new("missing.pem")));
        assert!(matches!(missing, Err(SiteError::Ca { .. })));
    }
}

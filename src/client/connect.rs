//! A channel to the hub: mutual TLS, and noticing early that the other side is gone.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than what routers forget idle connections after.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Lets one upload fill a fast line with 50 ms of delay.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Where the hub is, whom to believe, and who we are. The files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// `https://host:port`.
    pub endpoint: String,
    /// CA of the hub's certificate.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Name in the hub's certificate, where it is not the endpoint's host.
    pub domain: Option<String>,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file can't be read.
    #[error("{}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files were read, and are not certificates and key that fit together.
    #[error("CA, certificate and key can't be used")]
    Identity(#[source] tonic::transport::Error),
    /// Not an `https://host:port`.
    #[error("{endpoint:?} is not an address such as https://localhost:7443")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// Nobody answers there, or the hub is not who it should be.
    #[error("can't reach the hub at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Somebody takes the connection there, and then says nothing.
    #[error("{endpoint} takes the connection and does not answer")]
    Silent {
        /// Where.
        endpoint: String,
    },
}

/// Connects. With TLS 1.3 a hub that refuses our certificate says so only to the first call.
pub async fn connect(options: &ClientOptions) -> Result<Channel, ConnectError> {
    connect_from(options, None).await
}

/// As [`connect`], from a local address where one is given.
pub async fn connect_from(options: &ClientOptions, local: Option<IpAddr>) -> Result<Channel, ConnectError> {
    connect_within(options, local, CONNECT_TIMEOUT).await
}

/// The transport's own limit ends with TCP: a handshake that never ends needs one too.
async fn connect_within(
    options: &ClientOptions,
    local: Option<IpAddr>,
    limit: Duration,
) -> Result<Channel, ConnectError> {
    let named = || options.endpoint.clone();
    let endpoint = endpoint(options)?.local_address(local);
    match tokio::time::timeout(limit, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|source| ConnectError::Unreachable { endpoint: named(), source }),
        Err(_) => Err(ConnectError::Silent { endpoint: named() }),
    }
}

/// As [`connect`], but the first call connects; it does so again whenever the connection is lost.
pub fn connect_lazy(options: &ClientOptions) -> Result<Channel, ConnectError> {
    Ok(endpoint(options)?.connect_lazy())
}

fn endpoint(options: &ClientOptions) -> Result<Endpoint, ConnectError> {
    let wrong = || ConnectError::Endpoint { endpoint: options.endpoint.clone() };
    let endpoint = Endpoint::from_shared(options.endpoint.clone()).map_err(|_| wrong())?;
    if endpoint.uri().scheme_str() != Some("https") || endpoint.uri().host().is_none() {
        return Err(wrong());
    }
    let key = Zeroizing::new(read(&options.key)?);
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&options.ca)?))
        .identity(Identity::from_pem(read(&options.cert)?, key.as_slice()));
    if let Some(domain) = &options.domain {
        tls = tls.domain_name(domain);
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    endpoint.tls_config(tls).map_err(ConnectError::Identity)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(endpoint: &str) -> ClientOptions {
        ClientOptions {
            endpoint: endpoint.into(),
            ca: "missing/ca.pem".into(),
            cert: "missing/a.pem".into(),
            key: "missing/a.key".into(),
            domain: None,
        }
    }

    #[tokio::test]
    async fn only_https_is_spoken() {
        for address in ["", "localhost:7443", "http://localhost:7443", "https://", "https:// x"] {
            let outcome = connect(&options(address)).await;
            assert!(matches!(outcome, Err(ConnectError::Endpoint { .. })), "{address:?}");
        }
    }

    #[tokio::test]
    async fn a_hub_that_never_speaks_is_given_up() {
        let certs = tempfile::tempdir().expect("a folder");
        crate::cli::pki::init(certs.path(), &crate::cli::pki::InitOptions::default()).expect("certificates");
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let options = ClientOptions {
            ca: certs.path().join("ca.pem"),
            cert: certs.path().join("operator.pem"),
            key: certs.path().join("operator.key"),
            ..options(&format!("https://localhost:{}", mute.local_addr().expect("bound").port()))
        };
        let outcome = connect_within(&options, None, Duration::from_millis(200)).await;
        assert!(matches!(outcome, Err(ConnectError::Silent { .. })), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let error = connect(&options("https://localhost:1")).await.expect_err("no files");
        assert!(error.to_string().starts_with("missing/"), "{error}");
    }
}

//! The acceptor against real sockets: who gets in, who doesn't, and who is cut.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming, service::interceptor::InterceptedService, transport::Server};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use truc::{
    cli::pki::{self, Authority, InitOptions, Paths, Role},
    client::{Client, ClientOptions, ConnectError},
    edge::{
        caller::{Caller, Identity},
        tls::{Acceptor, TlsLimits, TlsSource},
    },
};

/// Ends a test that hangs; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with the health service behind our acceptor.
struct Hub {
    folder: TempDir,
    made: Authority,
    acceptor: Arc<Acceptor>,
    address: SocketAddr,
    callers: Arc<Mutex<Vec<Result<Identity, String>>>>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Hub {
    async fn start() -> Self {
        Self::start_with(TlsLimits::default()).await
    }

    async fn start_with(limits: TlsLimits) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let made = pki::init(folder.path(), &InitOptions::default()).expect("certificates");
        let acceptor = Acceptor::new(source(&made), limits).expect("usable files");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let callers = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();

        let (_, health) = tonic_health::server::health_reporter();
        let seen = callers.clone();
        let health = InterceptedService::new(health, move |request: Request<()>| {
            let caller = Caller::from_request(&request);
            let identity = caller.map(|caller| caller.identity).map_err(|reason| reason.to_string());
            seen.lock().expect("lock").push(identity);
            Ok::<_, Status>(request)
        });
        let server = Server::builder()
            .add_service(health)
            .serve_with_incoming_shutdown(acceptor.incoming(listener), stop.clone().cancelled_owned());
        let served = tokio::spawn(server);
        Self { folder, made, acceptor, address, callers, stop, served }
    }

    fn issue(&self, name: &str) -> Paths {
        pki::issue(self.folder.path(), Role::Node, name).expect("issued")
    }

    fn options(&self, pair: &Paths) -> ClientOptions {
        ClientOptions {
            endpoint: format!("https://localhost:{}", self.address.port()),
            ca: self.made.ca.certificate.clone(),
            cert: pair.certificate.clone(),
            key: pair.key.clone(),
            domain: None,
        }
    }

    /// One call on a new connection.
    async fn call(&self, pair: &Paths) -> Result<(), String> {
        call(&self.options(pair)).await
    }

    /// A call that stays open: the health service sends one message, and then only changes.
    async fn stay(&self, pair: &Paths) -> Streaming<HealthCheckResponse> {
        let client = Client::connect(&self.options(pair)).await.expect("connects");
        let answer = HealthClient::new(client.channel()).watch(HealthCheckRequest::default()).await;
        let mut stream = answer.expect("watches").into_inner();
        assert!(stream.message().await.expect("stands").is_some());
        stream
    }

    /// Hello of a client that knows how to talk TLS, with our own configuration.
    async fn shake(&self, config: Arc<ClientConfig>) -> std::io::Result<(HandshakeKind, usize)> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(config).connect(name, socket).await?;
        // The server's settings come first: reading them also takes in what tickets there are.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.read_exact(&mut [0; 9]).await?;
        let session = stream.get_ref().1;
        let kind = session.handshake_kind().expect("the handshake is over");
        Ok((kind, session.tls13_tickets_received() as usize))
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.expect("in time").expect("no panic").expect("a clean end");
    }
}

fn source(made: &Authority) -> TlsSource {
    TlsSource {
        certificate: made.hub.certificate.clone(),
        key: made.hub.key.clone(),
        client_ca: made.ca.certificate.clone(),
        crl: Some(made.crl.clone()),
    }
}

async fn call(options: &ClientOptions) -> Result<(), String> {
    let client = Client::connect(options).await.map_err(|error| format!("{error:?}"))?;
    let answer = HealthClient::new(client.channel()).check(HealthCheckRequest::default()).await;
    answer.map(drop).map_err(|status| format!("{status:?}"))
}

async fn is_cut(stream: &mut Streaming<HealthCheckResponse>) -> bool {
    timeout(PATIENCE, stream.message()).await.expect("cut in time").is_err()
}

async fn hangs_up(socket: &mut TcpStream) -> bool {
    timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await.is_ok()
}

async fn until(what: impl Fn() -> bool) {
    let reached = async {
        while !what() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("in time");
}

fn client_config(
    made: &Authority,
    pair: Option<&Paths>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&made.ca.certificate).expect("CA")).expect("usable");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_file(&pair.certificate).expect("certificate")];
            let key = PrivateKeyDer::from_pem_file(&pair.key).expect("key");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A certificate of the CA in `folder` that `pki` would not make.
fn odd(folder: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Paths {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("CA");
    let issuer = KeyPair::from_pem(&read("ca.key")).expect("CA key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), issuer).expect("CA");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("legal");
    params.not_before = OffsetDateTime::now_utc() - time::Duration::days(2);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::days(1);
    params.subject_alt_names = vec![uri(&format!("urn:truc:node:{name}"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let paths = Paths::of(folder, name);
    let certificate = params.signed_by(&key, &issuer).expect("signs");
    std::fs::write(&paths.certificate, certificate.pem()).expect("writes");
    std::fs::write(&paths.key, key.serialize_pem()).expect("writes");
    paths
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ascii"))
}

fn copy(from: &[&Path], to: &Path) {
    let whole: Vec<u8> = from.iter().flat_map(|path| std::fs::read(path).expect("reads")).collect();
    std::fs::write(to, whole).expect("writes");
}

#[tokio::test]
async fn a_caller_is_known_by_its_certificate() {
    let hub = Hub::start().await;
    hub.call(&hub.issue("h53")).await.expect("answered");
    hub.call(&hub.made.operator).await.expect("answered");
    let names: Vec<_> = hub
        .callers
        .lock()
        .expect("lock")
        .iter()
        .map(|caller| caller.as_ref().expect("a role").to_string())
        .collect();
    assert_eq!(names, ["node h53", "operator operator"]);
    until(|| hub.acceptor.connections() == 0).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_certificate_without_role_calls_nothing() {
    let hub = Hub::start().await;
    let two =
        odd(hub.folder.path(), "two", |params| params.subject_alt_names.push(uri("urn:truc:operator:two")));
    hub.call(&two).await.expect("the connection stands");
    let callers = hub.callers.lock().expect("lock").clone();
    assert!(callers[0].as_ref().expect_err("no role").starts_with("ROLE_REQUIRED"), "{callers:?}");
}

#[tokio::test]
async fn strangers_are_refused() {
    let hub = Hub::start().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let stranger = pki::init(folder.path(), &InitOptions::default()).expect("certificates");

    let error = hub.call(&stranger.operator).await.expect_err("its CA is not ours");
    assert!(error.contains("UnknownCA") || error.contains("DecryptError"), "{error}");

    let mistrust = ClientOptions { ca: stranger.ca.certificate.clone(), ..hub.options(&hub.made.operator) };
    let outcome = Client::connect(&mistrust).await.map(drop);
    assert!(matches!(outcome, Err(ConnectError::Unreachable { .. })), "the client refuses the hub");

    let error = hub.call(&hub.made.hub).await.expect_err("a server's certificate is no client's");
    assert!(error.contains("alert"), "{error}");

    let past =
        |params: &mut CertificateParams| params.not_after = params.not_before + time::Duration::days(1);
    let error = hub.call(&odd(hub.folder.path(), "old", past)).await.expect_err("expired");
    assert!(error.contains("CertificateExpired"), "{error}");

    for version in [&TLS12, &TLS13] {
        let nobody = Arc::new(client_config(&hub.made, None, version));
        hub.shake(nobody).await.expect_err("no certificate");
    }
    assert!(hub.callers.lock().expect("lock").is_empty());
    hub.call(&hub.made.operator).await.expect("friends still get in");
}

#[tokio::test]
async fn noise_on_the_port_harms_nobody() {
    let hub = Hub::start_with(TlsLimits { max_handshakes: 2, ..TlsLimits::default() }).await;
    let noise: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\n"];
    for bytes in noise.iter().cycle().take(9) {
        let mut socket = TcpStream::connect(hub.address).await.expect("connects");
        // The hub may hang up while we still write.
        let _ = socket.write_all(bytes).await;
        assert!(hangs_up(&mut socket).await, "on {:?}", String::from_utf8_lossy(bytes));
        drop(TcpStream::connect(hub.address).await.expect("connects"));
    }
    hub.call(&hub.made.operator).await.expect("answered");
}

#[tokio::test]
async fn silence_takes_a_place_only_for_a_while() {
    let limits =
        TlsLimits { handshake_timeout: Duration::from_millis(20), max_handshakes: 1, ..TlsLimits::default() };
    let hub = Hub::start_with(limits).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(hub.address).await.expect("connects"));
    }
    for socket in &mut silent {
        assert!(hangs_up(socket).await);
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_cut_and_kept_out() {
    let hub = Hub::start().await;
    let (lost, good) = (hub.issue("lost"), hub.issue("good"));
    let (mut lost_stream, mut good_stream) = (hub.stay(&lost).await, hub.stay(&good).await);
    assert_eq!(hub.acceptor.connections(), 2);

    pki::revoke(hub.folder.path(), &lost.certificate).expect("revoked");
    hub.call(&lost).await.expect("not known to the hub yet");
    until(|| hub.acceptor.connections() == 2).await;
    assert_eq!(hub.acceptor.reload().expect("usable files"), 1);

    assert!(is_cut(&mut lost_stream).await);
    let error = hub.call(&lost).await.expect_err("revoked");
    assert!(error.contains("CertificateRevoked"), "{error}");

    hub.call(&good).await.expect("others get in");
    assert_eq!(hub.acceptor.reload().expect("usable files"), 0, "others stay");
    until(|| hub.acceptor.connections() == 1).await;
    assert_eq!(hub.acceptor.disconnect_where(|_| true), 1);
    assert!(is_cut(&mut good_stream).await);
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let hub =
        Hub::start_with(TlsLimits { reload_every: Duration::from_millis(5), ..TlsLimits::default() }).await;
    let watch = tokio::spawn(hub.acceptor.clone().watch(hub.stop.clone()));
    let node = hub.issue("h53");
    let mut stream = hub.stay(&node).await;
    pki::revoke(hub.folder.path(), &node.certificate).expect("revoked");
    assert!(is_cut(&mut stream).await);

    let end = |params: &mut CertificateParams| {
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(2)
    };
    let mut stream = hub.stay(&odd(hub.folder.path(), "short", end)).await;
    assert!(is_cut(&mut stream).await, "the certificate ran out");
    hub.stop().await;
    timeout(PATIENCE, watch).await.expect("in time").expect("the watch ends");
}

#[tokio::test]
async fn certificates_are_exchanged_without_a_pause() {
    let hub = Hub::start().await;
    let _old_stream = hub.stay(&hub.made.operator).await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let next = pki::init(folder.path(), &InitOptions::default()).expect("certificates");
    let newcomer = ClientOptions { ca: next.ca.certificate.clone(), ..hub.options(&next.operator) };
    call(&newcomer).await.expect_err("too early");

    // Both CAs are good while the certificates change hands; a CA without a list is refused.
    let old_ca = hub.folder.path().join("old-ca.pem");
    let old_crl = hub.folder.path().join("old-crl.pem");
    copy(&[&hub.made.ca.certificate], &old_ca);
    copy(&[&hub.made.crl], &old_crl);
    copy(&[&old_ca, &next.ca.certificate], &hub.made.ca.certificate);
    let error = hub.acceptor.reload().expect_err("no list of the new CA").to_string();
    assert!(error.contains("crl.pem: no revocation list signed by the CA"), "{error}");
    copy(&[&old_crl, &next.crl], &hub.made.crl);
    copy(&[&next.hub.certificate], &hub.made.hub.certificate);
    let error = hub.acceptor.reload().expect_err("half exchanged").to_string();
    assert!(error.contains("hub.key: not the key of the certificate"), "{error}");
    call(&newcomer).await.expect_err("the old files are in force");
    copy(&[&next.hub.key], &hub.made.hub.key);
    assert_eq!(hub.acceptor.reload().expect("usable files"), 0, "nobody is cut");

    call(&newcomer).await.expect("the new certificate is shown, and the new CA believed");
    let old_friend = ClientOptions { ca: next.ca.certificate.clone(), ..hub.options(&hub.made.operator) };
    call(&old_friend).await.expect("the old CA is believed too");

    copy(&[&next.ca.certificate], &hub.made.ca.certificate);
    assert!(hub.acceptor.reload().expect("usable files") >= 1, "clients of the old CA are cut");
    call(&old_friend).await.expect_err("the old CA is gone");
    call(&newcomer).await.expect("the new one stays");
}

#[tokio::test]
async fn a_node_can_be_cut_by_name() {
    let hub = Hub::start().await;
    let (first, second) = (hub.issue("first"), hub.issue("second"));
    let (mut first_stream, mut second_stream) = (hub.stay(&first).await, hub.stay(&second).await);
    let leaf = CertificateDer::from_pem_file(&first.certificate).expect("certificate");
    let identity = Identity::from_certificate(&leaf).expect("a role");
    assert_eq!(hub.acceptor.disconnect(&identity), 1);
    assert!(is_cut(&mut first_stream).await);
    until(|| hub.acceptor.connections() == 1).await;
    assert_eq!(hub.acceptor.disconnect_where(|_| true), 1);
    assert!(is_cut(&mut second_stream).await);
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let hub = Hub::start().await;
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(client_config(&hub.made, Some(&hub.made.operator), version));
        for _ in 0..2 {
            assert_eq!(hub.shake(config.clone()).await.expect("connects"), (HandshakeKind::Full, 0));
        }
    }
}

#[tokio::test]
async fn a_full_hub_makes_newcomers_wait() {
    let hub = Hub::start_with(TlsLimits { max_connections: 1, ..TlsLimits::default() }).await;
    let stream = hub.stay(&hub.made.operator).await;
    let options = hub.options(&hub.made.auditor);
    let waiting = tokio::spawn(async move { call(&options).await });
    until(|| hub.acceptor.connections() == 1).await;
    assert!(!waiting.is_finished());
    drop(stream);
    timeout(PATIENCE, waiting).await.expect("in time").expect("no panic").expect("answered");
}

#[test]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let made = pki::init(folder.path(), &InitOptions::default()).expect("certificates");
    let good = source(&made);
    let fails = |source: TlsSource| {
        Acceptor::new(source, TlsLimits::default()).map(drop).expect_err("unusable").to_string()
    };
    let missing = folder.path().join("missing");
    assert!(fails(TlsSource { crl: Some(missing.clone()), ..good.clone() }).contains("missing: "));
    assert!(fails(TlsSource { client_ca: made.hub.key.clone(), ..good.clone() }).contains("no certificate"));
    assert!(
        fails(TlsSource { key: made.hub.certificate.clone(), ..good.clone() }).contains("no private key")
    );
    assert!(fails(TlsSource { key: made.ca.key.clone(), ..good.clone() }).contains("not the key"));
    assert!(
        fails(TlsSource { crl: Some(made.hub.certificate.clone()), ..good.clone() })
            .contains("no revocation list")
    );
    let empty: PathBuf = folder.path().join("empty");
    std::fs::write(&empty, "").expect("writes");
    assert!(fails(TlsSource { certificate: empty, ..good.clone() }).contains("no certificate"));
    assert!(Acceptor::new(TlsSource { crl: None, ..good }, TlsLimits::default()).is_ok());
}

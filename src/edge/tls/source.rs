//! The TLS files: read, checked against each other, turned into a server configuration.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::domain::id::Digest;

/// A revocation list of a large CA has some ten thousand entries of about 40 bytes.
const MAX_FILE: u64 = 16 << 20;

/// Where the hub's TLS identity and its judgement of clients come from. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSource {
    /// The hub's certificate, followed by intermediates if there are any.
    pub certificate: PathBuf,
    /// Private key of the certificate.
    pub key: PathBuf,
    /// CAs that issue client certificates, one or several.
    pub client_ca: PathBuf,
    /// Revocation lists: one for each of these CAs. `None` switches revocation off.
    pub crl: Option<PathBuf>,
}

/// TLS files that can't be used. Names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file was read and is not usable.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The bytes of all files at one moment.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Vec<u8>,
    crl: Option<Vec<u8>>,
}

/// A checked configuration, and the verifier in it, to judge live connections again.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    /// The same certificate, asking none of callers.
    pub(super) open: Arc<ServerConfig>,
    /// The same certificate; callers may show one, which is then verified.
    pub(super) asking: Arc<ServerConfig>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// When each certificate and list ends.
    pub(super) endings: Arc<[Ending]>,
}

/// What a certificate or list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The hub itself.
    Server,
    /// A CA whose clients may connect.
    ClientCa,
    /// Clients that may not connect any more.
    RevocationList,
}

impl Role {
    /// What it is called.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Server => "the hub's certificate",
            Self::ClientCa => "the clients' CA",
            Self::RevocationList => "the revocation list of",
        }
    }
}

/// The end of a certificate or list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it is for.
    pub role: Role,
    /// Its subject, or the issuer of a list.
    pub name: String,
    /// Last moment, in unix seconds.
    pub until: i64,
}

/// Whether callers need a certificate.
#[derive(Clone, Copy)]
enum Callers {
    Must,
    May,
}

impl TlsSource {
    /// Reads every file.
    pub(super) fn read(&self) -> Result<Files, TlsError> {
        Ok(Files {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?.into(),
            client_ca: read(&self.client_ca)?,
            crl: self.crl.as_deref().map(read).transpose()?,
        })
    }

    /// Checks what was read and builds the configuration from it.
    pub(super) fn load(&self, files: &Files) -> Result<Loaded, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(files, &provider, Callers::Must)?;
        let chain = self.chain(files)?;
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| problem(&self.key, "no private key in PEM form"))?;
        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(|error| problem(&self.certificate, error))
        };
        let unfit = |error| problem(&self.key, format!("not the key of the certificate: {error}"));
        let mut open = builder()?
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unfit)?;
        open.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut asking = builder()?
            .with_client_cert_verifier(self.verifier(files, &provider, Callers::May)?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unfit)?;
        asking.alpn_protocols = open.alpn_protocols.clone();
        let mut config = builder()?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain, key)
            .map_err(unfit)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not verify the client certificate again.
        for config in [&mut config, &mut asking] {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let endings = self.endings(files)?.into();
        let (config, open, asking) = (Arc::new(config), Arc::new(open), Arc::new(asking));
        Ok(Loaded { config, open, asking, verifier, endings })
    }

    /// When what is in these files ends. A list without an end is left out.
    fn endings(&self, files: &Files) -> Result<Vec<Ending>, TlsError> {
        let ending = |role, path: &Path, der: &CertificateDer<'_>| {
            let parsed = parse(path, der)?;
            let (name, until) = (parsed.subject().to_string(), parsed.validity().not_after.timestamp());
            Ok(Ending { role, name, until })
        };
        let own = certificates(&self.certificate, &files.certificate)?;
        let mut endings = vec![ending(Role::Server, &self.certificate, &own[0])?];
        for authority in certificates(&self.client_ca, &files.client_ca)? {
            endings.push(ending(Role::ClientCa, &self.client_ca, &authority)?);
        }
        let (Some(path), Some(pem)) = (&self.crl, &files.crl) else { return Ok(endings) };
        for der in revocation_lists(path, pem)? {
            let (_, list) =
                CertificateRevocationList::from_der(&der).map_err(|error| problem(path, error))?;
            let until = list.next_update().map(|next| next.timestamp());
            let named = |until| Ending { role: Role::RevocationList, name: list.issuer().to_string(), until };
            endings.extend(until.map(named));
        }
        Ok(endings)
    }

    fn chain(&self, files: &Files) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let leaf = parse(&self.certificate, &chain[0])?;
        if !leaf.validity().is_valid() {
            let (path, until) = (self.certificate.display(), leaf.validity().not_after);
            tracing::warn!(%path, %until, "the hub's own certificate is not valid now: clients will refuse it");
        }
        Ok(chain)
    }

    fn verifier(
        &self,
        files: &Files,
        provider: &Arc<CryptoProvider>,
        callers: Callers,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let issuers = certificates(&self.client_ca, &files.client_ca)?;
        let mut roots = RootCertStore::empty();
        for issuer in &issuers {
            roots.add(issuer.clone()).map_err(|error| problem(&self.client_ca, error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = match callers {
            Callers::Must => builder,
            Callers::May => builder.allow_unauthenticated(),
        };
        let (Some(path), Some(pem)) = (&self.crl, &files.crl) else {
            return builder.build().map_err(|error| problem(&self.client_ca, error));
        };
        let lists = revocation_lists(path, pem)?;
        for issuer in &issuers {
            check_list_of(issuer, &lists, path, &self.client_ca)?;
        }
        builder.with_crls(lists).build().map_err(|error| problem(path, error))
    }
}

impl Files {
    /// Changes when any file does.
    pub(super) fn fingerprint(&self) -> Digest {
        let parts: [&[u8]; 4] =
            [&self.certificate, &self.key, &self.client_ca, self.crl.as_deref().unwrap_or_default()];
        let digests: Vec<u8> = parts.iter().flat_map(|part| Digest::of(part).0).collect();
        Digest::of(&digests)
    }
}

/// Without a list that verifies, the CA's clients would all be refused at their next handshake.
fn check_list_of(
    issuer: &CertificateDer<'_>,
    lists: &[CertificateRevocationListDer<'_>],
    crl: &Path,
    client_ca: &Path,
) -> Result<(), TlsError> {
    let issuer = parse(client_ca, issuer)?;
    let mut found = false;
    for der in lists {
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| problem(crl, error))?;
        if list.issuer().as_raw() != issuer.subject().as_raw() {
            continue;
        }
        found |= list.verify_signature(issuer.public_key()).is_ok();
        if list.next_update().is_some_and(|next| next < x509_parser::time::ASN1Time::now()) {
            tracing::warn!(path = %crl.display(), issuer = %issuer.subject(), "the revocation list is out of date");
        }
    }
    if found {
        return Ok(());
    }
    Err(problem(crl, format!("no revocation list signed by the CA {}", issuer.subject())))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(problem(path, "no certificate in PEM form")),
        Err(error) => Err(problem(path, error)),
    }
}

fn revocation_lists(path: &Path, pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| problem(path, error))
}

fn parse<'a>(path: &Path, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|error| problem(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(problem(path, "larger than 16 MiB"));
    }
    Ok(bytes)
}

fn problem(path: &Path, problem: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_owned(), problem: problem.to_string() }
}

//! A small certificate authority in a folder.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, Pem, X509Certificate};
use zeroize::Zeroizing;

use crate::{
    cli::files::{self, FileError, Readers},
    domain::{
        id::{AgencyId, NodeName},
        reason::Reason,
        signature::{Algorithm, SigningKey},
    },
    edge::caller::{BELOW, URN_PREFIX},
};

/// Lifetime of a leaf certificate unless told otherwise.
pub const LEAF_DAYS: u32 = 365;
const CA_DAYS: u32 = 3650;
/// A computer whose clock is behind can use a new certificate at once.
const BACKDATE: Duration = Duration::hours(1);
/// Bound of a PEM file that is read here.
const MAX_PEM: u64 = 1 << 20;
/// Bound of the list of revoked certificates: about 100,000 entries.
const MAX_LIST: u64 = 16 << 20;

/// Why the authority did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name that can't stand in a certificate, or no randomness for a key.
    #[error(transparent)]
    Reason(#[from] Reason),
    /// The certificate can't be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Other than 1 to 3650 days.
    #[error("a certificate lives 1 to {CA_DAYS} days, not {0}")]
    Lifetime(u32),
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A system that sends and receives for agencies.
    Node,
    /// Runs the exchange: queues, holds, cancellations.
    Operator,
    /// Security officer: keeps keys and nodes.
    Security,
    /// Keeps agencies.
    Registrar,
    /// Looks on, changes nothing.
    Viewer,
    /// Reads evidence.
    Auditor,
    /// A hub's own server certificate.
    Hub,
}

/// What [`init`] makes.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct InitOptions {
    /// Name of the hub.
    #[arg(long, default_value = "hub")]
    pub hub_name: String,
    /// Where clients find the hub, and for how long they believe it.
    #[command(flatten)]
    pub server: ServerOptions,
}

/// What a certificate says beside role and name.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ServerOptions {
    /// DNS name by which clients reach the hub; may be repeated.
    #[arg(long, default_value = "localhost")]
    pub dns: Vec<String>,
    /// IP address by which clients reach the hub; may be repeated.
    #[arg(long, default_value = "127.0.0.1")]
    pub ip: Vec<IpAddr>,
    /// Lifetime of each certificate in days; the CA's own is ten years.
    #[arg(long, default_value_t = LEAF_DAYS)]
    pub days: u32,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { hub_name: "hub".into(), server: ServerOptions::default() }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { dns: vec!["localhost".into()], ip: vec![Ipv4Addr::LOCALHOST.into()], days: LEAF_DAYS }
    }
}

/// A certificate and its key on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// The certificate (PEM).
    pub certificate: PathBuf,
    /// Its private key (PKCS#8 PEM).
    pub key: PathBuf,
}

impl Paths {
    /// `NAME.pem` and `NAME.key` in `folder`.
    #[must_use]
    pub fn of(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }
}

/// What [`init`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authority {
    /// The CA.
    pub ca: Paths,
    /// Its revocation list.
    pub crl: PathBuf,
    /// The hub's server certificate.
    pub hub: Paths,
    /// The first operator, named `operator`.
    pub operator: Paths,
    /// The first security officer, named `security`.
    pub security: Paths,
    /// The first registrar, named `registrar`.
    pub registrar: Paths,
    /// The first auditor, named `auditor`.
    pub auditor: Paths,
    /// The Ed25519 key that signs the hub's checkpoints.
    pub log_key: PathBuf,
}

/// What [`revoke`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// Serial number in hex.
    pub serial: String,
    /// The new list.
    pub crl: PathBuf,
    /// Certificates on it.
    pub revoked: usize,
}

/// A row of `revoked.json`, from which each list is made anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    serial: String,
    subject: String,
    at: Timestamp,
}

/// Makes a CA in `folder` with an empty revocation list, certificates for the hub and the first of each role,
/// and the hub's log key. Overwrites nothing.
pub fn init(folder: &Path, options: &InitOptions) -> Result<Authority, PkiError> {
    let authority = Authority {
        ca: Paths::of(folder, "ca"),
        crl: folder.join("crl.pem"),
        hub: Paths::of(folder, "hub"),
        operator: Paths::of(folder, "operator"),
        security: Paths::of(folder, "security"),
        registrar: Paths::of(folder, "registrar"),
        auditor: Paths::of(folder, "auditor"),
        log_key: folder.join("log.key"),
    };
    std::fs::create_dir_all(folder).map_err(FileError::io(folder))?;
    make_ca(&authority.ca)?;
    write_crl(folder, &[])?;
    files::create(
        &authority.log_key,
        SigningKey::generate(Algorithm::Ed25519)?.to_pkcs8_pem().as_bytes(),
        Readers::Owner,
    )?;
    let days = options.server.days;
    make_leaf(folder, &authority.hub, Role::Hub, &options.hub_name, &options.server)?;
    issue_for(folder, Role::Operator, "operator", days)?;
    issue_for(folder, Role::Security, "security", days)?;
    issue_for(folder, Role::Registrar, "registrar", days)?;
    issue_for(folder, Role::Auditor, "auditor", days)?;
    Ok(authority)
}

/// Issues a certificate for a year by the CA in `folder`, as `NAME.pem` and `NAME.key` there. A hub's is
/// for `localhost`; see [`issue_server`].
pub fn issue(folder: &Path, role: Role, name: &str) -> Result<Paths, PkiError> {
    issue_server(folder, role, name, &ServerOptions::default())
}

/// As [`issue`], with the hub's addresses (ignored for other roles) and the lifetime.
pub fn issue_server(
    folder: &Path,
    role: Role,
    name: &str,
    server: &ServerOptions,
) -> Result<Paths, PkiError> {
    let paths = Paths::of(folder, name);
    make_leaf(folder, &paths, role, name, server)?;
    Ok(paths)
}

/// As [`issue`], for an auditor who sees only what concerns `agency` and those below it.
pub fn issue_scoped_auditor(
    folder: &Path,
    name: &str,
    agency: &str,
    server: &ServerOptions,
) -> Result<Paths, PkiError> {
    let (paths, agency) = (Paths::of(folder, name), AgencyId::parse(agency)?);
    let name = NodeName::parse(name)?;
    make_certificate(
        folder,
        &paths,
        Role::Auditor,
        name.as_str(),
        &format!("{name}{BELOW}{agency}"),
        server,
    )?;
    Ok(paths)
}

/// Puts a certificate of the CA in `folder` on its revocation list. To revoke again changes nothing but
/// the list's date.
pub fn revoke(folder: &Path, certificate: &Path) -> Result<Revocation, PkiError> {
    let row = read_revocable(folder, certificate)?;
    let serial = row.serial.clone();
    let mut rows = read_rows(folder)?;
    if rows.iter().all(|known| known.serial != serial) {
        rows.push(row);
    }
    let list = serde_json::to_vec_pretty(&rows).expect("strings and times have a JSON form");
    files::replace(&rows_path(folder), &list)?;
    let crl = write_crl(folder, &rows)?;
    Ok(Revocation { serial, crl, revoked: rows.len() })
}

fn issue_for(folder: &Path, role: Role, name: &str, days: u32) -> Result<Paths, PkiError> {
    issue_server(folder, role, name, &ServerOptions { days, ..ServerOptions::default() })
}

fn make_ca(paths: &Paths) -> Result<(), PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = lifetime(CA_DAYS)?;
    // Two CAs of one name would make each other's revocation lists unusable.
    let tag = hex::encode(&params.key_identifier(&key)[..4]);
    params.distinguished_name = common_name(&format!("Truc CA {tag}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write_pair(paths, &certificate.pem(), &key)
}

fn make_leaf(
    folder: &Path,
    paths: &Paths,
    role: Role,
    name: &str,
    server: &ServerOptions,
) -> Result<(), PkiError> {
    let name = NodeName::parse(name)?;
    make_certificate(folder, paths, role, name.as_str(), name.as_str(), server)
}

/// `common` is its common name, `holder` what stands behind the role in its URI.
fn make_certificate(
    folder: &Path,
    paths: &Paths,
    role: Role,
    common: &str,
    holder: &str,
    server: &ServerOptions,
) -> Result<(), PkiError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = lifetime(server.days)?;
    params.distinguished_name = common_name(common);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let (role, usage) = match role {
        Role::Node => ("node", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Operator => ("operator", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Security => ("security", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Registrar => ("registrar", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Viewer => ("viewer", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Auditor => ("auditor", ExtendedKeyUsagePurpose::ClientAuth),
        Role::Hub => ("hub", ExtendedKeyUsagePurpose::ServerAuth),
    };
    if usage == ExtendedKeyUsagePurpose::ServerAuth {
        params.subject_alt_names = addresses(server)?;
    }
    params.extended_key_usages = vec![usage];
    params.subject_alt_names.push(SanType::URI(format!("{URN_PREFIX}{role}:{holder}").try_into()?));
    let certificate = params.signed_by(&key, &read_issuer(folder)?)?;
    write_pair(paths, &certificate.pem(), &key)
}

fn addresses(server: &ServerOptions) -> Result<Vec<SanType>, PkiError> {
    let dns = server.dns.iter().map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
    let ip = server.ip.iter().map(|address| Ok(SanType::IpAddress(*address)));
    dns.chain(ip).collect()
}

fn lifetime(days: u32) -> Result<CertificateParams, PkiError> {
    if !(1..=CA_DAYS).contains(&days) {
        return Err(PkiError::Lifetime(days));
    }
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(days.into());
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The key goes first: if it exists, nothing is touched.
fn write_pair(paths: &Paths, certificate: &str, key: &KeyPair) -> Result<(), PkiError> {
    if paths.certificate.exists() {
        return Err(FileError::Exists { path: paths.certificate.clone() }.into());
    }
    files::create(&paths.key, Zeroizing::new(key.serialize_pem()).as_bytes(), Readers::Owner)?;
    files::create(&paths.certificate, certificate.as_bytes(), Readers::All)?;
    Ok(())
}

fn read_issuer(folder: &Path) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let paths = Paths::of(folder, "ca");
    let key = Zeroizing::new(files::read_text(&paths.key, MAX_PEM)?);
    let key = KeyPair::from_pem(&key).map_err(|error| FileError::content(&paths.key, error))?;
    let certificate = files::read_text(&paths.certificate, MAX_PEM)?;
    Issuer::from_ca_cert_pem(&certificate, key)
        .map_err(|error| FileError::content(&paths.certificate, error).into())
}

fn write_crl(folder: &Path, rows: &[Revoked]) -> Result<PathBuf, PkiError> {
    let path = folder.join("crl.pem");
    let now = OffsetDateTime::now_utc();
    let number = now.unix_timestamp_nanos() / 1_000;
    let list = CertificateRevocationListParams {
        this_update: now - BACKDATE,
        next_update: now + Duration::days(CA_DAYS.into()),
        crl_number: SerialNumber::from_slice(&u64::try_from(number).unwrap_or_default().to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs: rows.iter().map(|row| revoked(folder, row)).collect::<Result<_, _>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let pem = list.signed_by(&read_issuer(folder)?)?.pem()?;
    files::replace(&path, pem.as_bytes())?;
    Ok(path)
}

fn revoked(folder: &Path, row: &Revoked) -> Result<RevokedCertParams, FileError> {
    let wrong = || FileError::content(&rows_path(folder), format!("entry {:?}", row.serial));
    Ok(RevokedCertParams {
        serial_number: hex::decode(&row.serial).map_err(|_| wrong())?.into(),
        revocation_time: OffsetDateTime::from_unix_timestamp(row.at.as_second()).map_err(|_| wrong())?,
        reason_code: None,
        invalidity_date: None,
    })
}

/// The row for a certificate, if the CA in `folder` issued it.
fn read_revocable(folder: &Path, path: &Path) -> Result<Revoked, FileError> {
    let ca_path = Paths::of(folder, "ca").certificate;
    let (pem, ca_pem) = (read_pem(path)?, read_pem(&ca_path)?);
    let certificate = parse(path, &pem)?;
    let ca = parse(&ca_path, &ca_pem)?;
    if certificate.is_ca() || certificate.verify_signature(Some(ca.public_key())).is_err() {
        return Err(FileError::content(path, format!("not issued by the CA {}", ca_path.display())));
    }
    Ok(Revoked {
        serial: hex::encode(certificate.raw_serial()),
        subject: certificate.subject().to_string(),
        at: Timestamp::now(),
    })
}

fn read_pem(path: &Path) -> Result<Pem, FileError> {
    let text = files::read_text(path, MAX_PEM)?;
    let (pem, _) = Pem::read(std::io::Cursor::new(text)).map_err(|error| FileError::content(path, error))?;
    Ok(pem)
}

fn parse<'a>(path: &Path, pem: &'a Pem) -> Result<X509Certificate<'a>, FileError> {
    let parsed = X509Certificate::from_der(&pem.contents);
    parsed.map(|(_, certificate)| certificate).map_err(|_| FileError::content(path, "not a certificate"))
}

fn read_rows(folder: &Path) -> Result<Vec<Revoked>, FileError> {
    let path = rows_path(folder);
    if !path.exists() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&files::read_text(&path, MAX_LIST)?)
        .map_err(|error| FileError::content(&path, error))
}

fn rows_path(folder: &Path) -> PathBuf {
    folder.join("revoked.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::caller::Identity;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary folder")
    }

    fn der(path: &Path) -> Vec<u8> {
        read_pem(path).expect("PEM").contents
    }

    #[test]
    fn init_makes_everything_once() {
        let folder = folder();
        let made = init(folder.path(), &InitOptions::default()).expect("made");
        let log_key = std::fs::read_to_string(&made.log_key).expect("log key");
        let log_key = SigningKey::from_pkcs8_pem(&log_key).expect("a key");
        assert_eq!(log_key.public_key().algorithm(), Algorithm::Ed25519);
        let crl = std::fs::read_to_string(&made.crl).expect("list");
        assert!(crl.starts_with("-----BEGIN X509 CRL-----"));
        let before = std::fs::read(&made.ca.key).expect("key");
        assert!(matches!(
            init(folder.path(), &InitOptions::default()),
            Err(PkiError::File(FileError::Exists { .. }))
        ));
        assert_eq!(std::fs::read(&made.ca.key).expect("key"), before);
    }

    #[cfg(unix)]
    #[test]
    fn every_key_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        init(folder.path(), &InitOptions::default()).expect("made");
        issue(folder.path(), Role::Node, "h53").expect("issued");
        let files =
            std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("entry").path());
        let keys: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "key")).collect();
        assert_eq!(keys.len(), 8);
        for key in keys {
            assert_eq!(key.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{key:?}");
        }
    }

    #[test]
    fn certificates_say_who_and_for_what() {
        let folder = folder();
        let made = init(folder.path(), &InitOptions::default()).expect("made");
        let ca = der(&made.ca.certificate);
        let (_, ca) = X509Certificate::from_der(&ca).expect("parses");
        let node = issue(folder.path(), Role::Node, "h53.example").expect("issued");
        for (path, identity) in [
            (&made.operator.certificate, "operator operator"),
            (&made.security.certificate, "security officer security"),
            (&made.registrar.certificate, "registrar registrar"),
            (&made.auditor.certificate, "auditor auditor"),
            (&node.certificate, "node h53.example"),
        ] {
            let der = der(path);
            let (_, leaf) = X509Certificate::from_der(&der).expect("parses");
            assert_eq!(Identity::from_certificate(&der).expect("a role").to_string(), identity);
            assert!(leaf.verify_signature(Some(ca.public_key())).is_ok());
            let usage = leaf.extended_key_usage().expect("parses").expect("there").value;
            assert!(usage.client_auth && !usage.server_auth);
            let days =
                (leaf.validity().not_after - leaf.validity().not_before).expect("ordered").whole_days();
            assert_eq!(days, i64::from(LEAF_DAYS));
        }
        let hub = der(&made.hub.certificate);
        let (_, hub_leaf) = X509Certificate::from_der(&hub).expect("parses");
        let usage = hub_leaf.extended_key_usage().expect("parses").expect("there").value;
        assert!(usage.server_auth && !usage.client_auth);
        assert!(Identity::from_certificate(&hub).is_err(), "a hub is no caller");
        assert!(ca.is_ca() && ca.name_constraints().expect("parses").is_none());
    }

    #[test]
    fn bad_names_lifetimes_and_strangers_are_refused() {
        let (here, there) = (folder(), folder());
        init(here.path(), &InitOptions::default()).expect("made");
        let stranger = init(there.path(), &InitOptions::default()).expect("made");
        for name in ["", "A", "a/b", "../a", "a b"] {
            assert!(matches!(issue(here.path(), Role::Node, name), Err(PkiError::Reason(_))), "{name:?}");
        }
        for name in ["ca", "crl", "hub", "log"] {
            let outcome = issue(here.path(), Role::Node, name);
            assert!(matches!(outcome, Err(PkiError::File(FileError::Exists { .. }))), "{name:?}");
        }
        for days in [0, 3651] {
            let server = ServerOptions { days, ..ServerOptions::default() };
            assert!(issue_server(here.path(), Role::Node, "a", &server).is_err());
        }
        assert!(revoke(here.path(), &stranger.operator.certificate).is_err());
        assert!(revoke(here.path(), &here.path().join("ca.pem")).is_err());
        assert!(revoke(here.path(), &here.path().join("ca.key")).is_err());
    }

    #[test]
    fn revoked_certificates_stay_on_the_list() {
        let folder = folder();
        let made = init(folder.path(), &InitOptions::default()).expect("made");
        assert_eq!(revoke(folder.path(), &made.auditor.certificate).expect("revoked").revoked, 1);
        assert_eq!(revoke(folder.path(), &made.auditor.certificate).expect("again").revoked, 1);
        let done = revoke(folder.path(), &made.operator.certificate).expect("revoked");
        let pem = der(&done.crl);
        let (_, list) =
            x509_parser::revocation_list::CertificateRevocationList::from_der(&pem).expect("parses");
        let serials: Vec<_> =
            list.iter_revoked_certificates().map(|row| hex::encode(row.raw_serial())).collect();
        assert_eq!(serials.len(), 2);
        assert!(serials.contains(&done.serial));
    }
}

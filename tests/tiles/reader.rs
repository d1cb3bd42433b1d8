//! A reader of the log that shares no code with it: HTTP/1.1 by hand, RFC 6962 by its own recursion.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub type Hash = [u8; 32];

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

pub struct Reader {
    port: u16,
    tls: Option<tokio_rustls::TlsConnector>,
}

impl Reader {
    pub fn new(port: u16, ca: Option<&Path>) -> Self {
        let connector = |ca: &Path| {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            tokio_rustls::TlsConnector::from(Arc::new(
                config.with_root_certificates(roots).with_no_client_auth(),
            ))
        };
        Self { port, tls: ca.map(connector) }
    }

    pub async fn get(&self, path: &str) -> Vec<u8> {
        let answer = self.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        answer.body
    }

    pub async fn status(&self, method: &str, path: &str) -> u16 {
        self.ask(method, path, "").await.status
    }

    pub async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let text =
            format!("{method} /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut answer = Vec::new();
        match &self.tls {
            None => {
                socket.write_all(text.as_bytes()).await.unwrap();
                socket.read_to_end(&mut answer).await.unwrap();
            }
            Some(tls) => {
                let mut stream =
                    tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
                // Some servers end without TLS's word for it; the length is checked below.
                let _ = stream.read_to_end(&mut answer).await;
            }
        }
        parse(method, &answer)
    }

    pub async fn http_2(&self) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut config = ClientConfig::clone(self.tls.as_ref().unwrap().config());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        requests
    }

    pub async fn checkpoint(&self, vkey: &str) -> (u64, Hash, String) {
        let note = String::from_utf8(self.get("checkpoint").await).unwrap();
        let (size, root) = open(&note, vkey);
        (size, root, note)
    }

    /// Hashes of the lowest row.
    pub async fn leaves(&self, size: u64) -> Vec<Hash> {
        let mut leaves = Vec::new();
        for (index, width) in tiles(size) {
            let tile = self.get(&path("0", index, width)).await;
            assert_eq!(tile.len(), 32 * width as usize);
            leaves.extend(tile.chunks(32).map(|hash| Hash::try_from(hash).unwrap()));
        }
        leaves
    }

    pub async fn entries(&self, size: u64) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for (index, width) in tiles(size) {
            let bundle = self.get(&path("entries", index, width)).await;
            let mut rest = &bundle[..];
            while !rest.is_empty() {
                let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                entries.push(rest[2..2 + len].to_vec());
                rest = &rest[2 + len..];
            }
        }
        entries
    }
}

/// Index and width of the tiles of a row of so many hashes.
pub fn tiles(count: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..count.div_ceil(256)).map(move |index| (index, (count - index * 256).min(256)))
}

/// For fewer than a million tiles.
pub fn path(row: &str, index: u64, width: u64) -> String {
    let place = if index < 1000 {
        format!("{index:03}")
    } else {
        format!("x{:03}/{:03}", index / 1000, index % 1000)
    };
    if width == 256 { format!("tile/{row}/{place}") } else { format!("tile/{row}/{place}.p/{width}") }
}

fn parse(method: &str, bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer with a header");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let body = bytes[end + 4..].to_vec();
    if method != "HEAD" && status == 200 {
        assert_eq!(headers["content-length"], body.len().to_string());
    }
    Answer { status, headers, body }
}

/// Size and root of a checkpoint, signature and origin checked.
pub fn open(note: &str, vkey: &str) -> (u64, Hash) {
    let (text, signatures) = note.rsplit_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let mut parts = vkey.trim().splitn(3, '+');
    let (name, hash, key) =
        (parts.next().unwrap(), parts.next().unwrap(), BASE64.decode(parts.next().unwrap()).unwrap());
    let line = signatures.lines().find_map(|line| line.strip_prefix(&format!("— {name} "))).expect("signed");
    let signature = BASE64.decode(line).unwrap();
    assert_eq!(hex::encode(&signature[..4]), hash);
    let verifying = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    verifying.verify_strict(text.as_bytes(), &Signature::from_slice(&signature[4..]).unwrap()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], name);
    (lines[1].parse().unwrap(), BASE64.decode(lines[2]).unwrap().try_into().unwrap())
}

pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// MTH of RFC 6962 section 2.1.
pub fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::new().finalize().into(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(&mth(left), &mth(right))
        }
    }
}

/// PATH of section 2.1.1.
pub fn audit_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (audit_path(index, left), mth(right)),
        Some(index) => (audit_path(index, right), mth(left)),
    };
    path.push(sibling);
    path
}

/// PROOF of section 2.1.2.
pub fn consistency_path(first: usize, leaves: &[Hash]) -> Vec<Hash> {
    fn subproof(first: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if first == leaves.len() {
            return if whole { Vec::new() } else { vec![mth(leaves)] };
        }
        let (left, right) = leaves.split_at(split(leaves.len()));
        let (mut proof, sibling) = match first.checked_sub(left.len()) {
            None | Some(0) => (subproof(first, left, whole), mth(right)),
            Some(first) => (subproof(first, right, false), mth(left)),
        };
        proof.push(sibling);
        proof
    }
    subproof(first, leaves, true)
}

//! A browser that shares no code with the console: HTTP/1.1 by hand, a jar of cookies, a certificate if it has one.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

pub struct Answer {
    pub status: u16,
    /// Lower-case names; several values of one name are lines.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The token in the page's forms.
    pub fn csrf(&self) -> String {
        let at = self.body.find("name=\"csrf\" value=\"").expect("a form");
        self.body[at + 19..].split('"').next().unwrap().to_owned()
    }

    pub fn place(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.body);
        self.header("location")
    }
}

pub struct Browser {
    port: u16,
    tls: TlsConnector,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    /// With the certificate of this name, or without any.
    pub fn new(port: u16, certs: &Path, name: Option<&str>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certs.join("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificate = CertificateDer::from_pem_file(certs.join(format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(certs.join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        Self { port, tls: Arc::new(config).into(), cookies: BTreeMap::new() }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// A page that must be there.
    pub async fn page(&mut self, path: &str) -> Answer {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer
    }

    /// A form, as a page of ours sends it.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("Origin: https://localhost:{}\r\nSec-Fetch-Site: same-origin\r\n", self.port);
        self.ask("POST", path, &origin, &form(fields)).await
    }

    pub async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.try_ask(method, path, headers, body).await.expect("an answer")
    }

    /// `None` when the connection is refused.
    pub async fn try_ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut stream = self.tls.connect(ServerName::try_from("localhost").unwrap(), socket).await.ok()?;
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nCookie: {}\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            cookies.join("; "),
            body.len()
        );
        // A form that is too large is answered before it was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        // The end may come without a goodbye of TLS.
        let _ = stream.read_to_end(&mut bytes).await;
        let answer = read(&bytes)?;
        for line in answer.header("set-cookie").lines() {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.into(), value.into()),
            };
        }
        Some(answer)
    }
}

/// Fields as a browser encodes them.
pub fn form(fields: &[(&str, &str)]) -> String {
    let coded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    fields.iter().map(|(name, value)| format!("{name}={}", coded(value))).collect::<Vec<_>>().join("&")
}

fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let known = headers.entry(name.to_lowercase()).or_default();
        if !known.is_empty() {
            known.push('\n');
        }
        known.push_str(value);
    }
    let body = &bytes[end + 4..];
    let chunked = headers.get("transfer-encoding").is_some_and(|how| how == "chunked");
    let body = if chunked { unchunked(body) } else { body.to_vec() };
    Some(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 || rest.len() < line + 4 + size {
            break;
        }
        whole.extend(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
    whole
}

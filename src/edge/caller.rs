//! Who calls. The TLS certificate names a role; what that role may do is decided behind the doors.

use std::{fmt, net::SocketAddr};

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::tls::Shown;
use crate::{
    domain::{
        id::{AgencyId, NodeName, shorten},
        reason::{Reason, ReasonCode},
        role::Duty,
        time::Timestamp,
    },
    hub::{presence::Peer, search::Reader},
    proto::Actor,
};

/// Every identity in a certificate starts with this, in a SAN of type URI.
pub const URN_PREFIX: &str = "urn:truc:";

/// Between the name of an auditor and the agency whose subtree it sees. No name holds a colon, so neither part can
/// pass for the other, and a hub that does not know scopes refuses the whole.
pub const BELOW: &str = ":below:";

/// What a client certificate is for. Names follow the rule of [`NodeName`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One installation that sends and receives for agencies.
    Node(NodeName),
    /// Runs the exchange: queues and what is done about them.
    Operator(String),
    /// Keeps keys and nodes.
    Security(String),
    /// Keeps agencies.
    Registrar(String),
    /// Looks on, changes nothing.
    Viewer(String),
    /// Reads evidence.
    Auditor(String),
    /// Reads evidence that concerns an agency or one below it. In the certificate: `auditor:NAME:below:AGENCY`.
    ScopedAuditor(String, AgencyId),
}

/// Who a verified client certificate says its holder is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The role with its name.
    pub role: Role,
}

impl Identity {
    /// Reads the identity from a leaf certificate (DER) that TLS has already verified: it must carry
    /// exactly one SAN URI `urn:truc:…`, and that must name a client's role. Otherwise `ROLE_REQUIRED`.
    pub fn from_certificate(der: &[u8]) -> Result<Self, Reason> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| refused("the client certificate can't be read"))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| refused("the client certificate's alternative names can't be read"))?;
        let mut urns = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| {
            if let GeneralName::URI(uri) = name { uri.strip_prefix(URN_PREFIX) } else { None }
        });
        match (urns.next(), urns.next()) {
            (Some(urn), None) => Self::from_urn(urn),
            (None, _) => Err(refused("the client certificate has no SAN URI urn:truc:…")),
            (Some(_), Some(_)) => Err(refused("the client certificate has more than one SAN URI urn:truc:…")),
        }
    }

    /// The text behind `urn:truc:` in a certificate, which [`Identity::from_urn`] reads.
    #[must_use]
    pub fn to_urn(&self) -> String {
        match &self.role {
            Role::Node(name) => format!("node:{name}"),
            Role::Operator(name) => format!("operator:{name}"),
            Role::Security(name) => format!("security:{name}"),
            Role::Registrar(name) => format!("registrar:{name}"),
            Role::Viewer(name) => format!("viewer:{name}"),
            Role::Auditor(name) => format!("auditor:{name}"),
            Role::ScopedAuditor(name, agency) => format!("auditor:{name}{BELOW}{agency}"),
        }
    }

    /// Reads the text behind `urn:truc:` in a certificate.
    pub fn from_urn(urn: &str) -> Result<Self, Reason> {
        let (role, name) = urn.split_once(':').unwrap_or((urn, ""));
        let wrong = |_| refused(format!("the client certificate names {:?}", shorten(urn)));
        if let ("auditor", Some((name, agency))) = (role, name.split_once(BELOW)) {
            let name = NodeName::parse(name).map_err(wrong)?;
            let agency = AgencyId::parse(agency).map_err(wrong)?;
            return Ok(Self { role: Role::ScopedAuditor(name.into(), agency) });
        }
        let name = NodeName::parse(name).map_err(wrong)?;
        let role = match role {
            "node" => Role::Node(name),
            "operator" => Role::Operator(name.into()),
            "security" => Role::Security(name.into()),
            "registrar" => Role::Registrar(name.into()),
            "viewer" => Role::Viewer(name.into()),
            "auditor" => Role::Auditor(name.into()),
            other => {
                return Err(refused(format!("a certificate of role {:?} calls nothing", shorten(other))));
            }
        };
        Ok(Self { role })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Node(name) => write!(f, "node {name}"),
            Role::Operator(name) => write!(f, "operator {name}"),
            Role::Security(name) => write!(f, "security officer {name}"),
            Role::Registrar(name) => write!(f, "registrar {name}"),
            Role::Viewer(name) => write!(f, "viewer {name}"),
            Role::Auditor(name) => write!(f, "auditor {name}"),
            Role::ScopedAuditor(name, agency) => write!(f, "auditor {name} below {agency}"),
        }
    }
}

/// What the acceptor knows of a connection; tonic puts it into the extensions of every request.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// Who it is, or why the certificate names nobody: such a connection gets this reason for every call.
    pub identity: Result<Identity, Reason>,
    /// Last second of the certificate's life, since 1970; `None` when it can't be read.
    pub certificate_until: Option<i64>,
    /// The certificate itself, of people only: nodes are many, and nobody asks for theirs.
    pub shown: Option<Shown>,
}

/// The caller of one request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub identity: Identity,
    /// From where.
    pub address: SocketAddr,
    /// Last second of the certificate's life.
    pub certificate_until: Option<i64>,
}

impl Caller {
    /// The caller as TLS found it; `ROLE_REQUIRED` when the certificate names no role.
    pub fn from_request<T>(request: &tonic::Request<T>) -> Result<Self, Reason> {
        let Some(peer) = request.extensions().get::<PeerInfo>() else {
            return Err(refused("this connection has no client certificate"));
        };
        let PeerInfo { address, certificate_until, .. } = *peer;
        Ok(Self { identity: peer.identity.clone()?, address, certificate_until })
    }

    /// The connection, as the hub notes it.
    #[must_use]
    pub fn peer(&self) -> Peer {
        let until = self.certificate_until.map(|seconds| Timestamp(seconds.saturating_mul(1_000_000)));
        Peer { address: Some(self.address), certificate_until: until }
    }

    /// The node's name, or `ROLE_REQUIRED`.
    pub fn require_node(&self) -> Result<&NodeName, Reason> {
        match &self.identity.role {
            Role::Node(name) => Ok(name),
            _ => Err(self.lacks("a node")),
        }
    }

    /// Who acts, if the certificate has this duty; otherwise `ROLE_REQUIRED`, which names it.
    pub fn require_duty(&self, duty: Duty) -> Result<Actor, Reason> {
        self.duty().filter(|(held, _)| *held == duty).map(|(_, actor)| actor).ok_or_else(|| {
            let role = duty.name();
            refused(format!("this call needs a certificate of role {role}; this one names {}", self.identity))
        })
    }

    /// Who acts, if it is an operator; otherwise `ROLE_REQUIRED`.
    pub fn require_operator(&self) -> Result<Actor, Reason> {
        self.require_duty(Duty::Operator)
    }

    /// Passes who may see queues and what the hub does: operators and viewers; otherwise `ROLE_REQUIRED`.
    pub fn require_watcher(&self) -> Result<&str, Reason> {
        match &self.identity.role {
            Role::Operator(name) | Role::Viewer(name) => Ok(name),
            _ => Err(self.lacks("an operator or viewer")),
        }
    }

    /// The duty that the certificate names, and its holder; `None` for nodes and auditors.
    #[must_use]
    pub fn duty(&self) -> Option<(Duty, Actor)> {
        let (duty, name) = match &self.identity.role {
            Role::Operator(name) => (Duty::Operator, name),
            Role::Security(name) => (Duty::Security, name),
            Role::Registrar(name) => (Duty::Registrar, name),
            Role::Viewer(name) => (Duty::Viewer, name),
            Role::Node(_) | Role::Auditor(_) | Role::ScopedAuditor(..) => return None,
        };
        Some((duty, Actor { name: name.clone(), role: duty.to_proto().into() }))
    }

    /// The auditor's name, or `ROLE_REQUIRED`.
    pub fn require_auditor(&self) -> Result<&str, Reason> {
        match &self.identity.role {
            Role::Auditor(name) | Role::ScopedAuditor(name, _) => Ok(name),
            _ => Err(self.lacks("an auditor")),
        }
    }

    /// Passes auditors, operators and viewers who may read everything; `OUTSIDE_SCOPE` for an auditor who sees a
    /// subtree only, otherwise `ROLE_REQUIRED`.
    pub fn require_reader(&self) -> Result<&str, Reason> {
        match &self.identity.role {
            Role::Auditor(name) | Role::Operator(name) | Role::Viewer(name) => Ok(name),
            Role::ScopedAuditor(..) => {
                let detail =
                    format!("this call tells of all agencies; the certificate names {}", self.identity);
                Err(Reason::new(ReasonCode::OutsideScope, detail))
            }
            Role::Node(_) | Role::Security(_) | Role::Registrar(_) => {
                Err(self.lacks("an auditor, operator or viewer"))
            }
        }
    }

    /// An auditor, operator or viewer with what it may see; otherwise `ROLE_REQUIRED`. For calls that look at the scope.
    pub fn reader(&self) -> Result<Reader, Reason> {
        let (name, recorded, scope) = match &self.identity.role {
            Role::Operator(name) => (name, false, None),
            Role::Auditor(name) | Role::Viewer(name) => (name, true, None),
            Role::ScopedAuditor(name, agency) => (name, true, Some(agency.clone())),
            Role::Node(_) | Role::Security(_) | Role::Registrar(_) => {
                return Err(self.lacks("an auditor, operator or viewer"));
            }
        };
        Ok(Reader { name: name.clone(), recorded, scope })
    }

    fn lacks(&self, needed: &str) -> Reason {
        refused(format!("this call is for {needed}; the certificate names {}", self.identity))
    }
}

fn refused(detail: impl Into<String>) -> Reason {
    Reason::new(ReasonCode::RoleRequired, detail)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(["host.example".to_owned()]).expect("legal name");
        params
            .subject_alt_names
            .extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ascii"))));
        let key = KeyPair::generate().expect("random source");
        params.self_signed(&key).expect("signs").der().to_vec()
    }

    fn read(uris: &[&str]) -> Result<Identity, Reason> {
        Identity::from_certificate(&certificate(uris))
    }

    fn request(peer: PeerInfo) -> tonic::Request<()> {
        let mut request = tonic::Request::new(());
        request.extensions_mut().insert(peer);
        request
    }

    #[test]
    fn each_role_is_read() {
        let node = read(&["urn:truc:node:h53-dms.example"]).expect("a node");
        assert_eq!(node.role, Role::Node(NodeName::parse("h53-dms.example").expect("legal")));
        assert_eq!(node.to_string(), "node h53-dms.example");
        for (urn, role) in [
            ("operator:an", Role::Operator("an".into())),
            ("security:an", Role::Security("an".into())),
            ("registrar:an", Role::Registrar("an".into())),
            ("viewer:an", Role::Viewer("an".into())),
        ] {
            let read = read(&[&format!("urn:truc:{urn}")]).expect("role");
            assert_eq!((&read.role, read.to_urn().as_str()), (&role, urn));
        }
        assert_eq!(
            read(&["urn:truc:auditor:thanh-tra"]).expect("role").role,
            Role::Auditor("thanh-tra".into())
        );
    }

    #[test]
    fn an_auditor_may_see_a_subtree_only() {
        let scoped = read(&["urn:truc:auditor:thanh-tra:below:000.00.31.H53"]).expect("role");
        let agency = AgencyId::parse("000.00.31.H53").expect("legal");
        assert_eq!(scoped.role, Role::ScopedAuditor("thanh-tra".into(), agency.clone()));
        assert_eq!(Identity::from_urn(&scoped.to_urn()), Ok(scoped.clone()));
        let caller = Caller {
            identity: scoped,
            address: "192.0.2.1:4000".parse().expect("address"),
            certificate_until: None,
        };
        assert_eq!(caller.require_reader().expect_err("all").code, ReasonCode::OutsideScope);
        let reader = caller.reader().expect("a reader");
        assert_eq!((reader.name.as_str(), reader.recorded, reader.scope), ("thanh-tra", true, Some(agency)));
        for wrong in ["auditor:a:below:", "auditor:a:below:h53", "auditor::below:H53", "operator:a:below:H53"]
        {
            assert!(read(&[&format!("urn:truc:{wrong}")]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_uris_do_not_matter() {
        assert!(read(&["https://example.vn/", "urn:truc:node:a"]).is_ok());
    }

    #[test]
    fn anything_but_one_role_is_refused() {
        for uris in [
            &[][..],
            &["urn:truc:node:a", "urn:truc:node:a"],
            &["urn:truc:node:a", "urn:truc:operator:a"],
            &["urn:truc:node:a", "urn:truc:hub:a"],
            &["urn:truc:hub:a"],
            &["urn:truc:node:"],
            &["urn:truc:node"],
            &["urn:truc:"],
            &["urn:truc:node:A"],
            &["urn:truc:operator:a b"],
            &["URN:TRUC:node:a"],
        ] {
            assert_eq!(read(uris).expect_err("no role").code, ReasonCode::RoleRequired, "{uris:?}");
        }
        assert!(Identity::from_certificate(b"garbage").is_err());
    }

    #[test]
    fn helpers_let_only_their_role_pass() {
        let address = "192.0.2.1:4000".parse().expect("address");
        let caller = |urn: &str| {
            Caller::from_request(&request(PeerInfo {
                address,
                identity: Identity::from_urn(urn),
                certificate_until: None,
                shown: None,
            }))
            .expect("a caller")
        };
        let (node, operator, auditor) = (caller("node:a"), caller("operator:b"), caller("auditor:c"));
        assert_eq!(node.require_node().expect("node").as_str(), "a");
        let an = Actor { name: "b".into(), role: crate::proto::ActorRole::Operator.into() };
        assert_eq!(operator.require_operator(), Ok(an));
        assert_eq!(auditor.require_auditor(), Ok("c"));
        assert_eq!((operator.require_reader(), auditor.require_reader()), (Ok("b"), Ok("c")));
        for refusal in [
            operator.require_node().err(),
            node.require_operator().err(),
            operator.require_auditor().err(),
            node.require_reader().err(),
        ] {
            assert_eq!(refusal.expect("another role").code, ReasonCode::RoleRequired);
        }
    }

    #[test]
    fn each_duty_opens_its_own_doors_only() {
        let address = "192.0.2.1:4000".parse().expect("address");
        let duties = [Duty::Operator, Duty::Security, Duty::Registrar, Duty::Viewer];
        for duty in duties {
            let identity = Identity::from_urn(&format!("{}:x", duty.name())).expect("a role");
            let caller = Caller { identity, address, certificate_until: None };
            for needed in duties {
                let passed = caller.require_duty(needed);
                assert_eq!(passed.is_ok(), needed == duty);
                if let Err(reason) = passed {
                    assert_eq!(reason.code, ReasonCode::RoleRequired);
                    assert!(reason.detail.contains(&format!("role {};", needed.name())), "{reason}");
                }
            }
            assert_eq!(caller.require_watcher().is_ok(), matches!(duty, Duty::Operator | Duty::Viewer));
            assert_eq!(caller.reader().is_ok(), matches!(duty, Duty::Operator | Duty::Viewer));
            assert!(caller.require_node().is_err() && caller.require_auditor().is_err());
        }
    }

    #[test]
    fn a_connection_without_identity_calls_nothing() {
        assert!(Caller::from_request(&tonic::Request::new(())).is_err());
        let address = "192.0.2.1:4000".parse().expect("address");
        let nobody =
            PeerInfo { address, identity: Err(refused("no SAN")), certificate_until: None, shown: None };
        assert_eq!(Caller::from_request(&request(nobody)).expect_err("nobody").detail, "no SAN");
    }
}

//! A certificate that a caller showed without being made to.

use std::{fmt, sync::Arc};

use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};

use crate::{
    domain::reason::{Reason, ReasonCode},
    edge::caller::Identity,
};

/// The certificate with its intermediates. It was good at the handshake; `Acceptor::identify` says whether it still is.
#[derive(Clone)]
pub struct Shown(Arc<[CertificateDer<'static>]>);

impl Shown {
    /// As [`Shown::chain`] gave it; `None` for no certificate.
    #[must_use]
    pub fn of_chain(chain: &[Vec<u8>]) -> Option<Self> {
        let certificates: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        Self::of(&certificates)
    }

    /// In DER, the leaf first.
    #[must_use]
    pub fn chain(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|certificate| certificate.to_vec()).collect()
    }

    /// `None` for no certificate.
    pub(in crate::edge) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        if chain.is_empty() {
            return None;
        }
        Some(Self(chain.iter().map(|certificate| certificate.clone().into_owned()).collect()))
    }

    pub(super) fn identify(
        &self,
        verifier: &dyn ClientCertVerifier,
        now: UnixTime,
    ) -> Result<Identity, Reason> {
        let refused = |detail: &str| Reason::new(ReasonCode::RoleRequired, detail);
        let (leaf, intermediates) =
            self.0.split_first().ok_or_else(|| refused("this connection has no client certificate"))?;
        verifier
            .verify_client_cert(leaf, intermediates, now)
            .map_err(|_| refused("the client certificate was revoked or has expired"))?;
        Identity::from_certificate(leaf)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({} certificates)", self.0.len())
    }
}

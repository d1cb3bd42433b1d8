//! The hub's certificate, made anew by a test.

use rcgen::{CertificateParams, KeyPair};
use time::{Duration, OffsetDateTime};

use crate::rig::Rig;

/// Puts a certificate in the place of the hub's that ended two days ago. It is read again while the hub runs.
pub fn let_expire(rig: &Rig) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
    params.not_after = OffsetDateTime::now_utc() - Duration::days(2);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    // Between the two writes they don't fit, and the old ones stay in force.
    std::fs::write(rig.certs().join("hub.key"), key.serialize_pem()).unwrap();
    std::fs::write(rig.certs().join("hub.pem"), certificate.pem()).unwrap();
}

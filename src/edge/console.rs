//! The door of those who want to sign in to the web console.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    caller::{Caller, PeerInfo, Role},
    grpc_status::{refuse, status},
    tls::Shown,
};
use crate::{
    domain::reason::{Reason, ReasonCode},
    hub::Hub,
    proto::*,
    rpc::console_service_server::ConsoleService,
};

/// Path of a sign-in link before its secret.
pub const SIGN_IN_PATH: &str = "/sign-in/link/";

/// The service over a hub.
pub struct Consoles(pub Arc<Hub>);

#[tonic::async_trait]
impl ConsoleService for Consoles {
    async fn create_sign_in_link(
        &self,
        request: Request<CreateSignInLinkRequest>,
    ) -> Result<Response<CreateSignInLinkResponse>, Status> {
        let identity = Caller::from_request(&request).map_err(refuse)?.identity;
        if let Role::Node(_) = identity.role {
            let detail = format!("the console is for people; the certificate names {identity}");
            return Err(refuse(Reason::new(ReasonCode::RoleRequired, detail)));
        }
        let shown = request.extensions().get::<PeerInfo>().and_then(|peer| peer.shown.as_ref());
        let chain = shown.map(Shown::chain).unwrap_or_default();
        let created = self.0.create_sign_in(&identity.to_urn(), chain).map_err(|refused| status(&refused))?;
        let (secret, link, place) = created;
        tracing::info!(%identity, "a sign-in link was made");
        Ok(Response::new(CreateSignInLinkResponse {
            path: format!("{SIGN_IN_PATH}{secret}"),
            url: place.url,
            port: place.port.into(),
            valid_until_us: link.until.0,
        }))
    }
}

//! What the hub finds when it reads its own store again: for operators and viewers.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{caller::Caller, grpc_status::refuse};
use crate::{hub::Hub, proto::*, rpc::integrity_service_server::IntegrityService};

/// The service over a hub.
pub struct Integrity(pub Arc<Hub>);

#[tonic::async_trait]
impl IntegrityService for Integrity {
    async fn get_integrity(
        &self,
        request: Request<GetIntegrityRequest>,
    ) -> Result<Response<GetIntegrityResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        caller.require_watcher().map_err(refuse)?;
        Ok(Response::new(self.0.integrity()))
    }
}

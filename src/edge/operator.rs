//! The operators' door.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    caller::Caller,
    grpc_status::{refuse, status},
};
use crate::{hub::Hub, proto::*, rpc::operator_service_server::OperatorService};

/// The service over a hub.
pub struct Operators(pub Arc<Hub>);

#[tonic::async_trait]
impl OperatorService for Operators {
    async fn get_overview(
        &self,
        request: Request<GetOverviewRequest>,
    ) -> Result<Response<GetOverviewResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        caller.require_operator().map_err(refuse)?;
        Ok(Response::new(self.0.overview().await.map_err(|refused| status(&refused))?))
    }
}

//! The directory's door.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    caller::Caller,
    grpc_status::{refuse, status},
};
use crate::{
    domain::{
        id::AgencyId,
        reason::{Reason, ReasonCode},
        role::Duty,
    },
    hub::Hub,
    proto::*,
    rpc::directory_service_server::DirectoryService,
};

/// Agencies of a page when the caller names no number.
const DEFAULT_PAGE: u32 = 200;
/// Agencies of a page at most.
const MAX_PAGE: u32 = 1_000;

/// The service over a hub.
pub struct Directories(pub Arc<Hub>);

#[tonic::async_trait]
impl DirectoryService for Directories {
    async fn change(&self, request: Request<ChangeRequest>) -> Result<Response<ChangeResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let change = request.into_inner().change.unwrap_or_default();
        let duty = change.change.as_ref().map_or(Duty::Registrar, Duty::for_change);
        let actor = caller.require_duty(duty).map_err(refuse)?;
        if change.change.is_none() {
            return Err(refuse(Reason::invalid("change", "is missing")));
        }
        let accepted =
            self.0.change_directory_by(Some(actor), change).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(ChangeResponse { receipt: Some(accepted.receipt) }))
    }

    async fn import_agencies(
        &self,
        request: Request<ImportAgenciesRequest>,
    ) -> Result<Response<ImportAgenciesResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let actor = caller.require_duty(Duty::Registrar).map_err(refuse)?;
        let ImportAgenciesRequest { agencies, dry_run } = request.into_inner();
        let imported = self.0.import_agencies_by(Some(actor), agencies, dry_run).await;
        let imported = imported.map_err(|refused| status(&refused))?;
        Ok(Response::new(imported))
    }

    async fn get_agency(
        &self,
        request: Request<GetAgencyRequest>,
    ) -> Result<Response<GetAgencyResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        let directory = self.0.directory();
        let asked = &request.get_ref().organ_id;
        let unknown = || Reason::new(ReasonCode::UnknownAgency, crate::domain::id::shorten(asked));
        let agency = directory.resolve(asked).ok_or_else(|| refuse(unknown()))?;
        Ok(Response::new(GetAgencyResponse {
            keys: directory.keys_of(&agency.id).map(|key| key.to_proto()).collect(),
            nodes: directory.nodes_of(&agency.id).map(|node| node.name.to_string()).collect(),
            agency: Some(agency.to_proto()),
        }))
    }

    async fn list_agencies(
        &self,
        request: Request<ListAgenciesRequest>,
    ) -> Result<Response<ListAgenciesResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        let ListAgenciesRequest { below, level, page_token, page_size } = request.into_inner();
        let below = given(&below)?;
        let after = given(&page_token)?;
        let level =
            Level::try_from(level).map_err(|_| refuse(Reason::invalid("level", "is none of the levels")))?;
        let size = if page_size == 0 { DEFAULT_PAGE } else { page_size.min(MAX_PAGE) } as usize;
        let directory = self.0.directory();
        let page = directory.agencies(below.as_ref(), level, after.as_ref(), size);
        let next = (page.len() == size).then(|| page.last().map(|agency| agency.id.to_string())).flatten();
        Ok(Response::new(ListAgenciesResponse {
            agencies: page.iter().map(|agency| agency.to_proto()).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        let nodes = self.0.directory().nodes().map(|node| node.to_proto()).collect();
        Ok(Response::new(ListNodesResponse { nodes }))
    }
}

fn given(text: &str) -> Result<Option<AgencyId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    AgencyId::parse(text).map(Some).map_err(refuse)
}

//! The auditors' door.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{
    caller::Caller,
    grpc_status::{refuse, status},
};
use crate::{
    domain::reason::ReasonCode,
    hub::{Hub, completeness::Asker, refused::Refused, volumes::PART},
    proto::*,
    rpc::audit_service_server::AuditService,
};

/// The service over a hub.
pub struct Audit(pub Arc<Hub>);

#[tonic::async_trait]
impl AuditService for Audit {
    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        let checkpoint = self.0.checkpoint();
        let keys = self.0.keys();
        Ok(Response::new(GetCheckpointResponse {
            verifier_key: keys.signer_of(&checkpoint),
            checkpoint,
            cosigned: self.0.cosigned().map(|head| head.note()).unwrap_or_default(),
            log_keys: keys.proofs.clone(),
        }))
    }

    async fn get_receipt(
        &self,
        request: Request<GetReceiptRequest>,
    ) -> Result<Response<GetReceiptResponse>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let reader = caller.reader().map_err(refuse)?;
        let receipt = self.0.read_receipt(&reader, request.get_ref().index).await;
        let receipt = receipt.map_err(|refused| status(&refused))?;
        Ok(Response::new(GetReceiptResponse { receipt: Some(receipt) }))
    }

    async fn get_consistency(
        &self,
        request: Request<GetConsistencyRequest>,
    ) -> Result<Response<GetConsistencyResponse>, Status> {
        Caller::from_request(&request).map_err(refuse)?;
        let GetConsistencyRequest { first, second } = request.into_inner();
        Ok(Response::new(self.0.consistency(first, second).await.map_err(|refused| status(&refused))?))
    }

    type GetBundleStream = Pin<Box<dyn Stream<Item = Result<GetBundleResponse, Status>> + Send>>;

    async fn get_proof(
        &self,
        request: Request<GetProofRequest>,
    ) -> Result<Response<GetProofResponse>, Status> {
        Caller::from_request(&request)
            .and_then(|caller| caller.require_reader().map(drop))
            .map_err(refuse)?;
        let GetProofRequest { index, tree_size, cosigned } = request.into_inner();
        let receipt = match (cosigned, tree_size) {
            (false, size) => self.0.proof(index, size).await,
            (true, 0) => self.0.cosigned_proof(index).await,
            (true, _) => {
                let detail = "tree_size: must be 0 with cosigned";
                Err(Refused::because(ReasonCode::InvalidField, detail))
            }
        };
        let receipt = receipt.map_err(|refused| status(&refused))?;
        Ok(Response::new(GetProofResponse { receipt: Some(receipt) }))
    }

    async fn get_witnesses(
        &self,
        request: Request<GetWitnessesRequest>,
    ) -> Result<Response<GetWitnessesResponse>, Status> {
        Caller::from_request(&request)
            .and_then(|caller| caller.require_reader().map(drop))
            .map_err(refuse)?;
        Ok(Response::new(self.0.witness_states()))
    }

    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<Self::GetBundleStream>, Status> {
        Caller::from_request(&request)
            .and_then(|caller| caller.require_reader().map(drop))
            .map_err(refuse)?;
        let pages = self.0.bundle(request.into_inner()).await.map_err(|refused| status(&refused))?;
        let pages = ReceiverStream::new(pages).map(|page| page.map_err(|refused| status(&refused)));
        Ok(Response::new(Box::pin(pages)))
    }

    type GetCompletenessStream = Pin<Box<dyn Stream<Item = Result<GetCompletenessResponse, Status>> + Send>>;

    async fn get_completeness(
        &self,
        request: Request<GetCompletenessRequest>,
    ) -> Result<Response<Self::GetCompletenessStream>, Status> {
        let caller = Caller::from_request(&request).map_err(refuse)?;
        let asker = match caller.require_node() {
            Ok(node) => Asker::Node(node.clone()),
            Err(_) => Asker::Reader(caller.reader().map_err(refuse)?),
        };
        let pages = self.0.completeness(&asker, request.into_inner()).await;
        let pages = ReceiverStream::new(pages.map_err(|refused| status(&refused))?);
        Ok(Response::new(Box::pin(pages.map(|page| page.map_err(|refused| status(&refused))))))
    }

    type GetVolumesStream = Pin<Box<dyn Stream<Item = Result<GetVolumesResponse, Status>> + Send>>;

    async fn get_volumes(
        &self,
        request: Request<GetVolumesRequest>,
    ) -> Result<Response<Self::GetVolumesStream>, Status> {
        let reader = Caller::from_request(&request).and_then(|caller| caller.reader()).map_err(refuse)?;
        let told = self.0.volumes(&reader, request.into_inner()).await.map_err(|refused| status(&refused))?;
        Ok(Response::new(Box::pin(tokio_stream::iter(parts(told).map(Ok)))))
    }

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let reader = Caller::from_request(&request).and_then(|caller| caller.reader()).map_err(refuse)?;
        let found = self.0.search(&reader, request.into_inner()).await;
        Ok(Response::new(found.map_err(|refused| status(&refused))?))
    }

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<CountResponse>, Status> {
        let reader = Caller::from_request(&request).and_then(|caller| caller.reader()).map_err(refuse)?;
        let counted = self.0.count(&reader, request.into_inner()).await;
        Ok(Response::new(counted.map_err(|refused| status(&refused))?))
    }
    type ExportStream = Pin<Box<dyn Stream<Item = Result<ExportResponse, Status>> + Send>>;

    async fn export(&self, request: Request<ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let reader = Caller::from_request(&request).and_then(|caller| caller.reader()).map_err(refuse)?;
        let pages = self.0.export(&reader, request.into_inner()).await;
        let pages = ReceiverStream::new(pages.map_err(|refused| status(&refused))?);
        Ok(Response::new(Box::pin(pages.map(|page| page.map_err(|refused| status(&refused))))))
    }
}

/// At least one part, which says of what days the rows are.
fn parts(mut told: GetVolumesResponse) -> impl Iterator<Item = GetVolumesResponse> + Send {
    let mut rows = std::mem::take(&mut told.rows).into_iter();
    let mut is_first = true;
    std::iter::from_fn(move || {
        let part: Vec<_> = rows.by_ref().take(PART).collect();
        let is_needed = std::mem::replace(&mut is_first, false) || !part.is_empty();
        is_needed.then(|| GetVolumesResponse { rows: part, ..told.clone() })
    })
}

//! A service that does the least that a durable exchange could do: TLS, one signature, one sync for many. It keeps no
//! promise but that, and is what a hub is compared with.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};

use crate::{
    cli::{Exit, Failure, files, pki::Paths},
    domain::envelope::pae,
    proto::*,
    rpc::submission_service_server::{SubmissionService, SubmissionServiceServer},
};

/// Documents that may wait for the disk.
const WAITING: usize = 4096;
/// The key that signs, beside the certificates.
pub const KEY: &str = "signer.pub";

/// Serves until the process is ended. `certs` holds certificates and the signer's public key; prints the port.
pub async fn serve(certs: &Path) -> Result<(), Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::new(Exit::File, error);
    let read = |path: PathBuf| files::read_text(&path, 1 << 16);
    let key = VerifyingKey::from_public_key_pem(&read(certs.join(KEY))?).map_err(|error| fail(&error))?;
    let hub = Paths::of(certs, "hub");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read(hub.certificate)?, read(hub.key)?))
        .client_ca_root(Certificate::from_pem(read(certs.join("ca.pem"))?));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| fail(&error))?;
    println!("{}", listener.local_addr().map_err(|error| fail(&error))?.port());
    let (bodies, waiting) = mpsc::channel(WAITING);
    let file = File::create(certs.join("bare.log")).map_err(|error| fail(&error))?;
    std::thread::spawn(move || write(file, waiting));
    let service = SubmissionServiceServer::new(Bare { key: Arc::new(key), bodies, receipt: receipt() });
    let mut server = Server::builder().tls_config(tls).map_err(|error| fail(&error))?;
    let served = server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await;
    served.map_err(|error| fail(&error))
}

type Waiting = (SubmitRequest, oneshot::Sender<()>);

/// Writes what waits, makes it durable by one sync, answers all.
fn write(mut file: File, mut waiting: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::new();
    let mut bytes = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        batch.push(first);
        while let Ok(next) = waiting.try_recv() {
            batch.push(next);
        }
        bytes.clear();
        for (request, _) in &batch {
            let envelope = request.envelope.iter().map(|envelope| &envelope.payload);
            envelope.chain(&request.inline_parts).for_each(|part| bytes.extend_from_slice(part));
        }
        if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
            // Nobody is answered: the load sees that.
            return;
        }
        for (_, answer) in batch.drain(..) {
            // A client that went away needs no answer.
            let _ = answer.send(());
        }
    }
}

struct Bare {
    key: Arc<VerifyingKey>,
    bodies: mpsc::Sender<Waiting>,
    receipt: Receipt,
}

impl Bare {
    fn verify(&self, request: &SubmitRequest) -> Option<()> {
        let envelope = request.envelope.as_ref()?;
        let Some(signature::Value::Ed25519(value)) = &envelope.signatures.first()?.value else { return None };
        let signature = Signature::from_slice(value).ok()?;
        self.key.verify_strict(&pae(&envelope.payload_type, &envelope.payload), &signature).ok()
    }

    fn answer(&self) -> SubmitResponse {
        SubmitResponse { receipt: Some(self.receipt.clone()) }
    }
}

/// As large as a hub's, and proof of nothing.
fn receipt() -> Receipt {
    Receipt {
        evidence: Bytes::from(vec![0; 600]),
        index: 1,
        path: vec![Bytes::from_static(&[0; 32]); 16],
        checkpoint: "-".repeat(200),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SubmissionService for Bare {
    type SubmitStreamStream = Answers<SubmitStreamResponse>;

    /// Verifies and makes durable.
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let request = request.into_inner();
        self.verify(&request).ok_or_else(|| Status::invalid_argument("the signature"))?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| Status::unavailable("the disk");
        self.bodies.send((request, answer)).await.map_err(|_| Status::unavailable("the disk"))?;
        answered.await.map_err(gone)?;
        Ok(Response::new(self.answer()))
    }

    /// Answers each message, and looks at none.
    async fn submit_stream(
        &self,
        request: Request<Streaming<SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let accepted = submit_stream_response::Answer::Accepted(self.answer());
        let answers = request.into_inner().map(move |request| {
            Ok(SubmitStreamResponse { tag: request?.tag, answer: Some(accepted.clone()) })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    /// Answers, and looks at nothing.
    async fn validate(&self, _: Request<SubmitRequest>) -> Result<Response<ValidateResponse>, Status> {
        Ok(Response::new(ValidateResponse::default()))
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Err(absent())
    }

    async fn add_recipients(
        &self,
        _: Request<AddRecipientsRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        Err(absent())
    }

    async fn upload(&self, _: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        Err(absent())
    }

    async fn query_upload(&self, _: Request<QueryUploadRequest>) -> Result<Response<UploadResponse>, Status> {
        Err(absent())
    }
}

fn absent() -> Status {
    Status::unimplemented("a bare service")
}

//! The server: all services behind one acceptor, with the bounds of every message and connection in one place.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::util::MapResponseLayer;

use super::{
    audit::Audit,
    bounds::Bounds,
    caller::Role,
    console::Consoles,
    delivery::Deliveries,
    directory::Directories,
    gate::{Gate, Memory},
    grpc_status::typed_answer,
    intake::Intake,
    integrity::Integrity,
    meter::Meter,
    operator::Operators,
    retention::Retentions,
    status::Statuses,
    submission::Submissions,
    tls::Acceptor,
};
use crate::{
    hub::{Hub, Notice},
    proto::DESCRIPTORS,
    rpc::{
        audit_service_server::AuditServiceServer, console_service_server::ConsoleServiceServer,
        delivery_service_server::DeliveryServiceServer, directory_service_server::DirectoryServiceServer,
        integrity_service_server::IntegrityServiceServer, operator_service_server::OperatorServiceServer,
        retention_service_server::RetentionServiceServer, status_service_server::StatusServiceServer,
        submission_service_server::SubmissionServiceServer,
    },
};

/// Largest submission taken: a manifest of 2 MiB with inline parts.
const MAX_SUBMISSION: usize = 8 * 1024 * 1024;
/// Largest import of agencies.
const MAX_IMPORT: usize = 4 * 1024 * 1024;
/// Largest of all other messages: signed receipts and statuses are far smaller, lists of agencies come near.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Largest answer: 100 offers with their envelopes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Calls of one connection at the same time.
const MAX_STREAMS: u32 = 256;
/// Header list of a call.
const MAX_HEADERS: u32 = 16 * 1024;
/// Bytes that a connection may send before they are taken over: 5 MiB a second at 200 ms of distance.
const WINDOW: u32 = 1 << 20;
/// A connection that does not answer pings is closed.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Running calls may take so long to hear that the store failed. Nothing more can be done for them: the process has to
/// end to recover, and a client that hangs must not hold that up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What ended the server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors of reflection could not be read.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The store failed: the process has to recover.
    #[error("the store failed: start again to recover; what was acknowledged is safe")]
    StoreFailed,
}

/// [`serve_with`] the usual bounds.
pub async fn serve(
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve_with(hub, acceptor, listener, stop, &Bounds::default()).await
}

/// Serves until `stop` is cancelled, then takes nothing more, says goodbye to sessions and watches, and lets running
/// calls finish; or until the store fails, then lets them only hear of it.
pub async fn serve_with(
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    listener: TcpListener,
    stop: CancellationToken,
    bounds: &Bounds,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    tell_health(&reporter, &hub).await;
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let room = usize::try_from(bounds.message_memory).unwrap_or(usize::MAX);
    let memory = Memory::new("bytes of messages", usize::MAX, room);
    let gate = Gate::new(bounds, memory.clone(), hub.stopping().clone());
    let intake = Intake::new(Arc::clone(&hub), bounds, memory);
    let submissions =
        SubmissionServiceServer::new(Submissions::new(Arc::clone(&hub), intake.clone(), bounds));
    let deliveries = DeliveryServiceServer::new(Deliveries::new(Arc::clone(&hub), intake.clone(), bounds));
    let statuses = StatusServiceServer::new(Statuses::new(Arc::clone(&hub), intake, bounds));
    let audits = AuditServiceServer::new(Audit(Arc::clone(&hub)));
    let operators = OperatorServiceServer::new(Operators(Arc::clone(&hub)));
    let integrity = IntegrityServiceServer::new(Integrity(Arc::clone(&hub)));
    let consoles = ConsoleServiceServer::new(Consoles(Arc::clone(&hub)));
    let retentions = RetentionServiceServer::new(Retentions(Arc::clone(&hub)));
    let directories = DirectoryServiceServer::new(Directories(Arc::clone(&hub)));
    let router = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(64))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_connection_age(bounds.connection_age)
        .max_connection_age_grace(bounds.connection_grace)
        .layer(Meter(Arc::clone(acceptor.calls())))
        .layer(MapResponseLayer::new(typed_answer))
        .layer(gate)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(submissions.max_decoding_message_size(MAX_SUBMISSION))
        .add_service(deliveries.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_ANSWER))
        .add_service(statuses.max_decoding_message_size(MAX_MESSAGE))
        .add_service(directories.max_decoding_message_size(MAX_IMPORT))
        .add_service(audits.max_decoding_message_size(MAX_MESSAGE))
        .add_service(operators.max_decoding_message_size(MAX_MESSAGE))
        .add_service(integrity.max_decoding_message_size(MAX_MESSAGE))
        .add_service(retentions.max_decoding_message_size(MAX_MESSAGE))
        .add_service(consoles.max_decoding_message_size(MAX_MESSAGE));
    let failed = CancellationToken::new();
    let ended = CancellationToken::new();
    hub.spawn(act_on_notices(Arc::clone(&hub), Arc::clone(&acceptor), failed.clone(), ended.clone()));
    let end = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = failed.cancelled() => {}
            () = follow_health(&reporter, &hub) => {}
        }
        reporter.set_service_status("", ServingStatus::NotServing).await;
        // Sessions and watches end by themselves now, so that the server can finish.
        hub.stopping().cancel();
    };
    let given_up = async {
        failed.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let result = tokio::select! {
        result = router.serve_with_incoming_shutdown(acceptor.incoming(listener), end) => result,
        () = given_up => Ok(()),
    };
    ended.cancel();
    result?;
    if failed.is_cancelled() { Err(ServeError::StoreFailed) } else { Ok(()) }
}

/// Lets the health service say whether the hub is ready, without end.
async fn follow_health(reporter: &HealthReporter, hub: &Hub) {
    let mut changes = hub.health().changes();
    loop {
        tell_health(reporter, hub).await;
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn tell_health(reporter: &HealthReporter, hub: &Hub) {
    let status = if hub.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
    reporter.set_service_status("", status).await;
}

/// Cuts off revoked nodes, and ends the server when the store failed.
async fn act_on_notices(
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    failed: CancellationToken,
    ended: CancellationToken,
) {
    let mut notices = hub.notices();
    drop(hub);
    while let Some(notice) = ended.run_until_cancelled(notices.recv()).await {
        match notice {
            Ok(Notice::NodeRevoked(node)) => {
                let cut = acceptor.disconnect_where(|peer| {
                    peer.identity.as_ref().is_ok_and(|identity| identity.role == Role::Node(node.clone()))
                });
                tracing::info!(%node, connections = cut, "a node was revoked and cut off");
            }
            Ok(Notice::StoreFailed) => failed.cancel(),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

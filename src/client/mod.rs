//! The Rust client of the hub: one connection, one generated client for each service, and the work that a sender and
//! a recipient do with them. Nothing here prints.

pub mod bundle;
pub mod calendar;
pub mod completeness;
mod connect;
pub mod download;
pub mod draft;
mod error;
pub mod export;
pub mod folder;
pub mod mirror;
mod patience;
pub mod ping;
pub mod readable;
pub mod receive;
pub mod refusal;
pub mod report;
pub mod search;
pub mod send;
pub mod session;
pub mod site;
pub mod stream;
mod terms;
pub mod timeline;
pub mod upload;

use std::net::IpAddr;

pub use connect::{ClientOptions, ConnectError, connect, connect_lazy};
pub use draft::Draft;
pub use error::ClientError;
pub use patience::Patience;
pub use terms::{Terms, is_about, reasons_of};
use tonic::transport::Channel;

use crate::rpc::{
    audit_service_client::AuditServiceClient, console_service_client::ConsoleServiceClient,
    delivery_service_client::DeliveryServiceClient, directory_service_client::DirectoryServiceClient,
    integrity_service_client::IntegrityServiceClient, operator_service_client::OperatorServiceClient,
    retention_service_client::RetentionServiceClient, status_service_client::StatusServiceClient,
    submission_service_client::SubmissionServiceClient,
};

/// Largest message in either direction, the same as the hub's: envelope and inline parts fit with room.
pub const MAX_MESSAGE: usize = 8 << 20;

/// A connection to the hub. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

macro_rules! services {
    ($( $(#[$doc:meta])* $name:ident: $client:ident; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> $client<Channel> {
                $client::new(self.channel.clone())
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE)
            }
        )*
    };
}

impl Client {
    /// Connects now, so that a wrong address or certificate shows at once.
    pub async fn connect(options: &ClientOptions) -> Result<Self, ConnectError> {
        connect(options).await.map(Self::from)
    }

    /// As [`Client::connect`], from a local address where one is given.
    pub async fn connect_from(options: &ClientOptions, local: Option<IpAddr>) -> Result<Self, ConnectError> {
        connect::connect_from(options, local).await.map(Self::from)
    }

    /// The connection itself, for services that are not the hub's own, such as health.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    services! {
        /// Hands documents in.
        submission: SubmissionServiceClient;
        /// Takes documents over.
        delivery: DeliveryServiceClient;
        /// Reports and watches business status.
        status: StatusServiceClient;
        /// Agencies, nodes and keys.
        directory: DirectoryServiceClient;
        /// Checkpoints and proofs.
        audit: AuditServiceClient;
        /// What the hub holds and does.
        operator: OperatorServiceClient;
        /// Damage that the hub has found in its store.
        integrity: IntegrityServiceClient;
        /// Signing in to the web console.
        console: ConsoleServiceClient;
        /// What is erased when, and what may not be.
        retention: RetentionServiceClient;
    }
}

impl From<Channel> for Client {
    fn from(channel: Channel) -> Self {
        Self { channel }
    }
}

//! What `truc serve` opens for those who watch the hub: health, metrics, traces.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    config::Config,
    edge::{
        https::{self, Security},
        monitor::Monitor,
        tls::Acceptor,
    },
    hub::Hub,
};

/// Begins to look after the hub's health, and serves its door until `ended`.
pub fn watch(
    config: &Config,
    hub: &Arc<Hub>,
    acceptor: &Arc<Acceptor>,
    door: Option<TcpListener>,
    ended: &CancellationToken,
) {
    let keys = &config.monitor;
    hub.watch_health(keys.health_limits());
    let monitor = Monitor::new(Arc::clone(hub), Arc::clone(acceptor));
    hub.spawn(monitor.watch_certificates(keys.look_every, keys.certificate_warning));
    if let Some(listener) = door {
        let (monitor, ended) = (Arc::new(monitor), ended.clone());
        hub.spawn(https::serve(listener, Security::Plain, keys.max_connections, monitor, ended));
    }
}

/// Sends the steps of documents to the collector that the configuration names, until `ended`.
#[cfg(feature = "otel")]
pub fn follow_documents(config: &Config, hub: &Arc<Hub>, ended: &CancellationToken) -> Result<(), Failure> {
    use super::Exit;
    use crate::telemetry::traces;

    if config.telemetry.otlp_endpoint.is_empty() {
        return Ok(());
    }
    let (meters, stop) = (Arc::clone(&hub.meters().traces), ended.clone().cancelled_owned());
    let started = traces::start(&config.telemetry, &config.origin, meters, stop);
    let (observer, export) = started.map_err(|error| Failure::new(Exit::Usage, error))?;
    hub.steps().observe(observer);
    hub.spawn(export);
    Ok(())
}

/// Built without traces; `config check` refuses a collector then.
#[cfg(not(feature = "otel"))]
pub fn follow_documents(_: &Config, _: &Arc<Hub>, _: &CancellationToken) -> Result<(), Failure> {
    Ok(())
}

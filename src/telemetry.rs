//! Logs: to standard error, as text or JSON. Standard output belongs to the commands' answers. And traces, where a
//! collector is named.

#[cfg(feature = "otel")]
pub mod traces;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};

use crate::config::{LogFormat, Logging};

/// Logs that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error("logging.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process logs already.
    #[error("logs are set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process. Call it once, first.
pub fn init(logging: &Logging) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&logging.filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match logging.format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

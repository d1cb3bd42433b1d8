//! The pages. Each handler asks a handle of the hub, and shows what it answers.

mod actions;
mod agencies;
mod changes;
mod document;
mod documents;
mod files;
mod health;
mod help;
mod nodes;
mod overview;
mod queues;
mod settings;
mod sign_in;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use super::{Desk, live};

/// All routes, without the language in front.
pub(crate) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/documents", get(documents::page))
        .route("/document", get(document::page))
        .route("/document/receipt", get(files::receipt))
        .route("/document/bundle", get(files::bundle))
        .route("/agencies", get(agencies::page))
        .route("/agency", get(agencies::one))
        .route("/changes", get(changes::page))
        .route("/queues", get(queues::page))
        .route("/queue", get(queues::one))
        .route("/act", get(actions::form).post(actions::act))
        .route("/act/preview", post(actions::preview))
        .route("/actions", get(actions::page))
        .route("/action/approve", post(actions::approve))
        .route("/action/undo", post(actions::undo))
        .route("/nodes", get(nodes::page))
        .route("/health", get(health::page))
        .route("/help", get(help::page))
        .route("/live", get(live::stream))
        .route("/settings/theme", post(settings::theme))
        .route("/sign-in", get(sign_in::page))
        .route("/sign-in/certificate", post(sign_in::with_certificate))
        .route("/sign-in/link/{secret}", get(sign_in::link).post(sign_in::with_link))
        .route("/sign-out", post(sign_in::out))
}

//! `/livez`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::metrics::Metrics;

/// Whether this process can do its work: the API server answered and knows the custom resource.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, readiness: Readiness, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let ready = move || async move {
        if readiness.0.load(Ordering::Relaxed) {
            (StatusCode::OK, "ready")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the API server has not answered for rotationpolicies.tandem.dev yet; is the CRD installed?",
            )
        }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "alive" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { metrics.text() }));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}; choose another with --http-address"))?;
    axum::serve(listener, router)
        .await
        .context("the health and metrics server ended")
}

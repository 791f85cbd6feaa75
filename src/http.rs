//! What an orchestrator and Prometheus ask for: `/livez`, `/readyz`, `/metrics`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::worker::Health;

#[derive(Clone)]
struct App {
    health: Arc<Health>,
    metrics: PrometheusHandle,
}

/// Serves until it is dropped.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: PrometheusHandle,
) -> io::Result<()> {
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // Histograms collect samples until somebody drains them.
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async |State(app): State<App>| app.metrics.render()))
        .with_state(App { health, metrics });
    axum::serve(listener, router).await
}

/// 503 means: restart it.
async fn livez(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.health.is_alive() {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck\n")
    }
}

/// 503 means: it waits for something, which the text names.
async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.health.trouble() {
        None => (StatusCode::OK, "working\n"),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble),
    }
}

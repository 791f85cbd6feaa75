//! The ops port: `/livez` and `/readyz` for an orchestrator, `/metrics` for Prometheus. It answers
//! from the first moment of the process to its last.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::worker::Health;

/// What the probes say about the process, at whatever stage it is.
#[derive(Debug)]
pub(crate) struct Probes {
    stage: Mutex<Stage>,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
enum Stage {
    /// It does this before it can work.
    Starting(&'static str),
    /// The worker knows how it is.
    Working(Arc<Health>),
}

impl Probes {
    /// The probes of a process that has just begun, and that drains once `stop` is cancelled.
    #[must_use]
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stage: Mutex::new(Stage::Starting("reading the settings")), stop }
    }

    /// Says what the process does now, before it can work.
    pub(crate) fn starting(&self, step: &'static str) {
        self.enter(Stage::Starting(step));
    }

    /// From now on the worker's own health counts.
    pub(crate) fn working(&self, health: Arc<Health>) {
        self.enter(Stage::Working(health));
    }

    fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A process that starts or drains is alive: each step of a start has a time limit of its own, and
    /// a drain ends by itself.
    fn is_alive(&self) -> bool {
        match self.stage() {
            Stage::Starting(_) => true,
            Stage::Working(health) => self.stop.is_cancelled() || health.is_alive(),
        }
    }

    /// What keeps the process from its work, if anything does.
    fn trouble(&self) -> Option<String> {
        if self.stop.is_cancelled() {
            return Some("draining".to_owned());
        }
        match self.stage() {
            Stage::Starting(step) => Some(format!("starting: {step}")),
            Stage::Working(health) => health.trouble(),
        }
    }
}

#[derive(Clone)]
struct App {
    probes: Arc<Probes>,
    metrics: PrometheusHandle,
}

/// Serves until it is dropped.
///
/// # Errors
/// When the socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    probes: Arc<Probes>,
    metrics: PrometheusHandle,
) -> io::Result<()> {
    let upkeep = upkeep(metrics.clone());
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async |State(app): State<App>| app.metrics.render()))
        .with_state(App { probes, metrics });
    tokio::select! {
        ended = axum::serve(listener, router) => ended,
        never = upkeep => match never {},
    }
}

/// Histograms collect samples until they are drained.
async fn upkeep(metrics: PrometheusHandle) -> Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        metrics.run_upkeep();
    }
}

/// 503 means that nothing but a restart helps.
async fn livez(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.probes.is_alive() {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck\n")
    }
}

/// 503 means that the process does not work now; the text says why.
async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    match app.probes.trouble() {
        None => (StatusCode::OK, "working\n".to_owned()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_follow_the_process() {
        let stop = CancellationToken::new();
        let probes = Probes::new(stop.clone());
        probes.starting("migrating the schema");
        assert!(probes.is_alive());
        assert_eq!(probes.trouble().as_deref(), Some("starting: migrating the schema"));
        probes.working(Arc::default());
        assert!(probes.is_alive());
        assert_eq!(probes.trouble(), None);
        stop.cancel();
        assert!(probes.is_alive());
        assert_eq!(probes.trouble().as_deref(), Some("draining"));
    }
}

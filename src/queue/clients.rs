//! The SDK's clients, configured by the usual `AWS_*` settings, and created again when their credentials have expired.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::{SharedHttpConnector, http_client_fn};

use super::error::Error;
use super::fast_path::{CaptureContext, FastPath};
use super::{ANSWER_TIMEOUT, region};
use crate::https;

/// The version of the SDK's defaults; a newer version may have others.
const BEHAVIOR: fn() -> BehaviorVersion = BehaviorVersion::v2026_01_12;

/// Reads the AWS settings, again each time.
#[derive(Clone)]
pub(super) struct Settings(Arc<dyn Fn(ConfigLoader) -> ConfigLoader + Send + Sync>);

impl Settings {
    /// Those of the environment and of the AWS files, as `changed`.
    pub(super) fn new(
        changed: impl Fn(ConfigLoader) -> ConfigLoader + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(changed))
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// The clients of one queue.
#[derive(Debug)]
pub(super) struct Clients {
    /// Receives are not retried inside the SDK: the pollers back off together.
    pub(super) receiving: Line,
    pub(super) acting: Line,
}

/// A client of the SDK, and the way past it that its calls open.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sdk: Client,
    pub(super) fast: Arc<FastPath>,
}

impl Clients {
    /// Reads the settings, files and credentials too.
    ///
    /// # Errors
    /// When something is missing or wrong that only a person can set.
    pub(super) async fn load(
        settings: &Settings,
        queue_url: &str,
        wait: Duration,
    ) -> Result<Self, Error> {
        let connector = https::connector().map_err(Error::setting)?;
        let (shared, region) = configuration(settings, queue_url, &connector).await?;
        let line = |attempt: Duration, retry: RetryConfig| {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(https::CONNECT_TIMEOUT)
                .operation_attempt_timeout(attempt)
                .build();
            let fast = Arc::new(FastPath::new(region.clone(), connector.clone()));
            let connector = connector.clone();
            let config = aws_sdk_sqs::config::Builder::from(&shared)
                .region(Region::new(region.clone()))
                .http_client(http_client_fn(move |_, _| connector.clone()))
                .timeout_config(timeouts)
                .retry_config(retry)
                .interceptor(CaptureContext(Arc::clone(&fast)))
                .build();
            Line { sdk: Client::from_conf(config), fast }
        };
        Ok(Self {
            receiving: line(wait + ANSWER_TIMEOUT, RetryConfig::disabled()),
            acting: line(ANSWER_TIMEOUT, RetryConfig::standard()),
        })
    }
}

/// The settings, and the region of the queue: that of its URL before any other, because SQS answers for the
/// queues of one region only.
async fn configuration(
    settings: &Settings,
    queue_url: &str,
    connector: &SharedHttpConnector,
) -> Result<(SdkConfig, String), Error> {
    let loader = || {
        let loader = (settings.0)(aws_config::defaults(BEHAVIOR()));
        if https::has_own_roots() {
            // For the services that credentials come from, too.
            let connector = connector.clone();
            return loader.http_client(http_client_fn(move |_, _| connector.clone()));
        }
        loader
    };
    let shared = loader().load().await;
    let set = shared.region().map(|region| region.as_ref().to_owned());
    match (region::of_url(queue_url).map(str::to_owned), set) {
        (Some(of_url), Some(set)) if region::is_usable(&set) => {
            if set != of_url {
                tracing::warn!(
                    "the queue is in {of_url}, as its URL says; AWS_REGION says {set}, which is ignored"
                );
            }
            Ok((shared, of_url))
        }
        (Some(of_url), _) => {
            Ok((loader().region(Region::new(of_url.clone())).load().await, of_url))
        }
        (None, Some(set)) if region::is_usable(&set) => Ok((shared, set)),
        (None, Some(set)) => Err(Error::setting(format!(
            "AWS_REGION is not a region: {set:?}; set it to the queue's, such as eu-west-1"
        ))),
        (None, None) => Err(Error::setting(
            "no region: set AWS_REGION to that of the queue, because its URL does not name it"
                .to_owned(),
        )),
    }
}

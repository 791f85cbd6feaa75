//! The two calls that every message pays for, without what the SDK does beside sending them.
//!
//! The SDK does work for each call that is the same each time: runtime plugins, endpoint rules, a tree
//! of the answer. Endpoint, region, credentials with their cache, and connections stay the SDK's: a
//! call that went through it lends them. Whatever is not a plain success is asked for again through the
//! SDK, so its reading of errors, its retries and its correction of clocks hold here too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents, SharedHttpClient};
use aws_sdk_sqs::error::BoxError;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector as _, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::identity::{
    Identity, ResolveCachedIdentity as _, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::GetIdentityResolver as _;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::{AggregatedBytes, ByteStream};
use aws_types::region::SigningRegion;

/// What the last call through the SDK used, and whether it can be relied on.
#[derive(Debug, Default)]
pub(super) struct Lender {
    seen: Mutex<Option<Arc<Lent>>>,
    is_trusted: AtomicBool,
}

impl Lender {
    /// What to call with: nothing until a call through the SDK succeeded, or once a lean one failed.
    pub(super) fn lent(&self) -> Option<Arc<Lent>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone().filter(|_| self.is_trusted.load(Ordering::Acquire))
    }

    /// Tells whether the last call succeeded.
    pub(super) fn trust(&self, is_trusted: bool) {
        self.is_trusted.store(is_trusted, Ordering::Release);
    }
}

/// Sees the requests of an SDK client.
#[derive(Debug)]
pub(super) struct Borrower(pub(super) Arc<Lender>);

impl Intercept for Borrower {
    fn name(&self) -> &'static str {
        "ses-reports lean calls"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let lent = Lent::of(context.request().uri(), components, config);
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = lent.map(Arc::new);
        Ok(())
    }
}

/// The SDK's own parts, as its last call used them.
#[derive(Debug)]
pub(super) struct Lent {
    endpoint: String,
    region: SigningRegion,
    connector: SharedHttpConnector,
    identities: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
}

/// Why a lean call gave nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// No answer in time: asking again would only wait as long again.
    Silence,
    /// Ask the SDK: it says why.
    Otherwise,
}

impl Lent {
    fn of(uri: &str, components: &RuntimeComponents, config: &ConfigBag) -> Option<Self> {
        let client: SharedHttpClient = components.http_client()?;
        let settings =
            HttpConnectorSettings::builder().connect_timeout(super::CONNECT_TIMEOUT).build();
        Some(Self {
            endpoint: uri.to_owned(),
            region: config.load::<SigningRegion>()?.clone(),
            connector: client.http_connector(&settings, components),
            identities: components.identity_cache(),
            resolver: components.identity_resolver(aws_runtime::auth::sigv4::SCHEME_ID)?,
            components: components.clone(),
        })
    }

    /// Calls an action of the AWS JSON protocol 1.0 and returns the body of its answer, which is a 200.
    pub(super) async fn call(
        &self,
        action: &'static str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<AggregatedBytes, Failed> {
        let call = async {
            let request = self.signed(action, body).await.ok_or(Failed::Otherwise)?;
            let answer = self.connector.call(request).await.map_err(|_| Failed::Otherwise)?;
            if answer.status().as_u16() != 200 {
                return Err(Failed::Otherwise);
            }
            ByteStream::new(answer.into_body()).collect().await.map_err(|_| Failed::Otherwise)
        };
        tokio::time::timeout(patience, call).await.unwrap_or(Err(Failed::Silence))
    }

    /// A request with the signature of AWS (Signature Version 4), if there are credentials.
    async fn signed(&self, action: &'static str, body: Vec<u8>) -> Option<HttpRequest> {
        let identity: Identity = self
            .identities
            .resolve_cached_identity(self.resolver.clone(), &self.components, &ConfigBag::base())
            .await
            .ok()?;
        let time = self.components.time_source().map_or_else(SystemTime::now, |clock| clock.now());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name("sqs")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", action)];
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&body),
        );
        let (instructions, _) = sign(signable.ok()?, &SigningParams::V4(params)).ok()?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").ok()?;
        request.set_uri(self.endpoint.as_str()).ok()?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().insert("user-agent", USER_AGENT);
        for (name, value) in instructions.headers() {
            request.headers_mut().insert(name.to_owned(), value.to_owned());
        }
        Some(request)
    }
}

const USER_AGENT: &str = concat!("ses-reports/", env!("CARGO_PKG_VERSION"));

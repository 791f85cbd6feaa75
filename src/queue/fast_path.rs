//! The two calls that every message pays for, without what the SDK does besides sending them.
//!
//! The SDK does work for each call that is the same every time: runtime plugins, endpoint rules, a tree of
//! the answer. It costs more than half of a receive and a delete (`make bench` measures both). A call that
//! goes through the SDK leaves its context here: its endpoint, its credentials with their cache, and by how
//! much it corrected the clock. The next calls are made with that. Whatever is not a plain success is asked
//! for again through the SDK, which says what is wrong, and leaves a new context once it succeeds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sqs::config::{
    ConfigBag, Intercept, ResolveCachedIdentity as _, RuntimeComponents, SharedIdentityCache,
};
use aws_sdk_sqs::error::BoxError;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::GetIdentityResolver as _;
use http_body_util::BodyExt as _;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::{Instant, timeout};

use super::Room;

const USER_AGENT: &str = concat!("ses-reports/", env!("CARGO_PKG_VERSION"));
const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");
/// What the SDK signs with is a whole second, and a moment ago: less is no correction. SQS takes five
/// minutes.
const LEAST_CORRECTION: time::Duration = time::Duration::seconds(30);
/// The first rest after failures in a row; each is twice as long as the one before.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Whether and with what calls can be made.
#[derive(Debug)]
pub(super) struct FastPath {
    region: String,
    connector: SharedHttpConnector,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the last call through the SDK that was sent.
    sent: Option<Arc<CallContext>>,
    /// Of the last one that succeeded, until a call with it fails.
    proved: Option<Arc<CallContext>>,
    /// Contexts in a row that failed without one success.
    failures: u32,
    rests_until: Option<Instant>,
}

/// The SDK's own parts, as one of its calls used them.
#[derive(Debug)]
struct CallContext {
    endpoint: String,
    identities: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: RuntimeComponents,
    /// What the SDK adds to this machine's clock.
    correction: time::Duration,
}

/// Leaves the contexts of an SDK client's calls to a [`FastPath`].
#[derive(Debug)]
pub(super) struct CaptureContext(pub(super) Arc<FastPath>);

impl Intercept for CaptureContext {
    fn name(&self) -> &'static str {
        "ses-reports capture of the call's context"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.state().sent = CallContext::of(context.request(), components).map(Arc::new);
        Ok(())
    }
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// What the body of a 200 says.
    Read(T),
    /// No answer in time: to ask again would only take as long again.
    Silence,
    /// Ask the SDK: it says why.
    AskSdk,
}

impl FastPath {
    pub(super) fn new(region: String, connector: SharedHttpConnector) -> Self {
        Self { region, connector, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is made in parts that a panic could leave apart.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call through the SDK succeeded: the next ones can be made as it was.
    pub(super) fn open(&self) {
        let mut state = self.state();
        let sent = state.sent.clone();
        state.proved = sent;
    }

    fn context(&self) -> Option<Arc<CallContext>> {
        let state = self.state();
        let is_open = state.rests_until.is_none_or(|until| until <= Instant::now());
        state.proved.clone().filter(|_| is_open)
    }

    fn failed(&self, context: &Arc<CallContext>) {
        let mut state = self.state();
        // Calls at once with one context count once.
        if state.proved.as_ref().is_none_or(|proved| !Arc::ptr_eq(proved, context)) {
            return;
        }
        state.proved = None;
        // One failure is an accident. More in a row mean that every call would be made twice.
        let rest = state
            .failures
            .checked_sub(1)
            .map(|doublings| FIRST_REST.saturating_mul(1 << doublings.min(20)).min(LONGEST_REST));
        state.rests_until = rest.map(|rest| Instant::now() + rest);
        state.failures = state.failures.saturating_add(1);
    }

    fn succeeded(&self) {
        self.state().failures = 0;
    }

    /// Calls an action of the AWS JSON protocol 1.0. `patience` is for the wait until the answer begins,
    /// and again until it ends; between the two it waits for room.
    pub(super) async fn call<T>(
        &self,
        action: &'static str,
        body: Vec<u8>,
        patience: Duration,
        room: &mut impl Room,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Answer<T> {
        let Some(context) = self.context() else {
            return Answer::AskSdk;
        };
        let answer = match self.answer(&context, action, body, patience, room).await {
            Answer::Read(body) => read(&body).map_or(Answer::AskSdk, Answer::Read),
            Answer::Silence => Answer::Silence,
            Answer::AskSdk => Answer::AskSdk,
        };
        if matches!(answer, Answer::Read(_)) {
            self.succeeded();
        } else {
            self.failed(&context);
        }
        answer
    }

    async fn answer(
        &self,
        context: &CallContext,
        action: &'static str,
        body: Vec<u8>,
        patience: Duration,
        room: &mut impl Room,
    ) -> Answer<Vec<u8>> {
        let begins = async {
            let request = self.signed(context, action, body).await?;
            self.connector.call(request).await.ok()
        };
        let answer = match timeout(patience, begins).await {
            Ok(Some(answer)) if answer.status().as_u16() == 200 => answer,
            Ok(_) => return Answer::AskSdk,
            Err(_elapsed) => return Answer::Silence,
        };
        room.admit(held_at_once(&answer)).await;
        match timeout(patience, answer.into_body().collect()).await {
            Ok(Ok(body)) => Answer::Read(body.to_bytes().into()),
            Ok(Err(_)) => Answer::AskSdk,
            Err(_elapsed) => Answer::Silence,
        }
    }

    /// A request with the signature of AWS (Signature Version 4), if there are credentials.
    async fn signed(
        &self,
        context: &CallContext,
        action: &'static str,
        body: Vec<u8>,
    ) -> Option<HttpRequest> {
        let identity = context
            .identities
            .resolve_cached_identity(
                context.resolver.clone(),
                &context.components,
                &ConfigBag::base(),
            )
            .await
            .ok()?;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("sqs")
            .time(now(&context.components) + context.correction)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", action)];
        let signable = SignableRequest::new(
            "POST",
            context.endpoint.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&body),
        );
        let (instructions, _) = sign(signable.ok()?, &SigningParams::V4(params)).ok()?.into_parts();
        let mut request = HttpRequest::new(body.into());
        request.set_method("POST").ok()?;
        request.set_uri(context.endpoint.as_str()).ok()?;
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

impl CallContext {
    fn of(request: &HttpRequest, components: &RuntimeComponents) -> Option<Self> {
        let signed_at = PrimitiveDateTime::parse(request.headers().get("x-amz-date")?, AMZ_DATE);
        let correction = signed_at.ok()?.assume_utc() - OffsetDateTime::from(now(components));
        let is_small = correction.abs() < LEAST_CORRECTION;
        Some(Self {
            endpoint: request.uri().to_owned(),
            identities: components.identity_cache(),
            resolver: components.identity_resolver(AuthSchemeId::from("sigv4"))?,
            components: components.clone(),
            correction: if is_small { time::Duration::ZERO } else { correction },
        })
    }
}

/// The clock that the SDK signs by.
fn now(components: &RuntimeComponents) -> SystemTime {
    components.time_source().map_or_else(SystemTime::now, |clock| clock.now())
}

/// An answer is held twice for a moment: as it came, and as messages.
fn held_at_once(answer: &HttpResponse) -> usize {
    let length = answer.headers().get("content-length").and_then(|length| length.parse().ok());
    length.map_or(super::LARGEST_RECEIVE, |length: usize| length.saturating_mul(2))
}

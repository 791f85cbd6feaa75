//! The calls to SQS: which are made past the SDK, and what becomes of those that fail.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::{ConfigLoader, Region};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_async::time::TimeSource;
use ses_reports::queue::{Boundless, ErrorKind, Queue, Room};
use sqs_stub::{Action, Call, Fault, Refusal, Settings, Stub};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const QUEUE: &str = "events";
const VISIBILITY: Duration = Duration::from_secs(30);

/// A queue with messages, and who has called it.
struct Scene {
    stub: Stub,
    callers: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    /// Spoiled by a script.
    async fn new(script: impl Fn(&Call<'_>) -> Fault + Send + Sync + 'static) -> Self {
        let stub = Stub::start().await.expect("a port");
        stub.create_queue(QUEUE, Settings::default());
        stub.put(QUEUE, (0..1_000).map(|number| format!("message {number}")));
        let callers = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&callers);
        stub.script(move |call| {
            let product = call.user_agent.split('/').next().unwrap_or_default();
            heard.lock().expect("not poisoned").push(product.to_owned());
            script(call)
        });
        Self { stub, callers }
    }

    async fn queue(
        &self,
        changed: impl Fn(ConfigLoader) -> ConfigLoader + Send + Sync + 'static,
    ) -> Queue {
        let endpoint = self.stub.endpoint().to_owned();
        let url = self.stub.queue_url(QUEUE);
        let settings = move |loader: ConfigLoader| {
            changed(loader.endpoint_url(endpoint.clone()).region(Region::new("eu-west-1")))
        };
        Queue::with(url, VISIBILITY, Duration::ZERO, settings).await.expect("all is set")
    }

    /// With credentials that never expire.
    async fn usual_queue(&self) -> Queue {
        self.queue(|loader| loader.credentials_provider(credentials())).await
    }

    /// Since the last time.
    fn callers(&self) -> Vec<String> {
        std::mem::take(&mut self.callers.lock().expect("not poisoned"))
    }
}

fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIDTEST", "secret", None, None, "test"))
}

async fn receive(queue: &Queue) -> usize {
    queue.receive(&mut Boundless).await.expect("an answer").len()
}

const SDK: &str = "aws-sdk-rust";
const FAST: &str = "ses-reports";

fn is_fast(call: &Call<'_>) -> bool {
    call.user_agent.starts_with(FAST)
}

#[tokio::test]
async fn the_first_call_goes_through_the_sdk_and_the_others_past_it() {
    let scene = Scene::new(|_| Fault::None).await;
    let queue = scene.usual_queue().await;
    for _ in 0..3 {
        assert_eq!(receive(&queue).await, 10);
    }
    assert_eq!(scene.callers(), [SDK, FAST, FAST]);
    for _ in 0..3 {
        let messages = queue.receive(&mut Boundless).await.expect("an answer");
        let handles: Vec<&str> =
            messages.iter().map(|message| message.receipt_handle.as_str()).collect();
        assert_eq!(queue.delete(&handles).await, Ok(Vec::new()));
    }
    assert_eq!(scene.callers(), [FAST, SDK, FAST, FAST, FAST, FAST]);
    assert_eq!(scene.stub.counts(QUEUE).deleted, 30);
}

#[tokio::test]
async fn a_fast_call_that_fails_is_made_again_through_the_sdk() {
    for fault in [
        Fault::Refuse(Refusal::InternalFailure),
        Fault::Refuse(Refusal::AccessDenied),
        Fault::LoseAnswer,
        Fault::CutBody,
    ] {
        let spoils = fault.clone();
        let script = move |call: &Call<'_>| {
            if is_fast(call) && call.before == 1 { spoils.clone() } else { Fault::None }
        };
        let scene = Scene::new(script).await;
        let queue = scene.usual_queue().await;
        for _ in 0..3 {
            assert_eq!(receive(&queue).await, 10, "{fault:?}");
        }
        assert_eq!(scene.callers(), [SDK, FAST, SDK, FAST], "{fault:?}");
    }
}

#[tokio::test]
async fn where_fast_calls_never_succeed_they_are_hardly_tried() {
    let refuse = |call: &Call<'_>| {
        if is_fast(call) { Fault::Refuse(Refusal::AccessDenied) } else { Fault::None }
    };
    let scene = Scene::new(refuse).await;
    let queue = scene.usual_queue().await;
    for _ in 0..50 {
        assert_eq!(receive(&queue).await, 10);
    }
    let tried = scene.callers().iter().filter(|caller| *caller == FAST).count();
    assert!((2..10).contains(&tried), "{tried} of 50");
}

/// How far from the time that it is a call was signed.
fn skew(call: &Call<'_>) -> time::Duration {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed_at = PrimitiveDateTime::parse(call.signed_at, format).expect("a time");
    (signed_at.assume_utc() - OffsetDateTime::from(SystemTime::now())).abs()
}

#[derive(Debug)]
struct Slow;

impl TimeSource for Slow {
    fn now(&self) -> SystemTime {
        SystemTime::now() - Duration::from_mins(20)
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_costs_no_second_call() {
    let refuse_old = |call: &Call<'_>| {
        if skew(call) > time::Duration::minutes(5) {
            Fault::Refuse(Refusal::Skewed)
        } else {
            Fault::None
        }
    };
    let scene = Scene::new(refuse_old).await;
    let queue =
        scene.queue(|loader| loader.credentials_provider(credentials()).time_source(Slow)).await;
    let refused = queue.receive(&mut Boundless).await.expect_err("20 minutes ago");
    assert_eq!(refused.kind, ErrorKind::Permanent);
    // The SDK has learned the time from the refusal.
    while queue.receive(&mut Boundless).await.is_err() {}
    scene.callers();
    for _ in 0..5 {
        assert_eq!(receive(&queue).await, 10);
    }
    assert_eq!(scene.callers(), [FAST; 5]);
}

#[tokio::test]
async fn a_file_with_credentials_is_read_again_when_they_have_expired() {
    let expired = |call: &Call<'_>| {
        if call.access_key_id == "AKIDOLD" && call.before > 1 {
            Fault::Refuse(Refusal::ExpiredToken)
        } else {
            Fault::None
        }
    };
    let scene = Scene::new(expired).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("credentials");
    let write = |key: &str| {
        let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = x\n");
        std::fs::write(&file, text).expect("it is written");
    };
    write("AKIDOLD");
    let path = file.clone();
    let queue = scene
        .queue(move |loader| {
            let files = EnvConfigFiles::builder()
                .with_file(EnvConfigFileKind::Credentials, path.clone())
                .build();
            loader.credentials_provider(
                ProfileFileCredentialsProvider::builder().profile_files(files).build(),
            )
        })
        .await;
    for _ in 0..2 {
        assert_eq!(receive(&queue).await, 10);
    }
    write("AKIDNEW");
    let refused = queue.receive(&mut Boundless).await.expect_err("they have expired");
    assert_eq!((refused.kind, refused.concerns_credentials), (ErrorKind::Permanent, true));
    assert!(refused.message.starts_with("ExpiredToken"), "{refused}");
    for _ in 0..2 {
        assert_eq!(receive(&queue).await, 10, "with the new ones");
    }
}

/// Remembers what was asked for.
#[derive(Debug, Default)]
struct Asked(Vec<usize>);

impl Room for Asked {
    async fn admit(&mut self, bytes: usize) {
        self.0.push(bytes);
    }
}

#[tokio::test]
async fn what_a_receive_weighs_is_told_before_it_is_read() {
    let scene = Scene::new(|_| Fault::None).await;
    scene.stub.put("large", (0..20).map(|_| "x".repeat(100_000)));
    let url = scene.stub.queue_url("large");
    let endpoint = scene.stub.endpoint().to_owned();
    let settings = move |loader: ConfigLoader| {
        let loader = loader.endpoint_url(endpoint.clone()).region(Region::new("eu-west-1"));
        loader.credentials_provider(credentials())
    };
    let queue = Queue::with(url, VISIBILITY, Duration::ZERO, settings).await.expect("all is set");
    let mut asked = Asked::default();
    for _ in 0..2 {
        assert_eq!(queue.receive(&mut asked).await.expect("an answer").len(), 10);
    }
    let [by_sdk, fast] = asked.0[..] else { panic!("{asked:?}") };
    assert_eq!(by_sdk, 10 * 1024 * 1024, "nobody knows");
    assert!((2_000_000..2_100_000).contains(&fast), "{fast}: twice ten messages");
    assert_eq!(scene.stub.calls(Action::ReceiveMessage), 2);
}

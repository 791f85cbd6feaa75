//! HTTP: what SDKs ask by POST, and what a person or a benchmark asks by GET.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::service::{Client, Service};
use crate::stub::Stats;
use crate::wire::Error;

const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const JSON_1_0: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// Serves until it is dropped, and every connection with it.
pub(crate) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        // An accept fails where the client is gone already, or no file descriptor is left.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        connections.spawn(connection(stream, Arc::clone(&service)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request| {
        let service = Arc::clone(&service);
        async move { answer(request, &service).await }
    });
    // Clients that go away, and connections that a fault closes, are no errors here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, service: &Service) -> Result<Response<Answer>, Closed> {
    if request.method() == Method::GET {
        return Ok(statistics(request.uri().path(), service));
    }
    let answer = carried_out(request, service).await;
    let latency = service.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    answer
}

/// The answer to a call, which a fault may spoil.
async fn carried_out(
    request: Request<Incoming>,
    service: &Service,
) -> Result<Response<Answer>, Closed> {
    let (head, body) = request.into_parts();
    let header =
        |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let client = Client {
        user_agent: header("user-agent"),
        authorization: header("authorization"),
        signed_at: header("x-amz-date"),
    };
    let request = match service.read(header("x-amz-target"), &client, &body) {
        Ok(request) => request,
        Err(error) => return Ok(refused(&error)),
    };
    match &request.fault {
        Fault::Refuse(refusal) => return Ok(refused(&Error::refusal(*refusal))),
        Fault::Silence => return std::future::pending().await,
        _ => {}
    }
    let carried_out = service.carry_out(&request).await;
    let ending = match request.fault {
        Fault::LoseAnswer => return Err(Closed),
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ending::Whole
        }
        Fault::CutBody => Ending::Cut,
        Fault::StallBody => Ending::Stalled,
        _ => Ending::Whole,
    };
    Ok(match carried_out {
        Ok(json) => with_json(Answer::new(json, ending)),
        Err(error) => refused(&error),
    })
}

fn statistics(path: &str, service: &Service) -> Response<Answer> {
    let json = match path {
        "/stats" => serde_json::to_vec(&Stats::of(service)),
        "/messages" => {
            let now = service.clock().now();
            let mut state = service.state();
            let accounts: std::collections::BTreeMap<&String, Vec<_>> = state
                .queues
                .iter_mut()
                .map(|(name, entrance)| (name, entrance.queue.accounts(now).collect()))
                .collect();
            serde_json::to_vec(&accounts)
        }
        _ => {
            let mut response = with_json(Answer::new(b"{}".to_vec(), Ending::Whole));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    with_json(Answer::new(json.unwrap_or_default(), Ending::Whole))
}

fn with_json(answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    response.headers_mut().insert(CONTENT_TYPE, JSON_1_0);
    response
}

fn refused(error: &Error) -> Response<Answer> {
    let mut response = with_json(Answer::new(error.body(), Ending::Whole));
    *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    if let Some(code) = error.query_code {
        response.headers_mut().insert(QUERY_ERROR, HeaderValue::from_static(code));
    }
    response
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed by a fault")
    }
}

impl std::error::Error for Closed {}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    /// Closed after a half.
    Cut,
    /// Open for ever after a half.
    Stalled,
}

/// An answer's body: announced whole, and sent as its ending says.
#[derive(Debug)]
struct Answer {
    length: u64,
    bytes: Option<Bytes>,
    ending: Ending,
}

impl Answer {
    fn new(json: Vec<u8>, ending: Ending) -> Self {
        let mut bytes = Bytes::from(json);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if ending != Ending::Whole {
            bytes.truncate(bytes.len() / 2);
        }
        Self { length, bytes: Some(bytes), ending }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match (self.bytes.take(), self.ending) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, Ending::Whole) => Poll::Ready(None),
            (None, Ending::Cut) => Poll::Ready(Some(Err(Closed))),
            // Nobody wakes it: the client gives up, and with it goes the connection.
            (None, Ending::Stalled) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.ending == Ending::Whole
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// Binds and tells where: `http://` and the address.
pub(crate) async fn bind(address: &str) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(address).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    Ok((listener, endpoint))
}

//! Fetches certificates: the only thing of this module that leaves the machine.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::http::Request;
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::pin::CertificateUrl;
use crate::{causes, https};

/// For connection, answer and body together.
const PATIENCE: Duration = Duration::from_secs(5);
/// A chain of certificates has some 8 KiB.
const MOST_BYTES: usize = 64 * 1024;

/// Asks as the calls to SQS do; where that cannot be, says why each time.
#[derive(Debug)]
pub(super) struct Fetcher(Result<SharedHttpConnector, String>);

/// Why there is no certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its host says that it is not there, or sends what is none.
    NotThere(&'static str),
    /// Unknown: no connection, no answer in time, or an error of the host. One line.
    Away(String),
}

impl Fetcher {
    pub(super) fn new() -> Self {
        Self(https::connector())
    }

    /// What is there, at most 64 KiB, within five seconds.
    pub(super) async fn get(&self, url: &CertificateUrl) -> Result<Vec<u8>, Failure> {
        timeout(PATIENCE, self.answer(url)).await.unwrap_or_else(|_elapsed| {
            Err(Failure::Away(format!("no answer within {} s", PATIENCE.as_secs())))
        })
    }

    async fn answer(&self, url: &CertificateUrl) -> Result<Vec<u8>, Failure> {
        let request =
            Request::get(url.as_str()).map_err(|_error| Failure::NotThere("its URL is none"))?;
        let connector = self.0.as_ref().map_err(|error| Failure::Away(error.clone()))?;
        let answer = connector.call(request).await;
        let answer = answer.map_err(|error| Failure::Away(causes::in_one_line(&error)))?;
        match answer.status().as_u16() {
            200 => {}
            403 | 404 | 410 => return Err(Failure::NotThere("its certificate is not there")),
            status => return Err(Failure::Away(format!("HTTP status {status}"))),
        }
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        match body {
            Ok(body) => Ok(body.to_bytes().into()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Failure::NotThere("what is at its URL is too large for a certificate"))
            }
            Err(error) => Err(Failure::Away(causes::in_one_line(&*error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::pin::{Emulator, TopicArn};
    use aws_smithy_http_client::proxy::ProxyConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What a server that gives this answer, once, is taken for.
    async fn fetched(answer: String) -> Result<Vec<u8>, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let prefix = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let emulator: Emulator = prefix.parse().expect("a prefix");
        let topic: TopicArn = "arn:aws:sns:eu-west-1:123456789012:t".parse().expect("a topic");
        let url = CertificateUrl::pinned(&format!("{prefix}a.pem"), &topic, Some(&emulator));
        Fetcher::new().get(&url.expect("the emulator's")).await
    }

    fn http(status: u16, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn an_answer_is_a_body_or_says_what_helps() {
        assert_eq!(fetched(http(200, "", "pem")).await, Ok(b"pem".to_vec()));
        let largest = "x".repeat(MOST_BYTES);
        assert_eq!(fetched(http(200, "", &largest)).await.map(|body| body.len()), Ok(MOST_BYTES));
        for gone in [403, 404, 410] {
            let answer = fetched(http(gone, "", "")).await;
            assert!(matches!(answer, Err(Failure::NotThere(_))), "{gone}: {answer:?}");
        }
        let larger = fetched(http(200, "", &"x".repeat(MOST_BYTES + 1))).await;
        assert!(matches!(larger, Err(Failure::NotThere(_))), "{larger:?}");
        for away in [http(500, "", ""), http(429, "", ""), String::new(), "nonsense".to_owned()] {
            let answer = fetched(away.clone()).await;
            assert!(matches!(answer, Err(Failure::Away(_))), "{away}: {answer:?}");
        }
        let cut = "HTTP/1.1 200 -\r\ncontent-length: 9\r\n\r\npem".to_owned();
        assert!(matches!(fetched(cut).await, Err(Failure::Away(_))));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = elsewhere.local_addr().expect("an address");
        let answer = fetched(http(302, &format!("location: http://{there}/a.pem\r\n"), "")).await;
        assert!(matches!(answer, Err(Failure::Away(_))), "{answer:?}");
        let visit = timeout(Duration::from_millis(50), elsewhere.accept()).await;
        assert!(visit.is_err(), "nobody came");
    }

    #[tokio::test]
    async fn a_proxy_is_asked_to_connect_and_sees_no_more() {
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", proxy.local_addr().expect("an address"));
        let asked = tokio::spawn(async move {
            let (mut stream, _) = proxy.accept().await.expect("a connection");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("a request");
            let _ = stream.write_all(b"HTTP/1.1 502 -\r\ncontent-length: 0\r\n\r\n").await;
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let by_proxy = ProxyConfig::https(&*address).expect("a URL");
        let fetcher = Fetcher(https::connector_by(None, by_proxy));
        let topic: TopicArn = "arn:aws:sns:eu-west-1:123456789012:t".parse().expect("a topic");
        let host = "sns.eu-west-1.amazonaws.com";
        let pem = format!("https://{host}/SimpleNotificationService-{}.pem", "a".repeat(32));
        let url = CertificateUrl::pinned(&pem, &topic, None).expect("SNS's");
        let answer = fetcher.get(&url).await;
        assert!(matches!(answer, Err(Failure::Away(_))), "{answer:?}");
        let asked = asked.await.expect("the proxy was asked");
        assert!(asked.starts_with(&format!("CONNECT {host}:443 HTTP/1.1\r\n")), "{asked}");
        assert!(!asked.contains("pem"), "{asked}");
    }
}

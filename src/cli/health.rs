//! `ses-reports health`: checks the health of a running worker, where there is no curl to do so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::http::Uri;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer;
use super::exit::{Failure, failed};
use super::printable::printable;
use crate::config::{HttpArgs, Wrong};

/// The most that is read of an answer. Those of a worker are one line.
const MOST_BYTES: u64 = 16 * 1024;

/// `ses-reports health`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) struct HealthArgs {
    /// Where the worker serves its probes, such as `http://127.0.0.1:9090`. Without it, the port of
    /// `HTTP_ADDR` on this machine is used
    #[arg(value_name = "URL", value_parser = Endpoint::read)]
    url: Option<Endpoint>,

    /// Ask /readyz (can the worker do its work?) instead of /livez (is it alive?)
    #[arg(long)]
    ready: bool,

    /// How long to wait for the answer
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,

    #[command(flatten)]
    http: HttpArgs,
}

const HELP: &str = "\
The command exits with 0 if the answer is 200. Otherwise it exits with 1 and prints the answer in one line. \
Use /livez to decide about restarts: /readyz also fails while PostgreSQL or SQS cannot be \
reached, and a restart does not help then.

  HTTP_ADDR=0.0.0.0:9090 ses-reports health
  ses-reports health http://127.0.0.1:9090 --ready";

/// A host and a port that speak HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint(String);

impl Endpoint {
    fn read(text: &str) -> Result<Self, &'static str> {
        let says = "write it as http://HOST:PORT";
        let uri: Uri = text.trim().parse().map_err(|_error| says)?;
        let is_bare = uri.path_and_query().is_none_or(|path| matches!(path.as_str(), "" | "/"));
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if is_bare => {
                Ok(Self(format!("{host}:{}", uri.port_u16().unwrap_or(80))))
            }
            _ => Err(says),
        }
    }

    /// The address to reach a server at that listens on this one.
    fn of(listening: SocketAddr) -> Self {
        let ip = match listening.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self(SocketAddr::new(ip, listening.port()).to_string())
    }
}

pub(super) async fn run(args: &HealthArgs) -> Result<(), Failure> {
    let endpoint = args.url.clone().or_else(|| args.http.http_addr.map(Endpoint::of));
    let endpoint = endpoint.ok_or_else(|| {
        Wrong::new("HTTP_ADDR is missing: set it as for the worker, or give a URL")
    })?;
    let path = if args.ready { "/readyz" } else { "/livez" };
    let url = format!("http://{}{path}", endpoint.0);
    let limit = Duration::from_secs(args.timeout);
    match timeout(limit, get(&endpoint, path)).await {
        Ok(Ok((200, says))) => {
            answer(&says);
            Ok(())
        }
        Ok(Ok((status, says))) => Err(failed(format!("{url} answers {status}: {says}"))),
        Ok(Err(error)) => Err(failed(format!("{url}: {error}"))),
        Err(_elapsed) => Err(failed(format!("{url}: no answer within {} s", args.timeout))),
    }
}

/// The status of the answer, and the first line of its body.
async fn get(endpoint: &Endpoint, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(&endpoint.0).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", endpoint.0);
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut bytes).await?;
    read(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

fn read(text: &str) -> Option<(u16, String)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim_end();
    let status = status.get(..3)?.parse().ok()?;
    Some((status, printable(body.lines().next().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_hosts_and_ports() {
        for (text, host) in [
            ("http://127.0.0.1:9090", "127.0.0.1:9090"),
            ("http://worker/", "worker:80"),
            ("http://[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(Endpoint::read(text), Ok(Endpoint(host.to_owned())), "{text}");
        }
        for text in ["", "worker:9090", "https://worker:9090", "http://worker:9090/livez", "/livez"]
        {
            assert!(Endpoint::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_asked_here() {
        for (listening, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.1:9090", "10.0.0.1:9090"),
        ] {
            let listening = listening.parse().expect("an address");
            assert_eq!(Endpoint::of(listening), Endpoint(asked.to_owned()));
        }
    }

    #[test]
    fn an_answer_is_its_status_and_its_first_line() {
        let answer = |text: &str| read(text);
        assert_eq!(
            answer("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nstarting\u{1b}[2J\nmore"),
            Some((503, "starting?[2J".to_owned()))
        );
        assert_eq!(answer("HTTP/1.0 200\r\n\r\n"), Some((200, String::new())));
        for broken in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 ok\r\n\r\n"] {
            assert_eq!(answer(broken), None, "{broken}");
        }
    }
}

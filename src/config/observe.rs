//! What can be seen of a process from outside: its probes and metrics, and its log.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

/// Where the worker serves probes and metrics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct HttpArgs {
    /// Where to serve /livez, /readyz and /metrics (Prometheus), such as `0.0.0.0:9090`. Without it
    /// they are not served
    #[arg(long, env, value_name = "ADDRESS:PORT", value_parser = address)]
    pub(crate) http_addr: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.trim()
        .parse()
        .map_err(|_error| "it is not an address with a port; write it as 0.0.0.0:9090")
}

/// The log, on standard error.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or directives such as
    /// `info,ses_reports=debug`
    #[arg(long, env, global = true, default_value = "info", value_name = "FILTER")]
    pub(crate) log_filter: String,

    /// How each log line is written
    #[arg(long, env, global = true, default_value = "text", value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// The forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

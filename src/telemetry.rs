//! The log, on standard error. Bodies, addresses and secrets have no place in it.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogArgs, LogFormat, Wrong};

/// Starts the log. The libraries below speak up from their warnings on; but sqlx would quote whole
/// statements that are slow, and parameters of `DATABASE_URL` that it does not know.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn init(args: &LogArgs) -> Result<(), Wrong> {
    let quiet = "aws_config=warn,aws_smithy_runtime=warn,aws_runtime=warn,hyper_util=warn,refinery_core=warn,sqlx=error,sqlx_postgres::options=off";
    let filter = EnvFilter::try_new(format!("{quiet},{}", args.log_filter))
        .map_err(|error| Wrong::new(format!("LOG_FILTER cannot be read: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

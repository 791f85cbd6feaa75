//! Which messages are accepted.

use clap::Args;

use super::Wrong;
use crate::trust::{self, Verify};

/// Which messages are accepted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustArgs {
    /// Accept messages of these SNS topics only, separated by commas; a message of any other topic
    /// becomes a dead letter. Without it, every topic is accepted
    #[arg(long, env, value_name = "ARN,…", value_delimiter = ',')]
    pub(crate) sns_topic_arns: Vec<String>,

    /// What happens to a message that has no valid signature of SNS
    #[arg(long, env, default_value = "off", value_name = "MODE")]
    pub(crate) verify_sns: Verify,

    /// For emulators and tests only: accept signing certificates from below this URL, whatever their
    /// issuer
    #[arg(long, env, value_name = "URL")]
    pub(crate) sns_cert_url_prefix: Option<String>,
}

impl TrustArgs {
    /// Checks what was given.
    ///
    /// # Errors
    /// One line that says what to change.
    pub(crate) fn check(&self) -> Result<trust::Settings, Wrong> {
        let topics = self.sns_topic_arns.iter().map(|arn| arn.trim()).map(|arn| {
            arn.parse().map_err(|error| Wrong::new(format!("SNS_TOPIC_ARNS: {arn:?} is {error}")))
        });
        let prefix = self.sns_cert_url_prefix.as_deref().map(str::trim);
        let emulator = prefix
            .map(|prefix| {
                prefix.parse().map_err(|error| {
                    Wrong::new(format!("SNS_CERT_URL_PREFIX cannot be {prefix:?}: {error}"))
                })
            })
            .transpose()?;
        Ok(trust::Settings {
            topics: topics.collect::<Result<_, _>>()?,
            verify: self.verify_sns,
            emulator,
        })
    }
}

//! How events are decoded.

use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::decode::{ClickLinks, ReportTags, Rules};

/// How events are decoded.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events")]
pub(crate) struct RulesArgs {
    /// The SES message tag that says what kind of mail it is
    #[arg(long, env, default_value = "report_type", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) report_type_tag: String,

    /// The SES message tag that names the customer
    #[arg(long, env, default_value = "user_id", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user_id_tag: String,

    /// The SES message tags that reports keep in their column `tags`, separated by commas: at most 10, each
    /// with its first value. Without it, none are kept there
    #[arg(long, env, value_name = "TAG,…")]
    pub(crate) report_tags: Option<ReportTags>,

    /// How much of the link of a click is stored, because links may hold credentials
    #[arg(long, env, default_value = "whole", value_name = "MODE")]
    pub(crate) click_links: ClickLinks,
}

impl RulesArgs {
    /// The rules for decode.
    #[must_use]
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            report_type_tag: self.report_type_tag.clone(),
            user_id_tag: self.user_id_tag.clone(),
            report_tags: self.report_tags.clone().unwrap_or_default(),
            click_links: self.click_links,
            machines: Arc::default(),
        }
    }
}

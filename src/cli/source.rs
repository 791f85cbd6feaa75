//! What the commands have in common that write the events of another source than the queue.

use clap::Args;

use crate::config::{DatabaseArgs, RulesArgs};

#[derive(Debug, Clone, Args)]
pub(super) struct SourceArgs {
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,

    /// Print the totals as one JSON object, whose keys docs/operations.md lists
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    pub(super) database: DatabaseArgs,

    #[command(flatten)]
    pub(super) rules: RulesArgs,
}

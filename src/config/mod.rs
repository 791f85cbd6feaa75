//! The settings that several commands share: flags with environment variables of the same name, checked
//! once. Flags of a single command are in its file in `cli/`.

mod database;
mod events;
mod observe;
mod trust;
mod worker;

pub(crate) use database::connect_options;
pub(crate) use database::{Database, DatabaseArgs};
pub(crate) use events::RulesArgs;
pub(crate) use observe::{HttpArgs, LogArgs, LogFormat};
pub(crate) use trust::TrustArgs;
pub(crate) use worker::WorkerArgs;

/// A setting that is missing or wrong: one line that says what to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(String);

impl Wrong {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

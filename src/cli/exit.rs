//! Exit codes, and the line that goes with them.

use crate::config::Wrong;
use crate::schema::Error;

/// Done.
pub(super) const DONE: u8 = 0;
/// Failed.
pub(super) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(super) const USAGE: u8 = 2;
/// Migrations are pending (`migrate status --check` only).
pub(super) const PENDING: u8 = 3;
/// The history is not that of these migrations.
pub(super) const DIVERGENT: u8 = 4;
/// The schema is not what its migrations create.
pub(super) const DRIFT: u8 = 5;
/// A lock could not be obtained.
pub(super) const LOCKED: u8 = 6;
/// The linter objects.
pub(super) const LINT: u8 = 7;
/// The database was migrated by a newer version.
pub(super) const NEWER: u8 = 8;

/// The codes of `ses-reports migrate`, for its help.
pub(super) const MIGRATE_HELP: &str = "Exit codes: 0 done or current; 1 failed; 2 wrong usage or configuration; 3 pending (status --check); 4 divergent or missing; 5 drift or an invalid index; 6 a lock could not be obtained; 7 the linter reports a statement (plan); 8 the database is newer than this program.";

/// A failure and its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) line: String,
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self { code: USAGE, line: wrong.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: code(&error), line: error.to_string() }
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Migration { source, .. } => code(source),
        Error::NoSuchVersion { .. } | Error::Pooler | Error::NoShadow => USAGE,
        Error::Divergent(_) | Error::Missing(_) => DIVERGENT,
        Error::InvalidIndex(_) => DRIFT,
        Error::Locked { .. } | Error::Blocked => LOCKED,
        Error::Newer { .. } => NEWER,
        Error::Older { .. }
        | Error::Failed(_)
        | Error::WouldLose(_)
        | Error::Encoding(_)
        | Error::Unreachable
        | Error::Grants { .. }
        | Error::Setting { .. }
        | Error::Database(_) => FAILED,
    }
}

pub(super) fn failed(line: impl std::fmt::Display) -> Failure {
    Failure { code: FAILED, line: line.to_string() }
}

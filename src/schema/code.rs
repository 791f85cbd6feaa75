//! Migrations that go on in Rust where SQL is not enough.
//!
//! A file says so in its header (`-- migrate: code`), and its function stands here under its name.
//! The function runs after the file's SQL: in the same transaction, or, for a file without one, as
//! often as it takes until it succeeds, so it must pass over what is done.

use sqlx::PgConnection;

use super::{Error, Migration, Schema};

/// Runs the function of a migration.
pub(super) async fn run(
    _connection: &mut PgConnection,
    _schema: &Schema,
    migration: &Migration,
) -> Result<(), Error> {
    Err(Error::Failed(format!("{} asks for code that this binary does not have", migration.stem)))
}

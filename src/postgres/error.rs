//! PostgreSQL's errors: their SQLSTATE, and a line for people.

use crate::causes;

/// The SQLSTATEs that something here depends on, under the names that PostgreSQL gives them.
pub(crate) mod sqlstate {
    /// Something that the server, or a proxy in front of it, does not have.
    pub(crate) const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// A message of the protocol that does not fit; also a prepared statement of that name which takes
    /// other parameters.
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    /// A CHECK constraint; also a row for which a partitioned table has no partition.
    pub(crate) const CHECK_VIOLATION: &str = "23514";
    /// The statement runs outside of a transaction only.
    pub(crate) const ACTIVE_SQL_TRANSACTION: &str = "25001";
    /// A replica, or a session that was set to read only.
    pub(crate) const READ_ONLY_SQL_TRANSACTION: &str = "25006";
    /// A prepared statement that is not there.
    pub(crate) const INVALID_SQL_STATEMENT_NAME: &str = "26000";
    /// A right is missing.
    pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// A prepared statement of that name is there already.
    pub(crate) const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
    /// `lock_timeout`, or `NOWAIT`.
    pub(crate) const LOCK_NOT_AVAILABLE: &str = "55P03";
    /// `statement_timeout`, or a person cancelled the statement.
    pub(crate) const QUERY_CANCELED: &str = "57014";
}

/// Whether an error is PostgreSQL's own, with this SQLSTATE.
#[must_use]
pub(crate) fn has_sqlstate(error: &sqlx::Error, sqlstate: &str) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == sqlstate)
}

/// One line that says what went wrong, without values, passwords or addresses.
#[must_use]
pub(crate) fn explain(error: &sqlx::Error) -> String {
    if let Some(database) = error.as_database_error() {
        let code = database.code().unwrap_or_default();
        return format!("{} (SQLSTATE {code})", database.message());
    }
    causes::in_one_line(error)
}

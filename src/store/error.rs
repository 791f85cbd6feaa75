//! What PostgreSQL's errors mean to a worker.

use crate::postgres::explain;

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The values were refused; the same batch will be refused again. Someone in it is to blame.
    #[error("PostgreSQL refuses the values")]
    Refused(Refusal),
    /// A partition that we knew is gone; it must be asked for again.
    #[error("a partition is missing")]
    MissingPartition,
    /// A month is no longer kept: the batch must be laid out again without it.
    #[error("a month is no longer kept")]
    Expired,
    /// Another transaction wrote the same rows in another order; the same batch will be written
    /// when it is tried again.
    #[error("another transaction was in the way")]
    Conflict,
    /// A prepared statement is not there, or is another: a pooler has put another server in its
    /// place. Only an operator can mend that.
    #[error("{}: {POOLER}", explain(.0))]
    Pooler(#[source] sqlx::Error),
    /// What was to be written is another's by now: a later run has taken the replay over, or another
    /// retry holds the dead letter. Nothing is written.
    #[error("another run has taken it over")]
    TakenOver,
    /// An earlier try has committed it, though its answer was lost. Nothing is written twice.
    #[error("it is committed already")]
    Already,
    /// Anything else: the same batch may well be written later, if only after an operator has
    /// mended something.
    #[error("{}", explain(.0))]
    Unavailable(#[source] sqlx::Error),
    /// No answer in time.
    #[error("no answer from PostgreSQL within {0} s")]
    Timeout(u64),
}

/// What to do about [`Error::Pooler`].
const POOLER: &str = "a pooler loses prepared statements: set PREPARED_STATEMENTS=false";

impl Error {
    /// Whether waiting helps: neither a right nor a table that is missing comes by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                !error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(
                    |code| ["28", "3D", "3F", "42"].iter().any(|class| code.starts_with(class)),
                )
            }
            Self::Conflict | Self::Expired | Self::MissingPartition | Self::Timeout(_) => true,
            Self::Refused(_) | Self::TakenOver | Self::Already | Self::Pooler(_) => false,
        }
    }

    /// What keeps a worker from writing, for whoever asks from outside.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        if matches!(self, Self::Pooler(_)) { POOLER } else { "PostgreSQL does not take writes" }
    }
}

/// The SQLSTATE and the message of a refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Five characters, such as `22P05`.
    pub code: String,
    /// PostgreSQL's message. It may quote values: it is stored with the dead letter, never logged.
    pub message: String,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Encode(cause) = &error {
            return Self::Refused(Refusal {
                code: "client".to_owned(),
                message: cause.to_string(),
            });
        }
        let Some(database) = error.as_database_error() else {
            return Self::Unavailable(error);
        };
        let code = database.code().unwrap_or_default().into_owned();
        // "no partition of relation … found for row" shares its SQLSTATE with CHECK constraints,
        // but names no constraint.
        if code == "23514" && database.constraint().is_none() {
            return Self::MissingPartition;
        }
        // Undefined, or defined by another client. A statement of the same name that takes other
        // parameters is a protocol violation.
        if code == "26000"
            || code == "42P05"
            || (code == "08P01" && database.message().contains("prepared statement"))
        {
            return Self::Pooler(error);
        }
        // 40 transaction rollback: serialization failure, deadlock.
        if code.starts_with("40") {
            return Self::Conflict;
        }
        // 22 data exception, 23 integrity violation, 54 program limit exceeded.
        if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") {
            return Self::Refused(Refusal { code, message: database.message().to_owned() });
        }
        Self::Unavailable(error)
    }
}

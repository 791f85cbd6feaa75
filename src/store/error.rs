//! What PostgreSQL's errors mean to a worker.

use std::fmt;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use crate::postgres::{explain, sqlstate as codes};

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The values were refused; the same batch will be refused again. One of its rows is to blame.
    #[error("PostgreSQL refuses the values (SQLSTATE {})", .0.code)]
    Refused(Refusal),
    /// A constraint refuses the values. The schema has none that an event could violate: it is an
    /// operator's, or the schema is not what its migrations make.
    #[error("{0}")]
    Constraint(Violation),
    /// A lock was not available in time. The session that holds it concerns the rows or the
    /// months of this batch, not others.
    #[error("a lock was not available in time")]
    Locked,
    /// A partition that we knew is gone; it must be asked for again.
    #[error("a partition is missing")]
    MissingPartition,
    /// A month is no longer kept: the batch must be laid out again without it.
    #[error("a month is no longer kept")]
    Expired,
    /// Another transaction wrote the same rows in another order; the same batch will be written
    /// when it is tried again.
    #[error("another transaction conflicted")]
    Conflict,
    /// A prepared statement is not there, or is another: a pooler has put another server in its
    /// place. Only an operator can repair that.
    #[error("{}: {POOLER}", explain(.0))]
    Pooler(#[source] sqlx::Error),
    /// What was to be written now belongs to another process: a later run has taken the replay over, or another
    /// retry holds the dead letter. Nothing is written.
    #[error("another run has taken it over")]
    TakenOver,
    /// An earlier try has committed it, though its answer was lost. Nothing is written twice.
    #[error("it is committed already")]
    Already,
    /// Anything else: the same batch may well be written later, if only after an operator has
    /// repaired something.
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
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                !error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| {
                    ["28", "3D", "3F", "42"].iter().any(|class| code.starts_with(class))
                })
            }
            Self::Conflict
            | Self::Expired
            | Self::MissingPartition
            | Self::Locked
            | Self::Timeout(_) => true,
            Self::Refused(_)
            | Self::Constraint(_)
            | Self::TakenOver
            | Self::Already
            | Self::Pooler(_) => false,
        }
    }

    /// Whether it took longer than it may.
    #[must_use]
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            // Query canceled: by `statement_timeout`.
            Self::Unavailable(error) => code_of(error).as_deref() == Some(codes::QUERY_CANCELED),
            _ => false,
        }
    }

    /// The refusal that it is if one bad value is the cause, though PostgreSQL does not say so: a statement
    /// that takes too long or too much memory, an internal error, a server process that crashes. `None` for
    /// errors that no value causes.
    #[must_use]
    pub(crate) fn suspected_refusal(&self) -> Option<Refusal> {
        match self {
            Self::Timeout(_) => {
                Some(Refusal { code: codes::QUERY_CANCELED.to_owned(), message: self.to_string() })
            }
            Self::Unavailable(error) => {
                // A connection that breaks has no SQLSTATE of the server.
                let code = code_of(error).unwrap_or_else(|| "08006".to_owned());
                // A full disk (53100) accepts no message, though a small one may still fit.
                let may_be = ["08006", codes::QUERY_CANCELED, "57P02"].contains(&&*code)
                    || (code != "53100"
                        && ["53", "XX", "58"].iter().any(|class| code.starts_with(class)));
                may_be.then(|| Refusal { code, message: explain(error) })
            }
            _ => None,
        }
    }

    /// Whether the connection that it came over is to be given up.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Pooler(_) | Self::Unavailable(_))
    }

    /// What keeps a worker from writing, for those who ask from outside. Of a refusal it repeats
    /// PostgreSQL's own words, so it is for errors of rows that hold nothing of a message.
    #[must_use]
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Pooler(_) => POOLER.to_owned(),
            Self::Refused(Refusal { code, message }) => {
                format!("PostgreSQL refuses every event: {message} (SQLSTATE {code})")
            }
            Self::Constraint(violation) => format!("PostgreSQL refuses every event: {violation}"),
            other => format!("PostgreSQL does not accept writes: {other}"),
        }
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The SQLSTATE and the message of a refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Five characters, such as `22P05`.
    pub(crate) code: String,
    /// PostgreSQL's message. It may quote values: it is stored with the dead letter, never logged.
    pub(crate) message: String,
}

/// A violated constraint, without the values that violate it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Five characters, such as `23502`.
    pub(crate) code: String,
    /// The constraint or, for a `NOT NULL`, the column.
    pub(crate) constraint: Option<String>,
    /// The table, a partition perhaps.
    pub(crate) table: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, constraint, table } = self;
        let (constraint, table) = (constraint.as_deref(), table.as_deref());
        write!(
            f,
            "constraint {} of table {} refuses rows (SQLSTATE {code}); it is not part of this schema",
            constraint.unwrap_or("(unnamed)"),
            table.unwrap_or("(unnamed)")
        )
    }
}

impl Violation {
    fn of(code: String, database: &dyn DatabaseError) -> Self {
        let column = || database.try_downcast_ref::<PgDatabaseError>()?.column();
        Self {
            code,
            constraint: database.constraint().or_else(column).map(str::to_owned),
            table: database.table().map(str::to_owned),
        }
    }
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
        // but names no constraint. The table may be another one, which a trigger writes to.
        if code == codes::CHECK_VIOLATION
            && database.constraint().is_none()
            && database.table() == Some("aws_report_detail")
        {
            return Self::MissingPartition;
        }
        if code == codes::LOCK_NOT_AVAILABLE {
            return Self::Locked;
        }
        // Undefined, or defined by another client. A statement of the same name that takes other
        // parameters is a protocol violation, which PostgreSQL finds when they are bound; messages are in
        // the server's language, and what a pooler says by itself names no function of PostgreSQL.
        let routine = database.try_downcast_ref::<PgDatabaseError>().and_then(|pg| pg.routine());
        if code == codes::INVALID_SQL_STATEMENT_NAME
            || code == codes::DUPLICATE_PREPARED_STATEMENT
            || (code == codes::PROTOCOL_VIOLATION && routine == Some("exec_bind_message"))
        {
            return Self::Pooler(error);
        }
        // 40 transaction rollback: serialization failure, deadlock.
        if code.starts_with("40") {
            return Self::Conflict;
        }
        // 23 integrity constraint violation.
        if code.starts_with("23") {
            return Self::Constraint(Violation::of(code, database));
        }
        // 22 data exception, 54 program limit exceeded.
        if code.starts_with("22") || code.starts_with("54") {
            return Self::Refused(Refusal { code, message: database.message().to_owned() });
        }
        Self::Unavailable(error)
    }
}

//! Connecting as an operator does: to a schema that is as new as this program, and saying
//! clearly when a right is missing.

use super::exit::{Failure, failed};
use crate::config::Database;
use crate::schema::Schema;
use crate::store::{Error, Store};

/// Connects, if the schema is new enough.
pub(super) async fn connect(database: Database, connections: u32) -> Result<Store, Failure> {
    let schema = Schema::new(database.options.clone(), database.schema.clone());
    Box::pin(schema.require()).await.map_err(|error| failed(format!("PostgreSQL: {error}")))?;
    Box::pin(Store::connect(
        database.options,
        database.schema,
        database.timeout,
        connections,
        database.prepared_statements,
    ))
    .await
    .map_err(|error| refused(&error))
}

/// One line that says what to change.
pub(super) fn refused(error: &Error) -> Failure {
    let lacks_right = matches!(error, Error::Unavailable(cause)
        if cause.as_database_error().is_some_and(|cause| cause.code().as_deref() == Some("42501")));
    failed(match error {
        _ if lacks_right => format!(
            "PostgreSQL: {error}: connect as the schema's owner, or as the role of `ses-reports grants --operator`"
        ),
        Error::TakenOver => "another run of the same replay has taken over".to_owned(),
        // It may quote the values.
        Error::Refused(refusal) => {
            format!("PostgreSQL refuses the values (SQLSTATE {})", refusal.code)
        }
        other => format!("PostgreSQL: {other}"),
    })
}

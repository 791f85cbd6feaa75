//! Migrations that continue in Rust where SQL is not enough.
//!
//! A file says so in its header (`-- migrate: code`), and this file has its function under its name.
//! The function runs after the file's SQL: in the same transaction, or, for a file without one, as
//! often as it takes until it succeeds, so it must skip what is done.

use sqlx::PgConnection;

use super::statement::run_alone;
use super::{Error, Migration, Schema};

/// Runs the function of a migration.
pub(super) async fn run(
    connection: &mut PgConnection,
    schema: &Schema,
    migration: &Migration,
) -> Result<(), Error> {
    match &*migration.stem {
        "V0011__detail_times" => index_partitions(connection, schema, "timestamp_idx").await,
        stem => Err(Error::Failed(format!("{stem} asks for code that this program does not have"))),
    }
}

/// Builds an index of the detail table, which exists only on the parent, on every
/// partition, without blocking writers: for a partitioned table as a whole PostgreSQL does that only
/// under a lock that blocks them. Partitions that are created meanwhile get theirs from the parent.
async fn index_partitions(
    connection: &mut PgConnection,
    schema: &Schema,
    suffix: &str,
) -> Result<(), Error> {
    let parent = format!("aws_report_detail_{suffix}");
    let partitions: Vec<(String, String)> = sqlx::query_as(
        "-- ses-reports: find partitions without an index
        SELECT relname::text, substring(pg_get_indexdef(to_regclass($1)) FROM ' USING .*$')
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = to_regclass('aws_report_detail') AND NOT inhdetachpending
            AND NOT EXISTS (
                SELECT FROM pg_inherits AS of_index JOIN pg_index ON indexrelid = of_index.inhrelid
                WHERE of_index.inhparent = to_regclass($1) AND indrelid = pg_class.oid)
        ORDER BY relname",
    )
    .bind(&parent)
    .fetch_all(&mut *connection)
    .await?;
    for (index_number, (partition, definition)) in partitions.iter().enumerate() {
        let index = format!("{partition}_{suffix}");
        tracing::info!("building {index} ({} of {})", index_number + 1, partitions.len());
        let build = format!(
            "-- ses-reports: build an index of a partition
            CREATE INDEX CONCURRENTLY IF NOT EXISTS \"{index}\" ON \"{partition}\"{definition}"
        );
        run_alone(connection, schema, &build).await?;
        let attach = format!(
            "-- ses-reports: attach an index of a partition
            ALTER INDEX \"{parent}\" ATTACH PARTITION \"{index}\""
        );
        run_alone(connection, schema, &attach).await?;
    }
    Ok(())
}

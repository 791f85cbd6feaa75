//! Makes room for the tables of ses-reports where they were created by hand.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::grants::OBJECTS;
use super::{Error, Schema, history, session};
use crate::postgres::SchemaName;

/// The given tables, and the columns of each that must be there.
const TABLES: [(&str, &[&str]); 3] = [
    ("aws_report_type", &["id", "report_name"]),
    (
        "aws_reports",
        &[
            "id",
            "report_type",
            "user_id",
            "user_email",
            "message_id",
            "source_email",
            "subject",
            "bounce_at",
            "complaint_at",
            "delivery_at",
            "send_at",
            "reject_at",
            "open_at",
            "click_at",
            "rendering_failure_at",
            "delivery_delay_at",
            "subscription_at",
            "created_at",
            "updated_at",
        ],
    ),
    (
        "aws_report_detail",
        &[
            "id",
            "notification_message_id",
            "report_id",
            "event_type",
            "message_id",
            "timestamp",
            "from",
            "to",
            "subject",
            "other_info",
        ],
    ),
];

impl Schema {
    /// Finds the three tables, checks their columns, moves them out of our schema if they are in it,
    /// and migrates. Returns the schema that holds them now; no row is changed.
    ///
    /// # Errors
    /// [`Error::Failed`] that says what to change, for a schema that ses-reports owns already, or tables that are
    /// not the given ones.
    pub(crate) async fn baseline(&self, from: &SchemaName) -> Result<SchemaName, Error> {
        let mut connection = session::open(&self.options, &self.name).await?;
        let legacy = self.make_room(&mut connection, from).await;
        // Closing gives the lock back, which `up` takes again.
        let _ = connection.close().await;
        let legacy = legacy?;
        self.up(None).await?;
        Ok(legacy)
    }

    async fn make_room(
        &self,
        connection: &mut PgConnection,
        from: &SchemaName,
    ) -> Result<SchemaName, Error> {
        let moved =
            SchemaName::new(&format!("{}_legacy", self.name.as_str())).map_err(Error::Failed)?;
        let is_ours = !history::read(connection, &self.name).await?.is_empty();
        if is_ours {
            // An interrupted baseline continues with what it had moved, or had left in place.
            let hand_made = if from == &self.name { &moved } else { from };
            check(connection, hand_made).await.map_err(|error| {
                Error::Failed(format!(
                    "schema {} is managed by ses-reports already, so there is nothing to adopt: {error}",
                    self.name.as_str()
                ))
            })?;
            return Ok(hand_made.clone());
        }
        check(connection, from).await?;
        if from != &self.name {
            return Ok(from.clone());
        }
        let taken = taken(connection, from).await?;
        if !taken.is_empty() {
            return Err(Error::Failed(format!(
                "schema {} holds {}, names that ses-reports needs: move them elsewhere first",
                from.as_str(),
                taken.join(", ")
            )));
        }
        let trees = trees(connection, from).await?;
        self.claim(connection).await?;
        let mut transaction = connection.begin().await?;
        let target = moved.quoted();
        let all = trees.iter().map(|table| format!("ALTER TABLE {table} SET SCHEMA {target}"));
        let sql = format!(
            "-- ses-reports: move tables to another schema\nCREATE SCHEMA {target}; {}",
            all.collect::<Vec<_>>().join("; ")
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(moved)
    }
}

/// Checks that the given tables and columns are there.
async fn check(connection: &mut PgConnection, hand_made: &SchemaName) -> Result<(), Error> {
    let mut missing = Vec::new();
    for (table, columns) in TABLES {
        let there: Vec<String> = sqlx::query_scalar(
            "-- ses-reports: read the columns of a table
            SELECT attname::text FROM pg_attribute
            WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        )
        .bind(format!("{}.{table}", hand_made.quoted()))
        .fetch_all(&mut *connection)
        .await?;
        if there.is_empty() {
            missing.push(format!("table {table}"));
            continue;
        }
        let absent = columns.iter().filter(|column| !there.iter().any(|there| there == *column));
        missing.extend(absent.map(|column| format!("column {table}.{column}")));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "schema {} lacks {}: add what is missing (an empty table or column is enough), or name the schema of the tables with --from",
        hand_made.as_str(),
        missing.join(", ")
    )))
}

/// The three tables, each with its partitions if it has any, qualified.
async fn trees(
    connection: &mut PgConnection,
    hand_made: &SchemaName,
) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    for (table, _) in TABLES {
        let tree: Vec<String> = sqlx::query_scalar(
            "-- ses-reports: find the partitions of a table
            SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid = to_regclass($1)
                OR pg_class.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE level > 0)",
        )
        .bind(format!("{}.{table}", hand_made.quoted()))
        .fetch_all(&mut *connection)
        .await?;
        found.extend(tree);
    }
    Ok(found)
}

/// What else is there under a name that our migrations need.
async fn taken(
    connection: &mut PgConnection,
    hand_made: &SchemaName,
) -> Result<Vec<String>, sqlx::Error> {
    let given = TABLES.map(|(table, _)| table);
    let names: Vec<&str> = OBJECTS
        .iter()
        .map(|object| object.name.split('(').next().unwrap_or_default())
        .filter(|name| !given.contains(name))
        .collect();
    sqlx::query_scalar(
        "-- ses-reports: find names that are taken
        SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname = ANY ($2)
        UNION SELECT proname::text FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND proname = ANY ($2)
        ORDER BY 1",
    )
    .bind(hand_made.quoted())
    .bind(names)
    .fetch_all(connection)
    .await
}

//! What `up` would do: the exact SQL, found out by applying it to a shadow database.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::lint::{Finding, lint};
use super::shadow::Shadow;
use super::sql::{self, Concurrent};
use super::status::MigrationState;
use super::{Error, Migration, Schema, code, session};
use crate::postgres;

/// What `up` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    /// The schema.
    pub(crate) schema: String,
    /// The version that it is at.
    pub(crate) version: u32,
    /// Whether it was tried on a shadow database; else locks and rewrites are not known.
    pub(crate) tried: bool,
    /// In order.
    pub(crate) migrations: Vec<Planned>,
}

/// What one migration would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Planned {
    /// Its file name without `.sql`.
    pub(crate) name: String,
    /// Whether it is one transaction, or each statement runs by itself.
    pub(crate) transaction: bool,
    /// Whether a function of the program follows the SQL.
    pub(crate) code: bool,
    /// In order.
    pub(crate) statements: Vec<Step>,
    /// What the linter says.
    pub(crate) lint: Vec<Finding>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// As it is sent.
    pub(crate) sql: String,
    /// The locks that it takes on what was there before the migration, the strongest of each.
    pub(crate) locks: Vec<Lock>,
    /// Tables that it rewrites as a whole.
    pub(crate) rewrites: Vec<String>,
}

/// A lock on a table, an index or a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lock {
    /// Which.
    pub(crate) relation: String,
    /// As PostgreSQL names it: `AccessExclusiveLock`. See its manual, section "Explicit Locking".
    pub(crate) mode: String,
    /// Whether readers or writers wait behind it.
    pub(crate) blocks: Option<&'static str>,
    /// The size of the live table, partitions and indexes included, in bytes.
    pub(crate) bytes: Option<i64>,
}

/// The modes of locks, the weakest first.
const MODES: [(&str, Option<&str>); 8] = [
    ("AccessShareLock", None),
    ("RowShareLock", None),
    ("RowExclusiveLock", None),
    ("ShareUpdateExclusiveLock", None),
    ("ShareLock", Some("writers")),
    ("ShareRowExclusiveLock", Some("writers")),
    ("ExclusiveLock", Some("writers")),
    ("AccessExclusiveLock", Some("readers and writers")),
];

impl Plan {
    /// What the linter says about all of it.
    #[must_use]
    pub(crate) fn findings(&self) -> usize {
        self.migrations.iter().map(|migration| migration.lint.len()).sum()
    }
}

impl Schema {
    /// Tries what is pending on a shadow database and returns what they do. The live database is
    /// only read.
    ///
    /// # Errors
    /// What `up` would fail with, and a shadow that cannot be reached. Without the right to create
    /// one the plan is the SQL alone.
    pub(crate) async fn plan(&self, to: Option<u32>) -> Result<Plan, Error> {
        let status = self.status().await?;
        status.check_history()?;
        let to = to.unwrap_or_else(|| self.newest());
        if !(1..=self.newest()).contains(&to) {
            return Err(Error::NoSuchVersion { version: to, newest: self.newest() });
        }
        let pending: Vec<&Migration> = self
            .migrations
            .iter()
            .filter(|migration| {
                migration.version <= to
                    && status.migrations.iter().any(|line| {
                        line.version == migration.version && line.state == MigrationState::Pending
                    })
            })
            .collect();
        let mut plan = Plan {
            schema: status.schema,
            version: status.version,
            tried: !pending.is_empty(),
            migrations: Vec::new(),
        };
        if pending.is_empty() {
            return Ok(plan);
        }
        match Shadow::create(self).await {
            Ok(shadow) => {
                let tried = try_all(&shadow, status.version, &pending).await;
                shadow.drop().await?;
                plan.migrations = tried?;
                self.add_sizes(&mut plan).await?;
            }
            Err(Error::NoShadow) => {
                plan.tried = false;
                for migration in pending {
                    let steps = sql::statements(&migration.up).map_err(Error::Failed)?;
                    let unknown = |sql: &str| Step {
                        sql: sql.to_owned(),
                        locks: Vec::new(),
                        rewrites: Vec::new(),
                    };
                    plan.migrations
                        .push(planned(migration, steps.into_iter().map(unknown).collect()));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(plan)
    }

    /// Adds how big the live tables are.
    async fn add_sizes(&self, plan: &mut Plan) -> Result<(), Error> {
        let mut connection = session::open_to_read(&self.options).await?;
        let mut transaction = postgres::begin_read_only(&mut connection).await?;
        let sizes: Vec<(String, i64)> = sqlx::query_as(
            "-- ses-reports: measure the tables
            SELECT c.relname::text, coalesce(sum(pg_total_relation_size(t.relid)), pg_total_relation_size(c.oid))::bigint
            FROM pg_class AS c LEFT JOIN pg_partition_tree(c.oid) AS t ON true
            WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') GROUP BY c.oid",
        )
        .persistent(false)
        .bind(self.name.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        let _ = connection.close().await;
        let sizes: BTreeMap<String, i64> = sizes.into_iter().collect();
        let locks = plan.migrations.iter_mut().flat_map(|migration| &mut migration.statements);
        for lock in locks.flat_map(|step| &mut step.locks) {
            lock.bytes = sizes.get(&lock.relation).copied();
        }
        Ok(())
    }
}

fn planned(migration: &Migration, statements: Vec<Step>) -> Planned {
    Planned {
        name: migration.stem.to_string(),
        transaction: !migration.is_without_transaction(),
        code: sql::has_code(&migration.up),
        statements,
        lint: lint(&migration.up),
    }
}

async fn try_all(
    shadow: &Shadow,
    version: u32,
    pending: &[&Migration],
) -> Result<Vec<Planned>, Error> {
    shadow.migrate(version).await?;
    if version == 0 {
        let mut connection = shadow.connect().await?;
        let schema = shadow.schema.name.quoted();
        sqlx::raw_sql(AssertSqlSafe(format!(
            "-- ses-reports: create a shadow schema\nCREATE SCHEMA {schema}"
        )))
        .execute(&mut connection)
        .await?;
        connection.close().await?;
    }
    let mut connection = shadow.connect().await?;
    let mut done = Vec::new();
    for migration in pending {
        let tried = try_one(&mut connection, shadow, migration).await.map_err(|error| {
            Error::Migration {
                name: migration.stem.to_string(),
                applied: Vec::new(),
                source: Box::new(error),
            }
        })?;
        done.push(planned(migration, tried));
    }
    connection.close().await?;
    Ok(done)
}

/// Runs one migration statement by statement and looks after each at what the session holds.
async fn try_one(
    connection: &mut PgConnection,
    shadow: &Shadow,
    migration: &Migration,
) -> Result<Vec<Step>, Error> {
    let mut before = relations(connection, shadow).await?;
    let statements = sql::statements(&migration.up).map_err(Error::Failed)?;
    let mut steps = Vec::new();
    if migration.is_without_transaction() {
        for statement in statements {
            if let Some(index) = sql::concurrent_index(statement) {
                steps.push(try_concurrent(connection, statement, &index).await?);
                continue;
            }
            steps.push(try_alone(connection, statement, &mut before).await?);
        }
        if sql::has_code(&migration.up) {
            code::run(connection, &shadow.schema, migration).await?;
        }
        return Ok(steps);
    }
    let mut transaction = connection.begin().await?;
    let mut held = BTreeSet::new();
    for statement in statements {
        steps.push(try_statement(&mut transaction, statement, &mut before, &mut held).await?);
    }
    if sql::has_code(&migration.up) {
        code::run(&mut transaction, &shadow.schema, migration).await?;
    }
    transaction.commit().await?;
    Ok(steps)
}

/// In a transaction, to see its locks; outside of one if it must be.
async fn try_alone(
    connection: &mut PgConnection,
    statement: &str,
    before: &mut BTreeMap<i64, Relation>,
) -> Result<Step, Error> {
    let mut transaction = connection.begin().await?;
    match try_statement(&mut transaction, statement, before, &mut BTreeSet::new()).await {
        Err(Error::Database(error)) if session::needs_no_transaction(&error) => {
            transaction.rollback().await?;
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
            Ok(Step { sql: statement.to_owned(), locks: Vec::new(), rewrites: Vec::new() })
        }
        step => {
            let step = step?;
            transaction.commit().await?;
            Ok(step)
        }
    }
}

async fn try_statement(
    connection: &mut PgConnection,
    statement: &str,
    before: &mut BTreeMap<i64, Relation>,
    held: &mut BTreeSet<(String, String)>,
) -> Result<Step, Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    let now: Vec<(i64, String, Option<i64>)> = sqlx::query_as(
        "-- ses-reports: read the locks of a statement
        SELECT relation::bigint, mode, nullif(pg_relation_filenode(relation), 0)::bigint
        FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'",
    )
    .fetch_all(connection)
    .await?;
    let (mut strongest, mut rewrites) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    for (oid, mode, file) in now {
        // No session waits for what the migration itself has created. A table that it dropped has no file.
        let Some(relation) = before.get_mut(&oid) else { continue };
        if file.is_some() && std::mem::replace(&mut relation.file, file) != file {
            rewrites.insert(relation.name.clone());
        }
        if held.insert((relation.name.clone(), mode.clone())) {
            let rank = MODES.iter().position(|(name, _)| *name == mode).unwrap_or_default();
            let strongest = strongest.entry(relation.name.clone()).or_default();
            *strongest = rank.max(*strongest);
        }
    }
    let locks = strongest
        .into_iter()
        .map(|(relation, rank)| Lock {
            relation,
            mode: MODES[rank].0.to_owned(),
            blocks: MODES[rank].1,
            bytes: None,
        })
        .collect();
    Ok(Step { sql: statement.to_owned(), locks, rewrites: rewrites.into_iter().collect() })
}

/// Its locks are gone when it ends. PostgreSQL's manual says which it takes on the table.
async fn try_concurrent(
    connection: &mut PgConnection,
    statement: &str,
    index: &Concurrent,
) -> Result<Step, Error> {
    let (Concurrent::Builds(name) | Concurrent::Drops(name)) = index;
    let dropped = table_of(connection, name).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    let table = table_of(connection, name).await?.or(dropped);
    let lock = |relation| Lock {
        relation,
        mode: "ShareUpdateExclusiveLock".to_owned(),
        blocks: None,
        bytes: None,
    };
    Ok(Step {
        sql: statement.to_owned(),
        locks: table.into_iter().map(lock).collect(),
        rewrites: Vec::new(),
    })
}

async fn table_of(connection: &mut PgConnection, index: &str) -> Result<Option<String>, Error> {
    let sql = "-- ses-reports: find the table of an index
        SELECT relname::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE indexrelid = to_regclass(quote_ident($1))";
    Ok(sqlx::query_scalar(sql).bind(index).fetch_optional(connection).await?)
}

/// A table or view that was there before, by the name that it had then.
struct Relation {
    name: String,
    file: Option<i64>,
}

/// What there is in the shadow, by its number: names may change.
async fn relations(
    connection: &mut PgConnection,
    shadow: &Shadow,
) -> Result<BTreeMap<i64, Relation>, Error> {
    let found: Vec<(i64, String, Option<i64>)> = sqlx::query_as(
        "-- ses-reports: list tables and views
        SELECT oid::bigint, relname::text, nullif(pg_relation_filenode(oid), 0)::bigint FROM pg_class
        WHERE relnamespace = to_regnamespace($1) AND relkind NOT IN ('i', 'I')",
    )
    .bind(shadow.schema.name.as_str())
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(|(oid, name, file)| (oid, Relation { name, file })).collect())
}

//! PostgreSQL: a cluster of the benchmark's own, and a database for each run.

use std::time::Duration;

use anyhow::Result;
use ses_reports::batch::month_of;
use ses_reports::schema::grants::{self, RoleName, Roles};
use ses_reports::schema::partitions::months_later;
use ses_reports::schema::{Schema, SchemaName};
use ses_reports::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, query, query_scalar, raw_sql,
};
use time::OffsetDateTime;

use super::cluster::{Cluster, TO_MEASURE};
use super::process;

/// Migrated once, and copied for each run.
const TEMPLATE: &str = "ingest_template";
const RUN: &str = "ingest_run";
const WORKER: &str = "ses_reports_worker";

/// The cluster with the template in it.
pub struct Server {
    cluster: Cluster,
    pid: i32,
    pub schema: SchemaName,
    pub version: String,
}

impl Server {
    pub async fn start(now: OffsetDateTime) -> Result<Self> {
        let cluster = Cluster::create(None)?;
        // When a row was committed is how latency is found out.
        cluster.start(&[TO_MEASURE, &["track_commit_timestamp=on"]].concat())?;
        let schema = SchemaName::new("aws_reports").map_err(anyhow::Error::msg)?;
        let pid = cluster.pid()?;
        let mut server = Self { cluster, pid, schema, version: String::new() };
        let mut admin = server.admin().await?;
        server.version = query_scalar("SHOW server_version").fetch_one(&mut admin).await?;
        raw_sql(AssertSqlSafe(format!("CREATE ROLE {WORKER} LOGIN"))).execute(&mut admin).await?;
        raw_sql(AssertSqlSafe(format!("CREATE DATABASE {TEMPLATE}"))).execute(&mut admin).await?;
        server.prepare(&server.database(TEMPLATE), now).await?;
        Ok(server)
    }

    /// As an operator deploys it: migrated, with a plain role for the worker.
    async fn prepare(&self, database: &Database, now: OffsetDateTime) -> Result<()> {
        Schema::new(database.options.clone(), self.schema.clone()).up(None).await?;
        let role = |name| RoleName::new(name).map_err(anyhow::Error::msg);
        let roles =
            Roles { owner: role("postgres")?, worker: role(WORKER)?, reader: None, sender: None };
        let mut connection = database.options.connect().await?;
        raw_sql(AssertSqlSafe(grants::sql(&self.schema, &roles))).execute(&mut connection).await?;
        // No contender spends time on making months.
        for later in -1..=2 {
            query("SELECT aws_reports.aws_report_detail_ensure($1)")
                .bind(months_later(month_of(now), later))
                .execute(&mut connection)
                .await?;
        }
        Ok(connection.close().await?)
    }

    /// An empty database, instead of that of the run before. Dropping that one makes a checkpoint, so
    /// all runs begin alike.
    pub async fn fresh(&self) -> Result<Database> {
        let mut admin = self.admin().await?;
        for sql in [
            format!("DROP DATABASE IF EXISTS {RUN} WITH (FORCE)"),
            format!("CREATE DATABASE {RUN} TEMPLATE {TEMPLATE}"),
            "CHECKPOINT".to_owned(),
        ] {
            raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await?;
        }
        admin.close().await?;
        Ok(self.database(RUN))
    }

    fn database(&self, name: &str) -> Database {
        let url = format!("postgres://{WORKER}@127.0.0.1:{}/{name}", self.cluster.port());
        Database { options: self.cluster.options(name), url }
    }

    async fn admin(&self) -> Result<PgConnection> {
        Ok(self.cluster.options("postgres").connect().await?)
    }

    /// The CPU time of all its processes, those that have ended included.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu_with_children(self.pid)
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &std::path::Path {
        self.cluster.folder()
    }
}

/// A database of the cluster.
pub struct Database {
    /// As the superuser.
    pub options: PgConnectOptions,
    /// `DATABASE_URL` of a worker, as a role that may do what a worker does and no more.
    pub url: String,
}

impl Database {
    /// As a worker connects, with so many connections.
    pub async fn store(&self, schema: &SchemaName, connections: u32) -> Result<Store> {
        let (options, schema) = (self.url.parse()?, schema.clone());
        Ok(Store::connect(options, schema, Duration::from_secs(30), connections, true).await?)
    }

    /// A session that asks what the database has taken.
    pub async fn watch(&self) -> Result<Watch> {
        Ok(Watch(self.options.connect().await?))
    }
}

/// Bytes that were written since the cluster or the database was made.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub wal: i64,
    pub disk: i64,
}

/// See [`Database::watch`].
pub struct Watch(PgConnection);

impl Watch {
    pub async fn written(&mut self) -> Result<Written> {
        let (wal, disk) = sqlx::query_as(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(current_database())",
        )
        .fetch_one(&mut self.0)
        .await?;
        Ok(Written { wal, disk })
    }

    pub async fn details(&mut self) -> Result<i64> {
        let sql = "SELECT count(*) FROM aws_reports.aws_report_detail";
        Ok(query_scalar(sql).fetch_one(&mut self.0).await?)
    }
}

//! PostgreSQL: a cluster of the benchmark's own, and a database for each run.

use std::time::Duration;

use anyhow::Result;
use ses_reports::batch::month_of;
use ses_reports::postgres::SchemaName;
use ses_reports::schema::Schema;
use ses_reports::schema::grants::{self, RoleName, Roles};
use ses_reports::store::Store;
use ses_reports::store::partitions::months_later;
use sqlx::postgres::PgConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, query, query_as,
    query_scalar, raw_sql,
};
use time::OffsetDateTime;

use super::cluster::{self, Cluster, TO_FILL, TO_MEASURE};
use super::fill::{self, Mails};
use super::process;

/// Migrated once, and copied for each run.
const TEMPLATE: &str = "ingest_template";
const RUN: &str = "ingest_run";
const SECOND: &str = "ingest_second";
const WORKER: &str = "ses_reports_worker";
/// When a row was committed is how latency is found out.
const TO_TELL: &str = "track_commit_timestamp=on";
const FAR_AWAY: Duration = Duration::from_millis(100);
/// A detail with its share of its report, in the tables and their indexes, and room to work.
const BYTES_OF_A_DETAIL: u64 = 750;
/// Sessions that fill a database at once.
const LOADERS: usize = 2;

/// The cluster with the template in it.
pub struct Server {
    cluster: Cluster,
    pub schema: SchemaName,
    pub version: String,
}

impl Server {
    pub async fn start(now: OffsetDateTime) -> Result<Self> {
        let cluster = Cluster::create(None)?;
        cluster.start(&[TO_MEASURE, &[TO_TELL]].concat())?;
        let schema = SchemaName::new("aws_reports").map_err(anyhow::Error::msg)?;
        let mut server = Self { cluster, schema, version: String::new() };
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
        let roles = Roles {
            owner: role("postgres")?,
            worker: role(WORKER)?,
            reader: None,
            sender: None,
            operator: None,
        };
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
        self.make(RUN).await
    }

    /// The same, where each batch takes [`FAR_AWAY`] longer: as with a synchronous replica or storage
    /// far away, PostgreSQL is what one waits for, however much CPU is left.
    pub async fn far_away(&self) -> Result<Database> {
        let database = self.fresh().await?;
        let mut connection = database.options.connect().await?;
        let sql = format!(
            "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep({}); RETURN NULL; END $$;
            CREATE TRIGGER wait AFTER INSERT ON aws_reports.aws_report_detail
                FOR EACH STATEMENT EXECUTE FUNCTION public.wait()",
            FAR_AWAY.as_secs_f64()
        );
        raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(database)
    }

    /// Another beside it.
    pub async fn second(&self) -> Result<Database> {
        self.make(SECOND).await
    }

    /// That of the last run.
    pub fn last(&self) -> Database {
        self.database(RUN)
    }

    /// A database with so many details and their reports, of 36 months.
    pub async fn filled(&self, details: u64, now: OffsetDateTime) -> Result<Database> {
        let database = self.fresh().await?;
        if details > 0 {
            let space = details * BYTES_OF_A_DETAIL;
            cluster::demand_space(self.cluster.folder(), space, "BENCH_TABLE")?;
            self.cluster.stop()?;
            self.cluster.start(TO_FILL)?;
            let options = database.options.clone().options([("search_path", self.schema.as_str())]);
            fill::fill(&options, Mails::until(now, details), LOADERS).await?;
            self.cluster.stop()?;
            self.cluster.start(&[TO_MEASURE, &[TO_TELL]].concat())?;
        }
        Ok(database)
    }

    async fn make(&self, name: &str) -> Result<Database> {
        let mut admin = self.admin().await?;
        for sql in [
            format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"),
            "CHECKPOINT".to_owned(),
        ] {
            raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await?;
        }
        admin.close().await?;
        Ok(self.database(name))
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
        process::cpu_with_children(self.cluster.pid()?)
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
        let (wal, disk) = query_as(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size(current_database())",
        )
        .fetch_one(&mut self.0)
        .await?;
        Ok(Written { wal, disk })
    }

    /// How many details and reports there are, and a hash of what they say.
    pub async fn contents(&mut self) -> Result<Contents> {
        Ok(query_as(CONTENTS).fetch_one(&mut self.0).await?)
    }
}

/// See [`Watch::contents`].
pub type Contents = (i64, i64, i64, i64);

/// Of a detail its identity; of a report all but when it was written.
const CONTENTS: &str = "SELECT * FROM
    (SELECT count(*), coalesce(bit_xor(hashtextextended(
        ROW(report_id, id, \"timestamp\", event_type, message_id, \"from\", \"to\", subject)::text, 0)), 0)
    FROM aws_reports.aws_report_detail) AS details,
    (SELECT count(*), coalesce(bit_xor(hashtextextended(
        (to_jsonb(report) - 'created_at' - 'updated_at')::text, 0)), 0)
    FROM aws_reports.aws_reports AS report) AS reports";

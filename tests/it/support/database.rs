//! A database per test.

use std::cell::RefCell;
use std::str::FromStr as _;

use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool};

use super::process::{migrate, run};
use super::{setting, template, unique};

/// The roles of `ses-reports grants`, by its flags.
const ROLES: [&str; 5] = ["owner", "worker", "reader", "sender", "operator"];

thread_local! {
    /// The server on which this thread's tests make their databases, where it is not that of `DATABASE_URL`.
    static SERVER: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has tests make their databases on another server. They are called as the test runner calls them, and each has a
/// runtime of its own on this thread.
pub fn on_server(url: &str, tests: &[fn()]) {
    SERVER.set(Some(url.to_owned()));
    for test in tests {
        test();
    }
    SERVER.set(None);
}

/// A database of its own, dropped with this value.
pub struct Database {
    pub name: String,
    pub pool: PgPool,
    server: String,
}

impl Database {
    /// An empty database.
    pub async fn empty() -> Self {
        Self::on(&server()).await
    }

    /// An empty database on some server.
    pub async fn on(server: &str) -> Self {
        Self::copy_of("template1", server).await
    }

    async fn copy_of(template: &str, server: &str) -> Self {
        let name = unique("it").replace('-', "_");
        execute(server, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        let options = PgConnectOptions::from_str(server)
            .expect("a PostgreSQL URL")
            .database(&name)
            .options([("search_path", "aws_reports")]);
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
        Self { name, pool, server: server.to_owned() }
    }

    /// A database as the README has it deployed: with the roles of `ses-reports grants`, migrated and owned by the
    /// owner. A copy of one that this build of the binary migrated once.
    pub async fn migrated() -> Self {
        Self::migrated_on(&server()).await
    }

    /// The same on some server.
    pub async fn migrated_on(server: &str) -> Self {
        let template = template::on(server).await;
        let database = Self::copy_of(&template, server).await;
        database.create_roles().await;
        let owner = database.role("owner");
        database.execute(&format!("REASSIGN OWNED BY {template} TO {owner}")).await;
        database.grant_as(&database.url()).await;
        database
    }

    /// The same without a copy, in the steps of the README: roles, and migrations that give them their rights.
    pub async fn deployed() -> Self {
        let database = Self::empty().await;
        database.create_roles().await;
        database.grant_as(&database.url()).await;
        migrate(&database.url_of("owner")).await;
        database
    }

    async fn create_roles(&self) {
        for role in ROLES.map(|role| self.role(role)) {
            self.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'it'")).await;
        }
    }

    /// Gives its roles the rights that `ses-reports grants` prints.
    pub async fn grant_as(&self, url: &str) {
        let roles = ROLES.map(|role| (format!("--{role}"), self.role(role)));
        let mut arguments = vec!["grants"];
        arguments.extend(roles.iter().flat_map(|(flag, name)| [&**flag, &**name]));
        let printed = run(&[], &arguments).await;
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        execute(url, &printed.stdout).await;
    }

    /// The name of a role of its own; roles belong to the whole server.
    pub fn role(&self, role: &str) -> String {
        format!("{}_{role}", self.name)
    }

    /// Its `DATABASE_URL` for a role.
    pub fn url_of(&self, role: &str) -> String {
        format!("postgres://{}:it@{}", self.role(role), self.host())
    }

    /// Its `DATABASE_URL` for whom nothing is forbidden.
    pub fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{}", self.name)
    }

    /// What follows the user and the password in that.
    pub fn host(&self) -> String {
        let url = self.url();
        let (_, host) = url.split_once('@').expect("a URL with a user");
        host.to_owned()
    }

    /// How to connect to it.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url()).expect("a PostgreSQL URL")
    }

    /// The first column of the only row.
    pub async fn one<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let value = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await;
        value.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Rows as JSON.
    pub async fn rows(&self, sql: &str) -> Vec<Value> {
        let text = format!("SELECT to_jsonb(t)::text FROM ({sql}) AS t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(text))
            .fetch_all(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
    }

    /// A transaction that keeps everyone from the reports until it ends.
    /// Has PostgreSQL raise an error for rows of a table: what it may refuse one day, whatever that is.
    pub async fn raise(&self, sqlstate: &str, table: &str, condition: &str) {
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF {condition} THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END IF;
                RETURN NEW;
            END $$;
            CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_{table}()"
        ))
        .await;
    }

    /// Ends [`Database::raise`].
    pub async fn raise_no_more(&self, table: &str) {
        self.execute(&format!("DROP TRIGGER refuse ON {table}")).await;
    }

    pub async fn lock_reports(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut transaction = self.pool.begin().await.expect("a transaction");
        sqlx::raw_sql("LOCK TABLE aws_reports IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *transaction)
            .await
            .expect("the lock");
        transaction
    }

    pub async fn execute(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let drops = [
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
            format!("DROP ROLE IF EXISTS {}", ROLES.map(|role| self.role(role)).join(", ")),
        ];
        // A drop cannot wait inside the test's runtime. A server that is gone took it along.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnectOptions::from_str(&server)?.connect().await?;
                for sql in drops {
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                }
                connection.close().await
            })
        });
        let _ = dropping.join();
    }
}

fn server() -> String {
    SERVER.with_borrow(Clone::clone).unwrap_or_else(|| setting("DATABASE_URL"))
}

pub(super) async fn execute(url: &str, sql: &str) {
    let options = PgConnectOptions::from_str(url).expect("DATABASE_URL is a PostgreSQL URL");
    let mut connection =
        options.connect().await.expect("PostgreSQL answers: run the tests with `make test`");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statement runs");
    connection.close().await.expect("the connection closes");
}

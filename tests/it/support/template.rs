//! What each test's database is a copy of, so that not each has to be migrated.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr as _;
use std::time::SystemTime;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::process::migrate;

/// The name of a database that this build of the binary migrated on a server, and of the role that owns what is in it.
/// The first test that asks makes it, the others wait for that, and it stays until there is another build.
pub async fn on(server: &str) -> String {
    let options = PgConnectOptions::from_str(server).expect("a PostgreSQL URL");
    let mut connection = options.connect().await.expect("PostgreSQL answers");
    let (binary, build) = names();
    let name = format!("{binary}_{build}");
    execute(&mut connection, "SELECT pg_advisory_lock(hashtext('ses-reports tests'))").await;
    let is_whole = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)";
    let is_whole: bool = sqlx::query_scalar(is_whole)
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .expect("it is asked");
    if !is_whole {
        drop_all(&mut connection, &binary).await;
        make(&mut connection, server, &name).await;
    }
    connection.close().await.expect("the connection closes, and the lock is given back");
    name
}

/// Of the file that is tested, and of its present content.
fn names() -> (String, String) {
    let binary = env!("CARGO_BIN_EXE_ses-reports");
    let modified = std::fs::metadata(binary).and_then(|file| file.modified()).expect("it is built");
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let mut hasher = DefaultHasher::new();
    binary.hash(&mut hasher);
    let path = hasher.finish();
    since.hash(&mut hasher);
    (format!("migrated_{path:016x}"), format!("{:016x}", hasher.finish()))
}

async fn make(connection: &mut PgConnection, server: &str, name: &str) {
    execute(connection, &format!("CREATE DATABASE {name}")).await;
    execute(connection, &format!("CREATE ROLE {name} LOGIN PASSWORD 'it'")).await;
    let (_, address) = server.rsplit_once('@').expect("a URL with a user");
    let (address, _) = address.rsplit_once('/').expect("a URL with a database");
    let (start, _) = server.rsplit_once('/').expect("a URL with a database");
    let schema = format!("CREATE SCHEMA aws_reports AUTHORIZATION {name}");
    super::database::execute(&format!("{start}/{name}"), &schema).await;
    migrate(&format!("postgres://{name}:it@{address}/{name}")).await;
    // Nobody may connect, because a database that is in use cannot be copied.
    execute(connection, &format!("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false"))
        .await;
}

/// Drops what earlier builds and interrupted tests left.
async fn drop_all(connection: &mut PgConnection, binary: &str) {
    let left = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)";
    let left: Vec<String> =
        sqlx::query_scalar(left).bind(binary).fetch_all(&mut *connection).await.expect("names");
    for name in left {
        execute(connection, &format!("ALTER DATABASE {name} IS_TEMPLATE false")).await;
        execute(connection, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        execute(connection, &format!("DROP ROLE IF EXISTS {name}")).await;
    }
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("the statement runs");
}

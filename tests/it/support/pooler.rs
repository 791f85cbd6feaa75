//! A `PgBouncer` of a test's own, in transaction mode.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::process::eventually;
use super::server::{as_owner, give_to_owner, is_root};

/// A process that hands out few sessions to many clients, ended with this value.
pub struct PgBouncer {
    _process: Child,
    _folder: TempDir,
    url: String,
}

impl PgBouncer {
    /// In front of the database of a URL, as the role of that URL, whoever asks.
    pub async fn start(url: &str, sessions: u32) -> Self {
        Self::start_with(url, sessions, "").await
    }

    /// The same with more settings.
    pub async fn start_with(url: &str, sessions: u32, more: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = folder.path().join("pgbouncer.ini");
        let mut ini = ini(url, port, sessions) + more;
        if tracks_statements().await {
            ini.push_str("max_prepared_statements = 0\n");
        }
        std::fs::write(&settings, ini).expect("the settings are written");
        give_to_owner(folder.path()).await;
        let process = as_owner(is_root().await, &program(), &["-q", &settings.to_string_lossy()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("PgBouncer starts");
        eventually("PgBouncer listens", || async {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        let url = format!("postgres://anybody@127.0.0.1:{port}/pooled");
        Self { _process: process, _folder: folder, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

fn ini(url: &str, port: u16, sessions: u32) -> String {
    let server = PgConnectOptions::from_str(url).expect("a PostgreSQL URL");
    let (user, _) = url.split_once('@').expect("a URL with a user");
    let (_, password) = user.rsplit_once(':').expect("a URL with a password");
    format!(
        "[databases]
pooled = host={} port={} dbname={} user={} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
",
        server.get_host(),
        server.get_port(),
        server.get_database().expect("a URL with a database"),
        server.get_username(),
    )
}

/// From 1.21 on it can keep prepared statements apart; older ones refuse the setting.
async fn tracks_statements() -> bool {
    let output = Command::new(program()).arg("--version").output().await.expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next().and_then(|line| line.strip_prefix("PgBouncer 1."));
    let minor = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    minor.unwrap_or_else(|| panic!("no version of PgBouncer: {text}")) >= 21
}

/// Debian keeps it where only root looks.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| Path::exists(program))
        .expect("PgBouncer is installed: `localstack/stack up` does that")
}

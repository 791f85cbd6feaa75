//! A PostgreSQL server of a test's own: to be stopped and started, or of another version.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

/// A cluster in a temporary folder, stopped and deleted with this value.
pub struct PostgreSql {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

impl PostgreSql {
    /// Of the newest version that this machine has.
    pub async fn start() -> Self {
        Self::start_from(programs().await).await
    }

    /// Of a major version, whatever this machine has: `localstack/stack versions` installs it.
    pub async fn of_version(version: u32) -> Self {
        let bin = format!("{}/.dev/versions/{version}/bin", env!("CARGO_MANIFEST_DIR"));
        let bin = std::fs::canonicalize(&bin).unwrap_or_else(|error| {
            panic!("{bin}: {error}: run the tests with `make test`, or `localstack/stack versions` before")
        });
        Self::start_from(bin).await
    }

    async fn start_from(bin: PathBuf) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let server = Self { folder: tempfile::tempdir().expect("a temporary folder"), bin, port };
        give_to_owner(server.folder.path()).await;
        server
            .program(
                "initdb",
                &[
                    "-D",
                    &server.data(),
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "--locale",
                    "C.UTF-8",
                    "--no-sync",
                ],
            )
            .await;
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As a crash would: no checkpoint, every connection cut.
    pub async fn stop(&self) {
        self.program("pg_ctl", &["stop", "-D", &self.data(), "-m", "immediate", "-w"]).await;
    }

    pub async fn start_again(&self) {
        let options =
            format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''", self.port);
        let log = format!("{}.log", self.data());
        self.program("pg_ctl", &["start", "-D", &self.data(), "-w", "-l", &log, "-o", &options])
            .await;
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_string_lossy().into_owned()
    }

    async fn program(&self, name: &str, arguments: &[&str]) {
        let status = as_owner(is_root().await, &self.bin.join(name), arguments).status().await;
        assert!(status.expect("it starts").success(), "{name} {arguments:?}");
    }
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        let (program, data) = (self.bin.join("pg_ctl"), self.data());
        let stopping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                as_owner(is_root().await, &program, &["stop", "-D", &data, "-m", "immediate"])
                    .status()
                    .await
            })
        });
        let _ = stopping.join();
    }
}

/// PostgreSQL and `PgBouncer` refuse to run as root: then they run as the user that PostgreSQL's
/// package made, who gets this folder and what is in it.
pub(super) async fn give_to_owner(folder: &std::path::Path) {
    if is_root().await {
        let given = Command::new("chown").args(["-R", "postgres"]).arg(folder).status().await;
        assert!(given.expect("chown starts").success(), "the user postgres exists");
    }
}

/// A command that runs as that user, with nothing of our environment.
pub(super) fn as_owner(is_root: bool, program: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(super) async fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().await.expect("id starts");
    output.stdout == b"0\n"
}

/// Where the newest server programs are.
pub async fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb").exists().then(|| (version, path.join("bin")))
        })
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return bin;
    }
    let output = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .await
        .expect("PostgreSQL's programs are installed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// What `pg_dump` says of our schema, the history of its migrations aside.
pub async fn schema_of(database_url: &str) -> String {
    let output = Command::new(programs().await.join("pg_dump"))
        .args([
            "--schema-only",
            "--schema=aws_reports",
            "--exclude-table=*.refinery_schema_history",
        ])
        .arg(database_url)
        .output()
        .await
        .expect("pg_dump starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump = String::from_utf8_lossy(&output.stdout);
    // A random key, against scripts that smuggle commands into psql.
    dump.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
}

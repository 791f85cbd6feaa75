//! A PostgreSQL cluster of the benchmark's own, so that it can be filled without `fsync` and measured
//! with it, and is deleted as a whole.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

/// Nothing is safe, and nobody minds: what fails is thrown away.
pub const TO_FILL: &[&str] = &[
    "shared_buffers=2GB",
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "maintenance_work_mem=1GB",
    "autovacuum=off",
];

/// As a server in use: PostgreSQL's defaults (`fsync`, full-page images, autovacuum) but for the
/// cache, and no checkpoint halfway through a measurement; files of the WAL are used again, as they
/// are once a server has run for a while.
pub const TO_MEASURE: &[&str] =
    &["shared_buffers=4GB", "min_wal_size=4GB", "max_wal_size=16GB", "checkpoint_timeout=1h"];

/// Stopped with this value, and deleted unless its folder was named.
pub struct Cluster {
    folder: PathBuf,
    temporary: Option<TempDir>,
    bin: PathBuf,
    port: u16,
    is_root: bool,
}

impl Cluster {
    /// Makes one in a temporary folder or, to be used again, in a folder that is named.
    pub fn create(kept: Option<&Path>) -> Result<Self> {
        let temporary =
            if kept.is_none() { Some(TempDir::with_prefix("ses-reports-")?) } else { None };
        let folder = match (&temporary, kept) {
            (Some(temporary), _) => temporary.path().to_owned(),
            (None, kept) => kept.context("a folder")?.to_owned(),
        };
        std::fs::create_dir_all(&folder)?;
        let is_root = Command::new("id").arg("-u").output()?.stdout == b"0\n";
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let cluster = Self { folder, temporary, bin: programs()?, port, is_root };
        if !cluster.folder.join("data").exists() {
            if is_root {
                let given = Command::new("chown").arg("postgres").arg(&cluster.folder).status()?;
                ensure!(given.success(), "PostgreSQL refuses to run as root: no user postgres");
            }
            let made = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"];
            cluster.program("initdb", &[&made[..], &["--no-sync"]].concat())?;
        }
        Ok(cluster)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn start(&self, settings: &[&str]) -> Result<()> {
        let mut options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c jit=off",
            self.port
        );
        for setting in settings {
            options += " -c ";
            options += setting;
        }
        let log = self.folder.join("log").to_string_lossy().into_owned();
        self.program("pg_ctl", &["start", "-w", "-t", "600", "-l", &log, "-o", &options])
    }

    /// With a checkpoint, and with what was written without `fsync` made safe.
    pub fn stop(&self) -> Result<()> {
        self.program("pg_ctl", &["stop", "-w", "-t", "600", "-m", "fast"])?;
        self.program("initdb", &["--sync-only"])
    }

    /// The process that all others of the running cluster are children of.
    pub fn pid(&self) -> Result<i32> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        Ok(file.lines().next().unwrap_or_default().parse()?)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to connect to a database as the superuser.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("postgres")
            .database(database)
    }

    fn program(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let program = self.bin.join(name);
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.folder.join("data")).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{name} failed; see {}", self.folder.join("log").display());
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that is thrown away need not end well.
        let mode = if self.temporary.is_some() { "immediate" } else { "fast" };
        let _ = self.program("pg_ctl", &["stop", "-w", "-m", mode]);
    }
}

/// Where the newest server programs are.
fn programs() -> Result<PathBuf> {
    let version = |bin: &Path| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = (packaged.map(|entry| entry.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| version(bin));
    if let Some(bin) = newest {
        return Ok(bin);
    }
    let Ok(output) = Command::new("pg_config").arg("--bindir").output() else {
        bail!("no PostgreSQL server is installed: `make up` installs one");
    };
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Refuses a folder that is too small; `remedy` names the setting that makes do with less.
pub fn demand_space(folder: &Path, bytes: u64, remedy: &str) -> Result<()> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free: u64 = (text.split_whitespace().last())
        .and_then(|avail| avail.parse().ok())
        .with_context(|| format!("df does not know {}", folder.display()))?;
    let gigabytes = |bytes: u64| bytes.div_ceil(1_000_000_000);
    ensure!(
        free >= bytes,
        "{} has {} GB free, and this takes about {} GB: set TMPDIR to a larger place, or \
         {remedy} to fewer events",
        folder.display(),
        gigabytes(free),
        gigabytes(bytes)
    );
    Ok(())
}

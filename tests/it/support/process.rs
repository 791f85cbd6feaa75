//! The binary under test.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::database::Database;

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The binary with its own settings and none of the caller's.
pub fn ses_reports(settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ses-reports"));
    command.args(arguments).kill_on_drop(true).stdin(Stdio::null());
    let own =
        ["DATABASE_URL", "MIGRATION_DATABASE_URL", "SQS_QUEUE_URL", "LOG_FILTER", "LOG_FORMAT"];
    for name in own {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}

/// Runs to the end.
pub async fn run(settings: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let output = tokio::time::timeout(PATIENCE, ses_reports(settings, arguments).output())
        .await
        .expect("it ends in time")
        .expect("it starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Applies all migrations.
pub async fn migrate(database_url: &str) -> Ended {
    let ended = run(&[("DATABASE_URL", database_url)], &["--migrate-only"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// A running worker, killed with this value.
pub struct Worker {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Worker {
    /// Starts a worker as the README has it deployed: under the worker's role, which may do what a
    /// worker does and nothing else, and without migrating.
    pub fn start(database: &Database, queue_url: &str, arguments: &[&str]) -> Self {
        let settings = [("DATABASE_URL", &*database.url_of("worker")), ("NO_MIGRATE", "true")];
        Self::start_with(&settings, queue_url, arguments)
    }

    /// Starts a worker with settings of the test's own. Messages stay hidden for five seconds only,
    /// so that tests of crashes need not wait longer; the worker renews that while it holds them.
    pub fn start_with(settings: &[(&str, &str)], queue_url: &str, arguments: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        // What answers at a queue's URL here is what has to be asked for it.
        let (path, _) = queue_url.match_indices('/').nth(2).expect("a URL with a path");
        let defaults = [
            ("SQS_QUEUE_URL", queue_url),
            ("AWS_ENDPOINT_URL", &queue_url[..path]),
            ("VISIBILITY_TIMEOUT", "5"),
        ];
        let settings = [&defaults[..], settings].concat();
        let child = ses_reports(&settings, arguments)
            .stderr(log.reopen().expect("the log opens"))
            .spawn()
            .expect("the worker starts");
        Self { child, log }
    }

    /// Consumes until the queue is idle for a second, and asserts that all went well. What is in the queue must be
    /// visible: SNS and visibility timeouts may take longer than that.
    pub async fn until_idle(database: &Database, queue_url: &str, arguments: &[&str]) -> String {
        Self::until_idle_for("1", database, queue_url, arguments).await
    }

    /// The same with another time of idleness, in seconds.
    pub async fn until_idle_for(
        seconds: &str,
        database: &Database,
        queue_url: &str,
        arguments: &[&str],
    ) -> String {
        let arguments = [&["--exit-when-idle", seconds], arguments].concat();
        Self::start(database, queue_url, &arguments).ends_well().await
    }

    /// Waits for the end, asserts that it is a good one, and returns the log.
    pub async fn ends_well(mut self) -> String {
        let status = self.wait().await;
        assert!(status.success(), "{}", self.log());
        self.log()
    }

    /// Waits for the end.
    pub async fn wait(&mut self) -> ExitStatus {
        let Ok(status) = tokio::time::timeout(PATIENCE, self.child.wait()).await else {
            panic!("the worker does not end:\n{}", self.log());
        };
        status.expect("the worker can be waited for")
    }

    /// Sends SIGTERM and waits; tells how the worker ended and how long that took.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("TERM").await;
        (self.wait().await, began.elapsed())
    }

    /// Sends a signal by its name.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the worker runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.expect("kill starts").success());
    }

    /// As `kill -9` does, and at once.
    pub async fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the worker can be asked").is_none()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log can be read")
    }
}

/// Waits until a condition holds: the state of a real service, asked for again and again.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

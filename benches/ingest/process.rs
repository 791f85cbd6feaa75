//! Programs that are measured, and what they cost, from `/proc`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use procfs::Current as _;
use procfs::process::{Process, all_processes};
use tokio::process::{Child, Command};

/// A program that runs; killed with this value.
pub struct Running {
    child: Child,
    pid: i32,
    log: PathBuf,
}

impl Running {
    /// Starts it; what it says goes to a file.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let child = (command.stdin(Stdio::null()))
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| command.as_std().get_program().display().to_string())?;
        let pid = pid_of(&child)?;
        Ok(Self { child, pid, log })
    }

    /// An error if it has ended, with the end of what it said.
    pub fn demand_life(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let from = log.len().saturating_sub(2_000);
            bail!("it ended with {status}: {}", log.get(from..).unwrap_or(&log));
        }
        Ok(())
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.pid)
    }

    /// The most memory that it has held, in bytes.
    pub fn peak_memory(&self) -> Result<u64> {
        let status = Process::new(self.pid)?.status()?;
        Ok(status.vmhwm.context("VmHWM")? * 1024)
    }

    /// The memory that it holds, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = Process::new(self.pid)?.status()?;
        Ok(status.vmrss.context("VmRSS")? * 1024)
    }
}

/// A program with nothing of our environment but where programs are.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env_clear();
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

pub fn pid_of(child: &Child) -> Result<i32> {
    Ok(child.id().context("it has ended")?.try_into()?)
}

/// The CPU time that a process has taken, all threads together, in steps of 10 ms.
pub fn cpu(pid: i32) -> Result<Duration> {
    let stat = Process::new(pid)?.stat()?;
    Ok(ticks(stat.utime + stat.stime))
}

/// The CPU time that this process has taken.
pub fn own_cpu() -> Result<Duration> {
    cpu(std::process::id().try_into()?)
}

/// The CPU time of a process and of its children, those included that have ended. PostgreSQL's
/// processes are all children of one.
pub fn cpu_with_children(pid: i32) -> Result<Duration> {
    let stat = Process::new(pid)?.stat()?;
    let ended = (stat.cutime + stat.cstime).unsigned_abs();
    let alive = all_processes()?
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|child| child.ppid == pid)
        .map(|child| child.utime + child.stime);
    Ok(ticks(stat.utime + stat.stime + ended + alive.sum::<u64>()))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / procfs::ticks_per_second().max(1))
}

/// What the machine's processor is called.
pub fn cpu_model() -> Result<String> {
    let info = procfs::CpuInfo::current()?;
    Ok(info.model_name(0).unwrap_or("an unknown processor").to_owned())
}

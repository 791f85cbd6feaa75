//! The workers that people would write instead, under `benches/peers/`. What they need is installed
//! into `.dev/`; where Node or Python is missing they are left out.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::process::command;
use super::say;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.dev/peers");

pub fn node(script: &str) -> Command {
    let mut command = command("node");
    command.arg(installed("node").join(script));
    command
}

pub fn python() -> Command {
    let mut command = command(installed("python").join("venv/bin/python"));
    command.arg(installed("python").join("worker.py"));
    command
}

/// Whether the scripts can run; installs what they need.
pub async fn install_node() -> Result<bool> {
    if !is_there("node").await || !is_there("npm").await {
        say!("no Node here: its workers are left out");
        return Ok(false);
    }
    if take_sources("node", "package-lock.json")? {
        say!("installing the Node workers' packages");
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        run(npm.current_dir(installed("node"))).await?;
        mark("node", "package-lock.json")?;
    }
    Ok(true)
}

/// The same for Python.
pub async fn install_python() -> Result<bool> {
    if !is_there("python3").await {
        say!("no Python here: its worker is left out");
        return Ok(false);
    }
    if take_sources("python", "requirements.txt")? {
        say!("installing the Python worker's packages");
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(installed("python").join("venv")))
        .await?;
        let mut pip = Command::new(installed("python").join("venv/bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            "requirements.txt",
        ]);
        run(pip.current_dir(installed("python"))).await?;
        mark("python", "requirements.txt")?;
    }
    Ok(true)
}

fn installed(language: &str) -> PathBuf {
    Path::new(INSTALLED).join(language)
}

/// Copies the sources beside their packages; true if the packages are not those of the lock file.
fn take_sources(language: &str, lock: &str) -> Result<bool> {
    let (from, to) = (Path::new(SOURCES).join(language), installed(language));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(&from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    let installed = std::fs::read(to.join(".installed")).ok();
    Ok(installed != Some(std::fs::read(from.join(lock))?))
}

/// Remembers of which lock file the packages are.
fn mark(language: &str, lock: &str) -> Result<()> {
    let folder = installed(language);
    std::fs::copy(folder.join(lock), folder.join(".installed"))?;
    Ok(())
}

async fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

async fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let program = command.as_std().get_program().display();
    ensure!(output.status.success(), "{program}: {said}");
    Ok(())
}

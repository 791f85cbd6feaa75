//! `ses-reports migrate`, and folders of migrations to spoil.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::database::Database;
use super::process::{Ended, run};

/// Runs `ses-reports migrate …`.
pub async fn migrate(database: &Database, arguments: &[&str]) -> Ended {
    let arguments = [&["migrate"], arguments].concat();
    run(&[("DATABASE_URL", &*database.url())], &arguments).await
}

/// The same, and it must end with an exit code.
pub async fn expect(database: &Database, code: i32, arguments: &[&str]) -> Ended {
    let ended = migrate(database, arguments).await;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended
}

/// Its answer in JSON.
pub async fn answer(database: &Database, code: i32, arguments: &[&str]) -> Value {
    let ended = expect(database, code, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// The newest version.
pub fn newest() -> u64 {
    ses_reports::schema::newest().into()
}

/// A copy of the repository's migrations, to add to and to spoil.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        std::fs::create_dir(files.0.path().join("down")).expect("a folder");
        for migration in ses_reports::schema::EMBEDDED {
            for name in [format!("{}.sql", migration.stem), format!("down/{}.sql", migration.stem)]
            {
                std::fs::copy(source.join(&name), files.0.path().join(&name)).expect("a copy");
            }
        }
        files
    }

    /// Adds the next migration.
    pub fn add(&self, words: &str, up: &str, down: &str) -> String {
        let count = std::fs::read_dir(self.0.path().join("down")).expect("files").count();
        let stem = format!("V{:04}__{words}", count + 1);
        self.write(&format!("{stem}.sql"), up);
        self.write(&format!("down/{stem}.sql"), down);
        stem
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("it is written");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("it is read")
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }
}

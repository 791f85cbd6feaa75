//! The migrations: those in this binary, and those of a folder, for people who write new ones.

use std::borrow::Cow;
use std::path::Path;

use super::files::{self, DOWN};
use super::sql;

/// A migration and the script that undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: u32,
    /// Its file name without `.sql`: `V0001__content_ids`.
    pub stem: Cow<'static, str>,
    /// The SQL of `migrations/`.
    pub up: Cow<'static, str>,
    /// The SQL of `migrations/down/`.
    pub down: Cow<'static, str>,
}

/// All that are embedded, in order; made by the build script.
pub const EMBEDDED: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The newest version that this binary knows.
#[must_use]
pub fn newest() -> u32 {
    EMBEDDED.last().map_or(0, |migration| migration.version)
}

impl Migration {
    /// Whether it runs statement by statement, outside of a transaction.
    #[must_use]
    pub fn is_without_transaction(&self) -> bool {
        sql::is_without_transaction(&self.up)
    }

    pub(super) fn as_refinery(&self) -> refinery::Migration {
        #[expect(clippy::expect_used, reason = "every name was checked when it was read")]
        refinery::Migration::unapplied(&self.stem, &self.up).expect("every name was checked")
    }

    /// refinery's checksum, as the history holds it.
    #[must_use]
    pub(crate) fn checksum(&self) -> String {
        self.as_refinery().checksum().to_string()
    }
}

/// Reads the migrations of a folder that is laid out as `migrations/` is.
///
/// # Errors
/// One line that names the file and says what to change.
pub(crate) fn in_folder(folder: &Path) -> Result<Vec<Migration>, String> {
    let names = |folder: &Path| -> Result<Vec<String>, String> {
        let unreadable = |error| format!("{}: {error}", folder.display());
        std::fs::read_dir(folder)
            .map_err(unreadable)?
            .map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned()))
            .collect()
    };
    let text = |path: &Path| -> Result<Cow<'static, str>, String> {
        let text = std::fs::read_to_string(path);
        text.map(Cow::Owned).map_err(|error| format!("{}: {error}", path.display()))
    };
    let up = files::in_order(names(folder)?)?;
    files::in_pairs(&up, names(&folder.join(DOWN))?)?;
    up.into_iter()
        .map(|file| {
            let name = format!("{}.sql", file.stem);
            Ok(Migration {
                version: file.version,
                up: text(&folder.join(&name))?,
                down: text(&folder.join(DOWN).join(&name))?,
                stem: Cow::Owned(file.stem),
            })
        })
        .collect()
}

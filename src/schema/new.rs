//! Writes the next pair of files from a template that explains the rules.

use std::path::{Path, PathBuf};

use super::files::{self, DOWN};

const UP: &str = "-- Purpose: why this change is made, and for whom.
-- Locks: which locks it takes on tables that hold rows, and for how long. `ses-reports migrate plan
--   --migrations migrations` shows them, by trying it on a shadow database.
--
-- Before you write (migrations/README.md has all the rules):
--   * Expand first, contract later: workers of the previous version keep running while this is
--     applied and after it. Add here; remove in a later release.
--   * It runs in one transaction, and no statement waits longer than two seconds for a lock. An index
--     on a table that holds rows is built with CREATE INDEX CONCURRENTLY IF NOT EXISTS, in a file of
--     its own that has this line in its header:   migrate: no-transaction
--   * No long changes of rows: a change of many rows is a backfill (rule 7).
--   * Unqualified names; COMMENT ON every new table and column; the query beside the index it needs.
--   * Undo it in down/ of the same name: up, down, up gives the same catalog (a test checks that).
--   * Then record its checksum: `make checksums`. Once released, it is never edited.

";

const DOWN_TEXT: &str = "-- Undoes {stem}: what it drops, and whether rows are lost.
-- `ses-reports migrate down` refuses to drop what holds rows unless it is told to.

";

/// Writes `migrations/V000N__name.sql` and its down script; returns their paths.
///
/// # Errors
/// One line that says what to change; nothing is overwritten.
pub(crate) fn create(folder: &Path, name: &str) -> Result<[PathBuf; 2], String> {
    let existing = super::in_folder(folder)?;
    let number = existing.last().map_or(0, |migration| migration.version) + 1;
    let stem = format!("V{number:04}__{}", name.replace([' ', '-'], "_").to_lowercase());
    files::in_order(
        (existing.iter().map(|migration| format!("{}.sql", migration.stem)))
            .chain([format!("{stem}.sql")]),
    )?;
    let file = format!("{stem}.sql");
    let paths = [folder.join(&file), folder.join(DOWN).join(&file)];
    let texts = [UP.to_owned(), DOWN_TEXT.replace("{stem}", &stem)];
    for (path, text) in paths.iter().zip(texts) {
        std::fs::File::create_new(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(paths)
}

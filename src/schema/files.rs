//! The rules for the names of migration files. Shared with the build script, which refuses to build
//! what breaks them: refinery only logs that it skips a badly named file.

/// A migration file by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    /// Its number: 1, 2, 3 without gaps.
    pub(crate) version: u32,
    /// The name without `.sql`: `V0001__content_ids`.
    pub(crate) stem: String,
}

/// The folder in `migrations/` whose files undo those of the same name. Apart, because refinery's
/// own tools take every file that they find for a migration.
pub(crate) const DOWN: &str = "down";

/// Checks the names of all files in `migrations/` and puts them in order. `README.md`, `checksums`,
/// hidden files and [`DOWN`] may be beside them.
///
/// # Errors
/// One line that names the file and says what to change.
pub(crate) fn in_order(names: impl IntoIterator<Item = String>) -> Result<Vec<FileName>, String> {
    let mut files = Vec::new();
    let beside = ["README.md", "checksums", DOWN];
    for name in
        names.into_iter().filter(|name| !beside.contains(&&**name) && !name.starts_with('.'))
    {
        files.push(parse(&name)?);
    }
    files.sort();
    for pair in files.windows(2) {
        if pair[0].version == pair[1].version {
            return Err(format!(
                "migrations/{}.sql: its number is taken by {}.sql",
                pair[1].stem, pair[0].stem
            ));
        }
    }
    for (expected, file) in (1..).zip(&files) {
        if file.version != expected {
            return Err(format!(
                "migrations/{}.sql: number V{expected:04} is missing before it",
                file.stem
            ));
        }
    }
    if files.is_empty() {
        return Err("migrations/ holds no migration".to_owned());
    }
    Ok(files)
}

/// Checks that each migration has its down script, and each down script its migration.
///
/// # Errors
/// One line that names the file and says what to change.
pub(crate) fn in_pairs(
    up: &[FileName],
    down: impl IntoIterator<Item = String>,
) -> Result<(), String> {
    let mut missing: Vec<String> = up.iter().map(|file| format!("{}.sql", file.stem)).collect();
    for name in down.into_iter().filter(|name| !name.starts_with('.')) {
        let place = missing.iter().position(|missing| *missing == name).ok_or_else(|| {
            format!("migrations/{DOWN}/{name}: there is no migration of that name")
        })?;
        missing.remove(place);
    }
    match missing.first() {
        Some(name) => Err(format!("migrations/{DOWN}/{name} is missing: it undoes the migration")),
        None => Ok(()),
    }
}

fn parse(name: &str) -> Result<FileName, String> {
    let rule = || format!("migrations/{name}: a migration is named V0001__lower_case_words.sql");
    let stem = name.strip_suffix(".sql").ok_or_else(rule)?;
    let (number, words) =
        stem.strip_prefix('V').and_then(|rest| rest.split_once("__")).ok_or_else(rule)?;
    let digits = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let snake = !words.is_empty()
        && words.split('_').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
    if !digits || !snake {
        return Err(rule());
    }
    let version = number.parse().map_err(|_| rule())?;
    Ok(FileName { version, stem: stem.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Result<Vec<u32>, String> {
        let files = in_order(names.iter().map(|name| (*name).to_owned()))?;
        Ok(files.into_iter().map(|file| file.version).collect())
    }

    #[test]
    fn well_named_files_are_put_in_order() {
        assert_eq!(names(&["V0002__b.sql", "README.md", "V0001__a_1.sql", "down"]), Ok(vec![1, 2]));
    }

    #[test]
    fn a_migration_and_its_down_script_are_a_pair() {
        let up = in_order(["V0001__a.sql".to_owned(), "V0002__b.sql".to_owned()]).expect("good");
        let pairs = |down: &[&str]| in_pairs(&up, down.iter().map(|name| (*name).to_owned()));
        assert_eq!(pairs(&["V0002__b.sql", "V0001__a.sql"]), Ok(()));
        let error = pairs(&["V0001__a.sql"]).expect_err("one is missing");
        assert!(error.contains("down/V0002__b.sql is missing"), "{error}");
        let error = pairs(&["V0001__a.sql", "V0002__c.sql"]).expect_err("one is alone");
        assert!(error.contains("down/V0002__c.sql"), "{error}");
    }

    #[test]
    fn the_build_names_the_file_that_breaks_a_rule() {
        for (files, says) in [
            (&["V1__a.sql"][..], "V1__a.sql"),
            (&["v0001__a.sql"], "v0001__a.sql"),
            (&["V0001__Add-Column.sql"], "V0001__Add-Column.sql"),
            (&["V0001_a.sql"], "V0001_a.sql"),
            (&["V0001__a.sq"], "V0001__a.sq"),
            (&["V0001__.sql"], "V0001__.sql"),
            (&["U0001__a.sql"], "U0001__a.sql"),
            (&["V0001__a.sql", "V0001__b.sql"], "V0001__b.sql: its number is taken"),
            (&["V0001__a.sql", "V0003__c.sql"], "V0002 is missing"),
            (&[], "no migration"),
        ] {
            let error = names(files).expect_err("the names break a rule");
            assert!(error.contains(says), "{error}");
        }
    }
}

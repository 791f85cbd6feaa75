//! The roles of a database that ses-reports runs on.

use crate::postgres::quote_ident;

/// The roles that rights are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// Owns the schema and migrates it.
    pub owner: RoleName,
    /// Consumes with `--no-migrate`.
    pub worker: RoleName,
    /// Reads tables and views.
    pub reader: Option<RoleName>,
    /// Sends mail, and makes the report rows of it.
    pub sender: Option<RoleName>,
    /// Replays archives, and retries and deletes dead letters.
    pub operator: Option<RoleName>,
}

impl Roles {
    /// All but the owner.
    pub(super) fn others(&self) -> Vec<&RoleName> {
        let optional = [&self.reader, &self.sender, &self.operator];
        std::iter::once(&self.worker).chain(optional.into_iter().flatten()).collect()
    }
}

/// The name of a role. It is pasted into SQL, into comments of it too, so it is checked once, here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// A name of 1 to 63 bytes without control characters that PostgreSQL does not keep for itself.
    ///
    /// # Errors
    /// A line that says what a name may be.
    pub fn new(name: &str) -> Result<Self, String> {
        let fits = (1..=63).contains(&name.len())
            && !name.contains(char::is_control)
            && !name.starts_with("pg_")
            && name != "public"
            && name != "none";
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!(
                "{name:?} is not a role name: use up to 63 bytes without control characters, not public, none or pg_…"
            ))
        }
    }

    /// The name as SQL takes it.
    #[must_use]
    pub(crate) fn quoted(&self) -> String {
        quote_ident(&self.0)
    }

    /// The bare name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::new(name).expect("a good name")
    }

    #[test]
    fn names_are_safe_to_paste() {
        assert_eq!(role("a\"; DROP").quoted(), "\"a\"\"; DROP\"");
        for bad in ["", "a\nb", "a\0b", "pg_monitor", "public", "none", &"x".repeat(64)] {
            assert!(RoleName::new(bad).is_err(), "{bad:?}");
        }
    }
}

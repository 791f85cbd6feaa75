//! Names, as SQL takes them.

/// The PostgreSQL schema that holds everything the service owns. It is pasted into SQL, so it is
/// checked once, here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// A name of 1 to 63 lower-case letters, digits and underscores that starts with no digit.
    ///
    /// # Errors
    /// A line that says what a name may be.
    pub fn new(name: &str) -> Result<Self, String> {
        let fits = (1..=63).contains(&name.len())
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("pg_")
            && name != "information_schema"
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!(
                "{name:?} is not a schema name: use up to 63 lower-case letters, digits and _, no digit or pg_ first"
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
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name, such as one from the catalog, as SQL takes it.
#[must_use]
pub(crate) fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever `standard_conforming_strings` says.
#[must_use]
pub(crate) fn quote_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_does_not_end_it() {
        assert_eq!(quote_ident("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(quote_literal(r"a'; \' b"), r"E'a''; \\'' b'");
    }

    #[test]
    fn schema_names_are_safe_to_paste() {
        for good in ["aws_reports", "_x", "reports2"] {
            assert!(SchemaName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Reports",
            "2x",
            "a-b",
            "a\"b",
            "a b",
            "pg_x",
            "information_schema",
            &"x".repeat(64),
        ] {
            assert!(SchemaName::new(bad).is_err(), "{bad}");
        }
    }
}

//! What the comment of the schema records about the roles to which `ses-reports grants` gave rights.
//!
//! It is a comment because a comment can be there before the first migration, needs no additional right,
//! and is part of a dump.

use serde::{Deserialize, Serialize};

use super::newest;
use super::roles::{RoleName, Roles};
use crate::postgres::{SchemaName, quote_literal};

/// What the line of the comment begins with; a version and the roles in JSON follow.
const PREFIX: &str = "ses-reports grants, version ";

/// Roles, and the version of the schema whose rights they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) version: u32,
    pub(super) roles: Roles,
}

/// The names, as JSON holds them.
#[derive(Serialize, Deserialize)]
struct Names {
    owner: String,
    worker: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
}

fn names(roles: &Roles) -> String {
    let text = |role: &RoleName| role.as_str().to_owned();
    let names = Names {
        owner: text(&roles.owner),
        worker: text(&roles.worker),
        reader: roles.reader.as_ref().map(text),
        sender: roles.sender.as_ref().map(text),
        operator: roles.operator.as_ref().map(text),
    };
    serde_json::to_string(&names).unwrap_or_default()
}

/// The statement of PL/pgSQL that records the roles. Before the first migration they have no
/// rights, which is version 0. Other lines of the comment stay.
pub(super) fn record(schema: &SchemaName, roles: &Roles) -> String {
    let quoted = schema.quoted();
    format!(
        "EXECUTE format('COMMENT ON SCHEMA {quoted} IS %L', concat_ws(E'\\n',
        nullif(regexp_replace(coalesce(obj_description(to_regnamespace('{quoted}'), 'pg_namespace'), ''),
            E'\\n?{PREFIX}[^\\n]*', '', 'g'), ''),
        '{PREFIX}' || CASE WHEN to_regclass('{quoted}.refinery_schema_history') IS NULL THEN 0 ELSE {} END
            || {}));",
        newest(),
        quote_literal(&format!(" {}", names(roles)))
    )
}

impl Granted {
    /// What a comment says; nothing where it says nothing that can be read.
    pub(super) fn in_comment(comment: &str) -> Option<Self> {
        let line = comment.lines().rev().find_map(|line| line.strip_prefix(PREFIX))?;
        let (version, names) = line.split_once(' ')?;
        let names: Names = serde_json::from_str(names).ok()?;
        let optional =
            |name: Option<String>| name.map(|name| RoleName::new(&name)).transpose().ok();
        Some(Self {
            version: version.parse().ok()?,
            roles: Roles {
                owner: RoleName::new(&names.owner).ok()?,
                worker: RoleName::new(&names.worker).ok()?,
                reader: optional(names.reader)?,
                sender: optional(names.sender)?,
                operator: optional(names.operator)?,
            },
        })
    }

    /// What the comment becomes once the roles have the rights of this version.
    pub(super) fn renewed(&self, comment: &str) -> String {
        let others = comment.lines().filter(|line| !line.starts_with(PREFIX)).map(str::to_owned);
        let line = format!("{PREFIX}{} {}", newest(), names(&self.roles));
        others.chain([line]).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(worker: &str, reader: Option<&str>) -> Roles {
        let role = |name: &str| RoleName::new(name).expect("a good name");
        Roles {
            owner: role("o"),
            worker: role(worker),
            reader: reader.map(role),
            sender: None,
            operator: None,
        }
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        for name in ["w", "qu\"o'te\\d", "ä role"] {
            let granted = Granted { version: 3, roles: roles(name, Some("r")) };
            let comment = granted.renewed("Events of our mail.\nses-reports grants, version 1 {}");
            assert!(comment.starts_with("Events of our mail.\n"), "{comment}");
            assert_eq!(comment.lines().count(), 2, "{comment}");
            let read = Granted::in_comment(&comment).expect("it can be read");
            assert_eq!(read, Granted { version: newest(), ..granted });
        }
    }

    #[test]
    fn what_a_person_wrote_is_no_record() {
        for comment in [
            "",
            "Events",
            "ses-reports grants, version 3",
            "ses-reports grants, version 3 {\"owner\":\"o\"}",
        ] {
            assert_eq!(Granted::in_comment(comment), None, "{comment}");
        }
        let forged = "ses-reports grants, version 3 {\"owner\":\"o\",\"worker\":\"public\"}";
        assert_eq!(Granted::in_comment(forged), None, "no role name");
    }
}

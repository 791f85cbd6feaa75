//! The rights of the roles: who owns the schema, and who may do what in it.
//!
//! [`OBJECTS`] is the complete list. A role has no right that is not in it, because the SQL first revokes
//! all others. The SQL is run once; the schema records the roles (`granted`), and the migrator grants them
//! their rights again after each migration.

use std::fmt::Write as _;

pub use super::roles::{RoleName, Roles};
use super::{granted, newest};
use crate::postgres::SchemaName;
use crate::row::columns;

/// Something in the schema, and the rights to it.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// A table or view by its name, a function with the types of its arguments.
    pub name: &'static str,
    rights: Rights,
}

#[derive(Debug, Clone, Copy)]
enum Rights {
    /// The reader may always SELECT. The operator may do what the worker does, and more.
    Table { worker: &'static str, sender: &'static str, operator: &'static str },
    /// For all roles, which is the default of PostgreSQL: it only computes, or it is a trigger.
    Open,
    /// Runs with the owner's rights, and only for the worker and the operator.
    WorkerOnly,
}

const fn table(name: &'static str, worker: &'static str, sender: &'static str) -> Object {
    Object { name, rights: Rights::Table { worker, sender, operator: "" } }
}

const fn operated(name: &'static str, worker: &'static str, operator: &'static str) -> Object {
    Object { name, rights: Rights::Table { worker, sender: "", operator } }
}

const fn open(name: &'static str) -> Object {
    Object { name, rights: Rights::Open }
}

const fn worker_only(name: &'static str) -> Object {
    Object { name, rights: Rights::WorkerOnly }
}

/// Everything in the schema. What the worker has is what the statements of `src/store/` need and
/// no more; `ON CONFLICT … DO UPDATE` needs SELECT on what it compares. `{key}` and `{folded}` are the
/// columns of a report that identify it, and those that its events change; `{detail}` are those
/// of a detail.
pub const OBJECTS: &[Object] = &[
    table("refinery_schema_history", "SELECT", ""),
    table("aws_report_type", "INSERT (id, report_name)", "INSERT (id, report_name), SELECT"),
    table(
        "aws_reports",
        "INSERT ({key}, {folded}), SELECT (id, {folded}), UPDATE ({folded})",
        "INSERT (id, message_id, user_email, user_id, report_type, source_email, subject), \
         SELECT (id, user_id, report_type), UPDATE (user_id, report_type)",
    ),
    table(
        "aws_report_detail",
        "INSERT ({detail}), SELECT (report_id, id, event_type, \"timestamp\", class), UPDATE (class)",
        "",
    ),
    operated(
        "aws_report_dead_letter",
        "INSERT (id, body, reason, detail, sqs_message_id, sent_at, receive_count, source)",
        "SELECT, UPDATE (reason, detail), DELETE",
    ),
    table(
        "aws_report_account_event",
        "INSERT (id, occurred_at, detail_type, account, region, tenant, resources, detail)",
        "",
    ),
    operated("aws_report_replay", "", "SELECT, INSERT, UPDATE, DELETE"),
    operated("aws_report_replay_part", "", "SELECT, INSERT, DELETE"),
    table("aws_report_backfill", "SELECT, INSERT, UPDATE", ""),
    table("aws_report_unjudged", "INSERT (report_id)", ""),
    operated("aws_report_machine_rule", "SELECT", "INSERT, UPDATE, DELETE"),
    table("aws_report_retention", "SELECT", ""),
    table("aws_report_stale_day", "SELECT", ""),
    table("aws_report_daily", "", ""),
    table("aws_report_daily_bounce", "", ""),
    table("aws_report_daily_tag", "", ""),
    table("aws_report_daily_note", "SELECT (noted_at)", ""),
    table("aws_report_bounce_class", "", ""),
    table("aws_report_states", "", ""),
    table("aws_report_timeline", "", ""),
    table("aws_report_suppressions", "", ""),
    open("aws_report_address(text)"),
    open("aws_report_address_cleaned(text)"),
    open("aws_report_unescaped(text)"),
    open("aws_report_domain_to_ascii(text)"),
    open("aws_report_punycode(text)"),
    open("aws_report_shorten(text, integer)"),
    open("aws_report_email(text)"),
    open("aws_report_uuid(bigint, bytea)"),
    open("aws_report_id(text, text)"),
    open("aws_report_type_id(text)"),
    open("aws_reports_touch()"),
    open("aws_report_is_suppressed(text)"),
    open("aws_report_bounce_order(text, text)"),
    open("aws_report_detail_partition(date)"),
    open("aws_report_detail_is_attached(text)"),
    open(
        "aws_report_day(timestamp with time zone, timestamp with time zone, timestamp with time zone)",
    ),
    open("aws_report_domain(text)"),
    open("aws_report_is_simulator(text)"),
    open("aws_report_bounce_kind(timestamp with time zone, text, text, timestamp with time zone)"),
    open("aws_report_complaint_kind(timestamp with time zone, text, text)"),
    open("aws_report_complaint_rank(text, text)"),
    open("aws_report_tags_join(jsonb, jsonb)"),
    open("aws_report_was_attempted(text, timestamp with time zone, text, text)"),
    open("aws_report_counts_for_aws(text, text)"),
    open(
        "aws_report_figures(timestamp with time zone, timestamp with time zone, timestamp with time zone, \
         text, text, boolean, timestamp with time zone, text, text, boolean, boolean, \
         timestamp with time zone, timestamp with time zone, timestamp with time zone, \
         timestamp with time zone, timestamp with time zone, timestamp with time zone, \
         timestamp with time zone)",
    ),
    open("aws_report_figures_age()"),
    // With the caller's rights, and only the owner has those.
    open("aws_report_retention_advance(text, date)"),
    worker_only("aws_report_detail_ensure(date)"),
    worker_only("aws_report_daily_refresh(date)"),
    worker_only("aws_report_daily_add(integer)"),
    worker_only("aws_report_unjudged_take(integer)"),
    worker_only("aws_report_interactions(uuid[])"),
    worker_only("aws_report_recipients(uuid[])"),
    worker_only("aws_report_answers(uuid[])"),
    worker_only("aws_report_backfill_auto_replies(text, integer)"),
    worker_only("aws_report_backfill_meanings(text, integer)"),
    // A trigger needs no right to be called.
    worker_only("aws_reports_note_changes()"),
];

/// A right that a role gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// What it is a right to, such as `TABLE "aws_reports".aws_reports`.
    pub(crate) on: String,
    /// The right, with its columns.
    pub(crate) rights: String,
    /// Who gets it.
    pub(crate) to: RoleName,
}

/// The rights of all roles but the owner, who has all.
#[must_use]
pub(crate) fn grants(schema: &SchemaName, roles: &Roles) -> Vec<Grant> {
    let mut grants = Vec::new();
    let list = |names: Vec<&str>| names.join(", ");
    let (key, folded) =
        (list(columns::key_names().collect()), list(columns::folded_names().collect()));
    let detail = list(columns::DETAIL.iter().map(|column| column.name).collect());
    let mut grant = |on: String, rights: &str, to: Option<&RoleName>| {
        if let (Some(to), false) = (to, rights.is_empty()) {
            let rights = (rights.replace("{key}", &key))
                .replace("{folded}", &folded)
                .replace("{detail}", &detail);
            grants.push(Grant { on, rights, to: to.clone() });
        }
    };
    let (worker, reader) = (Some(&roles.worker), roles.reader.as_ref());
    let (sender, operator) = (roles.sender.as_ref(), roles.operator.as_ref());
    let quoted = schema.quoted();
    for role in [worker, reader, sender, operator] {
        grant(format!("SCHEMA {quoted}"), "USAGE", role);
    }
    for object in OBJECTS {
        match object.rights {
            Rights::Table { worker: of_worker, sender: of_sender, operator: of_operator } => {
                let on = format!("TABLE {quoted}.{}", object.name);
                grant(on.clone(), of_worker, worker);
                grant(on.clone(), of_sender, sender);
                grant(on.clone(), of_worker, operator);
                grant(on, of_operator, operator);
            }
            Rights::WorkerOnly => {
                let on = format!("FUNCTION {quoted}.{}", object.name);
                grant(on.clone(), "EXECUTE", worker);
                grant(on, "EXECUTE", operator);
            }
            Rights::Open => {}
        }
    }
    // Partitions and the tables of a newer version among them.
    grant(format!("ALL TABLES IN SCHEMA {quoted}"), "SELECT", reader);
    grants
}

/// The SQL that gives the roles their rights. Before the first migration it creates the schema; the
/// migrator then gives the rights to what it creates.
#[must_use]
pub fn sql(schema: &SchemaName, roles: &Roles) -> String {
    let owner = roles.owner.quoted();
    let mut sql = format!(
        "-- The rights of ses-reports, for version {} of its schema. Run this once, before the first migration or later,
-- as a superuser or as a role that may SET ROLE to the owner. It records the roles in the comment of the schema, so that
-- each later migration gives them their rights to what it creates. Either all of it is applied or nothing, and applying
-- it again changes nothing.
-- Create the roles first, and set their passwords with \\password:
",
        newest()
    );
    for role in std::iter::once(&roles.owner).chain(roles.others()) {
        let _ = writeln!(sql, "--   CREATE ROLE {} LOGIN;", role.quoted());
    }
    let _ = writeln!(
        sql,
        "-- If another role has run the migrations so far, give its tables to the owner. This moves all that it owns in this database:
--   REASSIGN OWNED BY that_role TO {owner};
"
    );
    let block = block(schema, roles);
    let tag = unused_tag(&block);
    let _ = writeln!(sql, "DO {tag}\n{block}{tag};");
    sql
}

fn block(schema: &SchemaName, roles: &Roles) -> String {
    let (quoted, owner) = (schema.quoted(), roles.owner.quoted());
    // CREATE SCHEMA IF NOT EXISTS would need the right to create even where it has nothing to do.
    let mut block = format!(
        "BEGIN
    IF to_regnamespace('{quoted}') IS NULL THEN
        CREATE SCHEMA {quoted} AUTHORIZATION {owner};
    END IF;
"
    );
    if let Some(reader) = &roles.reader {
        let _ = writeln!(
            block,
            "    ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {quoted} GRANT SELECT ON TABLES TO {};",
            reader.quoted()
        );
    }
    let _ = writeln!(block, "    {}", granted::record(schema, roles));
    let _ = write!(
        block,
        "    IF to_regclass('{quoted}.refinery_schema_history') IS NULL THEN
        RAISE NOTICE 'nothing is migrated yet: migrate as the owner, which gives the other roles their rights';
        RETURN;
    END IF;
"
    );
    for statement in statements(schema, roles) {
        let _ = writeln!(block, "    {statement};");
    }
    block.push_str("END\n");
    block
}

/// The statements that grant the roles their rights in the schema, and revoke all others.
pub(super) fn statements(schema: &SchemaName, roles: &Roles) -> Vec<String> {
    let quoted = schema.quoted();
    let mut statements = Vec::new();
    for role in roles.others() {
        for kind in ["TABLES", "ROUTINES"] {
            let role = role.quoted();
            statements.push(format!("REVOKE ALL ON ALL {kind} IN SCHEMA {quoted} FROM {role}"));
        }
    }
    let guarded = OBJECTS.iter().filter(|object| matches!(object.rights, Rights::WorkerOnly));
    statements.extend(
        guarded
            .map(|object| format!("REVOKE ALL ON FUNCTION {quoted}.{} FROM PUBLIC", object.name)),
    );
    statements.extend(
        grants(schema, roles)
            .into_iter()
            .map(|Grant { on, rights, to }| format!("GRANT {rights} ON {on} TO {}", to.quoted())),
    );
    statements
}

/// A dollar quote that no name in the text ends.
fn unused_tag(text: &str) -> String {
    let mut tag = "$grants$".to_owned();
    while text.contains(&tag) {
        tag.insert(tag.len() - 1, '_');
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleName {
        RoleName::new(name).expect("a good name")
    }

    fn sql_for(owner: &str, reader: Option<&str>) -> String {
        let (owner, worker, reader) = (role(owner), role("w"), reader.map(role));
        let roles = Roles { owner, worker, reader, sender: None, operator: None };
        sql(&SchemaName::new("aws_reports").expect("a good name"), &roles)
    }

    #[test]
    fn no_name_ends_the_quote() {
        let sql = sql_for("o", Some("$grants$; x"));
        assert_eq!(sql.matches("$grants_$").count(), 2, "{sql}");
    }

    #[test]
    fn a_role_that_is_not_asked_for_gets_nothing() {
        let sql = sql_for("o", None);
        assert!(!sql.contains("DEFAULT PRIVILEGES"), "{sql}");
        assert!(sql_for("o", Some("r")).contains("SELECT ON TABLES TO \"r\""));
    }

    #[test]
    fn where_there_is_no_operator_nobody_but_the_owner_deletes_or_truncates() {
        let sql = sql_for("o", Some("r"));
        for word in ["DELETE", "TRUNCATE", "TRIGGER", "REFERENCES", "WITH GRANT"] {
            assert!(!sql.contains(word), "{word}: {sql}");
        }
    }
}

//! `ses-reports grants`: the SQL of the roles, printed and never executed.

use clap::Args;
use serde_json::json;

use super::answer;
use super::exit::Failure;
use crate::config::Wrong;
use crate::postgres::SchemaName;
use crate::schema::grants::{self, RoleName, Roles};

/// `ses-reports grants`.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP, max_term_width = 100)]
pub(super) struct GrantsArgs {
    /// The role that owns the schema and migrates it
    #[arg(long, value_name = "ROLE", default_value = "ses_reports_owner", value_parser = RoleName::new)]
    owner: RoleName,

    /// The role of the workers
    #[arg(long, value_name = "ROLE", default_value = "ses_reports_worker", value_parser = RoleName::new)]
    worker: RoleName,

    /// A role that may read all tables and views
    #[arg(long, value_name = "ROLE", value_parser = RoleName::new)]
    reader: Option<RoleName>,

    /// A role for applications that send mail: it may create the report row of a mail and set its
    /// `user_id` and `report_type`
    #[arg(long, value_name = "ROLE", value_parser = RoleName::new)]
    sender: Option<RoleName>,

    /// A role for people who operate ses-reports: it may do what a worker may, replay archives,
    /// read, retry and delete dead letters, and change the rules for opens and clicks
    #[arg(long, value_name = "ROLE", value_parser = RoleName::new)]
    operator: Option<RoleName>,

    /// The PostgreSQL schema that ses-reports owns
    #[arg(long, env, default_value = "aws_reports", value_name = "NAME", value_parser = SchemaName::new)]
    database_schema: SchemaName,

    /// Print one JSON object with the rights and the SQL
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Create the roles before you run the SQL. It grants them their rights, revokes all their other rights in \
the schema, and records the roles, so that each later migration grants them their rights to what it \
creates. Run it again when you add a role.

  ses-reports grants --reader analyst | psql -X -v ON_ERROR_STOP=1 -f - \"$ADMIN_URL\"";

pub(super) fn run(args: GrantsArgs) -> Result<(), Failure> {
    let schema = args.database_schema;
    let roles = Roles {
        owner: args.owner,
        worker: args.worker,
        reader: args.reader,
        sender: args.sender,
        operator: args.operator,
    };
    check_distinct(&roles)?;
    let sql = grants::sql(&schema, &roles);
    let text = if args.json {
        let rights: Vec<_> = grants::grants(&schema, &roles)
            .into_iter()
            .map(|grant| json!({"role": grant.to.as_str(), "on": grant.on, "rights": grant.rights}))
            .collect();
        let text = json!({
            "schema": schema.as_str(),
            "owner": roles.owner.as_str(),
            "rights": rights,
            "sql": sql,
        });
        text.to_string()
    } else {
        sql
    };
    answer(&text);
    Ok(())
}

fn check_distinct(roles: &Roles) -> Result<(), Wrong> {
    let mut names = vec![&roles.owner, &roles.worker];
    names.extend(&roles.reader);
    names.extend(&roles.sender);
    names.extend(&roles.operator);
    names.sort_by_key(|role| role.as_str());
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Wrong::new(format!("{:?} is given twice: the roles must differ", pair[0].as_str())))
        }
        None => Ok(()),
    }
}

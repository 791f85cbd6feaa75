//! `ses-reports grants`: the SQL of the roles, printed and never executed.

use serde_json::json;

use super::answer;
use super::exit::Failure;
use crate::config::GrantsArgs;
use crate::schema::grants;

pub(super) fn run(args: &GrantsArgs) -> Result<(), Failure> {
    let (schema, roles) = args.check()?;
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

//! `ses-reports grants`: the SQL of the roles, printed and never executed.

use std::io::Write as _;

use serde_json::json;

use super::{Failure, failed};
use crate::config::GrantsArgs;
use crate::schema::grants;

pub(super) fn print(args: &GrantsArgs) -> Result<(), Failure> {
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
        format!("{text}\n")
    } else {
        sql
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(failed(format!("could not write: {error}")))
        }
        _ => Ok(()),
    }
}

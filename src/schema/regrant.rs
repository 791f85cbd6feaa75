//! Grants the roles their rights to what a migration has created, before the first worker needs them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::granted::Granted;
use super::roles::RoleName;
use super::{Error, Schema, Status, grants, newest};
use crate::postgres::quote_literal;

impl Schema {
    /// The roles that may lack a right: something was applied just now, or by a migrator that ended
    /// before it gave them. `None` before everything is applied, and where `grants` was never run.
    pub(super) async fn ungranted(
        &self,
        connection: &mut PgConnection,
        status: &Status,
        has_applied: bool,
    ) -> Result<Option<Granted>, Error> {
        if status.version != newest() {
            return Ok(None);
        }
        let granted = Granted::in_comment(&self.comment(connection).await?);
        Ok(granted.filter(|granted| has_applied || granted.version < newest()))
    }

    /// Gives the roles their rights again, in one transaction; returns which roles.
    ///
    /// # Errors
    /// [`Error::Grants`]. What was applied stays applied.
    pub(super) async fn grant_again(
        &self,
        connection: &mut PgConnection,
        granted: Granted,
    ) -> Result<Vec<String>, Error> {
        let owner = granted.roles.owner.as_str().to_owned();
        self.try_grant(connection, granted)
            .await
            .map_err(|source| Error::Grants { owner, source: Box::new(source) })
    }

    async fn try_grant(
        &self,
        connection: &mut PgConnection,
        mut granted: Granted,
    ) -> Result<Vec<String>, Error> {
        let comment = self.comment(connection).await?;
        let names: Vec<String> =
            granted.roles.others().iter().map(|role| role.as_str().to_owned()).collect();
        let there: Vec<String> = sqlx::query_scalar(
            "-- ses-reports: find the roles that exist
            SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)",
        )
        .bind(&names)
        .fetch_all(&mut *connection)
        .await?;
        for gone in names.iter().filter(|name| !there.contains(name)) {
            tracing::warn!(
                "role {gone}, to which `ses-reports grants` gave rights, no longer exists: run `ses-reports grants` again with the roles that exist"
            );
        }
        let is_there = |role: &RoleName| there.iter().any(|name| name == role.as_str());
        if !is_there(&granted.roles.worker) {
            return Ok(Vec::new());
        }
        for role in
            [&mut granted.roles.reader, &mut granted.roles.sender, &mut granted.roles.operator]
        {
            *role = role.take().filter(is_there);
        }
        let statements = grants::statements(&self.name, &granted.roles).join(";\n");
        self.refuse_others_tables(connection).await?;
        let comment = format!(
            "COMMENT ON SCHEMA {} IS {}",
            self.name.quoted(),
            quote_literal(&granted.renewed(&comment))
        );
        let mut transaction = connection.begin().await?;
        let sql =
            format!("-- ses-reports: grant the rights of this version\n{statements};\n{comment}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(names.into_iter().filter(|name| there.contains(name)).collect())
    }

    /// To what another role owns, GRANT may do nothing and only warn.
    async fn refuse_others_tables(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let of_others: Option<String> = sqlx::query_scalar(
            "-- ses-reports: find what another role owns
            SELECT string_agg(format('%s (of %s)', name, owner::regrole), ', ' ORDER BY name)
            FROM (SELECT relname, relowner FROM pg_class
                    WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v')
                UNION ALL SELECT proname, proowner FROM pg_proc
                    WHERE pronamespace = to_regnamespace($1)) AS object (name, owner)
            WHERE NOT pg_has_role(owner, 'USAGE')",
        )
        .bind(self.name.quoted())
        .fetch_one(connection)
        .await?;
        let belongs = |names| Error::Failed(format!("another role owns {names}"));
        of_others.map_or(Ok(()), |names| Err(belongs(names)))
    }

    async fn comment(&self, connection: &mut PgConnection) -> Result<String, sqlx::Error> {
        let comment: Option<String> = sqlx::query_scalar(
            "-- ses-reports: read the comment of the schema
            SELECT obj_description(to_regnamespace($1), 'pg_namespace')",
        )
        .persistent(false)
        .bind(self.name.quoted())
        .fetch_one(connection)
        .await?;
        Ok(comment.unwrap_or_default())
    }
}

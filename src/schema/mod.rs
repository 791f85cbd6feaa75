//! The schema, and the only code that changes it. Migrations are embedded and applied by refinery, never
//! by two processes at once.
//!
//! | file | what happens there |
//! |---|---|
//! | `embedded`, `files`, `sql`, `lint` | the migration files: their names, their statements, what a linter says |
//! | `session`, `lock`, `history` | a direct session with PostgreSQL, the lock against other migrators, and what was applied |
//! | `up`, `down`, `driver`, `apply`, `statement`, `code`, `progress` | a migration is run, or undone |
//! | `status`, `plan`, `verify`, `shadow`, `catalog`, `normal` | the state of a schema: as it is, as `up` would leave it, and as it should be |
//! | `partitions` | the months of details: which there are, which are missing |
//! | `roles`, `grants`, `granted`, `regrant` | who may do what, and how rights are given after a migration |
//! | `repair`, `new` | edited files are accepted; new files are created |
//! | `baseline` | tables that were created by hand are moved out of the way |

mod apply;
mod baseline;
mod catalog;
mod code;
mod down;
mod driver;
mod embedded;
pub(crate) mod files;
mod granted;
pub mod grants;
mod history;
mod lint;
mod lock;
pub(crate) mod new;
mod normal;
pub(crate) mod partitions;
mod plan;
mod progress;
mod regrant;
mod repair;
mod roles;
pub(crate) mod session;
mod shadow;
mod sql;
mod statement;
mod status;
mod up;
mod verify;

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::postgres::{SchemaName, explain};

pub(crate) use down::{Downto, Loss};
pub(crate) use embedded::in_folder;
pub use embedded::{EMBEDDED, Migration, newest};
pub(crate) use plan::Plan;
pub(crate) use repair::Repair;
pub(crate) use status::{MigrationState, Status};
pub(crate) use up::Upgrade;
pub(crate) use verify::Drift;

/// How long a migrator waits for another one to end.
pub(crate) const MIGRATOR_TIMEOUT: Duration = Duration::from_mins(5);

/// The schema of one database, and the migrations that create it.
#[derive(Debug, Clone)]
pub struct Schema {
    /// How to connect, straight to PostgreSQL.
    pub(crate) options: PgConnectOptions,
    /// Its name.
    pub(crate) name: SchemaName,
    /// In order, from version 1, without gaps.
    pub(crate) migrations: Cow<'static, [Migration]>,
    /// How long to wait for another migrator to end.
    pub(crate) migrator_timeout: Duration,
    /// The server where shadow databases may be made, if not that of the database itself.
    pub(crate) shadow: Option<PgConnectOptions>,
}

impl Schema {
    /// With the embedded migrations.
    #[must_use]
    pub fn new(options: PgConnectOptions, name: SchemaName) -> Self {
        Self {
            options,
            name,
            migrations: Cow::Borrowed(EMBEDDED),
            migrator_timeout: MIGRATOR_TIMEOUT,
            shadow: None,
        }
    }

    /// The newest version that is known here.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.migrations.last().map_or(0, |migration| migration.version)
    }
}

/// Why the schema is not as it should be, or was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file was changed after it had been applied.
    #[error(
        "migration {0} differs from what was applied to this database: an applied migration is never edited; restore it and write a new one (`ses-reports migrate repair` accepts changed comments)"
    )]
    Divergent(String),
    /// A number below the newest applied one was never applied.
    #[error(
        "migration {0} was not applied although later ones were: the history of this database has a gap"
    )]
    Missing(String),
    /// `--no-migrate` on a schema that this binary cannot work with.
    #[error(
        "schema {schema} is at version {found}, this ses-reports needs {needed}: run `ses-reports --migrate-only` first"
    )]
    Older {
        /// The schema.
        schema: String,
        /// The newest applied migration, 0 for none.
        found: u32,
        /// The newest migration known here.
        needed: u32,
    },
    /// The schema has migrations that this binary does not know.
    #[error(
        "schema {schema} is at version {found}, newer than this ses-reports knows ({newest}): use the version that migrated it"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The newest applied migration.
        found: u32,
        /// The newest migration known here.
        newest: u32,
    },
    /// There is no such version.
    #[error("there is no version {version}: the versions are 1 to {newest}")]
    NoSuchVersion {
        /// What was asked for.
        version: u32,
        /// The newest migration known here.
        newest: u32,
    },
    /// Another migrator does not end.
    #[error(
        "another migration is running (backend {holder}), waited {waited} s: wait for it or end it"
    )]
    Locked {
        /// Process id and application name of the session that holds the lock.
        holder: String,
        /// How long, in seconds.
        waited: u64,
    },
    /// A lock that traffic would wait behind could not be obtained.
    #[error(
        "a table was in use for too long (lock_timeout {}, five attempts): nothing was changed; run it again when the long transaction has ended",
        session::LOCK_TIMEOUT
    )]
    Blocked,
    /// A migration failed; it was rolled back, and those before it stay.
    #[error("{name}: {source}{}", already(.applied))]
    Migration {
        /// Its file name without `.sql`.
        name: String,
        /// What was applied before it.
        applied: Vec<Applied>,
        /// Why.
        source: Box<Error>,
    },
    /// Something that PostgreSQL or refinery says.
    #[error("{0}")]
    Failed(String),
    /// An index was built and is not valid.
    #[error("index {0} is invalid after its build: run the migration again, which builds it again")]
    InvalidIndex(String),
    /// Undoing would drop rows.
    #[error(
        "this would drop {}: nothing was changed; to drop it nevertheless, add --allow-data-loss",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    WouldLose(Vec<Loss>),
    /// A shadow database cannot be made.
    #[error(
        "a shadow database is needed to find out what the migrations create, but it cannot be created here (CREATEDB is missing, or the server is read-only): grant CREATEDB, or set SHADOW_DATABASE_URL to another server of the same version"
    )]
    NoShadow,
    /// The database cannot hold every character.
    #[error("the database is in {0}: create one with ENCODING 'UTF8'")]
    Encoding(String),
    /// A session cannot be kept.
    #[error(
        "the URL leads to a connection pooler (PgBouncer, RDS Proxy) that may give each transaction a different session, or that refuses session settings: set MIGRATION_DATABASE_URL to PostgreSQL itself"
    )]
    Pooler,
    /// A setting of the role, the database or the server that nothing but an operator can undo.
    #[error(
        "{name} is {value} for this role: the result of migrations would differ from what they ask for; undo it (ALTER ROLE or ALTER DATABASE … RESET {name})"
    )]
    Setting {
        /// The setting.
        name: String,
        /// What it is.
        value: String,
    },
    /// Rights could not be granted.
    #[error(
        "everything is applied, but the rights of the other roles could not be granted: {source}: migrate as {owner}, or run what `ses-reports grants` prints"
    )]
    Grants {
        /// Who owned the schema when `grants` was run.
        owner: String,
        /// Why.
        source: Box<Error>,
    },
    /// PostgreSQL does not answer.
    #[error("no answer within {} s", session::CONNECT_TIMEOUT.as_secs())]
    Unreachable,
    /// PostgreSQL cannot be reached or asked.
    #[error("{}", explain(.0))]
    Database(#[from] sqlx::Error),
}

/// A migration that was applied or undone just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its file name without `.sql`.
    pub(crate) name: String,
    /// How long it took, waits for locks included.
    pub(crate) took: Duration,
}

fn already(applied: &[Applied]) -> String {
    match applied.last() {
        Some(last) => format!(" ({} before it stay applied, up to {})", applied.len(), last.name),
        None => String::new(),
    }
}

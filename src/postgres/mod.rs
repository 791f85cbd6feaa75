//! What every module that talks to PostgreSQL needs: names that are safe to put into SQL, SQLSTATEs, and
//! the settings of a session. It knows none of our tables.

mod error;
mod name;
mod session;

pub(crate) use error::{explain, has_sqlstate, sqlstate};
pub use name::SchemaName;
pub(crate) use name::{quote_ident, quote_literal};
pub(crate) use session::{begin_read_only, with_fixed_settings};

//! What every part that speaks to PostgreSQL needs of it: names that are safe to paste into SQL, what
//! its errors are called, and what a session asks for. It knows none of our tables.

mod error;
mod name;
mod session;

pub(crate) use error::{explain, has_sqlstate, sqlstate};
pub use name::SchemaName;
pub(crate) use name::{quote_ident, quote_literal};
pub(crate) use session::{begin_read_only, with_fixed_settings};

//! Classify: what events mean, by rules that are data. Pure.
//!
//! `bounce` says why a mail bounced or was delayed and whose fault that is; `provider` says whose
//! mailbox the recipient has; `machine` says who opened or clicked. `version` names
//! all of these rules together.

pub mod bounce;
pub mod machine;
pub mod provider;
pub(crate) mod version;

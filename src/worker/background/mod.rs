//! The work that a worker does in the background, beside the path of the messages.

pub(super) mod backfill;
pub(super) mod daily;
pub(super) mod judge;
pub(super) mod machine_rules;
pub(super) mod months;
pub(super) mod retention;

//! What a worker does for the schema beside the messages.

pub(super) mod backfill;
pub(super) mod daily;
pub(super) mod months;
pub(super) mod retention;

//! What limits the flow of messages: who may ask SQS now, how much may be held, and how long what is
//! held stays hidden from other workers.

pub(super) mod budget;
pub(super) mod gate;
pub(super) mod leases;
pub(super) mod poll_limiter;
pub(super) mod shared_backoff;

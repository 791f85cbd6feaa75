//! What limits the flow of messages: which tasks may call SQS now, how much may be held, and how long
//! messages that are held stay hidden from other workers.

pub(super) mod budget;
pub(super) mod gate;
pub(super) mod leases;
pub(super) mod poll_limiter;
pub(super) mod shared_backoff;

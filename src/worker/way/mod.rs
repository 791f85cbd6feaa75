//! The path of a message through the worker: received and decoded, verified, written, deleted.

pub(super) mod deleter;
pub(super) mod held;
pub(super) mod pending;
pub(super) mod poller;
pub(super) mod tables;
pub(super) mod verification;
pub(super) mod writer;

#[cfg(test)]
mod tests;

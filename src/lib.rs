//! Moves Amazon SES events from SQS into PostgreSQL report tables.
//!
//! These modules are on the path of an event, in the order in which it meets them:
//!
//! | module | what happens there |
//! |---|---|
//! | [`queue`] | a message is received, and later deleted or given back |
//! | [`decode`] | its body becomes rows, an acknowledgement or a dead letter; pure |
//! | [`classify`] | `decode` asks it what the event means, by rules that are data: bounce classes, mailbox providers, people and machines; pure |
//! | [`trust`] | its topic and its signature are verified, if the operator has turned that on; pure except for fetching certificates |
//! | [`row`] | defines the rows, and the fold that joins the rows of one report; pure |
//! | [`batch`] | rows of many messages become the columns of one statement; pure |
//! | [`ingest`] | a batch is written, tried again or bisected, depending on what a failure means |
//! | [`store`] | one transaction writes the batch |
//!
//! [`worker`] moves messages along this path and gives back those that it cannot write.
//!
//! Bodies from other sources take the same path from `decode` on:
//!
//! | module | where the bodies come from |
//! |---|---|
//! | [`replay`] | archives |
//! | [`dead_letters`] | dead letters that are tried again |
//! | [`baseline`] | tables that were created by hand |
//!
//! [`schema`] owns the tables (migrations, grants, partitions), and [`retention`] removes old rows. The
//! process around all this is [`cli`], [`config`], [`http`] (probes and metrics), [`telemetry`],
//! [`shutdown`] and [`metrics`]. Small modules that others share are [`postgres`] (names, errors, sessions), `https` (the
//! client of AWS and of certificates), [`backoff`] and [`causes`].
//!
//! Six invariants, each with the tests that check it:
//! 1. A message is deleted from SQS only after the transaction that holds its rows has committed
//!    (`tests/it/crash.rs`, `tests/it/faults.rs`).
//! 2. A body that cannot be decoded is stored whole, with its reason, as a dead letter and then
//!    deleted from the queue: it never blocks the queue, and it can be retried (`tests/it/dead_letters.rs`).
//! 3. Writing the same message twice, in any order, on any machine, changes nothing
//!    (`tests/it/store.rs`).
//! 4. The state of a report is a fold over its events that does not depend on their order (`batch.rs`,
//!    `row/mod.rs`, `tests/it/stream.rs`).
//! 5. Decoding does no I/O. Only the store runs SQL on the report tables; only the schema module
//!    runs DDL (`tests/it/layers.rs`).
//! 6. Memory is bounded: a slow database slows the polling and never makes a queue in memory grow
//!    (`worker/flow/budget.rs`).

pub mod batch;
pub mod classify;
pub mod decode;
mod ingest;
pub mod queue;
pub mod row;
pub mod store;
mod trust;
mod worker;

mod baseline;
mod dead_letters;
mod replay;

pub mod retention;
pub mod schema;

pub mod cli;
mod config;
mod http;
mod metrics;
mod shutdown;
mod telemetry;

mod backoff;
mod causes;
mod https;
pub mod postgres;

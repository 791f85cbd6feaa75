//! Moves Amazon SES events from SQS into PostgreSQL report tables.
//!
//! The way of an event is the order of the modules:
//!
//! | module | what happens there |
//! |---|---|
//! | [`queue`] | a message is received, deleted, given back |
//! | [`decode`] | its body becomes rows, an acknowledgement or a dead letter; pure |
//! | [`trust`] | whether its topic and its signature are those of SNS; off unless asked for |
//! | [`row`] | what those rows are, and the fold that joins the rows of one report; pure |
//! | [`batch`] | rows of many messages become the columns of one statement; pure |
//! | [`store`] | one transaction writes them |
//! | [`worker`] | moves messages along this way, for ever, and gives back what it cannot write |
//! | [`schema`] | owns the tables: migrations, grants, partitions |
//! | [`retention`] | drops months of details and removes reports that are no longer kept |
//! | [`postgres`] | what all of these need of PostgreSQL: names, errors, sessions |
//!
//! Six things are always true. The test that holds each is named with it.
//! 1. A message is deleted from SQS only after the transaction that holds its rows has committed
//!    (`tests/it/crash.rs`, `tests/it/faults.rs`).
//! 2. A body that cannot be understood is stored whole, with its reason, as a dead letter and then
//!    deleted: it never blocks the queue, and it can be replayed (`tests/it/dead_letters.rs`).
//! 3. Writing the same message twice, in any order, on any machine, changes nothing
//!    (`tests/it/store.rs`).
//! 4. The state is a fold over the events that does not depend on their order (`batch.rs`,
//!    `row.rs`, `tests/it/stream.rs`).
//! 5. Decoding does no I/O. Only the store speaks SQL to the report tables; only the schema module
//!    runs DDL (`tests/it/layers.rs`).
//! 6. Memory is bounded: a slow database slows the polling, never grows a queue in RAM
//!    (`worker/flow/budget.rs`).

pub mod backoff;
pub mod baseline;
pub mod batch;
pub mod causes;
pub mod cli;
pub mod config;
pub mod dead_letters;
pub mod decode;
pub mod http;
mod https;
pub mod ingest;
pub mod metrics;
pub mod postgres;
pub mod queue;
pub mod replay;
pub mod retention;
pub mod row;
pub mod schema;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod trust;
pub mod worker;

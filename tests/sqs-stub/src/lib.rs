//! An SQS in memory, for load tests and for faults that no other emulator makes.
//!
//! It speaks the AWS JSON protocol 1.0, so every SDK can talk to it; it hands out some 25,000
//! messages a second for 10 to 20 µs of CPU each; it knows of every message how often it was handed
//! out and how it ended; and a script may spoil any call.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use sqs_stub::{Action, Fault, Settings, Stub};
//!
//! let stub = Stub::start().await?;
//! let url = stub.create_queue("events", Settings::default());
//! stub.put("events", ["a body", "another"]);
//! stub.script(|call| match (call.action, call.before) {
//!     (Action::DeleteMessageBatch, 0) => Fault::LoseAnswer,
//!     _ => Fault::None,
//! });
//! // … let a consumer loose on `url` …
//! assert_eq!(stub.counts("events").deleted, 2);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what happens there |
//! |---|---|
//! | [`queue`] | messages, visibility timeouts, receipt handles, accounts: pure, time is a value |
//! | `wire` | requests and answers as bytes |
//! | `service` | a request becomes changes of queues and an answer; long polls wait here |
//! | [`fault`] | what a script may do to a call |
//! | [`profile`] | a script that draws its faults from a seed |
//! | `server` | HTTP |
//! | [`bodies`] | bodies for a benchmark |
//!
//! What it leaves out: FIFO queues, message attributes, signatures, permissions, retention.

pub mod bodies;
mod clock;
pub mod fault;
pub mod profile;
pub mod queue;
mod server;
mod service;
mod stub;
mod wire;

pub use fault::{Call, Fault, Refusal};
pub use profile::Profile;
pub use queue::{Account, Counts, Redrive, Settings, StaleDelete};
pub use stub::{CallCounts, Stats, Stub};
pub use wire::Action;

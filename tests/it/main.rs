//! The integration tests: the real binary on a real PostgreSQL and a real LocalStack.
//!
//! They take both from the environment that `localstack/stack run` sets (`make test` does that),
//! and fail where one is missing. Each test has a database and, where it needs one, a queue of its
//! own, so they run side by side.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(unreachable_pub, reason = "nothing here is reachable")]

mod account_events;
mod backfill;
mod baseline;
mod blame;
mod bounds;
mod classes;
mod cli;
mod columns;
mod contract;
mod crash;
mod crash_points;
mod crash_seeds;
mod daily;
mod dead_letters;
mod dead_letters_command;
mod docs;
mod faults;
mod fuzz;
mod http;
mod kept;
mod layers;
mod logs;
mod machines;
mod meaning;
mod migrate;
mod migrators;
mod model;
mod outage;
mod pooler;
mod queue;
mod redrive;
mod replay;
mod retention;
mod roles;
mod rules;
mod schema;
mod ses;
mod statements;
mod store;
mod stream;
mod support;
mod surroundings;
mod trust;
mod versions;
mod visibility;

//! What the tests share: databases, queues, workers, generated messages.

pub mod database;
pub mod event;
pub mod generate;
pub mod ledger;
pub mod migrations;
pub mod pooler;
pub mod process;
pub mod proxy;
pub mod queue;
pub mod rds_proxy;
pub mod rig;
pub mod server;
pub mod sns;
mod template;

/// A variable that `localstack/stack run` sets.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: these tests need PostgreSQL and LocalStack; run them with `make test`")
    })
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::from_u64_pair(fastrand_seed(), u64::from(std::process::id()));
    format!("{prefix}-{}", &random.simple().to_string()[..20])
}

fn fastrand_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

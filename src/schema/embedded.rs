//! The migrations that this binary carries.

/// A migration and the script that undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: u32,
    /// Its file name without `.sql`: `V0001__content_ids`.
    pub stem: &'static str,
    /// The SQL of `migrations/`.
    pub up: &'static str,
    /// The SQL of `migrations/down/`.
    pub down: &'static str,
}

/// All of them, in order; made by the build script.
pub const EMBEDDED: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The newest version that this binary knows.
#[must_use]
pub fn newest() -> u32 {
    EMBEDDED.last().map_or(0, |migration| migration.version)
}

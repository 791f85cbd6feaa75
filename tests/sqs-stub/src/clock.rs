//! Where time enters; everything else takes it as a value.

use std::time::{Duration, Instant, SystemTime};

use crate::queue::Time;

/// A clock that never goes back, and agrees with the wall when it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    made: Instant,
    at: Time,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { made: Instant::now(), at: at.unwrap_or(Duration::ZERO) }
    }

    pub(crate) fn now(&self) -> Time {
        self.at + self.made.elapsed()
    }
}

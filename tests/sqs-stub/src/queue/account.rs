//! What became of the messages.

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::Time;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// SQS `MessageId`.
    pub message_id: Uuid,
    /// How often it was handed out.
    pub received: u32,
    /// Where it is now, or how it ended.
    #[serde(flatten)]
    pub state: State,
    /// Its deletes, those included that came too late or did nothing.
    pub deletes: u32,
}

/// Where a message is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// It waits to be received.
    Visible,
    /// It waits until it may be received for the first time.
    Delayed,
    /// It is received, and hidden from others.
    InFlight,
    /// It is deleted.
    Deleted {
        /// When, since the Unix epoch; in JSON in whole milliseconds.
        #[serde(serialize_with = "milliseconds")]
        at: Time,
        /// Whether its handle was stale: its time was over, or the message was received again.
        was_stale: bool,
    },
    /// It was received too often, and is in the dead-letter queue.
    DeadLettered,
}

fn milliseconds<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(time.as_millis())
}

/// Totals of a queue. Every message that was put is in exactly one of the first five.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages that wait.
    pub visible: u64,
    /// Messages that wait for their delay.
    pub delayed: u64,
    /// Messages that are received and neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages that are deleted.
    pub deleted: u64,
    /// Messages that were moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Of the deleted ones, those whose handle was stale.
    pub deleted_while_stale: u64,
    /// Times that any message was handed out.
    pub received: u64,
    /// Of those, times that it was not the message's first.
    pub received_again: u64,
    /// Deletes of messages that were deleted already.
    pub deleted_again: u64,
    /// Deletes with a stale handle that deleted nothing.
    pub stale_deletes_without_effect: u64,
}

impl Counts {
    /// Messages that were put.
    #[must_use]
    pub fn put(&self) -> u64 {
        self.left() + self.deleted + self.dead_lettered
    }

    /// Messages that are neither deleted nor dead-lettered.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.visible + self.delayed + self.in_flight
    }
}

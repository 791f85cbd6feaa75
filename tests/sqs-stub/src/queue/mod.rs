//! One standard queue. Pure: every method is told the time, and nothing here waits.

mod account;
mod body;
mod handle;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use uuid::Uuid;

pub use account::{Account, Counts, State};
pub use body::Body;
use handle::Receive;

/// A moment, since the Unix epoch.
pub type Time = Duration;

/// How a queue behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a received message stays hidden, where the receive does not say.
    pub visibility: Duration,
    /// How long a receive waits for a first message, where it does not say.
    pub wait: Duration,
    /// How long a sent message waits, where the send does not say.
    pub delay: Duration,
    /// What becomes of messages that are received too often.
    pub redrive: Option<Redrive>,
    /// What a delete with a stale handle does.
    pub stale_delete: StaleDelete,
}

impl Default for Settings {
    /// As `CreateQueue` without attributes.
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(30),
            wait: Duration::ZERO,
            delay: Duration::ZERO,
            redrive: None,
            stale_delete: StaleDelete::default(),
        }
    }
}

/// SQS's `RedrivePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The name of the dead-letter queue.
    pub dead_letter_queue: String,
    /// Receives after which the next one moves a message there.
    pub max_receive_count: u32,
}

/// What a delete does whose handle is not of the message's last receive. All three are seen in the
/// wild; so a consumer must take a successful delete for "perhaps".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StaleDelete {
    /// It succeeds and deletes nothing, as `DeleteMessage`'s reference says.
    #[default]
    Ignored,
    /// It deletes the message.
    Deletes,
    /// It fails with `ReceiptHandleIsInvalid`.
    Fails,
}

/// Why a handle is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Useless {
    /// This queue has not made it, or will not have it any more.
    Invalid,
    /// Its message is there, but visible.
    NotInFlight,
    /// Its message is gone, or was received again.
    NotAvailable,
}

/// A message as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `MessageId`.
    pub message_id: Uuid,
    /// What to delete it with.
    pub receipt_handle: String,
    /// The body.
    pub body: Body,
    /// `SentTimestamp`.
    pub sent_at: Time,
    /// `ApproximateFirstReceiveTimestamp`.
    pub first_received_at: Time,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
}

/// What a receive brings.
#[derive(Debug, Default)]
pub struct Received {
    /// The messages.
    pub deliveries: Vec<Delivery>,
    /// Messages for the dead-letter queue.
    pub dead: Vec<Dead>,
}

/// A message that was received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    message_id: Uuid,
    body: Body,
    sent_at: Time,
}

/// Which messages a receive takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those that have waited longest.
    Oldest,
    /// Any, drawn from this seed.
    Drawn(u64),
}

#[derive(Debug)]
struct Message {
    id: Uuid,
    /// Dropped when the message leaves, so that a long run keeps accounts only.
    body: Option<Body>,
    sent_at: Time,
    first_received_at: Time,
    received: u32,
    deletes: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Visible,
    HiddenUntil(Time),
    Deleted { at: Time, was_stale: bool },
    DeadLettered,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    settings: Settings,
    /// Makes its handles and message ids differ from those of other queues.
    key: u64,
    messages: Vec<Message>,
    /// Messages that are visible, each once; and some that have left since.
    visible: VecDeque<usize>,
    /// When hidden messages become visible; entries that no longer hold are passed over.
    hidden: BinaryHeap<Reverse<(Time, usize)>>,
    counts: Counts,
}

impl Queue {
    /// An empty queue. Queues with different keys have different handles and message ids.
    #[must_use]
    pub fn new(settings: Settings, key: u64) -> Self {
        Self {
            settings,
            key,
            messages: Vec::new(),
            visible: VecDeque::new(),
            hidden: BinaryHeap::new(),
            counts: Counts::default(),
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes a message; it may be received once `delay` is over.
    pub fn put(&mut self, body: Body, delay: Duration, now: Time) -> Uuid {
        let number = u64::try_from(self.messages.len()).unwrap_or(u64::MAX);
        let message_id = Uuid::from_u64_pair(self.key, number);
        self.add(Dead { message_id, body, sent_at: now }, delay, now);
        message_id
    }

    /// Takes a message that another queue has moved here: id and time of sending stay.
    pub fn put_dead(&mut self, dead: Dead, now: Time) {
        self.add(dead, Duration::ZERO, now);
    }

    fn add(&mut self, message: Dead, delay: Duration, now: Time) {
        let index = self.messages.len();
        let place = if delay.is_zero() {
            self.visible.push_back(index);
            self.counts.visible += 1;
            Place::Visible
        } else {
            self.hidden.push(Reverse((now + delay, index)));
            self.counts.delayed += 1;
            Place::HiddenUntil(now + delay)
        };
        self.messages.push(Message {
            id: message.message_id,
            body: Some(message.body),
            sent_at: message.sent_at,
            first_received_at: Time::ZERO,
            received: 0,
            deletes: 0,
            place,
        });
    }

    /// Hands out up to `most` messages and hides each for `hidden`; zero leaves them visible.
    pub fn receive(&mut self, most: usize, hidden: Duration, order: Order, now: Time) -> Received {
        self.settle(now);
        let mut random = match order {
            Order::Oldest => None,
            Order::Drawn(seed) => Some(fastrand::Rng::with_seed(seed)),
        };
        let mut brought = Received::default();
        let mut still_visible = Vec::new();
        while brought.deliveries.len() < most {
            if let Some(random) = &mut random
                && !self.visible.is_empty()
            {
                self.visible.swap(0, random.usize(..self.visible.len()));
            }
            let Some(index) = self.visible.pop_front() else { break };
            let Some(message) = self.messages.get_mut(index) else { continue };
            if message.place != Place::Visible {
                continue;
            }
            let Some(body) = &message.body else { continue };
            let limit = self.settings.redrive.as_ref().map(|redrive| redrive.max_receive_count);
            if limit.is_some_and(|limit| message.received >= limit) {
                message.place = Place::DeadLettered;
                self.counts.visible -= 1;
                self.counts.dead_lettered += 1;
                brought.dead.extend(message.body.take().map(|body| Dead {
                    message_id: message.id,
                    body,
                    sent_at: message.sent_at,
                }));
                continue;
            }
            message.received += 1;
            self.counts.received += 1;
            if message.received == 1 {
                message.first_received_at = now;
            } else {
                self.counts.received_again += 1;
            }
            brought.deliveries.push(Delivery {
                message_id: message.id,
                receipt_handle: Receive { message: index, receive: message.received }
                    .encode(self.key),
                body: body.clone(),
                sent_at: message.sent_at,
                first_received_at: message.first_received_at,
                receive_count: message.received,
            });
            if hidden.is_zero() {
                still_visible.push(index);
            } else {
                message.place = Place::HiddenUntil(now + hidden);
                self.hidden.push(Reverse((now + hidden, index)));
                self.counts.visible -= 1;
                self.counts.in_flight += 1;
            }
        }
        self.visible.extend(still_visible);
        brought
    }

    /// Deletes by a handle; `stale` says what a stale one does.
    ///
    /// # Errors
    /// [`Useless::Invalid`] for a handle of no receive, and for a stale one where that fails.
    pub fn delete(&mut self, handle: &str, stale: StaleDelete, now: Time) -> Result<(), Useless> {
        self.settle(now);
        let receive = Receive::decode(handle, self.key).ok_or(Useless::Invalid)?;
        let message = self.messages.get_mut(receive.message).ok_or(Useless::Invalid)?;
        message.deletes += 1;
        let is_superseded = message.received != receive.receive;
        match message.place {
            Place::Deleted { .. } | Place::DeadLettered => {
                self.counts.deleted_again += 1;
                return Ok(());
            }
            Place::Visible | Place::HiddenUntil(_) => {}
        }
        if is_superseded && stale != StaleDelete::Deletes {
            self.counts.stale_deletes_without_effect += 1;
            return if stale == StaleDelete::Fails { Err(Useless::Invalid) } else { Ok(()) };
        }
        let was_stale = is_superseded || message.place == Place::Visible;
        match message.place {
            Place::Visible => self.counts.visible -= 1,
            _ => self.counts.in_flight -= 1,
        }
        self.counts.deleted += 1;
        self.counts.deleted_while_stale += u64::from(was_stale);
        message.place = Place::Deleted { at: now, was_stale };
        message.body = None;
        Ok(())
    }

    /// Hides a message for that long from now; zero gives it back at once.
    ///
    /// # Errors
    /// See [`Useless`].
    pub fn change_visibility(
        &mut self,
        handle: &str,
        hidden: Duration,
        now: Time,
    ) -> Result<(), Useless> {
        self.settle(now);
        let receive = Receive::decode(handle, self.key).ok_or(Useless::Invalid)?;
        let message = self.messages.get_mut(receive.message).ok_or(Useless::Invalid)?;
        match message.place {
            Place::Deleted { .. } | Place::DeadLettered => return Err(Useless::NotAvailable),
            _ if message.received != receive.receive => return Err(Useless::NotAvailable),
            Place::Visible => return Err(Useless::NotInFlight),
            Place::HiddenUntil(_) => {}
        }
        if hidden.is_zero() {
            message.place = Place::Visible;
            self.visible.push_back(receive.message);
            self.counts.in_flight -= 1;
            self.counts.visible += 1;
        } else {
            message.place = Place::HiddenUntil(now + hidden);
            self.hidden.push(Reverse((now + hidden, receive.message)));
        }
        Ok(())
    }

    /// When the next hidden message becomes visible, if nothing happens before.
    pub fn next_visible(&mut self) -> Option<Time> {
        while let Some(Reverse((at, index))) = self.hidden.peek().copied() {
            if self.is_hidden_until(index, at) {
                return Some(at);
            }
            self.hidden.pop();
        }
        None
    }

    /// The totals.
    pub fn counts(&mut self, now: Time) -> Counts {
        self.settle(now);
        self.counts
    }

    /// What became of each message, in the order in which they were put.
    pub fn accounts(&mut self, now: Time) -> impl Iterator<Item = Account> {
        self.settle(now);
        self.messages.iter().map(|message| Account {
            message_id: message.id,
            received: message.received,
            deletes: message.deletes,
            state: match message.place {
                Place::Visible => State::Visible,
                Place::HiddenUntil(_) if message.received == 0 => State::Delayed,
                Place::HiddenUntil(_) => State::InFlight,
                Place::Deleted { at, was_stale } => State::Deleted { at, was_stale },
                Place::DeadLettered => State::DeadLettered,
            },
        })
    }

    /// Makes visible what was hidden until now.
    fn settle(&mut self, now: Time) {
        while let Some(Reverse((at, index))) = self.hidden.peek().copied()
            && at <= now
        {
            self.hidden.pop();
            if !self.is_hidden_until(index, at) {
                continue;
            }
            if let Some(message) = self.messages.get_mut(index) {
                message.place = Place::Visible;
                if message.received == 0 {
                    self.counts.delayed -= 1;
                } else {
                    self.counts.in_flight -= 1;
                }
                self.counts.visible += 1;
                self.visible.push_back(index);
            }
        }
    }

    fn is_hidden_until(&self, index: usize, at: Time) -> bool {
        self.messages.get(index).is_some_and(|message| message.place == Place::HiddenUntil(at))
    }
}

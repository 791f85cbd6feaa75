//! The gate closes for all pollers while PostgreSQL accepts no writes or SQS refuses deletes. Messages that were
//! received then would only age in memory and come closer to the redrive limit of the queue.

use tokio::sync::watch;

/// The reasons why it is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Closed {
    database_away: Option<String>,
    refusing: Option<String>,
    deletes_refused: bool,
}

impl Closed {
    fn is_open(&self) -> bool {
        self.database_away.is_none() && self.refusing.is_none() && !self.deletes_refused
    }
}

/// Opens and closes for all pollers together.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: watch::Sender<Closed>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { closed: watch::Sender::new(Closed::default()) }
    }
}

impl Gate {
    /// Waits until the gate is open.
    pub(crate) async fn open(&self) {
        // The sender lives as long as self, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(Closed::is_open).await;
    }

    /// Whether the gate is closed.
    pub(crate) fn is_closed(&self) -> bool {
        !self.closed.borrow().is_open()
    }

    /// Whether the database accepts no writes.
    pub(crate) fn is_database_away(&self) -> bool {
        self.closed.borrow().database_away.is_some()
    }

    /// What the worker waits for in PostgreSQL, if anything.
    pub(crate) fn reason(&self) -> Option<String> {
        let closed = self.closed.borrow();
        closed.database_away.clone().or_else(|| closed.refusing.clone())
    }

    /// Records that the database accepts writes (`None`), or why it does not; true if this has changed.
    pub(crate) fn set_database_away(&self, away: Option<String>) -> bool {
        self.set(away, |closed| &mut closed.database_away)
    }

    /// Records that PostgreSQL refuses too many messages to receive more, or no longer does; true if this
    /// has changed.
    pub(crate) fn set_refusing(&self, refusing: Option<String>) -> bool {
        self.set(refusing, |closed| &mut closed.refusing)
    }

    /// Records whether SQS refuses deletes.
    pub(crate) fn set_deletes_refused(&self, refused: bool) {
        self.closed.send_if_modified(|closed| {
            std::mem::replace(&mut closed.deletes_refused, refused) != refused
        });
    }

    fn set(
        &self,
        reason: Option<String>,
        of: impl FnOnce(&mut Closed) -> &mut Option<String>,
    ) -> bool {
        let mut is_news = false;
        self.closed.send_if_modified(|closed| {
            let held = of(closed);
            is_news = held.is_some() != reason.is_some();
            let changed = *held != reason;
            *held = reason;
            changed
        });
        is_news
    }
}

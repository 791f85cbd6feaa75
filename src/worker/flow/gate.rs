//! Who may receive now: nobody while the database takes no writes or SQS refuses deletes. What would be
//! received then could only age in memory and use up the queue's redrive limit.

use tokio::sync::watch;

/// Why it is closed, each for its own reason.
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

/// Opens and closes for all pollers at once.
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
    /// Waits until receiving makes sense.
    pub(crate) async fn open(&self) {
        // The sender lives as long as self, so this cannot fail.
        let _ = self.closed.subscribe().wait_for(Closed::is_open).await;
    }

    /// Whether receiving makes no sense now.
    pub(crate) fn is_closed(&self) -> bool {
        !self.closed.borrow().is_open()
    }

    /// Whether the database takes no writes.
    pub(crate) fn is_database_away(&self) -> bool {
        self.closed.borrow().database_away.is_some()
    }

    /// What PostgreSQL is waited for, if it is.
    pub(crate) fn reason(&self) -> Option<String> {
        let closed = self.closed.borrow();
        closed.database_away.clone().or_else(|| closed.refusing.clone())
    }

    /// Tells that the database takes writes, or why it does not; true if it did the other before.
    pub(crate) fn set_database_away(&self, away: Option<String>) -> bool {
        self.set(away, |closed| &mut closed.database_away)
    }

    /// Tells that PostgreSQL refuses so many messages that no more are to be received, or no longer; true
    /// if that is news.
    pub(crate) fn set_refusing(&self, refusing: Option<String>) -> bool {
        self.set(refusing, |closed| &mut closed.refusing)
    }

    /// Tells that SQS carries out deletes or does not.
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

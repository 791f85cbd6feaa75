//! Who may receive now: nobody while the database is away or SQS refuses deletes. What would be
//! received then could only age in memory and burn the queue's redrive limit.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Closed {
    /// Why, if it is.
    database_away: Option<&'static str>,
    deletes_refused: bool,
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
        let _ = self.closed.subscribe().wait_for(|closed| *closed == Closed::default()).await;
    }

    /// Whether receiving makes no sense now.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow() != Closed::default()
    }

    /// What the database is waited for, if it is.
    pub(crate) fn database_away(&self) -> Option<&'static str> {
        self.closed.borrow().database_away
    }

    /// Tells that the database answers, or why it does not; true if that is news.
    pub(crate) fn set_database_away(&self, away: Option<&'static str>) -> bool {
        self.closed
            .send_if_modified(|closed| std::mem::replace(&mut closed.database_away, away) != away)
    }

    /// Tells that SQS carries out deletes or does not.
    pub(crate) fn set_deletes_refused(&self, refused: bool) {
        self.closed.send_if_modified(|closed| {
            std::mem::replace(&mut closed.deletes_refused, refused) != refused
        });
    }
}

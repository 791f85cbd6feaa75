//! What a script may do to a call.

use std::time::Duration;

use crate::queue::StaleDelete;
use crate::wire::Action;

/// A call that is about to be carried out, as a script sees it.
#[derive(Debug)]
pub struct Call<'a> {
    /// What it asks for.
    pub action: Action,
    /// The name of its queue; empty where it names none.
    pub queue: &'a str,
    /// How many calls of this action came before it, to any queue.
    pub before: u64,
    /// The client's `User-Agent`; empty where it sends none.
    pub user_agent: &'a str,
    /// Whose signature it has, and when that was made, as in `20261125T100000Z`. The stub checks none.
    pub access_key_id: &'a str,
    #[expect(missing_docs, reason = "see above")]
    pub signed_at: &'a str,
    /// How long the stub has been running.
    pub running: Duration,
    /// The receipt handles in it, in their order.
    pub handles: Vec<&'a str>,
}

/// What becomes of a call. A fault that does not concern an action leaves it alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    /// It goes well.
    #[default]
    None,
    /// It is not carried out, and an error says so.
    Refuse(Refusal),
    /// It is not carried out and never answered; the connection stays open.
    Silence,
    /// It is carried out at once and answered so much later.
    Delay(Duration),
    /// It is carried out; instead of an answer the connection is closed.
    LoseAnswer,
    /// It is carried out; the connection is closed after half of the answer's body.
    CutBody,
    /// It is carried out; after half of the answer's body nothing follows, and the connection
    /// stays open.
    StallBody,
    /// A delete, or a change of visibility, is answered as a success and not carried out: the
    /// message comes again.
    Ignore,
    /// These entries of a batch, by their places, are not carried out and fail with these codes.
    FailEntries(Vec<(usize, &'static str)>),
    /// What a receive hands out stays hidden for that long only, whatever was asked: its handles
    /// become stale early. With zero the next receive hands it out once more at once.
    HideFor(Duration),
    /// A receive draws its messages from all visible ones, by this seed.
    Reorder(u64),
    /// A delete with a stale handle does this, whatever the queue's settings say.
    StaleDelete(StaleDelete),
}

/// Errors of a call as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 403 `AccessDeniedException`.
    AccessDenied,
    /// 500 `InternalFailure`.
    InternalFailure,
    /// 400 `RequestThrottled`.
    Throttled,
    /// 400 `OverLimit`: too many messages are in flight.
    OverLimit,
    /// 400 `QueueDoesNotExist`.
    NoSuchQueue,
    /// 403 `ExpiredToken`: the credentials were good once.
    ExpiredToken,
    /// 403 `InvalidSignatureException`: it was signed by a clock that is wrong.
    Skewed,
}

impl Fault {
    /// Its name in statistics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Refuse(Refusal::AccessDenied) => "access_denied",
            Self::Refuse(Refusal::InternalFailure) => "internal_failure",
            Self::Refuse(Refusal::Throttled) => "throttled",
            Self::Refuse(Refusal::OverLimit) => "over_limit",
            Self::Refuse(Refusal::NoSuchQueue) => "no_such_queue",
            Self::Refuse(Refusal::ExpiredToken) => "expired_token",
            Self::Refuse(Refusal::Skewed) => "skewed",
            Self::Silence => "silence",
            Self::Delay(_) => "delay",
            Self::LoseAnswer => "lose_answer",
            Self::CutBody => "cut_body",
            Self::StallBody => "stall_body",
            Self::Ignore => "ignore",
            Self::FailEntries(_) => "fail_entries",
            Self::HideFor(_) => "hide_for",
            Self::Reorder(_) => "reorder",
            Self::StaleDelete(_) => "stale_delete",
        }
    }

    /// The code with which it has the entry at this place fail.
    pub(crate) fn fails(&self, index: usize) -> Option<&'static str> {
        let Self::FailEntries(entries) = self else { return None };
        entries.iter().find(|(place, _)| *place == index).map(|(_, code)| *code)
    }
}

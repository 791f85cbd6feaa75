//! Bodies on their way through a replay.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::decode::identity::dead_letter_id;
use crate::decode::{Outcome, Reason, Rejection, Rules, decode};
use crate::row::{AccountEvent, EventRow};
use crate::store::{DeadLetter, Part, Refusal};

/// Bodies of one file that follow each other.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: i32,
    pub(super) name: Arc<str>,
    pub(super) first_body: i64,
    pub(super) bodies: Vec<(u64, String)>,
    /// Whether the file ends with it.
    pub(super) is_last: bool,
}

/// A body that is decoded and not yet written.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) number: i64,
    pub(super) line: u64,
    body: String,
    pub(super) outcome: Outcome,
    source: String,
}

/// The substitute for the SQS message id in the id of a dead letter: the same body, wherever it is
/// found again, is the same dead letter.
const ANY_ARCHIVE: &str = "replay";

impl Chunk {
    /// Decodes all bodies.
    pub(super) fn decode(self, rules: &Rules, now: OffsetDateTime) -> Vec<Decoded> {
        (self.first_body..)
            .zip(self.bodies)
            .map(|(number, (line, body))| {
                let outcome = decode(&body, None, rules, now);
                let source = match &outcome {
                    Outcome::DeadLetter(_) => source(&self.name, line),
                    _ => String::new(),
                };
                Decoded { number, line, body, outcome, source }
            })
            .collect()
    }
}

fn source(name: &str, line: u64) -> String {
    format!("replay:{name}:{line}")
}

impl Decoded {
    /// Makes it a dead letter, because PostgreSQL refuses it as what it was. False if it is one
    /// already.
    pub(super) fn make_dead_letter(&mut self, name: &str, refusal: &Refusal) -> bool {
        if matches!(self.outcome, Outcome::DeadLetter(_)) {
            return false;
        }
        let detail = Some(format!("SQLSTATE {}: {}", refusal.code, refusal.message));
        self.outcome = Outcome::DeadLetter(Rejection { reason: Reason::Refused, detail });
        self.source = source(name, self.line);
        true
    }

    fn rows(&self) -> &[EventRow] {
        self.outcome.rows()
    }
}

/// The rows of some bodies.
pub(super) fn rows(part: &[Decoded]) -> Vec<&EventRow> {
    part.iter().flat_map(Decoded::rows).collect()
}

/// The events about an account or a tenant among them.
pub(super) fn account_events(part: &[Decoded]) -> Vec<&AccountEvent> {
    part.iter().flat_map(|decoded| decoded.outcome.account_events()).collect()
}

/// The dead letters among them.
pub(super) fn dead_letters(part: &[Decoded]) -> Vec<DeadLetter<'_>> {
    let letter = |decoded: &'_ Decoded| match &decoded.outcome {
        Outcome::DeadLetter(rejection) => Some((rejection.reason, rejection.detail.clone())),
        _ => None,
    };
    part.iter()
        .filter_map(|decoded| {
            let (reason, detail) = letter(decoded)?;
            Some(DeadLetter {
                id: dead_letter_id(&decoded.body, ANY_ARCHIVE),
                body: &decoded.body,
                reason: reason.to_string(),
                detail,
                sqs_message_id: None,
                source: &decoded.source,
                sent_at: None,
                receive_count: None,
            })
        })
        .collect()
}

/// The position of some bodies and what they are.
pub(super) fn describe(
    (replay, run): (Uuid, Uuid),
    file: i32,
    first_body: i64,
    is_last: bool,
    part: &[Decoded],
) -> Part {
    let count = |is: fn(&Outcome) -> bool| {
        number(part.iter().filter(|decoded| is(&decoded.outcome)).count())
    };
    Part {
        replay,
        run,
        file,
        first_body,
        is_last,
        with_events: count(|outcome| !outcome.rows().is_empty()),
        acknowledged: count(|outcome| outcome.acknowledged().is_some()),
        dead_letters: count(|outcome| matches!(outcome, Outcome::DeadLetter(_))),
        events: number(part.iter().map(|decoded| decoded.rows().len()).sum()),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

//! A script that draws its faults.

use std::time::Duration;

use crate::fault::{Call, Fault, Refusal};
use crate::queue::StaleDelete;
use crate::wire::Action;

/// Draws a fault for a part of all receives, deletes and changes of visibility. What becomes of a
/// call depends on the seed, its action and how many calls of that action came before it; so the
/// same seed gives the same schedule, as far as clients that run at once ask in the same order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Another seed is another schedule.
    pub seed: u64,
    /// The part of calls that get a fault, from 0 to 1.
    pub rate: f64,
}

impl Profile {
    /// What becomes of a call.
    #[must_use]
    pub fn fault(&self, call: &Call<'_>) -> Fault {
        let seed =
            self.seed ^ (call.before << 8) ^ u64::from(call.action.name().len().to_le_bytes()[0]);
        let mut random = fastrand::Rng::with_seed(seed);
        if random.f64() >= self.rate {
            return Fault::None;
        }
        let entries = call.handles.len();
        let some = |codes: &[&'static str], random: &mut fastrand::Rng| {
            let failed = (0..entries).filter(|_| random.bool()).map(|index| {
                (index, codes.get(index % codes.len().max(1)).copied().unwrap_or("InternalError"))
            });
            Fault::FailEntries(failed.collect::<Vec<_>>())
        };
        // Faults that cost a client tens of seconds are rare, so that work goes on beside them.
        match random.u32(..1_000) {
            0..=2 => return Fault::Silence,
            3..=5 => return Fault::StallBody,
            6..=9 => return Fault::Refuse(Refusal::AccessDenied),
            _ => {}
        }
        let of_any = [
            Fault::Refuse(Refusal::InternalFailure),
            Fault::Refuse(Refusal::Throttled),
            Fault::LoseAnswer,
            Fault::CutBody,
            Fault::Delay(Duration::from_millis(random.u64(1..2_000))),
        ];
        let of_its_own = match call.action {
            Action::ReceiveMessage => vec![
                Fault::Refuse(Refusal::OverLimit),
                Fault::HideFor(Duration::ZERO),
                Fault::HideFor(Duration::from_millis(random.u64(1..2_000))),
                Fault::Reorder(random.u64(..)),
            ],
            Action::DeleteMessage | Action::DeleteMessageBatch => vec![
                Fault::Ignore,
                Fault::StaleDelete(StaleDelete::Deletes),
                Fault::StaleDelete(StaleDelete::Fails),
                some(&["InternalError", "ReceiptHandleIsInvalid", "RequestThrottled"], &mut random),
            ],
            Action::ChangeMessageVisibility | Action::ChangeMessageVisibilityBatch => {
                vec![Fault::Ignore, some(&["InternalError", "ReceiptHandleIsInvalid"], &mut random)]
            }
            _ => return Fault::None,
        };
        let drawn = random.usize(..of_any.len() + of_its_own.len());
        of_any.into_iter().chain(of_its_own).nth(drawn).unwrap_or_default()
    }
}

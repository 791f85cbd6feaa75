//! Why a mail bounced or was delayed.
//!
//! The evidence is what SES says, the reply and enhanced status codes of RFC 5321 and RFC 3463, and the
//! text of the server. `evidence` brings them into one form; the rules of `rules.toml` are tried on it in
//! order, and the first match decides.

mod class;
mod evidence;
mod rules;
#[cfg(test)]
mod tests;

pub use class::{BounceClass, Fault};
pub use evidence::Evidence;
pub use rules::VERSION;

/// The class of a bounce or a delay, for one recipient. `None` is unknown.
#[must_use]
pub fn class(evidence: &Evidence<'_>) -> Option<BounceClass> {
    rules::RULES.class(&evidence.normal())
}

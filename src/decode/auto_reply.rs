//! Which bounces are answers of the recipient.

use super::json::Object;

/// Whether a bounce is none. SES takes answers of people and of their out-of-office programs for bounces of
/// Transient/General; the difference is that no server has reported anything.
pub(super) fn is_auto_reply(
    bounce_type: &str,
    sub_type: Option<&str>,
    is_unreported: impl FnOnce() -> bool,
) -> bool {
    bounce_type == "Transient" && sub_type == Some("General") && is_unreported()
}

/// Whether an entry quotes nothing of a delivery report.
pub(super) fn says_nothing(entry: &Object<'_>) -> bool {
    ["action", "status", "diagnosticCode"].iter().all(|key| entry.non_empty_str(key).is_none())
}

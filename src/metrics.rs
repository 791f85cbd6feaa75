//! The names of the metrics, and their recorder. Counters count since the start of the process.
//!
//! Names follow Prometheus: the application first, base units, `_total` for counters. Labels come
//! from small fixed sets.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) const MESSAGES_RECEIVED: &str = "ses_reports_messages_received_total";
pub(crate) const MESSAGES_REDELIVERED: &str = "ses_reports_messages_redelivered_total";
pub(crate) const MESSAGES_ACKNOWLEDGED: &str = "ses_reports_messages_acknowledged_total";
pub(crate) const MESSAGES_DELETED: &str = "ses_reports_messages_deleted_total";
pub(crate) const MESSAGES_NOT_DELETED: &str = "ses_reports_messages_not_deleted_total";
pub(crate) const MESSAGES_HELD: &str = "ses_reports_messages_held";
pub(crate) const DEAD_LETTERS: &str = "ses_reports_dead_letters_total";
pub(crate) const MESSAGES_TRUSTED: &str = "ses_reports_messages_trusted_total";
pub(crate) const MESSAGES_REFUSED: &str = "ses_reports_messages_refused_total";
pub(crate) const MESSAGES_UNVERIFIED: &str = "ses_reports_messages_unverified_total";
pub(crate) const MESSAGES_AWAITING_CERTIFICATE: &str = "ses_reports_messages_awaiting_certificate";
pub(crate) const MESSAGES_BLOCKED: &str = "ses_reports_messages_blocked";
pub(crate) const CERTIFICATE_FAILURES: &str = "ses_reports_certificate_failures_total";
pub(crate) const DETAILS_NEW: &str = "ses_reports_details_new_total";
pub(crate) const DETAILS_KNOWN: &str = "ses_reports_details_known_total";
pub(crate) const DETAILS_EXPIRED: &str = "ses_reports_details_expired_total";
pub(crate) const REPORTS_JUDGED: &str = "ses_reports_reports_judged_total";
pub(crate) const EVENTS_RECLASSIFIED: &str = "ses_reports_events_reclassified_total";
pub(crate) const RECEIVE_FAILURES: &str = "ses_reports_receive_failures_total";
pub(crate) const WRITE_FAILURES: &str = "ses_reports_write_failures_total";
pub(crate) const TRANSACTION_SECONDS: &str = "ses_reports_transaction_seconds";
pub(crate) const COMMIT_SECONDS: &str = "ses_reports_commit_seconds";
pub(crate) const BATCH_MESSAGES: &str = "ses_reports_batch_messages";
pub(crate) const QUEUE_SECONDS: &str = "ses_reports_queue_seconds";
pub(crate) const REFRESH_SECONDS: &str = "ses_reports_daily_refresh_seconds";
pub(crate) const FIGURES_AGE: &str = "ses_reports_figures_age_seconds";
pub(crate) const DAYS_TO_COUNT: &str = "ses_reports_days_to_count";

/// Starts recording. Without it every record is a no-op.
///
/// # Errors
/// When a recorder is there already.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
    let waits = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3_600.0, 86_400.0];
    let sizes = [1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 5_000.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(TRANSACTION_SECONDS.to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Full(REFRESH_SECONDS.to_owned()), &seconds)?
        .set_buckets_for_metric(Matcher::Full(QUEUE_SECONDS.to_owned()), &waits)?
        .set_buckets_for_metric(Matcher::Full(BATCH_MESSAGES.to_owned()), &sizes)?
        .install_recorder()?;
    for (name, text) in [
        (MESSAGES_RECEIVED, "Messages received, redeliveries included"),
        (MESSAGES_REDELIVERED, "Messages that SQS had delivered before"),
        (MESSAGES_ACKNOWLEDGED, "Messages that say nothing about a mail that was sent, by kind"),
        (MESSAGES_DELETED, "Messages deleted from the queue"),
        (
            MESSAGES_NOT_DELETED,
            "Messages that SQS did not delete when asked; they will be received again",
        ),
        (DEAD_LETTERS, "Messages stored as dead letters, by reason"),
        (MESSAGES_TRUSTED, "Messages whose topic and signature were checked and accepted"),
        (MESSAGES_REFUSED, "Messages that are not trusted and became dead letters, by reason"),
        (
            MESSAGES_UNVERIFIED,
            "Messages that are not trusted and were written nevertheless, by reason",
        ),
        (
            CERTIFICATE_FAILURES,
            "Signing certificates that could not be fetched and are tried again",
        ),
        (DETAILS_NEW, "Detail rows that were new"),
        (DETAILS_KNOWN, "Detail rows that existed already: duplicates and replays"),
        (DETAILS_EXPIRED, "Detail rows that were not stored, because they are no longer kept"),
        (
            REPORTS_JUDGED,
            "Reports whose opens and clicks were judged together, after they were written",
        ),
        (EVENTS_RECLASSIFIED, "Opens and clicks that got another class by that"),
        (
            RECEIVE_FAILURES,
            "Receives that failed, by kind: transient failures pass, permanent ones need a person",
        ),
        (WRITE_FAILURES, "Transactions that failed and are tried again"),
    ] {
        describe_counter!(name, text);
    }
    describe_gauge!(MESSAGES_HELD, "Messages received and not yet deleted");
    describe_gauge!(
        MESSAGES_AWAITING_CERTIFICATE,
        "Of those, messages that wait for a signing certificate"
    );
    describe_histogram!(
        TRANSACTION_SECONDS,
        Unit::Seconds,
        "Duration of a transaction, by name and outcome"
    );
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Duration of a transaction that wrote messages"
    );
    describe_histogram!(BATCH_MESSAGES, "Messages that a transaction wrote");
    describe_histogram!(
        QUEUE_SECONDS,
        Unit::Seconds,
        "From a message entering the queue to its commit"
    );
    describe_histogram!(
        REFRESH_SECONDS,
        Unit::Seconds,
        "Duration of counting the figures of one day again"
    );
    describe_gauge!(
        FIGURES_AGE,
        Unit::Seconds,
        "Age of the oldest change of a report that is not in the daily figures"
    );
    describe_gauge!(DAYS_TO_COUNT, "Days whose figures wait to be counted again");
    // A counter that is not there until something happens cannot be alerted on.
    for name in [
        MESSAGES_RECEIVED,
        MESSAGES_REDELIVERED,
        MESSAGES_DELETED,
        MESSAGES_NOT_DELETED,
        DETAILS_NEW,
        DETAILS_KNOWN,
        DETAILS_EXPIRED,
        REPORTS_JUDGED,
        EVENTS_RECLASSIFIED,
        WRITE_FAILURES,
        MESSAGES_TRUSTED,
        CERTIFICATE_FAILURES,
    ] {
        metrics::counter!(name).absolute(0);
    }
    metrics::gauge!(MESSAGES_HELD).set(0.0);
    for by in ["lock", "refusal"] {
        metrics::gauge!(MESSAGES_BLOCKED, "by" => by).set(0.0);
    }
    metrics::gauge!(MESSAGES_AWAITING_CERTIFICATE).set(0.0);
    Ok(handle)
}

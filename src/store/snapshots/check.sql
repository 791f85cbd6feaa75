-- ses-reports: check reports against their details
-- The lists are those of src/row/; PostgreSQL gets what is in snapshots/check.sql.
-- One statement, so that both are seen as of one moment. $1 and $2 bound the report ids, $1 excluded.
-- Left out: send_at, which copies without a detail row may have lowered; reports of which retention
-- has dropped some details ($3, the first day of details that is kept); reports that were adopted by
-- migrate baseline ($4); what a backfill has yet to write ($5, whether all are done). Identity feedback cuts the times of bounces
-- and complaints to the second, and either copy may be the detail.
WITH compared AS (
    SELECT report.id AS report_id, array_remove(ARRAY[
        CASE WHEN date_trunc('second', report.bounce_at) IS DISTINCT FROM date_trunc('second', fold.bounce_at) THEN 'bounce_at' END,
        CASE WHEN date_trunc('second', report.complaint_at) IS DISTINCT FROM date_trunc('second', fold.complaint_at) THEN 'complaint_at' END,
        CASE WHEN report.delivery_at IS DISTINCT FROM fold.delivery_at THEN 'delivery_at' END,
        CASE WHEN report.reject_at IS DISTINCT FROM fold.reject_at THEN 'reject_at' END,
        CASE WHEN report.open_at IS DISTINCT FROM fold.open_at THEN 'open_at' END,
        CASE WHEN report.click_at IS DISTINCT FROM fold.click_at THEN 'click_at' END,
        CASE WHEN report.rendering_failure_at IS DISTINCT FROM fold.rendering_failure_at THEN 'rendering_failure_at' END,
        CASE WHEN report.delivery_delay_at IS DISTINCT FROM fold.delivery_delay_at THEN 'delivery_delay_at' END,
        CASE WHEN report.subscription_at IS DISTINCT FROM fold.subscription_at THEN 'subscription_at' END,
        CASE WHEN report.open_count <> fold.open_count THEN 'open_count' END,
        CASE WHEN report.click_count <> fold.click_count THEN 'click_count' END,
        CASE WHEN $5 AND report.human_open_at IS DISTINCT FROM fold.human_open_at THEN 'human_open_at' END,
        CASE WHEN $5 AND report.human_click_at IS DISTINCT FROM fold.human_click_at THEN 'human_click_at' END,
        CASE WHEN $5 AND date_trunc('second', report.not_spam_at) IS DISTINCT FROM date_trunc('second', fold.not_spam_at)
            THEN 'not_spam_at' END,
        CASE WHEN $5 AND fold.complaint_rank <> {schema}.aws_report_complaint_rank(
            report.complaint_sub_type, report.complaint_feedback_type) THEN 'complaint_sub_type' END,
        CASE WHEN $5 AND NOT report.bounce_class = ANY (fold.bounce_classes) THEN 'bounce_class' END
    ], NULL) AS columns
    FROM {schema}.aws_reports AS report
    CROSS JOIN LATERAL (
        SELECT min("timestamp") FILTER (WHERE event_type = 'Bounce') AS bounce_at,
            min("timestamp") FILTER (WHERE event_type = 'Complaint') AS complaint_at,
            min("timestamp") FILTER (WHERE event_type = 'Delivery') AS delivery_at,
            min("timestamp") FILTER (WHERE event_type = 'Reject') AS reject_at,
            min("timestamp") FILTER (WHERE event_type = 'Open') AS open_at,
            min("timestamp") FILTER (WHERE event_type = 'Click') AS click_at,
            min("timestamp") FILTER (WHERE event_type = 'Rendering Failure') AS rendering_failure_at,
            min("timestamp") FILTER (WHERE event_type = 'DeliveryDelay') AS delivery_delay_at,
            min("timestamp") FILTER (WHERE event_type = 'Subscription') AS subscription_at,
            count(*) FILTER (WHERE event_type = 'Open') AS open_count,
            count(*) FILTER (WHERE event_type = 'Click') AS click_count,
            min("timestamp") FILTER (WHERE event_type = 'Open' AND class = 'human') AS human_open_at,
            min("timestamp") FILTER (WHERE event_type = 'Click' AND class = 'human') AS human_click_at,
            max("timestamp") FILTER (WHERE event_type = 'Complaint'
                AND other_info #>> '{complaint,complaintFeedbackType}' = 'not-spam') AS not_spam_at,
            max({schema}.aws_report_complaint_rank(other_info #>> '{complaint,complaintSubType}',
                other_info #>> '{complaint,complaintFeedbackType}')) FILTER (WHERE event_type = 'Complaint') AS complaint_rank,
            array_agg(class) FILTER (WHERE event_type = 'Bounce') AS bounce_classes
        FROM {schema}.aws_report_detail WHERE report_id = report.id
    ) AS fold
    WHERE report.id > $1 AND report.id <= $2
        AND ($3::timestamptz IS NULL OR LEAST(
            report.send_at, report.bounce_at, report.complaint_at, report.delivery_at, report.reject_at,
            report.open_at, report.click_at, report.rendering_failure_at, report.delivery_delay_at,
            report.subscription_at) >= $3)
        AND ($4::timestamptz IS NULL OR report.created_at > $4)
)
SELECT report_id, columns FROM compared WHERE columns <> '{}'
UNION ALL
SELECT DISTINCT report_id, NULL::text[]
FROM {schema}.aws_report_detail AS detail
WHERE report_id > $1 AND report_id <= $2
    AND NOT EXISTS (SELECT FROM {schema}.aws_reports WHERE id = detail.report_id)

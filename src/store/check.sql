-- ses-reports: check reports against their details
-- The lists are those of src/row/; PostgreSQL gets what is in snapshots/check.sql.
-- One statement, so that both are seen as of one moment. $1 and $2 bound the report ids, $1 excluded.
-- Left out: send_at, which copies without a detail row may have lowered; reports of which retention
-- has dropped some details ($3, the first day of details that is kept); reports that were adopted by
-- migrate baseline ($4); what a backfill has yet to write ($5, whether all are done). Identity feedback cuts the times of bounces
-- and complaints to the second, and either copy may be the detail.
WITH compared AS (
    SELECT report.id AS report_id, array_remove(ARRAY[
        {differences},
        CASE WHEN $5 AND date_trunc('second', report.not_spam_at) IS DISTINCT FROM date_trunc('second', fold.not_spam_at)
            THEN 'not_spam_at' END,
        CASE WHEN $5 AND fold.complaint_rank <> {schema}.aws_report_complaint_rank(
            report.complaint_sub_type, report.complaint_feedback_type) THEN 'complaint_sub_type' END,
        CASE WHEN $5 AND NOT report.bounce_class = ANY (fold.bounce_classes) THEN 'bounce_class' END
    ], NULL) AS columns
    FROM {schema}.aws_reports AS report
    CROSS JOIN LATERAL (
        SELECT {folds},
            max("timestamp") FILTER (WHERE event_type = 'Complaint'
                AND other_info #>> '{complaint,complaintFeedbackType}' = 'not-spam') AS not_spam_at,
            max({schema}.aws_report_complaint_rank(other_info #>> '{complaint,complaintSubType}',
                other_info #>> '{complaint,complaintFeedbackType}')) FILTER (WHERE event_type = 'Complaint') AS complaint_rank,
            array_agg(class) FILTER (WHERE event_type = 'Bounce') AS bounce_classes
        FROM {schema}.aws_report_detail WHERE report_id = report.id
    ) AS fold
    WHERE report.id > $1 AND report.id <= $2
        AND ($3::timestamptz IS NULL OR LEAST(
            {times}) >= $3)
        AND ($4::timestamptz IS NULL OR report.created_at > $4)
)
SELECT report_id, columns FROM compared WHERE columns <> '{}'
UNION ALL
SELECT DISTINCT report_id, NULL::text[]
FROM {schema}.aws_report_detail AS detail
WHERE report_id > $1 AND report_id <= $2
    AND NOT EXISTS (SELECT FROM {schema}.aws_reports WHERE id = detail.report_id)

-- ses-reports: check the figures of a day
-- Whether counting the day $1 again gives a different result than its figures together with the notes that
-- are not added yet. It is one statement, so that everything is read in one snapshot.
WITH bounds AS (
    SELECT $1::timestamp AT TIME ZONE 'UTC' AS since, ($1 + 1)::timestamp AT TIME ZONE 'UTC' AS until
), reports AS (
    SELECT r.* FROM bounds, {schema}.aws_reports AS r WHERE r.send_at >= since AND r.send_at < until
    UNION ALL
    SELECT r.* FROM bounds, {schema}.aws_reports AS r
    WHERE r.send_at IS NULL AND (r.reject_at IS NOT NULL OR r.rendering_failure_at IS NOT NULL)
        AND coalesce(r.reject_at, r.rendering_failure_at, r.created_at) >= since
        AND coalesce(r.reject_at, r.rendering_failure_at, r.created_at) < until
), figures AS (
    SELECT {schema}.aws_report_domain(r.source_email) AS source_domain, r.report_type,
        coalesce(r.provider, 'other') AS provider, {counted}
    FROM reports AS r, {schema}.aws_report_figures(
        r.send_at, r.delivery_at, r.bounce_at, r.bounce_type, r.bounce_sub_type, r.counts_bounce,
        r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type, r.counts_complaint,
        r.counts_message, r.open_at, r.click_at, r.human_open_at, r.human_click_at, r.reject_at,
        r.rendering_failure_at, r.delivery_delay_at) AS f
    WHERE NOT {schema}.aws_report_is_simulator(r.user_email)
    UNION ALL
    SELECT source_domain, report_type, provider, {held}
    FROM {schema}.aws_report_daily WHERE day = $1
    UNION ALL
    SELECT source_domain, report_type, provider, {held}
    FROM {schema}.aws_report_daily_note WHERE day = $1
)
SELECT EXISTS (
    SELECT FROM figures GROUP BY source_domain, report_type, provider
    HAVING {differs})

-- What the demo prints: the questions that people ask, answered by the tables.
\set QUIET on
\pset footer off
\pset null '-'
\pset border 1
SET search_path = aws_reports;
SET TimeZone = 'UTC';

\echo
\echo '== Reports by final state'
SELECT CASE
        WHEN complaint_at IS NOT NULL THEN 'complained'
        WHEN aws_report_is_suppressed(bounce_sub_type) THEN 'suppressed: never attempted'
        WHEN bounce_type = 'Transient' AND bounce_sub_type = 'General' AND delivery_at IS NOT NULL
            THEN 'delivered, answered automatically'
        WHEN bounce_at IS NOT NULL THEN 'bounced: ' || concat_ws('/', bounce_type, bounce_sub_type)
        WHEN reject_at IS NOT NULL THEN 'rejected'
        WHEN rendering_failure_at IS NOT NULL THEN 'could not be rendered'
        WHEN click_at IS NOT NULL THEN 'clicked'
        WHEN open_at IS NOT NULL THEN 'opened'
        WHEN delivery_delay_at IS NOT NULL AND delivery_at IS NOT NULL THEN 'delivered after a delay'
        WHEN delivery_at IS NOT NULL THEN 'delivered'
        WHEN send_at IS NOT NULL THEN 'sent'
    END AS state,
    count(*) AS reports,
    string_agg(split_part(user_email, '@', 1), ', ' ORDER BY user_email) AS recipients
FROM aws_reports GROUP BY 1 ORDER BY 1;

\echo '== What happened to alice''s mail'
SELECT to_char("timestamp", 'HH24:MI:SS') AS time, event_type,
    coalesce(other_info #>> '{click,link}', other_info #>> '{delivery,smtpResponse}', '') AS detail
FROM aws_report_detail
WHERE report_id = (SELECT id FROM aws_reports WHERE user_email = aws_report_email('Alice <ALICE@example.com>'))
ORDER BY "timestamp", event_type;

\echo '== One message to three recipients'
SELECT user_email, delivery_at IS NOT NULL AS delivered, bounce_at IS NOT NULL AS bounced,
    complaint_at IS NOT NULL AS complained, open_count AS opens
FROM aws_reports WHERE subject = 'Team update' ORDER BY user_email;

\echo '== Rates by kind of mail (suppressed addresses and auto-replies are no bounces)'
SELECT report_name, count(*) FILTER (WHERE send_at IS NOT NULL) AS sent,
    count(delivery_at) AS delivered,
    count(*) FILTER (WHERE bounce_type = 'Permanent' AND NOT aws_report_is_suppressed(bounce_sub_type)) AS bounced,
    count(complaint_at) AS complained,
    round(100.0 * count(*) FILTER (WHERE bounce_type = 'Permanent' AND NOT aws_report_is_suppressed(bounce_sub_type))
        / nullif(count(send_at), 0), 1) AS bounce_percent,
    round(100.0 * count(complaint_at) / nullif(count(delivery_at), 0), 1) AS complaint_percent
FROM aws_reports JOIN aws_report_type ON aws_report_type.id = aws_reports.report_type
GROUP BY report_name ORDER BY report_name;

\echo '== Events by type (the open of the message to three is counted for each of them, marked ambiguous)'
SELECT event_type, count(*) AS details,
    count(*) FILTER (WHERE other_info @> '{"ambiguous": true}') AS ambiguous FROM aws_report_detail GROUP BY event_type ORDER BY event_type;

\echo '== Dead letters'
SELECT reason, substring(body FROM '"Message": *"([^"]*)') AS message, length(body) AS characters_of_the_body FROM aws_report_dead_letter ORDER BY received_at;

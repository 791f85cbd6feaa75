-- What the demo prints: answers to typical questions.
\set QUIET on
\pset footer off
\pset null '-'
\pset border 1
SET search_path = aws_reports;
SET TimeZone = 'UTC';

\echo
\echo '== Reports by final state'
SELECT state, bounce_kind, count(*) AS reports,
    string_agg(split_part(user_email, '@', 1), ', ' ORDER BY user_email) AS recipients
FROM aws_report_states GROUP BY state, bounce_kind ORDER BY state, bounce_kind;

\echo '== The events of the mail to alice (a scanner opened it at once)'
SELECT to_char("timestamp", 'HH24:MI:SS') AS time, event_type, class, what
FROM aws_report_timeline
WHERE user_email = aws_report_email('Alice <ALICE@example.com>')
ORDER BY "timestamp", event_type;

\echo '== One message to three recipients'
SELECT user_email, delivery_at IS NOT NULL AS delivered, bounce_at IS NOT NULL AS bounced,
    complaint_at IS NOT NULL AS complained, open_count AS opens
FROM aws_reports WHERE subject = 'Team update' ORDER BY user_email;

\echo '== Rates by day and kind of mail (suppressed addresses and auto-replies are not bounces, and only people open)'
SELECT day, report_name, sent, delivered, bounced_hard AS hard, bounced_soft AS soft,
    bounced_suppressed AS suppressed, complained, round(bounce_rate, 1) AS bounce_percent, round(complaint_rate, 1) AS complaint_percent,
    round(human_open_rate, 1) AS open_percent
FROM aws_report_daily JOIN aws_report_type ON aws_report_type.id = report_type
ORDER BY day, source_domain, report_name;

\echo '== Events by type (the open of the message to three is counted for each of them, marked ambiguous)'
SELECT event_type, count(*) AS details,
    count(*) FILTER (WHERE other_info @> '{"ambiguous": true}') AS ambiguous FROM aws_report_detail GROUP BY event_type ORDER BY event_type;

\echo '== Dead letters'
SELECT reason, substring(body FROM '"Message": *"([^"]*)') AS message, length(body) AS characters_of_the_body FROM aws_report_dead_letter ORDER BY received_at;

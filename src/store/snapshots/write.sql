-- ses-reports: write a batch
-- One statement, so that a crash leaves both or neither, and counters see only new details.
-- The lists are those of src/row/columns.rs; PostgreSQL gets what is in snapshots/write.sql.
WITH inserted AS (
    INSERT INTO {schema}.aws_report_detail (
        report_id, id, "timestamp", event_type, message_id, "from", "to", subject,
        notification_message_id, class, other_info)
    SELECT report_id, id, "timestamp", event_type, message_id, "from", "to", subject,
        notification_message_id, class, other_info::jsonb
    FROM UNNEST(
        $1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[]
    ) AS detail (
        report_id, id, "timestamp", event_type, message_id, "from", "to", subject,
        notification_message_id, class, other_info)
    ON CONFLICT DO NOTHING
    RETURNING report_id, event_type, "timestamp", class
), counted AS (
    SELECT report_id,
        count(*) FILTER (WHERE event_type = 'Open') AS open_count,
        count(*) FILTER (WHERE event_type = 'Click') AS click_count,
        min("timestamp") FILTER (WHERE event_type = 'Open' AND class = 'human') AS human_open_at,
        min("timestamp") FILTER (WHERE event_type = 'Click' AND class = 'human') AS human_click_at
    FROM inserted
    WHERE event_type IN ('Open', 'Click')
    GROUP BY report_id
), folded AS (
    INSERT INTO {schema}.aws_reports AS held (
        id, user_email, message_id, report_type, user_id, source_email, subject, send_at, bounce_at,
        complaint_at, delivery_at, reject_at, open_at, click_at, rendering_failure_at,
        delivery_delay_at, subscription_at, bounce_type, bounce_sub_type, bounce_class,
        counts_bounce, complaint_sub_type, complaint_feedback_type, counts_complaint, not_spam_at,
        counts_message, provider, tags,
        open_count, click_count, human_open_at, human_click_at)
    SELECT id, user_email, message_id, report_type, user_id, source_email, subject, send_at, bounce_at,
        complaint_at, delivery_at, reject_at, open_at, click_at, rendering_failure_at,
        delivery_delay_at, subscription_at, bounce_type, bounce_sub_type, bounce_class,
        counts_bounce, complaint_sub_type, complaint_feedback_type, counts_complaint, not_spam_at,
        counts_message, provider, tags::jsonb,
        coalesce(open_count, 0), coalesce(click_count, 0), human_open_at, human_click_at
    FROM UNNEST(
        $12::uuid[], $13::text[], $14::text[], $15::bigint[], $16::text[], $17::text[], $18::text[],
        $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], $22::timestamptz[],
        $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::timestamptz[],
        $27::timestamptz[], $28::timestamptz[], $29::text[], $30::text[], $31::text[],
        $32::boolean[], $33::text[], $34::text[], $35::boolean[], $36::timestamptz[], $37::boolean[],
        $38::text[], $39::text[]
    ) AS report (
        id, user_email, message_id, report_type, user_id, source_email, subject, send_at, bounce_at,
        complaint_at, delivery_at, reject_at, open_at, click_at, rendering_failure_at,
        delivery_delay_at, subscription_at, bounce_type, bounce_sub_type, bounce_class,
        counts_bounce, complaint_sub_type, complaint_feedback_type, counts_complaint, not_spam_at,
        counts_message, provider, tags)
    LEFT JOIN counted ON counted.report_id = report.id
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        report_type = GREATEST(held.report_type, excluded.report_type),
        user_id = LEAST(held.user_id, excluded.user_id),
        source_email = LEAST(held.source_email, excluded.source_email),
        subject = LEAST(held.subject, excluded.subject),
        send_at = LEAST(held.send_at, excluded.send_at),
        bounce_at = LEAST(held.bounce_at, excluded.bounce_at),
        complaint_at = LEAST(held.complaint_at, excluded.complaint_at),
        delivery_at = LEAST(held.delivery_at, excluded.delivery_at),
        reject_at = LEAST(held.reject_at, excluded.reject_at),
        open_at = LEAST(held.open_at, excluded.open_at),
        click_at = LEAST(held.click_at, excluded.click_at),
        rendering_failure_at = LEAST(held.rendering_failure_at, excluded.rendering_failure_at),
        delivery_delay_at = LEAST(held.delivery_delay_at, excluded.delivery_delay_at),
        subscription_at = LEAST(held.subscription_at, excluded.subscription_at),
        bounce_type = CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN excluded.bounce_type
            ELSE held.bounce_type END,
        bounce_sub_type = CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN excluded.bounce_sub_type
            WHEN 1 THEN held.bounce_sub_type
            ELSE LEAST(held.bounce_sub_type, excluded.bounce_sub_type) END,
        bounce_class = CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN excluded.bounce_class
            WHEN 1 THEN held.bounce_class
            ELSE LEAST(held.bounce_class, excluded.bounce_class) END,
        counts_bounce = CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN excluded.counts_bounce
            WHEN 1 THEN held.counts_bounce
            ELSE GREATEST(held.counts_bounce, excluded.counts_bounce) END,
        complaint_sub_type = CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN excluded.complaint_sub_type
            WHEN 1 THEN held.complaint_sub_type
            ELSE LEAST(held.complaint_sub_type, excluded.complaint_sub_type) END,
        complaint_feedback_type = CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN excluded.complaint_feedback_type
            WHEN 1 THEN held.complaint_feedback_type
            ELSE LEAST(held.complaint_feedback_type, excluded.complaint_feedback_type) END,
        counts_complaint = CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN excluded.counts_complaint
            WHEN 1 THEN held.counts_complaint
            ELSE GREATEST(held.counts_complaint, excluded.counts_complaint) END,
        not_spam_at = GREATEST(held.not_spam_at, excluded.not_spam_at),
        counts_message = LEAST(held.counts_message, excluded.counts_message),
        provider = LEAST(held.provider, excluded.provider),
        tags = CASE WHEN excluded.tags IS NULL THEN held.tags
            ELSE {schema}.aws_report_tags_join(held.tags, excluded.tags) END,
        open_count = held.open_count + excluded.open_count,
        click_count = held.click_count + excluded.click_count,
        human_open_at = LEAST(held.human_open_at, excluded.human_open_at),
        human_click_at = LEAST(held.human_click_at, excluded.human_click_at)
    -- A plain duplicate costs a look, not a row version.
    WHERE excluded.open_count > 0
        OR excluded.click_count > 0
        OR excluded.report_type > held.report_type
        OR LEAST(held.user_id, excluded.user_id) IS DISTINCT FROM held.user_id
        OR LEAST(held.source_email, excluded.source_email) IS DISTINCT FROM held.source_email
        OR LEAST(held.subject, excluded.subject) IS DISTINCT FROM held.subject
        OR LEAST(held.send_at, excluded.send_at) IS DISTINCT FROM held.send_at
        OR LEAST(held.bounce_at, excluded.bounce_at) IS DISTINCT FROM held.bounce_at
        OR LEAST(held.complaint_at, excluded.complaint_at) IS DISTINCT FROM held.complaint_at
        OR LEAST(held.delivery_at, excluded.delivery_at) IS DISTINCT FROM held.delivery_at
        OR LEAST(held.reject_at, excluded.reject_at) IS DISTINCT FROM held.reject_at
        OR LEAST(held.open_at, excluded.open_at) IS DISTINCT FROM held.open_at
        OR LEAST(held.click_at, excluded.click_at) IS DISTINCT FROM held.click_at
        OR LEAST(held.rendering_failure_at, excluded.rendering_failure_at) IS DISTINCT FROM held.rendering_failure_at
        OR LEAST(held.delivery_delay_at, excluded.delivery_delay_at) IS DISTINCT FROM held.delivery_delay_at
        OR LEAST(held.subscription_at, excluded.subscription_at) IS DISTINCT FROM held.subscription_at
        OR CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE LEAST(held.bounce_sub_type, excluded.bounce_sub_type) IS DISTINCT FROM held.bounce_sub_type END
        OR CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE LEAST(held.bounce_class, excluded.bounce_class) IS DISTINCT FROM held.bounce_class END
        OR CASE CASE WHEN excluded.bounce_type IS NULL THEN 1 ELSE {schema}.aws_report_bounce_order(held.bounce_type, excluded.bounce_type) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE GREATEST(held.counts_bounce, excluded.counts_bounce) IS DISTINCT FROM held.counts_bounce END
        OR CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE LEAST(held.complaint_sub_type, excluded.complaint_sub_type) IS DISTINCT FROM held.complaint_sub_type END
        OR CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE LEAST(held.complaint_feedback_type, excluded.complaint_feedback_type) IS DISTINCT FROM held.complaint_feedback_type END
        OR CASE CASE WHEN excluded.complaint_at IS NULL THEN 1 WHEN held.complaint_at IS NULL THEN -1 ELSE sign(
                {schema}.aws_report_complaint_rank(held.complaint_sub_type, held.complaint_feedback_type)
                - {schema}.aws_report_complaint_rank(excluded.complaint_sub_type, excluded.complaint_feedback_type)) END
            WHEN -1 THEN true
            WHEN 1 THEN false
            ELSE GREATEST(held.counts_complaint, excluded.counts_complaint) IS DISTINCT FROM held.counts_complaint END
        OR GREATEST(held.not_spam_at, excluded.not_spam_at) IS DISTINCT FROM held.not_spam_at
        OR LEAST(held.counts_message, excluded.counts_message) IS DISTINCT FROM held.counts_message
        OR LEAST(held.provider, excluded.provider) IS DISTINCT FROM held.provider
        OR CASE WHEN excluded.tags IS NULL THEN held.tags
            ELSE {schema}.aws_report_tags_join(held.tags, excluded.tags) END IS DISTINCT FROM held.tags
    RETURNING id, delivery_at, open_at, click_at, click_count, human_open_at, human_click_at
), noted AS (
    -- Judged later, with all events of the report in sight: see store/judge.rs. A delivery that comes after opens
    -- and clicks may change what they were judged to be.
    INSERT INTO {schema}.aws_report_unjudged (report_id)
    SELECT id FROM folded
    WHERE human_click_at IS NOT NULL AND click_count > 1
        OR human_open_at < delivery_at + $40::float8 * interval '1 second'
        OR human_click_at < delivery_at + $41::float8 * interval '1 second'
        OR delivery_at IS NOT NULL AND (open_at IS NOT NULL OR click_at IS NOT NULL)
            AND id IN (SELECT report_id FROM inserted WHERE event_type = 'Delivery')
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM folded)

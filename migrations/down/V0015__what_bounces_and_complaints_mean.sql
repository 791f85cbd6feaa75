-- Undoes V0015__what_bounces_and_complaints_mean: brings the former functions and the view back. No rows are lost; the
--   reports that the backfill changed are Transient/General again, and what is counted wrong is counted
--   again.

UPDATE aws_reports SET bounce_type = 'Transient' WHERE bounce_type = 'AutoReply';
DROP FUNCTION aws_report_backfill_auto_replies(text, integer);
DROP VIEW aws_report_suppressions;
CREATE VIEW aws_report_suppressions AS
SELECT r.user_email, of_report.reason, min(of_report.since) AS since
FROM aws_reports AS r
CROSS JOIN LATERAL aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
CROSS JOIN LATERAL (VALUES
    ('complaint', r.complaint_at),
    ('hard bounce', CASE WHEN bounce_kind = 'hard' THEN r.bounce_at END),
    ('suppression list', CASE WHEN bounce_kind = 'suppressed' THEN r.bounce_at END)
) AS of_report (reason, since)
WHERE of_report.since IS NOT NULL
GROUP BY r.user_email, of_report.reason;

COMMENT ON VIEW aws_report_suppressions IS
    'Addresses that no more mail should be sent to: they bounced for good, complained, or SES suppressed them. One row per address and reason.';
COMMENT ON COLUMN aws_report_suppressions.since IS 'When it first happened.';
-- VOLATILE, in READ COMMITTED: each statement has a snapshot of its own, so that the count sees all
-- transactions whose notes were deleted before it. SECURITY DEFINER: the worker need not be able to
-- delete.
CREATE OR REPLACE FUNCTION aws_report_daily_refresh(of_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    since timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (of_day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    -- One at a time, until the end of the transaction: two would write the same rows, and the one
    -- that counted earlier might write later.
    IF NOT pg_try_advisory_xact_lock(hashtext('ses-reports daily'), hashtext(current_schema()::text)) THEN
        RETURN false;
    END IF;
    DELETE FROM aws_report_stale_day WHERE day = of_day;
    -- Its reports are gone, or about to go: the figures stay as they were.
    IF EXISTS (SELECT FROM aws_report_retention WHERE what = 'reports' AND of_day < kept_from) THEN
        RETURN true;
    END IF;
    WITH reports AS (
        SELECT * FROM aws_reports WHERE send_at >= since AND send_at < until
        UNION ALL
        SELECT * FROM aws_reports
        WHERE send_at IS NULL AND (reject_at IS NOT NULL OR rendering_failure_at IS NOT NULL)
            AND coalesce(reject_at, rendering_failure_at, created_at) >= since
            AND coalesce(reject_at, rendering_failure_at, created_at) < until
    ), counted AS MATERIALIZED (
        SELECT aws_report_domain(source_email) AS source_domain, report_type,
            count(send_at) AS sent,
            count(delivery_at) AS delivered,
            count(*) FILTER (WHERE bounce_kind = 'hard') AS bounced_hard,
            count(*) FILTER (WHERE bounce_kind = 'soft') AS bounced_soft,
            count(*) FILTER (WHERE bounce_kind = 'suppressed') AS bounced_suppressed,
            count(complaint_at) AS complained,
            count(DISTINCT message_id) FILTER (WHERE open_at IS NOT NULL) AS opened,
            count(DISTINCT message_id) FILTER (WHERE click_at IS NOT NULL) AS clicked,
            count(reject_at) AS rejected,
            count(rendering_failure_at) AS rendering_failed,
            count(delivery_delay_at) AS delayed,
            count(DISTINCT message_id) FILTER (WHERE delivery_at IS NOT NULL) AS messages_delivered
        FROM reports CROSS JOIN LATERAL
            aws_report_bounce_kind(bounce_at, bounce_type, bounce_sub_type, delivery_at) AS bounce_kind
        GROUP BY 1, 2
    ), vanished AS (
        DELETE FROM aws_report_daily AS held
        WHERE day = of_day AND NOT EXISTS (
            SELECT FROM counted
            WHERE counted.source_domain = held.source_domain AND counted.report_type = held.report_type)
    )
    INSERT INTO aws_report_daily (day, source_domain, report_type, sent, delivered, bounced_hard,
        bounced_soft, bounced_suppressed, complained, opened, clicked, rejected, rendering_failed,
        delayed, messages_delivered)
    SELECT of_day, source_domain, report_type, sent, delivered, bounced_hard,
        bounced_soft, bounced_suppressed, complained, opened, clicked, rejected, rendering_failed,
        delayed, messages_delivered
    FROM counted
    ON CONFLICT (day, source_domain, report_type) DO UPDATE SET
        sent = excluded.sent, delivered = excluded.delivered, bounced_hard = excluded.bounced_hard,
        bounced_soft = excluded.bounced_soft, bounced_suppressed = excluded.bounced_suppressed,
        complained = excluded.complained, opened = excluded.opened, clicked = excluded.clicked,
        rejected = excluded.rejected, rendering_failed = excluded.rendering_failed,
        delayed = excluded.delayed, messages_delivered = excluded.messages_delivered,
        updated_at = now();
    RETURN true;
END
$$;

DROP FUNCTION aws_report_is_simulator(text);
CREATE OR REPLACE FUNCTION aws_report_bounce_kind(
    bounce_at timestamptz, bounce_type text, bounce_sub_type text, delivery_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN bounce_at IS NULL THEN NULL
    WHEN aws_report_is_suppressed(bounce_sub_type) THEN 'suppressed'
    WHEN bounce_type = 'Permanent' THEN 'hard'
    WHEN bounce_type = 'Transient' AND bounce_sub_type = 'General' AND delivery_at <= bounce_at THEN 'auto-reply'
    ELSE 'soft'
END;

COMMENT ON FUNCTION aws_report_bounce_kind(timestamptz, text, text, timestamptz) IS
    'What a bounce means: hard (permanent), soft, suppressed (never attempted), auto-reply (Transient/General after a delivery, no bounce at all); NULL where there is none.';

COMMENT ON COLUMN aws_reports.complaint_at IS 'First complaint, by the clock of the receiving provider.';
COMMENT ON COLUMN aws_reports.bounce_type IS
    'The strongest seen: Permanent, then Undetermined, then Transient.';
COMMENT ON COLUMN aws_reports.bounce_sub_type IS
    'Of that type. Never attempted where aws_report_is_suppressed(bounce_sub_type). Transient/General after a delivery: an auto-reply.';
COMMENT ON TABLE aws_report_daily IS
    'The figures of a day (UTC) of sending, by sender''s domain and kind of mail. Kept when retention removes the reports. Rates are percentages, NULL where nothing is to be divided by.';
COMMENT ON COLUMN aws_report_daily.complained IS 'Reports with a complaint.';

-- Purpose: what a bounce and a complaint say of a mail is told by the event, not by the clock of another one.
--   An auto-reply is a bounce of Transient/General about which no server reported anything: the worker
--   writes it as bounce type AutoReply, which is weaker than what any server reports. A complaint that
--   names several who may have made it counts once a message. Mail to SES's mailbox simulator is in no
--   figure and suppresses nobody. aws_report_suppressions says what is a guess.
-- Locks: ACCESS EXCLUSIVE on the view aws_report_suppressions for a moment; none on tables. It reads both
--   ends of two indexes of aws_reports, and every day is counted again, by the worker, one by one.
-- Reports that are there: the backfill auto_replies reads their bounces and sets AutoReply where all of
--   them are auto-replies. A report whose bounces are gone stays one where a delivery came before it.
--   Until the backfill is done, and for what a worker of the version before writes after it, an
--   auto-reply counts as a soft bounce.

-- The parameter delivery_at stays, for those who call it.
CREATE OR REPLACE FUNCTION aws_report_bounce_kind(
    bounce_at timestamptz, bounce_type text, bounce_sub_type text, delivery_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN bounce_at IS NULL THEN NULL
    WHEN aws_report_is_suppressed(bounce_sub_type) THEN 'suppressed'
    WHEN bounce_type = 'Permanent' THEN 'hard'
    WHEN bounce_type = 'AutoReply' THEN 'auto-reply'
    ELSE 'soft'
END;

COMMENT ON FUNCTION aws_report_bounce_kind(timestamptz, text, text, timestamptz) IS
    'What a bounce means: hard (permanent), soft, suppressed (never attempted), auto-reply (no bounce at all); NULL where there is none.';
COMMENT ON COLUMN aws_reports.bounce_type IS
    'The strongest seen: Permanent, then Undetermined, then Transient, then AutoReply: an answer that SES reports as Transient/General and about which no server said anything.';
COMMENT ON COLUMN aws_reports.bounce_sub_type IS
    'Of that type. Never attempted where aws_report_is_suppressed(bounce_sub_type).';
COMMENT ON COLUMN aws_reports.complaint_at IS
    'First complaint, by the clock of the receiving provider; of all who may have complained, where it does not tell who did.';

CREATE FUNCTION aws_report_is_simulator(user_email text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN user_email LIKE '%@simulator.amazonses.com';

COMMENT ON FUNCTION aws_report_is_simulator(text) IS
    'Whether an address is one of SES''s mailbox simulator, whose mail is in no figure, as AWS counts.';

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
            -- One complaint may name several who may have made it: their reports share its time.
            count(DISTINCT (message_id, complaint_at)) FILTER (WHERE complaint_at IS NOT NULL) AS complained,
            count(DISTINCT message_id) FILTER (WHERE open_at IS NOT NULL) AS opened,
            count(DISTINCT message_id) FILTER (WHERE click_at IS NOT NULL) AS clicked,
            count(reject_at) AS rejected,
            count(rendering_failure_at) AS rendering_failed,
            count(delivery_delay_at) AS delayed,
            count(DISTINCT message_id) FILTER (WHERE delivery_at IS NOT NULL) AS messages_delivered
        FROM reports CROSS JOIN LATERAL
            aws_report_bounce_kind(bounce_at, bounce_type, bounce_sub_type, delivery_at) AS bounce_kind
        WHERE NOT aws_report_is_simulator(user_email)
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

COMMENT ON COLUMN aws_report_daily.complained IS
    'Complaints; one that names several who may have made it counts once a message.';
COMMENT ON TABLE aws_report_daily IS
    'The figures of a day (UTC) of sending, by sender''s domain and kind of mail, without mail to the mailbox simulator. Kept when retention removes the reports. Rates are percentages, NULL where nothing is to be divided by.';

-- For one address, WHERE user_email = aws_report_email('…'), it goes by aws_reports_user_email; all
-- addresses are a look at every report. The details of a hard bounce are found by its month.
CREATE OR REPLACE VIEW aws_report_suppressions AS
SELECT r.user_email, of_report.reason, min(of_report.since) AS since, bool_and(of_report.is_guess) AS is_guess
FROM aws_reports AS r
CROSS JOIN LATERAL aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
CROSS JOIN LATERAL (VALUES
    ('complaint', r.complaint_at, CASE WHEN r.complaint_at IS NOT NULL THEN EXISTS (
        SELECT FROM aws_reports AS other
        WHERE other.message_id = r.message_id AND other.id <> r.id AND other.complaint_at = r.complaint_at) END),
    ('hard bounce', CASE WHEN bounce_kind = 'hard' THEN r.bounce_at END, CASE WHEN bounce_kind = 'hard' THEN EXISTS (
        SELECT FROM aws_report_detail AS d
        WHERE d.report_id = r.id AND d.event_type = 'Bounce' AND d.other_info @> '{"ambiguous": true}'
            AND d."timestamp" >= r.bounce_at AND d."timestamp" < r.bounce_at + interval '1 second') END),
    ('suppression list', CASE WHEN bounce_kind = 'suppressed' THEN r.bounce_at END, false)
) AS of_report (reason, since, is_guess)
WHERE of_report.since IS NOT NULL AND NOT aws_report_is_simulator(r.user_email)
GROUP BY r.user_email, of_report.reason;

COMMENT ON VIEW aws_report_suppressions IS
    'Addresses that no more mail should be sent to: they bounced for good, complained, or SES suppressed them. One row per address and reason.';
COMMENT ON COLUMN aws_report_suppressions.is_guess IS
    'Whether it was only ever one of several recipients of a mail who may be meant.';

-- SECURITY DEFINER: the worker may not change reports at will.
CREATE FUNCTION aws_report_backfill_auto_replies(
    from_position text, batch integer, OUT next_position text, OUT rows_done bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    looked_at uuid[] := ARRAY(
        SELECT id FROM aws_reports
        WHERE id > coalesce(from_position::uuid, '00000000-0000-0000-0000-000000000000')
        ORDER BY id LIMIT batch);
BEGIN
    -- In the order of their ids, as the worker locks them.
    PERFORM FROM aws_reports
    WHERE id = ANY (looked_at) AND bounce_type = 'Transient' AND bounce_sub_type = 'General'
    ORDER BY id FOR UPDATE;
    UPDATE aws_reports AS r SET bounce_type = 'AutoReply'
    FROM (
        SELECT report.id,
            count(d.id) AS bounces,
            bool_and(
                nullif(btrim(d.other_info #>> '{bounce,reportingMTA}'), '') IS NULL
                AND jsonb_typeof(d.other_info -> 'recipient') = 'object'
                AND nullif(btrim(d.other_info #>> '{recipient,action}'), '') IS NULL
                AND nullif(btrim(d.other_info #>> '{recipient,status}'), '') IS NULL
                AND nullif(btrim(d.other_info #>> '{recipient,diagnosticCode}'), '') IS NULL) AS are_replies,
            bool_or(report.delivery_at <= report.bounce_at) AS came_after_delivery
        FROM aws_reports AS report
        LEFT JOIN aws_report_detail AS d
            ON d.report_id = report.id AND d.event_type = 'Bounce' AND d."timestamp" >= report.bounce_at
        WHERE report.id = ANY (looked_at) AND report.bounce_type = 'Transient' AND report.bounce_sub_type = 'General'
        GROUP BY report.id
    ) AS of_report
    WHERE r.id = of_report.id AND CASE WHEN bounces = 0 THEN came_after_delivery ELSE are_replies END;
    rows_done := cardinality(looked_at);
    next_position := CASE WHEN rows_done = batch THEN looked_at[batch] END;
END
$$;

COMMENT ON FUNCTION aws_report_backfill_auto_replies(text, integer) IS
    'Sets the bounce type AutoReply of reports that were written before there was one.';

INSERT INTO aws_report_backfill (name) SELECT 'auto_replies' WHERE EXISTS (SELECT FROM aws_reports)
ON CONFLICT (name) DO UPDATE SET "position" = NULL, finished_at = NULL;

-- What was counted by other rules is counted again, day by day, by the worker.
INSERT INTO aws_report_stale_day (day)
SELECT generate_series(aws_report_day(first, NULL, NULL)::timestamp, aws_report_day(last, NULL, NULL)::timestamp, interval '1 day')::date
FROM (
    SELECT least((SELECT min(send_at) FROM aws_reports WHERE send_at >= '2000-01-01 00:00:00+00'),
            (SELECT min(coalesce(reject_at, rendering_failure_at, created_at)) FROM aws_reports
                WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) >= '2000-01-01 00:00:00+00')),
        least(greatest((SELECT max(send_at) FROM aws_reports WHERE send_at < '3000-01-01 00:00:00+00'),
            (SELECT max(coalesce(reject_at, rendering_failure_at, created_at)) FROM aws_reports
                WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) < '3000-01-01 00:00:00+00')),
            -- Events are dated two days ahead at most.
            now() + interval '2 days')
) AS ends (first, last);

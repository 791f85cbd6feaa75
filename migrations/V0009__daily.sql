-- Purpose: rates at once. The figures of each day, which the worker recomputes when its reports have
--   changed, at a cost of that day's rows and not of the table.
-- Locks: SHARE ROW EXCLUSIVE on aws_reports for a moment, to create two triggers: writers wait,
--   readers do not. It then reads both ends of two indexes.
-- Exactness: a transaction that changes reports notes the days it touched, in rows of its own, so
--   writers never wait for one another. A refresh deletes the notes that it sees and counts
--   afterwards, so it counts at least what those transactions did; whatever commits later still has
--   its note, and the day is counted again.

CREATE FUNCTION aws_report_day(send_at timestamptz, reject_at timestamptz, rendering_failure_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT (at AT TIME ZONE 'UTC')::date
    FROM (VALUES (coalesce(send_at, reject_at, rendering_failure_at))) AS sent (at)
    -- Whoever writes infinity by hand is on no day.
    WHERE at >= '2000-01-01 00:00:00+00' AND at < '3000-01-01 00:00:00+00'
$$;

COMMENT ON FUNCTION aws_report_day(timestamptz, timestamptz, timestamptz) IS
    'The day (UTC) on which a report is counted: when its mail was sent, else rejected or not rendered; NULL if no event has told yet, or for a time before 2000 or after 2999.';

CREATE FUNCTION aws_report_domain(address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN strpos(address, '@') > 0 THEN lower(split_part(address, '@', -1)) ELSE '' END
$$;

COMMENT ON FUNCTION aws_report_domain(text) IS
    'What stands after the last @ of an address, in lower case; empty where there is none.';

-- RETURN, not a quoted body: its neighbour is bound now, so that it needs no search_path and can be
-- inlined where every row of a day calls it.
CREATE FUNCTION aws_report_bounce_kind(
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

CREATE TABLE aws_report_stale_day (
    day date,
    transaction xid8 DEFAULT pg_current_xact_id(),
    PRIMARY KEY (day, transaction)
);

COMMENT ON TABLE aws_report_stale_day IS
    'Days whose figures in aws_report_daily are to be counted again: one row per day and transaction that changed its reports. A day without one is up to date.';
COMMENT ON COLUMN aws_report_stale_day.day IS 'The day (UTC), as aws_report_day gives it.';
COMMENT ON COLUMN aws_report_stale_day.transaction IS 'The transaction that changed reports of that day.';

CREATE TABLE aws_report_daily (
    day date,
    source_domain text COLLATE "C",
    report_type bigint,
    sent bigint NOT NULL,
    delivered bigint NOT NULL,
    bounced_hard bigint NOT NULL,
    bounced_soft bigint NOT NULL,
    bounced_suppressed bigint NOT NULL,
    complained bigint NOT NULL,
    opened bigint NOT NULL,
    clicked bigint NOT NULL,
    rejected bigint NOT NULL,
    rendering_failed bigint NOT NULL,
    delayed bigint NOT NULL,
    messages_delivered bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    delivery_rate numeric GENERATED ALWAYS AS
        (round(100.0 * delivered / nullif(sent - bounced_suppressed, 0), 3)) STORED,
    bounce_rate numeric GENERATED ALWAYS AS
        (round(100.0 * bounced_hard / nullif(sent - bounced_suppressed, 0), 3)) STORED,
    complaint_rate numeric GENERATED ALWAYS AS
        (round(100.0 * complained / nullif(delivered, 0), 3)) STORED,
    open_rate numeric GENERATED ALWAYS AS
        (round(100.0 * opened / nullif(messages_delivered, 0), 3)) STORED,
    click_rate numeric GENERATED ALWAYS AS
        (round(100.0 * clicked / nullif(messages_delivered, 0), 3)) STORED,
    PRIMARY KEY (day, source_domain, report_type)
-- Today's rows are updated every few seconds.
) WITH (fillfactor = 70);

COMMENT ON TABLE aws_report_daily IS
    'The figures of a day (UTC) of sending, by sender''s domain and kind of mail. Kept when retention removes the reports. Rates are percentages, NULL where nothing is to be divided by.';
COMMENT ON COLUMN aws_report_daily.day IS 'The day (UTC) on which the mail was sent, rejected or not rendered.';
COMMENT ON COLUMN aws_report_daily.source_domain IS 'The sender''s domain, aws_report_domain(source_email); empty if unknown.';
COMMENT ON COLUMN aws_report_daily.report_type IS 'aws_report_type.id.';
COMMENT ON COLUMN aws_report_daily.sent IS 'Reports (message and recipient) that SES accepted, those to suppressed addresses included.';
COMMENT ON COLUMN aws_report_daily.delivered IS 'Reports that the receiving server accepted.';
COMMENT ON COLUMN aws_report_daily.bounced_hard IS 'Reports with a permanent bounce that was attempted.';
COMMENT ON COLUMN aws_report_daily.bounced_soft IS 'Reports with any other bounce; an auto-reply is none.';
COMMENT ON COLUMN aws_report_daily.bounced_suppressed IS 'Reports to suppressed addresses: SES attempted no delivery, so they are in no rate, as AWS counts.';
COMMENT ON COLUMN aws_report_daily.complained IS 'Reports with a complaint.';
COMMENT ON COLUMN aws_report_daily.opened IS 'Messages that were opened. An open names no recipient, so a mail to three people counts once.';
COMMENT ON COLUMN aws_report_daily.clicked IS 'Messages in which a link was clicked, counted once each.';
COMMENT ON COLUMN aws_report_daily.rejected IS 'Reports that SES rejected for their content.';
COMMENT ON COLUMN aws_report_daily.rendering_failed IS 'Reports whose template could not be rendered; SES did not send them.';
COMMENT ON COLUMN aws_report_daily.delayed IS 'Reports with at least one delay, whatever became of them.';
COMMENT ON COLUMN aws_report_daily.messages_delivered IS 'Messages that at least one recipient''s server accepted: what opens and clicks are divided by.';
COMMENT ON COLUMN aws_report_daily.updated_at IS 'When this was last counted: it holds whatever was committed before then.';
COMMENT ON COLUMN aws_report_daily.delivery_rate IS 'Percentage of attempted reports (sent, not suppressed) that were delivered.';
COMMENT ON COLUMN aws_report_daily.bounce_rate IS 'Percentage of attempted reports that bounced for good. AWS reviews an account at 5.';
COMMENT ON COLUMN aws_report_daily.complaint_rate IS 'Percentage of delivered reports with a complaint. AWS reviews an account at 0.1.';
COMMENT ON COLUMN aws_report_daily.open_rate IS 'Percentage of delivered messages that were opened.';
COMMENT ON COLUMN aws_report_daily.click_rate IS 'Percentage of delivered messages in which a link was clicked.';

-- SECURITY DEFINER: whoever changes a report notes it, whatever rights it has.
CREATE FUNCTION aws_reports_note_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    -- Whether a change matters to a figure is not asked: to compare each row with what it was costs
    -- more than the few days that would not be noted.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO aws_report_stale_day (day)
        SELECT DISTINCT day
        FROM (SELECT aws_report_day(send_at, reject_at, rendering_failure_at) FROM new_rows) AS touched (day)
        WHERE day IS NOT NULL
        ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO aws_report_stale_day (day)
        SELECT DISTINCT day
        FROM (
            SELECT aws_report_day(send_at, reject_at, rendering_failure_at) FROM old_rows
            UNION ALL
            SELECT aws_report_day(send_at, reject_at, rendering_failure_at) FROM new_rows
        ) AS touched (day)
        WHERE day IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION aws_reports_note_days() IS
    'Notes the days whose reports a statement has changed. A DELETE notes nothing: retention leaves the figures.';

CREATE TRIGGER aws_reports_note_inserted AFTER INSERT ON aws_reports
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION aws_reports_note_days();
CREATE TRIGGER aws_reports_note_updated AFTER UPDATE ON aws_reports
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION aws_reports_note_days();

-- VOLATILE, in READ COMMITTED: each statement has a snapshot of its own, so that the count sees all
-- transactions whose notes were deleted before it. SECURITY DEFINER: the worker need not be able to
-- delete.
CREATE FUNCTION aws_report_daily_refresh(of_day date) RETURNS boolean
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

COMMENT ON FUNCTION aws_report_daily_refresh(date) IS
    'Counts a day anew; false if another refresh is at work. Call it in a transaction of its own, READ COMMITTED.';

-- What was there before is counted too, day by day, by the worker.
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

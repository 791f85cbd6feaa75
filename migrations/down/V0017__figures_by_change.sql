-- Undoes V0017__figures_by_change: after a change, workers count the whole day, as before. The figures by provider
--   are added up to those of a day, domain and kind of mail. The figures by tag, by bounce class and of people are
--   lost, as are notes that were not added yet. Every day that has reports is counted again.

DROP VIEW aws_report_suppressions;
DROP VIEW aws_report_states;
DROP VIEW aws_report_timeline;

CREATE VIEW aws_report_states AS
SELECT r.id, r.message_id, r.user_email, r.user_id, t.report_name, r.source_email, r.subject,
    r.send_at, of_report.state,
    CASE of_report.state
        WHEN 'complained' THEN r.complaint_at
        WHEN 'hard bounced' THEN r.bounce_at
        WHEN 'rejected' THEN r.reject_at
        WHEN 'rendering failed' THEN r.rendering_failure_at
        WHEN 'suppressed' THEN r.bounce_at
        WHEN 'soft bounced' THEN r.bounce_at
        WHEN 'clicked' THEN r.click_at
        WHEN 'opened' THEN r.open_at
        WHEN 'delivered' THEN r.delivery_at
        WHEN 'delayed' THEN r.delivery_delay_at
        WHEN 'sent' THEN r.send_at
        ELSE r.created_at
    END AS state_at,
    of_report.bounce_kind, r.bounce_type, r.bounce_sub_type, r.open_count, r.click_count
FROM aws_reports AS r
LEFT JOIN aws_report_type AS t ON t.id = r.report_type
CROSS JOIN LATERAL (
    SELECT bounce_kind, CASE
        WHEN r.complaint_at IS NOT NULL THEN 'complained'
        WHEN bounce_kind = 'hard' THEN 'hard bounced'
        WHEN r.reject_at IS NOT NULL THEN 'rejected'
        WHEN r.rendering_failure_at IS NOT NULL THEN 'rendering failed'
        WHEN bounce_kind = 'suppressed' THEN 'suppressed'
        WHEN bounce_kind = 'soft' THEN 'soft bounced'
        WHEN r.click_at IS NOT NULL THEN 'clicked'
        WHEN r.open_at IS NOT NULL THEN 'opened'
        WHEN r.delivery_at IS NOT NULL THEN 'delivered'
        WHEN r.delivery_delay_at IS NOT NULL THEN 'delayed'
        WHEN r.send_at IS NOT NULL THEN 'sent'
        ELSE 'unsent'
    END
    FROM aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
) AS of_report (bounce_kind, state);

COMMENT ON VIEW aws_report_states IS
    'Each report with its current state: complained, hard bounced, rejected, rendering failed, suppressed, soft bounced, clicked, opened, delivered, delayed, sent, unsent; the first that holds.';
COMMENT ON COLUMN aws_report_states.state_at IS 'When it came into that state.';
COMMENT ON COLUMN aws_report_states.bounce_kind IS 'hard, soft, suppressed or auto-reply: aws_report_bounce_kind.';

CREATE VIEW aws_report_timeline AS
SELECT r.message_id, r.user_email, d."timestamp", d.event_type,
    CASE d.event_type
        WHEN 'Delivery' THEN d.other_info #>> '{delivery,smtpResponse}'
        WHEN 'Bounce' THEN concat_ws(': ',
            concat_ws('/', d.other_info #>> '{bounce,bounceType}', d.other_info #>> '{bounce,bounceSubType}'),
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Complaint' THEN d.other_info #>> '{complaint,complaintFeedbackType}'
        WHEN 'Reject' THEN d.other_info #>> '{reject,reason}'
        WHEN 'Open' THEN d.other_info #>> '{open,userAgent}'
        WHEN 'Click' THEN d.other_info #>> '{click,link}'
        WHEN 'Rendering Failure' THEN d.other_info #>> '{failure,errorMessage}'
        WHEN 'DeliveryDelay' THEN concat_ws(': ', d.other_info #>> '{deliveryDelay,delayType}',
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Subscription' THEN d.other_info #>> '{subscription,source}'
    END AS what,
    d.other_info
FROM aws_reports AS r JOIN aws_report_detail AS d ON d.report_id = r.id;

COMMENT ON VIEW aws_report_timeline IS 'All events of a message, for each of its recipients.';
COMMENT ON COLUMN aws_report_timeline.what IS
    'The heart of the event: the server''s answer, the bounce and its diagnosis, the link, the reason.';

CREATE VIEW aws_report_suppressions AS
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
COMMENT ON COLUMN aws_report_suppressions.since IS 'When it first happened.';

DROP FUNCTION aws_report_figures_age();
DROP FUNCTION aws_report_daily_add(integer);
ALTER FUNCTION aws_reports_note_changes() RENAME TO aws_reports_note_days;
CREATE OR REPLACE FUNCTION aws_reports_note_days() RETURNS trigger
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

INSERT INTO aws_report_stale_day (day) SELECT DISTINCT day FROM aws_report_daily_note ON CONFLICT DO NOTHING;
DROP TABLE aws_report_daily_note;
DROP TABLE aws_report_daily_tag;
DROP TABLE aws_report_daily_bounce;

ALTER TABLE aws_report_daily RENAME TO aws_report_daily_by_provider;
ALTER INDEX aws_report_daily_pkey RENAME TO aws_report_daily_by_provider_pkey;

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
    'The figures of a day (UTC) of sending, by sender''s domain and kind of mail, without mail to the mailbox simulator. Kept when retention removes the reports. Rates are percentages, NULL where nothing is to be divided by.';
COMMENT ON COLUMN aws_report_daily.day IS 'The day (UTC) on which the mail was sent, rejected or not rendered.';
COMMENT ON COLUMN aws_report_daily.source_domain IS 'The sender''s domain, aws_report_domain(source_email); empty if unknown.';
COMMENT ON COLUMN aws_report_daily.report_type IS 'aws_report_type.id.';
COMMENT ON COLUMN aws_report_daily.sent IS 'Reports (message and recipient) that SES accepted, those to suppressed addresses included.';
COMMENT ON COLUMN aws_report_daily.delivered IS 'Reports that the receiving server accepted.';
COMMENT ON COLUMN aws_report_daily.bounced_hard IS 'Reports with a permanent bounce that was attempted.';
COMMENT ON COLUMN aws_report_daily.bounced_soft IS 'Reports with any other bounce; an auto-reply is none.';
COMMENT ON COLUMN aws_report_daily.bounced_suppressed IS 'Reports to suppressed addresses: SES attempted no delivery, so they are in no rate, as AWS counts.';
COMMENT ON COLUMN aws_report_daily.complained IS
    'Complaints; one that names several who may have made it counts once a message.';
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

INSERT INTO aws_report_daily (day, source_domain, report_type, sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, complained, opened, clicked, rejected, rendering_failed, delayed, messages_delivered, updated_at)
SELECT day, source_domain, report_type, sum(sent), sum(delivered), sum(bounced_hard), sum(bounced_soft), sum(bounced_suppressed), sum(complained), sum(opened), sum(clicked), sum(rejected), sum(rendering_failed), sum(delayed), sum(messages_delivered), max(updated_at)
FROM aws_report_daily_by_provider GROUP BY day, source_domain, report_type;
DROP TABLE aws_report_daily_by_provider;

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

COMMENT ON FUNCTION aws_report_daily_refresh(date) IS
    'Counts a day anew; false if another refresh is at work. Call it in a transaction of its own, READ COMMITTED.';

DROP FUNCTION aws_report_figures(
    timestamptz, timestamptz, timestamptz, text, text, boolean, timestamptz, text, text, boolean, boolean, timestamptz,
    timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz);
DROP FUNCTION aws_report_was_attempted(text, timestamptz, text, text);
DROP FUNCTION aws_report_counts_for_aws(text, text);

COMMENT ON TABLE aws_report_stale_day IS
    'Days whose figures in aws_report_daily are to be counted again: one row per day and transaction that changed its reports. A day without one is up to date.';

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
) AS ends (first, last)
ON CONFLICT DO NOTHING;

-- Purpose: the detail table, one row per event and recipient, append-only, a partition per month.
-- Locks: none on existing tables; it creates one table and two functions.
-- The primary key serves the dedupe and the timeline of a report with one index. There is no foreign
--   key to aws_reports (it costs 45 % of the write path; both rows come from one statement) and no
--   DEFAULT partition (it would forbid DETACH CONCURRENTLY and block the creation of months).

CREATE TABLE aws_report_detail (
    id uuid NOT NULL,
    notification_message_id varchar(64) COLLATE "C",
    report_id uuid NOT NULL,
    event_type varchar(64) COLLATE "C" NOT NULL,
    message_id varchar(64) COLLATE "C" NOT NULL,
    "timestamp" timestamptz NOT NULL,
    "from" varchar(100) COLLATE "C",
    "to" varchar(100) COLLATE "C" NOT NULL,
    subject varchar(200) COLLATE "C",
    other_info jsonb,
    PRIMARY KEY (report_id, id, "timestamp")
) PARTITION BY RANGE ("timestamp");

COMMENT ON TABLE aws_report_detail IS
    'One row per event and recipient, append-only, partitioned by month (UTC) of the event''s own clock.';
COMMENT ON COLUMN aws_report_detail.id IS
    'UUIDv8 of what makes it this event: redeliveries, duplicates and replays of a fact share one id.';
COMMENT ON COLUMN aws_report_detail.notification_message_id IS
    'For tracing, of the copy that was written first: SNS MessageId, EventBridge id, or SQS MessageId with raw delivery.';
COMMENT ON COLUMN aws_report_detail.report_id IS 'aws_reports.id.';
COMMENT ON COLUMN aws_report_detail.event_type IS
    'As SES spells it: Send, Delivery, Bounce, Complaint, Reject, Open, Click, Rendering Failure, DeliveryDelay, Subscription, or one that SES added later.';
COMMENT ON COLUMN aws_report_detail.message_id IS 'The SES message id, as in aws_reports.';
COMMENT ON COLUMN aws_report_detail."timestamp" IS
    'The event''s own clock; mail.timestamp for events that have none.';
COMMENT ON COLUMN aws_report_detail."from" IS 'The sender''s address, without display name.';
COMMENT ON COLUMN aws_report_detail."to" IS 'The recipient, as aws_reports.user_email.';
COMMENT ON COLUMN aws_report_detail.subject IS 'The subject, where the event carries it.';
COMMENT ON COLUMN aws_report_detail.other_info IS
    'What else the event says, as SES wrote it: its own object (less the entries of other recipients) and whatever stands beside it; recipient: the entry of this recipient; tags: those of the mail, whose headers are not kept; ambiguous: true where the event does not name its recipient; as_sent: values of which the columns hold another form, shortened or normalised.';

CREATE FUNCTION aws_report_detail_partition(month date) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT 'aws_report_detail_' || to_char(month, 'YYYY_MM')
$$;

COMMENT ON FUNCTION aws_report_detail_partition(date) IS 'The name of the partition that holds a month.';

CREATE FUNCTION aws_report_detail_is_attached(partition text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $$
    SELECT EXISTS (
        SELECT FROM pg_inherits
        WHERE inhrelid = to_regclass(partition) AND inhparent = 'aws_report_detail'::regclass
            AND NOT inhdetachpending)
$$;

COMMENT ON FUNCTION aws_report_detail_is_attached(text) IS 'Whether a table is a partition of aws_report_detail.';

-- SECURITY DEFINER: a worker whose role owns nothing may still create the month of an event.
CREATE FUNCTION aws_report_detail_ensure(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    first_day date := date_trunc('month', month)::date;
    partition text := aws_report_detail_partition(first_day);
    taken int := 1;
BEGIN
    IF aws_report_detail_is_attached(partition) THEN
        RETURN false;
    END IF;
    -- One creator at a time; ATTACH takes the same lock anyway.
    LOCK TABLE aws_report_detail IN SHARE UPDATE EXCLUSIVE MODE;
    -- A table of that name that is not attached was detached to be kept: it stays as it is, and
    -- late events of its month get another.
    WHILE to_regclass(partition) IS NOT NULL LOOP
        IF aws_report_detail_is_attached(partition) THEN
            RETURN false;
        END IF;
        taken := taken + 1;
        partition := aws_report_detail_partition(first_day) || '_' || taken;
    END LOOP;
    -- LIKE and ATTACH take SHARE UPDATE EXCLUSIVE on the parent; CREATE … PARTITION OF would take
    -- ACCESS EXCLUSIVE and stop every reader and writer.
    EXECUTE format('CREATE TABLE %I (LIKE aws_report_detail INCLUDING ALL)', partition);
    -- A bounce or complaint may arrive twice with times that differ below the second (identity
    -- feedback and event publishing); its id does not, and both times fall into one month.
    EXECUTE format(
        'CREATE UNIQUE INDEX %I ON %I (report_id, id) WHERE event_type IN (''Bounce'', ''Complaint'')',
        partition || '_feedback', partition);
    EXECUTE format(
        'ALTER TABLE aws_report_detail ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition,
        to_char(first_day, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(first_day + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    RETURN true;
END
$$;

COMMENT ON FUNCTION aws_report_detail_ensure(date) IS
    'Creates the partition of a month if there is none; true if it did.';

-- Purpose: the cost of keeping figures fresh depends on what has changed, no longer on how much mail a day has.
--   A transaction that changes reports notes by how much each figure changes, and a worker adds the notes to the
--   figures. Figures are kept by provider, by bounce class and by the tags of REPORT_TAGS, and for opens and
--   clicks by people; bounces and complaints are counted as AWS counts them.
-- Locks: ACCESS EXCLUSIVE on aws_report_daily while it is rewritten (a row per day, domain and kind of mail), and
--   none on aws_reports: the triggers stay, and only their function changes. It reads both ends of two indexes.
-- Exactness: the notes of a transaction commit with its reports, and the statement that adds notes also deletes
--   them. A recount of a day deletes the notes that its own snapshot sees, so the notes that remain are of
--   changes that it did not count.
-- Existing days are counted again by the workers, one by one. Until then their only provider is "other", and
--   they have no figures for people. Days whose reports retention has removed stay like that.

-- Only one report of a message to several recipients counts the message (counts_message). So every figure is a
-- sum over reports, and a change of one report is a change of the sums.

ALTER TABLE aws_report_daily
    -- squawk-ignore ban-drop-column -- it is added again below, computed as AWS does
    DROP COLUMN bounce_rate,
    ADD COLUMN provider text COLLATE "C" NOT NULL DEFAULT 'other',
    ADD COLUMN suppressed_globally bigint NOT NULL DEFAULT 0,
    ADD COLUMN human_opened bigint NOT NULL DEFAULT 0,
    ADD COLUMN human_clicked bigint NOT NULL DEFAULT 0,
    -- squawk-ignore adding-field-with-default -- the table has a row per day, domain and kind of mail
    ADD COLUMN bounce_rate numeric GENERATED ALWAYS AS
        (round(100.0 * (bounced_hard + suppressed_globally) / nullif(sent - bounced_suppressed + suppressed_globally, 0), 3)) STORED,
    -- squawk-ignore adding-field-with-default -- the table has a row per day, domain and kind of mail
    ADD COLUMN human_open_rate numeric GENERATED ALWAYS AS
        (round(100.0 * human_opened / nullif(messages_delivered, 0), 3)) STORED,
    -- squawk-ignore adding-field-with-default -- the table has a row per day, domain and kind of mail
    ADD COLUMN human_click_rate numeric GENERATED ALWAYS AS
        (round(100.0 * human_clicked / nullif(messages_delivered, 0), 3)) STORED,
    -- squawk-ignore ban-drop-constraint -- the key gets the provider
    DROP CONSTRAINT aws_report_daily_pkey,
    -- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field -- the table has a row per day, domain and kind of mail
    ADD PRIMARY KEY (day, source_domain, report_type, provider);

COMMENT ON TABLE aws_report_daily IS
    'The figures of the mail that was sent on a day (UTC), by domain of the sender, kind of mail and provider of the recipient, without mail to the mailbox simulator. They are kept when retention removes the reports. Rates are percentages; NULL if the denominator is zero.';
COMMENT ON COLUMN aws_report_daily.provider IS 'The provider of the recipients'' mailboxes: aws_reports.provider, or other where that is NULL.';
COMMENT ON COLUMN aws_report_daily.bounced_suppressed IS
    'Reports of mail that SES never tried to deliver: to addresses that are on a suppression list, that have unsubscribed, or that address validation refused.';
COMMENT ON COLUMN aws_report_daily.suppressed_globally IS
    'The part of bounced_suppressed whose addresses are on the global suppression list of SES. AWS counts them as bounces.';
COMMENT ON COLUMN aws_report_daily.complained IS
    'Complaints by recipients. A complaint that names several recipients who may have made it counts once. Mail that SES did not send because of an earlier complaint, and mail that a recipient marked as not spam, do not count.';
COMMENT ON COLUMN aws_report_daily.human_opened IS 'Messages that a person opened, as far as the rules can tell.';
COMMENT ON COLUMN aws_report_daily.human_clicked IS 'Messages in which a person clicked a link, as far as the rules can tell.';
COMMENT ON COLUMN aws_report_daily.messages_delivered IS
    'Messages that were delivered, the denominator of the rates of opens and clicks. The report that counts the message (counts_message) decides; an open or a click proves a delivery.';
COMMENT ON COLUMN aws_report_daily.updated_at IS 'When the row last changed.';
COMMENT ON COLUMN aws_report_daily.bounce_rate IS
    'Percentage of hard bounces as AWS computes it: with addresses on its global suppression list, without other mail that it did not try to deliver. AWS reviews an account at 5.';
COMMENT ON COLUMN aws_report_daily.complaint_rate IS
    'Percentage of delivered reports with a complaint. AWS reviews an account at 0.1, counting only mail to providers that report complaints; Gmail does not.';
COMMENT ON COLUMN aws_report_daily.human_open_rate IS 'Percentage of delivered messages that a person opened.';
COMMENT ON COLUMN aws_report_daily.human_click_rate IS 'Percentage of delivered messages in which a person clicked a link.';

CREATE TABLE aws_report_daily_bounce (
    day date,
    source_domain text COLLATE "C",
    report_type bigint,
    provider text COLLATE "C",
    bounce_class text COLLATE "C",
    bounced bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, source_domain, report_type, provider, bounce_class)
) WITH (fillfactor = 70);

COMMENT ON TABLE aws_report_daily_bounce IS
    'Why the mail of a day bounced: bounces by domain of the sender, kind of mail, provider and class.';
COMMENT ON COLUMN aws_report_daily_bounce.day IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_bounce.source_domain IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_bounce.report_type IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_bounce.provider IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_bounce.bounce_class IS 'aws_reports.bounce_class, or unknown where that is NULL.';
COMMENT ON COLUMN aws_report_daily_bounce.bounced IS 'Reports whose strongest bounce has this class, including suppressed ones and auto-replies.';
COMMENT ON COLUMN aws_report_daily_bounce.updated_at IS 'When the row last changed.';

CREATE TABLE aws_report_daily_tag (
    day date,
    tag text COLLATE "C",
    value text COLLATE "C",
    sent bigint NOT NULL,
    delivered bigint NOT NULL,
    bounced_hard bigint NOT NULL,
    bounced_soft bigint NOT NULL,
    bounced_suppressed bigint NOT NULL,
    suppressed_globally bigint NOT NULL,
    complained bigint NOT NULL,
    opened bigint NOT NULL,
    clicked bigint NOT NULL,
    human_opened bigint NOT NULL,
    human_clicked bigint NOT NULL,
    rejected bigint NOT NULL,
    rendering_failed bigint NOT NULL,
    delayed bigint NOT NULL,
    messages_delivered bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    delivery_rate numeric GENERATED ALWAYS AS
        (round(100.0 * delivered / nullif(sent - bounced_suppressed, 0), 3)) STORED,
    bounce_rate numeric GENERATED ALWAYS AS
        (round(100.0 * (bounced_hard + suppressed_globally) / nullif(sent - bounced_suppressed + suppressed_globally, 0), 3)) STORED,
    complaint_rate numeric GENERATED ALWAYS AS
        (round(100.0 * complained / nullif(delivered, 0), 3)) STORED,
    human_open_rate numeric GENERATED ALWAYS AS
        (round(100.0 * human_opened / nullif(messages_delivered, 0), 3)) STORED,
    human_click_rate numeric GENERATED ALWAYS AS
        (round(100.0 * human_clicked / nullif(messages_delivered, 0), 3)) STORED,
    PRIMARY KEY (day, tag, value)
) WITH (fillfactor = 70);

COMMENT ON TABLE aws_report_daily_tag IS
    'The figures of a day for each value of the message tags that REPORT_TAGS names. Of each tag, 1,000 values a day have rows of their own; the others are counted together under the empty value.';
COMMENT ON COLUMN aws_report_daily_tag.tag IS 'The name of the tag.';
COMMENT ON COLUMN aws_report_daily_tag.value IS 'The value of the tag; empty for all values beyond the first thousand of the day.';
COMMENT ON COLUMN aws_report_daily_tag.day IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.sent IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.delivered IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.bounced_hard IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.bounced_soft IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.bounced_suppressed IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.suppressed_globally IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.complained IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.opened IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.clicked IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.human_opened IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.human_clicked IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.rejected IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.rendering_failed IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.delayed IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.messages_delivered IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.updated_at IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.delivery_rate IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.bounce_rate IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.complaint_rate IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.human_open_rate IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_tag.human_click_rate IS 'As in aws_report_daily.';

-- No primary key, because nothing looks for a single row: all rows are read and deleted. The replica identity is
-- the whole row, because otherwise a publication FOR ALL TABLES would make each DELETE fail.
CREATE TABLE aws_report_daily_note (
    day date NOT NULL,
    source_domain text COLLATE "C" NOT NULL,
    report_type bigint NOT NULL,
    provider text COLLATE "C" NOT NULL,
    bounce_class text COLLATE "C",
    tags jsonb,
    bounced bigint NOT NULL,
    sent bigint NOT NULL,
    delivered bigint NOT NULL,
    bounced_hard bigint NOT NULL,
    bounced_soft bigint NOT NULL,
    bounced_suppressed bigint NOT NULL,
    suppressed_globally bigint NOT NULL,
    complained bigint NOT NULL,
    opened bigint NOT NULL,
    clicked bigint NOT NULL,
    human_opened bigint NOT NULL,
    human_clicked bigint NOT NULL,
    rejected bigint NOT NULL,
    rendering_failed bigint NOT NULL,
    delayed bigint NOT NULL,
    messages_delivered bigint NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
-- The table is emptied every few seconds.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
ALTER TABLE aws_report_daily_note REPLICA IDENTITY FULL;

COMMENT ON TABLE aws_report_daily_note IS
    'By how much transactions have changed the figures. Workers add these notes to aws_report_daily, aws_report_daily_bounce and aws_report_daily_tag, and delete them.';
COMMENT ON COLUMN aws_report_daily_note.day IS 'The day whose figures change.';
COMMENT ON COLUMN aws_report_daily_note.source_domain IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_note.report_type IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_note.provider IS 'As in aws_report_daily.';
COMMENT ON COLUMN aws_report_daily_note.bounce_class IS 'As in aws_report_daily_bounce; NULL if the reports of this note have no bounce that counts.';
COMMENT ON COLUMN aws_report_daily_note.tags IS 'The tags of the reports; each has figures in aws_report_daily_tag.';
COMMENT ON COLUMN aws_report_daily_note.bounced IS 'The change of aws_report_daily_bounce.bounced.';
COMMENT ON COLUMN aws_report_daily_note.noted_at IS 'When the transaction began. The figures are as old as the oldest note.';
COMMENT ON COLUMN aws_report_daily_note.sent IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.delivered IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.bounced_hard IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.bounced_soft IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.bounced_suppressed IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.suppressed_globally IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.complained IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.opened IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.clicked IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.human_opened IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.human_clicked IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.rejected IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.rendering_failed IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.delayed IS 'The change of that figure.';
COMMENT ON COLUMN aws_report_daily_note.messages_delivered IS 'The change of that figure.';

COMMENT ON TABLE aws_report_stale_day IS
    'Days that have to be counted again from their reports, because a migration changed what figures mean. Changes of reports are in aws_report_daily_note instead.';

CREATE FUNCTION aws_report_was_attempted(
    bounce_sub_type text, complaint_at timestamptz, complaint_sub_type text, complaint_feedback_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN NOT aws_report_is_suppressed(bounce_sub_type)
    AND coalesce(aws_report_complaint_kind(complaint_at, complaint_sub_type, complaint_feedback_type) <> 'suppressed', true);

COMMENT ON FUNCTION aws_report_was_attempted(text, timestamptz, text, text) IS
    'Whether SES tried to deliver the mail. Other mail is in no denominator.';

CREATE FUNCTION aws_report_counts_for_aws(bounce_type text, bounce_sub_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(bounce_type = 'Permanent' AND (bounce_sub_type = 'Suppressed' OR NOT aws_report_is_suppressed(bounce_sub_type)), false);

COMMENT ON FUNCTION aws_report_counts_for_aws(text, text) IS
    'Whether AWS counts a bounce of this type in its bounce rate: it counts permanent bounces, including those of its global suppression list, but not those of the suppression list of the account or of a tenant.';

-- One row of ones and zeros: what a report adds to each figure. PostgreSQL inlines it where it is called.
CREATE FUNCTION aws_report_figures(
    send_at timestamptz, delivery_at timestamptz, bounce_at timestamptz, bounce_type text,
    bounce_sub_type text, counts_bounce boolean, complaint_at timestamptz, complaint_sub_type text,
    complaint_feedback_type text, counts_complaint boolean, counts_message boolean, open_at timestamptz,
    click_at timestamptz, human_open_at timestamptz, human_click_at timestamptz, reject_at timestamptz,
    rendering_failure_at timestamptz, delivery_delay_at timestamptz)
RETURNS TABLE (sent int, delivered int, bounced_hard int, bounced_soft int, bounced_suppressed int,
    suppressed_globally int, complained int, opened int, clicked int, human_opened int, human_clicked int,
    rejected int, rendering_failed int, delayed int, messages_delivered int, bounced int)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT (send_at IS NOT NULL)::int,
        (delivery_at IS NOT NULL)::int,
        ((aws_report_bounce_kind(bounce_at, bounce_type, bounce_sub_type, delivery_at) = 'hard' AND counts_bounce IS NOT FALSE) IS TRUE)::int,
        ((aws_report_bounce_kind(bounce_at, bounce_type, bounce_sub_type, delivery_at) = 'soft' AND counts_bounce IS NOT FALSE) IS TRUE)::int,
        ((aws_report_bounce_kind(bounce_at, bounce_type, bounce_sub_type, delivery_at) = 'suppressed' AND counts_bounce IS NOT FALSE
            OR aws_report_complaint_kind(complaint_at, complaint_sub_type, complaint_feedback_type) = 'suppressed') IS TRUE)::int,
        ((bounce_at IS NOT NULL AND bounce_sub_type = 'Suppressed' AND counts_bounce IS NOT FALSE) IS TRUE)::int,
        ((aws_report_complaint_kind(complaint_at, complaint_sub_type, complaint_feedback_type) = 'complaint' AND counts_complaint IS NOT FALSE) IS TRUE)::int,
        (open_at IS NOT NULL AND counts_message IS NOT FALSE)::int,
        (click_at IS NOT NULL AND counts_message IS NOT FALSE)::int,
        (human_open_at IS NOT NULL AND counts_message IS NOT FALSE)::int,
        (human_click_at IS NOT NULL AND counts_message IS NOT FALSE)::int,
        (reject_at IS NOT NULL)::int,
        (rendering_failure_at IS NOT NULL)::int,
        (delivery_delay_at IS NOT NULL)::int,
        ((delivery_at IS NOT NULL OR open_at IS NOT NULL OR click_at IS NOT NULL) AND counts_message IS NOT FALSE)::int,
        (bounce_at IS NOT NULL AND counts_bounce IS NOT FALSE)::int;
END;

COMMENT ON FUNCTION aws_report_figures(timestamptz, timestamptz, timestamptz, text, text, boolean, timestamptz, text, text, boolean, boolean, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) IS
    'What one report adds to each figure of its day: 1 or 0.';

-- The triggers of V0009 refer to the function and not to its name, so no table is locked for the new name.
-- squawk-ignore renaming-object -- only the triggers call it
ALTER FUNCTION aws_reports_note_days() RENAME TO aws_reports_note_changes;

-- SECURITY DEFINER, because every role that changes a report has to write notes, whatever its rights are.
CREATE OR REPLACE FUNCTION aws_reports_note_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        WITH changed AS (
            SELECT 1 AS sign, r.* FROM new_rows AS r
        )
        INSERT INTO aws_report_daily_note (day, source_domain, report_type, provider, bounce_class, tags, bounced,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered)
        SELECT sent_on.day, aws_report_domain(r.source_email), r.report_type, coalesce(r.provider, 'other'),
            CASE WHEN f.bounced = 1 THEN coalesce(r.bounce_class, 'unknown') END, r.tags, sum(sign * f.bounced),
            sum(sign * f.sent), sum(sign * f.delivered), sum(sign * f.bounced_hard),
            sum(sign * f.bounced_soft), sum(sign * f.bounced_suppressed), sum(sign * f.suppressed_globally),
            sum(sign * f.complained), sum(sign * f.opened), sum(sign * f.clicked),
            sum(sign * f.human_opened), sum(sign * f.human_clicked), sum(sign * f.rejected),
            sum(sign * f.rendering_failed), sum(sign * f.delayed), sum(sign * f.messages_delivered)
        FROM changed AS r
        CROSS JOIN LATERAL (SELECT aws_report_day(r.send_at, r.reject_at, r.rendering_failure_at)) AS sent_on (day)
        CROSS JOIN LATERAL aws_report_figures(
            r.send_at, r.delivery_at, r.bounce_at, r.bounce_type, r.bounce_sub_type, r.counts_bounce,
            r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type, r.counts_complaint,
            r.counts_message, r.open_at, r.click_at, r.human_open_at, r.human_click_at, r.reject_at,
            r.rendering_failure_at, r.delivery_delay_at) AS f
        WHERE sent_on.day IS NOT NULL AND NOT aws_report_is_simulator(r.user_email)
        GROUP BY 1, 2, 3, 4, 5, 6
        HAVING sum(sign * f.bounced) <> 0
            OR sum(sign * f.sent) <> 0 OR sum(sign * f.delivered) <> 0 OR sum(sign * f.bounced_hard) <> 0
            OR sum(sign * f.bounced_soft) <> 0 OR sum(sign * f.bounced_suppressed) <> 0
            OR sum(sign * f.suppressed_globally) <> 0 OR sum(sign * f.complained) <> 0
            OR sum(sign * f.opened) <> 0 OR sum(sign * f.clicked) <> 0 OR sum(sign * f.human_opened) <> 0
            OR sum(sign * f.human_clicked) <> 0 OR sum(sign * f.rejected) <> 0
            OR sum(sign * f.rendering_failed) <> 0 OR sum(sign * f.delayed) <> 0
            OR sum(sign * f.messages_delivered) <> 0;
    ELSE
        WITH changed AS (
            SELECT -1 AS sign, r.* FROM old_rows AS r
            UNION ALL
            SELECT 1, r.* FROM new_rows AS r
        )
        INSERT INTO aws_report_daily_note (day, source_domain, report_type, provider, bounce_class, tags, bounced,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered)
        SELECT sent_on.day, aws_report_domain(r.source_email), r.report_type, coalesce(r.provider, 'other'),
            CASE WHEN f.bounced = 1 THEN coalesce(r.bounce_class, 'unknown') END, r.tags, sum(sign * f.bounced),
            sum(sign * f.sent), sum(sign * f.delivered), sum(sign * f.bounced_hard),
            sum(sign * f.bounced_soft), sum(sign * f.bounced_suppressed), sum(sign * f.suppressed_globally),
            sum(sign * f.complained), sum(sign * f.opened), sum(sign * f.clicked),
            sum(sign * f.human_opened), sum(sign * f.human_clicked), sum(sign * f.rejected),
            sum(sign * f.rendering_failed), sum(sign * f.delayed), sum(sign * f.messages_delivered)
        FROM changed AS r
        CROSS JOIN LATERAL (SELECT aws_report_day(r.send_at, r.reject_at, r.rendering_failure_at)) AS sent_on (day)
        CROSS JOIN LATERAL aws_report_figures(
            r.send_at, r.delivery_at, r.bounce_at, r.bounce_type, r.bounce_sub_type, r.counts_bounce,
            r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type, r.counts_complaint,
            r.counts_message, r.open_at, r.click_at, r.human_open_at, r.human_click_at, r.reject_at,
            r.rendering_failure_at, r.delivery_delay_at) AS f
        WHERE sent_on.day IS NOT NULL AND NOT aws_report_is_simulator(r.user_email)
        GROUP BY 1, 2, 3, 4, 5, 6
        HAVING sum(sign * f.bounced) <> 0
            OR sum(sign * f.sent) <> 0 OR sum(sign * f.delivered) <> 0 OR sum(sign * f.bounced_hard) <> 0
            OR sum(sign * f.bounced_soft) <> 0 OR sum(sign * f.bounced_suppressed) <> 0
            OR sum(sign * f.suppressed_globally) <> 0 OR sum(sign * f.complained) <> 0
            OR sum(sign * f.opened) <> 0 OR sum(sign * f.clicked) <> 0 OR sum(sign * f.human_opened) <> 0
            OR sum(sign * f.human_clicked) <> 0 OR sum(sign * f.rejected) <> 0
            OR sum(sign * f.rendering_failed) <> 0 OR sum(sign * f.delayed) <> 0
            OR sum(sign * f.messages_delivered) <> 0;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION aws_reports_note_changes() IS
    'Notes by how much a statement has changed the figures. A DELETE notes nothing, because retention must not change figures.';

-- SECURITY DEFINER, so that the worker needs no right to delete. One call at a time, until the end of its
-- transaction, because two would wait for each other's rows.
CREATE FUNCTION aws_report_daily_add(most integer, OUT notes bigint, OUT is_crowded boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    days date[];
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('ses-reports daily'), hashtext(current_schema()::text)) THEN
        RETURN;
    END IF;
    WITH taken AS (
        DELETE FROM aws_report_daily_note
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM aws_report_daily_note LIMIT most))
        RETURNING *
    ), of_days AS (
        INSERT INTO aws_report_daily AS held (day, source_domain, report_type, provider,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered)
        SELECT day, source_domain, report_type, provider,
            sum(sent), sum(delivered), sum(bounced_hard), sum(bounced_soft), sum(bounced_suppressed),
            sum(suppressed_globally), sum(complained), sum(opened), sum(clicked), sum(human_opened),
            sum(human_clicked), sum(rejected), sum(rendering_failed), sum(delayed), sum(messages_delivered)
        FROM taken GROUP BY day, source_domain, report_type, provider
        ON CONFLICT (day, source_domain, report_type, provider) DO UPDATE SET
            sent = held.sent + excluded.sent, delivered = held.delivered + excluded.delivered,
            bounced_hard = held.bounced_hard + excluded.bounced_hard,
            bounced_soft = held.bounced_soft + excluded.bounced_soft,
            bounced_suppressed = held.bounced_suppressed + excluded.bounced_suppressed,
            suppressed_globally = held.suppressed_globally + excluded.suppressed_globally,
            complained = held.complained + excluded.complained, opened = held.opened + excluded.opened,
            clicked = held.clicked + excluded.clicked,
            human_opened = held.human_opened + excluded.human_opened,
            human_clicked = held.human_clicked + excluded.human_clicked,
            rejected = held.rejected + excluded.rejected,
            rendering_failed = held.rendering_failed + excluded.rendering_failed,
            delayed = held.delayed + excluded.delayed,
            messages_delivered = held.messages_delivered + excluded.messages_delivered,
            updated_at = now()
    ), of_bounces AS (
        INSERT INTO aws_report_daily_bounce AS held (day, source_domain, report_type, provider, bounce_class, bounced)
        SELECT day, source_domain, report_type, provider, bounce_class, sum(bounced)
        FROM taken WHERE bounce_class IS NOT NULL
        GROUP BY day, source_domain, report_type, provider, bounce_class
        HAVING sum(bounced) <> 0
        ON CONFLICT (day, source_domain, report_type, provider, bounce_class) DO UPDATE SET
            bounced = held.bounced + excluded.bounced, updated_at = now()
    ), by_value AS (
        SELECT day, pairs.tag, pairs.value,
            sum(sent) AS sent, sum(delivered) AS delivered, sum(bounced_hard) AS bounced_hard,
            sum(bounced_soft) AS bounced_soft, sum(bounced_suppressed) AS bounced_suppressed,
            sum(suppressed_globally) AS suppressed_globally, sum(complained) AS complained,
            sum(opened) AS opened, sum(clicked) AS clicked, sum(human_opened) AS human_opened,
            sum(human_clicked) AS human_clicked, sum(rejected) AS rejected,
            sum(rendering_failed) AS rendering_failed, sum(delayed) AS delayed,
            sum(messages_delivered) AS messages_delivered
        FROM taken CROSS JOIN LATERAL jsonb_each_text(tags) AS pairs (tag, value)
        GROUP BY day, pairs.tag, pairs.value
    ), known AS (
        SELECT by_value.*, EXISTS (
            SELECT FROM aws_report_daily_tag AS held
            WHERE held.day = by_value.day AND held.tag = by_value.tag AND held.value = by_value.value) AS is_known
        FROM by_value
    ), placed AS (
        -- The first thousand values of a tag on a day have rows of their own.
        SELECT known.*, CASE WHEN is_known OR row_number() OVER (PARTITION BY day, tag, is_known ORDER BY value) + (
            SELECT count(*) FROM aws_report_daily_tag AS held
            WHERE held.day = known.day AND held.tag = known.tag AND held.value <> '') <= 1000 THEN value ELSE '' END AS place
        FROM known
    ), of_tags AS (
        INSERT INTO aws_report_daily_tag AS held (day, tag, value,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered)
        SELECT day, tag, place,
            sum(sent), sum(delivered), sum(bounced_hard), sum(bounced_soft), sum(bounced_suppressed),
            sum(suppressed_globally), sum(complained), sum(opened), sum(clicked), sum(human_opened),
            sum(human_clicked), sum(rejected), sum(rendering_failed), sum(delayed), sum(messages_delivered)
        FROM placed
        GROUP BY day, tag, place
        ON CONFLICT (day, tag, value) DO UPDATE SET
            sent = held.sent + excluded.sent, delivered = held.delivered + excluded.delivered,
            bounced_hard = held.bounced_hard + excluded.bounced_hard,
            bounced_soft = held.bounced_soft + excluded.bounced_soft,
            bounced_suppressed = held.bounced_suppressed + excluded.bounced_suppressed,
            suppressed_globally = held.suppressed_globally + excluded.suppressed_globally,
            complained = held.complained + excluded.complained, opened = held.opened + excluded.opened,
            clicked = held.clicked + excluded.clicked,
            human_opened = held.human_opened + excluded.human_opened,
            human_clicked = held.human_clicked + excluded.human_clicked,
            rejected = held.rejected + excluded.rejected,
            rendering_failed = held.rendering_failed + excluded.rendering_failed,
            delayed = held.delayed + excluded.delayed,
            messages_delivered = held.messages_delivered + excluded.messages_delivered,
            updated_at = now()
    )
    SELECT (SELECT count(*) FROM taken), EXISTS (SELECT FROM placed WHERE place = '' AND value <> ''),
        ARRAY(SELECT DISTINCT day FROM taken)
    INTO notes, is_crowded, days;
    -- Rows that count nothing any more, because a report has got another kind of mail, provider, class or tag.
    DELETE FROM aws_report_daily
    WHERE day = ANY (days) AND sent = 0 AND delivered = 0 AND bounced_hard = 0 AND bounced_soft = 0 AND bounced_suppressed = 0
        AND suppressed_globally = 0 AND complained = 0 AND opened = 0 AND clicked = 0 AND human_opened = 0
        AND human_clicked = 0 AND rejected = 0 AND rendering_failed = 0 AND delayed = 0
        AND messages_delivered = 0;
    DELETE FROM aws_report_daily_tag
    WHERE day = ANY (days) AND sent = 0 AND delivered = 0 AND bounced_hard = 0 AND bounced_soft = 0 AND bounced_suppressed = 0
        AND suppressed_globally = 0 AND complained = 0 AND opened = 0 AND clicked = 0 AND human_opened = 0
        AND human_clicked = 0 AND rejected = 0 AND rendering_failed = 0 AND delayed = 0
        AND messages_delivered = 0;
    DELETE FROM aws_report_daily_bounce WHERE day = ANY (days) AND bounced = 0;
END
$$;

COMMENT ON FUNCTION aws_report_daily_add(integer) IS
    'Adds at most this number of notes to the figures. Returns how many were added (NULL if another call is at work), and whether a tag has so many values that some are counted together.';

-- VOLATILE, for READ COMMITTED. The count and the deletion of notes are one statement, so that both see the
-- same transactions. SECURITY DEFINER, so that the worker needs no right to delete.
CREATE OR REPLACE FUNCTION aws_report_daily_refresh(of_day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    since timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
    until timestamptz := (of_day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    -- One call at a time, until the end of its transaction.
    IF NOT pg_try_advisory_xact_lock(hashtext('ses-reports daily'), hashtext(current_schema()::text)) THEN
        RETURN false;
    END IF;
    DELETE FROM aws_report_stale_day WHERE day = of_day;
    -- Retention has removed the reports of this day or is about to, so its figures stay as they are.
    IF EXISTS (SELECT FROM aws_report_retention WHERE what = 'reports' AND of_day < kept_from) THEN
        RETURN true;
    END IF;
    WITH noted AS (
        DELETE FROM aws_report_daily_note WHERE day = of_day
    ), reports AS (
        SELECT * FROM aws_reports WHERE send_at >= since AND send_at < until
        UNION ALL
        SELECT * FROM aws_reports
        WHERE send_at IS NULL AND (reject_at IS NOT NULL OR rendering_failure_at IS NOT NULL)
            AND coalesce(reject_at, rendering_failure_at, created_at) >= since
            AND coalesce(reject_at, rendering_failure_at, created_at) < until
    ), counted AS MATERIALIZED (
        SELECT aws_report_domain(r.source_email) AS source_domain, r.report_type, coalesce(r.provider, 'other') AS provider,
            CASE WHEN f.bounced = 1 THEN coalesce(r.bounce_class, 'unknown') END AS bounce_class, r.tags,
            sum(f.bounced) AS bounced,
            sum(f.sent) AS sent, sum(f.delivered) AS delivered, sum(f.bounced_hard) AS bounced_hard,
            sum(f.bounced_soft) AS bounced_soft, sum(f.bounced_suppressed) AS bounced_suppressed,
            sum(f.suppressed_globally) AS suppressed_globally, sum(f.complained) AS complained,
            sum(f.opened) AS opened, sum(f.clicked) AS clicked, sum(f.human_opened) AS human_opened,
            sum(f.human_clicked) AS human_clicked, sum(f.rejected) AS rejected,
            sum(f.rendering_failed) AS rendering_failed, sum(f.delayed) AS delayed,
            sum(f.messages_delivered) AS messages_delivered
        FROM reports AS r, aws_report_figures(
            r.send_at, r.delivery_at, r.bounce_at, r.bounce_type, r.bounce_sub_type, r.counts_bounce,
            r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type, r.counts_complaint,
            r.counts_message, r.open_at, r.click_at, r.human_open_at, r.human_click_at, r.reject_at,
            r.rendering_failure_at, r.delivery_delay_at) AS f
        WHERE NOT aws_report_is_simulator(r.user_email)
        GROUP BY 1, 2, 3, 4, 5
    ), by_provider AS (
        SELECT source_domain, report_type, provider,
            sum(sent) AS sent, sum(delivered) AS delivered, sum(bounced_hard) AS bounced_hard,
            sum(bounced_soft) AS bounced_soft, sum(bounced_suppressed) AS bounced_suppressed,
            sum(suppressed_globally) AS suppressed_globally, sum(complained) AS complained,
            sum(opened) AS opened, sum(clicked) AS clicked, sum(human_opened) AS human_opened,
            sum(human_clicked) AS human_clicked, sum(rejected) AS rejected,
            sum(rendering_failed) AS rendering_failed, sum(delayed) AS delayed,
            sum(messages_delivered) AS messages_delivered
        FROM counted GROUP BY 1, 2, 3
    ), by_class AS (
        SELECT source_domain, report_type, provider, bounce_class, sum(bounced) AS bounced
        FROM counted WHERE bounce_class IS NOT NULL GROUP BY 1, 2, 3, 4
    ), by_value AS (
        SELECT tag, CASE WHEN place <= 1000 THEN value ELSE '' END AS value,
            sum(sent) AS sent, sum(delivered) AS delivered, sum(bounced_hard) AS bounced_hard,
            sum(bounced_soft) AS bounced_soft, sum(bounced_suppressed) AS bounced_suppressed,
            sum(suppressed_globally) AS suppressed_globally, sum(complained) AS complained,
            sum(opened) AS opened, sum(clicked) AS clicked, sum(human_opened) AS human_opened,
            sum(human_clicked) AS human_clicked, sum(rejected) AS rejected,
            sum(rendering_failed) AS rendering_failed, sum(delayed) AS delayed,
            sum(messages_delivered) AS messages_delivered
        FROM (
            SELECT pairs.tag, pairs.value, dense_rank() OVER (PARTITION BY pairs.tag ORDER BY sum(sent) DESC, pairs.value) AS place,
                sum(sent) AS sent, sum(delivered) AS delivered, sum(bounced_hard) AS bounced_hard,
                sum(bounced_soft) AS bounced_soft, sum(bounced_suppressed) AS bounced_suppressed,
                sum(suppressed_globally) AS suppressed_globally, sum(complained) AS complained,
                sum(opened) AS opened, sum(clicked) AS clicked, sum(human_opened) AS human_opened,
                sum(human_clicked) AS human_clicked, sum(rejected) AS rejected,
                sum(rendering_failed) AS rendering_failed, sum(delayed) AS delayed,
                sum(messages_delivered) AS messages_delivered
            FROM counted, jsonb_each_text(counted.tags) AS pairs (tag, value)
            GROUP BY pairs.tag, pairs.value
        ) AS ranked
        GROUP BY 1, 2
    ), vanished AS (
        DELETE FROM aws_report_daily AS held
        WHERE day = of_day AND NOT EXISTS (
            SELECT FROM by_provider AS now
            WHERE now.source_domain = held.source_domain AND now.report_type = held.report_type AND now.provider = held.provider)
    ), vanished_classes AS (
        DELETE FROM aws_report_daily_bounce AS held
        WHERE day = of_day AND NOT EXISTS (
            SELECT FROM by_class AS now
            WHERE now.source_domain = held.source_domain AND now.report_type = held.report_type
                AND now.provider = held.provider AND now.bounce_class = held.bounce_class)
    ), vanished_values AS (
        DELETE FROM aws_report_daily_tag AS held
        WHERE day = of_day AND NOT EXISTS (SELECT FROM by_value AS now WHERE now.tag = held.tag AND now.value = held.value)
    ), classes AS (
        INSERT INTO aws_report_daily_bounce (day, source_domain, report_type, provider, bounce_class, bounced)
        SELECT of_day, source_domain, report_type, provider, bounce_class, bounced FROM by_class
        ON CONFLICT (day, source_domain, report_type, provider, bounce_class) DO UPDATE SET
            bounced = excluded.bounced, updated_at = now()
    ), tags AS (
        INSERT INTO aws_report_daily_tag (day, tag, value,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered)
        SELECT of_day, tag, value,
            sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally,
            complained, opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
            messages_delivered
        FROM by_value
        ON CONFLICT (day, tag, value) DO UPDATE SET
            sent = excluded.sent, delivered = excluded.delivered, bounced_hard = excluded.bounced_hard,
            bounced_soft = excluded.bounced_soft, bounced_suppressed = excluded.bounced_suppressed,
            suppressed_globally = excluded.suppressed_globally, complained = excluded.complained,
            opened = excluded.opened, clicked = excluded.clicked, human_opened = excluded.human_opened,
            human_clicked = excluded.human_clicked, rejected = excluded.rejected,
            rendering_failed = excluded.rendering_failed, delayed = excluded.delayed,
            messages_delivered = excluded.messages_delivered,
            updated_at = now()
    )
    INSERT INTO aws_report_daily (day, source_domain, report_type, provider,
        sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally, complained,
        opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
        messages_delivered)
    SELECT of_day, source_domain, report_type, provider,
        sent, delivered, bounced_hard, bounced_soft, bounced_suppressed, suppressed_globally, complained,
        opened, clicked, human_opened, human_clicked, rejected, rendering_failed, delayed,
        messages_delivered
    FROM by_provider
    ON CONFLICT (day, source_domain, report_type, provider) DO UPDATE SET
        sent = excluded.sent, delivered = excluded.delivered, bounced_hard = excluded.bounced_hard,
        bounced_soft = excluded.bounced_soft, bounced_suppressed = excluded.bounced_suppressed,
        suppressed_globally = excluded.suppressed_globally, complained = excluded.complained,
        opened = excluded.opened, clicked = excluded.clicked, human_opened = excluded.human_opened,
        human_clicked = excluded.human_clicked, rejected = excluded.rejected,
        rendering_failed = excluded.rendering_failed, delayed = excluded.delayed,
        messages_delivered = excluded.messages_delivered,
        updated_at = now();
    RETURN true;
END
$$;

COMMENT ON FUNCTION aws_report_daily_refresh(date) IS
    'Counts a day again from its reports. Returns false, and does nothing, if another worker is changing figures. Call it in a READ COMMITTED transaction of its own.';

CREATE FUNCTION aws_report_figures_age(OUT age interval, OUT notes bigint, OUT days_to_recount bigint)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(clock_timestamp() - (SELECT min(noted_at) FROM aws_report_daily_note), interval '0'),
        (SELECT count(*) FROM aws_report_daily_note),
        (SELECT count(DISTINCT day) FROM aws_report_stale_day);
END;

COMMENT ON FUNCTION aws_report_figures_age() IS
    'How far the figures are behind the reports: the age of the oldest note that is not added yet, how many notes there are, and how many days wait to be counted again.';

CREATE OR REPLACE VIEW aws_report_states AS
SELECT r.id, r.message_id, r.user_email, r.user_id, t.report_name, r.source_email, r.subject,
    r.send_at, of_report.state,
    CASE of_report.state
        WHEN 'complained' THEN r.complaint_at
        WHEN 'hard bounced' THEN r.bounce_at
        WHEN 'rejected' THEN r.reject_at
        WHEN 'rendering failed' THEN r.rendering_failure_at
        WHEN 'suppressed' THEN coalesce(r.bounce_at, r.complaint_at)
        WHEN 'soft bounced' THEN r.bounce_at
        WHEN 'clicked' THEN r.human_click_at
        WHEN 'opened' THEN r.human_open_at
        WHEN 'delivered' THEN coalesce(r.delivery_at, r.open_at, r.click_at)
        WHEN 'delayed' THEN r.delivery_delay_at
        WHEN 'sent' THEN r.send_at
        ELSE r.created_at
    END AS state_at,
    of_report.bounce_kind, r.bounce_type, r.bounce_sub_type, r.open_count, r.click_count,
    r.provider, r.bounce_class, r.tags, r.human_open_at, r.human_click_at
FROM aws_reports AS r
LEFT JOIN aws_report_type AS t ON t.id = r.report_type
CROSS JOIN LATERAL (
    SELECT bounce_kind, CASE
        WHEN complaint_kind = 'complaint' THEN 'complained'
        WHEN bounce_kind = 'hard' THEN 'hard bounced'
        WHEN r.reject_at IS NOT NULL THEN 'rejected'
        WHEN r.rendering_failure_at IS NOT NULL THEN 'rendering failed'
        WHEN bounce_kind = 'suppressed' OR complaint_kind = 'suppressed' THEN 'suppressed'
        WHEN bounce_kind = 'soft' THEN 'soft bounced'
        WHEN r.human_click_at IS NOT NULL THEN 'clicked'
        WHEN r.human_open_at IS NOT NULL THEN 'opened'
        WHEN r.delivery_at IS NOT NULL OR r.open_at IS NOT NULL OR r.click_at IS NOT NULL THEN 'delivered'
        WHEN r.delivery_delay_at IS NOT NULL THEN 'delayed'
        WHEN r.send_at IS NOT NULL THEN 'sent'
        ELSE 'unsent'
    END
    FROM (VALUES (
        aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at),
        aws_report_complaint_kind(r.complaint_at, r.complaint_sub_type, r.complaint_feedback_type)
    )) AS kinds (bounce_kind, complaint_kind)
) AS of_report (bounce_kind, state);

COMMENT ON COLUMN aws_report_states.state IS
    'The first state that applies. A report is clicked or opened only if a person did it, as far as the rules can tell; if only a machine did, it is delivered.';

CREATE OR REPLACE VIEW aws_report_timeline AS
SELECT r.message_id, r.user_email, d."timestamp", d.event_type,
    CASE d.event_type
        WHEN 'Delivery' THEN d.other_info #>> '{delivery,smtpResponse}'
        WHEN 'Bounce' THEN concat_ws(': ',
            concat_ws('/', d.other_info #>> '{bounce,bounceType}', d.other_info #>> '{bounce,bounceSubType}'),
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Complaint' THEN concat_ws('/', d.other_info #>> '{complaint,complaintSubType}',
            d.other_info #>> '{complaint,complaintFeedbackType}')
        WHEN 'Reject' THEN d.other_info #>> '{reject,reason}'
        WHEN 'Open' THEN d.other_info #>> '{open,userAgent}'
        WHEN 'Click' THEN d.other_info #>> '{click,link}'
        WHEN 'Rendering Failure' THEN d.other_info #>> '{failure,errorMessage}'
        WHEN 'DeliveryDelay' THEN concat_ws(': ', d.other_info #>> '{deliveryDelay,delayType}',
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Subscription' THEN d.other_info #>> '{subscription,source}'
    END AS what,
    d.other_info, d.class
FROM aws_reports AS r JOIN aws_report_detail AS d ON d.report_id = r.id;

COMMENT ON COLUMN aws_report_timeline.class IS
    'For an open or a click, what made it: human, proxy or machine. For a bounce or a delay, its class.';

-- A query for one address, WHERE user_email = aws_report_email('…'), uses the index aws_reports_user_email; one
-- for all addresses reads every report. The details of a hard bounce are looked up in its month only.
CREATE OR REPLACE VIEW aws_report_suppressions AS
SELECT r.user_email, of_report.reason, min(of_report.since) AS since, bool_and(of_report.is_guess) AS is_guess
FROM (
    SELECT id, user_email, message_id, delivery_at, bounce_at, bounce_type, bounce_sub_type, complaint_at,
        aws_report_complaint_kind(complaint_at, complaint_sub_type, complaint_feedback_type) AS complaint_kind,
        max(not_spam_at) OVER (PARTITION BY user_email) AS not_spam_at
    FROM aws_reports
) AS r
CROSS JOIN LATERAL aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
CROSS JOIN LATERAL (VALUES
    ('complaint', CASE WHEN r.complaint_kind = 'complaint' AND (r.not_spam_at IS NULL OR r.not_spam_at < r.complaint_at)
        THEN r.complaint_at END, CASE WHEN r.complaint_kind = 'complaint' THEN EXISTS (
        SELECT FROM aws_reports AS other
        WHERE other.message_id = r.message_id AND other.id <> r.id AND other.complaint_at = r.complaint_at) END),
    ('hard bounce', CASE WHEN bounce_kind = 'hard' THEN r.bounce_at END, CASE WHEN bounce_kind = 'hard' THEN EXISTS (
        SELECT FROM aws_report_detail AS d
        WHERE d.report_id = r.id AND d.event_type = 'Bounce' AND d.other_info @> '{"ambiguous": true}'
            AND d."timestamp" >= r.bounce_at AND d."timestamp" < r.bounce_at + interval '1 second') END),
    (CASE r.bounce_sub_type WHEN 'UnsubscribedRecipient' THEN 'unsubscribed'
        WHEN 'EmailValidationSuppressed' THEN 'address validation' ELSE 'suppression list' END,
        CASE WHEN bounce_kind = 'suppressed' THEN r.bounce_at END, false),
    ('suppression list', CASE WHEN r.complaint_kind = 'suppressed' THEN r.complaint_at END, false)
) AS of_report (reason, since, is_guess)
WHERE of_report.since IS NOT NULL AND NOT aws_report_is_simulator(r.user_email)
GROUP BY r.user_email, of_report.reason;

COMMENT ON VIEW aws_report_suppressions IS
    'Addresses to which no more mail should be sent, one row per address and reason: complaint, hard bounce, suppression list, unsubscribed, address validation. If a recipient marks a mail as not spam, earlier complaints of the address no longer count.';

-- Every day that was counted by the previous rules is counted again by the workers.
INSERT INTO aws_report_stale_day (day)
SELECT generate_series(aws_report_day(first, NULL, NULL)::timestamp, aws_report_day(last, NULL, NULL)::timestamp, interval '1 day')::date
FROM (
    SELECT least((SELECT min(send_at) FROM aws_reports WHERE send_at >= '2000-01-01 00:00:00+00'),
            (SELECT min(coalesce(reject_at, rendering_failure_at, created_at)) FROM aws_reports
                WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) >= '2000-01-01 00:00:00+00')),
        least(greatest((SELECT max(send_at) FROM aws_reports WHERE send_at < '3000-01-01 00:00:00+00'),
            (SELECT max(coalesce(reject_at, rendering_failure_at, created_at)) FROM aws_reports
                WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) < '3000-01-01 00:00:00+00')),
            -- The worker accepts events that are dated at most two days ahead.
            now() + interval '2 days')
) AS ends (first, last)
ON CONFLICT DO NOTHING;

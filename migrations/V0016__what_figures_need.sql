-- Purpose: a report keeps what is needed to tell what its events mean. SES reports as complaints that it did
--   not send a mail because of an earlier complaint, and that a recipient marked a mail as not spam; neither
--   is a complaint. An open or a click may be a machine's, a bounce has a class, and a message to several
--   recipients counts once.
-- Locks: ACCESS EXCLUSIVE on aws_reports and on aws_report_detail with its partitions for a moment: columns
--   without a default are added and no row is rewritten. It reads whether there is any report.
-- Existing reports: the backfill meanings reads their complaints and decides which of the reports of one
--   message counts. Until it is done, an existing complaint counts as one, whatever it says.

ALTER TABLE aws_reports
    ADD COLUMN bounce_class varchar(32) COLLATE "C",
    ADD COLUMN counts_bounce boolean,
    ADD COLUMN complaint_sub_type varchar(64) COLLATE "C",
    ADD COLUMN complaint_feedback_type varchar(64) COLLATE "C",
    ADD COLUMN counts_complaint boolean,
    ADD COLUMN not_spam_at timestamptz,
    ADD COLUMN counts_message boolean,
    ADD COLUMN provider varchar(32) COLLATE "C",
    ADD COLUMN tags jsonb,
    ADD COLUMN human_open_at timestamptz,
    ADD COLUMN human_click_at timestamptz;

ALTER TABLE aws_report_detail ADD COLUMN class varchar(32) COLLATE "C";

COMMENT ON COLUMN aws_reports.bounce_class IS
    'Why the mail bounced: the class of its strongest bounce, one of aws_report_bounce_class; NULL if the reason is unknown.';
COMMENT ON COLUMN aws_reports.counts_bounce IS
    'Whether the bounce of this report is counted. If a bounce may be about several recipients, only one of their reports counts it. NULL means that it is counted.';
COMMENT ON COLUMN aws_reports.complaint_sub_type IS
    'The subtype of the strongest complaint. OnAccountSuppressionList and OnTenantSuppressionList mean that SES never tried to deliver the mail. See aws_report_complaint_kind.';
COMMENT ON COLUMN aws_reports.complaint_feedback_type IS
    'The feedback type of the strongest complaint: abuse, fraud, virus, other, or not-spam, which is the opposite of a complaint.';
COMMENT ON COLUMN aws_reports.counts_complaint IS
    'Whether the complaint of this report is counted. If a complaint names several recipients who may have made it, only one of their reports counts it. NULL means that it is counted.';
COMMENT ON COLUMN aws_reports.not_spam_at IS 'When the recipient last marked the mail as not spam.';
COMMENT ON COLUMN aws_reports.counts_message IS
    'Whether this report is counted where messages are counted. Of a message to several recipients only one report is, that of the first recipient in the order of the addresses. NULL means that it is counted.';
COMMENT ON COLUMN aws_reports.provider IS
    'The provider of the recipient''s mailbox (gmail, microsoft, yahoo, apple, …); NULL for any other.';
COMMENT ON COLUMN aws_reports.tags IS 'The message tags that the setting REPORT_TAGS names, each with its first value.';
COMMENT ON COLUMN aws_reports.human_open_at IS 'The first open by a person, as far as the rules of aws_report_machine_rule can tell.';
COMMENT ON COLUMN aws_reports.human_click_at IS 'The first click by a person, as far as the rules of aws_report_machine_rule can tell.';
COMMENT ON COLUMN aws_report_detail.class IS
    'What the event means. Open and Click: human, proxy or machine. Bounce and DeliveryDelay: one of aws_report_bounce_class, or NULL if the reason is unknown. Other events: NULL.';

CREATE FUNCTION aws_report_complaint_rank(complaint_sub_type text, complaint_feedback_type text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN complaint_feedback_type = 'not-spam' THEN 1
    WHEN complaint_sub_type IN ('OnAccountSuppressionList', 'OnTenantSuppressionList') THEN 2
    ELSE 3
END;

-- The worker's own fold has the same order (src/row/complaint.rs).
COMMENT ON FUNCTION aws_report_complaint_rank(text, text) IS
    'How strong a complaint is: 3 if a recipient complained, 2 if SES never tried to deliver the mail, 1 if the recipient marked it as not spam. A report keeps the strongest.';

CREATE FUNCTION aws_report_complaint_kind(
    complaint_at timestamptz, complaint_sub_type text, complaint_feedback_type text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN complaint_at IS NULL THEN NULL
    WHEN complaint_feedback_type = 'not-spam' THEN 'not spam'
    WHEN complaint_sub_type IN ('OnAccountSuppressionList', 'OnTenantSuppressionList') THEN 'suppressed'
    ELSE 'complaint'
END;

COMMENT ON FUNCTION aws_report_complaint_kind(timestamptz, text, text) IS
    'What a complaint means: complaint (by a recipient), suppressed (SES accepted the mail and never tried to deliver it) or not spam (the opposite of a complaint); NULL if there is no complaint.';

CREATE FUNCTION aws_report_tags_join(held jsonb, excluded jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN held IS NULL THEN excluded WHEN held @> excluded THEN held ELSE (
        SELECT jsonb_object_agg(name, value)
        FROM (
            SELECT name, min(value COLLATE "C")
            FROM (SELECT * FROM jsonb_each_text(held) UNION ALL SELECT * FROM jsonb_each_text(excluded)) AS pairs (name, value)
            GROUP BY name
        ) AS least (name, value)
    ) END
$$;

-- The worker's own fold gives the same result (src/row/tags.rs).
COMMENT ON FUNCTION aws_report_tags_join(jsonb, jsonb) IS
    'The tags of both arguments. If a tag has two values, the smaller one is kept.';

-- SECURITY DEFINER, like every backfill: the worker's role has only the rights that its own statements need.
CREATE FUNCTION aws_report_backfill_meanings(
    from_position text, batch integer, OUT next_position text, OUT rows_done bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    looked_at uuid[] := ARRAY(
        SELECT id FROM aws_reports
        WHERE id > coalesce(from_position::uuid, '00000000-0000-0000-0000-000000000000')
        ORDER BY id LIMIT batch);
BEGIN
    -- In the order of ids, in which the worker locks them too.
    PERFORM FROM aws_reports WHERE id = ANY (looked_at) ORDER BY id FOR UPDATE;
    -- The strongest complaint is kept. If there are several, the smallest subtype and the smallest feedback
    -- type are kept.
    UPDATE aws_reports AS r
    SET complaint_sub_type = said.sub_type, complaint_feedback_type = said.feedback_type,
        not_spam_at = said.not_spam_at
    FROM (
        SELECT report_id, min(sub_type) FILTER (WHERE is_strongest) AS sub_type,
            min(feedback_type) FILTER (WHERE is_strongest) AS feedback_type,
            max("timestamp") FILTER (WHERE feedback_type = 'not-spam') AS not_spam_at
        FROM (
            SELECT report_id, "timestamp", sub_type, feedback_type,
                aws_report_complaint_rank(sub_type, feedback_type)
                    = max(aws_report_complaint_rank(sub_type, feedback_type)) OVER (PARTITION BY report_id) AS is_strongest
            FROM (
                SELECT d.report_id, d."timestamp",
                    aws_report_shorten(nullif(d.other_info #>> '{complaint,complaintSubType}', ''), 64) COLLATE "C" AS sub_type,
                    aws_report_shorten(nullif(d.other_info #>> '{complaint,complaintFeedbackType}', ''), 64) COLLATE "C" AS feedback_type
                FROM aws_reports AS report JOIN aws_report_detail AS d ON d.report_id = report.id
                WHERE report.id = ANY (looked_at) AND report.complaint_at IS NOT NULL
                    AND d.event_type = 'Complaint' AND d."timestamp" >= report.complaint_at - interval '1 second'
            ) AS details
        ) AS ranked
        GROUP BY report_id
    ) AS said
    WHERE r.id = said.report_id
        AND (r.complaint_sub_type, r.complaint_feedback_type, r.not_spam_at)
            IS DISTINCT FROM (said.sub_type, said.feedback_type, said.not_spam_at);
    -- Of the reports of one message, the first in the order of the addresses counts the message, and a
    -- complaint or a bounce that may be about several of them.
    UPDATE aws_reports AS r SET counts_message = false
    WHERE r.id = ANY (looked_at) AND r.counts_message IS NULL AND EXISTS (
        SELECT FROM aws_reports AS other WHERE other.message_id = r.message_id AND other.user_email < r.user_email);
    UPDATE aws_reports AS r SET counts_complaint = false
    WHERE r.id = ANY (looked_at) AND r.counts_complaint IS NULL AND r.complaint_at IS NOT NULL AND EXISTS (
        SELECT FROM aws_reports AS other
        WHERE other.message_id = r.message_id AND other.user_email < r.user_email AND other.complaint_at = r.complaint_at);
    UPDATE aws_reports AS r SET counts_bounce = false
    WHERE r.id = ANY (looked_at) AND r.counts_bounce IS NULL AND r.bounce_at IS NOT NULL AND EXISTS (
        SELECT FROM aws_report_detail AS d
        WHERE d.report_id = r.id AND d.event_type = 'Bounce' AND d.other_info @> '{"ambiguous": true}'
            AND d."timestamp" >= r.bounce_at AND d."timestamp" < r.bounce_at + interval '1 second')
        AND EXISTS (
            SELECT FROM aws_reports AS other
            WHERE other.message_id = r.message_id AND other.user_email < r.user_email AND other.bounce_at = r.bounce_at);
    rows_done := cardinality(looked_at);
    next_position := CASE WHEN rows_done = batch THEN looked_at[batch] END;
END
$$;

COMMENT ON FUNCTION aws_report_backfill_meanings(text, integer) IS
    'Sets the columns of V0016 for reports that were written before it: what their complaints mean, and which of the reports of one message counts.';

INSERT INTO aws_report_backfill (name) SELECT 'meanings' WHERE EXISTS (SELECT FROM aws_reports)
ON CONFLICT (name) DO UPDATE SET "position" = NULL, finished_at = NULL;

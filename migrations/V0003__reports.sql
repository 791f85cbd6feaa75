-- Purpose: the report table, one row per message and recipient.
-- Locks: none on existing tables; it creates one table, its indexes and its trigger.
-- Text is compared in the C collation: LEAST() must give what the worker's own fold gives, and an
--   upgrade of the operating system's locales must not break an index.
-- Fillfactor: the row of a mail is updated by each of its later events; free room on the page
--   keeps those updates HOT. For the same reason no column that events change is indexed.

CREATE TABLE aws_reports (
    id uuid PRIMARY KEY,
    report_type bigint NOT NULL DEFAULT 0,
    user_id varchar(200) COLLATE "C",
    user_email varchar(100) COLLATE "C" NOT NULL,
    message_id varchar(64) COLLATE "C" NOT NULL,
    source_email varchar(100) COLLATE "C",
    subject varchar(200) COLLATE "C",
    bounce_at timestamptz,
    complaint_at timestamptz,
    delivery_at timestamptz,
    send_at timestamptz,
    reject_at timestamptz,
    open_at timestamptz,
    click_at timestamptz,
    rendering_failure_at timestamptz,
    delivery_delay_at timestamptz,
    subscription_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    bounce_type varchar(64) COLLATE "C",
    bounce_sub_type varchar(64) COLLATE "C",
    open_count integer NOT NULL DEFAULT 0,
    click_count integer NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

-- "What happened to mail X": WHERE message_id = 'X'
CREATE INDEX aws_reports_message_id ON aws_reports (message_id);
-- "Everything sent to this address": WHERE user_email = aws_report_email('Jane <JANE@example.com>')
CREATE INDEX aws_reports_user_email ON aws_reports (user_email);

CREATE FUNCTION aws_reports_touch() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION aws_reports_touch() IS 'Keeps aws_reports.updated_at, whoever changes the row.';

CREATE TRIGGER aws_reports_touch BEFORE UPDATE ON aws_reports
    FOR EACH ROW EXECUTE FUNCTION aws_reports_touch();

CREATE FUNCTION aws_report_is_suppressed(bounce_sub_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(bounce_sub_type IN (
        'Suppressed', 'OnAccountSuppressionList', 'OnTenantSuppressionList',
        'UnsubscribedRecipient', 'EmailValidationSuppressed'), false)
$$;

COMMENT ON FUNCTION aws_report_is_suppressed(text) IS
    'Whether a bounce of that subtype was never attempted, so that it is none for the bounce rate.';

-- The worker's own fold says the same (src/row.rs).
CREATE FUNCTION aws_report_bounce_order(a text, b text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN a IS NOT DISTINCT FROM b THEN 0
        WHEN b IS NULL THEN 1
        WHEN a IS NULL THEN -1
        ELSE sign(
            coalesce(array_position(ARRAY['Permanent', 'Undetermined', 'Transient'], b), 4) * 2
            - coalesce(array_position(ARRAY['Permanent', 'Undetermined', 'Transient'], a), 4) * 2
            + CASE WHEN a < b COLLATE "C" THEN 1 ELSE -1 END)::int
    END
$$;

COMMENT ON FUNCTION aws_report_bounce_order(text, text) IS
    'Which of two bounce types is the stronger: 1 the first, -1 the second, 0 alike. Permanent beats Undetermined beats Transient beats any other, of two others the first by name.';

COMMENT ON TABLE aws_reports IS
    'One row per message and recipient: the fold of all events of that mail, the same in whatever order they came.';
COMMENT ON COLUMN aws_reports.id IS
    'aws_report_id(message_id, user_email) of the whole values: a sender may create the row itself at send time.';
COMMENT ON COLUMN aws_reports.report_type IS
    'aws_report_type.id. A type other than default beats default; of two others the greater id stays.';
COMMENT ON COLUMN aws_reports.user_id IS
    'The customer: from the message tag user_id, or set by the application that sent the mail.';
COMMENT ON COLUMN aws_reports.user_email IS
    'The recipient: lower case, without display name; longer than 100 characters as aws_report_shorten(…, 100).';
COMMENT ON COLUMN aws_reports.message_id IS
    'The SES message id; longer than 64 characters as aws_report_shorten(…, 64).';
COMMENT ON COLUMN aws_reports.source_email IS 'The sender''s address, without display name.';
COMMENT ON COLUMN aws_reports.subject IS
    'The subject; longer than 200 characters as aws_report_shorten(…, 200).';
COMMENT ON COLUMN aws_reports.bounce_at IS
    'First bounce, by the clock of the receiving server. What kind it was: bounce_type, bounce_sub_type.';
COMMENT ON COLUMN aws_reports.complaint_at IS 'First complaint, by the clock of the receiving provider.';
COMMENT ON COLUMN aws_reports.delivery_at IS 'First acceptance by the receiving mail server.';
COMMENT ON COLUMN aws_reports.send_at IS
    'When SES accepted the mail: the least mail.timestamp of all events but Reject and Rendering Failure.';
COMMENT ON COLUMN aws_reports.reject_at IS 'When SES accepted the mail that it then rejected for its content.';
COMMENT ON COLUMN aws_reports.open_at IS 'First open; a mail with several recipients counts it for each (see other_info.ambiguous of the details).';
COMMENT ON COLUMN aws_reports.click_at IS 'First click; a mail with several recipients counts it for each.';
COMMENT ON COLUMN aws_reports.rendering_failure_at IS 'When SES took the templated mail that it then could not render.';
COMMENT ON COLUMN aws_reports.delivery_delay_at IS 'First temporary failure to deliver.';
COMMENT ON COLUMN aws_reports.subscription_at IS 'First change of a subscription through the mail''s list-management link.';
COMMENT ON COLUMN aws_reports.created_at IS 'When the row was written; says nothing about the mail.';
COMMENT ON COLUMN aws_reports.updated_at IS 'When the row last changed; kept by a trigger.';
COMMENT ON COLUMN aws_reports.bounce_type IS
    'The strongest seen: Permanent, then Undetermined, then Transient.';
COMMENT ON COLUMN aws_reports.bounce_sub_type IS
    'Of that type. Never attempted where aws_report_is_suppressed(bounce_sub_type). Transient/General after a delivery: an auto-reply.';
COMMENT ON COLUMN aws_reports.open_count IS 'Distinct Open events that were stored.';
COMMENT ON COLUMN aws_reports.click_count IS 'Distinct Click events that were stored.';

-- Purpose: opens and clicks by machines are told from those by people, by rules that are data. The rules are
--   rows, ours and those of operators. What a rule needs more than the event for (how soon it came after the
--   delivery, how many links were clicked together) is judged after the write: the statement that writes a
--   batch notes the reports, and the worker judges them. The backfill classes does the same for history, and
--   gives bounces their classes and recipients their providers; the worker begins it again whenever rules change.
-- Locks: ACCESS EXCLUSIVE on aws_report_backfill for a moment. It reads one row of aws_reports.
-- Exactness: a note is a row of the transaction that wrote the events. Whoever judges deletes the notes that it
--   sees and then reads, with a newer snapshot, so it sees at least what those transactions wrote; whatever
--   commits later still has its note.

CREATE TABLE aws_report_machine_rule (
    name varchar(100) COLLATE "C" PRIMARY KEY,
    is_ours boolean NOT NULL DEFAULT false,
    is_enabled boolean NOT NULL DEFAULT true,
    priority integer NOT NULL DEFAULT 50,
    opens boolean NOT NULL,
    clicks boolean NOT NULL,
    kind varchar(32) COLLATE "C" NOT NULL,
    value varchar(200) COLLATE "C" NOT NULL,
    verdict varchar(32) COLLATE "C" NOT NULL,
    source text COLLATE "C",
    as_of date,
    CONSTRAINT aws_report_machine_rule_is_about CHECK (opens OR clicks),
    CONSTRAINT aws_report_machine_rule_verdict CHECK (verdict IN ('human', 'proxy', 'machine')),
    CONSTRAINT aws_report_machine_rule_value CHECK (CASE kind
        WHEN 'bot event' THEN value <> ''
        WHEN 'user agent is' THEN true
        WHEN 'user agent contains' THEN value <> ''
        WHEN 'user agent starts with' THEN value <> ''
        WHEN 'user agent ends with' THEN value <> ''
        WHEN 'network' THEN value::inet IS NOT NULL
        WHEN 'delay' THEN value ~ '^[0-9]{1,5}$'
        WHEN 'burst' THEN value ~ '^([2-9]|[1-9][0-9]) in [0-9]{1,5}$' AND NOT opens
        ELSE false END)
);

COMMENT ON TABLE aws_report_machine_rule IS
    'Who opens and clicks: rules that tell people from proxies and machines. The first rule that matches an event decides, by priority and then by name; rules about the event alone come before those about delay and burst. Workers read them every minute.';
COMMENT ON COLUMN aws_report_machine_rule.name IS 'The rule. Those of operators have names of their own.';
COMMENT ON COLUMN aws_report_machine_rule.is_ours IS
    'Whether a migration has inserted it. Later migrations replace such rules, disabled ones stay disabled; all others are left alone.';
COMMENT ON COLUMN aws_report_machine_rule.is_enabled IS 'Whether it is used.';
COMMENT ON COLUMN aws_report_machine_rule.priority IS 'The least is tried first. Ours are from 100 to 999.';
COMMENT ON COLUMN aws_report_machine_rule.opens IS 'Whether it is about opens.';
COMMENT ON COLUMN aws_report_machine_rule.clicks IS 'Whether it is about clicks.';
COMMENT ON COLUMN aws_report_machine_rule.kind IS
    'What it looks at: bot event (isBotEvent of SES), user agent is, user agent contains, user agent starts with, user agent ends with (in any case of letters), network (an address or a CIDR), delay (came sooner after the delivery than so many seconds), burst (so many different links of the message were clicked within so many seconds).';
COMMENT ON COLUMN aws_report_machine_rule.value IS
    'What it compares that with: a text, a network, seconds, or for a burst links and seconds, such as 3 in 10.';
COMMENT ON COLUMN aws_report_machine_rule.verdict IS
    'What an event is that matches: human, proxy (fetched by a mailbox provider, whether somebody reads the mail or not) or machine (a scanner, a filter, a preview). Without a match it is human.';
COMMENT ON COLUMN aws_report_machine_rule.source IS 'Where the fact is from, with the licence of a list.';
COMMENT ON COLUMN aws_report_machine_rule.as_of IS 'When it was looked up.';

CREATE TABLE aws_report_unjudged (
    report_id uuid,
    transaction xid8 DEFAULT pg_current_xact_id(),
    PRIMARY KEY (report_id, transaction)
);

COMMENT ON TABLE aws_report_unjudged IS
    'Reports whose opens and clicks are to be judged together: one row per report and transaction that changed it. A report without one is judged, or need not be.';
COMMENT ON COLUMN aws_report_unjudged.report_id IS 'aws_reports.id.';
COMMENT ON COLUMN aws_report_unjudged.transaction IS 'The transaction that changed the report.';

ALTER TABLE aws_report_backfill ADD COLUMN version text COLLATE "C";

COMMENT ON COLUMN aws_report_backfill.version IS
    'The version of the rules that it applies, for a backfill that begins again when they change.';

-- SECURITY DEFINER: the worker need not be able to delete. SKIP LOCKED: several workers share the work, and a
-- report that another session keeps locked delays no other.
CREATE FUNCTION aws_report_unjudged_take(batch integer) RETURNS uuid[]
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    WITH noted AS MATERIALIZED (
        SELECT report_id, transaction FROM aws_report_unjudged
        ORDER BY report_id, transaction LIMIT batch
        FOR UPDATE SKIP LOCKED
    ), locked AS MATERIALIZED (
        SELECT noted.report_id, noted.transaction
        FROM noted
        CROSS JOIN LATERAL (
            SELECT FROM aws_reports WHERE id = noted.report_id FOR NO KEY UPDATE SKIP LOCKED) AS report
    ), taken AS (
        DELETE FROM aws_report_unjudged AS note USING locked
        WHERE note.report_id = locked.report_id AND note.transaction = locked.transaction
        RETURNING note.report_id
    ), vanished AS (
        -- Retention has removed the report.
        DELETE FROM aws_report_unjudged AS note USING noted
        WHERE note.report_id = noted.report_id AND note.transaction = noted.transaction
            AND NOT EXISTS (SELECT FROM aws_reports WHERE id = note.report_id)
    )
    SELECT array_agg(DISTINCT report_id) FROM taken
$$;

COMMENT ON FUNCTION aws_report_unjudged_take(integer) IS
    'Takes and locks some reports that are to be judged; NULL if there are none.';

-- VOLATILE, in READ COMMITTED: the second statement has a snapshot of its own and sees all that was written
-- before the locks were taken. SECURITY DEFINER: the worker may not read other_info at will. Without a
-- condition on the time every month would be looked into.
CREATE FUNCTION aws_report_interactions(reports uuid[]) RETURNS TABLE (
    report_id uuid, delivery_at timestamptz, human_open_at timestamptz, human_click_at timestamptz,
    id uuid, "timestamp" timestamptz, event_type text, class text, own text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    -- In the order of their ids, as the worker locks them.
    PERFORM FROM aws_reports AS r WHERE r.id = ANY (reports) ORDER BY r.id FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT r.id, r.delivery_at, r.human_open_at, r.human_click_at,
        d.id, d."timestamp", d.event_type::text, d.class::text,
        coalesce(
            CASE WHEN jsonb_typeof(d.other_info -> lower(d.event_type)) = 'object'
                THEN d.other_info -> lower(d.event_type) END,
            (SELECT value FROM jsonb_each(CASE WHEN jsonb_typeof(d.other_info) = 'object' THEN d.other_info END)
                WHERE lower(key) = lower(d.event_type) AND jsonb_typeof(value) = 'object' ORDER BY key LIMIT 1),
            d.other_info)::text
    FROM aws_reports AS r
    -- OFFSET: report by report, by the primary key of the months that matter, whatever the planner expects.
    CROSS JOIN LATERAL (
        SELECT * FROM aws_report_detail AS of_report
        WHERE of_report.report_id = r.id AND of_report."timestamp" >= LEAST(r.open_at, r.click_at)
            AND of_report.event_type IN ('Open', 'Click')
        OFFSET 0
    ) AS d
    WHERE r.id = ANY (reports)
    ORDER BY r.id;
END
$$;

COMMENT ON FUNCTION aws_report_interactions(uuid[]) IS
    'Locks reports, and gives the opens and clicks of each with what they say about who made them.';

-- SECURITY DEFINER: the worker may not read addresses at will.
CREATE FUNCTION aws_report_recipients(reports uuid[]) RETURNS TABLE (id uuid, user_email text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT r.id, r.user_email::text FROM aws_reports AS r WHERE r.id = ANY (reports)
$$;

COMMENT ON FUNCTION aws_report_recipients(uuid[]) IS 'The recipients of reports, to find their providers.';

-- SECURITY DEFINER: the worker may not read other_info at will. No event of these kinds is earlier than the first of
-- its kind, but for feedback that is cut to the second.
CREATE FUNCTION aws_report_answers(reports uuid[]) RETURNS TABLE (
    report_id uuid, user_email text, provider text, bounce_type text, bounce_class text,
    id uuid, "timestamp" timestamptz, event_type text, class text, own text, entry text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT r.id, r.user_email::text, r.provider::text, r.bounce_type::text, r.bounce_class::text,
        d.id, d."timestamp", d.event_type::text, d.class::text,
        coalesce(d.other_info -> CASE d.event_type
            WHEN 'Bounce' THEN 'bounce' WHEN 'Delivery' THEN 'delivery' ELSE 'deliveryDelay' END, d.other_info)::text,
        (d.other_info -> 'recipient')::text
    FROM aws_reports AS r
    -- OFFSET: as above.
    CROSS JOIN LATERAL (
        SELECT * FROM aws_report_detail AS of_report
        WHERE of_report.report_id = r.id
            AND of_report."timestamp" >= LEAST(r.bounce_at, r.delivery_delay_at, r.delivery_at) - interval '1 second'
            AND (of_report.event_type IN ('Bounce', 'DeliveryDelay')
                OR of_report.event_type = 'Delivery' AND r.provider IS NULL)
        OFFSET 0
    ) AS d
    WHERE r.id = ANY (reports)
    ORDER BY r.id
$$;

COMMENT ON FUNCTION aws_report_answers(uuid[]) IS
    'What servers said about the mail of reports: bounces and delays, and deliveries where the provider is not known.';

INSERT INTO aws_report_backfill (name) SELECT 'classes' WHERE EXISTS (SELECT FROM aws_reports)
ON CONFLICT (name) DO UPDATE SET "position" = NULL, finished_at = NULL;

-- The same rows are in src/classify/machine/defaults.rs, for where there is no database.
INSERT INTO aws_report_machine_rule (is_ours, name, priority, opens, clicks, kind, value, verdict, source, as_of)
SELECT true, name, priority, opens, clicks, kind, value, verdict, source, '2026-11-25'
FROM (VALUES
    ('ses-bot-event', 100, true, true, 'bot event', 'Likely', 'machine', 'ses'),
    ('apple-privacy-short', 200, true, false, 'user agent is', 'Mozilla/5.0', 'proxy', 'apple'),
    ('apple-privacy-webkit', 200, true, false, 'user agent ends with', '(KHTML, like Gecko)', 'proxy', 'apple'),
    ('gmail-image-proxy', 300, true, false, 'user agent contains', 'GoogleImageProxy', 'human', 'google'),
    ('yahoo-mail-proxy', 300, true, false, 'user agent contains', 'YahooMailProxy', 'proxy', 'yahoo'),
    ('agent-barracuda', 400, true, true, 'user agent contains', 'Barracuda', 'machine', 'scanners'),
    ('agent-bing-preview', 400, true, true, 'user agent contains', 'BingPreview', 'machine', 'scanners'),
    ('agent-curl', 400, true, true, 'user agent starts with', 'curl/', 'machine', 'scanners'),
    ('agent-headless-chrome', 400, true, true, 'user agent contains', 'HeadlessChrome', 'machine', 'scanners'),
    ('agent-go', 400, true, true, 'user agent starts with', 'Go-http-client', 'machine', 'scanners'),
    ('agent-mimecast', 400, true, true, 'user agent contains', 'Mimecast', 'machine', 'scanners'),
    ('agent-office-discovery', 400, true, true, 'user agent contains', 'Microsoft Office Existence Discovery', 'machine', 'scanners'),
    ('agent-proofpoint', 400, true, true, 'user agent contains', 'Proofpoint', 'machine', 'scanners'),
    ('agent-python', 400, true, true, 'user agent starts with', 'python-requests', 'machine', 'scanners'),
    ('agent-none', 400, true, false, 'user agent is', '', 'machine', 'scanners'),
    ('microsoft-365-filter-1', 500, true, true, 'network', '40.92.0.0/15', 'machine', 'microsoft'),
    ('microsoft-365-filter-2', 500, true, true, 'network', '40.107.0.0/16', 'machine', 'microsoft'),
    ('microsoft-365-filter-3', 500, true, true, 'network', '52.100.0.0/14', 'machine', 'microsoft'),
    ('microsoft-365-filter-4', 500, true, true, 'network', '52.238.78.88/32', 'machine', 'microsoft'),
    ('microsoft-365-filter-5', 500, true, true, 'network', '104.47.0.0/17', 'machine', 'microsoft'),
    ('microsoft-365-filter-6', 500, true, true, 'network', '2a01:111:f400::/48', 'machine', 'microsoft'),
    ('microsoft-365-filter-7', 500, true, true, 'network', '2a01:111:f403::/48', 'machine', 'microsoft'),
    ('barracuda-filter-1', 510, true, true, 'network', '3.24.133.128/25', 'machine', 'barracuda'),
    ('barracuda-filter-2', 510, true, true, 'network', '13.200.136.128/25', 'machine', 'barracuda'),
    ('barracuda-filter-3', 510, true, true, 'network', '15.222.16.128/25', 'machine', 'barracuda'),
    ('barracuda-filter-4', 510, true, true, 'network', '18.133.136.96/27', 'machine', 'barracuda'),
    ('barracuda-filter-5', 510, true, true, 'network', '18.133.136.128/26', 'machine', 'barracuda'),
    ('barracuda-filter-6', 510, true, true, 'network', '18.184.203.224/27', 'machine', 'barracuda'),
    ('barracuda-filter-7', 510, true, true, 'network', '18.185.115.192/26', 'machine', 'barracuda'),
    ('barracuda-filter-8', 510, true, true, 'network', '35.157.190.224/27', 'machine', 'barracuda'),
    ('barracuda-filter-9', 510, true, true, 'network', '35.176.92.96/27', 'machine', 'barracuda'),
    ('barracuda-filter-10', 510, true, true, 'network', '209.222.82.0/24', 'machine', 'barracuda'),
    ('opened-at-once', 600, true, false, 'delay', '10', 'machine', 'delay'),
    ('clicked-at-once', 600, false, true, 'delay', '3', 'machine', 'delay'),
    ('two-links-at-once', 700, false, true, 'burst', '2 in 1', 'machine', 'burst'),
    ('three-links-together', 700, false, true, 'burst', '3 in 10', 'machine', 'burst')
) AS rule (name, priority, opens, clicks, kind, value, verdict, fact)
JOIN (VALUES
    ('ses', 'Amazon SES, isBotEvent of open and click events, August 2026'),
    ('apple', 'Mailgun''s documentation of bot detection for opens (bot: apple); user agents of Apple Mail Privacy Protection'),
    ('google', 'Gmail fetches an image through its proxy when the mail is read; Amazon SES FAQ on metrics'),
    ('yahoo', 'help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html'),
    ('scanners', 'user agents that mail scanners and programs name themselves by; issues of putyourlightson/craft-campaign (546) and others'),
    ('microsoft', 'Microsoft 365 endpoints, sets 9 and 10 (mail filtering, no mailbox is read from there); list of warmbly/warmbly, Apache-2.0'),
    ('barracuda', 'Barracuda Email Gateway Defense, published ranges; list of warmbly/warmbly, Apache-2.0'),
    ('delay', 'measured from our own Delivery; others take 1.5 to 60 s after sending'),
    ('burst', 'mautic/mautic issues 9798 and 16263: scanners follow all links of a mail within seconds')
) AS fact (fact, source) USING (fact);

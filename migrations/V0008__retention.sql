-- Purpose: what was removed stays removed. From when on rows are kept is written down once, for all
--   workers, so that a late event of a month that was dropped neither stores a row nor makes its
--   partition again.
-- Locks: none on existing tables; it creates one table and replaces one function.

CREATE TABLE aws_report_retention (
    what text COLLATE "C" PRIMARY KEY CHECK (what IN ('details', 'reports')),
    kept_from date NOT NULL CHECK (extract(day FROM kept_from) = 1),
    updated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE aws_report_retention IS
    'From when on rows are kept. Without a row of its own, a kind of rows is kept for ever.';
COMMENT ON COLUMN aws_report_retention.what IS
    'details: by the month of their timestamp. reports: by the day on which the mail was sent, rejected or not rendered; their details go with them.';
COMMENT ON COLUMN aws_report_retention.kept_from IS
    'The first day (UTC) that is kept, the first of a month. Events of days before are acknowledged, counted and not stored. It only rises; who must take it back updates the row.';
COMMENT ON COLUMN aws_report_retention.updated_at IS 'When it last rose.';

-- With the caller's rights: whoever may not drop months must not say that they are gone.
CREATE FUNCTION aws_report_retention_advance(kind text, month date) RETURNS date
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    now_kept date;
BEGIN
    IF month > date_trunc('month', now() AT TIME ZONE 'UTC')::date THEN
        RAISE EXCEPTION '% is yet to come: events of now would be thrown away', month
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A refresh of a day that has begun ends first, with all its rows; one that begins later finds
    -- that the day is no longer to be counted.
    PERFORM pg_advisory_xact_lock(hashtext('ses-reports daily'), hashtext(current_schema()::text));
    -- Whoever is about to create a partition does so before, and it is found, or sees the new date.
    LOCK TABLE aws_report_detail IN SHARE UPDATE EXCLUSIVE MODE;
    INSERT INTO aws_report_retention AS held (what, kept_from) VALUES (kind, month)
    ON CONFLICT (what) DO UPDATE SET kept_from = excluded.kept_from, updated_at = now()
    WHERE held.kept_from < excluded.kept_from;
    SELECT kept_from INTO now_kept FROM aws_report_retention WHERE what = kind;
    RETURN now_kept;
END
$$;

COMMENT ON FUNCTION aws_report_retention_advance(text, date) IS
    'Says that rows before a month are no longer kept; tells from when on they are, which never goes back.';

-- SECURITY DEFINER: a worker whose role owns nothing may still create the month of an event.
CREATE OR REPLACE FUNCTION aws_report_detail_ensure(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    first_day date := date_trunc('month', month)::date;
    partition text := aws_report_detail_partition(first_day);
    taken int := 1;
BEGIN
    IF EXISTS (SELECT FROM aws_report_retention WHERE what = 'details' AND first_day < kept_from) THEN
        RETURN NULL;
    END IF;
    IF aws_report_detail_is_attached(partition) THEN
        RETURN false;
    END IF;
    -- One creator at a time; ATTACH takes the same lock anyway.
    LOCK TABLE aws_report_detail IN SHARE UPDATE EXCLUSIVE MODE;
    -- Retention may have held it, and moved on.
    IF EXISTS (SELECT FROM aws_report_retention WHERE what = 'details' AND first_day < kept_from) THEN
        RETURN NULL;
    END IF;
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
    'Creates the partition of a month if there is none; true if it did, NULL if the month is no longer kept.';

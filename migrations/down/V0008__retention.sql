-- Undoes V0008__retention: drops what says from when on rows are kept, so that a late event makes the
--   partition of a dropped month again. No other row is lost; the function is as V0004 made it.

-- SECURITY DEFINER: a worker whose role owns nothing may still create the month of an event.
CREATE OR REPLACE FUNCTION aws_report_detail_ensure(month date) RETURNS boolean
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

DROP FUNCTION aws_report_retention_advance(text, date);
DROP TABLE aws_report_retention;

-- Undoes V0013__room_for_updates: new pages of aws_reports are filled to 80 % again. No rows are lost.

CREATE OR REPLACE FUNCTION aws_report_day(send_at timestamptz, reject_at timestamptz, rendering_failure_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT (at AT TIME ZONE 'UTC')::date
    FROM (VALUES (coalesce(send_at, reject_at, rendering_failure_at))) AS sent (at)
    -- Whoever writes infinity by hand is on no day.
    WHERE at >= '2000-01-01 00:00:00+00' AND at < '3000-01-01 00:00:00+00'
$$;

ALTER TABLE aws_reports SET (fillfactor = 80);

-- Purpose: half the cost of a mail's later events. A page that is filled to 80 % has room for a
--   quarter of its rows to change, but all of them change within minutes: most updates moved their row
--   to another page, with a new entry in every index. And the function that tells a report's day
--   becomes one that PostgreSQL inlines: it was called for each row that a batch changes.
-- Locks: SHARE UPDATE EXCLUSIVE on aws_reports for a moment: readers and writers go on. Nothing is
--   rewritten: the pages that are there stay as full as they are.

-- 40: a report is a Send, most often a Delivery, and for some an Open, and the version before an update
-- stays until nobody can see it. The heap grows by what the indexes shrink (make bench).
ALTER TABLE aws_reports SET (fillfactor = 40);

-- The argument's expression is repeated: with a FROM or a subquery it could not be inlined.
CREATE OR REPLACE FUNCTION aws_report_day(send_at timestamptz, reject_at timestamptz, rendering_failure_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Whoever writes infinity by hand is on no day.
RETURN CASE
    WHEN coalesce(send_at, reject_at, rendering_failure_at) >= '2000-01-01 00:00:00+00'
        AND coalesce(send_at, reject_at, rendering_failure_at) < '3000-01-01 00:00:00+00'
    THEN (coalesce(send_at, reject_at, rendering_failure_at) AT TIME ZONE 'UTC')::date
END;

-- Months that should have a partition of details and have none.
-- $1 is the first day of the current month. One look at the index on send_at per month, not a scan.
WITH partition AS (
    SELECT date_trunc('month', substring(pg_get_expr(relpartbound, pg_class.oid)
        FROM $$FROM \('([^']+)'\)$$)::timestamptz, 'UTC') AS begins
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = '{schema}.aws_report_detail'::regclass AND NOT inhdetachpending
), first AS (
    SELECT least((SELECT min(begins) FROM partition), (SELECT min(send_at) FROM {schema}.aws_reports)) AS at
), month AS (
    SELECT generate_series(
        date_trunc('month', at AT TIME ZONE 'UTC'), $1::timestamp, interval '1 month') AT TIME ZONE 'UTC' AS begins
    FROM first
)
SELECT (begins AT TIME ZONE 'UTC')::date
FROM month
WHERE NOT EXISTS (SELECT FROM partition WHERE partition.begins = month.begins)
    AND ((begins AT TIME ZONE 'UTC')::date = $1 OR EXISTS (
        SELECT FROM {schema}.aws_reports
        WHERE send_at >= begins AND send_at < begins + interval '1 month'))
ORDER BY 1

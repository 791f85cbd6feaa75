-- ses-reports: find months without a partition
-- Months that should have a partition of details and have none: those of mail that was sent, and the
-- current one. $1 is when tables were adopted that were created by hand: not all of their mail has
-- details. A report that an application has created proves no event yet, and a month that a person has
-- detached to keep it is not missed. Each month is one look-up in the index on send_at, not a scan.
WITH clock AS (
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS month
), partition AS (
    SELECT date_trunc('month', substring(pg_get_expr(relpartbound, pg_class.oid)
        FROM $$FROM \('([^']+)'\)$$)::timestamptz, 'UTC') AS begins
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = '{schema}.aws_report_detail'::regclass AND NOT inhdetachpending
), first AS (
    -- SES opened in 2011.
    SELECT least((SELECT min(begins) FROM partition),
        (SELECT min(send_at) FROM {schema}.aws_reports WHERE send_at >= '2011-01-01 00:00:00+00')) AS at
), month AS (
    SELECT generate_series(
        date_trunc('month', at AT TIME ZONE 'UTC'), clock.month, interval '1 month') AT TIME ZONE 'UTC' AS begins
    FROM first, clock
)
SELECT (begins AT TIME ZONE 'UTC')::date
FROM month, clock
WHERE NOT EXISTS (SELECT FROM partition WHERE partition.begins = month.begins)
    AND (begins AT TIME ZONE 'UTC' = clock.month OR EXISTS (
        SELECT FROM {schema}.aws_reports
        WHERE send_at >= begins AND send_at < begins + interval '1 month'
            AND LEAST(delivery_at, bounce_at, open_at, click_at, delivery_delay_at) < begins + interval '1 month'
            AND ($1::timestamptz IS NULL OR created_at > $1)))
    AND to_regclass(format('{schema}.aws_report_detail_%s', to_char(begins AT TIME ZONE 'UTC', 'YYYY_MM'))) IS NULL
ORDER BY 1

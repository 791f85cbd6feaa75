-- ses-reports: list the tables that hold details
-- Attached partitions are found by their bounds, detached ones by the name that
-- aws_report_detail_ensure gave them. One that was detached to be dropped has the comment $1 until then.
SELECT name, from_day, until_day, rows, bytes, is_attached, is_pending,
    (is_attached OR is_pending OR is_marked) AND coalesce(until_day <= kept_from, false) AS is_expired
FROM (
    SELECT relname::text AS name,
        CASE WHEN bounds IS NULL THEN by_name ELSE (bounds[1]::timestamptz AT TIME ZONE 'UTC')::date END AS from_day,
        CASE WHEN bounds IS NULL THEN (by_name + interval '1 month')::date
            ELSE (bounds[2]::timestamptz AT TIME ZONE 'UTC')::date END AS until_day,
        CASE WHEN reltuples >= 0 THEN reltuples::bigint END AS rows,
        pg_total_relation_size(child.oid) AS bytes,
        coalesce(NOT inhdetachpending, false) AS is_attached,
        coalesce(inhdetachpending, false) AS is_pending,
        coalesce(obj_description(child.oid, 'pg_class') = $1, false) AS is_marked
    FROM pg_class AS child
    LEFT JOIN pg_inherits ON inhrelid = child.oid AND inhparent = '{schema}.aws_report_detail'::regclass
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(relpartbound, child.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS bounds
    CROSS JOIN LATERAL to_date(substring(relname FROM '^aws_report_detail_(\d{4}_(?:0[1-9]|1[0-2]))(?:_\d+)?$'), 'YYYY_MM') AS by_name
    WHERE relkind = 'r' AND relnamespace = '{schema}'::regnamespace
        AND (inhparent IS NOT NULL OR by_name IS NOT NULL)
) AS tables
LEFT JOIN {schema}.aws_report_retention ON what = 'details'
WHERE from_day IS NOT NULL AND until_day IS NOT NULL
ORDER BY from_day, name

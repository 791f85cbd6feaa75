-- ses-reports: find days to count again
-- Newest first. A day that some worker counted within the last $1 seconds is left for later, so that
-- many workers count it no more often than one.
SELECT DISTINCT stale.day
FROM {schema}.aws_report_stale_day AS stale
WHERE NOT EXISTS (
    SELECT FROM {schema}.aws_report_daily AS daily
    WHERE daily.day = stale.day AND daily.updated_at > now() - $1 * interval '1 second')
ORDER BY stale.day DESC

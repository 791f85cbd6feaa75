-- ses-reports: find days to count again
-- Newest first.
SELECT DISTINCT day FROM {schema}.aws_report_stale_day ORDER BY day DESC

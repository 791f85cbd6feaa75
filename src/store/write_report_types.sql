-- ses-reports: write report types
INSERT INTO {schema}.aws_report_type (id, report_name)
SELECT * FROM UNNEST($1::bigint[], $2::text[])
ON CONFLICT DO NOTHING

-- Undoes V0003__reports: drops the report table with its rows, and its functions.

DROP TABLE aws_reports;
DROP FUNCTION aws_report_bounce_order(text, text);
DROP FUNCTION aws_report_is_suppressed(text);
DROP FUNCTION aws_reports_touch();

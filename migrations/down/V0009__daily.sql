-- Undoes V0009__daily: drops the daily figures with their rows, and what keeps them. The figures of
--   days whose reports are still there can be counted again; those of older days are lost.

DROP TRIGGER aws_reports_note_updated ON aws_reports;
DROP TRIGGER aws_reports_note_inserted ON aws_reports;
DROP FUNCTION aws_report_daily_refresh(date);
DROP FUNCTION aws_reports_note_days();
DROP TABLE aws_report_daily;
DROP TABLE aws_report_stale_day;
DROP FUNCTION aws_report_bounce_kind(timestamptz, text, text, timestamptz);
DROP FUNCTION aws_report_domain(text);
DROP FUNCTION aws_report_day(timestamptz, timestamptz, timestamptz);

-- Undoes V0016__what_figures_need: drops its columns with their values, and its functions. The details still
--   hold the events, from which a backfill computes the values again if V0016 is applied again.

DROP FUNCTION aws_report_backfill_meanings(text, integer);
DROP FUNCTION aws_report_complaint_kind(timestamptz, text, text);
DROP FUNCTION aws_report_complaint_rank(text, text);
DROP FUNCTION aws_report_tags_join(jsonb, jsonb);
ALTER TABLE aws_report_detail DROP COLUMN class;
ALTER TABLE aws_reports
    DROP COLUMN bounce_class,
    DROP COLUMN counts_bounce,
    DROP COLUMN complaint_sub_type,
    DROP COLUMN complaint_feedback_type,
    DROP COLUMN counts_complaint,
    DROP COLUMN not_spam_at,
    DROP COLUMN counts_message,
    DROP COLUMN provider,
    DROP COLUMN tags,
    DROP COLUMN human_open_at,
    DROP COLUMN human_click_at;

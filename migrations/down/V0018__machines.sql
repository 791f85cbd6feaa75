-- Undoes V0018__machines: drops its tables and functions. Rows are lost: the rules of operators, and which
--   reports were to be judged. The classes that were given stay.
DROP FUNCTION aws_report_answers(uuid[]);
DROP FUNCTION aws_report_recipients(uuid[]);
DROP FUNCTION aws_report_interactions(uuid[]);
DROP FUNCTION aws_report_unjudged_take(integer);
DROP TABLE aws_report_unjudged;
DROP TABLE aws_report_machine_rule;
ALTER TABLE aws_report_backfill DROP COLUMN version;

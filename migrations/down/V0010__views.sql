-- Undoes V0010__views: drops the views. No rows are lost.

DROP VIEW aws_report_suppressions;
DROP VIEW aws_report_timeline;
DROP VIEW aws_report_states;

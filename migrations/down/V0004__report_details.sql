-- Undoes V0004__report_details: drops the detail table with all its partitions and rows, and its
--   functions. Partitions that were detached stay.

DROP FUNCTION aws_report_detail_ensure(date);
DROP FUNCTION aws_report_detail_is_attached(text);
DROP FUNCTION aws_report_detail_partition(date);
DROP TABLE aws_report_detail;

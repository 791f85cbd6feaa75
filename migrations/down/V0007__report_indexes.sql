-- migrate: no-transaction
-- Undoes V0007__report_indexes: drops the indexes. No rows are lost; readers and writers go on.

DROP INDEX CONCURRENTLY IF EXISTS aws_reports_unsent;
DROP INDEX CONCURRENTLY IF EXISTS aws_reports_send_at;
DROP INDEX CONCURRENTLY IF EXISTS aws_reports_user_id;

-- Undoes V0011__detail_times: drops the index with those of all partitions. No rows are lost.
-- It is ACCESS EXCLUSIVE on all of them, for a moment: PostgreSQL drops no partitioned index
-- concurrently.

DROP INDEX IF EXISTS aws_report_detail_timestamp_idx;

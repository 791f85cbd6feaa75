-- migrate: no-transaction
-- migrate: code
-- Purpose: events of a range of days without a look at the whole month. A block range index takes a
--   few kilobytes per month, because events are written about in the order of their times.
-- Locks: SHARE on aws_report_detail alone for a moment, where nothing is built: writers wait, readers
--   do not. Then the program (src/schema/code.rs) builds the index of each partition CONCURRENTLY
--   (SHARE UPDATE EXCLUSIVE on that partition: nobody waits) and attaches it.

-- "Why did mail bounce this week": WHERE event_type = 'Bounce' AND "timestamp" >= now() - interval '7 days'
-- squawk-ignore require-concurrent-index-creation -- ONLY: not one row is looked at.
CREATE INDEX IF NOT EXISTS aws_report_detail_timestamp_idx ON ONLY aws_report_detail
    USING brin ("timestamp") WITH (autosummarize = on);

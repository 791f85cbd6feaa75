-- migrate: no-transaction
-- Purpose: the questions about one customer, about a range of days, and about mail that was never
--   proven sent, without a look at the whole table.
-- Locks: SHARE UPDATE EXCLUSIVE on aws_reports while each index is built: readers and writers go on,
--   other DDL and VACUUM of the table wait.
-- Updates stay HOT: no column in these indexes changes with a later event. user_id and send_at come
--   with a mail's first event, and all of its events carry the same.

-- A customer's mail, newest first: WHERE user_id = '42' ORDER BY send_at DESC
CREATE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_user_id ON aws_reports (user_id, send_at)
    WHERE user_id IS NOT NULL;

-- A range of days: WHERE send_at >= '2026-11-01' AND send_at < '2026-12-01'. Also the refresh of a
-- day's figures, and retention, which removes the oldest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_send_at ON aws_reports (send_at);

-- Mail that was rejected or not rendered, and rows that a sender made and no event has met:
-- WHERE send_at IS NULL AND coalesce(reject_at, rendering_failure_at, created_at) < '2026-11-01'
CREATE INDEX CONCURRENTLY IF NOT EXISTS aws_reports_unsent
    ON aws_reports (coalesce(reject_at, rendering_failure_at, created_at))
    WHERE send_at IS NULL;

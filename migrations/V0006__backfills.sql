-- Purpose: how far each backfill is. A change of many rows is no migration: the worker makes it after
--   start-up, in bounded batches, and goes on where it was interrupted.
-- Locks: none on existing tables; it creates one table.

CREATE TABLE aws_report_backfill (
    name varchar(100) COLLATE "C" PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    "position" text COLLATE "C",
    rows_done bigint NOT NULL DEFAULT 0,
    last_error text
);

COMMENT ON TABLE aws_report_backfill IS
    'The progress of long data changes, which the worker makes in batches; one row per backfill that has begun.';
COMMENT ON COLUMN aws_report_backfill.name IS 'The backfill, as the program names it.';
COMMENT ON COLUMN aws_report_backfill.started_at IS 'When its first batch was begun.';
COMMENT ON COLUMN aws_report_backfill.updated_at IS 'When its last batch was committed, or failed.';
COMMENT ON COLUMN aws_report_backfill.finished_at IS 'When it had nothing left to do.';
COMMENT ON COLUMN aws_report_backfill."position" IS
    'Where the next batch begins, in the backfill''s own terms. Committed with the batch before it.';
COMMENT ON COLUMN aws_report_backfill.rows_done IS 'How many rows it has looked at.';
COMMENT ON COLUMN aws_report_backfill.last_error IS 'Why the last try failed; NULL once a batch succeeds.';

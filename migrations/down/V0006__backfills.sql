-- Undoes V0006__backfills: drops the table with the progress of backfills.

DROP TABLE aws_report_backfill;

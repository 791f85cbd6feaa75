-- Undoes V0012__replays: drops the tables of replays with their rows, and where dead letters came
-- from; no report, event or dead letter is lost. A replay that was interrupted begins anew.

DROP TABLE aws_report_replay_part;
DROP TABLE aws_report_replay;
ALTER TABLE aws_report_dead_letter DROP COLUMN source;

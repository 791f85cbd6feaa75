-- Purpose: a replay of an archive that was interrupted goes on where it was, with exact counts; and a
--   dead letter says where it came from, whichever way that was.
-- Locks: ACCESS EXCLUSIVE on aws_report_dead_letter for a moment, where no row is rewritten; it
--   creates two tables.

ALTER TABLE aws_report_dead_letter ADD COLUMN source text COLLATE "C";

COMMENT ON COLUMN aws_report_dead_letter.source IS
    'Where it came from: sqs:QUEUE, replay:FILE:LINE or baseline. NULL is sqs, before there was this column.';

CREATE TABLE aws_report_replay (
    id uuid PRIMARY KEY,
    source text COLLATE "C" NOT NULL,
    run uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    resumed_at timestamptz,
    finished_at timestamptz,
    bodies bigint,
    with_events bigint,
    acknowledged bigint,
    dead_letters bigint,
    new_dead_letters bigint,
    new_events bigint,
    known_events bigint,
    expired_events bigint
);

COMMENT ON TABLE aws_report_replay IS
    'The archives that were replayed, or are being so. A row may be deleted with its parts: then the archive is read from its start again, which changes no report.';
COMMENT ON COLUMN aws_report_replay.id IS
    'Computed from the names, the sizes, the beginnings and the ends of its files; random for what cannot be read twice.';
COMMENT ON COLUMN aws_report_replay.source IS 'What was to be replayed, as it was named.';
COMMENT ON COLUMN aws_report_replay.run IS
    'The process that replays it, or did last: a part is committed only while this is its own.';
COMMENT ON COLUMN aws_report_replay.started_at IS 'When it was begun from its start.';
COMMENT ON COLUMN aws_report_replay.resumed_at IS 'When it was last gone on with after an interruption.';
COMMENT ON COLUMN aws_report_replay.finished_at IS
    'When its last part was committed; then its sums stand here, and its parts are gone.';
COMMENT ON COLUMN aws_report_replay.bodies IS 'Bodies that were read: with events, acknowledged or dead letters.';
COMMENT ON COLUMN aws_report_replay.with_events IS 'Bodies that hold events.';
COMMENT ON COLUMN aws_report_replay.acknowledged IS 'Bodies with nothing to store.';
COMMENT ON COLUMN aws_report_replay.dead_letters IS 'Bodies that are dead letters.';
COMMENT ON COLUMN aws_report_replay.new_dead_letters IS 'Dead letters of these that were not there.';
COMMENT ON COLUMN aws_report_replay.new_events IS 'Rows of aws_report_detail that were not there.';
COMMENT ON COLUMN aws_report_replay.known_events IS 'Rows of aws_report_detail that were there.';
COMMENT ON COLUMN aws_report_replay.expired_events IS 'Rows that were not stored, because they are no longer kept.';

CREATE TABLE aws_report_replay_part (
    replay_id uuid,
    file integer,
    first_body bigint,
    bodies bigint NOT NULL,
    is_last boolean NOT NULL,
    with_events bigint NOT NULL,
    acknowledged bigint NOT NULL,
    dead_letters bigint NOT NULL,
    new_dead_letters bigint NOT NULL,
    new_events bigint NOT NULL,
    known_events bigint NOT NULL,
    expired_events bigint NOT NULL,
    PRIMARY KEY (replay_id, file, first_body)
);

COMMENT ON TABLE aws_report_replay_part IS
    'What of an unfinished replay is committed: one row per batch, in its transaction.';
COMMENT ON COLUMN aws_report_replay_part.replay_id IS 'The replay.';
COMMENT ON COLUMN aws_report_replay_part.file IS 'The file, counted from 0 in the order of the replay.';
COMMENT ON COLUMN aws_report_replay_part.first_body IS 'The first body of the batch, counted from 0 in its file.';
COMMENT ON COLUMN aws_report_replay_part.bodies IS 'Bodies of the batch, which follow each other.';
COMMENT ON COLUMN aws_report_replay_part.is_last IS 'Whether the file ends with it.';
COMMENT ON COLUMN aws_report_replay_part.with_events IS 'Bodies that hold events.';
COMMENT ON COLUMN aws_report_replay_part.acknowledged IS 'Bodies with nothing to store.';
COMMENT ON COLUMN aws_report_replay_part.dead_letters IS 'Bodies that are dead letters.';
COMMENT ON COLUMN aws_report_replay_part.new_dead_letters IS 'Dead letters of these that were not there.';
COMMENT ON COLUMN aws_report_replay_part.new_events IS 'Rows of aws_report_detail that were not there.';
COMMENT ON COLUMN aws_report_replay_part.known_events IS 'Rows of aws_report_detail that were there.';
COMMENT ON COLUMN aws_report_replay_part.expired_events IS 'Rows that were not stored, because they are no longer kept.';

-- Purpose: bodies that could not become report rows, whole and with the reason, so that nothing is
--   lost and each can be replayed.
-- Locks: none on existing tables; it creates one table.

CREATE TABLE aws_report_dead_letter (
    id uuid PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    body text NOT NULL,
    reason text NOT NULL,
    sqs_message_id varchar(100) COLLATE "C",
    detail text,
    sent_at timestamptz,
    receive_count integer
);

-- "What went wrong lately": ORDER BY received_at DESC
CREATE INDEX aws_report_dead_letter_received_at ON aws_report_dead_letter (received_at);

COMMENT ON TABLE aws_report_dead_letter IS
    'Message bodies that could not be understood or that PostgreSQL refused, as they came.';
COMMENT ON COLUMN aws_report_dead_letter.id IS
    'Computed from the body and the SQS message id: a redelivery adds no row.';
COMMENT ON COLUMN aws_report_dead_letter.received_at IS 'When the worker stored it.';
COMMENT ON COLUMN aws_report_dead_letter.body IS
    'The SQS message body, whole. Only the character U+0000, which PostgreSQL''s text cannot hold, becomes U+FFFD.';
COMMENT ON COLUMN aws_report_dead_letter.reason IS 'Why, one of a small set of sentences to group by.';
COMMENT ON COLUMN aws_report_dead_letter.sqs_message_id IS 'The SQS MessageId that carried it.';
COMMENT ON COLUMN aws_report_dead_letter.detail IS 'What exactly was wrong, for a person to read.';
COMMENT ON COLUMN aws_report_dead_letter.sent_at IS 'When the message entered the queue (SQS SentTimestamp).';
COMMENT ON COLUMN aws_report_dead_letter.receive_count IS 'How often SQS had handed it out (ApproximateReceiveCount).';

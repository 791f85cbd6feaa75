-- ses-reports: write dead letters
INSERT INTO {schema}.aws_report_dead_letter (
    id, body, reason, detail, sqs_message_id, sent_at, receive_count, source)
SELECT * FROM UNNEST(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::int[],
    $8::text[])
ON CONFLICT DO NOTHING

-- The reports of the mails $1 to $2: mail N was sent N times $4 milliseconds after $3 (milliseconds of
-- the epoch). What became of it happened until $5, so that its events lie in its month.
-- OFFSET 0 keeps each value from being computed once for every use.
INSERT INTO aws_reports (
    id, report_type, user_id, user_email, message_id, source_email, subject, send_at, delivery_at,
    delivery_delay_at, bounce_at, bounce_type, bounce_sub_type, complaint_at, open_at, open_count,
    click_at, click_count, human_open_at, human_click_at, counts_message, provider, bounce_class, tags)
SELECT
    -- As aws_report_id, of an address that is in its normal form already.
    aws_report_uuid(millis, id_hash),
    (ARRAY(SELECT id FROM aws_report_type ORDER BY report_name))[1 + lot % 6],
    CASE WHEN lot % 4 > 0 THEN 'customer-' || lot / 64 % 20000 END,
    user_email, message_id,
    (ARRAY['orders', 'news', 'billing', 'support'])[1 + lot % 4] || '@'
        || (ARRAY['shop', 'news', 'mail', 'pay', 'travel', 'games', 'books', 'music'])[1 + lot / 8 % 8]
        || '.example',
    'Your order ' || number,
    send_at,
    CASE WHEN fate < 960 THEN least(send_at + (800 + lot % 3000) * interval '1 ms', $5) END,
    CASE WHEN fate BETWEEN 940 AND 949 THEN send_at END,
    CASE WHEN fate >= 960 THEN least(send_at + interval '2 s', $5) END,
    CASE WHEN fate BETWEEN 985 AND 994 THEN 'Transient' WHEN fate >= 960 THEN 'Permanent' END,
    CASE WHEN fate >= 995 THEN 'OnAccountSuppressionList'
        WHEN fate >= 985 THEN 'MailboxFull' WHEN fate >= 960 THEN 'General' END,
    CASE WHEN fate = 600 THEN least(send_at + interval '3 hours', $5) END,
    CASE WHEN fate < 620 THEN least(opened, $5 - interval '2 ms') END,
    CASE WHEN fate < 200 OR fate >= 369 AND fate < 620 THEN 1 WHEN fate < 369 THEN 2 ELSE 0 END,
    CASE WHEN fate < 200 THEN least(opened + interval '20 s', $5) END,
    CASE WHEN fate < 200 THEN 1 ELSE 0 END,
    CASE WHEN fate < 400 THEN least(opened, $5 - interval '2 ms') END,
    CASE WHEN fate < 150 THEN least(opened + interval '20 s', $5) END,
    true,
    (ARRAY['gmail', 'gmail', 'microsoft', 'yahoo', 'apple'])[1 + lot % 8],
    CASE WHEN fate >= 995 THEN 'suppressed' WHEN fate >= 985 THEN 'mailbox-full' WHEN fate >= 960 THEN 'invalid-recipient' END,
    CASE WHEN lot % 4 = 1 THEN jsonb_build_object('campaign', 'c-' || millis / 604800000, 'variant', chr(97 + (lot / 16 % 2)::int)) END
FROM generate_series($1::bigint, $2::bigint) AS mail (number)
CROSS JOIN LATERAL (
    SELECT $3::bigint + (number * $4::float8)::bigint AS millis,
        md5(number::text) AS hash,
        hashint8extended(number, 0) & x'7fffffff'::bigint AS lot,
        -- Of 1000 mails in a row each has a fate of its own: 2 events of every mail and 1000 more.
        number * 7919 % 1000 AS fate
    OFFSET 0
) AS drawn
CROSS JOIN LATERAL (
    SELECT to_timestamp(millis / 1000.0::float8) AS send_at,
        to_timestamp(millis / 1000.0::float8) + (60 + lot % 20000) * interval '1 s' AS opened,
        '0102' || lpad(to_hex(millis), 12, '0') || '-' || left(hash, 8) || '-' || substr(hash, 9, 4)
            || '-' || substr(hash, 13, 4) || '-' || substr(hash, 17, 4) || '-' || substr(hash, 21, 12)
            || '-000000' AS message_id,
        'user' || lot % 2000000 || '@m' || lot % 500 || '.example' AS user_email
    OFFSET 0
) AS named
CROSS JOIN LATERAL (
    SELECT sha256(convert_to(message_id, 'UTF8') || '\x00'::bytea || convert_to(user_email, 'UTF8'))
        AS id_hash
    OFFSET 0
) AS hashed

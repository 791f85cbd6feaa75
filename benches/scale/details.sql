-- The details of the reports sent from $1 until $2 (exclusive): one per event that a report tells of,
-- two where it counts two opens. other_info is shaped as the worker stores it.
INSERT INTO aws_report_detail (
    id, notification_message_id, report_id, event_type, message_id, "timestamp", "from", "to", subject,
    other_info)
SELECT
    -- Shaped as the worker's ids: 48 bits of the event's clock, then a hash. The notification's id has
    -- its shape only.
    (lpad(to_hex((date_part('epoch', event.at) * 1000)::bigint), 12, '0')
        || '8' || left(hash, 3) || '8' || substr(hash, 4, 15))::uuid,
    substr(report.message_id, 18, 36),
    report.id, event.type, report.message_id, event.at, report.source_email, report.user_email,
    report.subject,
    (CASE event.type
        WHEN 'Send' THEN '{"send":{'
        WHEN 'Delivery' THEN
            '{"delivery":{"smtpResponse":"250 2.0.0 OK","reportingMTA":"a8-50.smtp-out.example","processingTimeMillis":1377'
        WHEN 'DeliveryDelay' THEN '{"deliveryDelay":{"delayType":"MailboxFull"'
        WHEN 'Bounce' THEN '{"recipient":{"action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 unknown user"},"bounce":{"bounceType":"'
            || report.bounce_type || '","bounceSubType":"' || report.bounce_sub_type || '"'
        WHEN 'Complaint' THEN '{"complaint":{"complaintFeedbackType":"abuse"'
        WHEN 'Open' THEN '{"open":{"ipAddress":"192.0.2.7","userAgent":"Mozilla/5.0 (Windows NT 5.1; Gecko) Example/1.0"'
        WHEN 'Click' THEN '{"click":{"ipAddress":"192.0.2.7","userAgent":"Mozilla/5.0 Example/1.0","link":"https://shop.example/orders"'
    END || '},"tags":{"user_id":["' || coalesce(report.user_id, '') || '"]}}')::jsonb
FROM aws_reports AS report
CROSS JOIN LATERAL (VALUES
    ('Send', report.send_at),
    ('Delivery', report.delivery_at),
    ('DeliveryDelay', report.delivery_delay_at),
    ('Bounce', report.bounce_at),
    ('Complaint', report.complaint_at),
    ('Open', report.open_at),
    ('Open', CASE WHEN report.open_count > 1 THEN report.open_at + interval '1 ms' END),
    ('Click', report.click_at)
) AS event (type, at)
CROSS JOIN LATERAL (SELECT md5(event.type || report.id) AS hash OFFSET 0) AS hashed
WHERE report.send_at >= $1 AND report.send_at < $2 AND event.at IS NOT NULL

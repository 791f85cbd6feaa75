-- Purpose: the questions that people ask most, without joins and without rules to remember.
-- Locks: none on existing tables; it creates three views.

-- One state, the one that matters most. A complaint outweighs what was delivered, and a mail that
-- did not arrive is not told by the opens that a scanner may have made. An auto-reply is no bounce:
-- such mail was delivered.
CREATE VIEW aws_report_states AS
SELECT r.id, r.message_id, r.user_email, r.user_id, t.report_name, r.source_email, r.subject,
    r.send_at, of_report.state,
    CASE of_report.state
        WHEN 'complained' THEN r.complaint_at
        WHEN 'hard bounced' THEN r.bounce_at
        WHEN 'rejected' THEN r.reject_at
        WHEN 'rendering failed' THEN r.rendering_failure_at
        WHEN 'suppressed' THEN r.bounce_at
        WHEN 'soft bounced' THEN r.bounce_at
        WHEN 'clicked' THEN r.click_at
        WHEN 'opened' THEN r.open_at
        WHEN 'delivered' THEN r.delivery_at
        WHEN 'delayed' THEN r.delivery_delay_at
        WHEN 'sent' THEN r.send_at
        ELSE r.created_at
    END AS state_at,
    of_report.bounce_kind, r.bounce_type, r.bounce_sub_type, r.open_count, r.click_count
FROM aws_reports AS r
LEFT JOIN aws_report_type AS t ON t.id = r.report_type
CROSS JOIN LATERAL (
    SELECT bounce_kind, CASE
        WHEN r.complaint_at IS NOT NULL THEN 'complained'
        WHEN bounce_kind = 'hard' THEN 'hard bounced'
        WHEN r.reject_at IS NOT NULL THEN 'rejected'
        WHEN r.rendering_failure_at IS NOT NULL THEN 'rendering failed'
        WHEN bounce_kind = 'suppressed' THEN 'suppressed'
        WHEN bounce_kind = 'soft' THEN 'soft bounced'
        WHEN r.click_at IS NOT NULL THEN 'clicked'
        WHEN r.open_at IS NOT NULL THEN 'opened'
        WHEN r.delivery_at IS NOT NULL THEN 'delivered'
        WHEN r.delivery_delay_at IS NOT NULL THEN 'delayed'
        WHEN r.send_at IS NOT NULL THEN 'sent'
        ELSE 'unsent'
    END
    FROM aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
) AS of_report (bounce_kind, state);

COMMENT ON VIEW aws_report_states IS
    'Each report with its current state: complained, hard bounced, rejected, rendering failed, suppressed, soft bounced, clicked, opened, delivered, delayed, sent, unsent; the first that holds.';
COMMENT ON COLUMN aws_report_states.state_at IS 'When it came into that state.';
COMMENT ON COLUMN aws_report_states.bounce_kind IS 'hard, soft, suppressed or auto-reply: aws_report_bounce_kind.';

-- "What happened to mail X": WHERE message_id = 'X' goes by aws_reports_message_id, then by the
-- primary key of the details.
CREATE VIEW aws_report_timeline AS
SELECT r.message_id, r.user_email, d."timestamp", d.event_type,
    CASE d.event_type
        WHEN 'Delivery' THEN d.other_info #>> '{delivery,smtpResponse}'
        WHEN 'Bounce' THEN concat_ws(': ',
            concat_ws('/', d.other_info #>> '{bounce,bounceType}', d.other_info #>> '{bounce,bounceSubType}'),
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Complaint' THEN d.other_info #>> '{complaint,complaintFeedbackType}'
        WHEN 'Reject' THEN d.other_info #>> '{reject,reason}'
        WHEN 'Open' THEN d.other_info #>> '{open,userAgent}'
        WHEN 'Click' THEN d.other_info #>> '{click,link}'
        WHEN 'Rendering Failure' THEN d.other_info #>> '{failure,errorMessage}'
        WHEN 'DeliveryDelay' THEN concat_ws(': ', d.other_info #>> '{deliveryDelay,delayType}',
            d.other_info #>> '{recipient,diagnosticCode}')
        WHEN 'Subscription' THEN d.other_info #>> '{subscription,source}'
    END AS what,
    d.other_info
FROM aws_reports AS r JOIN aws_report_detail AS d ON d.report_id = r.id;

COMMENT ON VIEW aws_report_timeline IS 'All events of a message, for each of its recipients.';
COMMENT ON COLUMN aws_report_timeline.what IS
    'The heart of the event: the server''s answer, the bounce and its diagnosis, the link, the reason.';

-- For one address, WHERE user_email = aws_report_email('…'), it goes by aws_reports_user_email; all
-- addresses are a look at every report.
CREATE VIEW aws_report_suppressions AS
SELECT r.user_email, of_report.reason, min(of_report.since) AS since
FROM aws_reports AS r
CROSS JOIN LATERAL aws_report_bounce_kind(r.bounce_at, r.bounce_type, r.bounce_sub_type, r.delivery_at) AS bounce_kind
CROSS JOIN LATERAL (VALUES
    ('complaint', r.complaint_at),
    ('hard bounce', CASE WHEN bounce_kind = 'hard' THEN r.bounce_at END),
    ('suppression list', CASE WHEN bounce_kind = 'suppressed' THEN r.bounce_at END)
) AS of_report (reason, since)
WHERE of_report.since IS NOT NULL
GROUP BY r.user_email, of_report.reason;

COMMENT ON VIEW aws_report_suppressions IS
    'Addresses that no more mail should be sent to: they bounced for good, complained, or SES suppressed them. One row per address and reason.';
COMMENT ON COLUMN aws_report_suppressions.since IS 'When it first happened.';

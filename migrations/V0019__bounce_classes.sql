-- Purpose: a query can say what a bounce class means and whose fault it is. The table joins aws_reports.bounce_class,
--   the class of bounces and delays in aws_report_detail, and aws_report_daily_bounce.
-- Locks: none on tables that hold rows; it creates a small table.

CREATE TABLE aws_report_bounce_class (
    class text COLLATE "C" PRIMARY KEY,
    fault text COLLATE "C" NOT NULL,
    meaning text COLLATE "C" NOT NULL
);

COMMENT ON TABLE aws_report_bounce_class IS
    'The classes of bounces and delivery delays. Bounces without a class, unknown in aws_report_daily_bounce, have no row here.';
COMMENT ON COLUMN aws_report_bounce_class.class IS 'As in aws_reports.bounce_class.';
COMMENT ON COLUMN aws_report_bounce_class.fault IS
    'Who can do something about it: recipient, sender, ses or provider.';
COMMENT ON COLUMN aws_report_bounce_class.meaning IS 'What it means, in a sentence.';

-- The same list is in src/classify/bounce/class.rs.
INSERT INTO aws_report_bounce_class (class, fault, meaning) VALUES
    ('authentication', 'sender',
        'The sender could not be verified: SPF, DKIM, DMARC, reverse DNS, TLS, or a sender''s domain that does not resolve.'),
    ('auto-reply', 'recipient',
        'The recipient answered, or a program such as an out-of-office reply did; the mail was delivered.'),
    ('bad-domain', 'recipient',
        'The domain of the address does not exist or takes no mail; often a typo.'),
    ('blocklist', 'ses',
        'The IP address that SES sent from is on a blocklist or has a bad reputation; a dedicated IP address is the sender''s own responsibility.'),
    ('connection', 'provider',
        'The recipient''s server could not be reached, or the connection to it broke.'),
    ('content', 'sender',
        'The recipient''s server considers the message spam, or refuses its content or an attachment.'),
    ('expired', 'provider',
        'SES retried until the time for delivery had passed.'),
    ('inactive-mailbox', 'recipient',
        'The mailbox exists and is disabled, suspended or no longer used.'),
    ('invalid-recipient', 'recipient',
        'The address does not exist.'),
    ('mailbox-full', 'recipient',
        'The mailbox is over its quota.'),
    ('malformed', 'sender',
        'The message breaks a rule of its format or of the protocol: a header, a line end, a character set.'),
    ('policy', 'provider',
        'A rule of the recipient''s organisation or provider refuses the message, for a reason that no other class names.'),
    ('rate-limit', 'sender',
        'Too much mail in too short a time, for the recipient, for the provider, or from this sender.'),
    ('reputation', 'sender',
        'The sender''s domain, or a domain that the message links to, is on a blocklist or has a bad reputation.'),
    ('server-failure', 'provider',
        'The recipient''s server had a fault of its own, or asked to try again later, as greylisting does.'),
    ('ses-internal', 'ses',
        'Amazon SES delayed the message on purpose, or had a failure of its own.'),
    ('suppressed', 'sender',
        'SES did not try, because of a suppression list, an unsubscription or address validation: stop writing to the address.'),
    ('too-large', 'sender',
        'The message is larger than the recipient''s server accepts.');

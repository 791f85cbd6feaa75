-- Purpose: what SES tells EventBridge about an account or a tenant and about no mail is kept: when sending was
--   paused and resumed, and what the advisor has found.
-- Locks: none on existing tables; it creates one table.

CREATE TABLE aws_report_account_event (
    id uuid PRIMARY KEY,
    occurred_at timestamptz NOT NULL,
    detail_type varchar(200) COLLATE "C" NOT NULL,
    account varchar(64) COLLATE "C",
    region varchar(64) COLLATE "C",
    tenant varchar(200) COLLATE "C",
    resources jsonb NOT NULL,
    detail jsonb,
    received_at timestamptz NOT NULL DEFAULT now()
);

-- "What happened lately": ORDER BY occurred_at DESC
CREATE INDEX aws_report_account_event_occurred_at ON aws_report_account_event (occurred_at);

COMMENT ON TABLE aws_report_account_event IS
    'Events of SES about an account, an identity or a tenant, and about no mail: Sending Status Disabled, Advisor Recommendation Status Open, …';
COMMENT ON COLUMN aws_report_account_event.id IS
    'Computed from the id that EventBridge gave the event, or from all that it says: a redelivery adds no row.';
COMMENT ON COLUMN aws_report_account_event.occurred_at IS 'EventBridge''s time of the event, in whole seconds.';
COMMENT ON COLUMN aws_report_account_event.detail_type IS 'What happened, as EventBridge names it (detail-type).';
COMMENT ON COLUMN aws_report_account_event.account IS 'The AWS account.';
COMMENT ON COLUMN aws_report_account_event.region IS 'The AWS region.';
COMMENT ON COLUMN aws_report_account_event.tenant IS 'The name of the tenant that it is about; NULL if it is about none.';
COMMENT ON COLUMN aws_report_account_event.resources IS 'The ARNs of what it is about: a list of texts.';
COMMENT ON COLUMN aws_report_account_event.detail IS
    'What it says, as SES wrote it: data is a text or an object, metadata has impact and type.';
COMMENT ON COLUMN aws_report_account_event.received_at IS 'When the worker stored it.';

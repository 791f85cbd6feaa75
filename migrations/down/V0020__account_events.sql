-- Undoes V0020__account_events: drops the table of events about accounts and tenants with its rows.

DROP TABLE aws_report_account_event;

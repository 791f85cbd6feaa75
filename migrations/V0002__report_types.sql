-- Purpose: what kind of mail a report is about ("default", "newsletter", "invoice").
-- Locks: none on existing tables; it creates one table with one row.

CREATE TABLE aws_report_type (
    id bigint PRIMARY KEY,
    report_name varchar(200) COLLATE "C" NOT NULL UNIQUE
);

COMMENT ON TABLE aws_report_type IS
    'Kinds of mail: from the message tag report_type, else the configuration set''s name, else default. The worker adds a kind when it first sees it.';
COMMENT ON COLUMN aws_report_type.id IS
    'aws_report_type_id(report_name): computed from the name, so that workers agree without a sequence.';
COMMENT ON COLUMN aws_report_type.report_name IS 'The name as the tag or the configuration set spells it.';

INSERT INTO aws_report_type (id, report_name) VALUES (aws_report_type_id('default'), 'default');

-- Undoes V0002__report_types: drops the table of report types with its rows.

DROP TABLE aws_report_type;

-- Undoes V0019__bounce_classes: drops the table of bounce classes, whose rows the next run brings back. No report and no
--   event is lost.

DROP TABLE aws_report_bounce_class;

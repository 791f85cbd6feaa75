-- Undoes V0005__dead_letters: drops the table of dead letters with its rows.

DROP TABLE aws_report_dead_letter;

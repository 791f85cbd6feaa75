-- Undoes V0001__content_ids: drops the functions. No rows are lost.

DROP FUNCTION aws_report_type_id(text);
DROP FUNCTION aws_report_id(text, text);
DROP FUNCTION aws_report_uuid(bigint, bytea);
DROP FUNCTION aws_report_email(text);
DROP FUNCTION aws_report_shorten(text, int);
DROP FUNCTION aws_report_address(text);

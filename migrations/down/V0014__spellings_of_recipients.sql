-- Undoes V0014__spellings_of_recipients: brings the former function back and drops its helpers. No rows are
--   lost; reports of addresses that were not clean keep the ids that they have.

CREATE OR REPLACE FUNCTION aws_report_address(address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- ICU's root locale lower-cases as Unicode says, whatever locale the database was created with.
    SELECT lower(btrim(coalesce(
        substring(address FROM '^(?:[^"<]|"(?:[^"\\]|\\.)*")*<((?:[^">]|"(?:[^"\\]|\\.)*")*)'),
        substring(address FROM '<([^<>]*)>[ \t\r\n\x0b\f]*$'),
        address
    ), E' \t\r\n\x0b\f') COLLATE "und-x-icu")
$$;

COMMENT ON FUNCTION aws_report_address(text) IS
    'The form in which recipients are compared: lower case, without display name or angle brackets.';
DROP FUNCTION aws_report_address_cleaned(text);
DROP FUNCTION aws_report_unescaped(text);
DROP FUNCTION aws_report_domain_to_ascii(text);
DROP FUNCTION aws_report_punycode(text);

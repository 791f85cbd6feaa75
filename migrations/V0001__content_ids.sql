-- Purpose: the SQL half of "ids are content". An application that sends mail computes the id of its
--   report row with these functions, and the worker's events meet that row. The Rust half is
--   src/decode/identity.rs and src/decode/address.rs; a test holds both together.
-- Locks: none on existing tables; it creates functions only.

CREATE FUNCTION aws_report_address(address text) RETURNS text
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

CREATE FUNCTION aws_report_shorten(value text, most int) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN char_length(value) <= most THEN value ELSE
        left(value, most - 17) || '~' || left(encode(sha256(convert_to(value, 'UTF8')), 'hex'), 16)
    END
$$;

COMMENT ON FUNCTION aws_report_shorten(text, int) IS
    'A value that is longer than most characters as the tables hold it: its start, ~, and 16 hex digits of the SHA-256 of the whole.';

CREATE FUNCTION aws_report_email(address text) RETURNS varchar
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT aws_report_shorten(aws_report_address(address), 100)
$$;

COMMENT ON FUNCTION aws_report_email(text) IS 'An address as the column aws_reports.user_email holds it.';

CREATE FUNCTION aws_report_uuid(millis bigint, hash bytea) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    -- RFC 9562 section 5.8 (UUIDv8): 48 bits of ours, version 8, 12 bits, variant 10, 62 bits.
    SELECT encode(
        substr(int8send(millis), 3, 6)
        || set_byte(substr(hash, 7, 2), 0, (get_byte(hash, 6) & 15) | 128)
        || set_byte(substr(hash, 9, 8), 0, (get_byte(hash, 8) & 63) | 128),
        'hex')::uuid
$$;

COMMENT ON FUNCTION aws_report_uuid(bigint, bytea) IS
    'UUIDv8 of 48 leading bits and the bytes 6 to 15 of a hash.';

-- The search path is fixed because it calls its neighbours: applications have other paths.
CREATE FUNCTION aws_report_id(message_id text, address text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
    SELECT aws_report_uuid(
        CASE WHEN message_id ~ '^[0-9A-Fa-f]{16}(-|$)'
            THEN ('x' || substr(message_id, 5, 12))::bit(48)::bigint
            ELSE ('x' || encode(substr(hash, 1, 6), 'hex'))::bit(48)::bigint
        END, hash)
    FROM (SELECT sha256(
        convert_to(message_id, 'UTF8') || '\x00'::bytea
        || convert_to(aws_report_address(address), 'UTF8'))) AS of_message (hash)
$$;

COMMENT ON FUNCTION aws_report_id(text, text) IS
    'The id of the row in aws_reports of one SES message and one recipient, from the whole message id and address.';

CREATE FUNCTION aws_report_type_id(report_name text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN report_name = 'default' THEN 0 ELSE
        1 + ('x' || encode(substr(sha256(convert_to(report_name, 'UTF8')), 1, 6), 'hex'))::bit(48)::bigint
    END
$$;

COMMENT ON FUNCTION aws_report_type_id(text) IS
    'The id of a report type from its name: 0 for "default", else 1 and the first 48 bits of the name''s SHA-256, so that the greater id wins over "default".';

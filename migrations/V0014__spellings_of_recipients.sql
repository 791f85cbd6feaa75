-- Purpose: one recipient in all the spellings in which delivery reports name it. Comments, types, groups,
--   doubled brackets, trailing signs, escaped quotes and characters that nobody sees go, and a domain
--   has one form, in ASCII. The Rust half is src/decode/address.rs and src/decode/domain.rs; a test
--   holds both together.
-- Locks: none on tables; it creates functions and replaces one.
-- Rows that are there stay. Their ids hold for every address that was clean, which is nearly all. An
--   event of a mail whose recipient was stored in another spelling (a domain with umlauts, a trailing
--   sign) now belongs to the report of the clean address: a replay of such events writes that report
--   beside the old one, which keeps what it counted until retention removes it.

CREATE FUNCTION aws_report_punycode(label text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT
AS $$
DECLARE
    -- RFC 3492 section 6.3, with its names.
    digits CONSTANT text := 'abcdefghijklmnopqrstuvwxyz0123456789';
    points int[] := ARRAY(SELECT ascii(c) FROM unnest(string_to_array(label, NULL)) WITH ORDINALITY AS chars (c, at) ORDER BY at);
    point int;
    n int := 128;
    delta int := 0;
    bias int := 72;
    handled int := 0;
    basic int;
    q int;
    k int;
    t int;
    encoded text := '';
BEGIN
    FOREACH point IN ARRAY points LOOP
        IF point < 128 THEN
            encoded := encoded || chr(point);
            handled := handled + 1;
        END IF;
    END LOOP;
    basic := handled;
    IF basic > 0 THEN
        encoded := encoded || '-';
    END IF;
    WHILE handled < cardinality(points) LOOP
        point := (SELECT min(p) FROM unnest(points) AS p WHERE p >= n);
        delta := delta + (point - n) * (handled + 1);
        n := point;
        FOREACH point IN ARRAY points LOOP
            IF point < n THEN
                delta := delta + 1;
            ELSIF point = n THEN
                q := delta;
                k := 36;
                LOOP
                    t := least(greatest(k - bias, 1), 26);
                    EXIT WHEN q < t;
                    encoded := encoded || substr(digits, t + (q - t) % (36 - t) + 1, 1);
                    q := (q - t) / (36 - t);
                    k := k + 36;
                END LOOP;
                encoded := encoded || substr(digits, q + 1, 1);
                -- The bias adapts to what was just encoded.
                delta := CASE WHEN handled = basic THEN delta / 700 ELSE delta / 2 END;
                delta := delta + delta / (handled + 1);
                k := 0;
                WHILE delta > 455 LOOP
                    delta := delta / 35;
                    k := k + 36;
                END LOOP;
                bias := k + 36 * delta / (delta + 38);
                delta := 0;
                handled := handled + 1;
            END IF;
        END LOOP;
        delta := delta + 1;
        n := n + 1;
    END LOOP;
    RETURN encoded;
END
$$;

COMMENT ON FUNCTION aws_report_punycode(text) IS 'A label in Punycode (RFC 3492), without the prefix xn--.';

CREATE FUNCTION aws_report_domain_to_ascii(domain text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT SET search_path FROM CURRENT
AS $$
DECLARE
    mapped text := lower(domain COLLATE "und-x-icu");
    labels text[] := '{}';
    label text;
BEGIN
    -- What is too long for DNS is no domain.
    IF domain !~ '[^\u0001-\u007f]' OR char_length(mapped) > 255 THEN
        RETURN mapped;
    END IF;
    mapped := lower(normalize(mapped, NFKC) COLLATE "und-x-icu");
    FOREACH label IN ARRAY string_to_array(replace(mapped, U&'\3002', '.'), '.') LOOP
        labels := array_append(labels, CASE
            WHEN label ~ '[^\u0001-\u007f]' AND char_length(label) <= 63 THEN 'xn--' || aws_report_punycode(label)
            ELSE label
        END);
    END LOOP;
    RETURN array_to_string(labels, '.');
END
$$;

COMMENT ON FUNCTION aws_report_domain_to_ascii(text) IS
    'A domain in lower case, its labels as DNS holds them: bücher.example is xn--bcher-kva.example.';

CREATE FUNCTION aws_report_unescaped(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT
AS $$
BEGIN
    WHILE value ~ '^[^"]*\\"' LOOP
        value := regexp_replace(value, '\\(.)', '\1', 'g');
    END LOOP;
    RETURN value;
END
$$;

COMMENT ON FUNCTION aws_report_unescaped(text) IS
    'A text without the escapes of the whole, which it has if its first quote is escaped.';

-- The steps and their names are those of src/decode/address.rs.
CREATE FUNCTION aws_report_address_cleaned(address text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT SET search_path FROM CURRENT
AS $$
DECLARE
    trailing_signs CONSTANT text := U&'!"#$%&''()*+,-./:;<=>?[\\]^_`{|}~\00AB\00BB\2018\2019\201C\201D\201E\2026\3001\3002\FF0C\FF1B';
    leading_signs CONSTANT text := U&'\00AB\00BB\2018\2019\201C\201D\201E';
    value text := address;
    chars text[];
    part text;
    -- The characters outside quotes and comments, each quoted string as one.
    parts text[];
    -- A stretch between angle brackets, and those among which one is chosen.
    stretch text[];
    after_bracket text[];
    before_bracket text[];
    inside text[];
    outside text[];
    chosen text[];
    is_opened boolean;
    has_at boolean;
    open_quote boolean;
    open_comment boolean;
    is_escaped boolean;
    is_quoted boolean := false;
    is_literal boolean;
    depth int;
    position_at int;
    ends_at int;
BEGIN
    value := regexp_replace(value, '[\u0009-\u000d\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]', ' ', 'g');
    value := regexp_replace(value,
        '[\u0001-\u001f\u007f-\u009f\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]', '', 'g');
    value := aws_report_unescaped(value);

    FOR quoting IN 1..3 LOOP
        chars := string_to_array(value, NULL);
        parts := '{}';
        has_at := false;
        open_quote := false;
        open_comment := false;
        position_at := 1;
        WHILE position_at <= cardinality(chars) LOOP
            part := chars[position_at];
            IF part = '"' THEN
                part := CASE WHEN NOT open_quote THEN substring(substr(value, position_at) FROM '^"(?:[^"\\]|\\.)*"') END;
                IF part IS NULL THEN
                    open_quote := true;
                    position_at := position_at + 1;
                ELSE
                    parts := array_append(parts, part);
                    position_at := position_at + char_length(part);
                END IF;
                CONTINUE;
            END IF;
            IF part = '(' THEN
                ends_at := NULL;
                IF NOT open_comment THEN
                    depth := 0;
                    is_escaped := false;
                    FOR at IN position_at..cardinality(chars) LOOP
                        IF is_escaped THEN
                            is_escaped := false;
                        ELSIF chars[at] = '\' THEN
                            is_escaped := true;
                        ELSIF chars[at] = '(' THEN
                            depth := depth + 1;
                        ELSIF chars[at] = ')' THEN
                            depth := depth - 1;
                            IF depth = 0 THEN
                                ends_at := at;
                                EXIT;
                            END IF;
                        END IF;
                    END LOOP;
                END IF;
                IF ends_at IS NULL THEN
                    EXIT WHEN has_at;
                    open_comment := true;
                    ends_at := position_at;
                END IF;
                position_at := ends_at + 1;
                CONTINUE;
            END IF;
            IF part <> ')' THEN
                has_at := has_at OR part = '@';
                parts := array_append(parts, part);
            END IF;
            position_at := position_at + 1;
        END LOOP;

        -- Of the stretches between angle brackets the first after a < that holds an @, else the first
        -- before one, else what stands in the brackets.
        is_opened := false;
        stretch := '{}';
        after_bracket := NULL;
        before_bracket := NULL;
        inside := NULL;
        outside := NULL;
        FOREACH part IN ARRAY array_append(parts, NULL) LOOP
            IF part NOT IN ('<', '>') THEN
                stretch := array_append(stretch, part);
                CONTINUE;
            END IF;
            IF is_opened THEN
                after_bracket := coalesce(after_bracket, CASE WHEN '@' = ANY (stretch) THEN stretch END);
                inside := coalesce(inside, CASE WHEN ' ' <> ANY (stretch) THEN stretch END);
            ELSE
                before_bracket := coalesce(before_bracket, CASE WHEN '@' = ANY (stretch) THEN stretch END);
                outside := coalesce(outside, CASE WHEN ' ' <> ANY (stretch) THEN stretch END);
            END IF;
            stretch := '{}';
            is_opened := is_opened OR coalesce(part = '<', false);
        END LOOP;
        chosen := coalesce(after_bracket, before_bracket, CASE WHEN is_opened THEN inside ELSE outside END);
        IF chosen IS NULL THEN
            RETURN '';
        END IF;
        WHILE chosen[1] = ' ' LOOP
            chosen := chosen[2:];
        END LOOP;
        WHILE chosen[cardinality(chosen)] = ' ' LOOP
            chosen := trim_array(chosen, 1);
        END LOOP;

        IF '@' = ANY (chosen) THEN
            EXIT;
        END IF;
        IF cardinality(chosen) > 1 OR chosen[1] !~ '^".*@.*"$' THEN
            RETURN lower(array_to_string(chosen, '') COLLATE "und-x-icu");
        END IF;
        -- The whole address is quoted.
        value := aws_report_unescaped(btrim(substr(chosen[1], 2, char_length(chosen[1]) - 2), ' '));
        chosen := NULL;
    END LOOP;
    IF chosen IS NULL THEN
        RETURN lower(value COLLATE "und-x-icu");
    END IF;

    -- RFC 5322 allows blanks around the @, in its obsolete syntax.
    parts := '{}';
    FOREACH part IN ARRAY chosen LOOP
        IF part = '@' THEN
            WHILE parts[cardinality(parts)] = ' ' LOOP
                parts := trim_array(parts, 1);
            END LOOP;
        END IF;
        IF part <> ' ' OR parts[cardinality(parts)] IS DISTINCT FROM '@' THEN
            parts := array_append(parts, part);
        END IF;
    END LOOP;

    -- The first word that holds an @, less what stands before a type or a group, less what trails.
    chosen := '{}';
    FOREACH part IN ARRAY array_append(parts, ' ') LOOP
        EXIT WHEN part = ' ' AND '@' = ANY (chosen);
        chosen := CASE
            WHEN part = ' ' OR (part IN (':', ';', ',') AND NOT '@' = ANY (chosen)) THEN '{}'
            ELSE array_append(chosen, part)
        END;
    END LOOP;
    position_at := (SELECT max(at) FROM unnest(chosen) WITH ORDINALITY AS of (sign, at) WHERE sign = '@');
    is_literal := '[' = ANY (chosen[position_at:]);
    WHILE cardinality(chosen) > position_at LOOP
        part := chosen[cardinality(chosen)];
        EXIT WHEN char_length(part) = 1 AND strpos(trailing_signs, part) = 0
            OR (is_literal AND part = ']');
        is_quoted := is_quoted OR part = '''';
        chosen := trim_array(chosen, 1);
    END LOOP;
    WHILE strpos(leading_signs, chosen[1]) > 0 OR (is_quoted AND chosen[1] = '''') LOOP
        chosen := chosen[2:];
        position_at := position_at - 1;
    END LOOP;
    RETURN lower(array_to_string(chosen[:position_at], '') COLLATE "und-x-icu")
        || aws_report_domain_to_ascii(array_to_string(chosen[position_at + 1:], ''));
END
$$;

COMMENT ON FUNCTION aws_report_address_cleaned(text) IS
    'aws_report_address for addresses that are not clean; empty where nothing is left.';

-- RETURN, not a quoted body: its neighbour is bound now. Most addresses are what they become, and cost
-- one look.
CREATE OR REPLACE FUNCTION aws_report_address(address text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN address ~ '^[a-z0-9!#$%&*+/=?^_{|}~.-]+@[a-z0-9.-]*[a-z0-9]$' THEN address
    ELSE aws_report_address_cleaned(address)
END;

COMMENT ON FUNCTION aws_report_address(text) IS
    'The form in which recipients are compared: lower case, the domain in ASCII, without display name, comment, type, angle brackets or what else surrounds an address.';

-- ses-reports: read the catalog of the schema
-- Everything in a schema that migrations create: kind, the table or view it belongs to, name, definition.
-- $1 is the schema's name. The session's search_path is empty, so that every name is qualified.
WITH extension AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT c.*, c.relispartition AND c.relkind = 'r' AS is_partition
    FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace($1)
        AND c.relname <> 'refinery_schema_history'
        AND NOT EXISTS (
            SELECT FROM pg_index JOIN pg_class AS t ON t.oid = indrelid
            WHERE indexrelid = c.oid AND t.relname = 'refinery_schema_history')
        AND NOT EXISTS (SELECT FROM extension WHERE classid = 'pg_class'::regclass AND objid = c.oid)
        -- Months that a person has detached to keep them are left out, and so are their indexes.
        AND NOT EXISTS (
            SELECT FROM pg_class AS month
            WHERE month.relkind = 'r' AND NOT month.relispartition AND month.relnamespace = c.relnamespace
                AND month.relname ~ '^aws_report_detail_[0-9]{4}_(0[1-9]|1[0-2])(_[0-9]+)?$'
                AND (month.oid = c.oid OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = month.oid)))
)
SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
    relname::text AS owner, relname::text AS name,
    concat_ws(', ',
        CASE relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' END,
        CASE WHEN relkind = 'p' THEN 'partitioned by ' || pg_get_partkeydef(oid) END,
        CASE WHEN is_partition THEN 'partition' END,
        CASE WHEN is_partition THEN pg_get_expr(relpartbound, oid) END,
        (SELECT 'detach pending' FROM pg_inherits WHERE inhrelid = relation.oid AND inhdetachpending),
        -- Operators may tune how a table is vacuumed.
        (SELECT 'with ' || string_agg(option, ' ' ORDER BY option) FROM unnest(reloptions) AS option
            WHERE option !~ '^(autovacuum|toast|vacuum|log_autovacuum)'),
        CASE WHEN relrowsecurity THEN 'row level security' END,
        CASE WHEN relforcerowsecurity THEN 'forced' END,
        CASE WHEN relkind IN ('v', 'm') THEN 'as ' || pg_get_viewdef(oid) END) AS definition
FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
SELECT 'column', relname, attname,
    concat_ws(' ', format_type(atttypid, atttypmod),
        CASE WHEN attcollation <> 0 AND attcollation <> (SELECT typcollation FROM pg_type WHERE oid = atttypid)
            THEN 'collate ' || attcollation::regcollation END,
        CASE WHEN attnotnull THEN 'not null' END,
        CASE attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END,
        CASE attgenerated WHEN 's' THEN 'generated' END,
        'default ' || pg_get_expr(adbin, adrelid))
FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'constraint', relname, conname,
    pg_get_constraintdef(pg_constraint.oid) || CASE WHEN convalidated THEN '' ELSE ' (not validated)' END
FROM relation JOIN pg_constraint ON conrelid = relation.oid
-- NOT NULL belongs to the column; newer servers list it here too.
WHERE contype NOT IN ('n', 't')
UNION ALL
SELECT 'index', t.relname, i.relname,
    pg_get_indexdef(i.oid) || CASE WHEN indisvalid THEN '' ELSE ' (INVALID)' END
        || CASE WHEN indisready THEN '' ELSE ' (not ready)' END
FROM relation AS i JOIN pg_index ON indexrelid = i.oid JOIN pg_class AS t ON t.oid = indrelid
UNION ALL
SELECT 'trigger', relname, tgname,
    pg_get_triggerdef(pg_trigger.oid)
        || CASE tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' (disabled)' ELSE ' (enabled: ' || tgenabled::text || ')' END
FROM relation JOIN pg_trigger ON tgrelid = relation.oid
WHERE NOT tgisinternal
UNION ALL
SELECT 'rule', relname, rulename, pg_get_ruledef(pg_rewrite.oid)
FROM relation JOIN pg_rewrite ON ev_class = relation.oid WHERE rulename <> '_RETURN'
UNION ALL
SELECT 'policy', relname, polname, concat_ws(' ', polcmd::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM relation JOIN pg_policy ON polrelid = relation.oid
UNION ALL
SELECT CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, NULL,
    format('%s(%s)', proname, pg_get_function_identity_arguments(pg_proc.oid)),
    concat_ws(' ', 'returns', pg_get_function_result(pg_proc.oid), 'language', lanname,
        CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
        CASE proparallel WHEN 's' THEN 'parallel safe' WHEN 'r' THEN 'parallel restricted' END,
        CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'security definer' END, CASE WHEN proleakproof THEN 'leakproof' END,
        -- "aws_reports",pg_temp and aws_reports, pg_temp are the same path.
        (SELECT 'set ' || string_agg(CASE WHEN option ~ '^search_path='
                THEN regexp_replace(replace(option, ', ', ','), '"([a-z_][a-z0-9_$]*)"', '\1', 'g') ELSE option END, ' ' ORDER BY option)
            FROM unnest(proconfig) AS option), 'as ' || coalesce(pg_get_function_sqlbody(pg_proc.oid), prosrc))
FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
WHERE pronamespace = to_regnamespace($1) AND prokind IN ('f', 'p', 'w')
    AND NOT EXISTS (SELECT FROM extension WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid)
UNION ALL
SELECT CASE typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END, NULL, typname,
    coalesce((SELECT string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = pg_type.oid),
        format_type(typbasetype, typtypmod))
FROM pg_type
WHERE typnamespace = to_regnamespace($1) AND typtype IN ('e', 'd', 'r')
    AND NOT EXISTS (SELECT FROM extension WHERE classid = 'pg_type'::regclass AND objid = pg_type.oid)
UNION ALL
-- The comments of partitions are copies of what their parent had when they were created.
SELECT 'comment', relname, relname || coalesce('.' || attname, ''), description
FROM relation JOIN pg_description ON objoid = relation.oid AND classoid = 'pg_class'::regclass
LEFT JOIN pg_attribute ON attrelid = relation.oid AND attnum = objsubid AND objsubid > 0
WHERE NOT is_partition AND relkind <> 'i'
UNION ALL
SELECT 'comment', NULL, format('%s(%s)', proname, pg_get_function_identity_arguments(pg_proc.oid)), description
FROM pg_proc JOIN pg_description ON objoid = pg_proc.oid AND classoid = 'pg_proc'::regclass
WHERE pronamespace = to_regnamespace($1)

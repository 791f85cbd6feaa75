-- ses-reports: write a batch
-- One statement, so that a crash leaves both or neither, and counters see only new details.
-- The lists are those of src/row/columns.rs; PostgreSQL gets what is in snapshots/write.sql.
WITH inserted AS (
    INSERT INTO {schema}.aws_report_detail (
        {detail_names})
    SELECT {detail_values}
    FROM UNNEST(
        {detail_parameters}
    ) AS detail (
        {detail_names})
    ON CONFLICT DO NOTHING
    RETURNING report_id, event_type, "timestamp", class
), counted AS (
    SELECT report_id,
        {counts}
    FROM inserted
    WHERE event_type IN ({counted_types})
    GROUP BY report_id
), folded AS (
    INSERT INTO {schema}.aws_reports AS held (
        {report_names},
        {new_names})
    SELECT {report_values},
        {new_values}
    FROM UNNEST(
        {report_parameters}
    ) AS report (
        {report_names})
    LEFT JOIN counted ON counted.report_id = report.id
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        {updates}
    -- A plain duplicate costs a look, not a row version.
    WHERE {changes}
    RETURNING id, delivery_at, open_at, click_at, click_count, human_open_at, human_click_at
), noted AS (
    -- Judged later, with all events of the report in sight: see store/judge.rs. A delivery that comes after opens
    -- and clicks may change what they were judged to be.
    INSERT INTO {schema}.aws_report_unjudged (report_id)
    SELECT id FROM folded
    WHERE human_click_at IS NOT NULL AND click_count > 1
        OR human_open_at < delivery_at + {open_delay} * interval '1 second'
        OR human_click_at < delivery_at + {click_delay} * interval '1 second'
        OR delivery_at IS NOT NULL AND (open_at IS NOT NULL OR click_at IS NOT NULL)
            AND id IN (SELECT report_id FROM inserted WHERE event_type = 'Delivery')
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM folded)

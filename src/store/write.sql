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
    RETURNING id
)
SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM folded)

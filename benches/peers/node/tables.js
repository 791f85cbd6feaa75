// The statements of both workers.
import { TIMES } from "./event.js";

export const DETAIL = ["report_id", "id", '"timestamp"', "event_type", "message_id", '"from"', '"to"', "subject", "notification_message_id", "other_info"];
export const REPORT = ["id", "user_email", "message_id", "report_type", "user_id", "source_email", "subject", ...TIMES, "bounce_type", "bounce_sub_type", "open_count", "click_count"];

export const detail = (row) => [row.reportId, row.id, row.time, row.type, row.messageId, row.from, row.to, row.subject, row.notificationId, row.info];
export const report = (row, opens, clicks) => [
  row.reportId, row.to, row.messageId, row.reportType, row.userId, row.from, row.subject,
  ...TIMES.map((column) => row.times[column] ?? null),
  row.bounceType, row.bounceSubType, opens, clicks,
];

// The first of each time, and the counters added.
export const ON_CONFLICT = `ON CONFLICT (id) DO UPDATE SET
  ${TIMES.map((column) => `${column} = LEAST(held.${column}, excluded.${column})`).join(", ")},
  report_type = GREATEST(held.report_type, excluded.report_type),
  user_id = LEAST(held.user_id, excluded.user_id),
  source_email = LEAST(held.source_email, excluded.source_email),
  subject = LEAST(held.subject, excluded.subject),
  bounce_type = COALESCE(held.bounce_type, excluded.bounce_type),
  bounce_sub_type = COALESCE(held.bounce_sub_type, excluded.bounce_sub_type),
  open_count = held.open_count + excluded.open_count,
  click_count = held.click_count + excluded.click_count`;

const known = new Set();

/** Makes the kinds of mail that this process has not seen yet. */
export async function ensureTypes(pool, rows) {
  for (const { reportType, reportTypeName } of rows) {
    if (known.has(reportType)) continue;
    await pool.query(
      "INSERT INTO aws_reports.aws_report_type (id, report_name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
      [reportType, reportTypeName],
    );
    known.add(reportType);
  }
}

// Eight consumers, one transaction per receive of ten, and one delete for the ten.
import pg from "pg";
import { TIMES, rows } from "./event.js";
import { DETAIL, ON_CONFLICT, REPORT, detail, ensureTypes, report } from "./tables.js";
import { start } from "./consumers.js";

const CONSUMERS = 8;
const DETAIL_TYPES = ["uuid", "uuid", "timestamptz", "text", "text", "text", "text", "text", "text", "jsonb"];
const REPORT_TYPES = ["uuid", "text", "text", "bigint", "text", "text", "text", ...TIMES.map(() => "timestamptz"), "text", "text", "int", "int"];
const unnest = (types) => types.map((type, index) => `$${index + 1}::${type}[]`).join(", ");
const INSERT_DETAILS = `INSERT INTO aws_reports.aws_report_detail (${DETAIL.join(", ")})
  SELECT * FROM UNNEST(${unnest(DETAIL_TYPES)}) ON CONFLICT DO NOTHING RETURNING report_id, event_type`;
const UPSERT_REPORTS = `INSERT INTO aws_reports.aws_reports AS held (${REPORT.join(", ")})
  SELECT * FROM UNNEST(${unnest(REPORT_TYPES)}) ${ON_CONFLICT}`;

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: CONSUMERS });

const columns = (table) => table[0].map((_, index) => table.map((row) => row[index]));
const byReport = (a, b) => (a.reportId < b.reportId ? -1 : Number(a.reportId > b.reportId));

// A statement cannot update one report twice: the rows of one are folded first.
function fold(events) {
  const reports = new Map();
  for (const row of events) {
    const held = reports.get(row.reportId);
    if (!held) {
      reports.set(row.reportId, { ...row, times: { ...row.times } });
      continue;
    }
    for (const [column, time] of Object.entries(row.times)) {
      if (time && !(Date.parse(held.times[column]) <= Date.parse(time))) held.times[column] = time;
    }
    held.bounceType ??= row.bounceType;
    held.bounceSubType ??= row.bounceSubType;
  }
  return [...reports.values()];
}

async function handleMessageBatch(messages) {
  // In the order of their keys, so that two transactions do not deadlock.
  const events = messages.flatMap((message) => rows(message.Body)).sort(byReport);
  await ensureTypes(pool, events);
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const inserted = await client.query({
      name: "details", text: INSERT_DETAILS, values: columns(events.map(detail)),
    });
    const counts = {};
    for (const row of inserted.rows) {
      const id = row.report_id.replaceAll("-", "");
      counts[id] ??= {};
      counts[id][row.event_type] = (counts[id][row.event_type] ?? 0) + 1;
    }
    const reports = fold(events).map((row) => {
      const count = counts[row.reportId] ?? {};
      return report(row, count.Open ?? 0, count.Click ?? 0);
    });
    await client.query({ name: "reports", text: UPSERT_REPORTS, values: columns(reports) });
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
  return messages;
}

start(CONSUMERS, { handleMessageBatch });

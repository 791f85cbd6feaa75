// One transaction per message, and a delete after each: sqs-consumer's handleMessage, ten at once.
import pg from "pg";
import { rows } from "./event.js";
import { DETAIL, ON_CONFLICT, REPORT, detail, ensureTypes, report } from "./tables.js";
import { start } from "./consumers.js";

const values = (columns) => columns.map((_, index) => `$${index + 1}`).join(", ");
const INSERT_DETAIL = `INSERT INTO aws_reports.aws_report_detail (${DETAIL.join(", ")})
  VALUES (${values(DETAIL)}) ON CONFLICT DO NOTHING`;
const UPSERT_REPORT = `INSERT INTO aws_reports.aws_reports AS held (${REPORT.join(", ")})
  VALUES (${values(REPORT)}) ${ON_CONFLICT}`;

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

async function handleMessage(message) {
  const events = rows(message.Body);
  await ensureTypes(pool, events);
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    for (const row of events) {
      const inserted = await client.query({ name: "detail", text: INSERT_DETAIL, values: detail(row) });
      const count = (type) => (row.type === type ? inserted.rowCount : 0);
      const columns = report(row, count("Open"), count("Click"));
      await client.query({ name: "report", text: UPSERT_REPORT, values: columns });
    }
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
  return message;
}

start(1, { handleMessage });

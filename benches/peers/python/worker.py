"""The worker that one would write in Python: boto3 and psycopg, four threads, one transaction per
receive of ten, then one delete for the ten."""

import hashlib
import json
import os
import sys
import threading
from datetime import datetime

import boto3
import psycopg

THREADS = 4
COLUMNS = {
    "Bounce": "bounce_at",
    "Complaint": "complaint_at",
    "Delivery": "delivery_at",
    "Send": "send_at",
    "Reject": "reject_at",
    "Open": "open_at",
    "Click": "click_at",
    "Rendering Failure": "rendering_failure_at",
    "DeliveryDelay": "delivery_delay_at",
    "Subscription": "subscription_at",
}
TIMES = list(COLUMNS.values())
OWN = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}
RECIPIENTS = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "Delivery": "recipients",
    "DeliveryDelay": "delayedRecipients",
}
DETAIL = [
    "report_id", "id", '"timestamp"', "event_type", "message_id", '"from"', '"to"', "subject",
    "notification_message_id", "other_info",
]  # fmt: skip
REPORT = [
    "id", "user_email", "message_id", "report_type", "user_id", "source_email", "subject", *TIMES,
    "bounce_type", "bounce_sub_type", "open_count", "click_count",
]  # fmt: skip
INSERT_DETAIL = f"""INSERT INTO aws_reports.aws_report_detail ({", ".join(DETAIL)})
    VALUES ({", ".join(["%s"] * len(DETAIL))}) ON CONFLICT DO NOTHING RETURNING event_type"""
UPSERT_REPORT = f"""INSERT INTO aws_reports.aws_reports AS held ({", ".join(REPORT)})
    VALUES ({", ".join(["%s"] * len(REPORT))}) ON CONFLICT (id) DO UPDATE SET
    {", ".join(f"{column} = LEAST(held.{column}, excluded.{column})" for column in TIMES)},
    report_type = GREATEST(held.report_type, excluded.report_type),
    user_id = LEAST(held.user_id, excluded.user_id),
    source_email = LEAST(held.source_email, excluded.source_email),
    subject = LEAST(held.subject, excluded.subject),
    bounce_type = COALESCE(held.bounce_type, excluded.bounce_type),
    bounce_sub_type = COALESCE(held.bounce_sub_type, excluded.bounce_sub_type),
    open_count = held.open_count + excluded.open_count,
    click_count = held.click_count + excluded.click_count"""
INSERT_TYPE = """INSERT INTO aws_reports.aws_report_type (id, report_name) VALUES (%s, %s)
    ON CONFLICT DO NOTHING"""


def sha256(*parts):
    return hashlib.sha256("\0".join(parts).encode()).digest()


def uuid(clock, digest):
    """Twelve hexadecimal digits of a clock, then bits of a hash: a UUID of version 8."""
    tail = bytearray(digest[6:16])
    tail[0] = tail[0] & 0x0F | 0x80
    tail[2] = tail[2] & 0x3F | 0x80
    return clock + tail.hex()


def type_id(name):
    return 0 if name == "default" else 1 + int.from_bytes(sha256(name)[:6], "big")


def rows(body):
    """The columns of both tables, for each recipient of an event in the envelope of SNS."""
    envelope = json.loads(body)
    event = json.loads(envelope["Message"])
    mail, kind = event["mail"], event["eventType"]
    key = OWN.get(kind, kind.lower())
    own = event.get(key) or {}
    time = own.get("timestamp") or mail["timestamp"]
    micros = round(datetime.fromisoformat(time).timestamp() * 1_000) * 1_000
    names = RECIPIENTS.get(kind)
    tags = mail.get("tags") or {}
    first = lambda tag: (tags.get(tag) or [None])[0]  # noqa: E731
    report_type = first("report_type") or first("ses:configuration-set") or "default"
    times = dict.fromkeys(TIMES)
    times[COLUMNS[kind]] = time
    times["send_at"] = None if kind in ("Reject", "Rendering Failure") else mail["timestamp"]
    subject = (mail.get("commonHeaders") or {}).get("subject")
    message_id, source = mail["messageId"], mail["source"].lower()
    for recipient in own.get(names) or mail["destination"]:
        entry = recipient if isinstance(recipient, dict) else None
        to = (entry["emailAddress"] if entry else recipient).lower()
        info = {key: {k: v for k, v in own.items() if k != names}, "tags": tags}
        if entry:
            info["recipient"] = entry
        if "feedbackId" in own:
            clock, what = micros // 1_000_000 * 1_000, (kind, to, own["feedbackId"])
        else:
            clock = micros // 1_000
            seen = (own.get("link", ""), own.get("ipAddress", ""), own.get("userAgent", ""))
            what = (kind, to, message_id, str(micros), *seen)
        report_id = uuid(message_id[4:16], sha256(message_id, to))
        detail = (
            report_id, uuid(f"{clock:012x}", sha256(*what)), time, kind, message_id, source, to,
            subject, envelope["MessageId"], json.dumps(info),
        )  # fmt: skip
        report = (
            report_id, to, message_id, type_id(report_type), first("user_id"), source, subject,
            *times.values(), own.get("bounceType"), own.get("bounceSubType"),
        )  # fmt: skip
        yield report_type, detail, report


def write(connection, events, known):
    new = {(report[3], name) for name, _, report in events} - known
    with connection.transaction(), connection.cursor() as cursor:
        if new:
            cursor.executemany(INSERT_TYPE, list(new))
        cursor.executemany(INSERT_DETAIL, [detail for _, detail, _ in events], returning=True)
        reports = []
        for _, detail, report in events:
            kind = detail[3] if cursor.fetchone() else None
            reports.append((*report, int(kind == "Open"), int(kind == "Click")))
            cursor.nextset()
        cursor.executemany(UPSERT_REPORT, reports)
    known |= new


def consume():
    sqs = boto3.session.Session().client("sqs")
    url = os.environ["SQS_QUEUE_URL"]
    known = set()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        while True:
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
            messages = received.get("Messages", [])
            if not messages:
                continue
            # In the order of their keys, so that two transactions do not deadlock.
            events = [event for message in messages for event in rows(message["Body"])]
            write(connection, sorted(events, key=lambda event: event[1][:2]), known)
            entries = [
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                for index, message in enumerate(messages)
            ]
            failed = sqs.delete_message_batch(QueueUrl=url, Entries=entries).get("Failed")
            if failed:
                print("not deleted:", failed, file=sys.stderr)


if __name__ == "__main__":
    for _ in range(THREADS):
        threading.Thread(target=consume).start()

// An SES event in the envelope of SNS becomes a row; ids are content, as the tables want them.
import { createHash } from "node:crypto";

const COLUMNS = {
  Bounce: "bounce_at",
  Complaint: "complaint_at",
  Delivery: "delivery_at",
  Send: "send_at",
  Reject: "reject_at",
  Open: "open_at",
  Click: "click_at",
  "Rendering Failure": "rendering_failure_at",
  DeliveryDelay: "delivery_delay_at",
  Subscription: "subscription_at",
};
const OWN = { "Rendering Failure": "failure", DeliveryDelay: "deliveryDelay" };
const RECIPIENTS = {
  Bounce: "bouncedRecipients",
  Complaint: "complainedRecipients",
  Delivery: "recipients",
  DeliveryDelay: "delayedRecipients",
};

export const TIMES = [...new Set(Object.values(COLUMNS))];

const sha256 = (...parts) => createHash("sha256").update(parts.join("\0")).digest();

// Twelve hexadecimal digits of a clock, then bits of a hash: a UUID of version 8.
function uuid(clock, hash) {
  const tail = Buffer.from(hash.subarray(6, 16));
  tail[0] = (tail[0] & 0x0f) | 0x80;
  tail[2] = (tail[2] & 0x3f) | 0x80;
  return clock + tail.toString("hex");
}

const hex = (millis) => millis.toString(16).padStart(12, "0");

function typeId(name) {
  if (name === "default") return "0";
  return (1n + BigInt(`0x${sha256(name).toString("hex", 0, 6)}`)).toString();
}

/** One row per recipient: what both tables need. */
export function rows(body) {
  const envelope = JSON.parse(body);
  const event = JSON.parse(envelope.Message);
  const { mail, eventType: type } = event;
  const key = OWN[type] ?? type.toLowerCase();
  const own = event[key] ?? {};
  const time = own.timestamp ?? mail.timestamp;
  const millis = Date.parse(time);
  const list = RECIPIENTS[type];
  const recipients = own[list] ?? mail.destination;
  const tags = mail.tags ?? {};
  const reportType = tags.report_type?.[0] ?? tags["ses:configuration-set"]?.[0] ?? "default";
  const { [list]: _, ...kept } = own;
  return recipients.map((recipient) => {
    const to = (recipient.emailAddress ?? recipient).toLowerCase();
    const id = mail.messageId;
    const feedback = own.feedbackId;
    const info = { [key]: kept, tags };
    if (recipient.emailAddress) info.recipient = recipient;
    return {
      reportId: uuid(id.slice(4, 16), sha256(id, to)),
      id: feedback
        ? uuid(hex(Math.floor(millis / 1000) * 1000), sha256(type, to, feedback))
        : uuid(
            hex(millis),
            sha256(type, to, id, `${millis}000`, own.link ?? "", own.ipAddress ?? "", own.userAgent ?? ""),
          ),
      time,
      type,
      messageId: id,
      from: mail.source.toLowerCase(),
      to,
      subject: mail.commonHeaders?.subject ?? null,
      notificationId: envelope.MessageId,
      info: JSON.stringify(info),
      reportType: typeId(reportType),
      reportTypeName: reportType,
      userId: tags.user_id?.[0] ?? null,
      times: {
        send_at: type === "Reject" || type === "Rendering Failure" ? null : mail.timestamp,
        ...(type === "Send" ? {} : { [COLUMNS[type]]: time }),
      },
      bounceType: own.bounceType ?? null,
      bounceSubType: own.bounceSubType ?? null,
    };
  });
}

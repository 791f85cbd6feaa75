"""A small day of mail: what the demo and a test let the worker read.

    .dev/venv/bin/python localstack/story.py --topic ARN --configuration-set NAME

Mails to alice, dave, kim and lou are sent through LocalStack's SES, so their Send and
Delivery events really travel from SES through SNS to SQS. LocalStack's SES makes no other
events: the rest is published to the topic, as SES would write it, with made-up addresses.

Prints what happened, one line each, so that it can be compared with the tables.
"""

import argparse
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

SENDER = "Shop <orders@shop.example>"
NOW = datetime.now(UTC)

Json = dict[str, Any]


def clock(offset: timedelta) -> str:
    """A time as SES writes it, that far from now."""
    return (NOW + offset).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def minutes(number: float) -> str:
    return clock(timedelta(minutes=number))


class Story:
    def __init__(self, topic: str, configuration_set: str) -> None:
        settings: Json = {
            "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
            "config": Config(proxies={}),
        }
        self.ses = boto3.client("ses", **settings)
        self.sns = boto3.client("sns", **settings)
        self.topic = topic
        self.configuration_set = configuration_set

    def sent_by_ses(self, address: str, subject: str, kind: str) -> Json:
        """Send a mail through SES, and return it as events show it."""
        answer = self.ses.send_email(
            Source=SENDER,
            Destination={"ToAddresses": [address]},
            Message={"Subject": {"Data": subject}, "Body": {"Text": {"Data": "Hello"}}},
            ConfigurationSetName=self.configuration_set,
            Tags=[{"Name": "report_type", "Value": kind}],
        )
        print(f"{address}: sent and delivered by SES: {subject}")
        return self.mail([address], subject, kind, answer["MessageId"], minutes(0))

    def mail(
        self,
        destination: list[str],
        subject: str,
        kind: str,
        message_id: str = "",
        sent: str = "",
    ) -> Json:
        """The mail object of an event; an id as SES makes it, with its clock in it."""
        millis = int((NOW - timedelta(hours=2)).timestamp() * 1000)
        return {
            "timestamp": sent or minutes(-120),
            "messageId": message_id or f"0102{millis:012x}-{uuid.uuid4()}-000000",
            "source": SENDER,
            "sendingAccountId": "000000000000",
            "destination": destination,
            "headersTruncated": False,
            "commonHeaders": {"from": [SENDER], "to": destination, "subject": subject},
            "tags": {
                "ses:configuration-set": [self.configuration_set],
                "report_type": [kind],
                "user_id": [f"customer-{destination[0].split('@')[0]}"],
            },
        }

    def publish(self, kind: str, key: str, own: Json, mail: Json, says: str) -> None:
        event = {"eventType": kind, key: own, "mail": mail}
        self.sns.publish(
            TopicArn=self.topic,
            Subject="Amazon SES Email Event Notification",
            Message=json.dumps(event) + "\n",
        )
        print(f"{says}: {kind}")

    def send(self, mail: Json) -> None:
        self.publish("Send", "send", {}, mail, ", ".join(mail["destination"]))

    def delivery(self, mail: Json, address: str, at: str) -> None:
        own = {
            "timestamp": at,
            "processingTimeMillis": 1210,
            "recipients": [address],
            "smtpResponse": "250 2.0.0 OK",
            "reportingMTA": "a7-12.smtp-out.example",
        }
        self.publish("Delivery", "delivery", own, mail, address)

    def bounce(
        self,
        mail: Json,
        address: str,
        at: str,
        kind: tuple[str, str],
        why: str | None,
    ) -> None:
        # Of an auto-reply SES says nothing but the address.
        recipient = {"emailAddress": address} | (
            {"diagnosticCode": why} if why else {}
        )
        own = {
            "timestamp": at,
            "feedbackId": f"0102-{uuid.uuid4()}-000000",
            "bounceType": kind[0],
            "bounceSubType": kind[1],
            "bouncedRecipients": [recipient],
        }
        self.publish("Bounce", "bounce", own, mail, address)

    def complaint(self, mail: Json, address: str, at: str) -> None:
        own = {
            "timestamp": at,
            "feedbackId": f"0102-{uuid.uuid4()}-000000",
            "complaintFeedbackType": "abuse",
            "complaintSubType": None,
            "complainedRecipients": [{"emailAddress": address}],
            "userAgent": "Feedback-Loop/1.0",
        }
        self.publish("Complaint", "complaint", own, mail, address)

    def engagement(self, kind: str, mail: Json, at: str, **more: Any) -> None:
        own = {
            "timestamp": at,
            "ipAddress": "192.0.2.17",
            "userAgent": "Mail/1.0",
            **more,
        }
        self.publish(kind, kind.lower(), own, mail, mail["destination"][0])

    def tell(self) -> None:
        alice = self.sent_by_ses("alice@example.com", "Your invoice", "invoice")
        # So soon after the delivery it is a scanner; alice reads her mail minutes later.
        self.engagement("Open", alice, minutes(0.02))
        self.engagement("Open", alice, minutes(2))
        link = {"link": "https://shop.example/pay", "linkTags": None}
        self.engagement("Click", alice, minutes(3), **link)
        # SNS delivers at least once: the very same event again.
        self.engagement("Click", alice, minutes(3), **link)

        bob = self.mail(["bob@example.com"], "Your invoice", "invoice")
        self.send(bob)
        hard = ("Permanent", "NoEmail")
        self.bounce(
            bob, "bob@example.com", minutes(-119), hard, "smtp; 550 5.1.1 no such user"
        )

        carol = self.mail(["carol@example.com"], "News in November", "newsletter")
        self.send(carol)
        suppressed = ("Permanent", "OnAccountSuppressionList")
        self.bounce(
            carol,
            "carol@example.com",
            minutes(-119),
            suppressed,
            "the address is on the suppression list for your account",
        )

        dave = self.sent_by_ses("dave@example.com", "News in November", "newsletter")
        self.complaint(dave, "dave@example.com", minutes(0.05))

        erin = self.mail(["erin@example.com"], "Your invoice", "invoice")
        self.send(erin)
        delay = {
            "timestamp": minutes(-110),
            "delayType": "MailboxFull",
            "expirationTime": minutes(600),
            "delayedRecipients": [
                {
                    "emailAddress": "erin@example.com",
                    "status": "4.2.2",
                    "diagnosticCode": "smtp; 452 4.2.2 mailbox full",
                }
            ],
        }
        self.publish("DeliveryDelay", "deliveryDelay", delay, erin, "erin@example.com")
        self.delivery(erin, "erin@example.com", minutes(-60))

        three = ["frank@example.com", "grace@example.com", "heidi@example.com"]
        team = self.mail(three, "Team update", "newsletter")
        self.send(team)
        self.delivery(team, three[0], minutes(-119))
        self.bounce(team, three[1], minutes(-118), hard, "smtp; 550 5.1.1 unknown")
        self.delivery(team, three[2], minutes(-119))
        self.complaint(team, three[2], minutes(-30))
        # It names nobody: it is counted for each of the three, and marked.
        self.engagement("Open", team, minutes(-100))

        ivan = self.mail(["ivan@example.com"], "An attachment", "invoice")
        self.publish(
            "Reject", "reject", {"reason": "Bad content"}, ivan, "ivan@example.com"
        )

        judy = self.mail(["judy@example.com"], "Hello {{name}}", "newsletter")
        failure = {
            "errorMessage": "Attribute 'name' is not present in the rendering data.",
            "templateName": "Hello",
        }
        self.publish("Rendering Failure", "failure", failure, judy, "judy@example.com")

        kim = self.sent_by_ses("kim@example.com", "News in November", "newsletter")
        left = {
            "contactList": "readers",
            "timestamp": minutes(0.05),
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {
                "unsubscribeAll": True,
                "topicSubscriptionStatus": [],
            },
            "oldTopicPreferences": {
                "unsubscribeAll": False,
                "topicSubscriptionStatus": [],
            },
        }
        self.publish("Subscription", "subscription", left, kim, "kim@example.com")

        lou = self.sent_by_ses("lou@example.com", "Your invoice", "invoice")
        self.bounce(
            lou,
            "lou@example.com",
            minutes(0.05),
            ("Transient", "General"),
            None,
        )

        self.sns.publish(
            TopicArn=self.topic, Message="somebody's test message, no event"
        )
        print("a poison message")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topic", required=True)
    parser.add_argument("--configuration-set", required=True)
    options = parser.parse_args()
    Story(options.topic, options.configuration_set).tell()

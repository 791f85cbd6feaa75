"""Deploy infra/pipeline.yaml, that very file, to a LocalStack on this machine.

    .dev/venv/bin/python localstack/deploy.py [--name NAME] [--raw] [--json]
    eval "$(.dev/venv/bin/python localstack/deploy.py)"

Creates or updates the CloudFormation stack NAME, then makes what LocalStack's community
edition passes over in a template: SES. Prints what a worker and a sender need, as shell
exports or as a JSON object with the same names. Stacks with different names stand side
by side. Running it again changes nothing and sends nothing.

Talks to AWS_ENDPOINT_URL, and only if that is a loopback address, with credentials that
are made up: AWS is out of reach.
"""

import argparse
import ipaddress
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, WaiterError

TEMPLATE = Path(__file__).resolve().parent.parent / "infra" / "pipeline.yaml"

# SES lets any address of this domain send.
SENDER_DOMAIN = "shop.example"

# As in the template's EventDestination.
EVENT_TYPES = [
    "send",
    "reject",
    "bounce",
    "complaint",
    "delivery",
    "open",
    "click",
    "renderingFailure",
    "deliveryDelay",
    "subscription",
]


class LocalAws:
    """Clients of one LocalStack, whatever profile and proxy the environment holds."""

    def __init__(self, endpoint: str, region: str) -> None:
        session: Any = boto3.Session(
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name=region,
        )
        settings = {"endpoint_url": endpoint, "config": Config(proxies={})}
        self.host = urlsplit(endpoint).netloc
        self.cloudformation = session.client("cloudformation", **settings)
        self.ses = session.client("ses", **settings)
        self.sqs = session.client("sqs", **settings)

    def reachable(self, queue_url: str) -> str:
        """LocalStack may name a host that needs DNS; any host serves the same path."""
        return urlsplit(queue_url)._replace(scheme="http", netloc=self.host).geturl()


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def deploy_stack(
    aws: LocalAws, name: str, parameters: dict[str, str]
) -> dict[str, str]:
    """Create or update the stack, and return its outputs."""
    request = {
        "StackName": name,
        "TemplateBody": TEMPLATE.read_text(),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in parameters.items()
        ],
    }
    try:
        aws.cloudformation.create_stack(**request)
        wait_until(aws, "stack_create_complete", name)
    except aws.cloudformation.exceptions.AlreadyExistsException:
        try:
            aws.cloudformation.update_stack(**request)
            wait_until(aws, "stack_update_complete", name)
        except ClientError as error:
            if "No updates" not in str(error):
                raise
    stack = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def wait_until(aws: LocalAws, state: str, name: str) -> None:
    aws.cloudformation.get_waiter(state).wait(
        StackName=name, WaiterConfig={"Delay": 0.2, "MaxAttempts": 300}
    )


def update_queue(
    aws: LocalAws, outputs: dict[str, str], parameters: dict[str, str]
) -> None:
    """LocalStack's CloudFormation says that it updated a queue, and did nothing."""
    redrive = {
        "deadLetterTargetArn": outputs["DeadLetterQueueArn"],
        "maxReceiveCount": int(parameters["MaxReceiveCount"]),
    }
    aws.sqs.set_queue_attributes(
        QueueUrl=outputs["QueueUrl"],
        Attributes={
            "VisibilityTimeout": parameters["VisibilityTimeout"],
            "RedrivePolicy": json.dumps(redrive),
        },
    )


def deploy_ses(aws: LocalAws, name: str, outputs: dict[str, str]) -> None:
    """Make the configuration set and its event destination, and let the domain send.

    LocalStack keeps one destination for a set, and the names of destinations are one
    namespace for all sets.
    """
    aws.ses.verify_domain_identity(Domain=SENDER_DOMAIN)
    configuration_set = outputs["ConfigurationSetName"]
    try:
        aws.ses.create_configuration_set(ConfigurationSet={"Name": configuration_set})
    except aws.ses.exceptions.ConfigurationSetAlreadyExistsException:
        pass
    # To create it once more would fail, but only after SES's test message went out.
    known = aws.ses.describe_configuration_set(
        ConfigurationSetName=configuration_set,
        ConfigurationSetAttributeNames=["eventDestinations"],
    )
    if any(known["EventDestinations"]):
        return
    aws.ses.create_configuration_set_event_destination(
        ConfigurationSetName=configuration_set,
        EventDestination={
            "Name": name,
            "Enabled": True,
            "MatchingEventTypes": EVENT_TYPES,
            "SNSDestination": {"TopicARN": outputs["TopicArn"]},
        },
    )


def delete(aws: LocalAws, name: str) -> None:
    """Remove what a deployment of this name made; nothing to remove is fine."""
    try:
        aws.ses.delete_configuration_set_event_destination(
            ConfigurationSetName=name, EventDestinationName=name
        )
        aws.ses.delete_configuration_set(ConfigurationSetName=name)
    except (
        aws.ses.exceptions.ConfigurationSetDoesNotExistException,
        aws.ses.exceptions.EventDestinationDoesNotExistException,
    ):
        pass
    aws.cloudformation.delete_stack(StackName=name)
    wait_until(aws, "stack_delete_complete", name)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Deploy infra/pipeline.yaml to the LocalStack at AWS_ENDPOINT_URL.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = parser.add_argument
    option("--name", default="ses-reports", help="name of the stack and of all in it")
    option("--raw", action="store_true", help="deliver events without SNS envelope")
    option("--visibility-timeout", type=int, default=120, help="in seconds")
    option("--max-receive-count", type=int, default=10, help="then dead-letter queue")
    option("--json", action="store_true", help="print JSON instead of shell exports")
    option("--delete", action="store_true", help="remove the stack instead")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    if not is_loopback(endpoint):
        sys.exit(
            "AWS_ENDPOINT_URL must be a loopback address: "
            "run `localstack/stack up`, then `. .dev/env`"
        )
    aws = LocalAws(endpoint, os.environ.get("AWS_REGION", "eu-west-1"))
    if args.delete:
        delete(aws, args.name)
        return

    parameters = {
        "Name": args.name,
        "RawMessageDelivery": "true" if args.raw else "false",
        "VisibilityTimeout": str(args.visibility_timeout),
        "MaxReceiveCount": str(args.max_receive_count),
    }
    outputs = deploy_stack(aws, args.name, parameters)
    update_queue(aws, outputs, parameters)
    deploy_ses(aws, args.name, outputs)

    result = {
        "SQS_QUEUE_URL": aws.reachable(outputs["QueueUrl"]),
        "DEAD_LETTER_QUEUE_URL": aws.reachable(outputs["DeadLetterQueueUrl"]),
        "SNS_TOPIC_ARN": outputs["TopicArn"],
        "SES_CONFIGURATION_SET": outputs["ConfigurationSetName"],
    }
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for key, value in result.items():
            print(f"export {key}={shlex.quote(value)}")


if __name__ == "__main__":
    try:
        main()
    except (EndpointConnectionError, WaiterError) as error:
        sys.exit(str(error))

import json

from pulumi import ResourceOptions

from infra.config import StackConfig
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.balancer import annotations
from infra.substrates.aws.interruptions import Interruptions, InterruptionsArgs
from tests.infra.aws.planned import account, config, of_type, plan, statements

KEY = "arn:aws:kms:me-central-1:444455556666:key/logs"


def graph() -> Graph:
    def make(_: StackConfig, found: Account, options: ResourceOptions) -> None:
        Interruptions("interruptions", InterruptionsArgs(account=found, key=KEY), options)

    return plan(make, config("prod"), "prod")


def test_every_kind_of_notice_reaches_the_queue() -> None:
    found = graph()
    rules = of_type(found, "cloudwatch/eventRule:EventRule")
    patterns = [json.loads(rule.inputs["eventPattern"]) for rule in rules.values()]
    kinds = {kind for pattern in patterns for kind in pattern["detail-type"]}
    assert {"EC2 Spot Instance Interruption Warning", "AWS Health Event"} <= kinds
    targets = of_type(found, "cloudwatch/eventTarget:EventTarget")
    assert set(targets) == set(rules)
    assert {target.inputs["arn"] for target in targets.values()} == {"<aws:sqs/queue:Queue::interruptions.arn>"}


def test_only_the_stacks_own_rules_may_send_and_only_over_tls() -> None:
    found = graph()
    (queue,) = of_type(found, "sqs/queue:Queue").values()
    assert queue.inputs["kmsMasterKeyId"] == KEY
    allowed, denied = statements(of_type(found, "sqs/queuePolicy:QueuePolicy")["interruptions"])
    prefix = account().arn("events", f"rule/{account().prefix}-interruption-")
    assert allowed["Condition"] == {"ArnLike": {"aws:SourceArn": f"{prefix}*"}}
    names = {rule.inputs["name"] for rule in of_type(found, "cloudwatch/eventRule:EventRule").values()}
    assert all(account().arn("events", f"rule/{name}").startswith(prefix) for name in names)
    assert denied["Effect"] == "Deny"
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_load_balancer_is_public_only_where_the_stack_says_so() -> None:
    scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme"
    assert annotations(internal=True)[scheme] == "internal"
    assert annotations(internal=False)[scheme] == "internet-facing"

import json

import pytest
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.config import StackConfig, parse_config
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.alarms import Alarm, Alarms, AlarmsArgs, topic_policy
from infra.substrates.aws.audit import Audit, AuditArgs
from infra.substrates.aws.backup import Backup, BackupArgs, schedule
from infra.substrates.aws.buckets import bucket_name
from tests.infra.aws.planned import STACKS, account, aws, config, of_type, plan, statements
from tests.infra.variations import document

KEY = "arn:aws:kms:me-central-1:444455556666:key/one"


def graph(found: StackConfig, stack: str) -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        substrate, governance = aws(found), found.governance
        assert governance is not None
        Audit(
            "audit",
            AuditArgs(account=account, settings=substrate.security, audit_key=KEY, logs_key=KEY, ready=[]),
            options,
        )
        Alarms(
            "alarms",
            AlarmsArgs(
                account=account,
                contacts=governance.contacts,
                budget=governance.budget,
                key=KEY,
                alarms={"one": Alarm("AWS/RDS", {"DBInstanceIdentifier": "one"}, "CPUUtilization", 90, "busy")},
            ),
            options,
        )
        if substrate.backup is not None:
            resources = {"postgresql": account.arn("rds", "db:one")}
            Backup(
                "backup", BackupArgs(account=account, settings=substrate.backup, resources=resources, key=KEY), options
            )

    return plan(make, found, stack)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {stack: graph(config(stack), stack) for stack in STACKS}


@pytest.mark.parametrize("stack", STACKS)
def test_each_watchman_is_there_where_the_stack_says(graphs: dict[str, Graph], stack: str) -> None:
    security, found = aws(config(stack)).security, graphs[stack]
    assert bool(of_type(found, "cloudtrail/trail:Trail")) == security.trail
    assert bool(of_type(found, "cfg/recorderStatus:RecorderStatus")) == security.config_recorder
    assert bool(of_type(found, "guardduty/detector:Detector")) == security.guardduty
    assert bool(of_type(found, "securityhub/account:Account")) == security.security_hub
    assert bool(of_type(found, "inspector2/enabler:Enabler")) == security.inspector
    features = of_type(found, "guardduty/detectorFeature:DetectorFeature")
    assert ("RUNTIME_MONITORING" in features) == security.guardduty_runtime


def test_an_organisation_that_watches_by_itself_is_left_to_it() -> None:
    changed = document("smb")
    changed["substrate"]["security"] = dict.fromkeys(("trail", "config_recorder", "guardduty", "security_hub"), False)
    found = graph(parse_config(changed, "smb"), "smb")
    kinds = {resource.type for resource in found.resources if resource.custom}
    assert not any(kind.startswith(("aws:cloudtrail", "aws:cfg", "aws:guardduty", "aws:securityhub")) for kind in kinds)


def test_the_trail_is_validated_encrypted_and_of_all_regions(graphs: dict[str, Graph]) -> None:
    trail = of_type(graphs["prod"], "cloudtrail/trail:Trail")["trail"].inputs
    assert trail["enableLogFileValidation"] is True
    assert trail["isMultiRegionTrail"] is True
    assert trail["kmsKeyId"] == KEY
    assert trail["name"] == account().trail.rpartition("/")[2]
    assert trail["s3BucketName"] == bucket_name(account(), "audit")
    names = [selector["name"] for selector in trail["advancedEventSelectors"]]
    assert names == ["Management", "Objects"]


def test_the_recorder_writes_to_a_bucket_without_a_lock(graphs: dict[str, Graph]) -> None:
    channel = of_type(graphs["prod"], "cfg/deliveryChannel:DeliveryChannel")["config"].inputs
    assert channel["s3BucketName"] == bucket_name(account(), "logs")
    for statement in statements(of_type(graphs["prod"], "iam/rolePolicy:RolePolicy")["config"]):
        assert "*" not in statement["Resource"]


@pytest.mark.parametrize("stack", STACKS)
def test_every_alarm_ends_at_a_person(graphs: dict[str, Graph], stack: str) -> None:
    governance = config(stack).governance
    assert governance is not None
    found = graphs[stack]
    people = of_type(found, "sns/topicSubscription:TopicSubscription")
    assert people["operations"].inputs["endpoint"] == governance.contacts.operations
    assert people["security"].inputs["endpoint"] == governance.contacts.security
    assert all(topic.inputs["kmsMasterKeyId"] == KEY for topic in of_type(found, "sns/topic:Topic").values())
    operations = "<aws:sns/topic:Topic::operations.arn>"
    alarms = of_type(found, "cloudwatch/metricAlarm:MetricAlarm")
    assert set(alarms) == {"one"}
    assert all(alarm.inputs["alarmActions"] == [operations] for alarm in alarms.values())
    targets = of_type(found, "cloudwatch/eventTarget:EventTarget")
    assert {target.inputs["arn"] for target in targets.values()} == {"<aws:sns/topic:Topic::security.arn>"}
    pattern = json.loads(of_type(found, "cloudwatch/eventRule:EventRule")["guardduty"].inputs["eventPattern"])
    assert pattern["detail"]["severity"] == [{"numeric": [">=", 7]}]


def test_the_budget_is_told_to_finance_before_it_is_spent(graphs: dict[str, Graph]) -> None:
    budget = of_type(graphs["prod"], "budgets/budget:Budget")["monthly"].inputs
    assert budget["limitAmount"] == "22000.00"
    told = {(item["notificationType"], item["threshold"]) for item in budget["notifications"]}
    assert told == {(kind, percent) for kind in ("ACTUAL", "FORECASTED") for percent in (50, 80, 100)}
    assert {address for item in budget["notifications"] for address in item["subscriberEmailAddresses"]} == {
        "finance@example.ae"
    }
    anomaly = of_type(graphs["prod"], "costexplorer/anomalySubscription:AnomalySubscription")["services"].inputs
    assert anomaly["thresholdExpression"]["dimension"]["values"] == ["300"]


def test_only_services_publish_and_only_over_tls() -> None:
    arn = "arn:aws:sns:me-central-1:444455556666:falaj-prod-operations"
    for statement in topic_policy(arn, account()):
        assert statement["Resource"] == arn
        assert (statement["Effect"] == "Deny") == (statement["Principal"] == "*")


def test_the_vault_is_locked_and_nothing_leaves_it(graphs: dict[str, Graph]) -> None:
    found = graphs["prod"]
    lock = of_type(found, "backup/vaultLockConfiguration:VaultLockConfiguration")["vault"].inputs
    assert (lock["minRetentionDays"], lock["changeableForDays"]) == (35, 7)
    assert of_type(found, "backup/vault:Vault")["vault"].inputs["kmsKeyArn"] == KEY
    (rule,) = of_type(found, "backup/plan:Plan")["daily"].inputs["rules"]
    assert "copyActions" not in rule
    assert rule["lifecycle"]["deleteAfter"] == 35
    (denied,) = statements(of_type(found, "backup/vaultPolicy:VaultPolicy")["vault"])
    assert (denied["Effect"], denied["Action"]) == ("Deny", "backup:CopyFromBackupVault")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 20 * * *", "cron(0 20 * * ? *)"),
        ("30 1 1 * *", "cron(30 1 1 * ? *)"),
        ("0 3 * * 0", "cron(0 3 ? * 1 *)"),
        ("0 3 * * 1-5", "cron(0 3 ? * 2-6 *)"),
        ("0 3 * * MON", "cron(0 3 ? * MON *)"),
    ],
)
def test_a_schedule_is_the_same_moment_for_aws(cron: str, expected: str) -> None:
    assert schedule(cron) == expected


def test_days_of_month_and_week_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        schedule("0 3 1 * 1")

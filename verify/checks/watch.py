"""What watches the account."""

from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.declared import Declared, Inputs, known

_TRAIL = "aws:cloudtrail/trail:Trail"


def test_trail(each: Each, declared: Declared, aws: Account) -> None:
    """The trail is on: it records now, and its last delivery went well."""

    def judge(name: str) -> list[str]:
        status = aws("cloudtrail").get_trail_status(Name=name)
        return [
            *([] if status["IsLogging"] else ["does not record"]),
            *(
                [f"its last delivery failed: {status['LatestDeliveryError']}"]
                if status.get("LatestDeliveryError")
                else []
            ),
        ]

    each(declared.values(_TRAIL, "name"), judge)


def test_trail_is_whole(each: Each, declared: Declared, aws: Account) -> None:
    """The trail records all regions and global services, can be validated, and is encrypted by the stack's key."""

    def judge(name: str) -> list[str]:
        found = aws("cloudtrail").describe_trails(trailNameList=[name])["trailList"]
        if not found:
            return ["is missing"]
        wanted = ("IsMultiRegionTrail", "IncludeGlobalServiceEvents", "LogFileValidationEnabled")
        key = aws.own_key(found[0].get("KmsKeyId"))
        return [*(f"{one} is off" for one in wanted if not found[0].get(one)), *([key] if key else [])]

    each(declared.values(_TRAIL, "name"), judge)


def test_trail_sees_objects(each: Each, declared: Declared, aws: Account) -> None:
    """The trail records who read personal data, where it is declared to."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("cloudtrail").get_event_selectors(TrailName=inputs["name"]).get("AdvancedEventSelectors", [])
        live = {value for one in found for field in one["FieldSelectors"] for value in field.get("StartsWith", [])}
        wanted = {
            value
            for one in inputs["advancedEventSelectors"]
            for field in one["fieldSelectors"]
            for value in field.get("startsWiths") or []
        }
        return [f"does not see {arn}" for arn in sorted(wanted - live)]

    each({name: found for name, found in declared.of(_TRAIL).items() if found.get("advancedEventSelectors")}, judge)


def test_findings(each: Each, declared: Declared, aws: Account) -> None:
    """GuardDuty looks for intruders."""

    def judge(_: Inputs) -> str | None:
        ids = aws("guardduty").list_detectors()["DetectorIds"]
        states = [aws("guardduty").get_detector(DetectorId=one)["Status"] for one in ids]
        return None if "ENABLED" in states else f"is {', '.join(states) or 'missing'}"

    each(declared.of("aws:guardduty/detector:Detector"), judge)


def test_recorder(each: Each, declared: Declared, aws: Account) -> None:
    """AWS Config records what changes."""

    def judge(name: str) -> str | None:
        found = aws("config").describe_configuration_recorder_status(ConfigurationRecorderNames=[name])
        on = any(status["recording"] for status in found["ConfigurationRecordersStatus"])
        return None if on else "does not record"

    each(declared.values("aws:cfg/recorder:Recorder", "name"), judge)


def test_hub(each: Each, declared: Declared, aws: Account) -> None:
    """Security Hub is on, where it is declared."""
    each(
        declared.of("aws:securityhub/account:Account"),
        lambda _: None if aws("securityhub").describe_hub().get("HubArn") else "is off",
    )


def test_scanner(each: Each, declared: Declared, aws: Account) -> None:
    """Inspector scans machines and images, where it is declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("inspector2").batch_get_account_status(accountIds=[aws.id])["accounts"][0]["resourceState"]
        kinds = [kind.lower() for kind in inputs["resourceTypes"]]
        return [f"{kind} is {found.get(kind, {}).get('status')}" for kind in kinds if not _on(found.get(kind))]

    each(declared.of("aws:inspector2/enabler:Enabler"), judge)


def test_alarms(each: Each, declared: Declared, aws: Account) -> None:
    """Every alarm is there, acts, and goes to the operators."""
    listed = aws.every("cloudwatch", "describe_alarms", "MetricAlarms")
    live = {one["AlarmName"]: one for one in listed}

    def judge(name: str) -> list[str]:
        if name not in live:
            return ["is missing"]
        return [
            *([] if live[name].get("ActionsEnabled") else ["does not act"]),
            *([] if live[name].get("AlarmActions") else ["goes to no one"]),
        ]

    each(declared.values("aws:cloudwatch/metricAlarm:MetricAlarm", "name"), judge)


def test_no_alarm(each: Each, declared: Declared, aws: Account) -> None:
    """No alarm of the stack is raised."""
    own = set(declared.values("aws:cloudwatch/metricAlarm:MetricAlarm", "name"))
    listed = aws.every("cloudwatch", "describe_alarms", "MetricAlarms")
    each(
        {one["AlarmName"]: one for one in listed if one["AlarmName"] in own},
        lambda one: f"is raised: {one.get('StateReason')}" if one["StateValue"] == "ALARM" else None,
    )


def test_someone_is_told(each: Each, declared: Declared, aws: Account) -> None:
    """Every alarm ends at a person: each subscription of the topics is confirmed."""

    def judge(name: str) -> list[str]:
        arn = f"arn:aws:sns:{aws.region}:{aws.id}:{name}"
        found = aws.every("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=arn)
        if not found:
            return ["no one is subscribed"]
        return [
            f"{one['Endpoint']} has not confirmed" for one in found if one["SubscriptionArn"] == "PendingConfirmation"
        ]

    each(declared.values("aws:sns/topic:Topic", "name"), judge)


def test_rules(each: Each, declared: Declared, aws: Account) -> None:
    """Every rule that carries events to people or controllers is on, and leads somewhere."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("events").describe_rule(Name=inputs["name"])
        targets = aws("events").list_targets_by_rule(Rule=inputs["name"])["Targets"]
        return [
            *([] if found["State"] == "ENABLED" else [f"is {found['State']}"]),
            *([] if targets else ["leads nowhere"]),
        ]

    rules = declared.of("aws:cloudwatch/eventRule:EventRule")
    each({name: inputs for name, inputs in rules.items() if known(inputs.get("name", "<"))}, judge)


def _on(state: Any) -> bool:
    return bool(state) and state.get("status") in ("ENABLED", "ENABLING")

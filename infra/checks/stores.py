"""What AWS asks of a store, a log and a schedule, and tells minutes into a deployment. Its guides are the source."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects
from infra.plan import Resource

_LOG_DAYS = (0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""Retentions that CloudWatch knows (PutRetentionPolicy); 0 is for ever."""
_LEAST_GIB = 20
"""Of a database's gp3 disk (Amazon RDS User Guide, storage)."""
_LEAST_DAYS = {"STANDARD_IA": 30, "ONEZONE_IA": 30}
"""Before objects may move to a class (Amazon S3 User Guide, lifecycle transitions)."""
_COLD_DAYS = 90
"""That a backup stays in cold storage at the least (AWS Backup, lifecycle)."""
_SEARCH_LOGS = ("logs:PutLogEvents", "logs:PutLogEventsBatch", "logs:CreateLogStream")
"""What OpenSearch wants of its log groups (Amazon OpenSearch Service Developer Guide, slow logs)."""
_MASTERS = frozenset({"admin", "administrator", "postgres", "rdsadmin", "root", "system", "user"})
"""Names that RDS or an engine keeps for itself."""
_LENGTHS = {
    ("aws:elasticache/replicationGroup:ReplicationGroup", "replicationGroupId"): 40,
    ("aws:rds/instance:Instance", "identifier"): 63,
    ("aws:opensearch/domain:Domain", "domainName"): 28,
    ("aws:iam/role:Role", "name"): 64,
    ("aws:s3/bucket:Bucket", "bucket"): 63,
}
"""Most characters of a name."""
_UNIQUE = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:iam/role:Role": "name",
    "aws:kms/alias:Alias": "name",
    "aws:rds/instance:Instance": "identifier",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:secretsmanager/secret:Secret": "name",
    "aws:sns/topic:Topic": "name",
    "aws:sqs/queue:Queue": "name",
    "aws:ecr/repository:Repository": "name",
}
"""Types of which each has a name of its own, and the input with it."""
_TEXTS = (
    ("aws:ec2/securityGroup:SecurityGroup", "description", re.compile(r"[a-zA-Z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}")),
    (
        "aws:ec2/securityGroupRule:SecurityGroupRule",
        "description",
        re.compile(r"[a-zA-Z0-9 ._:/()#,@\[\]+=&;{}!$*-]{0,255}"),
    ),
    ("aws:secretsmanager/secret:Secret", "name", re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")),
    ("aws:kms/alias:Alias", "name", re.compile(r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,249}")),
)
"""Texts that the API takes no other letters in."""


def stores(objects: Objects) -> Iterator[str]:
    """Settings that a service refuses, or that contradict each other."""
    yield from _names(objects)
    yield from _databases(objects)
    yield from _caches(objects)
    yield from _clusters(objects)
    yield from _keeping(objects)
    yield from _watching(objects)


def _names(objects: Objects) -> Iterator[str]:
    for (kind, key), most in _LENGTHS.items():
        for resource in objects.named(kind):
            if len(str(resource.inputs.get(key, ""))) > most:
                yield f"{_told(resource)} has a {key} of {len(resource.inputs[key])} characters: AWS takes {most}"
    for kind, key in _UNIQUE.items():
        seen: dict[str, str] = {}
        for resource in objects.named(kind):
            name = resource.inputs.get(key)
            if name in seen:
                yield f"{_told(resource)} and {seen[name]} are both called {name}"
            elif name is not None:
                seen[name] = resource.name
    for kind, key, form in _TEXTS:
        for resource in objects.named(kind):
            if not form.fullmatch(str(resource.inputs.get(key, "alias/none"))) and key in resource.inputs:
                yield f"{_told(resource)} has the {key} {resource.inputs[key]!r}, with letters that AWS does not take"
    policies: dict[str, str] = {}
    for policy in objects.named("aws:s3/bucketPolicy:BucketPolicy"):
        bucket = policy.inputs["bucket"]
        if bucket in policies:
            yield f"BucketPolicy {policies[bucket]} and {policy.name} are of one bucket: the second undoes the first"
        policies[bucket] = policy.name


def _databases(objects: Objects) -> Iterator[str]:
    families = {
        one.inputs["name"]: one.inputs["family"] for one in objects.named("aws:rds/parameterGroup:ParameterGroup")
    }
    for database in objects.named("aws:rds/instance:Instance"):
        found = database.inputs
        family = families.get(found.get("parameterGroupName"), "")
        version = re.sub(r"^\D+", "", family)
        if family and not f"{found['engineVersion']}.".startswith(f"{version}."):
            yield f"{_told(database)} is of version {found['engineVersion']}, and its parameters are of {family}"
        if not found.get("skipFinalSnapshot") and not found.get("finalSnapshotIdentifier"):
            yield f"{_told(database)} can never be deleted: its last snapshot has no name"
        if found.get("storageType") == "gp3" and found["allocatedStorage"] < _LEAST_GIB:
            yield f"{_told(database)} has {found['allocatedStorage']} GiB, and gp3 begins with {_LEAST_GIB}"
        if found.get("username") in _MASTERS:
            yield f"{_told(database)} has the first user {found['username']}, a name that is reserved"
        yield from _windows(database, found.get("backupWindow"), found.get("maintenanceWindow"))


def _caches(objects: Objects) -> Iterator[str]:
    users = {one.inputs["userId"]: one.inputs for one in objects.named("aws:elasticache/user:User")}
    groups = {one.inputs["userGroupId"]: one.inputs for one in objects.named("aws:elasticache/userGroup:UserGroup")}
    for cache in objects.named("aws:elasticache/replicationGroup:ReplicationGroup"):
        if cache.inputs.get("automaticFailoverEnabled") and not cache.inputs.get("replicasPerNodeGroup"):
            yield f"{_told(cache)} fails over by itself, and has no replica"
        for name in cache.inputs.get("userGroupIds", []):
            if name in groups and groups[name]["engine"] != cache.inputs["engine"]:
                yield f"{_told(cache)} is {cache.inputs['engine']}, and its users are of {groups[name]['engine']}"
        yield from _windows(cache, cache.inputs.get("snapshotWindow"), cache.inputs.get("maintenanceWindow"))
    for name, group in groups.items():
        if not any(users.get(user, {}).get("userName") == "default" for user in group["userIds"]):
            yield f"the user group {name} has no user called default, and ElastiCache refuses it"


def _windows(resource: Resource, daily: str | None, weekly: str | None) -> Iterator[str]:
    """A daily and a weekly window, such as 21:00-22:00 and sun:22:00-sun:23:00."""
    if daily and weekly:
        first, second = (
            [int(part.replace(":", "")) for part in re.findall(r"\d\d:\d\d", text)] for text in (daily, weekly)
        )
        if first[0] < second[1] and second[0] < first[1]:
            yield f"{_told(resource)} is copied at {daily} and maintained at {weekly}, which overlap"


def _clusters(objects: Objects) -> Iterator[str]:
    """Nodes that do not come out even over the zones, versions that differ."""
    for domain in objects.named("aws:opensearch/domain:Domain"):
        found = domain.inputs["clusterConfig"]
        zones = (found.get("zoneAwarenessConfig") or {}).get("availabilityZoneCount", 1)
        if found["instanceCount"] % zones:
            yield f"{_told(domain)} has {found['instanceCount']} nodes in {zones} zones: have a multiple of these"
        logs = objects.named("aws:cloudwatch/logResourcePolicy:LogResourcePolicy")
        name = domain.inputs["domainName"]
        let_in = any(
            re.search(rf"domain/({re.escape(name)}|\*)\"", one.inputs["policyDocument"])
            and all(f'"{right}"' in one.inputs["policyDocument"] for right in _SEARCH_LOGS)
            for one in logs
        )
        if domain.inputs.get("logPublishingOptions") and not let_in:
            yield f"{_told(domain)} writes logs, and no policy of CloudWatch lets it: add a LogResourcePolicy"
    versions = {
        one.urn: one.inputs.get("kafkaVersions") for one in objects.named("aws:msk/configuration:Configuration")
    }
    for cluster in objects.named("aws:msk/cluster:Cluster"):
        subnets = cluster.inputs["brokerNodeGroupInfo"]["clientSubnets"]
        if cluster.inputs["numberOfBrokerNodes"] % len(subnets):
            yield f"{_told(cluster)} has {cluster.inputs['numberOfBrokerNodes']} brokers in {len(subnets)} subnets"
        for urn in cluster.property_dependencies.get("configurationInfo", ()):
            if versions.get(urn) and cluster.inputs["kafkaVersion"] not in (versions[urn] or []):
                yield f"{_told(cluster)} is of {cluster.inputs['kafkaVersion']}, and its settings of {versions[urn]}"


def _keeping(objects: Objects) -> Iterator[str]:
    for group in objects.named("aws:cloudwatch/logGroup:LogGroup"):
        if group.inputs.get("retentionInDays", 0) not in _LOG_DAYS:
            yield f"{_told(group)} is kept for {group.inputs['retentionInDays']} days, which CloudWatch does not know"
    for lifecycle in objects.graph.resources:
        if "bucketLifecycleConfiguration" in lifecycle.type:
            for rule in lifecycle.inputs["rules"]:
                yield from _moved(lifecycle, rule)
    for plan in objects.named("aws:backup/plan:Plan"):
        for rule in plan.inputs["rules"]:
            kept = rule.get("lifecycle") or {}
            if "coldStorageAfter" in kept and kept.get("deleteAfter", 1 << 30) < kept["coldStorageAfter"] + _COLD_DAYS:
                yield f"{_told(plan)} deletes after {kept['deleteAfter']} days, and cold storage takes {_COLD_DAYS}"
            if not _is_cron(rule.get("schedule", "cron(0 0 * * ? *)")):
                yield f"{_told(plan)} has the schedule {rule['schedule']}: AWS takes six fields, one of the days a ?"
    for policy in objects.named("aws:ecr/lifecyclePolicy:LifecyclePolicy"):
        priorities = [rule["rulePriority"] for rule in json.loads(policy.inputs["policy"])["rules"]]
        if len(set(priorities)) < len(priorities):
            yield f"{_told(policy)} has two rules of one priority"


def _moved(resource: Resource, rule: Mapping[str, Any]) -> Iterator[str]:
    last = (rule.get("expiration") or {}).get("days")
    for move in rule.get("transitions") or []:
        if last is not None and move["days"] >= last:
            yield f"{_told(resource)} moves objects after {move['days']} days, and deletes them after {last}"
        if move["days"] < _LEAST_DAYS.get(move["storageClass"], 0):
            yield f"{_told(resource)} moves objects to {move['storageClass']} after {move['days']} days: S3 takes 30"


def _watching(objects: Objects) -> Iterator[str]:
    for budget in objects.named("aws:budgets/budget:Budget"):
        if budget.inputs.get("limitUnit") != "USD":
            yield f"{_told(budget)} is in {budget.inputs.get('limitUnit')}: AWS bills the account in USD"
    for alarm in objects.named("aws:cloudwatch/metricAlarm:MetricAlarm"):
        period = alarm.inputs.get("period")
        if period is not None and period not in (10, 20, 30) and period % 60:
            yield f"{_told(alarm)} has a period of {period} s: CloudWatch takes 10, 20, 30 and multiples of 60"
    for rule in objects.named("aws:cloudwatch/eventRule:EventRule"):
        try:
            json.loads(rule.inputs.get("eventPattern", "{}"))
        except ValueError:
            yield f"{_told(rule)} has an eventPattern that is no JSON"


def _is_cron(schedule: str) -> bool:
    fields = schedule.removeprefix("cron(").removesuffix(")").split()
    return not schedule.startswith("cron(") or (len(fields) == 6 and "?" in (fields[2], fields[4]))


def _told(resource: Resource) -> str:
    return f"{resource.type.rpartition(':')[2]} {resource.name}"

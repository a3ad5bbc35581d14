"""What happened is recorded, the record cannot be altered, and a person is told."""

import re

from policies.conditions import among, at_least, both, has_all, is_true
from policies.controls import EVIDENCE, LOGGING, MONITORING
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity, Unknown

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
_ACCOUNT = "pulumi:providers:aws"
_STANDARDS = "aws:securityhub/standardsSubscription:StandardsSubscription"
_CLUSTER = "aws:eks/cluster:Cluster"
_YEAR = 365
PERSONAL = ("raw", "curated", "features", "inference-log")
"""Classes of data that can hold personal data."""
_SEVERE = 7
"""GuardDuty's lowest severity of the level high."""
_THREATS = ("S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "RDS_LOGIN_EVENTS")


def _account_has(kind: str, what: str, setting: str) -> Judge:
    """The account has a resource, or the organisation shows that it has one for all its accounts."""

    def judge(_resource: Resource, graph: Graph) -> Faults:
        if graph.of(kind):
            if kind == "aws:securityhub/account:Account" and not graph.of(_STANDARDS):
                yield "its settings are judged by no standard"
            return
        if setting in graph.settings.delegated:
            raise Unknown(f"substrate.security.{setting} is false: the organisation has to show its own {what}")
        yield f"it has no {what}"

    return judge


def _locked(resource: Resource, graph: Graph) -> Faults:
    name = resource.inputs.get("s3BucketName")
    buckets = graph.targets(resource, "s3BucketName") or graph.named("aws:s3/bucket:Bucket", "bucket", name)
    if not buckets:
        yield "its bucket is not of this stack, so that nothing shows that it is locked"
    for bucket in buckets:
        if not graph.attached(bucket, "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "bucket"):
            yield "its bucket has no object lock, so that records can be deleted"


def _lock_time(resource: Resource, _graph: Graph) -> Faults:
    retention = "rule.defaultRetention"
    days = int(resource.value(f"{retention}.days", 0)) + _YEAR * int(resource.value(f"{retention}.years", 0))
    if days < _YEAR:
        yield f"records are locked for {days} days, less than a year"
    wanted = _graph.settings.audit_lock
    if wanted == "COMPLIANCE" and resource.value("rule.defaultRetention.mode") != wanted:
        yield "an administrator can take off the lock, and the stack's file asks for COMPLIANCE"


def _audit_bucket(resource: Resource, graph: Graph) -> Faults:
    if (resource.inputs.get("tags") or {}).get("data-class") != "audit":
        return
    if resource.value("objectLockEnabled") is not True:
        yield "it cannot be locked: objectLockEnabled is not true"
    if not graph.attached(resource, "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "bucket"):
        yield "it has no lock for what is written into it"
    for life in graph.attached(resource, "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "bucket"):
        if any(isinstance(days, int | float) and days < _YEAR for days in life.each("rules.expiration.days")):
            yield "its records are deleted within a year"


def _reads(resource: Resource, graph: Graph) -> Faults:
    """In production with sensitive data, reads of single objects are recorded too."""
    if not (graph.settings.production and graph.settings.sensitive):
        return
    selectors = resource.each("advancedEventSelectors.fieldSelectors") + resource.each("eventSelectors.dataResources")
    text = str(selectors)
    if "AWS::S3::Object" not in text:
        yield "reads of single objects are not recorded"


def _management(resource: Resource, _graph: Graph) -> Faults:
    advanced = resource.each("advancedEventSelectors.fieldSelectors.equals")
    if resource.has("advancedEventSelectors") and "Management" not in advanced:
        yield "management events are not recorded"
    if resource.value("eventSelectors.includeManagementEvents") is False:
        yield "management events are not recorded"
    if resource.value("enableLogging") is False:
        yield "it records nothing: enableLogging is false"


def _recording(resource: Resource, graph: Graph) -> Faults:
    if resource.value("recordingGroup.allSupported", True) is not True:
        yield "it does not record all kinds of resource"
    status = graph.of("aws:cfg/recorderStatus:RecorderStatus")
    if not any(one.value("isEnabled") is True for one in status):
        yield "it is not turned on"
    if not graph.of("aws:cfg/deliveryChannel:DeliveryChannel"):
        yield "it delivers nowhere"


def _features(resource: Resource, graph: Graph) -> Faults:
    if resource.value("enable", True) is not True:
        yield "it is off"
    on = {
        str(one.inputs.get("name"))
        for one in graph.of("aws:guardduty/detectorFeature:DetectorFeature")
        if one.inputs.get("status") == "ENABLED"
    }
    missing = [name for name in _THREATS if name not in on]
    if missing:
        yield f"it does not look at {', '.join(missing)}"


def _reader(resource: Resource, graph: Graph) -> Faults:
    if not graph.attached(resource, "aws:sns/topicSubscription:TopicSubscription", "topic"):
        arn = [
            one
            for one in graph.of("aws:sns/topicSubscription:TopicSubscription")
            if resource in graph.targets(one, "topic")
        ]
        if not arn:
            yield "no one reads it"


def _findings(_resource: Resource, graph: Graph) -> Faults:
    """Findings of the detector go to a topic."""
    if not graph.of("aws:guardduty/detector:Detector"):
        return
    for rule in graph.of("aws:cloudwatch/eventRule:EventRule"):
        heard = "aws.guardduty" in str(rule.inputs.get("eventPattern")) and rule.value("state", "ENABLED") != "DISABLED"
        bounds = re.findall(r"\">=\",\s*([0-9.]+)", str(rule.inputs.get("eventPattern")))
        if heard and any(float(bound) > _SEVERE for bound in bounds):
            yield f"findings of severity {_SEVERE} and above are not all told"
        if heard and graph.attached(rule, "aws:cloudwatch/eventTarget:EventTarget", "rule"):
            return
    yield "findings of GuardDuty go to no one"


def _acted(resource: Resource, _graph: Graph) -> Faults:
    if not resource.has("alarmActions"):
        yield "it tells no one"
    if resource.value("actionsEnabled", True) is not True:
        yield "its actions are off"


def _cluster_logs(resource: Resource, graph: Graph) -> Faults:
    name = resource.value("name")
    groups = graph.named("aws:cloudwatch/logGroup:LogGroup", "name", f"/aws/eks/{name}/cluster")
    if not groups:
        yield "its log group is made by EKS, without a key and kept for ever"


def _retention(resource: Resource, _graph: Graph) -> Faults:
    days = int(resource.value("retentionInDays", 0))
    if 0 < days < _YEAR:
        yield f"it is kept for {days} days, less than a year"


def _connections(resource: Resource, _graph: Graph) -> Faults:
    if not str(resource.value("family", "")).startswith(("postgres", "aurora-postgresql")):
        return
    values = {
        str(one.get("name")): str(one.get("value")) for one in resource.each("parameters") if isinstance(one, dict)
    }
    if values.get("log_connections") not in ("1", "on", "all"):
        yield "log_connections is off"


def _database_logs(resource: Resource, graph: Graph) -> Faults:
    wanted = {"postgres": ("postgresql",), "mysql": ("error",), "aurora-postgresql": ("postgresql",)}
    for kind in wanted.get(str(resource.value("engine", "")), ()):
        if kind not in resource.each("enabledCloudwatchLogsExports"):
            yield f"its log {kind} is not kept"
    identifier = resource.inputs.get("identifier")
    for kind in resource.each("enabledCloudwatchLogsExports") if isinstance(identifier, str) else ():
        if not graph.named("aws:cloudwatch/logGroup:LogGroup", "name", f"/aws/rds/instance/{identifier}/{kind}"):
            yield f"its log {kind} has no group of the stack, so RDS makes one without a key that is kept for ever"


def _msk_logs(resource: Resource, _graph: Graph) -> Faults:
    kinds = ("cloudwatchLogs", "firehose", "s3")
    if not any(resource.value(f"loggingInfo.brokerLogs.{kind}.enabled") is True for kind in kinds):
        yield "its logs are not kept"


def _search_logs(resource: Resource, _graph: Graph) -> Faults:
    if "AUDIT_LOGS" not in resource.each("logPublishingOptions.logType"):
        yield "who read what is not kept: AUDIT_LOGS"


def _routes(resource: Resource, _graph: Graph) -> Faults:
    receivers = [one for one in resource.each("spec.receivers") if isinstance(one, dict)]
    reaching = [one for one in receivers if any(key.lower().endswith("configs") and one[key] for key in one)]
    if not reaching:
        yield "no receiver reaches a person"


def _severities(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("kind", "AlertmanagerConfig") and not resource.has("spec.route.receiver"):
        yield "alerts that no route takes reach no one"


RULES: tuple[Rule, ...] = (
    Rule(
        id="trail",
        title="The account has a trail",
        severity=_CRITICAL,
        types=(_ACCOUNT,),
        why="Without it no one can tell who did what.",
        remedy="Set substrate.security.trail to true in stacks/Pulumi.<stack>.yaml, or show the organisation's.",
        controls=LOGGING,
        judge=_account_has("aws:cloudtrail/trail:Trail", "trail", "trail"),
    ),
    Rule(
        id="trail-everything",
        title="The trail records all regions and global services",
        severity=_HIGH,
        types=("aws:cloudtrail/trail:Trail",),
        why="An intruder works where no one looks.",
        remedy="Leave is_multi_region_trail and include_global_service_events true in infra/substrates/aws/audit.py.",
        controls=LOGGING,
        judge=both(
            is_true("isMultiRegionTrail"),
            lambda resource, _graph: (
                ["global services are not recorded"]
                if resource.value("includeGlobalServiceEvents", True) is not True
                else []
            ),
        ),
        known_as=("CKV_AWS_67",),
    ),
    Rule(
        id="trail-management",
        title="The trail is on and records management events",
        severity=_CRITICAL,
        types=("aws:cloudtrail/trail:Trail",),
        why="They say who changed what.",
        remedy="Leave the selector Management in infra/substrates/aws/audit.py.",
        controls=LOGGING,
        judge=_management,
        known_as=("CKV_AWS_251",),
    ),
    Rule(
        id="trail-validated",
        title="Records of the trail can be verified",
        severity=_HIGH,
        types=("aws:cloudtrail/trail:Trail",),
        why="A record that can be altered unseen proves nothing.",
        remedy="Leave enable_log_file_validation true in infra/substrates/aws/audit.py.",
        controls=EVIDENCE,
        judge=is_true("enableLogFileValidation"),
        known_as=("CKV_AWS_36",),
    ),
    Rule(
        id="trail-locked",
        title="Records of the trail cannot be deleted",
        severity=_HIGH,
        types=("aws:cloudtrail/trail:Trail",),
        why="The first thing that an intruder deletes is the trail.",
        remedy="Let it write to the bucket audit: infra/substrates/aws/audit.py.",
        controls=EVIDENCE,
        judge=_locked,
    ),
    Rule(
        id="trail-reads",
        title="Reads of sensitive data are recorded",
        severity=_HIGH,
        types=("aws:cloudtrail/trail:Trail",),
        why="After a breach the law asks whose data were read.",
        remedy="Set substrate.security.trail_data_events to true in stacks/Pulumi.<stack>.yaml, or "
        "governance.sensitive_data to false where it is.",
        controls=LOGGING,
        judge=_reads,
    ),
    Rule(
        id="audit-bucket-locked",
        title="The audit log cannot be deleted",
        severity=_CRITICAL,
        types=("aws:s3/bucket:Bucket",),
        why="It is the evidence of every approval, deployment and erasure.",
        remedy="Leave the object lock of the bucket audit in infra/substrates/aws/buckets.py.",
        controls=EVIDENCE,
        judge=_audit_bucket,
        known_as=("CKV_AWS_143",),
    ),
    Rule(
        id="audit-lock-time",
        title="The audit log is locked for a year or more",
        severity=_HIGH,
        types=("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",),
        why="Breaches are found months later.",
        remedy="Set governance.retention.audit in stacks/Pulumi.<stack>.yaml.",
        controls=EVIDENCE,
        judge=_lock_time,
    ),
    Rule(
        id="recorder",
        title="What each resource was like, and when, is recorded",
        severity=_MEDIUM,
        types=(_ACCOUNT,),
        why="It shows when a setting was wrong, and for how long.",
        remedy="Set substrate.security.config_recorder to true in stacks/Pulumi.<stack>.yaml, or "
        "show the organisation's.",
        controls=LOGGING,
        judge=_account_has("aws:cfg/recorder:Recorder", "configuration recorder", "config_recorder"),
    ),
    Rule(
        id="recorder-complete",
        title="The recorder is on and sees everything",
        severity=_MEDIUM,
        types=("aws:cfg/recorder:Recorder",),
        why="It shows when a setting was wrong, and for how long.",
        remedy="Leave all_supported true and the status enabled in infra/substrates/aws/audit.py.",
        controls=LOGGING,
        judge=_recording,
        known_as=("CKV2_AWS_48",),
    ),
    Rule(
        id="threat-detection",
        title="Threats are looked for",
        severity=_HIGH,
        types=(_ACCOUNT,),
        why="What no one looks for is found by others.",
        remedy="Set substrate.security.guardduty to true in stacks/Pulumi.<stack>.yaml, or show the organisation's.",
        controls=MONITORING,
        judge=_account_has("aws:guardduty/detector:Detector", "threat detector", "guardduty"),
        known_as=("CKV_AWS_238",),
    ),
    Rule(
        id="findings-gathered",
        title="Findings of all watchmen are gathered",
        severity=_MEDIUM,
        types=(_ACCOUNT,),
        why="What is spread over many places no one reads.",
        remedy="Set substrate.security.security_hub to true in stacks/Pulumi.<stack>.yaml, or show the organisation's.",
        controls=MONITORING,
        judge=_account_has("aws:securityhub/account:Account", "gathering of findings", "security_hub"),
    ),
    Rule(
        id="rds-connections-logged",
        title="Databases record who connects",
        severity=_MEDIUM,
        types=("aws:rds/parameterGroup:ParameterGroup",),
        why="After a breach the law asks whose data were read, and by whom.",
        remedy="Leave log_connections in the parameter group: infra/substrates/aws/databases.py.",
        controls=LOGGING,
        judge=_connections,
    ),
    Rule(
        id="threat-features",
        title="Threats are looked for in buckets, the cluster and databases",
        severity=_MEDIUM,
        types=("aws:guardduty/detector:Detector",),
        why="That is where the data are.",
        remedy="Leave the detector on with its features in infra/substrates/aws/audit.py.",
        controls=MONITORING,
        judge=_features,
        known_as=("CKV_AWS_238",),
    ),
    Rule(
        id="findings-told",
        title="Findings of threats reach a person",
        severity=_HIGH,
        types=("aws:guardduty/detector:Detector",),
        why="The time in which a breach must be told runs from knowing of it: governance.breach_notification_hours.",
        remedy="Leave the event rule and its target in infra/substrates/aws/alarms.py.",
        controls=MONITORING,
        judge=_findings,
    ),
    Rule(
        id="topic-read",
        title="Someone reads each topic of alarms",
        severity=_HIGH,
        types=("aws:sns/topic:Topic",),
        why="An alarm that no one hears is none.",
        remedy="Set governance.contacts in stacks/Pulumi.<stack>.yaml.",
        controls=MONITORING,
        judge=_reader,
    ),
    Rule(
        id="alarm-told",
        title="Alarms tell someone",
        severity=_HIGH,
        types=("aws:cloudwatch/metricAlarm:MetricAlarm",),
        why="An alarm that no one hears is none.",
        remedy="Leave alarm_actions in infra/substrates/aws/alarms.py.",
        controls=MONITORING,
        judge=_acted,
        known_as=("CKV_AWS_319",),
    ),
    Rule(
        id="alert-receivers",
        title="Alerts of the cluster reach a person",
        severity=_HIGH,
        types=("kubernetes:monitoring.coreos.com/v1alpha1:AlertmanagerConfig",),
        why="An alert that no one hears is none.",
        remedy="Set prometheus.routes in stacks/Pulumi.<stack>.yaml.",
        controls=MONITORING,
        judge=both(_routes, _severities),
    ),
    Rule(
        id="eks-logs",
        title="The cluster's control plane logs everything",
        severity=_HIGH,
        types=(_CLUSTER,),
        why="The audit log says who did what in the cluster.",
        remedy="Leave all log types in infra/substrates/aws/cluster.py.",
        controls=(*LOGGING, "cis-eks-2.1.1"),
        judge=has_all("enabledClusterLogTypes", "api", "audit", "authenticator", "controllerManager", "scheduler"),
        known_as=("CKV_AWS_37",),
    ),
    Rule(
        id="eks-log-group",
        title="The cluster's logs are the stack's own",
        severity=_MEDIUM,
        types=(_CLUSTER,),
        why="A group that EKS makes has no key and no end.",
        remedy="Leave the log group in infra/substrates/aws/cluster.py.",
        controls=LOGGING,
        judge=_cluster_logs,
    ),
    Rule(
        id="log-retention-year",
        title="Logs are kept for a year",
        severity=_MEDIUM,
        types=("aws:cloudwatch/logGroup:LogGroup",),
        why="Breaches are found months later.",
        remedy="Set governance.retention.logs in stacks/Pulumi.<stack>.yaml.",
        controls=LOGGING,
        judge=_retention,
        known_as=("CKV_AWS_338",),
    ),
    Rule(
        id="rds-logs",
        title="Databases keep their logs",
        severity=_MEDIUM,
        types=("aws:rds/instance:Instance", "aws:rds/cluster:Cluster"),
        why="They say who connected.",
        remedy="Leave enabled_cloudwatch_logs_exports in infra/substrates/aws/databases.py.",
        controls=LOGGING,
        judge=_database_logs,
        known_as=("CKV_AWS_129",),
    ),
    Rule(
        id="msk-logs",
        title="Brokers keep their logs",
        severity=_MEDIUM,
        types=("aws:msk/cluster:Cluster",),
        why="They say who connected.",
        remedy="Set logging_info in infra/substrates/aws.",
        controls=LOGGING,
        judge=_msk_logs,
        known_as=("CKV_AWS_80",),
    ),
    Rule(
        id="search-logs",
        title="Search domains record who read what",
        severity=_MEDIUM,
        types=("aws:opensearch/domain:Domain",),
        why="Logs hold identifiers, and reading them is reading personal data.",
        remedy="Publish AUDIT_LOGS in infra/substrates/aws.",
        controls=LOGGING,
        judge=_search_logs,
        known_as=("CKV_AWS_317",),
    ),
    Rule(
        id="flow-log-kept",
        title="Flow logs record what is refused, at least",
        severity=_MEDIUM,
        types=("aws:ec2/flowLog:FlowLog",),
        why="What was tried tells what will be tried.",
        remedy="Set substrate.network.flow_logs in stacks/Pulumi.<stack>.yaml.",
        controls=LOGGING,
        judge=among("trafficType", "ALL", "REJECT"),
    ),
    Rule(
        id="backup-vault-lock-time",
        title="What the vault locks is kept for a week or more",
        severity=_MEDIUM,
        types=("aws:backup/vaultLockConfiguration:VaultLockConfiguration",),
        why="Ransom is asked after the copies are gone.",
        remedy="Set substrate.backup.keep_days in stacks/Pulumi.<stack>.yaml.",
        controls=EVIDENCE,
        judge=at_least("minRetentionDays", 7),
    ),
)

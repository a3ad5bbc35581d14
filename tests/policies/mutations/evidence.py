"""Records of what happened, and that someone is told: PDPL article 9, ISO 27001 A.8.15, UAE IA T3.6 and T8."""

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    Document,
    Mutation,
    lose,
    put,
    remove,
    remove_all,
    text,
    unprotect,
)

CLUSTER, TRAIL, GROUP = "eks/cluster:Cluster", "cloudtrail/trail:Trail", "cloudwatch/logGroup:LogGroup"
LOCK = "s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
DETECTOR, FEATURE = "guardduty/detector:Detector", "guardduty/detectorFeature:DetectorFeature"
SUBSCRIPTION, ALARM = "sns/topicSubscription:TopicSubscription", "cloudwatch/metricAlarm:MetricAlarm"
CHART, CONFIG, DEPLOYMENT = "k8s/helm.sh/v4:Chart", "k8s/core/v1:ConfigMap", "k8s/apps/v1:Deployment"


def _without_management(inputs: Document) -> None:
    del inputs["advancedEventSelectors"][0]


def _without_inference_log(inputs: Document) -> None:
    command = inputs["spec"]["template"]["spec"]["containers"][0]["command"]
    at = command.index("--inference-log")
    del command[at : at + 2]


MUTATIONS = [
    Mutation(
        "cluster-audit-log-off",
        "cis-eks-2.1.1",
        "The cluster's audit log is off",
        CLOUD,
        put(CLUSTER, "cluster", "enabledClusterLogTypes", ["api", "authenticator", "controllerManager", "scheduler"]),
    ),
    Mutation(
        "cluster-logs-off",
        "cis-eks-2.1.1",
        "The cluster logs nothing",
        CLOUD,
        lose(CLUSTER, "cluster", "enabledClusterLogTypes"),
    ),
    Mutation("trail-gone", "ia-t3.6.2", "Nothing records who did what in the account", CLOUD, remove(TRAIL, "trail")),
    Mutation("trail-stopped", "ia-t3.6.2", "The trail is stopped", CLOUD, put(TRAIL, "trail", "enableLogging", False)),
    Mutation(
        "trail-not-validated",
        "ia-t3.6.4",
        "No one can show that the trail is whole",
        CLOUD,
        put(TRAIL, "trail", "enableLogFileValidation", False),
    ),
    Mutation(
        "trail-one-region",
        "ia-t3.6.2",
        "What happens in other regions is not recorded",
        CLOUD,
        put(TRAIL, "trail", "isMultiRegionTrail", False),
    ),
    Mutation(
        "trail-without-identities",
        "ia-t3.6.5",
        "Changes of identities are not recorded",
        CLOUD,
        put(TRAIL, "trail", "includeGlobalServiceEvents", False),
    ),
    Mutation(
        "trail-without-management",
        "ia-t3.6.5",
        "What administrators do is not recorded",
        (PROD,),
        lambda world: _without_management(world.inputs(TRAIL, "trail")),
    ),
    Mutation(
        "trail-without-objects",
        "ia-t3.6.2",
        "Who reads personal data is not recorded",
        (PROD,),
        lose(TRAIL, "trail", "advancedEventSelectors 1"),
    ),
    Mutation(
        "trail-in-unlocked-bucket",
        "ia-t3.6.4",
        "The trail is written to a bucket without a lock",
        CLOUD,
        put(TRAIL, "trail", "s3BucketName", "<aws:s3/bucket:Bucket::logs.id>"),
    ),
    Mutation("detector-gone", "iso-8.16", "Nothing looks for attacks", CLOUD, remove(DETECTOR, "guardduty")),
    Mutation(
        "detector-off", "iso-8.16", "The detector of attacks is off", CLOUD, put(DETECTOR, "guardduty", "enable", False)
    ),
    Mutation(
        "detector-without-cluster",
        "iso-8.16",
        "The detector does not look at the cluster",
        CLOUD,
        put(FEATURE, "EKS_AUDIT_LOGS", "status", "DISABLED"),
    ),
    Mutation(
        "detector-without-objects",
        "iso-8.16",
        "The detector does not look at buckets",
        CLOUD,
        remove(FEATURE, "S3_DATA_EVENTS"),
    ),
    Mutation(
        "recorder-gone",
        "iso-8.9",
        "Changes of settings are not recorded",
        CLOUD,
        remove("cfg/recorder:Recorder", "config"),
    ),
    Mutation(
        "recorder-stopped",
        "iso-8.9",
        "The recorder of settings is stopped",
        CLOUD,
        put("cfg/recorderStatus:RecorderStatus", "config", "isEnabled", False),
    ),
    Mutation(
        "recorder-in-part",
        "iso-8.9",
        "Not all kinds of settings are recorded",
        CLOUD,
        put("cfg/recorder:Recorder", "config", "recordingGroup allSupported", False),
    ),
    Mutation(
        "posture-gone",
        "iso-8.8",
        "No one judges the account's settings",
        (PROD,),
        remove("securityhub/account:Account", "security-hub"),
    ),
    Mutation(
        "posture-without-standards",
        "iso-8.8",
        "The account's settings are judged by no standard",
        (PROD,),
        remove_all("securityhub/standardsSubscription:StandardsSubscription"),
    ),
    Mutation("audit-not-locked", "ia-t3.6.4", "Audit records can be altered", CLOUD, remove(LOCK, "audit")),
    Mutation(
        "audit-bucket-without-lock",
        "ia-t3.6.4",
        "The audit bucket can have no lock",
        CLOUD,
        put("s3/bucket:Bucket", "audit", "objectLockEnabled", False),
    ),
    Mutation(
        "audit-lock-of-a-month",
        "iso-5.33",
        "Audit records are locked for a month alone",
        CLOUD,
        put(LOCK, "audit", "rule defaultRetention days", 30),
    ),
    Mutation(
        "audit-lock-weak",
        "iso-5.28",
        "An administrator can undo the lock of production's audit records",
        (PROD,),
        put(LOCK, "audit", "rule defaultRetention mode", "GOVERNANCE"),
    ),
    Mutation(
        "audit-not-versioned",
        "ia-t3.6.4",
        "Audit records can be overwritten",
        CLOUD,
        put("s3/bucketVersioning:BucketVersioning", "audit", "versioningConfiguration status", "Suspended"),
    ),
    Mutation(
        "audit-ends-early",
        "iso-5.33",
        "Audit records are deleted after three months",
        CLOUD,
        put("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "audit", "rules 0 expiration days", 90),
    ),
    Mutation(
        "audit-bucket-not-protected",
        "iso-5.33",
        "A destroy takes the audit records",
        CLOUD,
        unprotect("s3/bucket:Bucket", "audit"),
    ),
    Mutation(
        "log-kept-for-ever",
        "iso-8.10",
        "A log group has no retention",
        CLOUD,
        lose(GROUP, "cluster", "retentionInDays"),
    ),
    Mutation(
        "log-kept-a-week",
        "ia-t3.6.2",
        "The cluster's audit log is kept for a week",
        CLOUD,
        put(GROUP, "cluster", "retentionInDays", 7),
    ),
    Mutation(
        "flow-log-kept-a-week",
        "ia-t3.6.2",
        "Flow logs are kept for a week",
        CLOUD,
        put(GROUP, "flow-logs", "retentionInDays", 7),
    ),
    Mutation(
        "database-logs-off",
        "iso-8.15",
        "PostgreSQL's log stays in the database",
        CLOUD,
        lose("rds/instance:Instance", "postgresql", "enabledCloudwatchLogsExports"),
    ),
    Mutation(
        "database-sessions-not-logged",
        "iso-8.15",
        "Who connects to PostgreSQL is not logged",
        CLOUD,
        put("rds/parameterGroup:ParameterGroup", "postgresql", "parameters 0 value", "0"),
    ),
    Mutation(
        "database-log-group-gone",
        "iso-8.10",
        "The provider makes a log group without key or retention",
        (PROD,),
        remove(GROUP, "postgresql-postgresql"),
    ),
    Mutation(
        "kafka-logs-off",
        "iso-8.15",
        "Brokers log nothing",
        (PROD,),
        put("msk/cluster:Cluster", "kafka", "loggingInfo brokerLogs cloudwatchLogs enabled", False),
    ),
    Mutation(
        "search-audit-log-off",
        "iso-8.15",
        "Who reads the logs is not logged",
        (PROD,),
        lose("opensearch/domain:Domain", "search", "logPublishingOptions 0"),
    ),
    Mutation(
        "security-alarms-unread",
        "ia-t8",
        "No one is subscribed to what the detector finds",
        CLOUD,
        remove(SUBSCRIPTION, "security"),
    ),
    Mutation(
        "operations-alarms-unread",
        "iso-8.16",
        "No one is subscribed to alarms",
        CLOUD,
        remove(SUBSCRIPTION, "operations"),
    ),
    Mutation(
        "alarm-without-action",
        "iso-8.16",
        "An alarm tells no one",
        CLOUD,
        put(ALARM, "postgresql-storage", "alarmActions", []),
    ),
    Mutation(
        "alarm-switched-off",
        "iso-8.16",
        "An alarm is switched off",
        CLOUD,
        put(ALARM, "postgresql-cpu", "actionsEnabled", False),
    ),
    Mutation(
        "database-unwatched",
        "iso-8.16",
        "Nothing watches whether the database's disk fills",
        CLOUD,
        remove(ALARM, "postgresql-storage"),
    ),
    Mutation(
        "kafka-unwatched", "iso-8.16", "Nothing watches whether Kafka is away", (PROD,), remove(ALARM, "kafka-offline")
    ),
    Mutation("alarms-gone", "iso-8.16", "Nothing watches the managed stores", CLOUD, remove_all(ALARM)),
    Mutation(
        "findings-not-sent",
        "ia-t8",
        "What the detector finds goes nowhere",
        CLOUD,
        remove("cloudwatch/eventTarget:EventTarget", "guardduty"),
    ),
    Mutation(
        "findings-rule-off",
        "ia-t8",
        "The rule that passes findings on is off",
        CLOUD,
        put("cloudwatch/eventRule:EventRule", "guardduty", "state", "DISABLED"),
    ),
    Mutation(
        "findings-rule-gone",
        "ia-t8",
        "No rule passes findings on",
        CLOUD,
        remove("cloudwatch/eventRule:EventRule", "guardduty"),
    ),
    Mutation(
        "findings-most-severe-alone",
        "ia-t8",
        "Findings of high severity are not told",
        (PROD,),
        text("cloudwatch/eventRule:EventRule", "guardduty", "eventPattern", '[">=", 7]', '[">=", 9.5]'),
    ),
    Mutation(
        "alerts-without-route",
        "iso-8.16",
        "No route leads alerts to anyone",
        BOTH,
        put(CHART, "monitoring", "values alertmanager config route routes", []),
    ),
    Mutation(
        "alert-manager-off",
        "iso-8.16",
        "Nothing sends alerts",
        BOTH,
        put(CHART, "monitoring", "values alertmanager enabled", False),
    ),
    Mutation(
        "alert-rules-gone",
        "iso-8.16",
        "There is no rule for alerts",
        BOTH,
        put(CHART, "monitoring", "values additionalPrometheusRulesMap", {}),
    ),
    Mutation(
        "metrics-not-kept",
        "iso-8.16",
        "Metrics are gone with the pod that holds them",
        BOTH,
        lose(CHART, "monitoring", "values prometheus prometheusSpec storageSpec"),
    ),
    Mutation(
        "service-not-watched",
        "iso-8.16",
        "Nothing reads the metrics of the inference service",
        BOTH,
        remove("k8s/monitoring.coreos.com/v1:ServiceMonitor", "inference"),
    ),
    Mutation(
        "models-not-watched",
        "iso-8.16",
        "Nothing reads the metrics of models",
        BOTH,
        remove("k8s/monitoring.coreos.com/v1:PodMonitor", "models"),
    ),
    Mutation(
        "pod-logs-not-shipped", "iso-8.15", "Logs of pods are gone with their node", BOTH, remove(CHART, "fluent-bit")
    ),
    Mutation(
        "audit-log-of-steps-local",
        "pdpl-7-8",
        "Steps keep their audit log in a file of the pod",
        BOTH,
        put(CONFIG, "pipelines/falaj-platform", "data FALAJ_AUDIT_LOG", "/var/log/audit.jsonl"),
    ),
    Mutation(
        "audit-log-of-steps-gone",
        "pdpl-7-8",
        "Steps keep no audit log",
        BOTH,
        lose(CONFIG, "pipelines/falaj-platform", "data FALAJ_AUDIT_LOG"),
    ),
    Mutation(
        "lineage-gone",
        "pdpl-7-8",
        "Steps keep no lineage",
        BOTH,
        lose(CONFIG, "pipelines/falaj-platform", "data FALAJ_LINEAGE_LOG"),
    ),
    Mutation(
        "answers-not-logged",
        "pdpl-18",
        "Answers of models are not recorded",
        BOTH,
        lambda world: _without_inference_log(world.inputs(DEPLOYMENT, "inference")),
    ),
    Mutation(
        "answers-of-runtime-not-logged",
        "pdpl-18",
        "Answers of models on KServe are not recorded",
        BOTH,
        put(
            "k8s/serving.kserve.io/v1alpha1:ClusterServingRuntime",
            "falaj-onnx",
            "spec containers 0 args",
            ["--host=0.0.0.0", "--http-port=8080"],
        ),
    ),
    Mutation(
        "step-logs-not-kept",
        "iso-8.15",
        "Logs of steps are not kept",
        CLOUD,
        text(
            CONFIG,
            "pipelines/workflow-controller-configmap",
            "data artifactRepository",
            '"archiveLogs": true',
            '"archiveLogs": false',
        ),
    ),
    Mutation(
        "log-shipper-loses",
        "iso-8.15",
        "The shipper gives up a log that it could not send",
        BOTH,
        text(CHART, "fluent-bit", "values config outputs", "Retry_Limit no_limits", "Retry_Limit no_retries"),
    ),
]

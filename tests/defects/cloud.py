"""Stores, the cluster and what AWS asks of them."""

from typing import Any

from tests.defects.model import PROD, Defect, Document, all_of, document_of
from tests.policies.mutations.world import add, append, lose, put, remove, text, within

DATABASE, PARAMETERS = "rds/instance:Instance", "rds/parameterGroup:ParameterGroup"
PLACES, CACHE, USERS = (
    "rds/subnetGroup:SubnetGroup",
    "elasticache/replicationGroup:ReplicationGroup",
    "elasticache/userGroup:UserGroup",
)
SEARCH, KAFKA, BUCKET = "opensearch/domain:Domain", "msk/cluster:Cluster", "s3/bucket:Bucket"
ADDON, NODES, CLUSTER = "eks/addon:Addon", "eks/nodeGroup:NodeGroup", "eks/cluster:Cluster"
POOL, CLASS = "k8s/karpenter.sh/v1:NodePool", "k8s/karpenter.k8s.aws/v1:EC2NodeClass"
REPOSITORY = "docker.io/envoyproxy/envoy"


def _cold(document: Document) -> None:
    document["lifecycle"] = {"coldStorageAfter": 30, "deleteAfter": 60}


def _same_priority(document: Document) -> None:
    document["rules"].append(document["rules"][0])


def _late(rule: Any) -> None:
    rule["transitions"] = [{"days": 2000, "storageClass": "GLACIER"}]


def _soon(rule: Any) -> None:
    rule["transitions"] = [{"days": 7, "storageClass": "STANDARD_IA"}]


DATABASES = [
    Defect(
        "parameters-of-older",
        "Parameters of another version than the engine's",
        PROD,
        put(PARAMETERS, "postgresql", "family", "postgres16"),
        "https://github.com/cloud-gov/aws-broker/pull/283",
    ),
    Defect(
        "parameter-of-another",
        "A parameter that the engine does not have",
        PROD,
        append(
            PARAMETERS,
            "postgresql",
            "parameters",
            {"applyMethod": "immediate", "name": "require_secure_transport", "value": "1"},
        ),
    ),
    Defect(
        "parameter-at-once",
        "A parameter that needs a restart is set at once",
        PROD,
        append(
            PARAMETERS,
            "postgresql",
            "parameters",
            {"applyMethod": "immediate", "name": "max_connections", "value": "500"},
        ),
        "https://github.com/terraform-aws-modules/terraform-aws-rds/issues/582",
    ),
    Defect(
        "parameters-not-there",
        "A database with parameters that are not there",
        PROD,
        put(DATABASE, "postgresql", "parameterGroupName", "falaj-prod-postgresql-16"),
    ),
    Defect(
        "engine-not-there",
        "A version of the engine that there is not",
        PROD,
        put(DATABASE, "postgresql", "engineVersion", "17.99"),
    ),
    Defect(
        "master-reserved",
        "A database whose first user has a reserved name",
        PROD,
        put(DATABASE, "postgresql", "username", "rdsadmin"),
    ),
    Defect(
        "last-snapshot-unnamed",
        "A database that cannot be deleted: its last snapshot has no name",
        PROD,
        lose(DATABASE, "postgresql", "finalSnapshotIdentifier"),
    ),
    Defect(
        "windows-overlap",
        "Backup and maintenance at the same time",
        PROD,
        put(DATABASE, "postgresql", "backupWindow", "22:30-23:30"),
    ),
    Defect(
        "database-in-one-zone",
        "A database's subnets are in one zone",
        PROD,
        put(PLACES, "postgresql", "subnetIds", ["<aws:ec2/subnet:Subnet::isolated-mec1-az1.id>"]),
    ),
    Defect(
        "database-nowhere",
        "A database in subnets that are not there",
        PROD,
        put(DATABASE, "postgresql", "dbSubnetGroupName", "falaj-prod-postgres"),
    ),
    Defect(
        "database-log-unknown",
        "A database exports a log that its engine does not write",
        PROD,
        put(DATABASE, "postgresql", "enabledCloudwatchLogsExports", ["postgresql", "slowquery"]),
    ),
    Defect(
        "disk-too-small",
        "A disk below what its type begins with",
        PROD,
        put(DATABASE, "postgresql", "allocatedStorage", 10),
    ),
]
CACHES = [
    Defect(
        "failover-without-replica",
        "A cache that fails over to no one",
        PROD,
        put(CACHE, "cache", "replicasPerNodeGroup", 0),
    ),
    Defect(
        "cache-name-too-long",
        "A cache with a name of more than 40 characters",
        PROD,
        put(CACHE, "cache", "replicationGroupId", "falaj-prod-cache-of-the-online-features-of-all"),
    ),
    Defect(
        "users-of-another-engine", "Users of Redis for a cache of Valkey", PROD, put(USERS, "cache", "engine", "redis")
    ),
    Defect(
        "users-without-default",
        "Users of whom none is the default",
        PROD,
        put(USERS, "cache", "userIds", ["falaj-prod-cache-features"]),
    ),
    Defect(
        "cache-windows-overlap",
        "Snapshot and maintenance at the same time",
        PROD,
        put(CACHE, "cache", "snapshotWindow", "22:00-23:00"),
    ),
    Defect(
        "search-in-too-many-zones",
        "Fewer nodes of OpenSearch than zones",
        PROD,
        put(SEARCH, "search", "clusterConfig instanceCount", 2),
    ),
    Defect(
        "search-name-too-long",
        "A domain with a name of more than 28 characters",
        PROD,
        put(SEARCH, "search", "domainName", "falaj-prod-logs-of-the-cluster"),
    ),
    Defect(
        "search-version-not-there",
        "A version of OpenSearch that there is not",
        PROD,
        put(SEARCH, "search", "engineVersion", "OpenSearch_9.19"),
    ),
    Defect(
        "brokers-uneven",
        "Brokers that are no multiple of the zones",
        PROD,
        put(KAFKA, "kafka", "numberOfBrokerNodes", 4),
    ),
    Defect(
        "kafka-of-two-versions",
        "Settings of another version of Kafka than the cluster's",
        PROD,
        put("msk/configuration:Configuration", "kafka", "kafkaVersions", ["3.6.0"]),
    ),
]
OBJECTS = [
    Defect(
        "bucket-in-capitals",
        "A bucket with capitals in its name",
        PROD,
        put(BUCKET, "artifacts", "bucket", "Falaj-prod-444455556666-artifacts"),
    ),
    Defect(
        "bucket-name-too-long",
        "A bucket with a name of more than 63 characters",
        PROD,
        put(BUCKET, "artifacts", "bucket", "falaj-prod-444455556666-artifacts-of-models-pipelines-and-backups"),
    ),
    Defect(
        "bucket-twice", "Two buckets of one name", PROD, put(BUCKET, "curated", "bucket", "falaj-prod-444455556666-raw")
    ),
    Defect(
        "bucket-of-no-account",
        "A bucket with a name that someone else has by now",
        PROD,
        put(BUCKET, "artifacts", "bucket", "artifacts"),
    ),
    Defect(
        "lock-without-versions",
        "A bucket that locks objects, and keeps no versions",
        PROD,
        put("s3/bucketVersioning:BucketVersioning", "audit", "versioningConfiguration status", "Suspended"),
    ),
    Defect(
        "two-bucket-policies",
        "Two policies of one bucket: each up undoes the other",
        PROD,
        add(
            "s3/bucketPolicy:BucketPolicy",
            "raw-again",
            {"bucket": "<aws:s3/bucket:Bucket::raw.id>", "policy": '{"Version": "2012-10-17", "Statement": []}'},
        ),
    ),
    Defect(
        "kept-after-deletion",
        "Objects move to another class after they are deleted",
        PROD,
        document_of("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "artifacts", "rules 0", _late),
    ),
    Defect(
        "moved-too-soon",
        "Objects move to infrequent access in a week, where 30 days are the least",
        PROD,
        document_of("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "artifacts", "rules 0", _soon),
    ),
    Defect(
        "key-of-another-region",
        "A bucket with a key of another region",
        PROD,
        put(
            "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            "raw",
            "rules 0 applyServerSideEncryptionByDefault kmsMasterKeyId",
            "arn:aws:kms:me-south-1:444455556666:key/11111111-2222-3333-4444-555555555555",
        ),
    ),
    Defect(
        "key-soon-gone",
        "A key that is deleted in three days, where seven are the least",
        PROD,
        put("kms/key:Key", "raw", "deletionWindowInDays", 3),
    ),
    Defect(
        "alias-without-prefix",
        "A key's alias that does not begin with alias/",
        PROD,
        put("kms/alias:Alias", "raw", "name", "falaj-prod/raw"),
    ),
    Defect(
        "alias-twice", "Two keys with one alias", PROD, put("kms/alias:Alias", "raw", "name", "alias/falaj-prod/logs")
    ),
    Defect(
        "log-days-refused",
        "A log group with a retention that CloudWatch does not know",
        PROD,
        put("cloudwatch/logGroup:LogGroup", "flow-logs", "retentionInDays", 500),
    ),
    Defect(
        "log-group-twice",
        "Two log groups of one name",
        PROD,
        put("cloudwatch/logGroup:LogGroup", "flow-logs", "name", "/falaj-prod/kafka"),
    ),
    Defect(
        "images-rule-twice",
        "Two rules of a registry with one priority",
        PROD,
        within("ecr/lifecyclePolicy:LifecyclePolicy", REPOSITORY, "policy", _same_priority),
    ),
    Defect(
        "cold-too-briefly",
        "A backup that leaves cold storage before 90 days",
        PROD,
        document_of("backup/plan:Plan", "daily", "rules 0", _cold),
    ),
    Defect(
        "backup-of-five-fields",
        "A backup's schedule has five fields, where AWS takes six",
        PROD,
        put("backup/plan:Plan", "daily", "rules 0 schedule", "cron(0 20 * * *)"),
    ),
    Defect(
        "backup-to-no-vault",
        "A backup to a vault that is not there",
        PROD,
        put("backup/plan:Plan", "daily", "rules 0 targetVaultName", "falaj-production"),
    ),
    Defect(
        "budget-in-other-currency",
        "A budget in dirhams, where AWS bills dollars",
        PROD,
        put("budgets/budget:Budget", "monthly", "limitUnit", "AED"),
    ),
    Defect(
        "alarm-every-45-seconds",
        "An alarm over a period that there is not",
        PROD,
        put("cloudwatch/metricAlarm:MetricAlarm", "postgresql-cpu", "period", 45),
    ),
    Defect(
        "alarm-on-nothing",
        "An alarm on a database that is not there",
        PROD,
        put(
            "cloudwatch/metricAlarm:MetricAlarm",
            "postgresql-cpu",
            "dimensions DBInstanceIdentifier",
            "falaj-prod-postgres",
        ),
    ),
    Defect(
        "event-of-no-rule",
        "Events are sent on by a rule that is not there",
        PROD,
        put("cloudwatch/eventTarget:EventTarget", "interruption-spot", "rule", "falaj-prod-spot"),
    ),
    Defect(
        "event-pattern-no-json",
        "A pattern of events that is no JSON",
        PROD,
        text("cloudwatch/eventRule:EventRule", "interruption-spot", "eventPattern", "}", ""),
    ),
    Defect(
        "role-name-too-long",
        "A role with a name of more than 64 characters",
        PROD,
        put(
            "iam/role:Role",
            "serving-models",
            "name",
            "falaj-prod-serving-models-of-the-emirate-of-abu-dhabi-and-of-dubai",
        ),
    ),
    Defect(
        "role-name-twice",
        "Two roles of one name",
        PROD,
        put("iam/role:Role", "serving-models", "name", "falaj-prod-spark-spark"),
    ),
    Defect(
        "role-described-in-arabic",
        "A role with a description that IAM does not take",
        PROD,
        put("iam/role:Role", "serving-models", "description", "دور النماذج"),
    ),
    Defect(
        "secret-name-odd",
        "A secret with a name that Secrets Manager does not take",
        PROD,
        put("secretsmanager/secret:Secret", "cache", "name", "falaj-prod:cache"),
    ),
    Defect(
        "provider-elsewhere",
        "The provider works in another region",
        PROD,
        put("pulumi:providers:aws", "aws", "region", "me-south-1"),
    ),
]
MACHINES = [
    Defect(
        "addon-of-older",
        "An addon that is not for the cluster's version",
        PROD,
        put(ADDON, "vpc-cni", "addonVersion", "v1.12.0-eksbuild.1"),
    ),
    Defect(
        "addon-not-there",
        "An addon that there is not",
        PROD,
        put(ADDON, "aws-ebs-csi-driver", "addonName", "aws-ebs-csi"),
    ),
    Defect(
        "addon-setting-misspelt",
        "An addon with a setting that it does not have",
        PROD,
        text(ADDON, "vpc-cni", "configurationValues", "enableNetworkPolicy", "enableNetworkPolicies"),
    ),
    Defect(
        "nodes-newer-than-cluster",
        "Machines of a newer version than the cluster's",
        PROD,
        put(NODES, "system", "version", "1.36"),
    ),
    Defect(
        "cluster-version-gone",
        "A version of the cluster that EKS no longer makes",
        PROD,
        put(CLUSTER, "cluster", "version", "1.24"),
    ),
    Defect(
        "image-of-other-architecture",
        "Machines with Intel's processors and an image for ARM's",
        PROD,
        put(NODES, "system", "amiType", "AL2023_ARM_64_STANDARD"),
    ),
    Defect(
        "desired-above-maximum",
        "More machines than the most",
        PROD,
        put(NODES, "system", "scalingConfig desiredSize", 9),
    ),
    Defect(
        "pool-of-no-class",
        "A pool whose class of machines is not there",
        PROD,
        put(POOL, "inference-gpu", "spec template spec nodeClassRef name", "gpu"),
    ),
    Defect(
        "pool-contradicts-itself",
        "A pool of ARM machines with types of Intel's",
        PROD,
        put(POOL, "inference-gpu", "spec template spec requirements 3 values", ["arm64"]),
    ),
    Defect(
        "pool-of-nothing", "A pool that may have no processor", PROD, put(POOL, "inference-gpu", "spec limits cpu", "0")
    ),
    Defect(
        "pool-of-older-version",
        "A pool of a version of the API that is gone",
        PROD,
        put(POOL, "inference-gpu", "apiVersion", "karpenter.sh/v1beta1"),
    ),
    Defect(
        "class-finds-no-subnet",
        "Machines in subnets that no subnet is marked for",
        PROD,
        put(CLASS, "inference-gpu-class", "spec subnetSelectorTerms 0 tags karpenter.sh/discovery", "falaj-production"),
        "https://github.com/aws/karpenter-provider-aws/issues/3218",
    ),
    Defect(
        "class-of-no-profile",
        "Machines with a profile that is not there",
        PROD,
        put(CLASS, "inference-gpu-class", "spec instanceProfile", "falaj-prod-node"),
    ),
    Defect(
        "class-of-any-image",
        "Machines without an image to start from",
        PROD,
        lose(CLASS, "inference-gpu-class", "spec amiSelectorTerms"),
    ),
    Defect(
        "karpenter-of-no-cluster",
        "Karpenter works for a cluster that is not there",
        PROD,
        put("k8s/helm.sh/v4:Chart", "karpenter", "values settings clusterName", "falaj-production"),
        "https://github.com/aws/karpenter-provider-aws/issues/2423",
    ),
    Defect(
        "karpenter-of-no-queue",
        "Karpenter listens to a queue that is not there",
        PROD,
        put("k8s/helm.sh/v4:Chart", "karpenter", "values settings interruptionQueue", "falaj-prod-interruption"),
    ),
    Defect(
        "balancers-of-no-cluster",
        "The load balancer controller works for a cluster that is not there",
        PROD,
        put("k8s/helm.sh/v4:Chart", "aws-load-balancer-controller", "values clusterName", "falaj-production"),
    ),
    Defect("system-without-machines", "No machines for what starts all others", PROD, all_of(remove(NODES, "system"))),
]

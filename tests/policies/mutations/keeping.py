"""What is lost, kept too long, or away: PDPL articles 5, 13 to 17 and 20, ISO 27001 A.8.10, A.8.13 and A.8.14."""

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    SITE,
    Document,
    Mutation,
    World,
    add,
    append,
    lose,
    put,
    remove,
    text,
    unprotect,
)

DATABASE, CACHE, BUCKET = "rds/instance:Instance", "elasticache/replicationGroup:ReplicationGroup", "s3/bucket:Bucket"
ENDS = "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
VERSIONS = "s3/bucketVersioning:BucketVersioning"
PLAN, VAULT, LOCK = "backup/plan:Plan", "backup/vault:Vault", "backup/vaultLockConfiguration:VaultLockConfiguration"
CHART, DEPLOYMENT = "k8s/helm.sh/v4:Chart", "k8s/apps/v1:Deployment"
SEARCH, KAFKA, SCALER = "opensearch/domain:Domain", "msk/cluster:Cluster", "k8s/keda.sh/v1alpha1:ScaledObject"


def _zones(inputs: Document) -> None:
    for one in inputs["spec"]["template"]["spec"]["requirements"]:
        if one["key"] == "topology.k8s.aws/zone-id":
            one["values"] = one["values"][:1]


def _one_nat(world: World) -> None:
    for zone in ("mec1-az2", "mec1-az3"):
        route = world.inputs("ec2/route:Route", f"private-{zone}")
        route["natGatewayId"] = "<aws:ec2/natGateway:NatGateway::nat-mec1-az1.id>"


BACKUP = [
    Mutation(
        "database-without-backups",
        "ia-t3.5.1",
        "The database has no backups",
        CLOUD,
        put(DATABASE, "postgresql", "backupRetentionPeriod", 0),
    ),
    Mutation(
        "database-backups-of-a-day",
        "ia-t3.5.1",
        "Backups of production's database are kept a day",
        (PROD,),
        put(DATABASE, "postgresql", "backupRetentionPeriod", 1),
    ),
    Mutation(
        "database-deleted-by-accident",
        "iso-8.13",
        "The database can be deleted by one call",
        CLOUD,
        put(DATABASE, "postgresql", "deletionProtection", False),
    ),
    Mutation(
        "database-without-last-snapshot",
        "iso-8.13",
        "A deleted database leaves no snapshot",
        CLOUD,
        put(DATABASE, "mysql", "skipFinalSnapshot", True),
    ),
    Mutation(
        "database-backups-deleted-with-it",
        "iso-8.13",
        "A deleted database takes its backups with it",
        CLOUD,
        put(DATABASE, "postgresql", "deleteAutomatedBackups", True),
    ),
    Mutation(
        "database-not-protected", "iso-8.13", "A destroy takes the database", CLOUD, unprotect(DATABASE, "postgresql")
    ),
    Mutation(
        "database-not-in-backup-plan",
        "ia-t3.5.1",
        "A database is in no plan of backups",
        CLOUD,
        lambda world: world.inputs("backup/selection:Selection", "stores").update(
            resources=["<aws:rds/instance:Instance::mysql.arn>"]
        ),
    ),
    Mutation(
        "backup-selects-nothing",
        "ia-t3.5.1",
        "The plan of backups selects nothing",
        CLOUD,
        remove("backup/selection:Selection", "stores"),
    ),
    Mutation("backup-plan-gone", "ia-t3.5.1", "There is no plan of backups", CLOUD, remove(PLAN, "daily")),
    Mutation(
        "backup-kept-a-day",
        "iso-8.13",
        "Backups are kept for a day",
        CLOUD,
        put(PLAN, "daily", "rules 0 lifecycle deleteAfter", 1),
    ),
    Mutation("backup-vault-not-locked", "iso-8.13", "Backups can be deleted", CLOUD, remove(LOCK, "vault")),
    Mutation(
        "backup-vault-lock-of-a-day",
        "iso-8.13",
        "Backups can be deleted after a day",
        (PROD,),
        put(LOCK, "vault", "minRetentionDays", 1),
    ),
    Mutation(
        "backup-vault-emptied",
        "iso-8.13",
        "A destroy empties the vault",
        CLOUD,
        put(VAULT, "vault", "forceDestroy", True),
    ),
    Mutation(
        "backup-vault-copies-anywhere",
        "iso-8.12",
        "Nothing keeps backups from being copied elsewhere",
        CLOUD,
        remove("backup/vaultPolicy:VaultPolicy", "vault"),
    ),
    Mutation(
        "cache-without-snapshots",
        "ia-t3.5.1",
        "The cache has no snapshots",
        (PROD,),
        put(CACHE, "cache", "snapshotRetentionLimit", 0),
    ),
    Mutation(
        "bucket-not-versioned",
        "iso-8.13",
        "What is overwritten in a bucket is gone",
        CLOUD,
        put(VERSIONS, "raw", "versioningConfiguration status", "Suspended"),
    ),
    Mutation(
        "bucket-versioning-gone",
        "iso-8.13",
        "Nothing says that a bucket keeps versions",
        CLOUD,
        remove(VERSIONS, "artifacts"),
    ),
    Mutation(
        "bucket-emptied", "iso-8.13", "A destroy empties a bucket", CLOUD, put(BUCKET, "raw", "forceDestroy", True)
    ),
    Mutation("bucket-not-protected", "iso-8.13", "A destroy takes a bucket", CLOUD, unprotect(BUCKET, "curated")),
    Mutation(
        "cluster-deleted-by-accident",
        "iso-8.13",
        "The cluster can be deleted by one call",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "deletionProtection", False),
    ),
    Mutation(
        "secret-gone-at-once",
        "iso-8.13",
        "A deleted secret is gone at once",
        CLOUD,
        put("secretsmanager/secret:Secret", "pseudonym", "recoveryWindowInDays", 0),
    ),
    Mutation(
        "images-emptied",
        "iso-8.13",
        "A destroy takes images that run",
        (PROD,),
        put("ecr/repository:Repository", "docker.io/grafana/grafana", "forceDelete", True),
    ),
    Mutation(
        "cluster-backup-gone", "ia-t3.5.1", "Nothing backs the cluster's objects up", BOTH, remove(CHART, "velero")
    ),
    Mutation(
        "cluster-backup-without-schedule",
        "ia-t3.5.1",
        "The cluster is backed up when someone asks alone",
        BOTH,
        put(CHART, "velero", "values schedules", {}),
    ),
    Mutation(
        "cluster-backup-paused",
        "ia-t3.5.1",
        "The cluster's backups are paused",
        BOTH,
        put(CHART, "velero", "values schedules daily disabled", True),
    ),
    Mutation(
        "cluster-backup-without-services",
        "ia-t3.5.1",
        "The namespace of our services is not backed up",
        BOTH,
        put(CHART, "velero", "values schedules daily template includedNamespaces", ["monitoring"]),
    ),
    Mutation(
        "cluster-backup-read-only",
        "ia-t3.5.1",
        "The place of backups takes none",
        BOTH,
        put("k8s/velero.io/v1:BackupStorageLocation", "default", "spec accessMode", "ReadOnly"),
    ),
]
RETENTION = [
    Mutation("bucket-never-ends", "ia-t1.3.1", "Raw data are kept for ever", CLOUD, remove(ENDS, "raw")),
    Mutation(
        "bucket-rule-disabled",
        "iso-8.10",
        "The rule that ends raw data is disabled",
        CLOUD,
        put(ENDS, "raw", "rules 0 status", "Disabled"),
    ),
    Mutation(
        "bucket-ends-late",
        "pdpl-5",
        "Raw data are kept ten years, and their retention is one",
        CLOUD,
        put(ENDS, "raw", "rules 0 expiration days", 3650),
    ),
    Mutation(
        "bucket-does-not-expire",
        "pdpl-5",
        "Features do not expire",
        CLOUD,
        lose(ENDS, "features", "rules 0 expiration"),
    ),
    Mutation(
        "bucket-ends-in-part",
        "pdpl-5",
        "Only a part of the raw data ends",
        CLOUD,
        put(ENDS, "raw", "rules 0 filter", {"prefix": "tmp/"}),
    ),
    Mutation(
        "bucket-versions-kept",
        "pdpl-13-17",
        "What is erased lives on as an old version",
        CLOUD,
        lose(ENDS, "raw", "rules 0 noncurrentVersionExpiration"),
    ),
    Mutation(
        "bucket-versions-kept-for-years",
        "pdpl-13-17",
        "What is erased lives on for five years",
        (PROD,),
        put(ENDS, "curated", "rules 0 noncurrentVersionExpiration noncurrentDays", 1825),
    ),
    Mutation(
        "bucket-parts-kept",
        "iso-8.10",
        "Parts of uploads that broke off are kept for ever",
        CLOUD,
        lose(ENDS, "raw", "rules 0 abortIncompleteMultipartUpload"),
    ),
    Mutation(
        "bucket-personal-data-locked",
        "gdpr-17",
        "A lock keeps personal data from being erased",
        CLOUD,
        add(
            "s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
            "raw",
            {
                "bucket": "<aws:s3/bucket:Bucket::raw.id>",
                "rule": {"defaultRetention": {"mode": "COMPLIANCE", "days": 300}},
            },
        ),
    ),
    Mutation(
        "bucket-class-unsaid",
        "ia-t1.3.1",
        "A bucket does not say what data it holds",
        CLOUD,
        lose(BUCKET, "raw", "tags data-class"),
    ),
    Mutation(
        "bucket-retention-unsaid",
        "ia-t1.3.1",
        "A bucket does not say how long its data are kept",
        CLOUD,
        lose(BUCKET, "raw", "tags retention"),
    ),
    Mutation(
        "database-class-unsaid",
        "ia-t1.2.1",
        "A database does not say what data it holds",
        CLOUD,
        lose(DATABASE, "postgresql", "tags"),
    ),
    Mutation(
        "backup-kept-ten-years",
        "pdpl-5",
        "Backups outlive the data's retention by years",
        CLOUD,
        put(PLAN, "daily", "rules 0 lifecycle deleteAfter", 3650),
    ),
    Mutation(
        "cluster-backup-kept-ten-years",
        "pdpl-5",
        "The cluster's backups are kept for ten years",
        (PROD, SITE),
        put(CHART, "velero", "values schedules daily template ttl", "87600h"),
    ),
    Mutation(
        "log-store-never-ends",
        "iso-8.10",
        "The log store keeps logs for ever",
        (SITE,),
        put(CHART, "loki", "values loki compactor retention_enabled", False),
    ),
    Mutation(
        "log-store-without-period",
        "iso-8.10",
        "The log store has no period of retention",
        (SITE,),
        lose(CHART, "loki", "values loki limits_config retention_period"),
    ),
    Mutation(
        "topics-never-end",
        "pdpl-5",
        "Records of topics are kept for ever",
        (PROD,),
        text(
            "msk/configuration:Configuration",
            "kafka",
            "serverProperties",
            "auto.create.topics.enable=false\n",
            "auto.create.topics.enable=false\nlog.retention.ms=-1\n",
        ),
    ),
    Mutation(
        "runs-never-end",
        "pdpl-5",
        "Pods and results of runs are kept for ever",
        BOTH,
        text(
            "k8s/core/v1:ConfigMap",
            "pipelines/workflow-controller-configmap",
            "data workflowDefaults",
            '"ttlStrategy": {"secondsAfterCompletion": 2592000}, ',
            "",
        ),
    ),
]
AVAILABILITY = [
    Mutation(
        "database-in-one-zone",
        "iso-8.14",
        "Production's database has no standby",
        (PROD,),
        put(DATABASE, "postgresql", "multiAz", False),
    ),
    Mutation(
        "database-disk-cannot-grow",
        "iso-8.6",
        "The database stops when its disk is full",
        CLOUD,
        lose(DATABASE, "postgresql", "maxAllocatedStorage"),
    ),
    Mutation(
        "cache-without-failover",
        "iso-8.14",
        "The cache does not fail over",
        (PROD,),
        put(CACHE, "cache", "automaticFailoverEnabled", False),
    ),
    Mutation(
        "cache-in-one-zone",
        "iso-8.14",
        "The cache's copies may be in one zone",
        (PROD,),
        put(CACHE, "cache", "multiAzEnabled", False),
    ),
    Mutation(
        "cache-without-replicas",
        "iso-8.14",
        "The cache has no copies",
        (PROD,),
        put(CACHE, "cache", "replicasPerNodeGroup", 0),
    ),
    Mutation(
        "search-in-one-zone",
        "iso-8.14",
        "The log search is in one zone",
        (PROD,),
        put(SEARCH, "search", "clusterConfig zoneAwarenessEnabled", False),
    ),
    Mutation(
        "kafka-one-copy",
        "iso-8.14",
        "Topics have one copy",
        (PROD,),
        text(
            "msk/configuration:Configuration",
            "kafka",
            "serverProperties",
            "default.replication.factor=3",
            "default.replication.factor=1",
        ),
    ),
    Mutation(
        "kafka-loses-records",
        "iso-8.13",
        "Kafka prefers to lose records",
        (PROD,),
        text(
            "msk/configuration:Configuration",
            "kafka",
            "serverProperties",
            "unclean.leader.election.enable=false",
            "unclean.leader.election.enable=true",
        ),
    ),
    Mutation(
        "cluster-in-one-zone",
        "ia-t9",
        "The cluster is in one zone",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "vpcConfig subnetIds", ["<aws:ec2/subnet:Subnet::private-mec1-az1.id>"]),
    ),
    Mutation(
        "system-nodes-in-one-zone",
        "ia-t9",
        "System nodes are in one zone",
        CLOUD,
        put("eks/nodeGroup:NodeGroup", "system", "subnetIds", ["<aws:ec2/subnet:Subnet::private-mec1-az1.id>"]),
    ),
    Mutation(
        "system-single-node",
        "iso-8.14",
        "One system node runs what starts all others",
        CLOUD,
        put("eks/nodeGroup:NodeGroup", "system", "scalingConfig", {"desiredSize": 1, "maxSize": 1, "minSize": 1}),
    ),
    Mutation(
        "pool-in-one-zone",
        "iso-8.14",
        "The services' pool is in one zone",
        CLOUD,
        lambda world: _zones(world.inputs("k8s/karpenter.sh/v1:NodePool", "services")),
    ),
    Mutation("nat-shared-by-zones", "iso-8.14", "Three zones go out by one, which may be away", (PROD,), _one_nat),
    Mutation(
        "service-single-replica",
        "iso-8.14",
        "Production's inference may have one replica",
        (PROD, SITE),
        put(SCALER, "inference", "spec minReplicaCount", 1),
    ),
    Mutation(
        "service-drained-at-once",
        "iso-8.14",
        "An upgrade of nodes may take all replicas at once",
        BOTH,
        remove("k8s/policy/v1:PodDisruptionBudget", "inference"),
    ),
    Mutation(
        "service-cannot-be-drained",
        "iso-8.14",
        "An upgrade of nodes waits for ever",
        (PROD, SITE),
        put("k8s/policy/v1:PodDisruptionBudget", "inference", "spec maxUnavailable", 0),
    ),
    Mutation(
        "service-on-one-node",
        "iso-8.14",
        "All replicas may be on one node",
        (PROD, SITE),
        lose(DEPLOYMENT, "inference", "spec template spec topologySpreadConstraints"),
    ),
    Mutation(
        "service-recreated",
        "iso-8.14",
        "Each update stops the service",
        BOTH,
        put(DEPLOYMENT, "inference", "spec strategy", {"type": "Recreate"}),
    ),
    Mutation(
        "gateway-single-proxy",
        "iso-8.14",
        "Production's gateway may have one proxy",
        (PROD, SITE),
        put(
            "k8s/gateway.envoyproxy.io/v1alpha1:EnvoyProxy", "falaj", "spec provider kubernetes envoyHpa minReplicas", 1
        ),
    ),
    Mutation(
        "admission-single-replica",
        "iso-8.14",
        "Nothing can be deployed while one pod is away",
        (PROD, SITE),
        put(CHART, "kyverno", "values admissionController replicas", 1),
    ),
    Mutation(
        "interruptions-unheard",
        "iso-8.14",
        "Machines that the provider takes back stop without notice",
        CLOUD,
        lose(CHART, "karpenter", "values settings interruptionQueue"),
    ),
    Mutation(
        "services-on-spot",
        "iso-8.14",
        "Services run on machines that are taken back at any time",
        CLOUD,
        append(
            "k8s/karpenter.sh/v1:NodePool",
            "services",
            "spec template spec requirements",
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        ),
    ),
]

"""Data that would leave the country: PDPL articles 22 and 23, the Central Bank's and the health sector's rules."""

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    SITE,
    SMB,
    Document,
    Mutation,
    add,
    append,
    grant,
    lose,
    policy,
    put,
    say,
    set_at,
    text,
    variable,
    within,
)

FRANKFURT, BAHRAIN, IRELAND = "eu-central-1", "me-south-1", "eu-west-1"
ACCOUNT = "444455556666"
RAW = f"arn:aws:s3:::falaj-prod-{ACCOUNT}-raw"
POSTGRESQL = "<aws:rds/instance:Instance::postgresql.arn>"


def _copy_abroad(region: str) -> Document:
    vault = f"arn:aws:backup:{region}:{ACCOUNT}:backup-vault:copies"
    return {"destinationVaultArn": vault, "lifecycle": {"deleteAfter": 35}}


def _foreign_shipper(document: Document) -> None:
    document["endpoint"] = f"s3.{FRANKFURT}.amazonaws.com"


def _foreign_launcher(document: Document) -> None:
    set_at(document, "s3 default endpoint", f"s3.{FRANKFURT}.amazonaws.com")


ENV = "spec template spec containers 0 env"
SPEC = "values prometheus prometheusSpec"
MUTATIONS = [
    Mutation(
        "provider-frankfurt",
        "pdpl-22",
        "All resources are made in Frankfurt",
        CLOUD,
        put("pulumi:providers:aws", "aws", "region", FRANKFURT),
    ),
    Mutation(
        "provider-bahrain",
        "pdpl-23",
        "All resources are made in Bahrain",
        (PROD,),
        put("pulumi:providers:aws", "aws", "region", BAHRAIN),
    ),
    Mutation(
        "provider-second-abroad",
        "pdpl-22",
        "A second provider works in Ireland",
        (SMB,),
        add("pulumi:providers:aws", "abroad", {"region": IRELAND}),
    ),
    Mutation(
        "bucket-region-abroad",
        "pdpl-22",
        "One bucket names a region of its own, in Frankfurt",
        CLOUD,
        put("s3/bucket:Bucket", "raw", "region", FRANKFURT),
    ),
    Mutation(
        "database-region-abroad",
        "cbuae-outsourcing-data",
        "One database names a region of its own, in Bahrain",
        (PROD,),
        put("rds/instance:Instance", "postgresql", "region", BAHRAIN),
    ),
    Mutation(
        "log-group-region-abroad",
        "pdpl-22",
        "A log group names a region of its own, in Ireland",
        (SMB,),
        put("cloudwatch/logGroup:LogGroup", "flow-logs", "region", IRELAND),
    ),
    Mutation(
        "replica-of-bucket-frankfurt",
        "pdpl-22",
        "The raw data are replicated to a bucket in Frankfurt",
        (PROD,),
        add(
            "s3/bucketReplicationConfig:BucketReplicationConfig",
            "raw",
            {
                "bucket": "<aws:s3/bucket:Bucket::raw.id>",
                "role": "arn:aws:iam::444455556666:role/replication",
                "rules": [
                    {
                        "status": "Enabled",
                        "destination": {"bucket": "arn:aws:s3:::falaj-frankfurt-raw", "storageClass": "STANDARD"},
                    }
                ],
            },
        ),
    ),
    Mutation(
        "bucket-multi-region-access-point",
        "pdpl-22",
        "An access point spreads a bucket over regions",
        (PROD,),
        add(
            "s3control/multiRegionAccessPoint:MultiRegionAccessPoint",
            "raw",
            {
                "details": {
                    "name": "raw",
                    "regions": [{"bucket": "<aws:s3/bucket:Bucket::raw.id>"}, {"bucket": "falaj-frankfurt-raw"}],
                }
            },
        ),
    ),
    Mutation(
        "bucket-accelerated",
        "iso-8.12",
        "Uploads go by edge locations abroad",
        (PROD,),
        add(
            "s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration",
            "raw",
            {"bucket": "<aws:s3/bucket:Bucket::raw.id>", "status": "Enabled"},
        ),
    ),
    Mutation(
        "cloudfront-distribution",
        "iso-8.12",
        "A content network abroad caches the artifacts",
        (PROD,),
        add(
            "cloudfront/distribution:Distribution",
            "models",
            {
                "enabled": True,
                "origins": [{"originId": "models", "domainName": "falaj-prod-444455556666-artifacts.s3.amazonaws.com"}],
            },
        ),
    ),
    Mutation(
        "key-multi-region",
        "pdpl-22",
        "The key of the raw data can be replicated to other regions",
        CLOUD,
        put("kms/key:Key", "raw", "multiRegion", True),
    ),
    Mutation(
        "key-replica",
        "pdpl-22",
        "A key of another region is replicated",
        (PROD,),
        add(
            "kms/replicaKey:ReplicaKey",
            "raw",
            {"primaryKeyArn": f"arn:aws:kms:{FRANKFURT}:{ACCOUNT}:key/mrk-0123456789abcdef0123456789abcdef"},
        ),
    ),
    Mutation(
        "database-backups-abroad",
        "cbuae-outsourcing-data",
        "Automated backups of the database are copied to Frankfurt",
        (PROD,),
        add(
            "rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication",
            "postgresql",
            {"sourceDbInstanceArn": POSTGRESQL, "region": FRANKFURT, "retentionPeriod": 14},
        ),
    ),
    Mutation(
        "database-replica-of-abroad",
        "pdpl-22",
        "The database replicates one in Ireland",
        (PROD,),
        put(
            "rds/instance:Instance",
            "postgresql",
            "replicateSourceDb",
            f"arn:aws:rds:{IRELAND}:{ACCOUNT}:db:falaj-prod-postgresql",
        ),
    ),
    Mutation(
        "database-global",
        "pdpl-22",
        "The database is part of a global cluster",
        (PROD,),
        add(
            "rds/globalCluster:GlobalCluster",
            "tracking",
            {"globalClusterIdentifier": "tracking", "sourceDbClusterIdentifier": POSTGRESQL},
        ),
    ),
    Mutation(
        "database-snapshot-copied",
        "pdpl-22",
        "A snapshot of the database is copied to Frankfurt",
        (PROD,),
        add(
            "rds/snapshotCopy:SnapshotCopy",
            "postgresql",
            {
                "sourceDbSnapshotIdentifier": f"arn:aws:rds:me-central-1:{ACCOUNT}:snapshot:falaj-prod-postgresql-1",
                "targetDbSnapshotIdentifier": "copy",
                "destinationRegion": FRANKFURT,
            },
        ),
    ),
    Mutation(
        "volume-snapshot-copied",
        "pdpl-22",
        "A snapshot of a volume is copied to Ireland",
        (PROD,),
        add(
            "ebs/snapshotCopy:SnapshotCopy",
            "home",
            {
                "sourceRegion": "me-central-1",
                "sourceSnapshotId": "snap-0123456789abcdef0",
                "region": IRELAND,
                "encrypted": True,
            },
        ),
    ),
    Mutation(
        "volume-snapshot-shared",
        "iso-8.12",
        "A snapshot of a volume is shared with another account",
        (PROD,),
        add(
            "ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission",
            "home",
            {"snapshotId": "snap-0123456789abcdef0", "accountId": "999988887777"},
        ),
    ),
    Mutation(
        "secret-replica",
        "pdpl-22",
        "A secret is replicated to Frankfurt",
        CLOUD,
        put("secretsmanager/secret:Secret", "pseudonym", "replicas", [{"region": FRANKFURT}]),
    ),
    Mutation(
        "images-replicated",
        "iso-8.12",
        "Images, and the models in them, are replicated to Frankfurt",
        (PROD,),
        add(
            "ecr/replicationConfiguration:ReplicationConfiguration",
            "registry",
            {"replicationConfiguration": {"rules": [{"destinations": [{"region": FRANKFURT, "registryId": ACCOUNT}]}]}},
        ),
    ),
    Mutation(
        "backup-copied-frankfurt",
        "pdpl-22",
        "Each backup is copied to a vault in Frankfurt",
        CLOUD,
        put("backup/plan:Plan", "daily", "rules 0 copyActions", [_copy_abroad(FRANKFURT)]),
    ),
    Mutation(
        "backup-copied-bahrain",
        "pdpl-23",
        "Each backup is copied to a vault in Bahrain",
        (PROD,),
        put("backup/plan:Plan", "daily", "rules 0 copyActions", [_copy_abroad(BAHRAIN)]),
    ),
    Mutation(
        "cache-global",
        "pdpl-22",
        "The cache is part of a global datastore",
        (PROD,),
        add(
            "elasticache/globalReplicationGroup:GlobalReplicationGroup",
            "cache",
            {
                "globalReplicationGroupIdSuffix": "cache",
                "primaryReplicationGroupId": "<aws:elasticache/replicationGroup:ReplicationGroup::cache.id>",
            },
        ),
    ),
    Mutation(
        "kafka-replicator",
        "pdpl-22",
        "Topics are replicated to a cluster in Ireland",
        (PROD,),
        add(
            "msk/replicator:Replicator",
            "kafka",
            {
                "replicatorName": "kafka",
                "serviceExecutionRoleArn": "arn:aws:iam::444455556666:role/replicator",
                "kafkaClusters": [
                    {"amazonMskCluster": {"mskClusterArn": "<aws:msk/cluster:Cluster::kafka.arn>"}},
                    {"amazonMskCluster": {"mskClusterArn": f"arn:aws:kafka:{IRELAND}:{ACCOUNT}:cluster/other/1"}},
                ],
            },
        ),
    ),
    Mutation(
        "peering-abroad",
        "ia-t4.2.1",
        "The network is peered with one in Frankfurt",
        CLOUD,
        add(
            "ec2/vpcPeeringConnection:VpcPeeringConnection",
            "head-office",
            {"vpcId": "<aws:ec2/vpc:Vpc::vpc.id>", "peerVpcId": "vpc-0123456789abcdef0", "peerRegion": FRANKFURT},
        ),
    ),
    Mutation(
        "transit-peering-abroad",
        "ia-t4.2.1",
        "A transit gateway is peered with one in Ireland",
        (PROD,),
        add(
            "ec2transitgateway/peeringAttachment:PeeringAttachment",
            "head-office",
            {
                "transitGatewayId": "tgw-0123456789abcdef0",
                "peerTransitGatewayId": "tgw-0fedcba9876543210",
                "peerRegion": IRELAND,
            },
        ),
    ),
    Mutation(
        "endpoint-of-another-region",
        "ia-t7.6.4",
        "An endpoint leads to a service in Frankfurt",
        CLOUD,
        put("ec2/vpcEndpoint:VpcEndpoint", "kms", "serviceName", f"com.amazonaws.{FRANKFURT}.kms"),
    ),
    Mutation(
        "model-service-abroad",
        "pdpl-22",
        "Steps may ask a language model in Virginia",
        CLOUD,
        grant(
            "iam/rolePolicy:RolePolicy",
            "pipelines-pipeline-runner",
            "policy",
            Action=["bedrock:InvokeModel"],
            Resource=["arn:aws:bedrock:us-east-1::foundation-model/example"],
        ),
    ),
    Mutation(
        "role-writes-bucket-abroad",
        "iso-8.12",
        "Steps may publish to a topic in Frankfurt",
        (PROD,),
        grant(
            "iam/rolePolicy:RolePolicy",
            "pipelines-pipeline-runner",
            "policy",
            Action=["sns:Publish"],
            Resource=[f"arn:aws:sns:{FRANKFURT}:{ACCOUNT}:results"],
        ),
    ),
    Mutation(
        "findings-sent-abroad",
        "pdpl-22",
        "Findings go to an event bus in Frankfurt",
        CLOUD,
        put(
            "cloudwatch/eventTarget:EventTarget",
            "guardduty",
            "arn",
            f"arn:aws:events:{FRANKFURT}:{ACCOUNT}:event-bus/security",
        ),
    ),
    Mutation(
        "alarms-to-web-hook-abroad",
        "iso-8.12",
        "Alarms go to a web hook abroad",
        (PROD,),
        lambda world: world.inputs("sns/topicSubscription:TopicSubscription", "operations").update(
            protocol="https", endpoint="https://hooks.example.com/alarms"
        ),
    ),
    Mutation(
        "logs-subscribed-abroad",
        "pdpl-22",
        "Cluster logs are streamed to Frankfurt",
        CLOUD,
        add(
            "cloudwatch/logSubscriptionFilter:LogSubscriptionFilter",
            "siem",
            {
                "logGroup": "<aws:cloudwatch/logGroup:LogGroup::cluster.name>",
                "filterPattern": "",
                "destinationArn": f"arn:aws:logs:{FRANKFURT}:{ACCOUNT}:destination:siem",
            },
        ),
    ),
    Mutation(
        "logs-to-foreign-service",
        "iso-8.12",
        "A stream delivers logs to a monitoring service abroad",
        (PROD,),
        add(
            "kinesis/firehoseDeliveryStream:FirehoseDeliveryStream",
            "siem",
            {
                "destination": "http_endpoint",
                "httpEndpointConfiguration": {"url": "https://intake.logs.example.com/v1/input", "name": "siem"},
            },
        ),
    ),
    Mutation(
        "logs-shipped-abroad",
        "iso-8.12",
        "The shipper sends all pods' logs to a host abroad",
        CLOUD,
        text(
            "k8s/helm.sh/v4:Chart",
            "fluent-bit",
            "values config outputs",
            "[OUTPUT]\n",
            "[OUTPUT]\n    Match *\n    Name http\n    Host logs.example.com\n    tls On\n[OUTPUT]\n",
        ),
    ),
    Mutation(
        "metrics-written-abroad",
        "iso-8.12",
        "Prometheus writes its metrics to a service abroad",
        BOTH,
        put(
            "k8s/helm.sh/v4:Chart",
            "monitoring",
            f"{SPEC} remoteWrite",
            [{"url": "https://prometheus.example.com/api/v1/write"}],
        ),
    ),
    Mutation(
        "alerts-to-chat-abroad",
        "iso-8.12",
        "Alerts go to a chat service abroad",
        BOTH,
        append(
            "k8s/helm.sh/v4:Chart",
            "monitoring",
            "values alertmanager config receivers",
            {"name": "chat", "slack_configs": [{"api_url": "https://hooks.slack.com/services/T0/B0/x"}]},
        ),
    ),
    Mutation(
        "workload-region-abroad",
        "pdpl-22",
        "A service works with the clouds of another region",
        CLOUD,
        variable("k8s/apps/v1:Deployment", "inference", "AWS_REGION", FRANKFURT),
    ),
    Mutation(
        "models-in-foreign-cloud",
        "pdpl-22",
        "The service loads models from another cloud's store abroad",
        BOTH,
        put("k8s/apps/v1:Deployment", "inference", "spec template spec containers 0 command 8", "gs://models-eu/falaj"),
    ),
    Mutation(
        "offline-store-abroad",
        "pdpl-22",
        "Steps write features to a store abroad",
        BOTH,
        put(
            "k8s/core/v1:ConfigMap",
            "pipelines/falaj-platform",
            "data FALAJ_OFFLINE_STORE",
            "https://falaj.blob.core.windows.net/offline",
        ),
    ),
    Mutation(
        "pipeline-root-abroad",
        "pdpl-22",
        "Runs keep their artifacts in another cloud's store abroad",
        BOTH,
        put("k8s/core/v1:ConfigMap", "pipelines/kfp-launcher", "data defaultPipelineRoot", "gs://pipelines-eu/runs"),
    ),
    Mutation(
        "pipeline-objects-abroad",
        "pdpl-22",
        "The launcher uses the object store of Frankfurt",
        CLOUD,
        within("k8s/core/v1:ConfigMap", "pipelines/kfp-launcher", "data providers", _foreign_launcher),
    ),
    Mutation(
        "pipeline-logs-abroad",
        "iso-8.12",
        "The logs of steps go to the object store of Frankfurt",
        CLOUD,
        within(
            "k8s/core/v1:ConfigMap",
            "pipelines/workflow-controller-configmap",
            "data artifactRepository",
            lambda document: _foreign_shipper(document["s3"]),
        ),
    ),
    Mutation(
        "pipeline-definitions-abroad",
        "iso-8.12",
        "Pipelines are stored in Frankfurt",
        CLOUD,
        put(
            "k8s/core/v1:ConfigMap",
            "pipelines/pipeline-install-config",
            "data objectsHost",
            f"s3.{FRANKFURT}.amazonaws.com",
        ),
    ),
    Mutation(
        "cluster-backup-abroad",
        "pdpl-22",
        "The cluster's backups lie in Frankfurt",
        CLOUD,
        put("k8s/velero.io/v1:BackupStorageLocation", "default", "spec config region", FRANKFURT),
    ),
    Mutation(
        "cluster-backup-foreign-store",
        "pdpl-22",
        "The cluster's backups go to a store abroad",
        (SITE,),
        put(
            "k8s/velero.io/v1:BackupStorageLocation",
            "default",
            "spec config s3Url",
            f"https://s3.{FRANKFURT}.amazonaws.com",
        ),
    ),
    Mutation(
        "secrets-from-abroad",
        "ia-t7.6.4",
        "Secrets are fetched from Ireland",
        CLOUD,
        put("k8s/external-secrets.io/v1:ClusterSecretStore", "falaj", "spec provider aws region", IRELAND),
    ),
    Mutation(
        "vault-abroad",
        "ia-t7.6.4",
        "Secrets are fetched from a vault abroad",
        (SITE,),
        put(
            "k8s/external-secrets.io/v1:ClusterSecretStore",
            "falaj",
            "spec provider vault server",
            "https://vault.example.com",
        ),
    ),
    Mutation("site-abroad", "pdpl-22", "The site stands in another country", (SITE,), say("substrate country", "DE")),
    Mutation(
        "site-logs-abroad",
        "pdpl-22",
        "Logs are kept in Frankfurt's object store",
        (SITE,),
        put(
            "k8s/helm.sh/v4:Chart",
            "loki",
            "values loki storage object_store s3 endpoint",
            f"s3.{FRANKFURT}.amazonaws.com",
        ),
    ),
    Mutation(
        "sign-in-abroad",
        "pdpl-22",
        "Who signs in is told to an issuer abroad",
        BOTH,
        put(
            "k8s/gateway.envoyproxy.io/v1alpha1:SecurityPolicy",
            "falaj",
            "spec oidc provider issuer",
            "https://accounts.example.com",
        ),
    ),
    Mutation(
        "image-registry-abroad",
        "iso-5.21",
        "A service runs an image of the registry in Frankfurt",
        CLOUD,
        text("k8s/apps/v1:Deployment", "inference", "spec template spec containers 0 image", "me-central-1", FRANKFURT),
    ),
    Mutation(
        "price-service-abroad",
        "ia-t7.6.4",
        "Karpenter asks a price service abroad",
        CLOUD,
        lose("k8s/helm.sh/v4:Chart", "karpenter", "values settings isolatedVPC"),
    ),
    Mutation(
        "tracking-telemetry",
        "iso-8.12",
        "The tracking library reports its use to its makers",
        BOTH,
        variable("k8s/apps/v1:Deployment", "mlflow", "MLFLOW_DISABLE_TELEMETRY", "false"),
    ),
    Mutation(
        "feature-telemetry",
        "iso-8.12",
        "The feature library reports its use to its makers",
        BOTH,
        variable("k8s/apps/v1:Deployment", "feature-server", "FEAST_USAGE", "True"),
    ),
    Mutation(
        "dashboard-telemetry",
        "iso-8.12",
        "Dashboards report their use to their makers",
        BOTH,
        put("k8s/helm.sh/v4:Chart", "monitoring", "values grafana grafana.ini analytics reporting_enabled", True),
    ),
    Mutation(
        "dashboard-avatars",
        "iso-8.12",
        "Dashboards ask a service abroad for pictures of their users",
        (PROD,),
        lose("k8s/helm.sh/v4:Chart", "monitoring", "values grafana grafana.ini security disable_gravatar"),
    ),
    Mutation(
        "log-store-telemetry",
        "iso-8.12",
        "The log store reports its use to its makers",
        (SITE,),
        lose("k8s/helm.sh/v4:Chart", "loki", "values loki analytics reporting_enabled"),
    ),
    Mutation(
        "bucket-open-to-foreign-account",
        "pdpl-22",
        "A partner abroad may read the curated data",
        CLOUD,
        grant(
            "s3/bucketPolicy:BucketPolicy",
            "curated",
            "policy",
            Principal={"AWS": "arn:aws:iam::999988887777:root"},
            Action="s3:GetObject",
            Resource="*",
        ),
    ),
    Mutation(
        "queue-for-foreign-account",
        "pdpl-22",
        "Another account may read the queue",
        (PROD,),
        put(
            "sqs/queuePolicy:QueuePolicy",
            "interruptions",
            "policy",
            policy(Principal={"AWS": "999988887777"}, Action="sqs:ReceiveMessage", Resource="*"),
        ),
    ),
    Mutation(
        "model-service-endpoint",
        "pdpl-22",
        "A service sends its requests to a language model abroad",
        BOTH,
        append(
            "k8s/apps/v1:Deployment",
            "inference",
            ENV,
            {"name": "OPENAI_BASE_URL", "value": "https://api.openai.com/v1"},
        ),
    ),
]

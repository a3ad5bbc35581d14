"""An account in moto, made part by part as a stack would make it, and what declares it."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import boto3

from verify.declared import Declared, Inputs

REGION = "me-central-1"
ACCOUNT = "123456789012"
TAGS = {"owner": "data-team", "environment": "production", "managed-by": "falaj"}
BUCKET = f"falaj-test-{ACCOUNT}-raw"
Resource = tuple[str, str, Inputs]
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Encrypted",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": "ModernTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
            "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}},
        },
    ],
}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class _Session(boto3.Session):
    """Makes each client once: it takes longer than all that a test asks of it."""

    @functools.cache  # noqa: B019 - there is one session
    def _made(self, service: str, region: str) -> Any:
        unnamed: Any = super().client
        return unnamed(service, region_name=region)

    def client(self, service_name: str, region_name: str = REGION, **_: Any) -> Any:  # type: ignore[override]
        return self._made(service_name, region_name)


SESSION = _Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=REGION)


def client(service: str) -> Any:
    """A client of moto."""
    return SESSION.client(service)


def declared(*resources: Sequence[Resource]) -> Declared:
    """What a stack with these resources declares."""
    provider = {
        "region": REGION,
        "allowedAccountIds": json.dumps([ACCOUNT]),
        "defaultTags": json.dumps({"tags": TAGS}),
    }
    every = [("pulumi:providers:aws", "aws", provider), *(one for some in resources for one in some)]
    return Declared("test", {(kind, name): inputs for kind, name, inputs in every})


def tagged(**more: str) -> list[dict[str, str]]:
    """The stack's tags as most services take them."""
    return [{"Key": key, "Value": value} for key, value in (TAGS | more).items()]


def key() -> tuple[str, list[Resource]]:
    """A key of the class `raw`; its ARN."""
    made = client("kms").create_key(
        Policy=json.dumps(
            {
                "Statement": [
                    {
                        "Sid": "Account",
                        "Effect": "Allow",
                        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                        "Action": "kms:*",
                        "Resource": "*",
                    }
                ]
            }
        )
    )["KeyMetadata"]
    client("kms").create_alias(AliasName="alias/test/raw", TargetKeyId=made["KeyId"])
    client("kms").enable_key_rotation(KeyId=made["KeyId"])
    return made["Arn"], [("aws:kms/alias:Alias", "raw", {"name": "alias/test/raw"})]


def buckets() -> list[Resource]:
    """A locked bucket with all that belongs to one."""
    arn, found = key()
    s3 = client("s3")
    s3.create_bucket(
        Bucket=BUCKET,
        CreateBucketConfiguration={"LocationConstraint": REGION},
        ObjectLockEnabledForBucket=True,
        ObjectOwnership="BucketOwnerEnforced",
    )
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=dict.fromkeys(blocks, True))
    s3.put_bucket_encryption(
        Bucket=BUCKET,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}}]
        },
    )
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))
    expire(30)
    s3.put_object_lock_configuration(
        Bucket=BUCKET,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 20}},
        },
    )
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tagged(**{"data-class": "raw", "retention": "30d"})})
    return [
        *found,
        ("aws:s3/bucket:Bucket", "raw", {"bucket": BUCKET, "tags": {"data-class": "raw", "retention": "30d"}}),
        (
            "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
            "raw",
            {"rules": [{"id": "retention", "expiration": {"days": 30}, "status": "Enabled"}]},
        ),
        (
            "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
            "raw",
            {"rule": {"defaultRetention": {"mode": "COMPLIANCE", "days": 20}}},
        ),
    ]


def expire(days: int) -> None:
    """Let what the bucket holds end."""
    rule = {"ID": "retention", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}
    client("s3").put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})


def databases() -> list[Resource]:
    """A PostgreSQL with its parameters."""
    arn, found = key()
    rds = client("rds")
    rds.create_db_parameter_group(DBParameterGroupName="test", DBParameterGroupFamily="postgres17", Description="-")
    force_tls("1")
    rds.create_db_instance(
        DBInstanceIdentifier="test-postgresql",
        DBInstanceClass="db.t4g.medium",
        Engine="postgres",
        EngineVersion="17.4",
        AllocatedStorage=20,
        MasterUsername="falaj",
        ManageMasterUserPassword=True,
        MasterUserSecretKmsKeyId=arn,
        DBParameterGroupName="test",
        StorageEncrypted=True,
        KmsKeyId=arn,
        BackupRetentionPeriod=7,
        DeletionProtection=True,
        MultiAZ=True,
        PubliclyAccessible=False,
        EnableCloudwatchLogsExports=["postgresql"],
    )
    inputs = {
        "identifier": "test-postgresql",
        "backupRetentionPeriod": 7,
        "deletionProtection": True,
        "multiAz": True,
        "manageMasterUserPassword": True,
        "parameterGroupName": "test",
        "enabledCloudwatchLogsExports": ["postgresql"],
        "engineVersion": "17",
    }
    return [
        *found,
        ("aws:rds/instance:Instance", "postgresql", inputs),
        ("aws:rds/parameterGroup:ParameterGroup", "postgresql", {"name": "test"}),
    ]


def force_tls(value: str) -> None:
    """Say whether the database wants TLS."""
    client("rds").modify_db_parameter_group(
        DBParameterGroupName="test",
        Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": value, "ApplyMethod": "immediate"}],
    )


def control_plane() -> list[Resource]:
    """An EKS cluster that is reached from inside alone."""
    arn, found = key()
    client("eks").create_cluster(
        name="test",
        version="1.35",
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/cluster",
        resourcesVpcConfig={"endpointPublicAccess": False, "endpointPrivateAccess": True},
        logging={"clusterLogging": [{"types": ["api", "audit"], "enabled": True}]},
        encryptionConfig=[{"resources": ["secrets"], "provider": {"keyArn": arn}}],
    )
    inputs = {
        "name": "test",
        "version": "1.35",
        "enabledClusterLogTypes": ["api", "audit"],
        "vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
    }
    return [*found, ("aws:eks/cluster:Cluster", "cluster", inputs)]


def registry() -> list[Resource]:
    """A repository of images."""
    arn, found = key()
    client("ecr").create_repository(
        repositoryName="falaj/platform",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfiguration={"encryptionType": "KMS", "kmsKey": arn},
    )
    return [*found, ("aws:ecr/repository:Repository", "platform", {"name": "falaj/platform"})]


def network() -> list[Resource]:
    """A network with an isolated subnet, nothing in its default group, and its flows recorded."""
    ec2 = client("ec2")

    def named(kind: str, name: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]

    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=named("vpc", "test"))["Vpc"]["VpcId"]
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneId"]
    subnet = ec2.create_subnet(
        VpcId=vpc,
        CidrBlock="10.0.0.0/24",
        AvailabilityZoneId=zone,
        TagSpecifications=named("subnet", "test-isolated-a"),
    )["Subnet"]["SubnetId"]
    # moto gives the first subnet of a zone public addresses.
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})
    ec2.create_route_table(VpcId=vpc, TagSpecifications=named("route-table", "test-isolated"))
    default = default_group()
    for way, key_ in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
        if default[key_]:
            getattr(ec2, f"revoke_security_group_{way}")(GroupId=default["GroupId"], IpPermissions=default[key_])
    client("logs").create_log_group(logGroupName="flows")
    ec2.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        LogGroupName="flows",
        DeliverLogsPermissionArn=client("iam").create_role(
            RoleName="flows", AssumeRolePolicyDocument=json.dumps(TRUST)
        )["Role"]["Arn"],
    )
    ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3", VpcEndpointType="Gateway")
    launch_template("required")
    return [
        ("aws:ec2/vpc:Vpc", "vpc", {"cidrBlock": "10.0.0.0/16", "tags": {"Name": "test"}}),
        (
            "aws:ec2/subnet:Subnet",
            "isolated-a",
            {"availabilityZoneId": zone, "tags": {"Name": "test-isolated-a"}},
        ),
        ("aws:ec2/routeTable:RouteTable", "isolated", {"tags": {"Name": "test-isolated"}}),
        ("aws:ec2/flowLog:FlowLog", "flows", {"trafficType": "ALL"}),
        ("aws:ec2/vpcEndpoint:VpcEndpoint", "s3", {"serviceName": f"com.amazonaws.{REGION}.s3"}),
        ("aws:ec2/launchTemplate:LaunchTemplate", "system", {"name": "test-system"}),
    ]


def vpc() -> str:
    """ID of the network."""
    filters = [{"Name": "tag:Name", "Values": ["test"]}]
    return str(client("ec2").describe_vpcs(Filters=filters)["Vpcs"][0]["VpcId"])


def default_group() -> dict[str, Any]:
    """The group of the network that a machine gets without asking for one."""
    filters = [{"Name": "vpc-id", "Values": [vpc()]}, {"Name": "group-name", "Values": ["default"]}]
    found: dict[str, Any] = client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"][0]
    return found


def launch_template(tokens: str) -> None:
    """What the first nodes start from, anew."""
    ec2 = client("ec2")
    if ec2.describe_launch_templates()["LaunchTemplates"]:
        ec2.delete_launch_template(LaunchTemplateName="test-system")
    ec2.create_launch_template(
        LaunchTemplateName="test-system",
        LaunchTemplateData={
            "MetadataOptions": {"HttpTokens": tokens},
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}}],
        },
    )


def identity() -> list[Resource]:
    """A role that a service takes, with one policy of its own and one of AWS's."""
    iam = client("iam")
    iam.create_role(RoleName="test-cluster", AssumeRolePolicyDocument=json.dumps(TRUST))
    give("eks:DescribeCluster")
    arn = iam.create_policy(PolicyName="declared", PolicyDocument=json.dumps(_allowing("s3:GetObject")))["Policy"][
        "Arn"
    ]
    iam.attach_role_policy(RoleName="test-cluster", PolicyArn=arn)
    return [
        ("aws:iam/role:Role", "cluster", {"name": "test-cluster"}),
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "a", {"role": "test-cluster", "policyArn": arn}),
    ]


def give(action: str) -> None:
    """Give the role a right."""
    client("iam").put_role_policy(
        RoleName="test-cluster", PolicyName="own", PolicyDocument=json.dumps(_allowing(action))
    )


def _allowing(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [action], "Resource": "*"}]}


def watch() -> list[Resource]:
    """A trail that records, a detector, a recorder and an alarm that ends at a person."""
    bucket = buckets()
    arn = client("kms").describe_key(KeyId="alias/test/raw")["KeyMetadata"]["Arn"]
    trail = client("cloudtrail")
    trail.create_trail(
        Name="test",
        S3BucketName=BUCKET,
        IsMultiRegionTrail=True,
        IncludeGlobalServiceEvents=True,
        EnableLogFileValidation=True,
        KmsKeyId=arn,
    )
    trail.start_logging(Name="test")
    fields = [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
    ]
    fields.append({"Field": "resources.ARN", "StartsWith": [f"arn:aws:s3:::{BUCKET}/"]})
    trail.put_event_selectors(TrailName="test", AdvancedEventSelectors=[{"Name": "Objects", "FieldSelectors": fields}])
    selector = {"fieldSelectors": [{"field": "resources.ARN", "startsWiths": [f"arn:aws:s3:::{BUCKET}/"]}]}
    client("guardduty").create_detector(Enable=True)
    config = client("config")
    role = f"arn:aws:iam::{ACCOUNT}:role/config"
    config.put_configuration_recorder(ConfigurationRecorder={"name": "test", "roleARN": role})
    config.put_delivery_channel(DeliveryChannel={"name": "test", "s3BucketName": BUCKET})
    config.start_configuration_recorder(ConfigurationRecorderName="test")
    topic = client("sns").create_topic(Name="test-operations", Attributes={"KmsMasterKeyId": arn})["TopicArn"]
    subscription = client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="operations@example.ae")
    assert subscription["SubscriptionArn"]
    alarm(topic)
    client("events").put_rule(Name="test-findings", EventPattern='{"source": ["aws.guardduty"]}')
    client("events").put_targets(Rule="test-findings", Targets=[{"Id": "1", "Arn": topic}])
    return [
        *bucket,
        ("aws:cloudtrail/trail:Trail", "trail", {"name": "test", "advancedEventSelectors": [selector]}),
        ("aws:guardduty/detector:Detector", "guardduty", {"enable": True}),
        ("aws:cfg/recorder:Recorder", "config", {"name": "test"}),
        ("aws:sns/topic:Topic", "operations", {"name": "test-operations"}),
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "cpu", {"name": "test-cpu"}),
        ("aws:cloudwatch/eventRule:EventRule", "findings", {"name": "test-findings"}),
    ]


def alarm(*actions: str) -> None:
    """The alarm, anew."""
    client("cloudwatch").put_metric_alarm(
        AlarmName="test-cpu",
        MetricName="CPUUtilization",
        Namespace="AWS/RDS",
        Statistic="Average",
        Period=300,
        EvaluationPeriods=1,
        Threshold=80,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=list(actions),
    )


def stores() -> list[Resource]:
    """A secret, a queue, a topic, a log group and a cache."""
    arn, found = key()
    client("secretsmanager").create_secret(Name="test/cache", KmsKeyId=arn, SecretString="-")
    client("sqs").create_queue(QueueName="test-events", Attributes={"KmsMasterKeyId": arn})
    client("sns").create_topic(Name="test-operations", Attributes={"KmsMasterKeyId": arn})
    client("logs").create_log_group(logGroupName="/test/flows", kmsKeyId=arn)
    client("logs").put_retention_policy(logGroupName="/test/flows", retentionInDays=365)
    return [
        *found,
        ("aws:secretsmanager/secret:Secret", "cache", {"name": "test/cache"}),
        ("aws:sqs/queue:Queue", "events", {"name": "test-events"}),
        ("aws:sns/topic:Topic", "operations", {"name": "test-operations"}),
        ("aws:cloudwatch/logGroup:LogGroup", "flows", {"name": "/test/flows", "retentionInDays": 365}),
        *_cache(arn),
    ]


def _cache(arn: str) -> list[Resource]:
    client("elasticache").create_replication_group(
        ReplicationGroupId="test-cache",
        ReplicationGroupDescription="-",
        Engine="valkey",
        AtRestEncryptionEnabled=True,
        TransitEncryptionEnabled=True,
        KmsKeyId=arn,
        AutomaticFailoverEnabled=True,
        NumCacheClusters=2,
    )
    inputs = {"replicationGroupId": "test-cache", "automaticFailoverEnabled": True}
    return [("aws:elasticache/replicationGroup:ReplicationGroup", "cache", inputs)]


def backup() -> list[Resource]:
    """A locked vault, and a plan that copies into it."""
    arn, found = key()
    vault = client("backup")
    vault.create_backup_vault(BackupVaultName="test", EncryptionKeyArn=arn)
    vault.put_backup_vault_lock_configuration(
        BackupVaultName="test", MinRetentionDays=14, MaxRetentionDays=14, ChangeableForDays=7
    )
    rule = {"ruleName": "daily", "schedule": "cron(0 20 * * ? *)"}
    plan("cron(0 20 * * ? *)")
    lock = {"backupVaultName": "test", "minRetentionDays": 14, "maxRetentionDays": 14}
    return [
        *found,
        ("aws:backup/vault:Vault", "vault", {"name": "test"}),
        ("aws:backup/vaultLockConfiguration:VaultLockConfiguration", "vault", lock),
        ("aws:backup/plan:Plan", "daily", {"name": "test", "rules": [rule]}),
    ]


def plan(schedule: str) -> None:
    """The plan of the copies, anew."""
    vault = client("backup")
    for found in vault.list_backup_plans()["BackupPlansList"]:
        vault.delete_backup_plan(BackupPlanId=found["BackupPlanId"])
    rule = {"RuleName": "daily", "TargetBackupVaultName": "test", "ScheduleExpression": schedule}
    vault.create_backup_plan(BackupPlan={"BackupPlanName": "test", "Rules": [rule]})


def cost() -> list[Resource]:
    """A budget, and someone who is told."""
    client("budgets").create_budget(
        AccountId=ACCOUNT,
        Budget={
            "BudgetName": "test",
            "BudgetLimit": {"Amount": "1200", "Unit": "USD"},
            "TimeUnit": "MONTHLY",
            "BudgetType": "COST",
        },
        NotificationsWithSubscribers=[
            {
                "Notification": NOTIFICATION,
                "Subscribers": [{"SubscriptionType": "EMAIL", "Address": "finance@example.ae"}],
            }
        ],
    )
    return [("aws:budgets/budget:Budget", "monthly", {"name": "test", "limitAmount": "1200.00"})]


NOTIFICATION = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80.0}

"""Databases, the cache, Kafka, search."""

from typing import Any

from rehearsal.aws.kind import Kind, Read, Step


def _domain(properties: dict[str, Any]) -> None:
    published = properties.pop("logPublishingOptions", [])
    properties["logPublishingOptions"] = {
        item.pop("logType"): {"enabled": True} | item for item in map(dict, published)
    }


def _kafka(properties: dict[str, Any]) -> None:
    """MSK wraps in structures what the provider has as plain flags."""
    client = dict(properties.pop("clientAuthentication", {}))
    sasl = client.get("sasl", {})
    authentication: dict[str, Any] = {"sasl": {key: {"enabled": value} for key, value in sasl.items()}}
    if "unauthenticated" in client:
        authentication["unauthenticated"] = {"enabled": client["unauthenticated"]}
    properties["clientAuthentication"] = authentication
    encryption = dict(properties.pop("encryptionInfo", {}))
    if key := encryption.pop("encryptionAtRestKmsKeyArn", None):
        encryption["encryptionAtRest"] = {"DataVolumeKMSKeyId": key}
    properties["encryptionInfo"] = encryption


_INSTANCE = {"DBInstanceIdentifier": "{identifier}"}
KINDS = {
    "aws:rds/instance:Instance": Kind(
        service="rds",
        create=Step(operation="CreateDBInstance", takes=None),
        identifier="{identifier}",
        renames={
            "identifier": "DBInstanceIdentifier",
            "instanceClass": "DBInstanceClass",
            "username": "MasterUsername",
            "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "parameterGroupName": "DBParameterGroupName",
            "caCertIdentifier": "CACertificateIdentifier",
        },
        ignored=["skipFinalSnapshot", "finalSnapshotIdentifier", "deleteAutomatedBackups", "applyImmediately"],
        tags="Tags",
        update=[
            Step(
                operation="ModifyDBInstance",
                takes=[
                    "allocatedStorage",
                    "maxAllocatedStorage",
                    "instanceClass",
                    "deletionProtection",
                    "backupRetentionPeriod",
                    "multiAz",
                    "engineVersion",
                    "parameterGroupName",
                    "maintenanceWindow",
                    "vpcSecurityGroupIds",
                    "caCertIdentifier",
                    "copyTagsToSnapshot",
                    "autoMinorVersionUpgrade",
                ],
                template=_INSTANCE,
            )
        ],
        replaced=["identifier", "engine", "kmsKeyId", "storageEncrypted", "username", "dbSubnetGroupName"],
        outputs={
            "arn": "arn:aws:rds:{region}:{account}:db:{identifier}",
            "address": "=answer.DBInstance.Endpoint.Address",
            "endpoint": "=join(':', [answer.DBInstance.Endpoint.Address, to_string(answer.DBInstance.Endpoint.Port)])",
            "masterUserSecrets": [
                {
                    "secretArn": "=answer.DBInstance.MasterUserSecret.SecretArn",
                    "kmsKeyId": "{masterUserSecretKmsKeyId}",
                    "secretStatus": "active",
                }
            ],
        },
        read=Read(
            operation="DescribeDBInstances",
            template=_INSTANCE,
            path="DBInstances[0]",
            without=["DBInstanceStatus", "Endpoint", "LatestRestorableTime", "PendingModifiedValues"],
        ),
        delete=[
            Step(
                operation="DeleteDBInstance",
                template=_INSTANCE
                | {
                    "SkipFinalSnapshot": "{skipFinalSnapshot}",
                    "FinalDBSnapshotIdentifier": "{finalSnapshotIdentifier}",
                    "DeleteAutomatedBackups": "{deleteAutomatedBackups}",
                },
            )
        ],
    ),
    "aws:rds/parameterGroup:ParameterGroup": Kind(
        service="rds",
        create=Step(operation="CreateDBParameterGroup", takes=["name", "family", "description"]),
        identifier="{name}",
        renames={"name": "DBParameterGroupName", "family": "DBParameterGroupFamily"},
        prepare=lambda properties: properties.update(
            parameters=[
                {
                    "ParameterName": item["name"],
                    "ParameterValue": item["value"],
                    "ApplyMethod": item.get("applyMethod", "immediate"),
                }
                for item in properties.get("parameters", [])
            ],
        ),
        tags="Tags",
        after=[
            Step(operation="ModifyDBParameterGroup", takes=["parameters"], template={"DBParameterGroupName": "{name}"})
        ],
        replaced=["name", "family", "description"],
        outputs={"arn": "arn:aws:rds:{region}:{account}:pg:{name}"},
        read=Read(
            operation="DescribeDBParameterGroups",
            template={"DBParameterGroupName": "{id}"},
            path="DBParameterGroups[0]",
        ),
        delete=[Step(operation="DeleteDBParameterGroup", template={"DBParameterGroupName": "{id}"})],
    ),
    "aws:rds/subnetGroup:SubnetGroup": Kind(
        service="rds",
        create=Step(operation="CreateDBSubnetGroup", takes=None),
        identifier="{name}",
        renames={"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"},
        tags="Tags",
        update=[
            Step(
                operation="ModifyDBSubnetGroup",
                takes=["subnetIds", "description"],
                template={"DBSubnetGroupName": "{id}"},
            )
        ],
        replaced=["name"],
        outputs={"arn": "arn:aws:rds:{region}:{account}:subgrp:{name}"},
        read=Read(operation="DescribeDBSubnetGroups", template={"DBSubnetGroupName": "{id}"}, path="DBSubnetGroups[0]"),
        delete=[Step(operation="DeleteDBSubnetGroup", template={"DBSubnetGroupName": "{id}"})],
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": Kind(
        service="elasticache",
        create=Step(operation="CreateCacheSubnetGroup", takes=None),
        identifier="{name}",
        renames={"name": "CacheSubnetGroupName", "description": "CacheSubnetGroupDescription"},
        tags="Tags",
        replaced=["name"],
        outputs={"arn": "arn:aws:elasticache:{region}:{account}:subnetgroup:{name}"},
        read=Read(
            operation="DescribeCacheSubnetGroups",
            template={"CacheSubnetGroupName": "{id}"},
            path="CacheSubnetGroups[0]",
        ),
        delete=[Step(operation="DeleteCacheSubnetGroup", template={"CacheSubnetGroupName": "{id}"})],
    ),
    "aws:elasticache/user:User": Kind(
        service="elasticache",
        create=Step(operation="CreateUser", takes=None),
        identifier="{userId}",
        tags="Tags",
        update=[
            Step(operation="ModifyUser", takes=["accessString", "authenticationMode"], template={"UserId": "{id}"})
        ],
        replaced=["userId", "userName", "engine"],
        outputs={"arn": "arn:aws:elasticache:{region}:{account}:user:{userId}"},
        read=Read(
            operation="DescribeUsers",
            template={"UserId": "{id}"},
            path="Users[?Status!='deleting']|[0]",
            without=["Status", "UserGroupIds"],
        ),
        delete=[Step(operation="DeleteUser", template={"UserId": "{id}"})],
    ),
    "aws:elasticache/userGroup:UserGroup": Kind(
        service="elasticache",
        create=Step(operation="CreateUserGroup", takes=None),
        identifier="{userGroupId}",
        tags="Tags",
        replaced=["userGroupId", "engine"],
        outputs={"arn": "arn:aws:elasticache:{region}:{account}:usergroup:{userGroupId}"},
        read=Read(operation="DescribeUserGroups", template={"UserGroupId": "{id}"}, path="UserGroups[0]"),
        delete=[Step(operation="DeleteUserGroup", template={"UserGroupId": "{id}"})],
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": Kind(
        service="elasticache",
        create=Step(operation="CreateReplicationGroup", takes=None),
        identifier="{replicationGroupId}",
        renames={
            "description": "ReplicationGroupDescription",
            "nodeType": "CacheNodeType",
            "subnetGroupName": "CacheSubnetGroupName",
            "maintenanceWindow": "PreferredMaintenanceWindow",
        },
        tags="Tags",
        update=[
            Step(
                operation="ModifyReplicationGroup",
                takes=["nodeType", "snapshotRetentionLimit", "snapshotWindow", "maintenanceWindow", "engineVersion"],
                template={"ReplicationGroupId": "{id}", "ApplyImmediately": True},
            )
        ],
        replaced=["replicationGroupId", "kmsKeyId", "atRestEncryptionEnabled", "subnetGroupName", "port", "engine"],
        outputs={
            "arn": "arn:aws:elasticache:{region}:{account}:replicationgroup:{id}",
            "primaryEndpointAddress": "master.{id}.rehearsal.cache.amazonaws.com",
            "readerEndpointAddress": "replica.{id}.rehearsal.cache.amazonaws.com",
            "configurationEndpointAddress": "clustercfg.{id}.rehearsal.cache.amazonaws.com",
        },
        read=Read(
            operation="DescribeReplicationGroups",
            template={"ReplicationGroupId": "{id}"},
            path="ReplicationGroups[?Status!='deleting']|[0]",
            without=["Status"],
        ),
        delete=[Step(operation="DeleteReplicationGroup", template={"ReplicationGroupId": "{id}"})],
    ),
    "aws:msk/configuration:Configuration": Kind(
        service="kafka",
        create=Step(operation="CreateConfiguration", takes=None),
        identifier="=answer.Arn",
        replaced=["name"],
        update=[Step(operation="UpdateConfiguration", takes=["serverProperties"], template={"Arn": "{id}"})],
        outputs={"arn": "{id}", "latestRevision": "=answer.LatestRevision.Revision || `1`"},
        read=Read(operation="DescribeConfiguration", template={"Arn": "{id}"}, path="@"),
        delete=[Step(operation="DeleteConfiguration", template={"Arn": "{id}"})],
    ),
    "aws:msk/cluster:Cluster": Kind(
        service="kafka",
        create=Step(operation="CreateCluster", takes=None),
        identifier="=answer.ClusterArn",
        tags="Tags",
        prepare=_kafka,
        replaced=["clusterName", "brokerNodeGroupInfo", "encryptionInfo"],
        update=[
            Step(
                operation="UpdateMonitoring",
                takes=["enhancedMonitoring", "loggingInfo"],
                template={"ClusterArn": "{id}"},
            )
        ],
        outputs={"arn": "{id}", "bootstrapBrokersSaslIam": "b-1.rehearsal.kafka.{region}.amazonaws.com:9098"},
        read=Read(operation="ListClusters", template={}, path="ClusterInfoList[?ClusterArn=='{id}']|[0]"),
        delete=[Step(operation="DeleteCluster", template={"ClusterArn": "{id}"})],
    ),
    "aws:opensearch/domain:Domain": Kind(
        service="opensearch",
        create=Step(operation="CreateDomain", takes=None),
        identifier="arn:aws:es:{region}:{account}:domain/{domainName}",
        renames={
            "encryptAtRest": "EncryptionAtRestOptions",
            "nodeToNodeEncryption": "NodeToNodeEncryptionOptions",
            "cloudwatchLogGroupArn": "CloudWatchLogsLogGroupArn",
            "masterUserArn": "MasterUserARN",
        },
        tags="TagList",
        prepare=_domain,
        update=[
            Step(
                operation="UpdateDomainConfig",
                takes=[
                    "clusterConfig",
                    "ebsOptions",
                    "accessPolicies",
                    "domainEndpointOptions",
                    "logPublishingOptions",
                ],
                template={"DomainName": "{domainName}"},
            )
        ],
        replaced=["domainName", "encryptAtRest", "vpcOptions"],
        outputs={"arn": "{id}", "endpoint": "vpc-{domainName}-rehearsal.{region}.es.amazonaws.com"},
        read=Read(operation="DescribeDomain", template={"DomainName": "{domainName}"}, path="DomainStatus"),
        delete=[Step(operation="DeleteDomain", template={"DomainName": "{domainName}"})],
    ),
}

"""Cache, broker, search, queues, topics, secrets and logs of the account."""

import json
from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.checks.keys import foreign
from verify.declared import Declared, Inputs, known

_CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
_KAFKA = "aws:msk/cluster:Cluster"
_SEARCH = "aws:opensearch/domain:Domain"


def test_cache_encrypted(each: Each, declared: Declared, aws: Account) -> None:
    """The cache is encrypted at rest and on the way."""

    def judge(name: str) -> list[str]:
        found = _cache(aws, name)
        return [
            f"{key} is off" for key in ("AtRestEncryptionEnabled", "TransitEncryptionEnabled") if not found.get(key)
        ]

    each(declared.values(_CACHE, "replicationGroupId"), judge)


def test_cache_key(each: Each, declared: Declared, aws: Account) -> None:
    """The cache is encrypted by a key of the stack's own."""
    each(declared.values(_CACHE, "replicationGroupId"), lambda name: aws.own_key(_cache(aws, name).get("KmsKeyId")))


def test_cache_users(each: Each, declared: Declared, aws: Account) -> None:
    """Only the declared users sign in to the cache, and none without a password."""

    def judge(name: str) -> list[str]:
        members = aws("elasticache").describe_user_groups(UserGroupId=name)["UserGroups"][0]["UserIds"]
        users = [aws("elasticache").describe_users(UserId=member)["Users"][0] for member in members]
        wanted = set(declared.values("aws:elasticache/user:User", "userId"))
        faults = [f"{user['UserId']} is not declared" for user in users if wanted and user["UserId"] not in wanted]
        return faults + [
            f"{user['UserId']} needs no password"
            for user in users
            if user["Authentication"]["Type"] == "no-password" and not user["AccessString"].startswith("off")
        ]

    each(declared.values("aws:elasticache/userGroup:UserGroup", "userGroupId"), judge)


def test_cache_standby(each: Each, declared: Declared, aws: Account) -> None:
    """The cache that is declared so fails over by itself."""

    def judge(inputs: Inputs) -> str | None:
        status = _cache(aws, inputs["replicationGroupId"]).get("AutomaticFailover")
        return None if status in ("enabled", "enabling") else f"failover is {status}"

    each({name: found for name, found in declared.of(_CACHE).items() if found.get("automaticFailoverEnabled")}, judge)


def test_broker(each: Each, declared: Declared, aws: Account) -> None:
    """The broker speaks TLS alone, to who has signed in, and is encrypted by a key of the stack's own."""

    def judge(name: str) -> list[str]:
        listed = aws.every("kafka", "list_clusters", "ClusterInfoList", ClusterNameFilter=name)
        found = next((one for one in listed if one["ClusterName"] == name), None)
        if found is None:
            return ["is missing"]
        encryption = found.get("EncryptionInfo", {})
        transit = encryption.get("EncryptionInTransit", {}).get("ClientBroker")
        strangers = found.get("ClientAuthentication", {}).get("Unauthenticated", {}).get("Enabled")
        key = aws.own_key(encryption.get("EncryptionAtRest", {}).get("DataVolumeKMSKeyId"))
        return [
            *([] if transit == "TLS" else [f"speaks {transit}"]),
            *(["lets in who has not signed in"] if strangers else []),
            *([key] if key else []),
        ]

    each(declared.values(_KAFKA, "clusterName"), judge)


def test_search(each: Each, declared: Declared, aws: Account) -> None:
    """The search domain is in the network, encrypted, speaks HTTPS alone and knows who asks."""

    def judge(name: str) -> list[str]:
        found = aws("opensearch").describe_domain(DomainName=name)["DomainStatus"]
        held = {
            "is not encrypted at rest": found.get("EncryptionAtRestOptions", {}).get("Enabled"),
            "is not encrypted between its nodes": found.get("NodeToNodeEncryptionOptions", {}).get("Enabled"),
            "takes requests without TLS": found.get("DomainEndpointOptions", {}).get("EnforceHTTPS"),
            "is outside of the network": found.get("VPCOptions", {}).get("SubnetIds"),
            "does not know who asks": found.get("AdvancedSecurityOptions", {}).get("Enabled"),
        }
        return [fault for fault, holds in held.items() if not holds]

    each(declared.values(_SEARCH, "domainName"), judge)


def test_secrets(each: Each, declared: Declared, aws: Account) -> None:
    """Every secret that the stack makes is there, encrypted by a key of its own, and open to no one else."""

    def judge(name: str) -> list[str]:
        found = aws("secretsmanager").describe_secret(SecretId=name)
        policy = aws("secretsmanager").get_resource_policy(SecretId=name).get("ResourcePolicy")
        key = aws.own_key(found.get("KmsKeyId"))
        return [
            *(["is about to be deleted"] if found.get("DeletedDate") else []),
            *([key] if key else []),
            *([f"is copied to {one['Region']}" for one in found.get("ReplicationStatus", [])]),
            *(foreign(json.loads(policy), aws.ids) if policy else []),
        ]

    each(declared.values("aws:secretsmanager/secret:Secret", "name"), judge)


def test_queues(each: Each, declared: Declared, aws: Account) -> None:
    """Every queue is encrypted by a key of the stack's own, and open to AWS's services alone."""

    def judge(name: str) -> list[str]:
        url = aws("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        found = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        key = aws.own_key(found.get("KmsMasterKeyId"))
        policy = found.get("Policy")
        return [*([key] if key else []), *(foreign(json.loads(policy), aws.ids) if policy else [])]

    each(declared.values("aws:sqs/queue:Queue", "name"), judge)


def test_topics(each: Each, declared: Declared, aws: Account) -> None:
    """Every topic is encrypted by a key of the stack's own, and open to AWS's services alone."""

    def judge(name: str) -> list[str]:
        found = _topic(aws, name)
        key = aws.own_key(found.get("KmsMasterKeyId"))
        policy = found.get("Policy")
        return [*([key] if key else []), *(foreign(json.loads(policy), aws.ids) if policy else [])]

    each(declared.values("aws:sns/topic:Topic", "name"), judge)


def test_log_groups(each: Each, declared: Declared, aws: Account) -> None:
    """Every log group ends its logs when declared, and is encrypted by a key of the stack's own."""

    def judge(inputs: Inputs) -> list[str]:
        name = inputs["name"]
        listed = aws.every("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=name)
        found = next((one for one in listed if one["logGroupName"] == name), None)
        if found is None:
            return ["is missing"]
        days, key = found.get("retentionInDays"), aws.own_key(found.get("kmsKeyId"))
        wrong = [] if days == inputs["retentionInDays"] else [f"keeps {days} days, not {inputs['retentionInDays']}"]
        return [*wrong, *([key] if key else [])]

    groups = declared.of("aws:cloudwatch/logGroup:LogGroup")
    each({name: inputs for name, inputs in groups.items() if known(inputs.get("name"))}, judge)


def _cache(aws: Account, name: str) -> dict[str, Any]:
    groups = aws("elasticache").describe_replication_groups(ReplicationGroupId=name)["ReplicationGroups"]
    found: dict[str, Any] = groups[0]
    return found


def _topic(aws: Account, name: str) -> dict[str, Any]:
    arn = f"arn:aws:sns:{aws.region}:{aws.id}:{name}"
    found: dict[str, Any] = aws("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    return found

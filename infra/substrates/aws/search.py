"""OpenSearch: where logs are looked through."""

from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import cloudwatch, opensearch

from core.pins import pins
from infra.config.aws import Search as SearchConfig
from infra.substrates.aws.account import Account, policy
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.network import Network

PORT = 443
_LOGS = ("AUDIT_LOGS", "ES_APPLICATION_LOGS", "INDEX_SLOW_LOGS", "SEARCH_SLOW_LOGS")
_NAME_LENGTH = 28
_ZONES = 3
_MASTERS = 3
_MASTERED = 3
"""From so many instances on, three of their own keep the cluster's state."""


@dataclass(frozen=True, kw_only=True)
class SearchArgs:
    """What a domain is made of.

    Attributes:
        clients: Id of the security group that may connect.
        key: ARN of the key of its disks.
        logs_key: ARN of the key of its logs.
        master: ARN of the role that gives others their rights inside the domain.
    """

    account: Account
    settings: SearchConfig
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    master: pulumi.Input[str]


class Search(pulumi.ComponentResource):
    """A domain inside the VPC: signed requests alone, and inside it only what the master gives a role."""

    def __init__(self, name: str, args: SearchArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Search", name, None, opts)
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        self.name = account.prefix[:_NAME_LENGTH].rstrip("-")
        self.arn = account.arn("es", f"domain/{self.name}")
        private = args.network.ids("private")
        subnets = private[: spread(settings.instances, len(private))]
        group = args.network.security_group(
            name, "OpenSearch, from the cluster alone", self, {"cluster": args.clients}, PORT
        )
        groups = {kind: self._log(kind, args) for kind in _LOGS}
        allowed = cloudwatch.LogResourcePolicy(
            name,
            policy_name=f"{account.prefix}-{name}",
            policy_document=policy(log_policy(account, self.arn)),
            opts=options,
        )
        mastered = settings.instances >= _MASTERED
        zones = opensearch.DomainClusterConfigZoneAwarenessConfigArgs(availability_zone_count=len(subnets))
        self.domain = opensearch.Domain(
            name,
            domain_name=self.name,
            engine_version=pins().versions.opensearch,
            cluster_config=opensearch.DomainClusterConfigArgs(
                instance_type=settings.instance_type,
                instance_count=settings.instances,
                dedicated_master_enabled=mastered,
                dedicated_master_count=_MASTERS if mastered else None,
                dedicated_master_type=settings.instance_type if mastered else None,
                zone_awareness_enabled=len(subnets) > 1,
                zone_awareness_config=zones if len(subnets) > 1 else None,
            ),
            ebs_options=opensearch.DomainEbsOptionsArgs(
                ebs_enabled=True, volume_type="gp3", volume_size=settings.storage_gib
            ),
            encrypt_at_rest=opensearch.DomainEncryptAtRestArgs(enabled=True, kms_key_id=args.key),
            node_to_node_encryption=opensearch.DomainNodeToNodeEncryptionArgs(enabled=True),
            domain_endpoint_options=opensearch.DomainDomainEndpointOptionsArgs(
                enforce_https=True, tls_security_policy="Policy-Min-TLS-1-2-PFS-2023-10"
            ),
            advanced_security_options=opensearch.DomainAdvancedSecurityOptionsArgs(
                enabled=True,
                anonymous_auth_enabled=False,
                internal_user_database_enabled=False,
                master_user_options=opensearch.DomainAdvancedSecurityOptionsMasterUserOptionsArgs(
                    master_user_arn=args.master
                ),
            ),
            access_policies=policy(domain_policy(account, self.arn)),
            vpc_options=opensearch.DomainVpcOptionsArgs(subnet_ids=subnets, security_group_ids=[group.id]),
            log_publishing_options=[
                opensearch.DomainLogPublishingOptionArgs(log_type=kind, cloudwatch_log_group_arn=group.arn)
                for kind, group in groups.items()
            ],
            software_update_options=opensearch.DomainSoftwareUpdateOptionsArgs(auto_software_update_enabled=True),
            tags=account.tags("logs"),
            opts=ResourceOptions.merge(account.kept(self), ResourceOptions(depends_on=[allowed])),
        )
        self.endpoint = self.domain.endpoint
        self.register_outputs({"endpoint": self.endpoint})

    def _log(self, kind: str, args: SearchArgs) -> cloudwatch.LogGroup:
        name = f"search-{kind.lower().replace('_', '-')}"
        return log_group(name, log_path(args.account, kind), args.account, args.logs_key, self)


def spread(instances: int, zones: int) -> int:
    """Over how many zones the domain goes: as many as its instances fill alike."""
    return max(count for count in range(1, min(_ZONES, zones) + 1) if instances % count == 0)


def log_path(account: Account, kind: str) -> str:
    """The log group of a kind of log."""
    return f"/{account.prefix}/search/{kind.lower()}"


def domain_policy(account: Account, domain: str) -> list[dict[str, Any]]:
    """The account's own policies say who may send requests; the domain says what they may do."""
    return [
        {
            "Effect": "Allow",
            "Principal": {"AWS": account.root},
            "Action": "es:ESHttp*",
            "Resource": f"{domain}/*",
        }
    ]


def log_policy(account: Account, domain: str) -> list[dict[str, Any]]:
    """The domain may write its logs."""
    return [
        {
            "Effect": "Allow",
            "Principal": {"Service": "es.amazonaws.com"},
            "Action": ["logs:PutLogEvents", "logs:CreateLogStream"],
            "Resource": account.arn("logs", f"log-group:/{account.prefix}/search/*"),
            "Condition": {"StringEquals": {"aws:SourceAccount": account.id}, "ArnLike": {"aws:SourceArn": domain}},
        }
    ]

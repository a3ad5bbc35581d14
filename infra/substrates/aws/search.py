"""OpenSearch: where logs are looked through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import cloudwatch, opensearch

from core.pins import pins
from core.search import VARIABLE
from infra.config.aws import Search as SearchConfig
from infra.substrates.aws.account import Account, policy
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.network import Network
from infra.substrates.aws.pods import pod_role
from infra.substrates.aws.preparation import NAMESPACE, Task

PORT = 443
INDEX = "falaj-logs"
"""Begins the names of the indices that logs go to, one a day: `falaj-logs-2026.11.21`."""
_PAGES = (".kibana", ".kibana_*", ".opensearch_dashboards", ".opensearch_dashboards_*")
_TASK = "search"
_MANAGE = ("es:ESHttpGet", "es:ESHttpPut")
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
        cluster: Name of the cluster, once it is there.
        writers: ARNs of the roles that ship logs.
        readers: ARNs of the roles of those who look through them.
    """

    account: Account
    settings: SearchConfig
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    logs_key: pulumi.Input[str]
    cluster: pulumi.Input[str]
    writers: Sequence[str]
    readers: Sequence[str]


class Search(pulumi.ComponentResource):
    """A domain inside the VPC: signed requests alone, and inside it only what the master gives a role."""

    def __init__(self, name: str, args: SearchArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Search", name, None, opts)
        self._args = args
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        self.name = account.prefix[:_NAME_LENGTH].rstrip("-")
        self.arn = account.arn("es", f"domain/{self.name}")
        private = args.network.ids("private")
        manage = {"Effect": "Allow", "Action": list(_MANAGE), "Resource": [f"{self.arn}/_plugins/*"]}
        self._master = pod_role(NAMESPACE.name, _TASK, [manage], account, args.cluster, self)
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
                    master_user_arn=self._master.role.arn
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

    def rules(self) -> Task:
        """The task that gives writers and readers their rights, and logs their end."""
        document = pulumi.Output.json_dumps(
            {
                "endpoint": pulumi.Output.concat("https://", self.domain.endpoint),
                "region": self._args.account.region,
                "documents": documents(self._args),
            }
        )
        return Task(
            name=_TASK,
            module="core.search",
            variable=VARIABLE,
            document=document,
            destinations=[],
            needs=[self._master.ready, self.domain],
        )

    def _log(self, kind: str, args: SearchArgs) -> cloudwatch.LogGroup:
        name = f"search-{kind.lower().replace('_', '-')}"
        return log_group(name, log_path(args.account, kind), args.account, args.logs_key, self)


def spread(instances: int, zones: int) -> int:
    """Over how many zones the domain goes: as many as its instances fill alike."""
    return max(count for count in range(1, min(_ZONES, zones) + 1) if instances % count == 0)


def documents(args: SearchArgs) -> dict[str, Any]:
    """What `core.search` puts, by path: roles, who has them, and when an index of logs ends."""
    logs = [f"{INDEX}-*"]
    write = [{"index_patterns": logs, "allowed_actions": ["create_index", "write"]}]
    read = [
        {"index_patterns": logs, "allowed_actions": ["read", "search"]},
        # Where the pages themselves keep what they show.
        {"index_patterns": list(_PAGES), "allowed_actions": ["delete", "index", "manage", "read"]},
    ]
    roles: dict[str, tuple[str, list[dict[str, Any]], Sequence[str]]] = {
        "falaj-log-writers": ("cluster_composite_ops", write, args.writers),
        "falaj-log-readers": ("cluster_composite_ops", read, args.readers),
    }
    found: dict[str, Any] = {}
    for name, (group, indices, members) in roles.items():
        found[f"_plugins/_security/api/roles/{name}"] = {"cluster_permissions": [group], "index_permissions": indices}
        found[f"_plugins/_security/api/rolesmapping/{name}"] = {"backend_roles": sorted(members)}
    ended = {"state_name": "ended", "conditions": {"min_index_age": f"{args.account.retention['logs']}d"}}
    found[f"_plugins/_ism/policies/{INDEX}"] = {
        "policy": {
            "description": "Logs end as the stack's retention says",
            "default_state": "kept",
            "states": [
                {"name": "kept", "actions": [], "transitions": [ended]},
                {"name": "ended", "actions": [{"delete": {}}], "transitions": []},
            ],
            "ism_template": [{"index_patterns": [f"{INDEX}-*"], "priority": 100}],
        }
    }
    return found


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
    """The domain may write its logs: with less, AWS refuses the domain.

    https://docs.aws.amazon.com/opensearch-service/latest/developerguide/createdomain-configure-slow-logs.html
    """
    return [
        {
            "Effect": "Allow",
            "Principal": {"Service": "es.amazonaws.com"},
            "Action": ["logs:PutLogEvents", "logs:PutLogEventsBatch", "logs:CreateLogStream"],
            "Resource": account.arn("logs", f"log-group:/{account.prefix}/search/*"),
            "Condition": {"StringEquals": {"aws:SourceAccount": account.id}, "ArnLike": {"aws:SourceArn": domain}},
        }
    ]

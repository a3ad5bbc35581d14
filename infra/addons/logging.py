"""Fluent Bit on every node ships the logs of pods and of the node; Loki keeps them where no cloud service does."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import yaml
from pulumi import ResourceOptions
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.errors import ConfigError
from infra.addons.chart import Values, install, requests
from infra.addons.monitoring import NAMESPACE as MONITORING
from infra.addons.pods import bring, files, secret_variables
from infra.config.platform import Logging
from infra.substrates.base import CLUSTER_LOGS
from infra.substrates.cluster import Access, Cluster, IdentitySpec, NamespaceSpec, Permission

SHIPPER = NamespaceSpec(name="logging", security="privileged", callers=(MONITORING.name,))
"""Fluent Bit reads the node's log files, which belong to root."""
LOKI = NamespaceSpec(name="loki", callers=(SHIPPER.name, MONITORING.name), data_class="logs")
ACCOUNT = "fluent-bit"
URL = "http://loki.loki.svc:3100"
"""Where Loki answers, for Fluent Bit and Grafana."""
_STATE = "/var/fluent-bit"
_LOKI_SCHEMA_FROM = "2024-04-01"
"""Before any stack: a schema holds from its day on, and must never change for days that have data."""


@dataclass(frozen=True, kw_only=True)
class LogGroup:
    """A group of CloudWatch Logs; it has its key and retention where it is made."""

    name: pulumi.Input[str]
    arn: pulumi.Input[str]
    region: str


@dataclass(frozen=True, kw_only=True)
class SearchDomain:
    """An OpenSearch domain, whose own roles must let the shipper's role write to `falaj-logs-*`."""

    host: pulumi.Input[str]
    arn: pulumi.Input[str]
    region: str


@dataclass(frozen=True, kw_only=True)
class LogsArgs:
    """Where logs go.

    Attributes:
        days: How long Loki keeps them; the other destinations hold that themselves.
        group: For the destination cloudwatch.
        domain: For the destination opensearch.
    """

    settings: Logging
    days: int
    group: LogGroup | None = None
    domain: SearchDomain | None = None


def output(settings: Logging) -> str:
    """Fluent Bit's output; where the destination is, its environment says."""
    match settings.destination:
        case "cloudwatch":
            where = {
                "Name": "cloudwatch_logs",
                "region": "${AWS_REGION}",
                "log_group_name": "${LOG_GROUP}",
                "log_stream_template": "$kubernetes['namespace_name'].$kubernetes['pod_name']"
                ".$kubernetes['container_name']",
                # Of what has no pod: the node's own.
                "log_stream_prefix": "node.${NODE_NAME}.",
                "auto_create_group": "Off",
            }
        case "opensearch":
            where = {
                "Name": "opensearch",
                "Host": "${SEARCH_HOST}",
                "Port": "443",
                "tls": "On",
                "tls.verify": "On",
                "AWS_Auth": "On",
                "AWS_Region": "${AWS_REGION}",
                "Logstash_Format": "On",
                "Logstash_Prefix": "falaj-logs",
                "Suppress_Type_Name": "On",
                # `app` and `app.kubernetes.io/name` cannot both be fields.
                "Replace_Dots": "On",
                "Trace_Error": "On",
                "Compress": "gzip",
                "Buffer_Size": "1M",
            }
        case "loki":
            where = {
                "Name": "loki",
                "Host": URL.removeprefix("http://").partition(":")[0],
                "Port": URL.rpartition(":")[2],
                "Labels": "job=fluent-bit, namespace=$kubernetes['namespace_name'], "
                "container=$kubernetes['container_name'], unit=$SYSTEMD_UNIT",
                "Structured_Metadata": "pod=$kubernetes['pod_name'], node=$node",
                "Remove_Keys": "kubernetes, node",
                "Line_Format": "json",
            }
    # An absent destination is waited for; what is older than fits on the node's disk is let go.
    return _section("OUTPUT", {"Match": "*", **where, "Retry_Limit": "no_limits", "storage.total_limit_size": "2G"})


def environment(args: LogsArgs) -> list[Values]:
    """Variables of Fluent Bit's container.

    Raises:
        ConfigError: The destination is not there.
    """
    found: dict[str, pulumi.Input[str]] = {}
    match args.settings.destination:
        case "cloudwatch" if args.group is not None:
            found = {"AWS_REGION": args.group.region, "LOG_GROUP": args.group.name}
        case "opensearch" if args.domain is not None:
            found = {"AWS_REGION": args.domain.region, "SEARCH_HOST": args.domain.host}
        case "cloudwatch" | "opensearch":
            raise ConfigError(f"logging.destination is {args.settings.destination}, on aws alone: set it to loki")
    node = {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    return [node, *({"name": name, "value": value} for name, value in found.items())]


def shipper_values(args: LogsArgs, registry: str, pull_secrets: list[str], monitored: bool) -> Values:
    """Values of Fluent Bit's chart.

    Args:
        registry: Stands for cr.fluentbit.io.
        monitored: Whether there is a Prometheus operator.
    """
    state = {"name": "state", "hostPath": {"path": "/var/lib/falaj-fluent-bit", "type": "DirectoryOrCreate"}}
    return {
        "fullnameOverride": ACCOUNT,
        "image": {"repository": f"{registry}/fluent/fluent-bit"},
        "imagePullSecrets": [{"name": name} for name in pull_secrets],
        "testFramework": {"enabled": False},
        "serviceAccount": {"name": ACCOUNT},
        "priorityClassName": "system-node-critical",
        # The logs of a node end with its last shipper, so that it runs on each, whatever the node is for.
        "tolerations": [{"operator": "Exists"}],
        "podSecurityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        # Root without any of its rights: the files belong to it.
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": requests("50m", "256Mi"),
        "env": environment(args),
        "serviceMonitor": {"enabled": monitored},
        "config": {
            "service": _service(),
            "inputs": _inputs(),
            "filters": _filters(),
            "outputs": output(args.settings),
            "customParsers": "",
        },
        "daemonSetVolumes": [{"name": "logs", "hostPath": {"path": "/var/log"}}, state],
        "daemonSetVolumeMounts": [
            {"name": "logs", "mountPath": "/var/log", "readOnly": True},
            # Where each file was read to, and what could not be sent yet.
            {"name": "state", "mountPath": _STATE},
        ],
    }


def loki_values(
    args: LogsArgs,
    registry: str,
    uri: str,
    access: Access,
    storage_class: str,
    pull_secrets: list[str],
    monitored: bool,
) -> Values:
    """Values of Loki's chart.

    Args:
        registry: Stands for docker.io.
        uri: Of the store, `s3://bucket/prefix`.
        access: What its containers need in order to use the store.
        monitored: Whether there is a Prometheus operator.
    """
    settings = args.settings
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    volumes, mounts = files(access.files)
    schema = {
        "from": _LOKI_SCHEMA_FROM,
        "store": "tsdb",
        "object_store": "s3",
        "schema": "v13",
        "index": {"prefix": "index_", "period": "24h"},
    }
    parts = ("gateway", "lokiCanary", "test", "chunksCache", "resultsCache", "ruler")
    return {
        "fullnameOverride": "loki",
        "global": {"imageRegistry": registry},
        "imagePullSecrets": [{"name": name} for name in pull_secrets],
        "deploymentMode": "Monolithic",
        "serviceAccount": {"name": "loki", "automountServiceAccountToken": False},
        "defaults": {"automountServiceAccountToken": False},
        "rbac": {"namespaced": True},
        "loki": {
            "auth_enabled": False,
            "analytics": {"reporting_enabled": False},
            "commonConfig": {"replication_factor": 3 if settings.loki_replicas >= 3 else 1},
            "limits_config": {"retention_period": f"{24 * args.days}h", "allow_structured_metadata": True},
            "compactor": {"retention_enabled": True, "delete_request_store": "s3"},
            "schemaConfig": {"configs": [schema]},
            "storage": {
                "type": "s3",
                "bucketNames": {"chunks": bucket},
                "use_thanos_objstore": True,
                "object_store": {"type": "s3", "storage_prefix": prefix, "s3": _objects(access)},
            },
        },
        "singleBinary": {
            "replicas": settings.loki_replicas,
            "sidecar": False,
            "resources": requests(f"{settings.loki_size.cpu:g}", f"{settings.loki_size.memory_mib}Mi"),
            "persistence": {"storageClass": storage_class, "size": f"{settings.loki_gib}Gi"},
            "extraEnv": secret_variables(access.secrets),
            "extraVolumes": volumes,
            "extraVolumeMounts": mounts,
        },
        **{part: {"enabled": False} for part in parts},
        **{part: {"replicas": 0} for part in ("backend", "read", "write")},
        "monitoring": {"serviceMonitor": {"enabled": monitored}},
    }


def rights(args: LogsArgs) -> list[Permission]:
    """What the shipper may do in the cloud: to write to its one destination."""
    if args.settings.destination == "cloudwatch" and args.group is not None:
        streams = pulumi.Output.concat(args.group.arn, ":*")
        return [Permission(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[streams])]
    if args.settings.destination == "opensearch" and args.domain is not None:
        return [Permission(actions=["es:ESHttpPost"], resources=[pulumi.Output.concat(args.domain.arn, "/_bulk")])]
    return []


def data_source() -> str:
    """Grafana's provisioning of Loki."""
    source = {"name": "Loki", "uid": "loki", "type": "loki", "access": "proxy", "url": URL, "isDefault": False}
    return yaml.dump({"apiVersion": 1, "datasources": [source]}, Dumper=yaml.CSafeDumper, sort_keys=False)


def _objects(access: Access) -> Values:
    """How Loki's client finds the object store and signs in: by the environment, as any client of AWS."""
    region = access.environment["AWS_REGION"]
    endpoint = access.environment.get("AWS_ENDPOINT_URL_S3")
    found: Values = {"native_aws_auth_enabled": True, "dualstack_enabled": False, "region": region}
    if endpoint is None:
        return {**found, "endpoint": f"s3.{region}.amazonaws.com"}
    authority = access.environment.get("AWS_CA_BUNDLE")
    return {
        **found,
        "endpoint": str(endpoint).removeprefix("https://"),
        "bucket_lookup_type": "path",
        **({"http": {"tls_ca_path": authority}} if authority else {}),
    }


def _service() -> str:
    return _section(
        "SERVICE",
        {
            "Daemon": "Off",
            "Flush": "5",
            "Log_Level": "warn",
            "Parsers_File": "/fluent-bit/etc/parsers.conf",
            "HTTP_Server": "On",
            "HTTP_Listen": "0.0.0.0",  # noqa: S104  # The pod's own address, for probes and Prometheus.
            "HTTP_Port": "2020",
            "Health_Check": "On",
            "storage.path": f"{_STATE}/buffer",
            "storage.backlog.mem_limit": "16M",
        },
    )


def _inputs() -> str:
    pods = {
        "Name": "tail",
        "Tag": "kube.*",
        "Path": "/var/log/containers/*.log",
        # What it says of a failed delivery would be delivered too.
        "Exclude_Path": f"/var/log/containers/{ACCOUNT}-*_{SHIPPER.name}_*.log",
        "multiline.parser": "cri",
        "DB": f"{_STATE}/containers.db",
        "DB.locking": "On",
        "Read_from_Head": "On",
        "Skip_Long_Lines": "On",
        "Rotate_Wait": "30",
        "storage.type": "filesystem",
    }
    node = {
        "Name": "systemd",
        "Tag": "node.*",
        "Path": "/var/log/journal",
        "DB": f"{_STATE}/journal.db",
        "Read_From_Tail": "On",
        "Strip_Underscores": "On",
        "storage.type": "filesystem",
    }
    return _section("INPUT", pods) + _section("INPUT", node)


def _filters() -> str:
    # A pod chooses neither how its lines are read nor whether they are kept.
    pods = {
        "Name": "kubernetes",
        "Match": "kube.*",
        "Merge_Log": "On",
        "Keep_Log": "Off",
        "Annotations": "Off",
        "Buffer_Size": "0",
        "K8S-Logging.Parser": "Off",
        "K8S-Logging.Exclude": "Off",
    }
    return _section("FILTER", pods) + _section(
        "FILTER", {"Name": "record_modifier", "Match": "*", "Record": "node ${NODE_NAME}"}
    )


def _section(name: str, settings: Mapping[str, str]) -> str:
    lines = "\n".join(f"    {key} {value}" for key, value in settings.items())
    return f"[{name}]\n{lines}\n"


class Logs(pulumi.ComponentResource):
    """The shipper on every node, and Loki with Grafana's data source for it where that is the destination."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        args: LogsArgs,
        monitors: pulumi.Resource | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`monitors` is what defines ServiceMonitor, and runs Grafana; None where nothing scrapes."""
        super().__init__("falaj:addons:Logs", name, None, opts)
        needs = [monitors] if monitors is not None else []
        cluster.namespace(SHIPPER)
        chart = shipper_values(
            args, cluster.registry("cr.fluentbit.io"), list(cluster.pull_secrets(SHIPPER)), monitors is not None
        )
        before = [*needs]
        if granted := rights(args):
            before.append(cluster.identity(IdentitySpec(namespace=SHIPPER.name, account=ACCOUNT, permissions=granted)))
        if args.settings.destination == "loki":
            before.append(self._loki(cluster, args, monitors))
        install("fluent-bit", cluster, SHIPPER, chart, parent=self, depends_on=before)
        self.register_outputs({})

    def _loki(self, cluster: Cluster, args: LogsArgs, monitors: pulumi.Resource | None) -> pulumi.Resource:
        cluster.namespace(LOKI)
        access = cluster.access([CLUSTER_LOGS])
        needs = [
            cluster.identity(IdentitySpec(namespace=LOKI.name, account="loki", writes=[CLUSTER_LOGS])),
            *bring(cluster, LOKI.name, access),
            *([monitors] if monitors is not None else []),
        ]
        chart = loki_values(
            args,
            cluster.registry("docker.io"),
            cluster.uri(CLUSTER_LOGS),
            access,
            cluster.storage_class,
            list(cluster.pull_secrets(LOKI)),
            monitors is not None,
        )
        if monitors is not None:
            ConfigMap(
                "loki-data-source",
                metadata=ObjectMetaArgs(
                    name="loki-data-source", namespace=MONITORING.name, labels={"grafana_datasource": "1"}
                ),
                data={"loki.yaml": data_source()},
                opts=ResourceOptions(parent=self, provider=cluster.provider, depends_on=[monitors]),
            )
        return install("loki", cluster, LOKI, chart, parent=self, depends_on=needs)

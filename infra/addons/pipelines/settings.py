"""What Kubeflow Pipelines and Argo Workflows read as configuration, and what every step of a run is given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import ConfigError
from infra.addons.chart import Values
from infra.addons.pods import pull, secret_variables
from infra.config.nodes import GPU_TAINT
from infra.substrates.base import SecretKey
from infra.substrates.cluster import USER, Placement, object_name

PLATFORM = "falaj-platform"
"""ConfigMap of the variables by which steps find the platform."""
FILES = "/etc/falaj/platform"
"""Where a step finds the platform's files."""
LOGS = "logs/{{workflow.name}}/{{workflow.creationTimestamp.Y}}/{{workflow.creationTimestamp.m}}/{{pod.name}}"
STEP = {"pipelines.kubeflow.org/v2_component": "true"}
"""Label of every pod of a run."""


def bucket(uri: str) -> tuple[str, str]:
    """Bucket and prefix of an object-store address.

    Raises:
        ConfigError: It is none.
    """
    scheme, _, rest = uri.partition("://")
    name, _, prefix = rest.partition("/")
    if scheme != "s3" or not name:
        raise ConfigError(f"pipelines keep artifacts in an object store, and {uri} is none: give the stack one")
    return name, prefix.strip("/")


def endpoint(environment: Mapping[str, str]) -> tuple[str, str]:
    """Host and port of the object store, from the variables that its clients read; the port is empty for the usual one.

    Raises:
        ConfigError: They name neither an endpoint nor a region.
    """
    address = environment.get("AWS_ENDPOINT_URL_S3")
    if address is not None:
        host, _, port = address.removeprefix("https://").rstrip("/").partition(":")
        return host, port
    if "AWS_REGION" not in environment:
        raise ConfigError("the object store's binding names no endpoint and no region: set AWS_REGION")
    return f"s3.{environment['AWS_REGION']}.amazonaws.com", ""


def api_server() -> str:
    """The API server's configuration: its own, less what belongs to another distribution."""
    return json.dumps(
        {
            "DBConfig": {"MySQLConfig": {"GroupConcatMaxLen": "4194304"}, "ConMaxLifeTime": "120s"},
            "DBDriverName": "mysql",
            "ARCHIVE_CONFIG_LOG_FILE_NAME": "main.log",
            "ARCHIVE_CONFIG_LOG_PATH_PREFIX": "/logs",
            "InitConnectionTimeout": "6m",
            "DEFAULTPIPELINERUNNERSERVICEACCOUNT": "pipeline-runner",
            "CacheEnabled": "true",
            "CRON_SCHEDULE_TIMEZONE": "UTC",
        },
        indent=1,
    )


def bouncer(host: str, port: str, authority: str) -> str:
    """PgBouncer's configuration: one database, over TLS that is verified, for clients of the same pod alone.

    It signs in at the server by itself: a client of its own TLS cannot pass SCRAM's channel binding on.

    Args:
        authority: File of certificates that the server's may be signed by; `system` for the public ones.
    """
    file = "/etc/ssl/certs/ca-certificates.crt" if authority == "system" else authority
    return "\n".join(
        [
            "[databases]",
            f"* = host={host} port={port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            "listen_port = 5432",
            "unix_socket_dir =",
            "auth_type = trust",
            "auth_file = /run/bouncer/users",
            "pool_mode = session",
            "server_tls_sslmode = verify-full",
            f"server_tls_ca_file = {file}",
            "ignore_startup_parameters = extra_float_digits",
            "",
        ]
    )


def launcher(root: str, host: str, port: str, region: str) -> dict[str, str]:
    """The ConfigMap `kfp-launcher`: where artifacts go, with the step's own identity or variables."""
    provider = {
        "default": {
            "endpoint": f"{host}:{port}" if port else host,
            "region": region,
            "disableSSL": False,
            "credentials": {"fromEnv": True},
        }
    }
    return {"defaultPipelineRoot": f"{root}/runs", "providers": json.dumps({"s3": provider})}


def workflows(
    name: str,
    prefix: str,
    host: str,
    port: str,
    region: str,
    keys: Mapping[str, SecretKey],
    authority: SecretKey | None,
    run_days: int,
) -> dict[str, str]:
    """Argo's ConfigMap: logs of steps to the object store, and what holds for all pods of runs.

    Args:
        name: Of the bucket.
        keys: Secret variables of the object store's clients; none where the pod's identity is enough.
        authority: That signed the store's certificate, where it is a private one.
    """

    def reference(value: SecretKey) -> dict[str, str]:
        return {"name": object_name(value.secret), "key": value.key}

    store: Values = {"endpoint": f"{host}:{port}" if port else host, "bucket": name, "region": region}
    store["keyFormat"] = f"{prefix}/{LOGS}"
    if keys:
        store["accessKeySecret"] = reference(keys["AWS_ACCESS_KEY_ID"])
        store["secretKeySecret"] = reference(keys["AWS_SECRET_ACCESS_KEY"])
    else:
        store["useSDKCreds"] = True
    if authority is not None:
        store["caSecret"] = reference(authority)
    executor = {
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    defaults = {
        "spec": {
            "ttlStrategy": {"secondsAfterCompletion": 86_400 * run_days},
            "templateDefaults": {"retryStrategy": {"limit": "2", "retryPolicy": "OnError"}},
        }
    }
    return {
        "artifactRepository": json.dumps({"archiveLogs": True, "s3": store}),
        "executor": json.dumps(executor),
        "workflowDefaults": json.dumps(defaults),
        "metricsConfig": json.dumps({"enabled": True, "path": "/metrics", "port": 9090, "secure": False}),
    }


def workflow_patch(
    cpu: Placement,
    gpu: Placement | None,
    secrets: Mapping[str, SecretKey],
    files: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
    pull_secrets: Sequence[str],
) -> str:
    """What the API server changes in every workflow: where its pods run, and what their containers are given.

    A step that asks for a GPU runs on the GPU pool: it alone tolerates that pool's taint, which API servers with
    the plugin ExtendedResourceToleration see to by themselves.

    Args:
        gpu: None where no step may have a GPU.
        secrets: Variables of every step's container.
        files: Volumes and mounts of the stores' files.
    """
    places = [cpu, *([gpu] if gpu else [])]
    taints = {taint for place in places for taint in place.tolerations if taint.key != GPU_TAINT}
    volumes, mounts = files
    pod = {
        "containers": [
            {
                "name": "main",
                # The list replaces the compiled one, whose only entry is the first.
                "envFrom": [
                    {"configMapRef": {"name": "metadata-grpc-configmap", "optional": True}},
                    {"configMapRef": {"name": PLATFORM}},
                ],
                "env": [{"name": "HOME", "value": "/tmp"}, *secret_variables(secrets)],  # noqa: S108
                "volumeMounts": [*mounts, {"name": "platform", "mountPath": FILES, "readOnly": True}],
            }
        ],
        "volumes": [*volumes, {"name": "platform", "configMap": {"name": f"{PLATFORM}-files"}}],
        # The templates set theirs, so that the workflow's own would be lost.
        "securityContext": {"fsGroup": USER, "runAsNonRoot": True, "runAsUser": USER},
    }
    terms = [
        {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": [value]} for key, value in sorted(place.node_selector.items())
            ]
        }
        for place in places
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    spec = {
        # A term without a label would match no node.
        **({"affinity": {"nodeAffinity": required}} if all(place.node_selector for place in places) else {}),
        "tolerations": [
            {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": "NoSchedule"}
            for taint in sorted(taints)
        ],
        "imagePullSecrets": pull(pull_secrets),
        "podPriorityClassName": "falaj-batch",
        "podSpecPatch": json.dumps(pod, sort_keys=True),
    }
    return json.dumps(spec, sort_keys=True)

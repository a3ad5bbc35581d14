"""A workload as Kubernetes objects: plain documents, made from what the service declares of itself."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pulumi

from core.errors import ConfigError
from infra.config.nodes import GPU_RESOURCE
from infra.substrates.base import SecretKey, Workload
from infra.substrates.cluster import USER, Placement, object_name
from infra.substrates.kubernetes.bindings import SecretFile, StoreBinding

CONFIGURATION = PurePosixPath("/etc/falaj")
SCRATCH = PurePosixPath("/run/falaj")
_DRAIN_SECONDS = 5
"""Between being told to stop and stopping: until then the gateway may still send requests."""
_PROBE_SECONDS = 2


def labels(workload: str) -> dict[str, str]:
    """What selects a workload's pods."""
    return {"app.kubernetes.io/name": object_name(workload), "app.kubernetes.io/part-of": "falaj"}


def secret_keys(workload: Workload, bindings: Sequence[StoreBinding]) -> dict[str, set[str]]:
    """The secrets that a workload's pods read, each with its keys."""
    found: dict[str, set[str]] = {}
    values = [*workload.secrets.values()]
    for binding in bindings:
        values += [*binding.secrets.values(), *(file.value for file in binding.files)]
    for value in values:
        found.setdefault(value.secret, set()).add(value.key)
    return found


def pod(
    workload: Workload,
    *,
    image: str,
    bindings: Sequence[StoreBinding],
    placement: Placement,
    pull_secret: str | None,
) -> dict[str, Any]:
    """The template of a workload's pods.

    Raises:
        ConfigError: Two of its stores set a variable differently.
    """
    name = object_name(workload.name)
    volumes, mounts = _volumes(workload, bindings)
    container = {
        "name": name,
        "image": image,
        "command": list(workload.command),
        "env": _environment(workload, bindings),
        "ports": [{"name": port, "containerPort": spec.number} for port, spec in workload.ports.items()],
        "resources": _resources(workload),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {
            "httpGet": {"path": workload.readiness.path, "port": workload.readiness.port},
            "periodSeconds": _PROBE_SECONDS,
            "failureThreshold": math.ceil(workload.start_seconds / _PROBE_SECONDS),
        },
        "readinessProbe": {
            "httpGet": {"path": workload.readiness.path, "port": workload.readiness.port},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
        },
        # A service that waits for another is not ready, and a restart would not help it.
        "livenessProbe": {"tcpSocket": {"port": workload.readiness.port}, "periodSeconds": 10, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        "volumeMounts": mounts,
    }
    still = [pulumi.Output.from_input(file.content) for file in workload.files if not file.watched]
    annotations = {"falaj.ae/files": pulumi.Output.all(*still).apply(_digest)} if still else {}
    return {
        "metadata": {"labels": labels(workload.name), "annotations": annotations},
        "spec": {
            "serviceAccountName": name,
            "automountServiceAccountToken": workload.cluster_api,
            "enableServiceLinks": False,
            "priorityClassName": priority_class(workload.priority),
            "terminationGracePeriodSeconds": workload.grace_seconds + _DRAIN_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": key,
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": labels(workload.name)},
                }
                for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
            ],
            **placement.document(),
            "imagePullSecrets": [{"name": object_name(pull_secret)}] if pull_secret else [],
            "containers": [container],
            "volumes": volumes,
        },
    }


def priority_class(priority: str) -> str:
    """The PriorityClass of what gives way at `priority`."""
    return f"falaj-{priority}"


def _resources(workload: Workload) -> dict[str, Any]:
    wanted = workload.resources
    gpus = {GPU_RESOURCE: str(wanted.gpus)} if wanted.gpus else {}
    memory = f"{wanted.memory_mib}Mi"
    return {
        "requests": {"cpu": f"{round(1000 * wanted.cpu)}m", "memory": memory, **gpus},
        # Twice the CPU lets a start be quick; memory beyond the request would be taken from others.
        "limits": {"cpu": f"{round(2000 * wanted.cpu)}m", "memory": memory, **gpus},
    }


def _environment(workload: Workload, bindings: Sequence[StoreBinding]) -> list[dict[str, Any]]:
    plain: dict[str, pulumi.Input[str]] = {"HOME": "/tmp"}  # noqa: S108
    secret: dict[str, SecretKey] = {}
    for values, secrets in [
        (workload.environment, workload.secrets),
        *((binding.environment, binding.secrets) for binding in bindings),
    ]:
        merge(workload.name, plain, values)
        merge(workload.name, secret, secrets)
    both = sorted(plain.keys() & secret.keys())
    if both:
        raise ConfigError(f"{workload.name}: {both[0]} is set both in clear and from a secret: keep the secret")
    found: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in sorted(plain.items())]
    found += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": object_name(value.secret), "key": value.key}}}
        for key, value in sorted(secret.items())
    ]
    return found


def merge(workload: str, into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Add variables to those of a container.

    Raises:
        ConfigError: One is set already, to something else.
    """
    for key, value in values.items():
        if into.setdefault(key, value) is not value and into[key] != value:
            raise ConfigError(f"{workload}: two of its stores set {key} differently, and a container has one of each")


def _volumes(workload: Workload, bindings: Sequence[StoreBinding]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {"sizeLimit": "1Gi"}} for name in ("tmp", "scratch")]
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        {"name": "scratch", "mountPath": str(SCRATCH / workload.name)},
    ]
    if workload.files:
        volumes.append({"name": "files", "configMap": {"name": object_name(workload.name)}})
        mounts.append({"name": "files", "mountPath": str(CONFIGURATION / workload.name), "readOnly": True})
    folders: dict[str, set[SecretFile]] = {}
    for file in (file for binding in bindings for file in binding.files):
        folders.setdefault(str(PurePosixPath(file.path).parent), set()).add(file)
    for index, (folder, files) in enumerate(sorted(folders.items())):
        sources = [
            {
                "secret": {
                    "name": object_name(file.value.secret),
                    "items": [{"key": file.value.key, "path": PurePosixPath(file.path).name}],
                }
            }
            for file in sorted(files, key=lambda file: file.path)
        ]
        volumes.append({"name": f"secrets-{index}", "projected": {"sources": sources, "defaultMode": 0o440}})
        mounts.append({"name": f"secrets-{index}", "mountPath": folder, "readOnly": True})
    return volumes, mounts


def _digest(contents: list[str]) -> str:
    return hashlib.sha256("\0".join(contents).encode()).hexdigest()

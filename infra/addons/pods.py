"""What pods of third-party parts need in order to use the stack's stores, as fields of a pod's specification."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pulumi

from infra.substrates.base import SecretKey
from infra.substrates.cluster import Access, Cluster, object_name

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Security context of a container that writes nowhere but into its volumes."""


def bring(cluster: Cluster, namespace: str, access: Access) -> list[pulumi.Resource]:
    """Put the secrets that a container reads into its namespace; its pods depend on them."""
    wanted: dict[str, set[str]] = {}
    for value in (*access.secrets.values(), *access.files.values()):
        wanted.setdefault(value.secret, set()).add(value.key)
    return [
        cluster.secret(namespace, name, {key: key for key in sorted(keys)}) for name, keys in sorted(wanted.items())
    ]


def secret_variables(secrets: Mapping[str, SecretKey]) -> list[dict[str, Any]]:
    """Variables of a container whose values are in secrets."""
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": object_name(value.secret), "key": value.key}}}
        for name, value in sorted(secrets.items())
    ]


def files(found: Mapping[str, SecretKey]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of a pod and mounts of a container for files from secrets: one of each for every folder."""
    folders: dict[str, list[tuple[str, SecretKey]]] = {}
    for path, value in sorted(found.items()):
        folders.setdefault(str(PurePosixPath(path).parent), []).append((PurePosixPath(path).name, value))
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for index, (folder, contents) in enumerate(folders.items()):
        name = f"secrets-{index}"
        sources = [
            {"secret": {"name": object_name(value.secret), "items": [{"key": value.key, "path": file}]}}
            for file, value in contents
        ]
        volumes.append({"name": name, "projected": {"sources": sources, "defaultMode": 0o440}})
        mounts.append({"name": name, "mountPath": folder, "readOnly": True})
    return volumes, mounts


def pull(names: Sequence[str]) -> list[dict[str, str]]:
    """`imagePullSecrets` of a pod."""
    return [{"name": name} for name in names]

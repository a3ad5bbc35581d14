"""Velero: objects of the cluster and the contents of its volumes in the object store, so that another cluster can
take over.

Copied are the namespaces that the stack's file gives something to keep: what people made in them (notebooks,
runs, models' definitions) and all volumes. Not copied are Secrets, which would lie in the bucket in clear: External
Secrets brings them anew, and those put in by hand on a site must be put in again. The platform itself comes from its
program, not from a copy.

A restore elsewhere takes the object store's bucket or a copy of it, a stack with the same store and `volumes`, and:
1. `pulumi up` of that stack: the parts, namespaces, identities and secrets;
2. `velero restore create --from-schedule velero-daily --existing-resource-policy none`: the rest, and the volumes.
The archive of volumes is encrypted with a password that is the same for each Velero: what protects it is the
bucket's own key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons.chart import Values, install, requests
from infra.addons.monitoring import NAMESPACE as MONITORING
from infra.addons.pods import RESTRICTED, bring, secret_variables
from infra.config.platform import ClusterBackup
from infra.substrates.base import CLUSTER_BACKUP
from infra.substrates.cluster import Access, Cluster, IdentitySpec, NamespaceSpec, object_name

NAMESPACE = NamespaceSpec(name="velero", security="baseline", callers=(MONITORING.name,))
"""What reads volumes is root, or it could not read what belongs to others; it has no part of its node."""
ACCOUNT = "velero"
SCHEDULE = "daily"
_USER = 65_532
"""Of the image."""


@dataclass(frozen=True, kw_only=True)
class VeleroArgs:
    """What is copied.

    Attributes:
        namespaces: Whose objects and volumes.
        snapshot_driver: The CSI driver whose volumes are copied, where the stack runs it; None where the site has
            a VolumeSnapshotClass.
        monitored: Whether there is a Prometheus operator.
    """

    settings: ClusterBackup
    namespaces: Sequence[str]
    snapshot_driver: str | None
    monitored: bool


def values(args: VeleroArgs, registry: str, plugin: str, access: Access, pull_secrets: list[str]) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for docker.io.
        plugin: The image with the object store's plugin.
        access: What its containers need in order to use the store.
    """
    settings = args.settings
    moved = settings.volumes
    variables = secret_variables(access.secrets)
    template = {
        "ttl": f"{24 * settings.keep_days}h",
        "includedNamespaces": sorted(args.namespaces),
        "excludedResources": ["secrets", "events", "events.events.k8s.io"],
        # A snapshot alone would stay where the cluster is.
        "snapshotVolumes": moved,
        "snapshotMoveData": moved,
    }
    return {
        "fullnameOverride": "velero",
        "image": {"repository": f"{registry}/velero/velero", "imagePullSecrets": pull_secrets},
        "serviceAccount": {"server": {"name": ACCOUNT}},
        "podSecurityContext": {"runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER},
        "containerSecurityContext": RESTRICTED,
        "resources": requests("100m", "512Mi"),
        "initContainers": [
            {
                "name": "plugin",
                "image": plugin,
                "securityContext": RESTRICTED,
                "resources": requests("10m", "64Mi"),
                "volumeMounts": [{"name": "plugins", "mountPath": "/target"}],
            }
        ],
        "credentials": {"useSecret": False},
        # Ours, for it can name the secret with the store's authority.
        "backupsEnabled": False,
        "snapshotsEnabled": False,
        # Hooks, which Pulumi does not run: the definitions are part of the chart.
        "upgradeCRDs": False,
        "cleanUpCRDs": False,
        "configuration": {"extraEnvVars": variables, "defaultBackupStorageLocation": "default"},
        "deployNodeAgent": moved,
        "nodeAgent": {
            "disableHostPath": True,
            "podSecurityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containerSecurityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            # Volumes are read by pods that it starts; it only waits for them, on each node that may have one.
            "tolerations": [{"operator": "Exists"}],
            "priorityClassName": "system-node-critical",
            "resources": requests("10m", "256Mi"),
            "extraEnvVars": [],
        },
        "metrics": {"serviceMonitor": {"enabled": args.monitored, "autodetect": False}},
        "schedules": {SCHEDULE: {"schedule": settings.schedule, "template": template}},
    }


def location(uri: str, access: Access) -> Values:
    """Specification of the BackupStorageLocation: where copies go.

    Args:
        uri: Of the store, `s3://bucket/prefix`.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    endpoint = access.environment.get("AWS_ENDPOINT_URL_S3")
    config = {"region": access.environment["AWS_REGION"]}
    if endpoint is not None:
        # Other makers' stores know neither names of buckets in addresses nor Amazon's checksums.
        config |= {"s3Url": endpoint, "s3ForcePathStyle": "true", "checksumAlgorithm": ""}
    authority = next(iter(access.files.values()), None)
    trusted = {"caCertRef": {"name": object_name(authority.secret), "key": authority.key}} if authority else {}
    return {
        "provider": "aws",
        "default": True,
        "accessMode": "ReadWrite",
        "objectStorage": {"bucket": bucket, "prefix": prefix, **trusted},
        "config": config,
    }


class Velero(pulumi.ComponentResource):
    """The server, what reads volumes, and the daily schedule."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        args: VeleroArgs,
        monitors: pulumi.Resource | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`monitors` is what defines ServiceMonitor; None where nothing scrapes."""
        super().__init__("falaj:addons:Velero", name, None, opts)
        cluster.namespace(NAMESPACE)
        access = cluster.access([CLUSTER_BACKUP])
        needs = [
            cluster.identity(IdentitySpec(namespace=NAMESPACE.name, account=ACCOUNT, writes=[CLUSTER_BACKUP])),
            *bring(cluster, NAMESPACE.name, access),
            *([monitors] if monitors is not None else []),
        ]
        plugin = cluster.image(pins().image("velero-plugin-for-aws"))
        chart = values(args, cluster.registry("docker.io"), plugin, access, list(cluster.pull_secrets(NAMESPACE)))
        server = install("velero", cluster, NAMESPACE, chart, parent=self, depends_on=needs)
        options = ResourceOptions(parent=self, provider=cluster.provider, depends_on=[server])
        CustomResource(
            "default",
            api_version="velero.io/v1",
            kind="BackupStorageLocation",
            metadata=ObjectMetaArgs(name="default", namespace=NAMESPACE.name),
            spec=location(cluster.uri(CLUSTER_BACKUP), access),
            opts=options,
        )
        if args.settings.volumes and args.snapshot_driver is not None:
            # The SDK's CustomResource knows no field beside `spec`, and this kind has none of that name.
            pulumi.CustomResource(
                "kubernetes:snapshot.storage.k8s.io/v1:VolumeSnapshotClass",
                "snapshots",
                {
                    "apiVersion": "snapshot.storage.k8s.io/v1",
                    "kind": "VolumeSnapshotClass",
                    "metadata": {"name": "falaj", "labels": {"velero.io/csi-volumesnapshot-class": "true"}},
                    "driver": args.snapshot_driver,
                    "deletionPolicy": "Delete",
                },
                options,
            )
        self.register_outputs({})

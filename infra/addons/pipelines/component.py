"""Kubeflow Pipelines in one namespace, behind the gateway, and what its steps are given."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import yaml
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.kustomize.v2 import Directory
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from core.platform import Platform
from infra.addons import connections
from infra.addons.connections import Connection
from infra.addons.pipelines import settings
from infra.addons.pipelines.kustomization import DATABASE, INSTALL, OBJECTS, RUNNER, SETTINGS, Kustomization
from infra.addons.pods import bring, files
from infra.config.platform import Pipelines as Settings
from infra.config.platform import Quota
from infra.substrates.base import (
    AUDIT_LOG,
    FEATURE_REGISTRY,
    LINEAGE,
    MODELS,
    OFFLINE_FEATURES,
    ONLINE_FEATURES,
    PIPELINE_ARTIFACTS,
    PIPELINE_METADATA,
    PIPELINE_RUNS,
    PROFILES,
    PSEUDONYM_KEY,
    RAW,
)
from infra.substrates.cluster import USER, Access, Backend, Cluster, ClusterRoute, IdentitySpec, NamespaceSpec

NAME = "pipelines"
KEY_FILE = "/var/run/secrets/falaj/key"
KEY_SECRET = "falaj-pseudonym-key"  # noqa: S105 - the name of a Kubernetes secret
"""The one step that reads the key mounts it there, by this name; see pipelines/training.py."""
STEP_READS = (RAW, PSEUDONYM_KEY)
STEP_WRITES = (
    FEATURE_REGISTRY,
    ONLINE_FEATURES,
    OFFLINE_FEATURES,
    PROFILES,
    MODELS,
    PIPELINE_ARTIFACTS,
    AUDIT_LOG,
    LINEAGE,
)
_OWN = Quota(cpu=2, memory_gib=6, pods=20)
"""What the namespace's own servers need beside the quota of the steps."""
_API = {"app": "ml-pipeline"}
_UI = {"app": "ml-pipeline-ui"}
_AGENT = {"app": "ml-pipeline-persistenceagent"}
_SCHEDULER = {"app": "ml-pipeline-scheduledworkflow"}
_METADATA = {"component": "metadata-grpc-server"}
_ENVOY = {"component": "metadata-envoy"}
_CONTROLLER = {"app": "workflow-controller"}
CONNECTIONS = (
    Connection(name="ui-runs", caller=_UI, callee=_API, ports=(8888,)),
    Connection(name="ui-metadata", caller=_UI, callee=_ENVOY, ports=(9090,)),
    Connection(name="envoy-metadata", caller=_ENVOY, callee=_METADATA, ports=(8080,)),
    Connection(name="agent-runs", caller=_AGENT, callee=_API, ports=(8887, 8888)),
    Connection(name="scheduler-runs", caller=_SCHEDULER, callee=_API, ports=(8887, 8888)),
    Connection(name="steps-runs", caller=settings.STEP, callee=_API, ports=(8887, 8888)),
    Connection(name="steps-metadata", caller=settings.STEP, callee=_METADATA, ports=(8080,)),
)
CLUSTER_API = {
    "runs": _API,
    "ui": _UI,
    "agent": _AGENT,
    "scheduler": _SCHEDULER,
    "controller": _CONTROLLER,
    "steps": settings.STEP,
}
SCRAPED = {"runs": (_API, 8888), "controller": (_CONTROLLER, 9090)}


@dataclass(frozen=True, kw_only=True)
class PipelinesArgs:
    """What a stack says of its pipelines.

    Attributes:
        platform: Addresses of the platform's parts as a step sees them; `feature_store` is `settings.FILES`.
        services: Names of our workloads that steps call.
        files: Content of each file that a step finds in `settings.FILES`: feature_store.yaml.
        folder: Where the kustomization is written, a folder of its own.
    """

    settings: Settings
    platform: Platform
    services: Sequence[str]
    files: Mapping[str, pulumi.Input[str]]
    folder: Path


def namespace(found: Settings) -> NamespaceSpec:
    """The one namespace of servers and runs: in single-user mode, runs are where the API server is."""
    quota = Quota(
        cpu=found.quota.cpu + _OWN.cpu,
        memory_gib=found.quota.memory_gib + _OWN.memory_gib,
        gpus=found.quota.gpus,
        pods=found.quota.pods + _OWN.pods,
    )
    return NamespaceSpec(name=NAME, quota=quota, container=found.step, isolated=True)


def route() -> ClusterRoute:
    """The user interface and, below it, the API; both know the path by themselves."""
    backend = Backend(service="ml-pipeline-ui", port=80, pods=_UI, pod_port=3000)
    return ClusterRoute(name=NAME, namespace=NAME, prefixes=["/pipeline/"], backends=[backend], page=True)


class Pipelines(pulumi.ComponentResource):
    """The API server with its user interface, Argo's controller and the metadata store.

    `ready` is what pipelines and their schedules depend on; `namespace` is where runs are.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        args: PipelinesArgs,
        monitors: pulumi.Resource | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`monitors` is what defines PodMonitor; None where nothing scrapes."""
        super().__init__("falaj:addons:Pipelines", name, None, opts)
        self._cluster, self._args = cluster, args
        self.namespace = namespace(args.settings)
        within = cluster.namespace(self.namespace)
        self._options = ResourceOptions(parent=self, provider=cluster.provider, depends_on=[within])
        pull = list(cluster.pull_secrets(self.namespace))
        objects = cluster.access([PIPELINE_ARTIFACTS])
        runs, metadata = cluster.access([PIPELINE_RUNS]), cluster.access([PIPELINE_METADATA])
        steps = self._steps()
        every = Access(
            environment={},
            secrets={**objects.secrets, **metadata.secrets, **steps.secrets},
            files={**objects.files, **runs.files, **metadata.files, **steps.files},
        )
        user, password = runs.secrets["MYSQL_USER"], runs.secrets["MYSQL_PASSWORD"]
        before: list[pulumi.Resource] = [
            *bring(cluster, NAME, every),
            cluster.secret(NAME, user.secret, {"username": user.key, "password": password.key}, called=DATABASE),
            *self._identities(),
            *self._configuration(objects, runs, metadata, steps, pull),
            *self._connections(),
        ]
        document = Kustomization(
            kfp=self._source("kubeflow-pipelines"),
            argo=self._source("argo-workflows"),
            namespace=NAME,
            settings=args.settings,
            registries={upstream: cluster.registry(upstream) for upstream in ("gcr.io", "ghcr.io", "quay.io")},
            image=cluster.image(pins().image("platform")),
            objects=objects.secrets,
            metadata=metadata.secrets,
            metadata_database=cluster.uri(PIPELINE_METADATA).rpartition("/")[2],
            files=files(every.files),
            placement=cluster.placement("services"),
            pull_secrets=pull,
        ).document()
        args.folder.mkdir(parents=True, exist_ok=True)
        (args.folder / "kustomization.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=1000))
        self.ready = Directory(
            "kubeflow-pipelines",
            directory=str(args.folder),
            opts=ResourceOptions.merge(self._options, ResourceOptions(depends_on=before)),
        )
        cluster.route(route())
        if monitors is not None:
            self._monitor(monitors)
        self.register_outputs({})

    def _source(self, pin: str) -> str:
        """Where manifests are, as the kustomization names it."""
        found = self._cluster.manifest(pins().manifest(pin))
        return found if "://" in found else os.path.relpath(found, self._args.folder)

    def _steps(self) -> Access:
        """What every step is given; the pseudonyms' key is for the one step that mounts it."""
        return self._cluster.access([store for store in (*STEP_READS, *STEP_WRITES) if store != PSEUDONYM_KEY])

    def _identities(self) -> list[pulumi.Resource]:
        key = next(iter(self._cluster.access([PSEUDONYM_KEY]).files.values()))
        return [
            self._cluster.secret(NAME, key.secret, {"key": key.key}, called=KEY_SECRET),
            self._cluster.identity(
                IdentitySpec(namespace=NAME, account=RUNNER, reads=STEP_READS, writes=STEP_WRITES, pods=settings.STEP),
            ),
            self._cluster.identity(
                IdentitySpec(
                    namespace=NAME, account="ml-pipeline", writes=[PIPELINE_ARTIFACTS, PIPELINE_RUNS], pods=_API
                )
            ),
            self._cluster.identity(
                IdentitySpec(namespace=NAME, account="ml-pipeline-ui", reads=[PIPELINE_ARTIFACTS], pods=_UI),
            ),
            self._cluster.identity(
                IdentitySpec(namespace=NAME, account="metadata-grpc-server", writes=[PIPELINE_METADATA], pods=_METADATA)
            ),
        ]

    def _configuration(
        self, objects: Access, runs: Access, metadata: Access, steps: Access, pull: Sequence[str]
    ) -> list[pulumi.Resource]:
        cluster, found = self._cluster, self._args.settings
        root = cluster.uri(PIPELINE_ARTIFACTS)
        bucket, prefix = settings.bucket(root)
        place = pulumi.Output.all(**objects.environment)
        address = place.apply(settings.endpoint)
        region = objects.environment.get("AWS_REGION", "us-east-1")
        authority = objects.environment.get("AWS_CA_BUNDLE", "")
        keys = {name: value for name, value in objects.secrets.items() if name.startswith("AWS_")}
        patch = settings.workflow_patch(
            cluster.placement("pipelines", found.pool),
            cluster.placement("pipelines", found.gpu_pool) if found.gpu_pool else None,
            steps.secrets,
            files(steps.files),
            pull,
        )
        install: dict[str, pulumi.Input[str]] = {
            "bucketName": bucket,
            "objectsHost": address.apply(lambda found: found[0]),
            "objectsPort": address.apply(lambda found: found[1]),
            "objectsRegion": region,
            "objectsPath": f"{prefix}/definitions",
            "objectsAuthority": authority,
            "logsFormat": f"{prefix}/{settings.LOGS}",
            "dbType": "mysql",
            "mysqlHost": runs.environment["MYSQL_HOST"],
            "mysqlPort": runs.environment["MYSQL_PORT"],
            "mysqlAuthority": runs.environment.get("MYSQL_SSL_CA", ""),
            "pipelineDb": cluster.uri(PIPELINE_RUNS).rpartition("/")[2],
            "ConMaxLifeTime": "120s",
            "autoUpdatePipelineDefaultVersion": "true",
            "cronScheduleTimezone": "UTC",
            "ARTIFACTS_PROXY_ENABLED": "false",
            "BLOCK_V1_PIPELINES": "true",
            "V1_ALLOWED_NAMESPACES": "",
            "defaultSecurityContextRunAsUser": str(USER),
            "defaultSecurityContextRunAsGroup": str(USER),
            "defaultSecurityContextRunAsNonRoot": "true",
            "defaultSecurityContextHostUsers": "",
            "workflowPatch": patch,
        }
        bouncer = pulumi.Output.all(
            metadata.environment["PGHOST"],
            metadata.environment["PGPORT"],
            metadata.environment.get("PGSSLROOTCERT", "system"),
        ).apply(lambda found: settings.bouncer(found[0], found[1], found[2]))
        at = pulumi.Output.all(address, region)
        launcher = at.apply(lambda found: settings.launcher(root, found[0][0], found[0][1], found[1]))
        signed = objects.files.get(str(authority)) if isinstance(authority, str) else None
        controller = at.apply(
            lambda found: settings.workflows(
                bucket,
                prefix,
                found[0][0],
                found[0][1],
                found[1],
                keys,
                signed,
                self._args.settings.run_days,
            )
        )
        platform = {**steps.environment, **self._args.platform.to_environment()}
        contents: dict[str, pulumi.Input[Mapping[str, pulumi.Input[str]]]] = {
            INSTALL: install,
            OBJECTS: {**objects.environment},
            SETTINGS: {"config.json": settings.api_server(), "pgbouncer.ini": bouncer},
            "kfp-launcher": launcher,
            "workflow-controller-configmap": controller,
            settings.PLATFORM: platform,
            f"{settings.PLATFORM}-files": dict(self._args.files),
        }
        return [
            ConfigMap(
                f"{NAME}/{name}",
                metadata=ObjectMetaArgs(name=name, namespace=NAME),
                data=data,
                opts=self._options,
            )
            for name, data in contents.items()
        ]

    def _connections(self) -> list[pulumi.Resource]:
        self._cluster.connect(NAME, settings.STEP, self._args.services)
        documents = connections.documents(CONNECTIONS, CLUSTER_API, self._cluster.control_plane, SCRAPED)
        return connections.declare(self._cluster, self.namespace, documents, self)

    def _monitor(self, monitors: pulumi.Resource) -> None:
        for name, (pods, port) in SCRAPED.items():
            CustomResource(
                f"{NAME}/{name}-metrics",
                api_version="monitoring.coreos.com/v1",
                kind="PodMonitor",
                metadata=ObjectMetaArgs(name=f"pipelines-{name}", namespace=NAME),
                spec={
                    "selector": {"matchLabels": dict(pods)},
                    "podMetricsEndpoints": [{"portNumber": port, "path": "/metrics"}],
                },
                opts=ResourceOptions.merge(self._options, ResourceOptions(depends_on=[monitors])),
            )

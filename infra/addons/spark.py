"""The Spark operator: jobs over data that outgrow one machine, on one pool, within a quota."""

from collections.abc import Sequence

import pulumi
import yaml
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons import connections, limits, rights
from infra.addons.chart import Values, install, requests
from infra.addons.connections import Connection
from infra.addons.limits import Rule
from infra.addons.pods import bring, files, pull, secret_variables
from infra.config.platform import Spark as Settings
from infra.substrates.base import CURATED, OFFLINE_FEATURES, RAW
from infra.substrates.cluster import Access, Cluster, IdentitySpec, NamespaceSpec, Placement

NAMESPACE = NamespaceSpec(name="spark-operator", webhooks=(9443,))
JOBS = "spark"
ACCOUNT = "spark"
READS = (RAW,)
WRITES = (CURATED, OFFLINE_FEATURES)
EXAMPLE = "spark-application"
"""ConfigMap of the namespace with a whole SparkApplication that runs there: what a job begins from."""
_GROUP = "sparkoperator.k8s.io"
_USER = 185
"""Of Spark's own image."""


def jobs(settings: Settings) -> NamespaceSpec:
    """Where drivers and executors run."""
    return NamespaceSpec(name=JOBS, quota=settings.quota)


def values(ghcr: str, placement: Placement, replicas: int, pull_secrets: Sequence[str] = ()) -> Values:
    """Values of the chart.

    Args:
        ghcr: Host that stands for ghcr.io.
        replicas: Of controller and webhook, without which no job can be made.
    """
    where = placement.document()
    budget = {"enable": replicas > 1}
    return {
        "image": {"registry": ghcr, "pullSecrets": pull(pull_secrets)},
        "controller": {
            "replicas": replicas,
            **where,
            # Each submission starts a Java machine in the controller's pod.
            "resources": requests("100m", "1Gi"),
            "podDisruptionBudget": budget,
            "uiService": {"enable": False},
        },
        "webhook": {
            "replicas": replicas,
            **where,
            "resources": requests("50m", "256Mi"),
            "podDisruptionBudget": budget,
        },
        "spark": {"jobNamespaces": [JOBS], "serviceAccount": {"name": ACCOUNT}},
        "prometheus": {"podMonitor": {"create": False}},
    }


def application(
    image: str, version: str, settings: Settings, placement: Placement, access: Access, pull_secrets: Sequence[str]
) -> Values:
    """A SparkApplication that counts to pi: where, as whom and with what a job of this stack runs."""
    volumes, mounts = files(access.files)
    plain = [{"name": name, "value": value} for name, value in sorted(access.environment.items())]
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {
        "cores": max(1, int(settings.executor.cpu)),
        # Spark adds a tenth for what the Java machine itself takes.
        "memory": f"{int(settings.executor.memory_mib / 1.1)}m",
        "env": [*plain, *secret_variables(access.secrets)],
        "nodeSelector": placement.document()["nodeSelector"],
        "tolerations": placement.document()["tolerations"],
        "priorityClassName": "falaj-batch",
        "podSecurityContext": {
            "fsGroup": _USER,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "securityContext": security,
        "volumeMounts": list(mounts),
    }
    return {
        "type": "Scala",
        "mode": "cluster",
        "image": image,
        "imagePullSecrets": list(pull_secrets),
        "sparkVersion": version,
        "mainClass": "org.apache.spark.examples.SparkPi",
        "mainApplicationFile": "local:///opt/spark/examples/jars/spark-examples.jar",
        "restartPolicy": {"type": "Never"},
        "timeToLiveSeconds": 86_400,
        "volumes": list(volumes),
        "driver": {**pod, "serviceAccount": ACCOUNT},
        "executor": {**pod, "instances": min(2, settings.executors)},
    }


def most(executors: int) -> list[Rule]:
    """No job takes more executors than one may."""
    fixed = "object.spec.executor"
    dynamic = "object.spec.dynamicAllocation"
    remedy = f"above {executors}: ask for fewer, or raise spark.executors of the stack"
    return [
        Rule(
            expression=f"!has({fixed}) || !has({fixed}.instances) || {fixed}.instances <= {executors}",
            message=f"spec.executor.instances is {remedy}",
        ),
        Rule(
            expression=f"!has({dynamic}) || !{dynamic}.enabled || "
            f"(has({dynamic}.maxExecutors) && {dynamic}.maxExecutors <= {executors})",
            message=f"spec.dynamicAllocation.maxExecutors is absent or {remedy}",
        ),
    ]


class Spark(pulumi.ComponentResource):
    """The operator, and the namespace of its jobs. `ready` is what a SparkApplication depends on."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: Settings,
        replicas: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:addons:Spark", name, None, opts)
        namespace = jobs(settings)
        within = cluster.namespace(namespace)
        chart = values(
            cluster.registry("ghcr.io"), cluster.placement("services"), replicas, cluster.pull_secrets(NAMESPACE)
        )
        # The chart makes the jobs' account and its role in their namespace.
        self.ready = install("spark-operator", cluster, NAMESPACE, chart, parent=self, depends_on=[within])
        access = cluster.access([*READS, *WRITES])
        secrets = cluster.pull_secrets(namespace)
        cluster.identity(IdentitySpec(namespace=JOBS, account=ACCOUNT, reads=READS, writes=WRITES))
        needs = bring(cluster, JOBS, access)
        documents = connections.documents(
            [Connection(name="workers", caller={}, callee={}, ports=())],
            {"drivers": {"spark-role": "driver"}},
            cluster.control_plane,
            {},
        )
        needs += connections.declare(cluster, namespace, documents, self)
        image = pins().image("spark")
        example = pulumi.Output.all(**access.environment).apply(
            lambda found: yaml.dump(
                {
                    "apiVersion": f"{_GROUP}/v1beta2",
                    "kind": "SparkApplication",
                    "metadata": {"name": "example", "namespace": JOBS},
                    "spec": application(
                        cluster.image(image),
                        image.version,
                        settings,
                        cluster.placement("pipelines", settings.pool),
                        Access(environment=found, secrets=access.secrets, files=access.files),
                        secrets,
                    ),
                },
                Dumper=yaml.CSafeDumper,
                sort_keys=False,
            )
        )
        ConfigMap(
            f"{JOBS}/{EXAMPLE}",
            metadata=ObjectMetaArgs(name=EXAMPLE, namespace=JOBS),
            data={"application.yaml": example},
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=[within, *needs]),
        )
        spec = limits.policy(_GROUP, ["v1beta2"], ["sparkapplications"], most(settings.executors))
        limits.declare(cluster, "spark-executors", namespace, spec, self, [self.ready])
        rights.submit(cluster, namespace, _GROUP, ["sparkapplications"], self)
        self.register_outputs({})

"""The third-party parts of a cluster, in the order in which they need each other.

What defines a kind comes before what uses it, and the nodes before all that runs on them; a destroy goes the
other way round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions

from core.errors import ConfigError
from core.images import lock
from core.pins import pins
from infra.addons import (
    cert_manager,
    envoy_gateway,
    external_secrets,
    gpu,
    karpenter,
    kserve,
    kyverno,
    load_balancers,
    logging,
    models,
    monitoring,
    notebooks,
    opencost,
    scaling,
    spark,
    trainer,
    velero,
)
from infra.addons.pipelines import component as pipelines
from infra.config import StackConfig
from infra.config.services import Certificate, Public
from infra.signals import runtime_signals
from infra.substrates.kubernetes.gateway import DATA_PLANE
from infra.substrates.kubernetes.namespaces import PLATFORM
from infra.substrates.kubernetes.substrate import KubernetesSubstrate

_BEFORE_ADMISSION = (
    cert_manager.NAMESPACE,
    karpenter.NAMESPACE,
    load_balancers.NAMESPACE,
    external_secrets.NAMESPACE,
    kyverno.NAMESPACE,
)
"""Were these refused while Kyverno itself is down, a cluster that lost its nodes would not come up again."""


def _own_images() -> set[str]:
    return {image.repository for image in pins().images.values() if image.repository.startswith("falaj/")}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a cloud gives its cluster beside what `Cluster` says; a site gives none of it.

    Attributes:
        region: Of the account.
        topic: Where alerts of kind `sns` go.
        log_group: Where logs of kind `cloudwatch` go.
        search: Where logs of kind `opensearch` go.
        repositories: ARNs of the registry's repositories, where it wants the cloud's own sign-in.
        snapshot_driver: Of the volumes, where the stack has to name it.
        nodes: What makes the machines, and what comes before its first look at the cloud.
        balancers: What makes the load balancers.
        entrance: Networks of the gateway's load balancer.
        prepare: Called once there are nodes: makes what must be there before secrets are brought.
    """

    region: str | None = None
    topic: monitoring.Topic | None = None
    log_group: logging.LogGroup | None = None
    search: logging.SearchDomain | None = None
    repositories: Sequence[pulumi.Input[str]] = ()
    snapshot_driver: str | None = None
    nodes: tuple[karpenter.KarpenterArgs, Sequence[pulumi.Resource]] | None = None
    balancers: load_balancers.LoadBalancersArgs | None = None
    entrance: Sequence[str] = ()
    prepare: Callable[[Sequence[pulumi.Resource]], Sequence[pulumi.Resource]] = lambda after: after


class Parts(pulumi.ComponentResource):
    """Installs what the stack's file asks for, and tells the substrate what each part defines.

    `monitors` is what defines ServiceMonitor and the like; None where nothing scrapes.
    """

    def __init__(
        self,
        name: str,
        substrate: KubernetesSubstrate,
        settings: StackConfig,
        rules: Mapping[str, str],
        dashboards: Mapping[str, str],
        surroundings: Surroundings,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`rules` and `dashboards` have the text of each file of Prometheus and Grafana, by its name."""
        super().__init__("falaj:Parts", name, None, opts)
        self._substrate = substrate
        self._settings = settings
        self._surroundings = surroundings
        self._opts = ResourceOptions(parent=self)
        self._replicas = min(settings.gateway.replicas.minimum, 2)
        public = settings.gateway.public
        if public is None:
            raise ConfigError("gateway.public is absent, and a cluster's gateway is public: add it")
        certificates = self._certificates(public)
        foundation = self._foundation(certificates)
        self._secrets(foundation)
        self._admission(foundation)
        self.monitors = monitors = self._monitoring(public, rules, dashboards)
        entrance = self._entrance(public, certificates)
        scalers = self._scaling()
        self._operation(monitors)
        if settings.gpu is not None:
            gpu.GpuSupport("gpu", substrate, settings.gpu, monitors, self._opts)
        if settings.serving is not None:
            # KServe looks for the kinds of others when it starts.
            before = [*certificates, entrance, *scalers]
            controller = kserve.KServe("kserve", substrate, public.hostname, before, self._opts)
            signals = runtime_signals(settings)
            models.Models("models", substrate, settings.serving, [controller.ready], monitors, signals, self._opts)
        self.register_outputs({})

    def _certificates(self, public: Public) -> list[pulumi.Resource]:
        """First of all: the webhook of the load balancer controller has a certificate too."""
        manager = cert_manager.CertManager("cert-manager", self._substrate, public, self._replicas, self._opts)
        return [manager.ready] if manager.ready is not None else []

    def _foundation(self, certificates: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Nodes and load balancers; a site has its own."""
        found: list[pulumi.Resource] = []
        if self._surroundings.nodes is not None:
            arguments, before = self._surroundings.nodes
            found += karpenter.Karpenter("karpenter", self._substrate, arguments, before, self._opts).ready
        if self._surroundings.balancers is not None:
            controller = load_balancers.LoadBalancers(
                "load-balancers", self._substrate, self._surroundings.balancers, certificates, self._opts
            )
            found.append(controller.ready)
        self._substrate.provides("foundation", *found)
        return found

    def _secrets(self, foundation: Sequence[pulumi.Resource]) -> None:
        prepared = self._surroundings.prepare(foundation)
        operator = external_secrets.ExternalSecrets(
            "external-secrets", self._substrate, self._replicas, prepared, self._opts
        )
        self._substrate.provides("external-secrets", *([operator.ready] if operator.ready else []), *prepared)

    def _admission(self, foundation: Sequence[pulumi.Resource]) -> None:
        """Before all that it looks at; what it needs in order to start, it lets alone."""
        settings = self._settings.admission
        if settings is None:
            return
        arguments = kyverno.KyvernoArgs(
            settings=settings,
            locked=all(image.digest for image in lock().images if image.name in _own_images()),
            exempt=[spec.name for spec in _BEFORE_ADMISSION],
            exposed=[DATA_PLANE],
            repositories=self._surroundings.repositories,
        )
        policies = kyverno.Kyverno("kyverno", self._substrate, arguments, self._opts)
        self._substrate.provides("kyverno", *policies.ready)
        self._substrate.provides("foundation", *foundation, *policies.ready)

    def _monitoring(
        self, public: Public, rules: Mapping[str, str], dashboards: Mapping[str, str]
    ) -> pulumi.Resource | None:
        """Before all other parts: many of them bring what tells Prometheus to scrape them."""
        if self._settings.prometheus is None:
            return None
        arguments = monitoring.MonitoringArgs(
            settings=self._settings.prometheus,
            hostname=public.hostname,
            rules=rules,
            dashboards=dashboards,
            topic=self._surroundings.topic,
        )
        stack = monitoring.Monitoring("monitoring", self._substrate, arguments, self._opts)
        self._substrate.provides("prometheus-operator", stack.ready)
        return stack.ready

    def _entrance(self, public: Public, certificates: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """What takes requests in, and signs its certificate where no one else does."""
        issued = list(certificates)
        if not isinstance(public.tls, Certificate):
            region = self._surroundings.region
            issued.append(
                cert_manager.GatewayIssuer(
                    "issuer", self._substrate, public.tls, certificates, region, self._opts
                ).ready
            )
        self._substrate.provides("cert-manager", *issued)
        entrance = envoy_gateway.EnvoyGateway(
            "envoy-gateway", self._substrate, self._replicas, public.oidc.authority, self._opts
        )
        self._substrate.provides("envoy-gateway", entrance.gateway_class)
        return entrance.gateway_class

    def _operation(self, monitors: pulumi.Resource | None) -> None:
        """Logs, costs and copies."""
        settings = self._settings
        if settings.logging is not None:
            logs = logging.LogsArgs(
                settings=settings.logging,
                days=settings.retention("logs"),
                group=self._surroundings.log_group,
                domain=self._surroundings.search,
            )
            logging.Logs("logs", self._substrate, logs, monitors, self._opts)
        if settings.cost_monitor is not None and monitors is not None:
            opencost.OpenCost("opencost", self._substrate, settings.cost_monitor, monitors, self._opts)
        if settings.cluster_backup is not None:
            copies = velero.VeleroArgs(
                settings=settings.cluster_backup,
                namespaces=[PLATFORM.name, monitoring.NAMESPACE.name, *self._tenants()],
                snapshot_driver=self._surroundings.snapshot_driver,
                monitored=monitors is not None,
            )
            velero.Velero("velero", self._substrate, copies, monitors, self._opts)

    def _tenants(self) -> list[str]:
        """Namespaces of what people make."""
        settings = self._settings
        parts = {
            pipelines.NAME: settings.pipelines,
            models.NAMESPACE: settings.serving,
            trainer.JOBS: settings.training,
            spark.JOBS: settings.spark,
            notebooks.NAME: settings.notebooks,
        }
        return [namespace for namespace, part in parts.items() if part is not None]

    def _scaling(self) -> list[pulumi.Resource]:
        """What reads the use of pods; what defines ScaledObjects, where something here makes them."""
        scaling.MetricsServer("metrics-server", self._substrate, self._replicas, self._opts)
        serving = self._settings.serving
        if self._settings.scaling is None and (serving is None or not serving.scale_to_zero):
            return []
        keda = scaling.Keda("keda", self._substrate, self._replicas, self._opts)
        ready = [keda.ready] if keda.ready is not None else []
        self._substrate.provides("keda", *ready)
        return ready

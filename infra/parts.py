"""The third-party parts of a cluster, in the order in which they need each other.

What defines a kind comes before what uses it, and the nodes before all that runs on them; a destroy goes the
other way round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.addons.cert_manager import CertManager, GatewayIssuer
from infra.addons.envoy_gateway import EnvoyGateway
from infra.addons.external_secrets import ExternalSecrets
from infra.addons.gpu import GpuSupport
from infra.addons.karpenter import Karpenter, KarpenterArgs
from infra.addons.kserve import KServe
from infra.addons.load_balancers import LoadBalancers, LoadBalancersArgs
from infra.addons.monitoring import Monitoring, MonitoringArgs, Topic
from infra.addons.scaling import Keda, MetricsServer
from infra.config import StackConfig
from infra.config.services import Certificate, Public
from infra.substrates.kubernetes.substrate import KubernetesSubstrate


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a cloud gives its cluster beside what `Cluster` says; a site gives none of it.

    Attributes:
        region: Of the account.
        topic: Where alerts of kind `sns` go.
        nodes: What makes the machines, and what comes before its first look at the cloud.
        load_balancers: What makes the load balancers.
        prepare: Called once there are nodes: makes what must be there before secrets are brought.
    """

    region: str | None = None
    topic: Topic | None = None
    nodes: tuple[KarpenterArgs, Sequence[pulumi.Resource]] | None = None
    load_balancers: LoadBalancersArgs | None = None
    prepare: Callable[[Sequence[pulumi.Resource]], Sequence[pulumi.Resource]] = lambda after: after


class Parts(pulumi.ComponentResource):
    """Installs what the stack's file asks for, and tells the substrate what each part defines."""

    def __init__(
        self,
        name: str,
        substrate: KubernetesSubstrate,
        settings: StackConfig,
        rules: Mapping[str, str],
        surroundings: Surroundings,
        opts: ResourceOptions | None = None,
    ) -> None:
        """`rules` has the text of each Prometheus rule file, by its name."""
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
        monitors = self._monitoring(public, rules)
        entrance = self._entrance(public, certificates)
        self._scaling()
        if settings.gpu is not None:
            GpuSupport("gpu", substrate, settings.gpu, monitors, self._opts)
        if settings.serving is not None:
            KServe("kserve", substrate, public.hostname, [*certificates, entrance], self._opts)
        self.register_outputs({})

    def _certificates(self, public: Public) -> list[pulumi.Resource]:
        """First of all: the webhook of the load balancer controller has a certificate too."""
        manager = CertManager("cert-manager", self._substrate, public, self._replicas, self._opts)
        return [manager.ready] if manager.ready is not None else []

    def _foundation(self, certificates: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        """Nodes and load balancers; a site has its own."""
        found: list[pulumi.Resource] = []
        if self._surroundings.nodes is not None:
            arguments, before = self._surroundings.nodes
            found += Karpenter("karpenter", self._substrate, arguments, before, self._opts).ready
        if self._surroundings.load_balancers is not None:
            controller = LoadBalancers(
                "load-balancers", self._substrate, self._surroundings.load_balancers, certificates, self._opts
            )
            found.append(controller.ready)
        self._substrate.provides("foundation", *found)
        return found

    def _secrets(self, foundation: Sequence[pulumi.Resource]) -> None:
        prepared = self._surroundings.prepare(foundation)
        operator = ExternalSecrets("external-secrets", self._substrate, self._replicas, prepared, self._opts)
        self._substrate.provides("external-secrets", *([operator.ready] if operator.ready else []), *prepared)

    def _monitoring(self, public: Public, rules: Mapping[str, str]) -> pulumi.Resource | None:
        """Before all other parts: many of them bring what tells Prometheus to scrape them."""
        if self._settings.prometheus is None:
            return None
        arguments = MonitoringArgs(
            settings=self._settings.prometheus,
            hostname=public.hostname,
            rules=rules,
            topic=self._surroundings.topic,
        )
        monitoring = Monitoring("monitoring", self._substrate, arguments, self._opts)
        self._substrate.provides("prometheus-operator", monitoring.ready)
        return monitoring.ready

    def _entrance(self, public: Public, certificates: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """What takes requests in, and signs its certificate where no one else does."""
        issued = list(certificates)
        if not isinstance(public.tls, Certificate):
            region = self._surroundings.region
            issued.append(GatewayIssuer("issuer", self._substrate, public.tls, certificates, region, self._opts).ready)
        self._substrate.provides("cert-manager", *issued)
        entrance = EnvoyGateway("envoy-gateway", self._substrate, self._replicas, public.oidc.authority, self._opts)
        self._substrate.provides("envoy-gateway", entrance.gateway_class)
        return entrance.gateway_class

    def _scaling(self) -> None:
        MetricsServer("metrics-server", self._substrate, self._replicas, self._opts)
        serving = self._settings.serving
        if serving is not None and serving.scale_to_zero:
            Keda("keda", self._substrate, self._replicas, self._opts)

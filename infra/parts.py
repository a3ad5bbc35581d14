"""The third-party parts of a cluster, in the order in which they need each other.

What defines a kind comes before what uses it, and the nodes before all that runs on them; a destroy goes the
other way round.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.addons.cert_manager import CertManager
from infra.addons.envoy_gateway import EnvoyGateway
from infra.addons.external_secrets import ExternalSecrets
from infra.addons.gpu import GpuSupport
from infra.addons.kserve import KServe
from infra.addons.monitoring import Monitoring, MonitoringArgs, Topic
from infra.addons.scaling import Keda, MetricsServer
from infra.config import StackConfig
from infra.config.services import Public
from infra.substrates.kubernetes.substrate import KubernetesSubstrate


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a cloud gives its cluster beside what `Cluster` says; a site gives none of it.

    Attributes:
        region: Of the account.
        topic: Where alerts of kind `sns` go.
    """

    region: str | None = None
    topic: Topic | None = None


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
        self._secrets()
        monitors = self._monitoring(public, rules)
        certificates = self._entrance(public)
        self._scaling()
        if settings.gpu is not None:
            GpuSupport("gpu", substrate, settings.gpu, monitors, self._opts)
        if settings.serving is not None:
            KServe("kserve", substrate, public.hostname, certificates, self._opts)
        self.register_outputs({})

    def _secrets(self) -> None:
        operator = ExternalSecrets("external-secrets", self._substrate, self._replicas, self._opts)
        if operator.ready is not None:
            self._substrate.provides("external-secrets", operator.ready)

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

    def _entrance(self, public: Public) -> list[pulumi.Resource]:
        """What makes certificates, and what takes requests in; KServe needs both."""
        region = self._surroundings.region
        manager = CertManager("cert-manager", self._substrate, public, self._replicas, region, self._opts)
        issued = [part for part in (manager.ready, manager.issuer) if part is not None]
        self._substrate.provides("cert-manager", *issued)
        entrance = EnvoyGateway("envoy-gateway", self._substrate, self._replicas, self._opts)
        self._substrate.provides("envoy-gateway", entrance.gateway_class)
        return [*issued, entrance.gateway_class]

    def _scaling(self) -> None:
        MetricsServer("metrics-server", self._substrate, self._replicas, self._opts)
        serving = self._settings.serving
        if serving is not None and serving.scale_to_zero:
            Keda("keda", self._substrate, self._replicas, self._opts)

"""What a stack consists of, and what it tells the outside."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi import ResourceOptions

from core.images import lock
from core.platform import Environment, Platform, Service
from infra.config import KEY, Aws, Kubernetes, Local, StackConfig, parse_config
from infra.services.feature_server import FeatureServer
from infra.services.gateway import NAME as GATEWAY
from infra.services.gateway import Gateway, GatewayArgs
from infra.services.inference import Inference, InferenceArgs
from infra.services.mlflow import Mlflow
from infra.services.prometheus import Prometheus, PrometheusArgs
from infra.substrates.base import (
    AUDIT_LOG,
    LINEAGE,
    MODELS,
    OFFLINE_FEATURES,
    PROFILES,
    PSEUDONYM_KEY,
    Signal,
    Substrate,
    Target,
)
from infra.substrates.local.substrate import LocalSubstrate

if TYPE_CHECKING:
    from infra.parts import Surroundings
    from infra.substrates.kubernetes.substrate import KubernetesSubstrate


def deploy(root: Path, home: Path | None = None) -> None:
    """Declare the current stack's resources and export its outputs.

    Args:
        root: Folder of Pulumi.yaml.
        home: Below it lies what runs and is stored on this machine: where FALAJ_HOME says, else `.falaj` in `root`.

    Raises:
        ConfigError: The stack's file is invalid, or a program is missing on this machine.
    """
    stack = pulumi.get_stack()
    settings = parse_config(pulumi.Config().get_object(KEY), stack)
    home = home or Path(os.environ.get("FALAJ_HOME", root / ".falaj")).resolve()
    compose(settings, home, root / ".falaj" / stack, root / "monitoring")


def compose(settings: StackConfig, home: Path, rendered: Path, monitoring: Path) -> None:
    """Declare each service that the stack has and the gateway in front of them, and describe the whole.

    Args:
        rendered: Folder for files that the program writes for the engine's providers.
        monitoring: Folder of alert rules and dashboards.
    """
    if isinstance(settings.substrate, Local):
        _local(settings, home, monitoring)
    elif isinstance(settings.substrate, Kubernetes):
        _kubernetes(settings, settings.substrate, rendered, monitoring)
    else:
        _aws(settings, settings.substrate, rendered, monitoring)


@dataclass(frozen=True, kw_only=True)
class _Services:
    """Our own services that a stack has, in the order in which they call each other."""

    mlflow: Mlflow | None
    features: FeatureServer | None
    inference: Inference | None

    @property
    def all(self) -> list[Mlflow | FeatureServer | Inference]:
        return [service for service in (self.mlflow, self.features, self.inference) if service is not None]


def _services(
    settings: StackConfig, substrate: Substrate, within: ResourceOptions, signals: Sequence[Signal] = ()
) -> _Services:
    mlflow = Mlflow("mlflow", substrate, settings.mlflow, within) if settings.mlflow else None
    features = (
        FeatureServer("feature_server", substrate, settings.feature_server, within) if settings.feature_server else None
    )
    inference = (
        Inference(
            "inference",
            substrate,
            InferenceArgs(settings=settings.inference, max_body_bytes=settings.gateway.max_body_bytes, signals=signals),
            within,
        )
        if settings.inference
        else None
    )
    return _Services(mlflow=mlflow, features=features, inference=inference)


def _gateway(
    settings: StackConfig,
    substrate: Substrate,
    services: Sequence[Mlflow | FeatureServer | Inference | Prometheus],
    within: ResourceOptions,
) -> Gateway:
    return Gateway(
        "gateway",
        substrate,
        GatewayArgs(
            settings=settings.gateway,
            upstreams=[upstream for service in services for upstream in service.upstreams],
            routes=[route for service in services for route in service.routes],
        ),
        within,
    )


def _kubernetes(settings: StackConfig, site: Kubernetes, rendered: Path, monitoring: Path) -> None:
    # Imported where it is needed: the packages of other substrates take longer than the local stack as a whole.
    from infra.parts import Surroundings
    from infra.substrates.kubernetes.cluster import site_cluster

    _clustered(settings, site_cluster(settings, site), Surroundings(), rendered, monitoring)


def _aws(settings: StackConfig, aws: Aws, rendered: Path, monitoring: Path) -> None:
    from infra.substrates.aws.substrate import AwsCluster
    from infra.surroundings import surroundings

    cluster = AwsCluster("aws", settings, aws, lock().repositories)
    _clustered(settings, cluster.substrate, surroundings(settings, aws, cluster), rendered, monitoring)


def _clustered(
    settings: StackConfig, substrate: "KubernetesSubstrate", around: "Surroundings", rendered: Path, monitoring: Path
) -> None:
    """Everything on a cluster, wherever it stands."""
    from infra.addons.pipelines.component import KEY_FILE
    from infra.addons.pipelines.settings import FILES
    from infra.parts import Parts
    from infra.signals import runtime_signals
    from infra.workbench import Workbench, WorkbenchArgs

    within = ResourceOptions(parent=substrate)
    rules = _texts(monitoring / "alerts", "*.yaml") | _texts(monitoring / "alerts" / "cluster", "*.yaml")
    dashboards = _texts(monitoring / "dashboards", "*.json")
    parts = Parts("parts", substrate, settings, rules, dashboards, around, within)
    own = _services(settings, substrate, within, runtime_signals(settings))
    platform = _platform(
        own,
        substrate,
        feature_store=FILES,
        pseudonym_key_file=KEY_FILE,
        audit_log=substrate.uri(AUDIT_LOG),
        lineage_log=substrate.uri(LINEAGE),
    )
    if platform is not None and own.features is not None:
        arguments = WorkbenchArgs(
            platform=platform,
            services=[service.workload.name for service in own.all],
            files={file.name: file.content for file in own.features.workload.files},
            rendered=rendered,
            monitors=parts.monitors,
            entrance=around.entrance,
        )
        Workbench("workbench", substrate, settings, arguments, within)
    gateway = _gateway(settings, substrate, own.all, within)
    pulumi.export("services", {service.workload.name: service.url for service in [*own.all, gateway]})


def _texts(folder: Path, pattern: str) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(folder.glob(pattern))}


def _platform(own: _Services, substrate: Substrate, **places: str) -> Platform | None:
    """Where steps find everything; None where a service is missing without which no pipeline can run.

    Args:
        places: The fields that each substrate fills in a way of its own.
    """
    if own.mlflow is None or own.features is None or own.inference is None:
        return None
    return Platform(
        mlflow_url=own.mlflow.url,
        runtime_url=own.inference.url,
        offline_store=substrate.uri(OFFLINE_FEATURES),
        profiles=substrate.uri(PROFILES),
        model_repository=substrate.uri(MODELS),
        **places,
    )


def _local(settings: StackConfig, home: Path, monitoring: Path) -> None:
    substrate = LocalSubstrate("local", home / "local", settings.gateway.port)
    within = ResourceOptions(parent=substrate)

    own = _services(settings, substrate, within)
    prometheus = None
    if settings.prometheus:
        metrics = [
            Target(service=workload.name, port=next(iter(workload.ports.values())).number, path=workload.metrics_path)
            for workload in (service.workload for service in own.all)
            if workload.metrics_path is not None
        ]
        gateway_metrics = substrate.gateway_target(GATEWAY, settings.gateway.port)
        arguments = PrometheusArgs(
            settings=settings.prometheus,
            targets=[*metrics, gateway_metrics],
            rules=_texts(monitoring / "alerts", "*.yaml"),
        )
        prometheus = Prometheus("prometheus", substrate, arguments, within)

    services = [*own.all, *([prometheus] if prometheus else [])]
    gateway = _gateway(settings, substrate, services, within)

    described = {
        service.workload.name: Service(
            url=service.url,
            health=substrate.probe_url(service.workload),
            log=substrate.log(service.workload.name),
        )
        for service in [*services, gateway]
    }
    pulumi.export("services", {name: service.url for name, service in described.items()})
    platform = _platform(
        own,
        substrate,
        feature_store=own.features.repository if own.features else "",
        pseudonym_key_file=substrate.uri(PSEUDONYM_KEY),
        audit_log=str(substrate.layout.audit_log),
        lineage_log=str(substrate.layout.lineage_log),
    )
    if platform is not None:
        substrate.describe(Environment(platform=platform, services=described))
        pulumi.export("platform", platform.to_environment())

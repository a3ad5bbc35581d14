"""Prometheus, Alertmanager and Grafana, by the operator of kube-prometheus-stack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import yaml
from pulumi_kubernetes.core.v1 import ConfigMap
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.errors import ConfigError
from infra.addons.chart import Values, install, requests
from infra.addons.envoy_gateway import NAMESPACE as ENTRANCE
from infra.addons.pods import pull
from infra.config.services import Prometheus, Route
from infra.substrates.cluster import (
    Backend,
    Cluster,
    ClusterRoute,
    IdentitySpec,
    NamespaceSpec,
    Permission,
    object_name,
)

NAMESPACE = NamespaceSpec(name="monitoring", callers=("keda", "opencost"), data_class="platform")
NODES = NamespaceSpec(name="node-exporter", security="privileged", callers=(NAMESPACE.name,))
"""Reading a node's own metrics takes its network and its files, which no other pod of the stack may have."""
PROMETHEUS = "http://monitoring-prometheus.monitoring.svc:9090/prometheus"
USER_HEADER = "X-Falaj-User"
"""In it the gateway tells Grafana who signed in; it must never pass on one that a caller sent."""
_SCRAPED: Mapping[str, tuple[str, Mapping[str, str], str, str]] = {
    "gateway": (
        ENTRANCE.name,
        {"app.kubernetes.io/component": "proxy", "app.kubernetes.io/managed-by": "envoy-gateway"},
        "metrics",
        "/stats/prometheus",
    ),
    "gateway-controller": (ENTRANCE.name, {"control-plane": "envoy-gateway"}, "metrics", "/metrics"),
    "cert-manager": (
        "cert-manager",
        {"app.kubernetes.io/name": "cert-manager", "app.kubernetes.io/component": "controller"},
        "http-metrics",
        "/metrics",
    ),
    "external-secrets": ("external-secrets", {"app.kubernetes.io/name": "external-secrets"}, "metrics", "/metrics"),
    "karpenter": ("karpenter", {"app.kubernetes.io/name": "karpenter"}, "http-metrics", "/metrics"),
}
"""What is there before the operator, and so brings no monitor of its own: namespace, labels, port and path of pods."""
_ALERTMANAGER = "alertmanager"
_SECRETS = "/etc/alertmanager/secrets"


@dataclass(frozen=True, kw_only=True)
class Topic:
    """An SNS topic that ends at people, and the key that encrypts it."""

    arn: pulumi.Input[str]
    key: pulumi.Input[str]
    region: str


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """What a stack says of its monitoring.

    Attributes:
        hostname: Of the gateway; dashboards and alerts link there.
        rules: Text of each Prometheus rule file, by its name.
        dashboards: Text of each of Grafana's dashboards, by its file's name.
        topic: Where routes of kind `sns` go.
    """

    settings: Prometheus
    hostname: str
    rules: Mapping[str, str]
    dashboards: Mapping[str, str] = field(default_factory=dict)
    topic: Topic | None = None


def receiver(index: int, route: Route, topic: Topic | None) -> Values:
    """An Alertmanager receiver; secrets are files, so that the configuration holds none.

    Raises:
        ConfigError: The route goes to a topic, and there is none.
    """
    name = f"route-{index}"
    folder = f"{_SECRETS}/{object_name(route.secret)}" if route.secret else ""
    if route.kind == "webhook":
        return {"name": name, "webhook_configs": [{"url_file": f"{folder}/url", "send_resolved": True}]}
    if route.kind == "email":
        mail = {
            "to": route.to,
            "from": route.to,
            "smarthost": route.server,
            "auth_username": route.username,
            "auth_password_file": f"{folder}/password",
            "require_tls": True,
            "send_resolved": True,
        }
        return {"name": name, "email_configs": [mail]}
    if topic is None:
        raise ConfigError(f"prometheus.routes[{index}] is of kind sns, which is on aws alone: take email or webhook")
    return {"name": name, "sns_configs": [{"topic_arn": topic.arn, "sigv4": {"region": topic.region}}]}


def routing(routes: Sequence[Route], topic: Topic | None) -> Values:
    """Alertmanager's configuration: each route takes the alerts of its severities, and none keeps one from another."""
    children = [
        {
            "receiver": f"route-{index}",
            "matchers": [f'severity=~"{"|".join(sorted(route.severities))}"'],
            "continue": True,
        }
        for index, route in enumerate(routes)
    ]
    return {
        "route": {
            # Reached only by what no person is meant to see: the heartbeat and alerts that serve to inhibit.
            "receiver": "none",
            "group_by": ["namespace", "alertname"],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "4h",
            "routes": children,
        },
        "receivers": [{"name": "none"}, *(receiver(index, route, topic) for index, route in enumerate(routes))],
    }


def values(
    args: MonitoringArgs, storage_class: str, registries: Mapping[str, str], pull_secrets: Sequence[str] = ()
) -> Values:
    """Values of the chart.

    Args:
        registries: By upstream: docker.io, quay.io and registry.k8s.io.
        pull_secrets: Names of the secrets that the registry wants.
    """
    settings = args.settings
    quay = {"registry": registries["quay.io"]}
    unselected = {
        f"{kind}SelectorNilUsesHelmValues": False for kind in ("rule", "serviceMonitor", "podMonitor", "scrapeConfig")
    }
    return {
        "fullnameOverride": NAMESPACE.name,
        "global": {"imagePullSecrets": pull(pull_secrets)},
        "crds": {"enabled": True},
        # Managed control planes export none of these, and an alert on what is missing would never end.
        **{part: {"enabled": False} for part in ("kubeControllerManager", "kubeScheduler", "kubeEtcd", "kubeProxy")},
        "additionalPrometheusRulesMap": {
            name.removesuffix(".yaml"): yaml.load(text, Loader=yaml.CSafeLoader)
            for name, text in sorted(args.rules.items())
        },
        "prometheusOperator": {
            # Its certificate is made by hooks; the rules are checked before they get here.
            "admissionWebhooks": {"enabled": False},
            "tls": {"enabled": False},
            "image": quay,
            "prometheusConfigReloader": {"image": quay, "resources": requests("10m", "64Mi")},
            "resources": requests("50m", "256Mi"),
        },
        "prometheus": {
            "additionalPodMonitors": [_scraped(name, *pods) for name, pods in _SCRAPED.items()],
            "prometheusSpec": {
                **unselected,
                "image": quay,
                "replicas": settings.replicas,
                "retention": settings.retention,
                "scrapeInterval": f"{settings.scrape_seconds}s",
                "externalUrl": f"https://{args.hostname}/prometheus/",
                "routePrefix": "/prometheus",
                "resources": requests(f"{settings.size.cpu:g}", f"{settings.size.memory_mib}Mi"),
                "storageSpec": _volume(storage_class, settings.storage_gib),
            },
        },
        "alertmanager": {
            "config": routing(settings.routes, args.topic),
            "serviceAccount": {"name": _ALERTMANAGER},
            "alertmanagerSpec": {
                "image": quay,
                "replicas": settings.replicas,
                "secrets": sorted({object_name(route.secret) for route in settings.routes if route.secret}),
                "externalUrl": f"https://{args.hostname}/alertmanager/",
                "resources": requests("20m", "128Mi"),
                # What was acknowledged and silenced must outlive the pod.
                "storage": {"volumeClaimTemplate": _volume(storage_class, 2)["volumeClaimTemplate"]},
            },
        },
        "kube-state-metrics": {
            "image": {"registry": registries["registry.k8s.io"]},
            "resources": requests("20m", "256Mi"),
        },
        "prometheus-node-exporter": {
            "namespaceOverride": NODES.name,
            "image": quay,
            # On a full node others give way: it can run nowhere else.
            "priorityClassName": "system-node-critical",
            "resources": requests("20m", "64Mi"),
        },
        "grafana": _grafana(settings, args.hostname, storage_class, registries),
    }


def _scraped(name: str, namespace: str, pods: Mapping[str, str], port: str, path: str) -> Values:
    return {
        "name": name,
        "namespaceSelector": {"matchNames": [namespace]},
        "selector": {"matchLabels": dict(pods)},
        # A metric's own namespace says whose certificate or secret it is about.
        "podMetricsEndpoints": [{"port": port, "path": path, "honorLabels": True}],
    }


def routes(settings: Prometheus) -> list[ClusterRoute]:
    """Where people find the servers: dashboards are for all users, what they are made from for administrators."""
    servers = {"prometheus": 9090, "alertmanager": 9093}
    found = [
        ClusterRoute(
            name=server,
            namespace=NAMESPACE.name,
            prefixes=[f"/{server}/"],
            backends=[
                Backend(service=f"monitoring-{server}", port=port, pods={"app.kubernetes.io/name": server}),
            ],
            # Prometheus serves below its prefix, Alertmanager only writes its addresses so.
            rewrite=None if server == "prometheus" else "/",
            page=True,
            who="administrators",
        )
        for server, port in servers.items()
    ]
    if settings.grafana is not None:
        pods = {"app.kubernetes.io/name": "grafana"}
        backend = Backend(service="monitoring-grafana", port=80, pods=pods, pod_port=3000)
        found.append(
            ClusterRoute(
                name="grafana",
                namespace=NAMESPACE.name,
                prefixes=["/grafana/"],
                backends=[backend],
                websockets=True,
                page=True,
            )
        )
    return found


def _volume(storage_class: str, gib: int) -> Values:
    storage = {"requests": {"storage": f"{gib}Gi"}}
    claim = {"storageClassName": storage_class, "accessModes": ["ReadWriteOnce"], "resources": storage}
    return {"volumeClaimTemplate": {"spec": claim}}


def _grafana(settings: Prometheus, hostname: str, storage_class: str, registries: Mapping[str, str]) -> Values:
    if settings.grafana is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "image": {"registry": registries["docker.io"]},
        "sidecar": {"image": {"registry": registries["quay.io"]}, "resources": requests("20m", "128Mi")},
        "resources": requests("50m", "256Mi"),
        # It would run as root to change the owner of a volume that already has the right one.
        "initChownData": {"enabled": False},
        "testFramework": {"enabled": False},
        "deploymentStrategy": {"type": "Recreate"},
        "persistence": {
            "enabled": True,
            "storageClassName": storage_class,
            "size": f"{settings.grafana.storage_gib}Gi",
        },
        # Nobody signs in with a password: the chart would make a new one at each update.
        "env": {"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true"},
        "grafana.ini": {
            "server": {"root_url": f"https://{hostname}/grafana/", "serve_from_sub_path": True},
            "analytics": {"reporting_enabled": False, "check_for_updates": False, "check_for_plugin_updates": False},
            "auth": {"disable_login_form": True},
            # The gateway has signed the person in; nothing else may connect, and it overwrites the header.
            "auth.proxy": {"enabled": True, "header_name": USER_HEADER, "auto_sign_up": True},
            "users": {"allow_sign_up": False, "auto_assign_org_role": "Viewer"},
            "security": {"disable_gravatar": True, "cookie_secure": True},
            "news": {"news_feed_enabled": False},
        },
    }


class Monitoring(pulumi.ComponentResource):
    """The operator, its definitions and the three servers. `ready` is what every ServiceMonitor and rule depends on."""

    def __init__(
        self, name: str, cluster: Cluster, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:addons:Monitoring", name, None, opts)
        before = [cluster.namespace(NAMESPACE), cluster.namespace(NODES)]
        for route in args.settings.routes:
            if route.secret is not None:
                key = "url" if route.kind == "webhook" else "password"
                before.append(cluster.secret(NAMESPACE.name, route.secret, {key: key}))
        if args.topic is not None and any(route.kind == "sns" for route in args.settings.routes):
            rights = [
                Permission(actions=["sns:Publish"], resources=[args.topic.arn]),
                Permission(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[args.topic.key]),
            ]
            identity = IdentitySpec(namespace=NAMESPACE.name, account=_ALERTMANAGER, permissions=rights)
            before.append(cluster.identity(identity))
        registries = {name: cluster.registry(name) for name in ("docker.io", "quay.io", "registry.k8s.io")}
        # One name in both namespaces: it is the chart's for all of its pods.
        pulled = [*cluster.pull_secrets(NAMESPACE), *cluster.pull_secrets(NODES)]
        settings = values(args, cluster.storage_class, registries, list(dict.fromkeys(pulled)))
        if cluster.installed("prometheus-operator"):
            settings["crds"] = {"enabled": False}
            settings["prometheusOperator"] = {"enabled": False}
        self.ready = install(
            "kube-prometheus-stack", cluster, NAMESPACE, settings, parent=self, release="monitoring", depends_on=before
        )
        for found in routes(args.settings):
            cluster.route(found)
        if args.settings.grafana is not None:
            for file, text in sorted(args.dashboards.items()):
                name = f"dashboard-{file.removesuffix('.json')}"
                ConfigMap(
                    f"{NAMESPACE.name}/{name}",
                    # Grafana's sidecar looks for this label.
                    metadata=ObjectMetaArgs(name=name, namespace=NAMESPACE.name, labels={"grafana_dashboard": "1"}),
                    data={file: text},
                    opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=[before[0]]),
                )
        self.register_outputs({})

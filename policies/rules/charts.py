"""What a chart's values say: the chart itself is opaque until it is rendered, and then a manifest to check."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies import pods
from policies.controls import AUTHENTICATION, HARDENING, LOGGING, MONITORING, SUPPLY, TRANSFER
from policies.graph import Graph
from policies.model import Faults, Resource, Rule, Severity
from policies.places import ABROAD, AWS, inside

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
CHART = "kubernetes:helm.sh/v4:Chart"
_NODE = ("hostNetwork", "hostPID", "hostIPC", "privileged", "allowPrivilegeEscalation")
_REGISTRY_KEYS = ("registry", "imageRegistry", "repository", "image", "name")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Each value that is no container: its path, its key, itself."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, path.rpartition(".")[2], value


def label_of_place(resource: Resource, graph: Graph, key: str) -> str | None:
    """A label of the namespace that a chart is installed in."""
    space = resource.inputs.get("namespace")
    for one in graph.of("kubernetes:core/v1:Namespace"):
        if (one.inputs.get("metadata") or {}).get("name") == space:
            return pods.label(one, key)
    return None


def _hardened(resource: Resource, graph: Graph) -> Faults:
    if label_of_place(resource, graph, "pod-security.kubernetes.io/enforce") == "privileged":
        return  # The namespace has an exception of its own, which says why.
    for path, key, value in _leaves(resource.inputs.get("values") or {}):
        if key in _NODE and value is True:
            yield f"{path} is true"
        if key == "runAsNonRoot" and value is False:
            yield f"{path} is false"
        if key == "readOnlyRootFilesystem" and value is False:
            yield f"{path} is false"


def _image_sources(resource: Resource, graph: Graph) -> Faults:
    allowed = graph.settings.registries
    if not allowed:
        return
    values = resource.inputs.get("values") or {}
    own = str((values.get("global") or {}).get("imageRegistry") or "").startswith(allowed)
    named = False
    for path, key, value in _leaves(values):
        if not isinstance(value, str) or (own and path.startswith("global.images.")):
            continue  # Envoy Gateway's chart puts its imageRegistry in place of the registry in these.
        named = named or any(value.startswith(registry) for registry in allowed)
        host = value.split("/")[0]
        is_host = "." in host and host.rpartition(".")[2].partition(":")[0].isalpha() and "/" in value + "/"
        of_image = key in ("registry", "imageRegistry") or (key in _REGISTRY_KEYS and "mage" in path)
        if of_image and is_host and " " not in value and not any(value.startswith(registry) for registry in allowed):
            yield f"{path} is an image of a registry that is not the stack's"
    chart = str(resource.inputs.get("chart") or "").rpartition("/")[2]
    if not named and not chart.endswith(("-crd", "-crds", "crds")):
        yield "nothing in its values names the stack's registry, so that its images come from abroad"


def _regions(resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    if substrate is None or substrate.kind != "aws":
        return  # Stores of other makers want a region's name in signatures and mean nothing by it.
    for path, value in resource.texts():
        if ABROAD.fullmatch(value) and value not in AWS:
            yield f"{path} is {value}"


def _receivers(resource: Resource, _graph: Graph) -> Faults:
    values = resource.inputs.get("values") or {}
    manager = values.get("alertmanager")
    if not isinstance(manager, Mapping):
        return
    if manager.get("enabled") is False:
        yield "nothing takes alerts: alertmanager.enabled is false"
        return
    config = manager.get("config")
    if not isinstance(config, Mapping):
        return
    reaching = {
        str(one.get("name"))
        for one in config.get("receivers") or ()
        if isinstance(one, Mapping) and any(key.endswith("_configs") and one[key] for key in one)
    }
    route = config.get("route") or {}
    routes = [one for one in route.get("routes") or () if isinstance(one, Mapping) and one.get("receiver") in reaching]
    matched = " ".join(str(matcher) for one in routes for matcher in one.get("matchers") or ())
    for severity in ("critical", "warning"):
        if severity not in matched and route.get("receiver") not in reaching:
            yield f"alerts of severity {severity} reach no one"


def _dashboards(resource: Resource, _graph: Graph) -> Faults:
    values = resource.inputs.get("values") or {}
    for grafana in (values.get("grafana"), values if "grafana.ini" in values else None):
        if not isinstance(grafana, Mapping):
            continue
        settings = grafana.get("grafana.ini") or {}
        if (settings.get("auth.anonymous") or {}).get("enabled") is True:
            yield "dashboards are open to everyone: auth.anonymous is on"
        if (settings.get("analytics") or {}).get("reporting_enabled", True) is not False:
            yield "Grafana reports its use to its makers: analytics.reporting_enabled is not false"
        if (settings.get("security") or {}).get("disable_gravatar") is not True:
            yield "Grafana asks a service abroad for pictures of its users: security.disable_gravatar is not true"
        password = grafana.get("adminPassword")
        if isinstance(password, str) and password not in ("", "[secret]", "[unknown]"):
            yield "the administrator's password is written in clear"


def _shipped(resource: Resource, graph: Graph) -> Faults:
    """Hosts that a shipper's configuration names, which is text of its own form."""
    for path, _, value in _leaves(resource.inputs.get("values") or {}):
        for name in (
            re.findall(r"(?im)^\s*(?:host|endpoint|server)\s+(\S+)\s*$", value) if isinstance(value, str) else ()
        ):
            if not inside(name.partition("://")[2].partition("/")[0] or name, graph.settings):
                yield f"{path} names a host outside the country, or of a domain that policies.domains does not name"


def _quiet(resource: Resource, _graph: Graph) -> Faults:
    chart = str(resource.inputs.get("chart") or "").rpartition("/")[2]
    values = resource.inputs.get("values") or {}
    if chart == "karpenter" and (values.get("settings") or {}).get("isolatedVPC") is not True:
        yield "it asks a service of prices abroad: settings.isolatedVPC is not true"
    if chart == "loki" and ((values.get("loki") or {}).get("analytics") or {}).get("reporting_enabled") is not False:
        yield "it reports its use to its makers: loki.analytics.reporting_enabled is not false"


def _plain_secrets(resource: Resource, _graph: Graph) -> Faults:
    marks = ("password", "secretkey", "accesskey", "apikey", "privatekey", "token", "clientsecret")
    for path, key, value in _leaves(resource.inputs.get("values") or {}):
        words = key.lower().replace("_", "").replace("-", "")
        known = isinstance(value, str) and value not in ("", "[secret]", "[unknown]") and not value.startswith("/")
        if known and words.endswith(marks) and not words.endswith(("existingsecret", "existingpassword")):
            yield f"{path} is written in clear"


def _collected(resource: Resource, _graph: Graph) -> Faults:
    """Where something ships logs, all pods' are shipped: the input is not narrowed to nothing."""
    if str(resource.inputs.get("chart") or "").rpartition("/")[2] != "fluent-bit":
        return
    config = (resource.inputs.get("values") or {}).get("config")
    if isinstance(config, Mapping) and "/var/log/containers" not in str(config):
        yield "logs of pods are not among its inputs"
    if re.search(r"(?im)^\s*Retry_Limit\s+(?:no_retries|[0-9]+)\s*$", str((config or {}).get("outputs", ""))):
        yield "it gives up a log that it could not send: Retry_Limit is not no_limits"


RULES: tuple[Rule, ...] = (
    Rule(
        id="chart-hardened",
        title="Charts are not told to take rights of their node",
        severity=_HIGH,
        types=(CHART,),
        why="A pod that is taken over would have its node.",
        remedy="Remove it from the values: infra/addons.",
        controls=HARDENING,
        judge=_hardened,
    ),
    Rule(
        id="chart-images",
        title="Images of charts come from the stack's own registry",
        severity=_CRITICAL,
        types=(CHART,),
        why="What a registry abroad serves no one here has looked at, and it learns who runs what.",
        remedy="Give cluster.registry(…) in the values: infra/addons.",
        controls=(*SUPPLY, "pdpl-22", "cis-eks-5.1.4"),
        judge=_image_sources,
    ),
    Rule(
        id="residency-region-setting",
        title="Nothing in the cluster is told a region abroad",
        severity=_CRITICAL,
        types=("kubernetes:*",),
        why="Logs, copies and secrets go where they are told.",
        remedy="Set substrate.region, me-central-1, in stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_regions,
    ),
    Rule(
        id="chart-alert-receivers",
        title="Alerts of every severity reach a person",
        severity=_HIGH,
        types=(CHART,),
        why="An alert that no one hears is none.",
        remedy="Set prometheus.routes in stacks/Pulumi.<stack>.yaml.",
        controls=MONITORING,
        judge=_receivers,
    ),
    Rule(
        id="dashboards-closed",
        title="Dashboards are closed, and report to no one",
        severity=_HIGH,
        types=(CHART,),
        why="They show what runs, for whom, and where it is weak.",
        remedy="Leave the settings of Grafana in infra/addons/monitoring.py.",
        controls=AUTHENTICATION,
        judge=_dashboards,
    ),
    Rule(
        id="residency-shipper",
        title="Logs are shipped within the country",
        severity=_CRITICAL,
        types=(CHART,),
        why="Logs hold identifiers.",
        remedy="Set logging.destination in stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_shipped,
    ),
    Rule(
        id="residency-chart-telemetry",
        title="Parts of the cluster ask and tell nothing abroad",
        severity=_MEDIUM,
        types=(CHART,),
        why="Reports of use leave the country unseen.",
        remedy="Leave the setting that the message names in the values: infra/addons.",
        controls=TRANSFER,
        judge=_quiet,
    ),
    Rule(
        id="chart-secrets",
        title="No chart is told a secret in clear",
        severity=_CRITICAL,
        types=(CHART,),
        why="What the program holds in clear, its state and its log hold too.",
        remedy="Name a secret of the stack's secret store in the values: infra/addons.",
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "cis-eks-4.4.2"),
        judge=_plain_secrets,
    ),
    Rule(
        id="pod-logs-shipped",
        title="Logs of pods are shipped",
        severity=_MEDIUM,
        types=(CHART,),
        why="What a pod said before it was stopped is lost with it.",
        remedy="Leave the input of container logs in infra/addons/logging.py.",
        controls=LOGGING,
        judge=_collected,
    ),
)

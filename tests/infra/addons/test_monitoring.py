from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from core.errors import ConfigError
from infra.addons import cert_manager, envoy_gateway, external_secrets, karpenter, monitoring
from infra.addons.monitoring import Monitoring, MonitoringArgs, Topic
from infra.config import StackConfig, parse_config
from tests.infra.variations import ROOT, STACKS, document

RULES = {file.name: file.read_text() for file in sorted((ROOT / "monitoring" / "alerts").rglob("*.yaml"))}
TOPIC = Topic(arn="arn:aws:sns:me-central-1:444455556666:alarms", key="arn:aws:kms:a-key", region="me-central-1")
REGISTRIES = {"docker.io": "m/docker.io", "quay.io": "m/quay.io", "registry.k8s.io": "m/registry.k8s.io"}
CLUSTERS = [stack for stack in STACKS if document(stack)["substrate"]["kind"] != "local"]


def stack_of(name: str) -> StackConfig:
    return parse_config(document(name), name)


def arguments(name: str, topic: Topic | None = TOPIC) -> MonitoringArgs:
    settings = stack_of(name).prometheus
    assert settings is not None
    return MonitoringArgs(settings=settings, hostname="ml.example.ae", rules=RULES, topic=topic)


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_alert_of_ours_reaches_a_person(name: str) -> None:
    config = monitoring.values(arguments(name), "encrypted", REGISTRIES)["alertmanager"]["config"]
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    rules = [rule for text in RULES.values() for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    for severity in {rule["labels"]["severity"] for rule in rules if "alert" in rule}:
        taking = [
            route["receiver"]
            for route in config["route"]["routes"]
            for matcher in route["matchers"]
            if severity in matcher.partition('"')[2].rstrip('"').split("|")
        ]
        assert taking, f"no route takes {severity}"
        assert all(len(receivers[receiver]) == 2 for receiver in taking), "a receiver that tells no one"


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_configuration_mounts_each_secret_that_it_names(name: str) -> None:
    alertmanager = monitoring.values(arguments(name), "encrypted", REGISTRIES)["alertmanager"]
    text = yaml.safe_dump(alertmanager["config"])
    named = {part.split("/")[0] for part in text.split("/etc/alertmanager/secrets/")[1:]}
    assert named == set(alertmanager["alertmanagerSpec"]["secrets"])


def test_the_rules_arrive_as_they_were_checked() -> None:
    found = monitoring.values(arguments("prod"), "encrypted", REGISTRIES)["additionalPrometheusRulesMap"]
    assert found == {name.removesuffix(".yaml"): yaml.safe_load(text) for name, text in RULES.items()}


def test_a_topic_needs_aws() -> None:
    with pytest.raises(ConfigError, match=r"prometheus\.routes\[0\] is of kind sns"):
        monitoring.values(arguments("prod", topic=None), "encrypted", REGISTRIES)


def test_alertmanager_may_publish_to_the_topic_and_nothing_else(install: Callable[..., Any]) -> None:
    tried = install(lambda cluster, opts: Monitoring("monitoring", cluster, arguments("prod"), opts))
    (identity,) = tried.cluster.identities
    chart = next(resource for resource in tried.graph.resources if resource.type.endswith("helm.sh/v4:Chart"))
    assert identity.account == chart.inputs["values"]["alertmanager"]["serviceAccount"]["name"]
    assert {(*right.actions, *right.resources) for right in identity.permissions} == {
        ("sns:Publish", TOPIC.arn),
        ("kms:Decrypt", "kms:GenerateDataKey", TOPIC.key),
    }
    before = {urn.rpartition("::")[2] for urn in chart.dependencies}
    assert {"identity-monitoring-alertmanager", "secret-monitoring-falaj-on-call", "namespace-node-exporter"} <= before
    assert tried.cluster.secrets == {"monitoring/falaj/on-call": {"url": "url"}}


def test_only_the_node_exporter_is_privileged(install: Callable[..., Any]) -> None:
    tried = install(lambda cluster, opts: Monitoring("monitoring", cluster, arguments("onprem", None), opts))
    privileged = {name for name, spec in tried.cluster.namespaces.items() if spec.security == "privileged"}
    assert privileged == {"node-exporter"}


def test_an_operator_of_the_site_is_used(install: Callable[..., Any]) -> None:
    parts = frozenset({"prometheus-operator"})
    tried = install(lambda cluster, opts: Monitoring("monitoring", cluster, arguments("prod"), opts), parts)
    chart = next(resource for resource in tried.graph.resources if resource.type.endswith("helm.sh/v4:Chart"))
    assert chart.inputs["values"]["prometheusOperator"] == {"enabled": False}


def test_dashboards_are_where_grafana_looks_for_them(install: Callable[..., Any]) -> None:
    args = replace(arguments("prod"), dashboards={"serving.json": "{}"})
    tried = install(lambda cluster, opts: Monitoring("monitoring", cluster, args, opts))
    made = tried.find("monitoring/dashboard-serving").inputs
    assert made["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert made["data"] == {"serving.json": "{}"}


def test_dashboards_are_for_users_and_what_they_are_made_from_for_administrators() -> None:
    settings = arguments("prod").settings
    who = {route.name: route.who for route in monitoring.routes(settings)}
    assert who == {"prometheus": "administrators", "alertmanager": "administrators", "grafana": "users"}


def test_what_is_scraped_lets_prometheus_in() -> None:
    spaces = [cert_manager.NAMESPACE, envoy_gateway.NAMESPACE, external_secrets.NAMESPACE, karpenter.NAMESPACE]
    callers = {space.name: space.callers for space in spaces}
    monitors = monitoring.values(arguments("prod"), "encrypted", REGISTRIES)["prometheus"]["additionalPodMonitors"]
    for monitor in monitors:
        (namespace,) = monitor["namespaceSelector"]["matchNames"]
        assert monitoring.NAMESPACE.name in callers[namespace], namespace


def test_a_stack_without_grafana_has_none() -> None:
    args = arguments("prod")
    settings = args.settings.model_copy(update={"grafana": None})
    without = MonitoringArgs(settings=settings, hostname=args.hostname, rules=RULES, topic=TOPIC)
    assert monitoring.values(without, "encrypted", REGISTRIES)["grafana"] == {"enabled": False}

"""Every alert ends at a person: a rule's severity has a route, a route a receiver, a topic someone who reads it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects

_CHART = "kube-prometheus-stack"


def alerts(objects: Objects) -> Iterator[str]:
    """Alerts that no one would get."""
    charts = [
        resource.inputs["values"]
        for resource in objects.graph.resources
        if resource.type == "kubernetes:helm.sh/v4:Chart" and resource.inputs["chart"].rpartition("/")[2] == _CHART
    ]
    for values in charts:
        yield from _routes(values)
        yield from _read(objects, values)
    for (namespace, name), found in objects.of("ConfigMap").items():
        for file, text in found.inputs.get("data", {}).items():
            if file.endswith(".json") and not _is_json(text):
                yield f"ConfigMap {namespace}/{name} has {file}, which is no JSON"
    topics = {topic.urn: topic.name for topic in objects.named("aws:sns/topic:Topic")}
    heard = {
        urn
        for subscription in objects.named("aws:sns/topicSubscription:TopicSubscription")
        for urn in subscription.property_dependencies.get("topic", ())
    }
    for urn, name in topics.items():
        if urn not in heard:
            yield f"no one is subscribed to the topic {name}: set governance.contacts"


def _routes(values: Mapping[str, Any]) -> Iterator[str]:
    config = values["alertmanager"]["config"]
    receivers = {receiver["name"] for receiver in config["receivers"]}
    covered: set[str] = set()
    for route in config["route"]["routes"]:
        if route["receiver"] not in receivers:
            yield f"alerts go to the receiver {route['receiver']}, which is not there"
        for matcher in route["matchers"]:
            covered |= set(re.split(r"\W+", matcher.partition("=")[2])) - {""}
    for file, document in sorted(values.get("additionalPrometheusRulesMap", {}).items()):
        for rule in (rule for group in document["groups"] for rule in group["rules"] if "alert" in rule):
            severity = rule.get("labels", {}).get("severity")
            if severity not in covered:
                yield f"the alert {rule['alert']} of {file} has the severity {severity}, which no route takes"


def _read(objects: Objects, values: Mapping[str, Any]) -> Iterator[str]:
    """Whether Prometheus reads our monitors, which do not bear the label of the chart's own."""
    spec = values.get("prometheus", {}).get("prometheusSpec", {})
    for kind, key in (("ServiceMonitor", "serviceMonitor"), ("PodMonitor", "podMonitor")):
        if objects.of(kind) and spec.get(f"{key}SelectorNilUsesHelmValues", True):
            yield f"Prometheus reads the chart's own {kind}s alone: set {key}SelectorNilUsesHelmValues to false"
    secrets = {(space, name) for space, name in objects.of("ExternalSecret")}
    for name in values.get("alertmanager", {}).get("alertmanagerSpec", {}).get("secrets", []):
        if secrets and ("monitoring", name) not in secrets:
            yield f"Alertmanager mounts the secret {name}, which nothing brings to monitoring"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True

"""What an object names must be there, under that name and with that key."""

from collections.abc import Iterator

from infra.checks.objects import Objects, Pod, selects

_RENDERED = ("kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize/v2:Directory")
"""What only the provider unfolds, so that its objects are not in the graph."""


def references(objects: Objects) -> Iterator[str]:
    """Names that lead nowhere."""
    for pod in objects.pods:
        yield from _pod(objects, pod)
    yield from _routes(objects)
    yield from _selectors(objects)


def _pod(objects: Objects, pod: Pod) -> Iterator[str]:
    account = pod.spec.get("serviceAccountName")
    if account is None or (pod.namespace, account) not in objects.of("ServiceAccount"):
        yield f"{pod.owner} runs as the service account {account}, which is not in {pod.namespace}"
    # Where a site fills its secrets by hand, the graph has none to look at.
    if objects.of("ExternalSecret"):
        for name, key in sorted((name, key) for name, keys in pod.secrets.items() for key in keys):
            found = objects.of("ExternalSecret").get((pod.namespace, name))
            keys = {entry["secretKey"] for entry in found.inputs["spec"]["data"]} if found else set()
            if key not in keys:
                yield f"{pod.owner} reads {key} of the secret {name}, which nothing brings to {pod.namespace}"
    for name in sorted(pod.config_maps):
        if (pod.namespace, name) not in objects.of("ConfigMap"):
            yield f"{pod.owner} mounts the ConfigMap {name}, which is not in {pod.namespace}"
    for reference in pod.spec.get("imagePullSecrets", []):
        if objects.of("ExternalSecret") and (pod.namespace, reference["name"]) not in objects.of("ExternalSecret"):
            yield f"{pod.owner} pulls images with the secret {reference['name']}, which nothing brings"
    priority = pod.spec.get("priorityClassName")
    if priority is not None and ("", priority) not in objects.of("PriorityClass"):
        yield f"{pod.owner} has the priority {priority}, which does not exist"


def _routes(objects: Objects) -> Iterator[str]:
    """Backends that the program itself makes; a chart's services are not in the graph."""
    rendered = {
        resource.inputs["metadata"]["name"]
        for found in objects.graph.resources
        if found.type in _RENDERED
        for resource in (objects.by_urn[urn] for urn in found.dependencies if urn in objects.by_urn)
        if resource.type.endswith(":Namespace")
    }
    made = {namespace for namespace, _ in objects.of("InferenceService")}
    for (namespace, name), route in objects.of("HTTPRoute").items():
        for backend in (item for rule in route.inputs["spec"]["rules"] for item in rule.get("backendRefs", [])):
            within = backend.get("namespace", namespace)
            service = objects.of("Service").get((within, backend["name"]))
            if service is None and within not in rendered | made:
                yield f"HTTPRoute {namespace}/{name} leads to {within}/{backend['name']}, a service that is not there"
            elif service is not None:
                ports = [port["port"] for port in service.inputs["spec"]["ports"]]
                if backend["port"] not in ports:
                    yield f"HTTPRoute {namespace}/{name} leads to port {backend['port']}, and the service has {ports}"


def _selectors(objects: Objects) -> Iterator[str]:
    for kind, field in (("Service", "selector"), ("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for (namespace, name), resource in objects.of(kind).items():
            selector = resource.inputs["spec"].get(field) or {}
            ours = "app.kubernetes.io/part-of" in (selector.get("matchLabels") or selector)
            if ours and not any(pod.namespace == namespace and selects(selector, pod.labels) for pod in objects.pods):
                yield f"{kind} {namespace}/{name} selects no pod"
    for (namespace, name), monitor in objects.of("ServiceMonitor").items():
        spec = monitor.inputs["spec"]
        services = [
            service.inputs
            for (within, _), service in objects.of("Service").items()
            if within == namespace and selects(spec["selector"], service.inputs["metadata"].get("labels", {}))
        ]
        ports = {port["name"] for service in services for port in service["spec"]["ports"]}
        missing = {endpoint["port"] for endpoint in spec["endpoints"]} - ports
        if services and missing:
            yield f"ServiceMonitor {namespace}/{name} scrapes the port {sorted(missing)[0]}, which no service has"

"""The gateway, as the API server knows it."""

from verify.asked import Each
from verify.cluster import Cluster, Manifest, condition, namespaced
from verify.declared import Declared, Inputs, differences

_API = "gateway.networking.k8s.io"
_ENVOY = "gateway.envoyproxy.io"


def test_class(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A controller took the gateway's class."""
    each(namespaced(declared, f"{_API}:GatewayClass"), lambda inputs: _status(cluster, inputs, "Accepted"))


def test_programmed(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The gateway has proxies, and an address."""

    def judge(inputs: Inputs) -> str | None:
        fault = _status(cluster, inputs, "Programmed")
        found = cluster.live(inputs) or {}
        return fault or (None if found["status"].get("addresses") else "has no address")

    each(namespaced(declared, f"{_API}:Gateway"), judge)


def test_tls_alone(each: Each, cluster: Cluster) -> None:
    """No gateway listens without TLS."""

    def judge(item: Manifest) -> list[str]:
        return [
            f"{listener['name']} is {listener['protocol']}"
            for listener in item["spec"]["listeners"]
            if listener["protocol"] != "HTTPS" or listener.get("tls", {}).get("mode", "Terminate") != "Terminate"
        ]

    each(cluster.in_namespaces(f"{_API}/v1", "Gateway"), judge)


def test_routes(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared route is there, as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(namespaced(declared, f"{_API}:HTTPRoute"), judge)


def test_routes_are_accepted(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The gateway took every route, and found what it leads to."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        _ = cluster.machines
        parents = found.get("status", {}).get("parents") or []
        faults = [condition({"status": parent}, kind) for parent in parents for kind in ("Accepted", "ResolvedRefs")]
        return [fault for fault in faults if fault] if parents else ["no gateway has looked at it"]

    each(namespaced(declared, f"{_API}:HTTPRoute"), judge)


def test_none_beside(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No route leads into a service that is not declared."""
    own = set(namespaced(declared, f"{_API}:HTTPRoute"))
    live = cluster.in_namespaces(f"{_API}/v1", "HTTPRoute")
    each(list(live), lambda name: None if name in own else "is not declared")


def test_sign_in(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every policy that asks who someone is, is there as declared, and denies by default."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        wanted = {key: inputs["spec"][key] for key in ("jwt", "authorization", "targetRefs") if key in inputs["spec"]}
        action = found["spec"].get("authorization", {}).get("defaultAction")
        open_ = [f"its default action is {action}"] if "authorization" in wanted and action != "Deny" else []
        return [*differences(wanted, found["spec"]), *open_]

    each(namespaced(declared, f"{_ENVOY}:SecurityPolicy"), judge)


def test_clients(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The gateway asks clients for a modern TLS, and drops the headers that only it may set."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(namespaced(declared, f"{_ENVOY}:ClientTrafficPolicy"), judge)


def test_backend_policies(each: Each, declared: Declared, cluster: Cluster) -> None:
    """What bounds requests to services (rates, sizes, retries) is there as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(namespaced(declared, f"{_ENVOY}:BackendTrafficPolicy"), judge)


def test_references(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No namespace lets routes of others lead to it that is not declared to."""
    own = set(namespaced(declared, f"{_API}:ReferenceGrant"))
    live = cluster.in_namespaces(f"{_API}/v1beta1", "ReferenceGrant")
    each(sorted(own | set(live)), lambda name: _both(name in own, name in live))


def _both(declared: bool, live: bool) -> str | None:
    if declared and live:
        return None
    return "is missing" if declared else "is not declared"


def _status(cluster: Cluster, inputs: Inputs, kind: str) -> str | None:
    found = cluster.live(inputs)
    if found is None:
        return "is missing"
    _ = cluster.machines
    return condition(found, kind)
